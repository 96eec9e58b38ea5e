//! Reads the disk layout of a running golden client.

mod devices;
mod policy;

use std::collections::BTreeSet;
use std::fs::{self, File};

use anyhow::{Context as _, bail, ensure};
use lvm2_cmd_wrapper::{LVM, Lvm};
use sysclone_exec::{Runner, missing_tools};
use sysclone_protocol::inventory::DiskFacts;
use sysclone_protocol::layout::{DeviceRef, Disk, DiskRules, Filesystem, Layout, Subvolume};
use sysclone_protocol::plan::refuse_unsupported;

use super::blocks::Blocks;
use super::inventory::inventory;
use super::mounts::{Mount, real_mounts};
use super::nodes::number_of;
use super::superblock::{Superblock, superblock_of};
use super::table::read_table;
use devices::{Devices, Volumes};

/// The layout of every disk that the mounted filesystems, swap and their volume groups live on. Disks that hold
/// nothing of the running system are not the system's and stay out. Filesystems on those disks that are not mounted
/// are part of the layout, but without content.
///
/// # Errors
/// Something the system lives on cannot be read, or is of a kind that this version cannot make again.
pub fn capture_layout(runner: &dyn Runner) -> anyhow::Result<Layout> {
    let disks = inventory()?.disks;
    let blocks = Blocks::here();
    let volumes = if missing_tools(&[LVM]).is_empty() {
        Volumes::read(&Lvm::host(runner)).context("reading the volume groups")?
    } else {
        Volumes::default()
    };
    let devices = Devices { blocks: &blocks, disks: &disks, volumes: &volumes };
    let mut layout = Layout { filesystems: in_use(&devices)?, ..Layout::default() };
    ensure!(
        layout.filesystems.iter().any(|fs| fs.is_mounted_at("/")),
        "the root filesystem is on no disk of this machine"
    );
    layout.volume_groups = devices.groups_of(&layout.filesystems)?;
    layout.disks =
        disks.iter().filter(|facts| uses_disk(&layout, &facts.name)).map(disk).collect::<Result<_, _>>()?;
    add_idle(&mut layout);
    policy::choose(&mut layout);
    refuse_unsupported(&layout)?;
    Ok(layout)
}

/// What is mounted or swapped to.
fn in_use(devices: &Devices<'_>) -> anyhow::Result<Vec<Filesystem>> {
    let mut filesystems = Vec::new();
    let fstab = fs::read_to_string("/etc/fstab").unwrap_or_default();
    for mount in real_mounts()? {
        let device = devices.of_number(&mount.device_number).with_context(|| {
            format!("the {} filesystem at {} cannot be captured", mount.kind, mount.point.display())
        })?;
        let node = devices.node(&mount.device_number)?;
        let place = match filesystems.iter().position(|fs: &Filesystem| fs.device == device) {
            Some(place) => place,
            None => {
                filesystems.push(unmounted(&mount, device, &node)?);
                filesystems.len() - 1
            }
        };
        put_mount(&mut filesystems[place], &mount, &fstab)?;
    }
    for node in swap_devices()? {
        let device = devices
            .of_number(&number_of(&node)?)
            .with_context(|| format!("the swap area {node} cannot be captured"))?;
        let found = superblock_of(&node)?
            .filter(|found| found.kind == "swap")
            .with_context(|| format!("{node} is swapped to but has no swap signature"))?;
        filesystems.push(idle(device, found));
    }
    Ok(filesystems)
}

/// A filesystem whose mounts are not in it yet.
fn unmounted(mount: &Mount, device: DeviceRef, node: &str) -> anyhow::Result<Filesystem> {
    let Some(found) = superblock_of(node)? else {
        let at = mount.point.display();
        bail!("{node} at {at} has no {} superblock that this version knows", mount.kind);
    };
    Ok(Filesystem { used_bytes: mount.used_bytes, ..idle(device, found) })
}

fn put_mount(filesystem: &mut Filesystem, mount: &Mount, fstab: &str) -> anyhow::Result<()> {
    let at = mount.point.to_str().context("a mount point is not UTF-8")?.to_owned();
    let options = fstab_options(fstab, &at);
    let Some(path) = &mount.subvolume else {
        (filesystem.mount_point, filesystem.options) = (Some(at), options);
        return Ok(());
    };
    let names = |what: &str| options.as_deref().unwrap_or_default().split(',').any(|o| o.starts_with(what));
    ensure!(
        !names("subvolid="),
        "/etc/fstab mounts {at} by subvolid=, a number that a clone's subvolume does not have: write \
         subvol=/{path} there"
    );
    // Named nowhere, the root is what the filesystem itself says.
    let default = at == "/" && !names("subvol=") && !kernel_names_subvolume()?;
    let path = path.clone();
    filesystem.subvolumes.push(Subvolume { path, mount_point: at, options, default });
    filesystem.subvolumes.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(())
}

