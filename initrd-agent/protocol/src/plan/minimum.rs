//! The least room that things need, with the arithmetic as people check it.

use crate::layout::{DeviceRef, Disk, Filesystem, Grow, Layout, LogicalVolume, Partition, VolumeGroup};

use super::text::Size;
use super::{MIB, PE_START_BYTES};

/// mkfs.xfs refuses less.
const XFS_LEAST: u64 = 300 * MIB;
/// mkfs.btrfs refuses less than 109 MiB with duplicated metadata; under a quarter of a GiB it is hardly usable.
const BTRFS_LEAST: u64 = 256 * MIB;

/// A number of bytes and why it is that many; parts of it below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Need {
    pub(super) bytes: u64,
    pub(super) why: String,
    pub(super) parts: Vec<Need>,
}

impl Need {
    pub(super) fn new(bytes: u64, why: impl Into<String>) -> Self {
        Self { bytes, why: why.into(), parts: Vec::new() }
    }

    /// One line for each number, parts indented.
    pub(super) fn lines(&self, indent: usize) -> Vec<String> {
        let mut lines = vec![format!("{:indent$}{:>10}  {}", "", Size(self.bytes).to_string(), self.why)];
        lines.extend(self.parts.iter().flat_map(|part| part.lines(indent + 4)));
        lines
    }
}

/// The least bytes for a partition.
pub(super) fn of_partition(layout: &Layout, disk: &Disk, partition: &Partition, grow: Grow) -> Need {
    let device = DeviceRef::Partition { disk: disk.name.clone(), number: partition.number };
    let what = match partition.name.as_deref() {
        Some(name) => format!("partition {} ({name})", partition.number),
        None => format!("partition {}", partition.number),
    };
    let mut need = of_content(layout, &device, partition.size_bytes, grow);
    need.why = format!("{what}: {}", need.why);
    need
}

/// The least bytes for what is on a device of `captured` bytes.
pub(super) fn of_content(layout: &Layout, device: &DeviceRef, captured: u64, grow: Grow) -> Need {
    let fixed = |what: &str| Need::new(captured, format!("{what}, fixed size"));
    if let Some(fs) = layout.filesystems.iter().find(|fs| fs.device == *device) {
        return match grow {
            Grow::Fixed => fixed(&named(fs)),
            Grow::Keep | Grow::Share { .. } => of_filesystem(fs, captured),
        };
    }
    let group =
        layout.volume_groups.iter().find(|g| g.physical_volumes.iter().any(|pv| pv.device == *device));
    match (group, grow) {
        (Some(group), Grow::Fixed) => fixed(&format!("volume group {}", group.name)),
        (Some(group), _) if group.physical_volumes.len() > 1 => Need::new(
            captured,
            format!(
                "volume group {}, which has several physical volumes and is not made smaller",
                group.name
            ),
        ),
        (Some(group), _) => of_group(layout, group, captured),
        (None, _) => fixed("captured"),
    }
}

fn of_group(layout: &Layout, group: &VolumeGroup, captured: u64) -> Need {
    let parts: Vec<Need> = group
        .logical_volumes
        .iter()
        .map(|volume| {
            let mut need = of_volume(layout, group, volume);
            need.why = format!("{}: {}", volume.name, need.why);
            need
        })
        .collect();
    let bytes = PE_START_BYTES + parts.iter().map(|p| p.bytes).sum::<u64>();
    let why = format!("volume group {} with {} of metadata", group.name, Size(PE_START_BYTES));
    // The volumes were on it when it was captured, so its own size is always enough.
    Need { bytes: bytes.min(captured), why, parts }
}

/// The least bytes for a logical volume, in whole extents (and whole stripes of them).
pub(super) fn of_volume(layout: &Layout, group: &VolumeGroup, volume: &LogicalVolume) -> Need {
    let device = DeviceRef::LogicalVolume { group: group.name.clone(), volume: volume.name.clone() };
    let mut need = of_content(layout, &device, volume.size_bytes, volume.grow);
    let unit = group.extent_bytes * u64::from(volume.stripes.max(1));
    need.bytes = need.bytes.div_ceil(unit) * unit;
    need
}

fn named(fs: &Filesystem) -> String {
    std::iter::once(fs.kind.as_str())
        .chain(fs.mounts().map(|mount| mount.point))
        .collect::<Vec<_>>()
        .join(" ")
}

/// What is used, a reserve of a tenth or 64 MiB so that the clone works at all, and the filesystem's own structures;
/// the captured size when that is less, for there it did fit.
fn of_filesystem(fs: &Filesystem, captured: u64) -> Need {
    let what = named(fs);
    if fs.kind == "swap" {
        return Need::new(captured, format!("{what}, captured size"));
    }
    let reserve = (fs.used_bytes / 10).max(64 * MIB);
    let content = fs.used_bytes + reserve;
    let own = own_structures(fs, content);
    let least = match fs.kind.as_str() {
        "xfs" => XFS_LEAST,
        "btrfs" => BTRFS_LEAST,
        _ => 0,
    };
    let bytes = (content + own).max(least);
    if bytes >= captured {
        return Need::new(captured, format!("{what}, captured size ({} used)", Size(fs.used_bytes)));
    }
    let why = if content + own < least {
        format!("{what}, the least that it can be made with")
    } else {
        format!(
            "{what}, {} used + {} reserve + {} for the filesystem itself",
            Size(fs.used_bytes),
            Size(reserve),
            Size(own)
        )
    };
    Need::new(bytes, why)
}

/// What a filesystem for `content` bytes takes for itself beyond what statvfs counts as used; rounded up generously.
fn own_structures(fs: &Filesystem, content: u64) -> u64 {
    match fs.kind.as_str() {
        "ext2" | "ext3" | "ext4" => {
            let inode = u64::from(fs.features.inode_bytes.unwrap_or(256));
            let per_inode = fs.features.bytes_per_inode.unwrap_or(16384).max(2 * inode);
            // Of a filesystem of S bytes, S × inode / per_inode are inode tables.
            let with_tables =
                (u128::from(content) * u128::from(per_inode) / u128::from(per_inode - inode)) as u64;
            let journal = fs.features.features.iter().any(|f| f == "has_journal");
            // Group descriptors with their backups and room to grow, bitmaps.
            let groups = with_tables / 64;
            with_tables - content + groups + if journal { ext_journal(with_tables) } else { 0 }
        }
        // mkfs.xfs makes the log 1/2048 of the filesystem, at least 64 MiB; allocation groups keep blocks for their
        // trees.
        "xfs" => (content / 2048).clamp(64 * MIB, 2048 * MIB) + content / 32 + 16 * MIB,
        // Metadata is there twice.
        "btrfs" => content / 10 + 128 * MIB,
        _ => content / 64 + MIB,
    }
}

/// The journal that mke2fs makes in a filesystem of this many bytes (`ext2fs_default_journal_size`, 4 KiB blocks).
fn ext_journal(size: u64) -> u64 {
    const STEPS: &[(u64, u64)] = &[
        (128, 4),
        (1024, 16),
        (2048, 32),
        (16 << 10, 64),
        (32 << 10, 128),
        (64 << 10, 256),
        (128 << 10, 512),
    ];
    STEPS.iter().find(|(below, _)| size < below * MIB).map_or(1024, |(_, journal)| *journal) * MIB
}
