//! Takes disks out of every use (mounts, swap, volumes, encryption, arrays) and removes what marks their content.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};
use lvm2_cmd_wrapper::{Lvm, PvReport};
use sysclone_exec::{Command, Runner};
use sysclone_protocol::plan::{InstallPlan, PlannedFilesystem};

use super::blocks::Blocks;
use super::mounts::points_of;
use super::nodes::{number_of, reread_table, wait_for, wait_unused};
use super::superblock::superblock_of;
use super::{DMSETUP, MDADM, SWAPOFF};

/// How much is zeroed at both ends of a disk, partition or volume. Partition tables, superblocks, LVM labels, LUKS
/// headers and md metadata of every version begin within the first or last MiB.
const ENDS: u64 = 1 << 20;

/// Empties the disks of a plan.
///
/// # Errors
/// Something reaches from them onto a disk that is not to be emptied, or a copy of what will be made lies on such a
/// disk (both found before anything is changed); something on them is in use and cannot be stopped; or a disk cannot
/// be written.
pub(super) fn clear(runner: &dyn Runner, plan: &InstallPlan) -> anyhow::Result<()> {
    let blocks = Blocks::here();
    let disks: Vec<&str> = plan.disks.iter().map(|disk| disk.facts.name.as_str()).collect();
    let stack = stack(&blocks, &disks)?;
    let others = blocks.others(&stack);
    check_groups(runner, plan, &stack, &others)?;
    check_copies(plan, others.iter().map(|name| format!("/dev/{name}")))?;
    unmount(&blocks, &stack)?;
    for device in &stack {
        release(runner, &blocks, device).with_context(|| format!("taking {device} out of use"))?;
    }
    for disk in &disks {
        wait_unused(&format!("/dev/{disk}"))?;
    }
    disks.iter().try_for_each(|disk| wipe(&blocks, disk))
}

fn wipe(blocks: &Blocks, disk: &str) -> anyhow::Result<()> {
    let (node, partitions) = (format!("/dev/{disk}"), blocks.partitions(disk));
    for partition in &partitions {
        let node = format!("/dev/{partition}");
        wait_for(std::slice::from_ref(&node))?;
        wipe_ends(&node).with_context(|| format!("clearing {node}"))?;
    }
    wipe_ends(&node).with_context(|| format!("clearing {node}"))?;
    if !partitions.is_empty() {
        reread_table(&node).with_context(|| format!("making the kernel forget the partitions of {node}"))?;
    }
    Ok(())
}

/// Everything on the disks, the uppermost first.
fn stack(blocks: &Blocks, disks: &[&str]) -> anyhow::Result<Vec<String>> {
    let mut stack: Vec<String> = Vec::new();
    for device in disks.iter().flat_map(|disk| blocks.stack(disk)) {
        if !stack.contains(&device) {
            stack.push(device);
        }
    }
    let own: BTreeSet<&String> = stack.iter().collect();
    for device in &stack {
        if let Some(other) = blocks.slaves(device).iter().find(|slave| !own.contains(slave)) {
            bail!(
                "{} also uses /dev/{other}, which is not to be overwritten; take it apart or choose another disk",
                shown(blocks, device)
            );
        }
    }
    Ok(stack)
}

/// A device for people: the name of its map when it has one.
fn shown(blocks: &Blocks, device: &str) -> String {
    match blocks.attribute(device, "dm/name") {
        Some(map) => format!("{map} ({device})"),
        None => device.to_owned(),
    }
}

/// A volume group that is not active holds nothing in sysfs, but destroying a part of it destroys all of it. And a
/// physical volume that will be on two disks under one UUID keeps lvm2 from activating either, so the clone would not
/// start. Both sides are looked at apart, for lvm2 shows only one of two equal ones.
fn check_groups(
    runner: &dyn Runner,
    plan: &InstallPlan,
    own: &[String],
    others: &[String],
) -> anyhow::Result<()> {
    let look = |names: &[String]| {
        let nodes: Vec<String> = names.iter().map(|name| format!("/dev/{name}")).collect();
        Lvm::initrd(runner, &nodes.iter().map(String::as_str).collect::<Vec<_>>()).pvs()
    };
    let own = look(own).context("looking for volume groups on the chosen disks")?;
    let others = look(others).context("looking for volume groups on the other disks")?;
    let same_group = |a: &PvReport, b: &PvReport| !a.group_uuid.is_empty() && a.group_uuid == b.group_uuid;
    let is_copy = |other: &PvReport| own.iter().any(|pv| pv.uuid == other.uuid);
    let planned: BTreeSet<&str> =
        plan.groups.iter().flat_map(|g| &g.physical_volumes).map(|pv| pv.uuid.as_str()).collect();
    for other in &others {
        if planned.contains(other.uuid.as_str()) {
            bail!(
                "{} holds a copy of the image's volume group {} (the same UUIDs), with which the clone would not \
                 start; remove that disk or its content (wipefs -a {}), or choose it (installdisk=)",
                other.device,
                other.group,
                other.device
            );
        }
        if own.iter().any(|pv| same_group(pv, other)) && !is_copy(other) {
            bail!(
                "volume group {} also uses {}, which is not to be overwritten; remove the group or choose another \
                 disk",
                other.group,
                other.device
            );
        }
    }
    Ok(())
}

