//! Fits a captured [`Layout`] onto the disks of an [`Inventory`]. Pure: it decides, others act.
//!
//! Sizes: `Fixed` partitions keep their captured size; `Share` partitions divide what is left of the disk by weight
//! and may also shrink. Logical volumes keep their captured size while the volume group has room (what is left over
//! stays free in the group, as an administrator would leave it); in a smaller group those with a filesystem give up
//! their slack in proportion. Nothing goes below its minimum: the bytes in use plus a reserve, see [`minimum_bytes`].

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::inventory::{DiskFacts, Inventory};
use crate::layout::{
    DeviceRef, Disk, DiskRules, Filesystem, Grow, Layout, Partition, PartitionTable, TableKind, VolumeGroup,
};

const MIB: u64 = 1 << 20;

/// Partitions begin on this boundary: no disk or RAID stripe in use needs a coarser one.
pub const ALIGN_BYTES: u64 = MIB;

/// Kept free at the end of a disk: the backup GPT needs 33 sectors, rounded up to the alignment.
const TAIL_BYTES: u64 = MIB;

/// Where lvm2 puts the first extent of a physical volume by default.
const PE_START_BYTES: u64 = MIB;

/// What a clone's disks will hold, down to devices and bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallPlan {
    /// Every disk that will be overwritten.
    pub disks: Vec<PlannedDisk>,
    /// Volume groups to make on them.
    pub groups: Vec<PlannedGroup>,
    /// Filesystems and swap areas to make, parents of mount points first.
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
    /// Extent size in bytes.
    pub extent_bytes: u64,
    /// Device and LVM UUID of each physical volume.
    pub physical_volumes: Vec<(String, String)>,
    /// Logical volumes in creation order.
    pub volumes: Vec<PlannedVolume>,
    /// Extents that stay free.
    pub free_extents: u64,
}

/// A logical volume to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedVolume {
    /// Name.
    pub name: String,
    /// Size in extents.
    pub extents: u64,
    /// Tags.
    pub tags: Vec<String>,
}

/// A filesystem or swap area to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedFilesystem {
    /// Device node it is made on.
    pub device: String,
    /// Size of that device in bytes.
    pub size_bytes: u64,
    /// What to make.
    pub facts: Filesystem,
}

