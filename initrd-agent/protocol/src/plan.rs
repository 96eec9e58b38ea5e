//! Fits a captured [`Layout`] onto the disks of an [`Inventory`]. Pure: it decides, others act.
//!
//! Disks: exactly one assignment of this machine's disks to the layout's must satisfy the rules, else nothing is
//! chosen and the error lists every disk with why it lost, or all that fit.
//!
//! Sizes follow [`crate::layout::Grow`]. Nothing goes below its minimum: the bytes in use, a reserve of a tenth or
//! 64 MiB, and what the filesystem itself takes (journal, inode tables), but never more than it had when captured. A
//! volume group of several physical volumes is not made smaller than it was captured. When a table has nothing that
//! may grow, its last partition with a volume group or filesystem does.

mod choose;
mod fit;
mod minimum;
mod numbers;
mod supported;
mod table;
#[cfg(test)]
mod tests;
mod text;
mod volumes;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::inventory::{DiskFacts, Inventory};
use crate::layout::{DeviceRef, DiskRules, Filesystem, Layout, MountedAt, PartitionTable};

pub use supported::refuse_unsupported;

const MIB: u64 = 1 << 20;

/// Partitions begin on this boundary: no disk or RAID stripe in use needs a coarser one.
pub const ALIGN_BYTES: u64 = MIB;

/// Where the first extent of a physical volume lies: lvm2's default, and a multiple of every stripe in use.
pub const PE_START_BYTES: u64 = MIB;

/// What a clone's disks will hold, down to devices and bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallPlan {
    /// Every disk that will be overwritten.
    pub disks: Vec<PlannedDisk>,
    /// Volume groups to make on them.
    pub groups: Vec<PlannedGroup>,
    /// Filesystems and swap areas to make: those with a mount point first, parents before children.
    pub filesystems: Vec<PlannedFilesystem>,
}

/// A disk that will be overwritten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedDisk {
    /// Its label in the layout.
    pub label: String,
    /// The chosen disk.
    pub facts: DiskFacts,
    /// The table to write, with the sizes it will have.
    pub table: Option<PartitionTable>,
}

/// A volume group to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedGroup {
    /// Name.
    pub name: String,
    /// LVM UUID.
    pub uuid: String,
    /// Extent size in bytes.
    pub extent_bytes: u64,
    /// Physical volumes.
    pub physical_volumes: Vec<PlannedPhysicalVolume>,
    /// Logical volumes in creation order.
    pub volumes: Vec<PlannedVolume>,
    /// Extents that stay free.
    pub free_extents: u64,
}

/// A physical volume to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedPhysicalVolume {
    /// Device node it is made on.
    pub device: String,
    /// LVM UUID.
    pub uuid: String,
    /// Size of that device in bytes.
    pub size_bytes: u64,
    /// Whole extents on it, the first at [`PE_START_BYTES`].
    pub extents: u64,
}

/// A logical volume to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedVolume {
    /// Name.
    pub name: String,
    /// LVM UUID; none lets lvm2 make one.
    pub uuid: Option<String>,
    /// Size in extents.
    pub extents: u64,
    /// Tags.
    pub tags: Vec<String>,
    /// Where its extents lie, in logical order.
    pub segments: Vec<Segment>,
}

/// A run of a logical volume's extents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Extents in it, over all stripes.
    pub extents: u64,
    /// Size of a stripe in bytes; none when there is one stripe only.
    pub stripe_bytes: Option<u64>,
    /// For each stripe the physical volume (index into the group's) and the first extent on it.
    pub stripes: Vec<(usize, u64)>,
}

/// A filesystem or swap area to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFilesystem {
    /// Device node it is made on.
    pub device: String,
    /// Size of that device in bytes.
    pub size_bytes: u64,
    /// What to make; features are the captured ones, but for a block or sector size that this disk does not take.
    pub facts: Filesystem,
}

/// Why a layout does not go onto a machine. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No disk will do.
    #[error("no disk of this machine fits '{label}' of the image:\n{candidates}\nneeded:\n{need}")]
    NoDisk {
        /// Layout label.
        label: String,
        /// What was asked for and the arithmetic of the smallest possible size, one item a line.
        need: String,
        /// Every disk with why it lost, one a line.
        candidates: String,
    },
    /// More than one will do.
    #[error(
        "more than one disk of this machine fits '{label}' of the image:\n{candidates}\n\
         name one: chdef <node> installdisk={hint} (or wwn=, path=, name=)"
    )]
    Ambiguous {
        /// Layout label.
        label: String,
        /// The disks that fit, one a line.
        candidates: String,
        /// A rule that names the first of them.
        hint: String,
    },
    /// The node's rules name a layout disk that the image does not have.
    #[error("the node's installdisk has rules for '{label}', but the image's disks are: {known}")]
    UnknownLabel {
        /// The label in the rules.
        label: String,
        /// The labels in the layout.
        known: String,
    },
    /// The layout holds something that this version cannot make.
    #[error("the image's layout has {what}, which this version cannot make")]
    Unsupported {
        /// What.
        what: String,
    },
    /// The layout contradicts itself.
    #[error("the image's layout is wrong: {what}")]
    Broken {
        /// How.
        what: String,
    },
}

