//! A minimal newc cpio archive (Linux, Documentation/driver-api/early-userspace/buffer-format.rst), put before the
//! generic initrd so that it trusts this server. The kernel unpacks all archives of an initrd one after the other.

/// A file to put into the archive; directories above it are made.
pub(super) struct File<'a> {
    /// Path without a leading slash.
    pub(super) path: &'a str,
    /// Content.
    pub(super) bytes: &'a [u8],
    /// Permission bits.
    pub(super) mode: u32,
}

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;
const TRAILER: &str = "TRAILER!!!";

/// The archive. Depends on the files only: no times, no numbers of real inodes.
pub(super) fn archive(files: &[File<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut inode = 0;
    let mut made: Vec<&str> = Vec::new();
    for file in files {
        for (at, _) in file.path.match_indices('/') {
            let directory = &file.path[..at];
            if !made.contains(&directory) {
                made.push(directory);
                inode += 1;
                record(&mut out, inode, DIRECTORY, (directory, &[]));
            }
        }
        inode += 1;
        record(&mut out, inode, REGULAR | file.mode, (file.path, file.bytes));
    }
    record(&mut out, 0, 0, (TRAILER, &[]));
    out
}

fn record(out: &mut Vec<u8>, inode: u32, mode: u32, (name, bytes): (&str, &[u8])) {
    let links = if mode & 0o170_000 == 0o040_000 { 2 } else { 1 };
    let size = u32::try_from(bytes.len()).expect("keys and certificates are a few KiB");
    let name_size = u32::try_from(name.len() + 1).expect("names here are short");
    // magic, ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor, rdevmajor, rdevminor, namesize, check
    out.extend_from_slice(b"070701");
    for field in [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name_size, 0] {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(name.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(bytes);
    pad(out);
}

/// Names and contents end on four-byte borders; so must whatever stands before another in an initrd.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;

    /// The archive as GNU cpio unpacks it.
    #[test]
    fn cpio_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = [
            File { path: "etc/sysclone/ca.pem", bytes: b"PEM\n", mode: 0o644 },
            File { path: "etc/sysclone/server.pub", bytes: b"key", mode: 0o600 },
        ];
        let mut cpio = Command::new("cpio")
            .args(["--extract", "--make-directories", "--quiet"])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("cpio is in the list of packages that the tests need");
        cpio.stdin.take().unwrap().write_all(&archive(&files)).unwrap();
        assert!(cpio.wait().unwrap().success());
        assert_eq!(std::fs::read(dir.path().join("etc/sysclone/ca.pem")).unwrap(), b"PEM\n");
        assert_eq!(std::fs::read(dir.path().join("etc/sysclone/server.pub")).unwrap(), b"key");
    }

    #[test]
    fn everything_is_on_four_byte_borders() {
        for bytes in [&b""[..], b"1", b"12", b"123", b"1234"] {
            assert_eq!(archive(&[File { path: "a", bytes, mode: 0o644 }]).len() % 4, 0);
        }
    }
}