/// Why a layout does not go onto a machine. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No disk will do.
    #[error("no disk fits '{label}' ({need}):\n{candidates}")]
    NoDisk {
        /// Layout label.
        label: String,
        /// What was asked for.
        need: String,
        /// Every disk with why it lost, one a line.
        candidates: String,
    },
    /// More than one will do.
    #[error(
        "more than one disk fits '{label}' ({need}):\n{candidates}\nname one: chdef <node> installdisk=serial=… (or wwn=, path=)"
    )]
    Ambiguous {
        /// Layout label.
        label: String,
        /// What was asked for.
        need: String,
        /// The disks that fit, one a line.
        candidates: String,
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

/// The least room that a filesystem with `used` bytes in it gets: what is used, and for the filesystem's own
/// structures and for the clone to work at all a tenth of it or 64 MiB, whichever is more.
#[must_use]
pub fn minimum_bytes(used: u64) -> u64 {
    used + (used / 10).max(64 * MIB)
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
    let layout = &with_rules(layout, rules)?;
    refuse_unsupported(layout)?;
    let chosen = choose(layout, inventory)?;
    let disks = layout
        .disks
        .iter()
        .zip(chosen)
        .map(|(disk, facts)| planned_disk(layout, disk, facts))
        .collect::<Result<Vec<_>, _>>()?;
    let groups = layout
        .volume_groups
        .iter()
        .map(|g| planned_group(layout, g, &disks))
        .collect::<Result<Vec<_>, _>>()?;
    let mut filesystems = layout
        .filesystems
        .iter()
        .map(|fs| planned_filesystem(fs, &disks, &groups))
        .collect::<Result<Vec<_>, _>>()?;
    // "/" before "/var" before "/var/log"; swap last.
    filesystems.sort_by_key(|fs| {
        fs.facts.mount_point.as_ref().map_or((true, 0, String::new()), |at| {
            (false, if at == "/" { 0 } else { at.matches('/').count() }, at.clone())
        })
    });
    Ok(InstallPlan { disks, groups, filesystems })
}

impl InstallPlan {
    /// The device node of a layout device on this machine.
    #[must_use]
    pub fn device(&self, device: &DeviceRef) -> Option<String> {
        device_node(device, &self.disks)
    }
}

fn with_rules(layout: &Layout, rules: &BTreeMap<String, DiskRules>) -> Result<Layout, PlanError> {
    let mut layout = layout.clone();
    for (label, rules) in rules {
        let one = layout.disks.len() == 1;
        let disk = layout.disks.iter_mut().find(|d| d.name == *label || (label.is_empty() && one));
        let Some(disk) = disk else {
            let what = format!("no disk is labelled '{label}', for which the node has rules (installdisk)");
            return Err(PlanError::Broken { what });
        };
        disk.rules = rules.clone();
    }
    Ok(layout)
}

fn refuse_unsupported(layout: &Layout) -> Result<(), PlanError> {
    let unsupported = |what: String| Err(PlanError::Unsupported { what });
    for disk in &layout.disks {
        let table = disk.table.iter().filter(|t| t.kind == TableKind::Mbr);
        for partition in table.flat_map(|t| &t.partitions) {
            let extended =
                matches!(partition.type_id.to_ascii_lowercase().as_str(), "5" | "05" | "f" | "0f" | "85");
            if partition.number > 4 || extended {
                return unsupported(format!("logical partitions on {}", disk.name));
            }
        }
    }
    for volume in layout.volume_groups.iter().flat_map(|g| &g.logical_volumes) {
        if volume.segment_type != "linear" {
            return unsupported(format!("the {} logical volume {}", volume.segment_type, volume.name));
        }
    }
    Ok(())
}

// ---- choosing disks

fn choose<'i>(layout: &Layout, inventory: &'i Inventory) -> Result<Vec<&'i DiskFacts>, PlanError> {
    let mut fitting = Vec::new();
    for disk in &layout.disks {
        let need = needed_bytes(layout, disk)?;
        let judged: Vec<_> = inventory.disks.iter().map(|f| (f, objection(disk, f, need))).collect();
        let fits: Vec<&DiskFacts> = judged.iter().filter(|(_, o)| o.is_none()).map(|(f, _)| *f).collect();
        if fits.is_empty() {
            let lines: Vec<String> = judged
                .iter()
                .map(|(f, o)| format!("  {}: {}", describe(f), o.as_deref().unwrap_or_default()))
                .collect();
            let candidates =
                if lines.is_empty() { "  this machine has no disks".to_owned() } else { lines.join("\n") };
            return Err(PlanError::NoDisk { label: disk.name.clone(), need: needs(disk, need), candidates });
        }
        fitting.push((disk, need, fits));
    }
    let mut assignments = Vec::new();
    assign(
        &fitting.iter().map(|(_, _, fits)| &fits[..]).collect::<Vec<_>>(),
        &mut Vec::new(),
        &mut assignments,
    );
    match assignments.len() {
        1 => Ok(assignments.remove(0)),
        count => {
            let open = fitting.iter().find(|(_, _, fits)| fits.len() > 1).unwrap_or(&fitting[0]);
            let (disk, need, fits) = open;
            let lines: Vec<String> = fits.iter().map(|f| format!("  {}", describe(f))).collect();
            let (label, need, candidates) = (disk.name.clone(), needs(disk, *need), lines.join("\n"));
            Err(if count == 0 {
                PlanError::NoDisk {
                    label,
                    need,
                    candidates: format!("{candidates}\n  are needed more than once"),
                }
            } else {
                PlanError::Ambiguous { label, need, candidates }
            })
        }
    }
}

