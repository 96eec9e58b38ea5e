//! Petitboot configurations: the loader of OpenPOWER machines reads PXELINUX's language, of which it knows a part, and
//! shows what it finds in a menu on a machine that runs Linux already.
//!
//! Nothing ends a quoted `append` but its own mark, and [`super::KernelArgs`] holds none.

use super::value::KernelArgs;
use super::{Action, Entry, Install};

/// For the machine's own disk nothing is named: Petitboot then takes what it has found there.
pub(super) fn render(entry: &Entry) -> String {
    let body = match &entry.action {
        Action::Local => String::new(),
        Action::Install(install) => start(install),
    };
    format!("#{}\n{body}", entry.headline)
}

/// Petitboot starts nothing that was not fetched as a whole, and offers its menu when a download fails.
fn start(install: &Install) -> String {
    let Install { http, kernel, initrd, args } = install;
    let (kernel, initrd) = (http.url(kernel), http.url(initrd));
    let append = quoted(args);
    format!("default xCAT\nlabel xCAT\n\tkernel {kernel}\n\tinitrd {initrd}\n\tappend {append}\n")
}

fn quoted(args: &KernelArgs) -> String {
    format!("\"{args}\"")
}
