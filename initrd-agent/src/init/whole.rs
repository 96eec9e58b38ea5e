//! Whether the initrd arrived whole. What fetches it does not always notice that a download was cut short, and the
//! kernel starts what it could unpack.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// The last file of an initrd (`image-builder`).
const MARK: &str = "etc/sysclone/whole";
/// What Linux says, with the reason, when an archive ends early or its checksum is wrong (init/initramfs.c).
const KERNEL_SAYS: &str = "Initramfs unpacking failed: ";
/// One record of the kernel's log is at most this long (CONSOLE_EXT_LOG_MAX).
const RECORD: usize = 8192;

/// What is wrong with the initrd that this machine was started from, in words.
#[must_use]
pub(crate) fn initrd_fault() -> Option<String> {
    fault(Path::new("/"), &kernel_log())
}

fn fault(root: &Path, log: &[String]) -> Option<String> {
    let said = log.iter().find_map(|line| Some(line.split_once(KERNEL_SAYS)?.1.trim_end()));
    if let Some(said) = said {
        return Some(format!("the kernel could not unpack all of the initrd: {said}"));
    }
    (!root.join(MARK).exists()).then(|| "the end of the initrd is missing".to_owned())
}

/// The kernel's messages since its start. Without them the mark decides alone.
fn kernel_log() -> Vec<String> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).expect("flags of open(2) are an int");
    let Ok(mut log) = OpenOptions::new().read(true).custom_flags(flags).open("/dev/kmsg") else {
        return Vec::new();
    };
    let (mut lines, mut record) = (Vec::new(), [0; RECORD]);
    // One record for each read; "would block" is the end.
    while let Ok(length @ 1..) = log.read(&mut record) {
        lines.push(String::from_utf8_lossy(&record[..length]).into_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_initrd_is_known_by_the_kernels_words_or_by_its_end() {
        let root = tempfile::tempdir().unwrap();
        let calm = ["6,1,0,-;Linux version 6.1\n".to_owned(), "6,2,9,-;Run /init\n".to_owned()];
        assert_eq!(fault(root.path(), &calm).unwrap(), "the end of the initrd is missing");
        std::fs::create_dir_all(root.path().join("etc/sysclone")).unwrap();
        std::fs::write(root.path().join(MARK), "").unwrap();
        assert_eq!(fault(root.path(), &calm), None);
        let said = ["0,300,9,-;Initramfs unpacking failed: ZSTD-compressed data is truncated\n".to_owned()];
        let fault = fault(root.path(), &said).unwrap();
        assert!(fault.ends_with(": ZSTD-compressed data is truncated"), "{fault}");
    }
}
