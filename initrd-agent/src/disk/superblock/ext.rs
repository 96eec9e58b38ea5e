//! ext2, ext3 and ext4.

use std::fs::File;

use anyhow::bail;
use sysclone_protocol::layout::FsFeatures;

use super::super::table::{le32, read_at};
use super::{Superblock, text, uuid};

/// Feature bits and the names that mke2fs and dumpe2fs give them. `None` is state, not a feature of making.
type Bits = &'static [(u32, Option<&'static str>)];

const EXT_COMPAT: Bits = &[
    (0x1, Some("dir_prealloc")),
    (0x2, Some("imagic_inodes")),
    (0x4, Some("has_journal")),
    (0x8, Some("ext_attr")),
    (0x10, Some("resize_inode")),
    (0x20, Some("dir_index")),
    (0x200, Some("sparse_super2")),
    (0x400, Some("fast_commit")),
    (0x800, Some("stable_inodes")),
    (0x1000, None),
];
const EXT_INCOMPAT: Bits = &[
    (0x1, Some("compression")),
    (0x2, Some("filetype")),
    (0x4, None),
    (0x8, Some("journal_dev")),
    (0x10, Some("meta_bg")),
    (0x40, Some("extent")),
    (0x80, Some("64bit")),
    (0x100, Some("mmp")),
    (0x200, Some("flex_bg")),
    (0x400, Some("ea_inode")),
    (0x1000, Some("dirdata")),
    (0x2000, Some("metadata_csum_seed")),
    (0x4000, Some("large_dir")),
    (0x8000, Some("inline_data")),
    (0x10000, Some("encrypt")),
    (0x20000, Some("casefold")),
];
const EXT_RO_COMPAT: Bits = &[
    (0x1, Some("sparse_super")),
    (0x2, Some("large_file")),
    (0x8, Some("huge_file")),
    (0x10, Some("uninit_bg")),
    (0x20, Some("dir_nlink")),
    (0x40, Some("extra_isize")),
    (0x100, Some("quota")),
    (0x200, Some("bigalloc")),
    (0x400, Some("metadata_csum")),
    (0x1000, Some("read-only")),
    (0x2000, Some("project")),
    (0x8000, Some("verity")),
    (0x10000, None),
];
/// Default mount options in the superblock, by tune2fs name.
const EXT_MOUNT: Bits = &[
    (0x1, Some("debug")),
    (0x2, Some("bsdgroups")),
    (0x4, Some("user_xattr")),
    (0x8, Some("acl")),
    (0x10, Some("uid16")),
    (0x100, Some("nobarrier")),
    (0x200, Some("block_validity")),
    (0x400, Some("discard")),
    (0x800, Some("nodelalloc")),
];

/// Looks for ext2, ext3 or ext4.
pub(super) fn read(device: &File) -> anyhow::Result<Option<Superblock>> {
    match read_at(device, 1024, 1024)? {
        Some(block) if block[56..58] == [0x53, 0xef] => parse(&block).map(Some),
        _ => Ok(None),
    }
}

fn parse(b: &[u8]) -> anyhow::Result<Superblock> {
    let mut features = names(le32(b, 0x5c), EXT_COMPAT, "compatible")?;
    features.extend(names(le32(b, 0x60), EXT_INCOMPAT, "incompatible")?);
    features.extend(names(le32(b, 0x64), EXT_RO_COMPAT, "read-only compatible")?);
    let has = |name: &str| features.iter().any(|f| f == name);
    let kind = match (has("extent") || has("64bit") || has("flex_bg"), has("has_journal")) {
        (true, _) => "ext4",
        (false, true) => "ext3",
        (false, false) => "ext2",
    };
    let block = 1024_u32 << le32(b, 0x18).min(6);
    let wide = if has("64bit") { u64::from(le32(b, 0x150)) << 32 } else { 0 };
    let blocks = u64::from(le32(b, 0x4)) | wide;
    let inodes = u64::from(le32(b, 0)).max(1);
    let reserved = u64::from(le32(b, 0x8)) | if has("64bit") { u64::from(le32(b, 0x154)) << 32 } else { 0 };
    let options = le32(b, 0x100);
    let journal = match options >> 5 & 3 {
        0 => None,
        1 => Some("journal_data"),
        2 => Some("journal_data_ordered"),
        _ => Some("journal_data_writeback"),
    };
    let mut mount = names(options & !0x60, EXT_MOUNT, "default mount option")?;
    mount.extend(journal.map(str::to_owned));
    Ok(Superblock {
        kind: kind.into(),
        uuid: Some(uuid(&b[0x68..0x78])),
        label: text(&b[0x78..0x88]),
        features: FsFeatures {
            block_bytes: Some(block),
            inode_bytes: Some(u32::from(u16::from_le_bytes([b[0x58], b[0x59]]))),
            bytes_per_inode: Some((blocks.saturating_mul(u64::from(block)) / inodes).max(u64::from(block))),
            features,
            default_mount_options: mount,
            hash_seed: Some(uuid(&b[0xec..0xfc])),
            reserved_basis_points: Some(basis_points(reserved, blocks)),
        },
    })
}

fn names(bits: u32, known: Bits, what: &str) -> anyhow::Result<Vec<String>> {
    let all = known.iter().fold(0, |all, (bit, _)| all | bit);
    if bits & !all != 0 {
        bail!("its ext {what} features have unknown bits {:#x}", bits & !all);
    }
    Ok(known
        .iter()
        .filter(|(bit, _)| bits & bit != 0)
        .filter_map(|(_, name)| name.map(str::to_owned))
        .collect())
}

/// Blocks kept for root, in hundredths of a per cent of all blocks, to the nearest tenth of a per cent: mke2fs rounds
/// the number of blocks down.
fn basis_points(reserved: u64, blocks: u64) -> u32 {
    let exact = u128::from(reserved) * 1000 / u128::from(blocks.max(1));
    let more = u128::from(reserved) * 10_000 / u128::from(blocks.max(1)) % 10 >= 5;
    u32::try_from((exact + u128::from(more)) * 10).unwrap_or(5000).min(5000)
}