fn kernel_names_subvolume() -> anyhow::Result<bool> {
    let line = fs::read_to_string("/proc/cmdline").context("reading /proc/cmdline")?;
    Ok(line.split_whitespace().any(|word| word.starts_with("rootflags=") && word.contains("subvol=")))
}

/// A filesystem or swap area that is mounted nowhere.
fn idle(device: DeviceRef, found: Superblock) -> Filesystem {
    Filesystem {
        device,
        kind: found.kind,
        uuid: found.uuid,
        label: found.label,
        mount_point: None,
        options: None,
        used_bytes: 0,
        features: found.features,
        subvolumes: Vec::new(),
    }
}

/// Filesystems on captured disks and groups that are not in use. What cannot be read stays empty on the clone, which
/// loses nothing: its content is not captured either.
fn add_idle(layout: &mut Layout) {
    let taken: BTreeSet<DeviceRef> = layout
        .filesystems
        .iter()
        .map(|fs| &fs.device)
        .chain(layout.volume_groups.iter().flat_map(|g| g.physical_volumes.iter().map(|pv| &pv.device)))
        .cloned()
        .collect();
    let mut found = Vec::new();
    for (device, node) in nodes(layout).into_iter().filter(|(device, _)| !taken.contains(device)) {
        match superblock_of(&node) {
            Ok(superblock) => found.extend(superblock.map(|superblock| idle(device, superblock))),
            Err(error) => tracing::warn!(node, "left out a filesystem that is not in use: {error:#}"),
        }
    }
    layout.filesystems.extend(found);
}

/// Every partition and logical volume of a layout with its device node on this machine.
fn nodes(layout: &Layout) -> Vec<(DeviceRef, String)> {
    let mut nodes = Vec::new();
    for disk in &layout.disks {
        let facts = DiskFacts { name: disk.name.clone(), ..DiskFacts::default() };
        if let Some(table) = &disk.table {
            for partition in table.partitions.iter().filter(|p| !p.is_extended(table.kind)) {
                let (disk, number) = (disk.name.clone(), partition.number);
                nodes.push((DeviceRef::Partition { disk, number }, facts.partition_device(number)));
            }
        }
    }
    for group in &layout.volume_groups {
        for volume in &group.logical_volumes {
            let node = format!("/dev/{}/{}", group.name, volume.name);
            let (group, volume) = (group.name.clone(), volume.name.clone());
            nodes.push((DeviceRef::LogicalVolume { group, volume }, node));
        }
    }
    nodes
}

fn disk(facts: &DiskFacts) -> anyhow::Result<Disk> {
    let node = facts.device();
    let file = File::open(&node).with_context(|| format!("opening {node}"))?;
    let table = read_table(&file, facts.sector_bytes)
        .with_context(|| format!("reading the partition table of {node}"))?;
    Ok(Disk {
        name: facts.name.clone(),
        size_bytes: facts.size_bytes,
        sector_bytes: facts.sector_bytes,
        rules: DiskRules::default(),
        table,
    })
}

fn uses_disk(layout: &Layout, name: &str) -> bool {
    let on_disk = |device: &DeviceRef| match device {
        DeviceRef::Partition { disk, .. } | DeviceRef::WholeDisk { disk } => disk == name,
        DeviceRef::LogicalVolume { .. } => false,
    };
    layout.filesystems.iter().any(|f| on_disk(&f.device))
        || layout.volume_groups.iter().flat_map(|g| &g.physical_volumes).any(|pv| on_disk(&pv.device))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_options_come_from_the_line_of_the_mount_point() {
        let fstab =
            "# /dev/vda2 /boot ext4 ro 0 2\nUUID=1 /boot ext4 defaults,nodev 0 2\nUUID=2 none swap sw\n";
        assert_eq!(fstab_options(fstab, "/boot").as_deref(), Some("defaults,nodev"));
        assert_eq!(fstab_options(fstab, "/var"), None);
    }
}
