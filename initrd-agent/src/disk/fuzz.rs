//! What fuzzing calls of the readers of disks.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::{mounts, superblock, table};

/// A disk in memory.
struct Disk(Vec<u8>);

impl FileExt for Disk {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.0.get(at..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// The first sectors of a disk, as they are and with the checksums of a GPT made right.
pub fn partition_table(bytes: &[u8]) {
    for sector_bytes in [512, 4096] {
        check_table(bytes.to_vec(), sector_bytes);
        let mut mended = bytes.to_vec();
        if table::mend_gpt(&mut mended, sector_bytes as usize).is_some() {
            check_table(mended, sector_bytes);
        }
    }
}

fn check_table(bytes: Vec<u8>, sector_bytes: u32) {
    if let Ok(Some(table)) = table::read_table(&Disk(bytes), sector_bytes) {
        assert!(table.partitions.is_sorted_by_key(|p| p.start_bytes));
    }
}

/// The first byte says where the rest lies: at the start of a device, or at the superblock of ext or btrfs.
pub fn superblock(bytes: &[u8]) {
    let Some((place, block)) = bytes.split_first() else { return };
    let at = match place % 3 {
        0 => 0,
        1 => 1024,
        _ => 65536,
    };
    let device = rustix::fs::memfd_create("device", rustix::fs::MemfdFlags::CLOEXEC);
    let device = File::from(device.expect("there is memory"));
    device.write_all_at(block, at).expect("there is memory");
    device.set_len(at + block.len() as u64 + 4096).expect("there is memory");
    drop(superblock::read_superblock(&device));
}

/// The kernel's table of mounts.
pub fn mount_table(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let found = mounts::parse_mounts(&text);
    assert!(found.is_sorted_by_key(|mount| mount.point.components().count()));
}