/// Chooses disks and sizes. `rules` replace the layout's own, by disk label; with one disk in the layout the empty
/// label stands for it.
///
/// # Errors
/// No assignment or more than one fits, or the layout has what this version cannot make.
pub fn plan(
    layout: &Layout,
    inventory: &Inventory,
    rules: &BTreeMap<String, DiskRules>,
) -> Result<InstallPlan, PlanError> {
    let layout = &prepared(layout, rules)?;
    refuse_unsupported(layout)?;
    numbers::refuse_impossible(layout)?;
    let disks = choose::choose(layout, inventory)?
        .into_iter()
        .zip(&layout.disks)
        .map(|(facts, disk)| table::planned_disk(layout, disk, facts))
        .collect::<Result<Vec<_>, _>>()?;
    let groups = layout
        .volume_groups
        .iter()
        .map(|group| volumes::planned_group(layout, group, &disks))
        .collect::<Result<Vec<_>, _>>()?;
    let mut filesystems = layout
        .filesystems
        .iter()
        .map(|fs| planned_filesystem(fs, &disks, &groups))
        .collect::<Result<Vec<_>, _>>()?;
    filesystems
        .sort_by_key(|fs| fs.facts.mounts().map(|mount| mount_order(mount.point)).min().unwrap_or(LAST));
    Ok(InstallPlan { disks, groups, filesystems })
}

impl InstallPlan {
    /// The device node of a layout device on this machine.
    #[must_use]
    pub fn device(&self, device: &DeviceRef) -> Option<String> {
        device_node(device, &self.disks)
    }

    /// Everything that is mounted, parents before children.
    #[must_use]
    pub fn mounts(&self) -> Vec<(&PlannedFilesystem, MountedAt<'_>)> {
        let all = self.filesystems.iter().flat_map(|fs| fs.facts.mounts().map(move |mount| (fs, mount)));
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|(_, mount)| mount_order(mount.point));
        all
    }
}

/// `/` before `/var` before `/var/log`; what is not mounted comes last.
fn mount_order(point: &str) -> (usize, String) {
    (if point == "/" { 0 } else { point.matches('/').count() }, point.to_owned())
}

const LAST: (usize, String) = (usize::MAX, String::new());

/// The layout with the node's rules in place of its own.
fn prepared(layout: &Layout, rules: &BTreeMap<String, DiskRules>) -> Result<Layout, PlanError> {
    let mut layout = layout.clone();
    for (label, rules) in rules {
        let one = layout.disks.len() == 1;
        match layout.disks.iter_mut().find(|d| d.name == *label || (label.is_empty() && one)) {
            Some(disk) => disk.rules = rules.clone(),
            None => {
                let known: Vec<&str> = layout.disks.iter().map(|d| d.name.as_str()).collect();
                return Err(PlanError::UnknownLabel { label: label.clone(), known: known.join(", ") });
            }
        }
    }
    Ok(layout)
}

fn planned_filesystem(
    fs: &Filesystem,
    disks: &[PlannedDisk],
    groups: &[PlannedGroup],
) -> Result<PlannedFilesystem, PlanError> {
    let lost =
        || PlanError::Broken { what: format!("a {} filesystem is on a device it does not have", fs.kind) };
    let device = device_node(&fs.device, disks).ok_or_else(lost)?;
    let (size_bytes, sector_bytes) = match &fs.device {
        DeviceRef::LogicalVolume { group, volume } => {
            let group = groups.iter().find(|g| g.name == *group).ok_or_else(lost)?;
            let volume = group.volumes.iter().find(|v| v.name == *volume).ok_or_else(lost)?;
            let sector = group.physical_volumes.iter().filter_map(|pv| sector_of(&pv.device, disks)).max();
            (volume.extents * group.extent_bytes, sector.ok_or_else(lost)?)
        }
        DeviceRef::Partition { disk, .. } | DeviceRef::WholeDisk { disk } => {
            let size = device_size(&fs.device, disks).ok_or_else(lost)?;
            let disk = disks.iter().find(|d| d.label == *disk).ok_or_else(lost)?;
            (size, disk.facts.sector_bytes)
        }
    };
    Ok(PlannedFilesystem { device, size_bytes, facts: with_sectors(fs.clone(), sector_bytes) })
}

/// The sector size of the disk that a node is on.
fn sector_of(node: &str, disks: &[PlannedDisk]) -> Option<u32> {
    let on = |disk: &&PlannedDisk| {
        let mut partitions = disk.table.iter().flat_map(|t| &t.partitions);
        disk.facts.device() == node || partitions.any(|p| disk.facts.partition_device(p.number) == node)
    };
    disks.iter().find(on).map(|disk| disk.facts.sector_bytes)
}

/// A filesystem block or sector cannot be smaller than a sector of the disk below it.
fn with_sectors(mut fs: Filesystem, sector_bytes: u32) -> Filesystem {
    fs.features.block_bytes = fs.features.block_bytes.map(|block| block.max(sector_bytes));
    for feature in &mut fs.features.features {
        let sector = feature.strip_prefix("sectsize=").and_then(|n| n.parse::<u32>().ok());
        if sector.is_some_and(|sector| sector < sector_bytes) {
            *feature = format!("sectsize={sector_bytes}");
        }
    }
    fs
}

fn device_node(device: &DeviceRef, disks: &[PlannedDisk]) -> Option<String> {
    let find = |label: &str| disks.iter().find(|d| d.label == label);
    match device {
        DeviceRef::Partition { disk, number } => Some(find(disk)?.facts.partition_device(*number)),
        DeviceRef::WholeDisk { disk } => Some(find(disk)?.facts.device()),
        DeviceRef::LogicalVolume { group, volume } => Some(format!("/dev/{group}/{volume}")),
    }
}

fn device_size(device: &DeviceRef, disks: &[PlannedDisk]) -> Option<u64> {
    match device {
        DeviceRef::Partition { disk, number } => {
            let table = disks.iter().find(|d| d.label == *disk)?.table.as_ref()?;
            Some(table.partitions.iter().find(|p| p.number == *number)?.size_bytes)
        }
        DeviceRef::WholeDisk { disk } => Some(disks.iter().find(|d| d.label == *disk)?.facts.size_bytes),
        DeviceRef::LogicalVolume { .. } => None,
    }
}
