//! Refuses layouts that contradict themselves or hold what this version cannot make.

use std::collections::BTreeSet;

use crate::layout::{DeviceRef, Disk, Filesystem, Layout, PartitionTable, TableKind, VolumeGroup};

use super::PlanError;

/// Filesystems that the agent makes.
const KINDS: &[&str] = &["ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "swap"];

/// Most entries of the GPT that is written: the default of every tool.
const GPT_ENTRIES: u32 = 128;

/// Checks a layout without a machine: a capture calls it too, so that an image that could never be installed is not
/// made in the first place.
///
/// # Errors
/// The first thing that this version cannot make, or that does not fit together.
pub fn refuse_unsupported(layout: &Layout) -> Result<(), PlanError> {
    layout.disks.iter().try_for_each(disk)?;
    layout.volume_groups.iter().try_for_each(group)?;
    filesystems(layout)?;
    devices(layout)
}

fn unsupported(what: String) -> PlanError {
    PlanError::Unsupported { what }
}

fn broken(what: String) -> PlanError {
    PlanError::Broken { what }
}

fn disk(disk: &Disk) -> Result<(), PlanError> {
    let Some(table) = &disk.table else { return Ok(()) };
    let mut numbers = BTreeSet::new();
    for partition in &table.partitions {
        let number = partition.number;
        if number == 0 || !numbers.insert(number) {
            return Err(broken(format!("disk {} has partition {number} twice or as number 0", disk.name)));
        }
        if partition.size_bytes == 0 {
            return Err(broken(format!("partition {number} of disk {} has no size", disk.name)));
        }
    }
    match table.kind {
        TableKind::Gpt if numbers.last().is_some_and(|n| *n > GPT_ENTRIES) => {
            Err(unsupported(format!("a GPT of more than {GPT_ENTRIES} entries on {}", disk.name)))
        }
        TableKind::Gpt => Ok(()),
        TableKind::Mbr => extended(disk, table),
    }
}

/// Logical partitions need one extended partition, and an extended one is nothing without them.
fn extended(disk: &Disk, table: &PartitionTable) -> Result<(), PlanError> {
    let extended = table.partitions.iter().filter(|p| p.is_extended(table.kind)).count();
    let logical = table.partitions.iter().any(|p| p.number > 4);
    match (extended, logical) {
        (0, true) => Err(broken(format!("disk {} has logical partitions but no extended one", disk.name))),
        (1, false) => Err(unsupported(format!("an empty extended partition on {}", disk.name))),
        (0, false) | (1, true) => Ok(()),
        _ => Err(unsupported(format!("more than one extended partition on {}", disk.name))),
    }
}

fn group(group: &VolumeGroup) -> Result<(), PlanError> {
    if !group.extent_bytes.is_power_of_two() || group.extent_bytes < 1024 {
        return Err(broken(format!(
            "volume group {} has extents of {} bytes",
            group.name, group.extent_bytes
        )));
    }
    let mut names = group.logical_volumes.iter().map(|v| &v.name).chain([&group.name]);
    if let Some(name) = names.find(|name| !is_lvm_name(name)) {
        return Err(broken(format!("volume group {} has '{name}', which is no name for lvm2", group.name)));
    }
    let volumes: BTreeSet<_> = group.logical_volumes.iter().map(|v| &v.name).collect();
    if volumes.len() < group.logical_volumes.len() {
        return Err(broken(format!("volume group {} has two volumes of one name", group.name)));
    }
    for volume in &group.logical_volumes {
        let name = format!("{}/{}", group.name, volume.name);
        let stripes = usize::try_from(volume.stripes).unwrap_or(usize::MAX);
        match volume.segment_type.as_str() {
            "linear" => {}
            "striped" if stripes > 1 && stripes <= group.physical_volumes.len() => {}
            "striped" => return Err(broken(format!("logical volume {name} has {stripes} stripes"))),
            other => return Err(unsupported(format!("the {other} logical volume {name}"))),
        }
    }
    Ok(())
}

/// The characters of `lvm(8)`, "Valid names"; a name is also part of a path.
fn is_lvm_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+_.-".contains(&b);
    (1..=127).contains(&name.len())
        && !name.starts_with('-')
        && !matches!(name, "." | "..")
        && name.bytes().all(plain)
}

fn filesystems(layout: &Layout) -> Result<(), PlanError> {
    let mut points = BTreeSet::new();
    for fs in &layout.filesystems {
        for at in fs.mounts().map(|mount| mount.point) {
            let plain = at.starts_with('/') && !at.split('/').any(|part| part == "..");
            if !plain || !points.insert(at) {
                return Err(broken(format!("the mount point '{at}' is there twice or is no absolute path")));
            }
        }
        subvolumes(fs)?;
    }
    match layout.filesystems.iter().find(|fs| !KINDS.contains(&fs.kind.as_str())) {
        Some(fs) => Err(unsupported(format!("a {} filesystem", fs.kind))),
        None => Ok(()),
    }
}

fn subvolumes(fs: &Filesystem) -> Result<(), PlanError> {
    let mut paths = BTreeSet::new();
    for path in fs.subvolumes.iter().map(|part| part.path.as_str()) {
        let plain = !path.contains(',') && path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if !plain || !paths.insert(path) {
            return Err(broken(format!("the subvolume '{path}' is there twice or is no path")));
        }
    }
    if !paths.is_empty() && fs.kind != "btrfs" {
        return Err(broken(format!("a {} filesystem has subvolumes", fs.kind)));
    }
    Ok(())
}

/// Everything that lives on a device lives on one that exists, alone.
fn devices(layout: &Layout) -> Result<(), PlanError> {
    let mut taken = BTreeSet::new();
    let pvs = layout.volume_groups.iter().flat_map(|g| g.physical_volumes.iter().map(|pv| &pv.device));
    for device in pvs.chain(layout.filesystems.iter().map(|fs| &fs.device)) {
        if !exists(layout, device) {
            return Err(broken(format!("something is on {device:?}, which it does not have")));
        }
        if !taken.insert(device) {
            return Err(broken(format!("two things are on {device:?}")));
        }
    }
    Ok(())
}

fn exists(layout: &Layout, device: &DeviceRef) -> bool {
    let disk = |label: &str| layout.disks.iter().find(|d| d.name == label);
    match device {
        DeviceRef::WholeDisk { disk: label } => disk(label).is_some_and(|d| d.table.is_none()),
        DeviceRef::Partition { disk: label, number } => disk(label)
            .and_then(|d| d.table.as_ref())
            .is_some_and(|t| t.partitions.iter().any(|p| p.number == *number && !p.is_extended(t.kind))),
        DeviceRef::LogicalVolume { group, volume } => layout
            .volume_groups
            .iter()
            .any(|g| g.name == *group && g.logical_volumes.iter().any(|v| v.name == *volume)),
    }
}
