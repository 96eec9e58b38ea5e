//! Reads the disk layout of a running golden client.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context as _, bail};
use lvm2_cmd_wrapper as lvm;
use sysclone_exec::{Runner, missing_tools};
use sysclone_protocol::inventory::DiskFacts;
use sysclone_protocol::layout::{
    DeviceRef, Disk, DiskRules, Filesystem, Grow, Layout, LogicalVolume, PartitionTable, PhysicalVolume,
    VolumeGroup,
};

use super::inventory::inventory;
use super::mounts::{Mount, real_mounts};
use super::superblock::superblock_of;
use super::table::read_table;

/// The layout of every disk that the mounted filesystems, swap and their volume groups live on. Disks that hold
/// nothing of the running system are not the system's and stay out.
///
/// # Errors
/// Something the system lives on cannot be read, or is of a kind that this version cannot make again.
pub fn capture_layout(runner: &dyn Runner) -> anyhow::Result<Layout> {
    let disks = inventory()?.disks;
    let groups =
        if missing_tools(&[lvm::LVM]).is_empty() { volume_groups(runner)? } else { Groups::default() };
    let devices = Devices { disks: &disks, groups: &groups };
    let mut filesystems = Vec::new();
    let fstab = fs::read_to_string("/etc/fstab").unwrap_or_default();
    for mount in real_mounts()? {
        let device = devices.of_number(&mount.device_number)?;
        filesystems.push(filesystem(&mount, device, &fstab)?);
    }
    for node in swap_devices()? {
        let device = devices.of_number(&number_of(&node)?)?;
        filesystems.push(swap_area(&node, device)?);
    }
    let used_groups: Vec<VolumeGroup> =
        groups.groups.iter().filter(|g| uses_group(&filesystems, g)).cloned().collect();
    let mut layout = Layout { disks: Vec::new(), volume_groups: used_groups, filesystems };
    for facts in &disks {
        if uses_disk(&layout, &facts.name) {
            let table = table_of(facts)?;
            layout.disks.push(Disk {
                name: facts.name.clone(),
                size_bytes: facts.size_bytes,
                sector_bytes: facts.sector_bytes,
                rules: DiskRules::default(),
                table,
            });
        }
    }
    choose_growth(&mut layout);
    Ok(layout)
}

fn table_of(facts: &DiskFacts) -> anyhow::Result<Option<PartitionTable>> {
    let node = facts.device();
    let file = File::open(&node).with_context(|| format!("opening {node}"))?;
    read_table(&file, facts.sector_bytes).with_context(|| format!("reading the partition table of {node}"))
}

/// On every disk the partition that takes up a change of size: the largest one that holds a volume group or a
/// filesystem.
fn choose_growth(layout: &mut Layout) {
    let holds: Vec<DeviceRef> = layout
        .volume_groups
        .iter()
        .flat_map(|g| g.physical_volumes.iter().map(|pv| pv.device.clone()))
        .chain(
            layout
                .filesystems
                .iter()
                .filter(|f| !matches!(f.kind.as_str(), "swap" | "vfat"))
                .map(|f| f.device.clone()),
        )
        .collect();
    for disk in &mut layout.disks {
        let name = disk.name.clone();
        let holds = |number| holds.contains(&DeviceRef::Partition { disk: name.clone(), number });
        let largest = disk
            .table
            .iter_mut()
            .flat_map(|t| &mut t.partitions)
            .filter(|p| holds(p.number))
            .max_by_key(|p| p.size_bytes);
        if let Some(partition) = largest {
            partition.grow = Grow::Share { weight: 1 };
        }
    }
}

fn uses_group(filesystems: &[Filesystem], group: &VolumeGroup) -> bool {
    filesystems
        .iter()
        .any(|f| matches!(&f.device, DeviceRef::LogicalVolume { group: g, .. } if *g == group.name))
}

fn uses_disk(layout: &Layout, name: &str) -> bool {
    let on_disk = |device: &DeviceRef| match device {
        DeviceRef::Partition { disk, .. } | DeviceRef::WholeDisk { disk } => disk == name,
        DeviceRef::LogicalVolume { .. } => false,
    };
    layout.filesystems.iter().any(|f| on_disk(&f.device))
        || layout.volume_groups.iter().flat_map(|g| &g.physical_volumes).any(|pv| on_disk(&pv.device))
}

fn filesystem(mount: &Mount, device: DeviceRef, fstab: &str) -> anyhow::Result<Filesystem> {
    let at = mount.point.display().to_string();
    let Some(found) = superblock_of(&mount.source)? else {
        bail!(
            "the {} filesystem at {at} ({}) is of a kind that this version cannot make again",
            mount.kind,
            mount.source
        );
    };
    Ok(Filesystem {
        device,
        kind: found.kind,
        uuid: found.uuid,
        label: found.label,
        options: fstab_options(fstab, &at),
        mount_point: Some(at),
        used_bytes: mount.used_bytes,
        features: found.features,
    })
}

