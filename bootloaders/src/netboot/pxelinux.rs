//! PXELINUX configurations. Files are named without a server: pxelinux.0 fetches them by TFTP, from where it came itself,
//! lpxelinux.0 by HTTP, because DHCP gives it a URL as path prefix (RFC 5071, option 210).
//!
//! The rest of an `APPEND` line is taken as it stands; only a line end or `initrd=` could break out, and
//! [`super::KernelArgs`] holds neither.

use super::value::KernelArgs;
use super::{Action, Entry, Install};

pub(super) fn render(entry: &Entry) -> String {
    let body = match &entry.action {
        Action::Local => local(),
        Action::Install(install) => start(install),
    };
    format!("#{}\n{body}", entry.headline)
}

/// Type 0 is a normal boot from the local disk: PXELINUX leaves and the firmware goes on in its boot order.
fn local() -> String {
    "DEFAULT local\nPROMPT 0\nLABEL local\n  LOCALBOOT 0\n".to_owned()
}

/// When a download fails PXELINUX falls back to its `boot:` prompt; the timeout (in tenths of a second) makes it try
/// again there. `IPAPPEND 2` adds `BOOTIF=` with the interface that was really used.
///
/// lpxelinux 6.04 takes a connection that ends too early for the end of the file and starts the kernel with half an
/// initrd. The kernel finds the damage and panics; `panic=` makes the machine start again and try anew.
fn start(install: &Install) -> String {
    let Install { http: _, kernel, initrd, args } = install;
    format!(
        "DEFAULT sysclone\n\
         PROMPT 0\n\
         TIMEOUT 50\n\
         LABEL sysclone\n  \
           LINUX {kernel}\n  \
           INITRD {initrd}\n  \
           APPEND panic=15 {}\n  \
           IPAPPEND 2\n",
        quoted(args),
    )
}

/// The one place where free text enters a configuration; see the head of this file for why it needs no marks.
fn quoted(args: &KernelArgs) -> String {
    args.words().collect::<Vec<_>>().join(" ")
}
