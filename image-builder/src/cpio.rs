//! The newc cpio format (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel), written so that
//! equal contents give equal bytes: order by what is needed first, then by path; owner root, time 0, inode numbers counted from 1.

use crate::contents::{Contents, Item};

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;
const DEVICE: u32 = 0o020_600;

/// The archive that unpacks to `contents`.
#[must_use]
pub fn archive(contents: &Contents) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, (path, item)) in contents.in_boot_order().into_iter().enumerate() {
        let inode = u32::try_from(index + 1).expect("an initrd has far fewer than 2^32 entries");
        let (mode, data, device): (u32, &[u8], (u32, u32)) = match item {
            Item::Directory => (DIRECTORY, &[], (0, 0)),
            Item::File { data, executable: true } => (PROGRAM, data, (0, 0)),
            Item::File { data, executable: false } => (FILE, data, (0, 0)),
            Item::Link(target) => (LINK, target.as_bytes(), (0, 0)),
            Item::Device { major, minor } => (DEVICE, &[], (*major, *minor)),
        };
        member(&mut out, path, &Header { inode, mode, device }, data);
    }
    member(&mut out, "TRAILER!!!", &Header { inode: 0, mode: 0, device: (0, 0) }, &[]);
    out
}

struct Header {
    inode: u32,
    mode: u32,
    device: (u32, u32),
}

fn member(out: &mut Vec<u8>, path: &str, header: &Header, data: &[u8]) {
    let size = u32::try_from(data.len()).expect("the kernel's own limit for a file in an initramfs is 4 GiB");
    let links = if header.mode == DIRECTORY { 2 } else { 1 };
    let name_size = u32::try_from(path.len() + 1).expect("paths are short");
    let (major, minor) = header.device;
    // inode, mode, uid, gid, links, mtime, size, device of the filesystem (2), device number (2), name size, checksum.
    let fields = [header.inode, header.mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0];
    out.extend_from_slice(b"070701");
    for field in fields {
        out.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(data);
    pad(out);
}

/// Names and data start at multiples of four.
fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use sysclone_exec::{Command, Runner, System, Tool};

    use super::*;
    use crate::contents::Group;

    fn sample() -> Contents {
        let mut contents = Contents::base();
        contents.add_program("init", Group::Agent, "#!/bin/true\n");
        contents.add_file("etc/odd", Group::Base, "12345");
        contents
    }

    #[test]
    fn gnu_cpio_reads_it() {
        let list = Command::new(Tool("cpio"))
            .args(["-itv", "--quiet", "--numeric-uid-gid"])
            .stdin(archive(&sample()));
        let text = System.run(&list).unwrap().text();
        for (mode, tail) in [
            ("-rwxr-xr-x   1 0        0              12", "init"),
            ("-rw-r--r--   1 0        0               5", "etc/odd"),
            ("crw-------   1 0        0          5,   1", "dev/console"),
            ("lrwxrwxrwx   1 0        0               7", "lib -> usr/lib"),
            ("drwxr-xr-x   2 0        0               0", "usr/sbin"),
        ] {
            assert!(text.lines().any(|l| l.starts_with(mode) && l.ends_with(tail)), "{mode} {tail}\n{text}");
        }
    }

    #[test]
    fn equal_contents_give_equal_bytes_of_a_multiple_of_four() {
        assert_eq!(archive(&sample()), archive(&sample()));
        assert_eq!(archive(&sample()).len() % 4, 0);
    }
}