/// All ways to give each layout disk one of its fitting disks, at most two (more than one is an error anyway).
fn assign<'i>(
    fitting: &[&[&'i DiskFacts]],
    taken: &mut Vec<&'i DiskFacts>,
    found: &mut Vec<Vec<&'i DiskFacts>>,
) {
    let Some(fits) = fitting.get(taken.len()) else {
        found.push(taken.clone());
        return;
    };
    for facts in *fits {
        if found.len() < 2 && !taken.iter().any(|t| t.name == facts.name) {
            taken.push(facts);
            assign(fitting, taken, found);
            taken.pop();
        }
    }
}

/// Why this disk may not be used for that layout disk; none when it may.
fn objection(disk: &Disk, facts: &DiskFacts, need: u64) -> Option<String> {
    let rules = &disk.rules;
    let named = rules.serial.is_some() || rules.wwn.is_some() || rules.path.is_some() || rules.name.is_some();
    let differs = |rule: &Option<String>, found: &Option<String>, what: &str| match (rule, found) {
        (Some(rule), Some(found)) if rule.trim() == found.trim() => None,
        (Some(rule), found) => {
            Some(format!("its {what} is {}, not {rule}", found.as_deref().unwrap_or("unknown")))
        }
        (None, _) => None,
    };
    let name = Some(facts.name.clone());
    if let Some(why) = differs(&rules.serial, &facts.serial, "serial number")
        .or_else(|| differs(&rules.wwn, &facts.wwn, "WWN"))
        .or_else(|| differs(&rules.path, &facts.path, "path"))
        .or_else(|| differs(&rules.name, &name, "name"))
        .or_else(|| differs(&rules.transport, &facts.transport, "transport"))
    {
        return Some(why);
    }
    if facts.read_only {
        return Some("it is read-only".into());
    }
    if let Some(holder) = &facts.held_by {
        return Some(format!("it is in use: {holder}"));
    }
    let portable = facts.removable || facts.transport.as_deref() == Some("usb");
    if portable && !named {
        return Some("it is removable or on USB, and was not named".into());
    }
    if rules.rotational.is_some_and(|r| r != facts.rotational) {
        return Some(format!("it is {}", if facts.rotational { "spinning" } else { "not spinning" }));
    }
    if rules.max_bytes.is_some_and(|max| facts.size_bytes > max) {
        return Some(format!("it is larger than {}", Size(rules.max_bytes.unwrap_or_default())));
    }
    let least = need.max(rules.min_bytes.unwrap_or(0));
    (facts.size_bytes < least).then(|| {
        format!(
            "too small: {} needed, {} there, {} short",
            Size(least),
            Size(facts.size_bytes),
            Size(least - facts.size_bytes)
        )
    })
}

fn needs(disk: &Disk, need: u64) -> String {
    let mut text = format!("at least {}", Size(need));
    let rules = &disk.rules;
    for (word, value) in [
        ("serial", &rules.serial),
        ("wwn", &rules.wwn),
        ("path", &rules.path),
        ("name", &rules.name),
        ("transport", &rules.transport),
    ] {
        if let Some(value) = value {
            text += &format!(", {word}={value}");
        }
    }
    text
}

fn describe(facts: &DiskFacts) -> String {
    let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".into());
    format!(
        "{} {} {} model={} serial={} wwn={}",
        facts.device(),
        Size(facts.size_bytes),
        facts.transport.as_deref().unwrap_or("?"),
        or(&facts.model),
        or(&facts.serial),
        or(&facts.wwn)
    )
}

// ---- sizes

/// The smallest disk that this layout disk goes onto.
fn needed_bytes(layout: &Layout, disk: &Disk) -> Result<u64, PlanError> {
    let Some(table) = &disk.table else {
        let device = DeviceRef::WholeDisk { disk: disk.name.clone() };
        return content_minimum(layout, &device).map(|m| m.unwrap_or(disk.size_bytes));
    };
    let mut need = ALIGN_BYTES + TAIL_BYTES;
    for partition in &table.partitions {
        need += align_up(partition_minimum(layout, disk, partition)?);
    }
    Ok(need)
}

fn partition_minimum(layout: &Layout, disk: &Disk, partition: &Partition) -> Result<u64, PlanError> {
    if partition.grow == Grow::Fixed {
        return Ok(partition.size_bytes);
    }
    let device = DeviceRef::Partition { disk: disk.name.clone(), number: partition.number };
    Ok(content_minimum(layout, &device)?.unwrap_or(partition.size_bytes).min(partition.size_bytes))
}

/// Least bytes for what is on a device; none when nothing that could shrink is.
fn content_minimum(layout: &Layout, device: &DeviceRef) -> Result<Option<u64>, PlanError> {
    if let Some(fs) = layout.filesystems.iter().find(|fs| fs.device == *device) {
        return Ok((fs.kind != "swap").then(|| minimum_bytes(fs.used_bytes)));
    }
    let Some(group) =
        layout.volume_groups.iter().find(|g| g.physical_volumes.iter().any(|pv| pv.device == *device))
    else {
        return Ok(None);
    };
    if group.physical_volumes.len() > 1 {
        return Ok(None);
    }
    let mut extents = 0;
    for volume in &group.logical_volumes {
        extents += volume_minimum(layout, group, &volume.name, volume.size_bytes)?;
    }
    Ok(Some(PE_START_BYTES + extents * group.extent_bytes))
}

/// Least extents of a logical volume.
fn volume_minimum(layout: &Layout, group: &VolumeGroup, name: &str, size: u64) -> Result<u64, PlanError> {
    if group.extent_bytes == 0 {
        return Err(PlanError::Broken { what: format!("volume group {} has no extent size", group.name) });
    }
    let device = DeviceRef::LogicalVolume { group: group.name.clone(), volume: name.to_owned() };
    let fs = layout.filesystems.iter().find(|fs| fs.device == device && fs.kind != "swap");
    let least = fs.map_or(size, |fs| minimum_bytes(fs.used_bytes).min(size));
    Ok(least.div_ceil(group.extent_bytes))
}

fn planned_disk(layout: &Layout, disk: &Disk, facts: &DiskFacts) -> Result<PlannedDisk, PlanError> {
    let label = disk.name.clone();
    let Some(table) = &disk.table else {
        return Ok(PlannedDisk { label, facts: facts.clone(), table: None });
    };
    let usable = align_down(facts.size_bytes.saturating_sub(TAIL_BYTES)).saturating_sub(ALIGN_BYTES);
    let mut wanted = Vec::new();
    for partition in &table.partitions {
        let weight = match partition.grow {
            Grow::Fixed => 0,
            Grow::Share { weight } => weight.max(1),
        };
        wanted.push((align_up(partition_minimum(layout, disk, partition)?), weight));
    }
    let sizes = share(usable, &wanted);
    let mut start = ALIGN_BYTES;
    let mut order: Vec<usize> = (0..table.partitions.len()).collect();
    order.sort_by_key(|i| table.partitions[*i].start_bytes);
    let mut partitions = Vec::new();
    for i in order {
        let partition = &table.partitions[i];
        let size_bytes = if partition.grow == Grow::Fixed { partition.size_bytes } else { sizes[i] };
        partitions.push(Partition { start_bytes: start, size_bytes, ..partition.clone() });
        start = align_up(start + size_bytes);
    }
    let table = PartitionTable { partitions, ..table.clone() };
    Ok(PlannedDisk { label, facts: facts.clone(), table: Some(table) })
}

/// Divides `room` among parts of (minimum, weight): every part gets its minimum, what is left goes by weight, on the
/// alignment. The caller made sure that the minimums fit.
fn share(room: u64, parts: &[(u64, u32)]) -> Vec<u64> {
    let total: u64 = parts.iter().map(|(_, weight)| u64::from(*weight)).sum();
    let mut open: Vec<usize> = (0..parts.len()).filter(|i| parts[*i].1 > 0).collect();
    let mut sizes: Vec<u64> = parts.iter().map(|(least, _)| *least).collect();
    let mut weights = total;
    let mut left = room.saturating_sub((0..parts.len()).filter(|i| parts[*i].1 == 0).map(|i| sizes[i]).sum());
    // A part whose share is below its minimum keeps the minimum; the others divide the rest anew.
    while let Some(at) = open.iter().position(|i| by_weight(left, parts[*i].1, weights) < parts[*i].0) {
        let i = open.remove(at);
        left = left.saturating_sub(sizes[i]);
        weights -= u64::from(parts[i].1);
    }
    for i in open {
        sizes[i] = align_down(by_weight(left, parts[i].1, weights)).max(sizes[i]);
    }
    sizes
}

fn by_weight(room: u64, weight: u32, weights: u64) -> u64 {
    let part = u128::from(room) * u128::from(weight) / u128::from(weights.max(1));
    u64::try_from(part).expect("a share of a u64 is a u64")
}

fn planned_group(
    layout: &Layout,
    group: &VolumeGroup,
    disks: &[PlannedDisk],
) -> Result<PlannedGroup, PlanError> {
    let mut capacity = 0;
    let mut physical_volumes = Vec::new();
    for pv in &group.physical_volumes {
        let lost =
            || PlanError::Broken { what: format!("volume group {} is on a missing partition", group.name) };
        let node = device_node(&pv.device, disks).ok_or_else(lost)?;
        let size = device_size(&pv.device, disks).ok_or_else(lost)?;
        capacity += size.saturating_sub(PE_START_BYTES) / group.extent_bytes.max(1);
        physical_volumes.push((node, pv.uuid.clone()));
    }
    let mut wanted = Vec::new();
    for volume in &group.logical_volumes {
        let least = volume_minimum(layout, group, &volume.name, volume.size_bytes)?;
        wanted.push((least, volume.size_bytes.div_ceil(group.extent_bytes)));
    }
    let extents = fit_volumes(capacity, &wanted).ok_or_else(|| PlanError::NoDisk {
        label: group.name.clone(),
        need: format!("{} extents", wanted.iter().map(|(least, _)| least).sum::<u64>()),
        candidates: format!("  volume group {} will have {capacity} extents", group.name),
    })?;
    let volumes: Vec<PlannedVolume> = group
        .logical_volumes
        .iter()
        .zip(&extents)
        .map(|(lv, extents)| PlannedVolume {
            name: lv.name.clone(),
            extents: *extents,
            tags: lv.tags.clone(),
        })
        .collect();
    Ok(PlannedGroup {
        name: group.name.clone(),
        extent_bytes: group.extent_bytes,
        physical_volumes,
        free_extents: capacity - extents.iter().sum::<u64>(),
        volumes,
    })
}

/// Captured sizes when they fit; otherwise each gives up slack (captured minus minimum) in proportion.
fn fit_volumes(capacity: u64, wanted: &[(u64, u64)]) -> Option<Vec<u64>> {
    let captured: u64 = wanted.iter().map(|(_, size)| size).sum();
    let least: u64 = wanted.iter().map(|(least, _)| least).sum();
    if captured <= capacity {
        return Some(wanted.iter().map(|(_, size)| *size).collect());
    }
    let (room, slack) = (capacity.checked_sub(least)?, captured - least);
    let kept = |(least, size): &(u64, u64)| {
        let part = u128::from(size - least) * u128::from(room) / u128::from(slack.max(1));
        least + u64::try_from(part).expect("a part of a u64 is a u64")
    };
    Some(wanted.iter().map(kept).collect())
}

fn planned_filesystem(
    fs: &Filesystem,
    disks: &[PlannedDisk],
    groups: &[PlannedGroup],
) -> Result<PlannedFilesystem, PlanError> {
    let lost = || PlanError::Broken { what: format!("a {} filesystem is on a missing device", fs.kind) };
    let device = device_node(&fs.device, disks).ok_or_else(lost)?;
    let size_bytes = match &fs.device {
        DeviceRef::LogicalVolume { group, volume } => {
            let group = groups.iter().find(|g| g.name == *group).ok_or_else(lost)?;
            let volume = group.volumes.iter().find(|v| v.name == *volume).ok_or_else(lost)?;
            volume.extents * group.extent_bytes
        }
        DeviceRef::Partition { .. } | DeviceRef::WholeDisk { .. } => {
            device_size(&fs.device, disks).ok_or_else(lost)?
        }
    };
    Ok(PlannedFilesystem { device, size_bytes, facts: fs.clone() })
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

fn align_up(bytes: u64) -> u64 {
    bytes.div_ceil(ALIGN_BYTES) * ALIGN_BYTES
}

fn align_down(bytes: u64) -> u64 {
    bytes / ALIGN_BYTES * ALIGN_BYTES
}

// ---- for people

/// Shows bytes with a binary unit.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = self.0.div_ceil(MIB);
        let text = if mib < 10 * 1024 {
            format!("{mib} MiB")
        } else {
            format!("{}.{} GiB", mib / 1024, mib % 1024 * 10 / 1024)
        };
        f.pad(&text)
    }
}

