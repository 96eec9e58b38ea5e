//! iPXE scripts.
//!
//! iPXE splits a line at white space, has no quoting, reads `||`, `&&`, `;` and `#…` only as whole words, and expands
//! `${…}` within a word: [`super::KernelArgs`] holds no such word. A line ending in a backslash goes on.

use super::value::KernelArgs;
use super::{Action, Entry, Install};

pub(super) fn render(entry: &Entry) -> String {
    let body = match &entry.action {
        Action::Local => local(),
        Action::Install(install) => start(install),
    };
    format!("#!ipxe\n#{}\n{body}", entry.headline)
}

/// `exit` gives the machine back to its firmware, which goes on to the next device of its own boot order; UEFI does so
/// after a failure only.
fn local() -> String {
    "iseq ${platform} efi && exit 1 || exit\n".to_owned()
}

/// Whatever fails, nothing half-fetched is started: the images are dropped and after a pause the script is fetched
/// anew, so that a node whose order was withdrawn in the meantime goes to its disk instead.
fn start(install: &Install) -> String {
    let Install { http, kernel, initrd, args } = install;
    let address = http.0;
    format!(
        "echo Starting the sysclone agent from {address}\n\
         imgfree\n\
         kernel --name kernel {} initrd=initrd.img {} BOOTIF=01-${{netX/mac:hexhyp}} || goto again\n\
         initrd --name initrd.img {} || goto again\n\
         boot || goto again\n\
         :again\n\
         imgfree\n\
         echo Boot files could not be fetched, next attempt in 5 seconds\n\
         sleep 5\n\
         chain --autofree --replace http://{address}/boot/ipxe/${{netX/mac:hexhyp}} || goto again\n",
        http.url(kernel),
        quoted(args),
        http.url(initrd),
    )
}

/// The one place where free text enters a script; see the head of this file for why it needs no marks.
fn quoted(args: &KernelArgs) -> String {
    args.words().collect::<Vec<_>>().join(" ")
}
