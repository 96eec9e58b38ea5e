//! Refuses numbers that no machine has, so that the arithmetic of a plan cannot overflow.

use crate::layout::Layout;

use super::PlanError;

/// No disk has more bytes (4 PiB), and [`MOST_THINGS`] such numbers add up to less than 64 bits hold.
const MOST_BYTES: u64 = 1 << 52;
/// Partitions, volumes and the like in one layout.
const MOST_THINGS: usize = 1024;
/// An extent, over all stripes, is far below a disk.
const MOST_EXTENT_BYTES: u64 = 1 << 40;
/// Physical volumes that lvm2 stripes over.
const MOST_STRIPES: u32 = 128;

/// The sector sizes that disks have; none, or an absurd one, is a disk that could not be read.
pub(super) fn is_sector_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && (512..=65536).contains(&bytes)
}

/// Whether a disk can have this many bytes.
pub(super) fn is_disk_size(bytes: u64) -> bool {
    bytes <= MOST_BYTES
}

/// Checks every number of a layout.
///
/// # Errors
/// The first that is out of range.
pub(super) fn refuse_impossible(layout: &Layout) -> Result<(), PlanError> {
    let partitions = || layout.disks.iter().flat_map(|d| &d.table).flat_map(|t| &t.partitions);
    let volumes = || layout.volume_groups.iter().flat_map(|g| &g.logical_volumes);
    let things = layout.disks.len() + partitions().count() + volumes().count() + layout.filesystems.len();
    if things > MOST_THINGS {
        return Err(broken(format!("{things} disks, partitions, volumes and filesystems")));
    }
    let sizes = (layout.disks.iter().map(|d| ("a disk", d.size_bytes)))
        .chain(
            partitions()
                .flat_map(|p| [("a partition", p.size_bytes), ("a partition's start", p.start_bytes)]),
        )
        .chain(volumes().map(|v| ("a volume", v.size_bytes)))
        .chain(layout.filesystems.iter().map(|f| ("a filesystem", f.used_bytes)))
        .chain(layout.filesystems.iter().filter_map(|f| Some(("an inode", f.features.bytes_per_inode?))));
    for (what, bytes) in sizes {
        if bytes > MOST_BYTES {
            return Err(broken(format!("{what} of {bytes} bytes")));
        }
    }
    if let Some(group) = layout.volume_groups.iter().find(|g| g.extent_bytes > MOST_EXTENT_BYTES) {
        return Err(broken(format!("group {} with extents of {} bytes", group.name, group.extent_bytes)));
    }
    if let Some(disk) = layout.disks.iter().find(|d| !is_sector_size(d.sector_bytes)) {
        return Err(broken(format!("disk {} with sectors of {} bytes", disk.name, disk.sector_bytes)));
    }
    match volumes().find(|v| v.stripes > MOST_STRIPES) {
        Some(volume) => Err(broken(format!("volume {} with {} stripes", volume.name, volume.stripes))),
        None => Ok(()),
    }
}

fn broken(what: String) -> PlanError {
    PlanError::Broken { what: format!("it has {what}") }
}