fn swap_area(node: &str, device: DeviceRef) -> anyhow::Result<Filesystem> {
    let found = superblock_of(node)?
        .filter(|s| s.kind == "swap")
        .with_context(|| format!("{node} is swapped to but has no swap signature"))?;
    Ok(Filesystem {
        device,
        kind: found.kind,
        uuid: found.uuid,
        label: found.label,
        mount_point: None,
        options: None,
        used_bytes: 0,
        features: found.features,
    })
}

fn fstab_options(fstab: &str, point: &str) -> Option<String> {
    let lines = fstab.lines().filter(|l| !l.trim_start().starts_with('#'));
    let mut fields = lines.map(|l| l.split_whitespace().collect::<Vec<_>>());
    Some(fields.find(|f| f.len() >= 4 && f[1] == point)?[3].to_owned())
}

/// Devices in use as swap; files are content, not layout.
fn swap_devices() -> anyhow::Result<Vec<String>> {
    let table = fs::read_to_string("/proc/swaps").context("reading /proc/swaps")?;
    let rows = table.lines().skip(1).map(|l| l.split_whitespace().collect::<Vec<_>>());
    Ok(rows
        .filter(|r| r.get(1) == Some(&"partition") && !r[0].starts_with("/dev/zram"))
        .map(|r| r[0].to_owned())
        .collect())
}

/// `major:minor` of a device node.
fn number_of(node: &str) -> anyhow::Result<String> {
    use std::os::unix::fs::MetadataExt as _;
    let rdev = fs::metadata(node).with_context(|| format!("looking at {node}"))?.rdev();
    Ok(format!("{}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev)))
}

#[derive(Default)]
struct Groups {
    groups: Vec<VolumeGroup>,
    /// `major:minor` of each active logical volume.
    volumes: BTreeMap<String, DeviceRef>,
}

fn volume_groups(runner: &dyn Runner) -> anyhow::Result<Groups> {
    let (pvs, vgs, lvs) = (lvm::pvs(runner)?, lvm::vgs(runner)?, lvm::lvs(runner)?);
    let mut found = Groups::default();
    for vg in vgs {
        let mut physical_volumes = Vec::new();
        for pv in pvs.iter().filter(|pv| pv.group == vg.name) {
            let device = block_device(&number_of(&pv.device)?).with_context(|| {
                format!(
                    "physical volume {} of volume group {} is on no disk of this machine",
                    pv.device, vg.name
                )
            })?;
            physical_volumes.push(PhysicalVolume { device, uuid: pv.uuid.clone() });
        }
        let mut logical_volumes = Vec::new();
        for lv in lvs.iter().filter(|lv| lv.group == vg.name) {
            let node = format!("/dev/{}/{}", vg.name, lv.name);
            if let Ok(number) = number_of(&node) {
                found.volumes.insert(
                    number,
                    DeviceRef::LogicalVolume { group: vg.name.clone(), volume: lv.name.clone() },
                );
            }
            logical_volumes.push(LogicalVolume {
                name: lv.name.clone(),
                size_bytes: lv.size_bytes,
                segment_type: lv.segment_type.clone(),
                stripes: lv.stripes,
                tags: lv.tags.clone(),
                grow: Grow::Fixed,
            });
        }
        let (name, uuid, extent_bytes) = (vg.name, vg.uuid, vg.extent_bytes);
        found.groups.push(VolumeGroup { name, uuid, extent_bytes, physical_volumes, logical_volumes });
    }
    Ok(found)
}

/// Finds layout devices by device number.
struct Devices<'a> {
    disks: &'a [DiskFacts],
    groups: &'a Groups,
}

impl Devices<'_> {
    fn of_number(&self, number: &str) -> anyhow::Result<DeviceRef> {
        if let Some(volume) = self.groups.volumes.get(number) {
            return Ok(volume.clone());
        }
        let device = block_device(number)
            .with_context(|| format!("device {number} is not on a disk, partition or LVM volume"))?;
        let (DeviceRef::Partition { disk, .. } | DeviceRef::WholeDisk { disk }) = &device else {
            return Ok(device);
        };
        if !self.disks.iter().any(|d| d.name == *disk) {
            bail!(
                "{disk} holds a filesystem of this system but is not a disk that this version can make again"
            );
        }
        Ok(device)
    }
}

/// The disk or partition with this device number, from `/sys/dev/block`; none for anything else.
fn block_device(number: &str) -> Option<DeviceRef> {
    let dir = fs::canonicalize(Path::new("/sys/dev/block").join(number)).ok()?;
    let name = |path: &Path| Some(path.file_name()?.to_str()?.to_owned());
    if let Ok(partition) = fs::read_to_string(dir.join("partition")) {
        return Some(DeviceRef::Partition {
            disk: name(dir.parent()?)?,
            number: partition.trim().parse().ok()?,
        });
    }
    // Stacked devices (device mapper, md) have slaves; a disk has none.
    let stacked = fs::read_dir(dir.join("slaves")).is_ok_and(|mut slaves| slaves.next().is_some());
    (!stacked).then_some(DeviceRef::WholeDisk { disk: name(&dir)? })
}
