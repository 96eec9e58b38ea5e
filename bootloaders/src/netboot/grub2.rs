//! GRUB 2 scripts for a network core image that holds the `http`, `linux` and `sleep` modules.
//!
//! Every free word stands in single quotes, in which GRUB reads nothing but the closing quote; and
//! [`super::KernelArgs`] holds no quotes, because GRUB's `linux` command would put backslashes before them.

use super::{Action, Entry, Install};

pub(super) fn render(entry: &Entry) -> String {
    let body = match &entry.action {
        Action::Local => local(),
        Action::Install(install) => start(install),
    };
    format!("#{}\n{body}", entry.headline)
}

/// On BIOS `exit` gives the machine back to its firmware, which goes on to the next device of its own boot order. UEFI
/// takes it for a success and shows its setup, so there GRUB starts what the firmware would start from a disk. What is
/// started learns from `root` on which device it lies; shim looks there for what it starts itself.
fn local() -> String {
    format!(
        "if [ \"$grub_platform\" = efi ]; then\n  \
           if search --no-floppy --file --set=root {REMOVABLE}; then\n    \
             if chainloader {REMOVABLE}; then boot; fi\n  \
           fi\n\
         fi\n\
         exit\n"
    )
}

/// What UEFI starts from every disk (specification 2.10, section 3.5.1.1); every clone has it.
const REMOVABLE: &str = "/EFI/BOOT/BOOTX64.EFI";

/// The core image that was booted on BIOS, as image-builder publishes it.
const CORE: &str = "(tftp)/grub2/i386-pc/core.0";

/// A kernel that cannot be fetched is asked for again after a pause; after the last attempt the script returns to the
/// core image, which asks for its configuration anew, so that a withdrawn order is noticed.
///
/// Not so an initrd: when its download breaks off, GRUB 2.06 starts the next kernel without its command line. A fresh
/// copy of the core image is started instead, and where that is not possible, the machine.
///
/// Debian's signed GRUB for UEFI has no HTTP; its start configuration says so by the variable `transport`.
fn start(install: &Install) -> String {
    let Install { http, kernel, initrd, args } = install;
    let words: Vec<String> = args.words().map(quoted).collect();
    format!(
        "if [ \"$transport\" = tftp ]; then set root={}; else set root={}; fi\n\
         echo {}\n\
         for attempt in 1 2 3; do\n  \
           if linux {} {}; then\n    \
             if initrd {}; then boot; fi\n    \
             echo 'The initrd could not be fetched, starting anew in 5 seconds'\n    \
             sleep 5\n    \
             if pxechainloader {CORE}; then boot; fi\n    \
             reboot\n  \
           fi\n  \
           echo 'The kernel could not be fetched, next attempt in 5 seconds'\n  \
           sleep 5\n\
         done\n",
        quoted(&format!("tftp,{}", http.0.ip())),
        quoted(&format!("http,{}", http.0)),
        quoted(&format!("Starting the sysclone agent from {}", http.0)),
        quoted(&format!("/boot/{kernel}")),
        words.join(" "),
        quoted(&format!("/boot/{initrd}")),
    )
}

/// One word that GRUB takes literally.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_quoted_word_cannot_be_left() {
        assert_eq!(super::quoted("a;$b `c`"), "'a;$b `c`'");
        assert_eq!(super::quoted("a'; reboot '"), r"'a'\''; reboot '\'''");
    }
}
