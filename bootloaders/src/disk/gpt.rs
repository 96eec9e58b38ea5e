//! Where a partition lies, read from the GPT of its disk (UEFI specification 2.10, section 5.3).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Sizes of a logical block that disks have.
const BLOCK_SIZES: [u64; 2] = [512, 4096];
const SIGNATURE: &[u8] = b"EFI PART";
/// Larger entries are not made by any tool.
const MAX_ENTRY_BYTES: u32 = 4096;

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// First block.
    pub start: u64,
    /// Length in blocks.
    pub blocks: u64,
    /// GUID as it stands in the table.
    pub guid: [u8; 16],
}

/// Finds partition `number`, from 1.
pub(super) fn find_partition(disk: &Path, number: u32) -> io::Result<Place> {
    let file = File::open(disk)?;
    let missing =
        |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", disk.display()));
    for block in BLOCK_SIZES {
        let mut header = [0; 92];
        file.read_exact_at(&mut header, block)?;
        if !header.starts_with(SIGNATURE) {
            continue;
        }
        let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
        let (entries, count, size) = (long(&header, 72), word(80), word(84));
        if number == 0 || number > count || !(128..=MAX_ENTRY_BYTES).contains(&size) {
            return Err(missing("the partition is not in its table"));
        }
        let mut entry = [0; 128];
        let offset = entries
            .checked_mul(block)
            .and_then(|start| start.checked_add(u64::from(number - 1) * u64::from(size)));
        file.read_exact_at(&mut entry, offset.ok_or_else(|| missing("its table is damaged"))?)?;
        let (start, last) = (long(&entry, 32), long(&entry, 40));
        let blocks = last.checked_sub(start).and_then(|length| length.checked_add(1));
        let guid: [u8; 16] = entry[16..32].try_into().expect("sixteen bytes");
        return match blocks {
            Some(blocks) if guid != [0; 16] => Ok(Place { start, blocks, guid }),
            _ => Err(missing("the partition is not in its table")),
        };
    }
    Err(missing("it has no GPT"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysclone_exec::{Command, Runner, System, Tool};

    #[test]
    fn what_sfdisk_wrote_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        File::create(&disk).unwrap().set_len(64 << 20).unwrap();
        let table = "label: gpt\nsize=8MiB, type=uefi\n\
            size=4MiB, type=linux, uuid=00112233-4455-6677-8899-AABBCCDDEEFF\n";
        System.run(&Command::new(Tool("sfdisk")).arg("--quiet").arg(&disk).stdin(table)).unwrap();
        let guid = *b"\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
        let expected = Place { start: 2048 + 16_384, blocks: 8192, guid };
        assert_eq!(find_partition(&disk, 2).unwrap(), expected);
        assert!(find_partition(&disk, 3).is_err());
        assert!(find_partition(&disk, 1000).is_err());
        let blank = dir.path().join("blank");
        File::create(&blank).unwrap().set_len(1 << 20).unwrap();
        assert!(find_partition(&blank, 1).unwrap_err().to_string().contains("no GPT"));
    }
}