impl fmt::Display for InstallPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for disk in &self.disks {
            writeln!(f, "overwrite {}", describe(&disk.facts))?;
            for p in disk.table.iter().flat_map(|t| &t.partitions) {
                let node = disk.facts.partition_device(p.number);
                writeln!(
                    f,
                    "  {node:<16} {:>10}  {} {}",
                    Size(p.size_bytes).to_string(),
                    p.type_id,
                    p.name.as_deref().unwrap_or("")
                )?;
            }
        }
        for group in &self.groups {
            let devices: Vec<&str> = group.physical_volumes.iter().map(|(d, _)| d.as_str()).collect();
            writeln!(f, "volume group {} on {}", group.name, devices.join(" "))?;
            for volume in &group.volumes {
                writeln!(
                    f,
                    "  {:<16} {:>10}",
                    volume.name,
                    Size(volume.extents * group.extent_bytes).to_string()
                )?;
            }
            writeln!(
                f,
                "  {:<16} {:>10}",
                "(free)",
                Size(group.free_extents * group.extent_bytes).to_string()
            )?;
        }
        for fs in &self.filesystems {
            let at = fs.facts.mount_point.as_deref().unwrap_or("-");
            let uuid = fs.facts.uuid.as_deref().unwrap_or("-");
            writeln!(f, "{:<5} {:<20} {:<12} {uuid}", fs.facts.kind, fs.device, at)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::layout::{FsFeatures, LogicalVolume, PhysicalVolume};

    const GIB: u64 = 1 << 30;

    fn part(number: u32, size_bytes: u64, grow: Grow) -> Partition {
        let start_bytes = u64::from(number) * 10 * GIB;
        let (type_id, uuid, name, attributes) = ("T".into(), None, None, None);
        Partition { number, start_bytes, size_bytes, type_id, uuid, name, attributes, bootable: false, grow }
    }

    fn fs(device: DeviceRef, kind: &str, at: Option<&str>, used_bytes: u64) -> Filesystem {
        let (mount_point, features) = (at.map(str::to_owned), FsFeatures::default());
        Filesystem {
            device,
            kind: kind.into(),
            uuid: None,
            label: None,
            mount_point,
            options: None,
            used_bytes,
            features,
        }
    }

    fn lv(name: &str) -> DeviceRef {
        DeviceRef::LogicalVolume { group: "vg0".into(), volume: name.into() }
    }

    /// bios_grub, /boot and a volume group with root, var and swap on a disk of 4 GiB.
    fn layout() -> Layout {
        let on = |number| DeviceRef::Partition { disk: "vda".into(), number };
        let volume = |name: &str, size_bytes| LogicalVolume {
            name: name.into(),
            size_bytes,
            segment_type: "linear".into(),
            stripes: 1,
            tags: vec![],
            grow: Grow::Fixed,
        };
        let partitions = vec![
            part(1, MIB, Grow::Fixed),
            part(2, 256 * MIB, Grow::Fixed),
            part(3, 3 * GIB, Grow::Share { weight: 1 }),
        ];
        Layout {
            disks: vec![Disk {
                name: "vda".into(),
                size_bytes: 4 * GIB,
                sector_bytes: 512,
                rules: DiskRules::default(),
                table: Some(PartitionTable { kind: TableKind::Gpt, id: None, partitions }),
            }],
            volume_groups: vec![VolumeGroup {
                name: "vg0".into(),
                uuid: "u".into(),
                extent_bytes: 4 * MIB,
                physical_volumes: vec![PhysicalVolume { device: on(3), uuid: "p".into() }],
                logical_volumes: vec![
                    volume("root", 1500 * MIB),
                    volume("var", 512 * MIB),
                    volume("swap", 128 * MIB),
                ],
            }],
            filesystems: vec![
                fs(lv("swap"), "swap", None, 0),
                fs(lv("var"), "xfs", Some("/var"), 60 * MIB),
                fs(on(2), "ext4", Some("/boot"), 40 * MIB),
                fs(lv("root"), "ext4", Some("/"), 400 * MIB),
            ],
        }
    }

    fn disk(name: &str, size_bytes: u64) -> DiskFacts {
        let (serial, transport) = (Some(format!("S-{name}")), Some("nvme".into()));
        DiskFacts {
            name: name.into(),
            size_bytes,
            sector_bytes: 512,
            serial,
            transport,
            ..DiskFacts::default()
        }
    }

    fn on(disks: Vec<DiskFacts>) -> Result<InstallPlan, PlanError> {
        plan(&layout(), &Inventory { disks, ..Inventory::default() }, &BTreeMap::new())
    }

    #[test]
    fn a_larger_disk_keeps_captured_volumes_and_leaves_the_rest_free() {
        let plan = on(vec![disk("nvme0n1", 6 * GIB)]).unwrap();
        let table = plan.disks[0].table.as_ref().unwrap();
        assert_eq!(table.partitions[1].size_bytes, 256 * MIB);
        assert_eq!(table.partitions[2].size_bytes, 6 * GIB - (1 + 1 + 256 + 1) * MIB);
        let extents: Vec<u64> = plan.groups[0].volumes.iter().map(|v| v.extents).collect();
        assert_eq!(extents, [375, 128, 32]);
        let points: Vec<_> = plan.filesystems.iter().map(|f| f.facts.mount_point.as_deref()).collect();
        assert_eq!(points, [Some("/"), Some("/boot"), Some("/var"), None]);
        assert_eq!(plan.filesystems[1].device, "/dev/nvme0n1p2");
        assert_eq!(plan.filesystems[0].device, "/dev/vg0/root");
    }

    #[test]
    fn a_smaller_disk_takes_slack_from_volumes_but_never_below_their_minimum() {
        let plan = on(vec![disk("sda", 2 * GIB)]).unwrap();
        let group = &plan.groups[0];
        let sizes: Vec<u64> = group.volumes.iter().map(|v| v.extents * group.extent_bytes).collect();
        assert!(sizes[0] < 1500 * MIB && sizes[0] >= minimum_bytes(400 * MIB), "{sizes:?}");
        assert!(sizes[1] >= minimum_bytes(60 * MIB), "{sizes:?}");
        assert_eq!(sizes[2], 128 * MIB);
    }

    #[test]
    fn a_disk_that_is_too_small_is_refused_with_the_arithmetic() {
        let error = on(vec![disk("sda", 900 * MIB)]).unwrap_err().to_string();
        assert_eq!(
            error,
            "no disk fits 'vda' (at least 976 MiB):\n  /dev/sda 900 MiB nvme model=? serial=S-sda wwn=?: \
             too small: 976 MiB needed, 900 MiB there, 76 MiB short"
        );
    }

    #[test]
    fn two_disks_that_fit_are_listed_and_neither_is_taken() {
        let error = on(vec![disk("sda", 6 * GIB), disk("sdb", 7 * GIB)]).unwrap_err();
        assert!(matches!(error, PlanError::Ambiguous { .. }));
        let text = error.to_string();
        assert!(text.contains("/dev/sda 6144 MiB") && text.contains("/dev/sdb 7168 MiB"), "{text}");
        assert!(text.contains("installdisk=serial="), "{text}");
    }

    #[test]
    fn a_rule_of_the_node_decides_between_two() {
        let rules = DiskRules { serial: Some("S-sdb".into()), ..DiskRules::default() };
        let inventory =
            Inventory { disks: vec![disk("sda", 6 * GIB), disk("sdb", 7 * GIB)], ..Inventory::default() };
        for label in ["", "vda"] {
            let plan =
                plan(&layout(), &inventory, &BTreeMap::from([(label.to_owned(), rules.clone())])).unwrap();
            assert_eq!(plan.disks[0].facts.name, "sdb");
        }
        let unknown = BTreeMap::from([("sdx".to_owned(), rules)]);
        assert!(matches!(plan(&layout(), &inventory, &unknown), Err(PlanError::Broken { .. })));
    }

    #[test]
    fn disks_that_must_not_be_touched_lose_with_their_reason() {
        let large = || disk("sda", 6 * GIB);
        for (facts, reason) in [
            (DiskFacts { removable: true, ..large() }, "removable"),
            (DiskFacts { transport: Some("usb".into()), ..large() }, "USB"),
            (DiskFacts { read_only: true, ..large() }, "read-only"),
            (DiskFacts { held_by: Some("multipath map mpatha".into()), ..large() }, "mpatha"),
        ] {
            let error = on(vec![facts]).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
        assert!(on(vec![]).unwrap_err().to_string().contains("this machine has no disks"));
    }

    #[test]
    fn what_cannot_be_made_is_refused_before_a_disk_is_chosen() {
        let mut striped = layout();
        striped.volume_groups[0].logical_volumes[0].segment_type = "raid1".into();
        let inventory = Inventory { disks: vec![disk("sda", 6 * GIB)], ..Inventory::default() };
        let error = plan(&striped, &inventory, &BTreeMap::new()).unwrap_err().to_string();
        assert_eq!(
            error,
            "the image's layout has the raid1 logical volume root, which this version cannot make"
        );
    }

    proptest! {
        #[test]
        fn plans_never_overlap_and_never_leave_the_disk(size in 950 * MIB..40 * GIB, used in 0..2 * GIB) {
            let mut layout = layout();
            layout.filesystems[3].used_bytes = used;
            let inventory = Inventory { disks: vec![disk("sda", size)], ..Inventory::default() };
            let Ok(plan) = plan(&layout, &inventory, &BTreeMap::new()) else { return Ok(()) };
            let mut end = ALIGN_BYTES;
            for p in &plan.disks[0].table.as_ref().unwrap().partitions {
                prop_assert!(p.start_bytes >= end && p.start_bytes % ALIGN_BYTES == 0);
                end = p.start_bytes + p.size_bytes;
            }
            prop_assert!(end + TAIL_BYTES <= size);
            let group = &plan.groups[0];
            let room = plan.disks[0].table.as_ref().unwrap().partitions[2].size_bytes - PE_START_BYTES;
            let taken: u64 = group.volumes.iter().map(|v| v.extents).sum();
            prop_assert!((taken + group.free_extents) * group.extent_bytes <= room);
            let root = plan.filesystems.iter().find(|f| f.facts.mount_point.as_deref() == Some("/")).unwrap();
            prop_assert!(root.size_bytes >= minimum_bytes(used).min(1500 * MIB));
        }

        #[test]
        fn sharing_gives_everyone_the_minimum_and_no_more_than_there_is(
            parts in proptest::collection::vec((0..64_u64, 0..4_u32), 1..6), extra in 0..1000_u64,
        ) {
            let parts: Vec<(u64, u32)> = parts.into_iter().map(|(least, weight)| (least * MIB, weight)).collect();
            let room = parts.iter().map(|(least, _)| least).sum::<u64>() + extra * MIB;
            let sizes = share(room, &parts);
            prop_assert!(sizes.iter().sum::<u64>() <= room);
            prop_assert!(sizes.iter().zip(&parts).all(|(size, (least, _))| size >= least));
        }
    }
}