/// A filesystem that will be on two disks under one UUID may be found on the wrong one. btrfs does not even let itself
/// be made.
fn check_copies(plan: &InstallPlan, others: impl Iterator<Item = String>) -> anyhow::Result<()> {
    for node in others {
        // What cannot be read or is no filesystem is no copy either.
        let Ok(Some(found)) = superblock_of(&node) else { continue };
        let copy = |fs: &&PlannedFilesystem| fs.facts.kind == found.kind && fs.facts.uuid == found.uuid;
        match plan.filesystems.iter().filter(|_| found.uuid.is_some()).find(copy) {
            Some(fs) if fs.facts.kind == "btrfs" => bail!(
                "{node} holds a copy of the image's btrfs filesystem {} (the same UUID), beside which it cannot be \
                 made; remove that disk or its content (wipefs -a {node}), or choose it (installdisk=)",
                fs.facts.mounts().next().map(|mount| mount.point).unwrap_or_default()
            ),
            Some(fs) => tracing::warn!(
                node,
                uuid = fs.facts.uuid.as_deref(),
                "a disk that is not overwritten holds a copy of a filesystem of the image"
            ),
            None => {}
        }
    }
    Ok(())
}

/// Unmounts what is mounted from the devices, with all that is mounted below.
fn unmount(blocks: &Blocks, stack: &[String]) -> anyhow::Result<()> {
    let numbers: Vec<String> = stack.iter().filter_map(|device| blocks.number(device)).collect();
    let points = points_of(&numbers)?;
    ensure!(!points.iter().any(|point| point == Path::new("/")), "this system runs from the chosen disks");
    for point in points {
        super::unmount::unmount(&point).with_context(|| format!("unmounting {}", point.display()))?;
    }
    Ok(())
}

/// Ends the use of one device, on which nothing is stacked any more, and of the device itself when it is a stacked one.
fn release(runner: &dyn Runner, blocks: &Blocks, device: &str) -> anyhow::Result<()> {
    let node = format!("/dev/{device}");
    if let Some(number) = blocks.number(device)
        && is_swap(&number)?
    {
        runner.run(&Command::new(SWAPOFF).arg(&node))?;
    }
    if let Some(command) = takedown(blocks, device) {
        runner.run(&command)?;
    }
    Ok(())
}

/// What ends a stacked device; none for a disk or partition.
fn takedown(blocks: &Blocks, device: &str) -> Option<Command> {
    if let Some(map) = blocks.attribute(device, "dm/name") {
        return Some(Command::new(DMSETUP).args(["--noudevsync", "--noudevrules", "remove", &map]));
    }
    let array = device.starts_with("md") && blocks.disk_of(device) == device;
    array.then(|| Command::new(MDADM).args(["--stop", &format!("/dev/{device}")]))
}

fn is_swap(number: &str) -> anyhow::Result<bool> {
    let swaps = fs::read_to_string("/proc/swaps").context("reading /proc/swaps")?;
    let mut nodes = swaps.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    Ok(nodes.any(|node| number_of(node).is_ok_and(|found| found == number)))
}

/// Zeroes the first and the last MiB of a device.
///
/// # Errors
/// It cannot be written.
pub(super) fn wipe_ends(node: &str) -> anyhow::Result<()> {
    let file =
        OpenOptions::new().read(true).write(true).open(node).with_context(|| format!("opening {node}"))?;
    let size =
        rustix::fs::seek(&file, rustix::fs::SeekFrom::End(0)).with_context(|| format!("measuring {node}"))?;
    let zeros = vec![0; usize::try_from(ENDS.min(size)).expect("a MiB fits")];
    file.write_all_at(&zeros, 0).with_context(|| format!("writing to the start of {node}"))?;
    file.write_all_at(&zeros, size - zeros.len() as u64)
        .with_context(|| format!("writing to the end of {node}"))?;
    file.sync_all().with_context(|| format!("writing out {node}"))
}

#[cfg(test)]
mod tests {
    use sysclone_exec::Script;
    use sysclone_protocol::layout::{DeviceRef, Filesystem};
    use sysclone_protocol::plan::{PlannedGroup, PlannedPhysicalVolume};

