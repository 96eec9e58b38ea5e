//! Reads filesystem superblocks: what mkfs must be told to make the same filesystem again. One module for each family
//! of filesystems; the offsets are those of the kernel's on-disk format documentation.

mod btrfs;
mod ext;
mod swap;
mod vfat;
mod xfs;

use std::fs::File;

use anyhow::Context as _;
use sysclone_protocol::layout::FsFeatures;

/// What a device holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Superblock {
    /// `ext2`, `ext3`, `ext4`, `xfs`, `btrfs`, `vfat`, `swap`.
    pub(super) kind: String,
    /// UUID as blkid prints it.
    pub(super) uuid: Option<String>,
    /// Label.
    pub(super) label: Option<String>,
    /// How it was made.
    pub(super) features: FsFeatures,
}

/// Reads the superblock of a device; none when it holds no filesystem known here.
///
/// # Errors
/// The device cannot be read, or its filesystem uses a feature without a name here: a clone of it could be made
/// wrong.
pub(super) fn read_superblock(device: &File) -> anyhow::Result<Option<Superblock>> {
    let families = [ext::read, xfs::read, btrfs::read, swap::read, vfat::read];
    for read in families {
        if let Some(found) = read(device)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Reads the superblock of a device by path.
///
/// # Errors
/// As [`read_superblock`], naming the device.
pub(super) fn superblock_of(device: &str) -> anyhow::Result<Option<Superblock>> {
    let file = File::open(device).with_context(|| format!("opening {device}"))?;
    read_superblock(&file).with_context(|| format!("reading the filesystem on {device}"))
}

/// Sixteen bytes as a UUID.
fn uuid(b: &[u8]) -> String {
    let hex: String = b.iter().map(|b| format!("{b:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// Bytes up to the first zero as text; none when there are none.
fn text(b: &[u8]) -> Option<String> {
    let end = b.iter().position(|b| *b == 0).unwrap_or(b.len());
    let text = String::from_utf8_lossy(&b[..end]).trim_end().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests;
