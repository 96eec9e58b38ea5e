//! btrfs on one device.

use std::fs::File;

use anyhow::ensure;
use sysclone_protocol::layout::FsFeatures;

use super::super::table::{le32, le64, read_at};
use super::{Superblock, text, uuid};

const SUPERBLOCK_AT: u64 = 64 << 10;
const SUPERBLOCK_BYTES: usize = 4096;

/// Incompatible features that mkfs.btrfs is told of, by its names.
const INCOMPAT: &[(u64, &str)] =
    &[(0x4, "mixed-bg"), (0x40, "extref"), (0x80, "raid56"), (0x100, "skinny-metadata"), (0x200, "no-holes")];
/// Incompatible bits that are state or follow from the rest: back references, default subvolume, compression, big
/// metadata blocks, changed UUID.
const STATE: u64 = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x400;
const FREE_SPACE_TREE: u64 = 1;
const CHECKSUMS: [&str; 4] = ["crc32c", "xxhash", "sha256", "blake2"];

/// Looks for btrfs.
pub(super) fn read(device: &File) -> anyhow::Result<Option<Superblock>> {
    match read_at(device, SUPERBLOCK_AT, SUPERBLOCK_BYTES)? {
        Some(block) if &block[0x40..0x48] == b"_BHRfS_M" => parse(&block).map(Some),
        _ => Ok(None),
    }
}

fn parse(b: &[u8]) -> anyhow::Result<Superblock> {
    let devices = le64(b, 0x88);
    ensure!(devices == 1, "its btrfs lies on {devices} devices, of which this version can make one only");
    let incompat = le64(b, 0xbc);
    let known = INCOMPAT.iter().fold(STATE, |known, (bit, _)| known | bit);
    ensure!(incompat & !known == 0, "its btrfs features have unknown bits {:#x}", incompat & !known);
    let state = |on: bool, name: &str| if on { name.to_owned() } else { format!("^{name}") };
    let mut features: Vec<String> =
        INCOMPAT.iter().map(|(bit, name)| state(incompat & bit != 0, name)).collect();
    features.push(state(le64(b, 0xb4) & FREE_SPACE_TREE != 0, "free-space-tree"));
    let checksum = usize::from(u16::from_le_bytes([b[0xc4], b[0xc5]]));
    let checksum = CHECKSUMS.get(checksum);
    ensure!(checksum.is_some(), "its btrfs has an unknown kind of checksum");
    features.extend(checksum.map(|name| format!("csum={name}")));
    features.push(format!("nodesize={}", le32(b, 0x94)));
    features.push(format!("metadata={}", if system_flags(b) & 0x20 != 0 { "dup" } else { "single" }));
    Ok(Superblock {
        kind: "btrfs".into(),
        uuid: Some(uuid(&b[0x20..0x30])),
        label: text(&b[0x12b..0x22b]),
        features: FsFeatures { block_bytes: Some(le32(b, 0x90)), features, ..FsFeatures::default() },
    })
}

/// Type of the first system chunk, which mkfs.btrfs stores as it stores metadata: behind a key of 17 bytes three
/// numbers, then the type.
fn system_flags(b: &[u8]) -> u64 {
    le64(b, 0x32b + 17 + 24)
}
