//! yaboot configurations, for Open Firmware machines with yaboot as their network loader. The administrator supplies
//! its program. It fetches everything by TFTP, from where it came itself.
//!
//! Nothing ends a quoted `append` but its own mark, and [`super::KernelArgs`] holds none.

use super::value::KernelArgs;
use super::{Action, Entry, Install};

pub(super) fn render(entry: &Entry) -> String {
    let body = match &entry.action {
        Action::Local => local(),
        Action::Install(install) => start(install),
    };
    format!("#{}\n{body}", entry.headline)
}

/// `bye` gives the machine back to Open Firmware, which goes on to the next of its boot devices.
fn local() -> String {
    "bye\n".to_owned()
}

/// The timeout, in tenths of a second, is how long its prompt waits for a person.
fn start(install: &Install) -> String {
    let Install { http: _, kernel, initrd, args } = install;
    let append = quoted(args);
    format!("timeout=5\nimage=/boot/{kernel}\n\tlabel=xcat\n\tinitrd=/boot/{initrd}\n\tappend={append}\n")
}

fn quoted(args: &KernelArgs) -> String {
    format!("\"{args}\"")
}