    use super::super::fixtures::Tree;
    use super::*;

    #[test]
    fn layers_are_taken_apart_from_the_top() {
        let tree = Tree::load("stacked");
        let blocks = Blocks::under(tree.root());
        let stack = stack(&blocks, &["sda", "sdb"]).unwrap();
        let lines: Vec<String> =
            stack.iter().filter_map(|d| takedown(&blocks, d)).map(|c| c.line()).collect();
        assert_eq!(
            lines,
            [
                "dmsetup --noudevsync --noudevrules remove crypt",
                "dmsetup --noudevsync --noudevrules remove data-lv",
                "mdadm --stop /dev/md0",
                "dmsetup --noudevsync --noudevrules remove plain",
            ]
        );
    }

    #[test]
    fn what_reaches_onto_another_disk_is_refused() {
        let tree = Tree::load("stacked");
        let blocks = Blocks::under(tree.root());
        let error = stack(&blocks, &["sda"]).unwrap_err().to_string();
        assert_eq!(
            error,
            "md0 also uses /dev/sdb1, which is not to be overwritten; take it apart or choose another disk"
        );
    }

    fn report(device: &str, pv: &str, group: &str) -> String {
        format!(
            r#"{{"report":[{{"pv":[{{"pv_name":"{device}","pv_uuid":"{pv}","vg_name":"data","vg_uuid":"{group}",
               "pv_size":"1","pe_start":"1"}}]}}]}}"#
        )
    }

    fn judge(own: &str, other: &str) -> Result<(), String> {
        let plan = PlannedGroup {
            name: "vg0".into(),
            uuid: "vg-of-image".into(),
            extent_bytes: 4 << 20,
            physical_volumes: vec![PlannedPhysicalVolume {
                device: "/dev/sda3".into(),
                uuid: "pv-of-image".into(),
                size_bytes: 1,
                extents: 0,
            }],
            volumes: vec![],
            free_extents: 0,
        };
        let plan = InstallPlan { disks: vec![], groups: vec![plan], filesystems: vec![] };
        let script = Script::new().on("lvm pvs", own).on("lvm pvs", other);
        check_groups(&script, &plan, &["sda".into()], &["sdb".into()]).map_err(|e| e.to_string())
    }

    #[test]
    fn a_group_that_is_not_active_and_reaches_onto_another_disk_is_refused() {
        let error = judge(&report("/dev/sda2", "1", "g"), &report("/dev/sdb1", "2", "g")).unwrap_err();
        assert_eq!(
            error,
            "volume group data also uses /dev/sdb1, which is not to be overwritten; remove the group or choose \
             another disk"
        );
        // Another group, the copy of a group, and volumes in no group are no reason.
        for (own, other) in [(("1", "g"), ("2", "h")), (("1", "g"), ("1", "g")), (("1", ""), ("2", ""))] {
            let own = report("/dev/sda2", own.0, own.1);
            assert_eq!(judge(&own, &report("/dev/sdb1", other.0, other.1)), Ok(()));
        }
    }

    #[test]
    fn a_copy_of_the_image_on_another_disk_is_refused() {
        let copy = report("/dev/sdb3", "pv-of-image", "vg-of-image");
        let error = judge(&copy.replace("sdb", "sda"), &copy).unwrap_err();
        assert!(error.starts_with("/dev/sdb3 holds a copy of the image's volume group data"), "{error}");
    }

    #[test]
    fn a_copy_of_a_btrfs_on_another_disk_is_refused_and_other_kinds_are_not() {
        for (program, refused) in [("mkfs.btrfs", true), ("mkfs.xfs", false)] {
            let file = tempfile::NamedTempFile::new().unwrap();
            file.as_file().set_len(300 << 20).unwrap();
            let output = std::process::Command::new(program).arg("-q").arg(file.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            let node = file.path().display().to_string();
            let found = superblock_of(&node).unwrap().unwrap();
            let facts = Filesystem {
                device: DeviceRef::WholeDisk { disk: "a".into() },
                kind: found.kind,
                uuid: found.uuid,
                label: None,
                mount_point: Some("/data".into()),
                options: None,
                used_bytes: 0,
                features: found.features,
                subvolumes: vec![],
            };
            let filesystem = PlannedFilesystem { device: "/dev/x".into(), size_bytes: 1, facts };
            let plan = InstallPlan { disks: vec![], groups: vec![], filesystems: vec![filesystem] };
            let judged = check_copies(&plan, ["/no such node".to_owned(), node].into_iter());
            assert_eq!(judged.is_err(), refused, "{program}: {judged:?}");
        }
    }
}
