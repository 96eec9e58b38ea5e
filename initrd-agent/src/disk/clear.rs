//! Takes a disk out of use: mounts, swap, volume groups, arrays; then removes every signature.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context as _, bail};
use lvm2_cmd_wrapper as lvm;
use rustix::mount::UnmountFlags;
use sysclone_exec::{Command, Runner};

use super::MDADM;
use super::nodes::{listed, wait_for};

/// How much is zeroed at both ends of a disk or partition. Tables, superblocks, LVM labels and md metadata lie within
/// the first or last MiB.
const ENDS: u64 = 1 << 20;

/// Empties the disk with this kernel name.
///
/// # Errors
/// Something on it is in use and cannot be stopped, or the disk cannot be written.
pub(super) fn clear_disk(runner: &dyn Runner, name: &str) -> anyhow::Result<()> {
    remove_volume_groups(runner, name)?;
    release_holders(runner, &Path::new("/sys/block").join(name))?;
    for partition in partitions(name) {
        let node = format!("/dev/{partition}");
        wait_for(std::slice::from_ref(&node))?;
        wipe_ends(&node).with_context(|| format!("clearing {node}"))?;
    }
    wipe_ends(&format!("/dev/{name}"))
}

fn partitions(name: &str) -> Vec<String> {
    let dir = Path::new("/sys/block").join(name);
    listed(&dir).into_iter().filter(|entry| dir.join(entry).join("partition").exists()).collect()
}

/// Volume groups with a physical volume on this disk. One that reaches onto another disk is not ours to destroy.
fn remove_volume_groups(runner: &dyn Runner, name: &str) -> anyhow::Result<()> {
    let mut own: Vec<String> = partitions(name).iter().map(|p| format!("/dev/{p}")).collect();
    own.push(format!("/dev/{name}"));
    let pvs = lvm::pvs(runner).context("looking for volume groups on it")?;
    let mut groups: Vec<&str> = pvs
        .iter()
        .filter(|pv| own.contains(&pv.device) && !pv.group.is_empty())
        .map(|pv| pv.group.as_str())
        .collect();
    groups.sort_unstable();
    groups.dedup();
    for group in groups {
        if let Some(other) = pvs.iter().find(|pv| pv.group == group && !own.contains(&pv.device)) {
            bail!(
                "volume group {group} on it also uses {}, which is not to be overwritten; remove the group or choose another disk",
                other.device
            );
        }
        for volume in lvm::lvs(runner)?.iter().filter(|lv| lv.group == group) {
            release_node(&format!("/dev/{group}/{}", volume.name))?;
        }
        lvm::deactivate(runner, group)
            .with_context(|| format!("deactivating the old volume group {group}"))?;
        lvm::vgremove(runner, group).with_context(|| format!("removing the old volume group {group}"))?;
    }
    Ok(())
}

/// Stops arrays and releases mounts and swap on the disk and its partitions.
fn release_holders(runner: &dyn Runner, dir: &Path) -> anyhow::Result<()> {
    let name = dir.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let children = listed(dir).into_iter().map(|e| dir.join(e)).filter(|p| p.join("partition").exists());
    for level in children.chain([dir.to_owned()]) {
        let device = level.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        for holder in listed(&level.join("holders")) {
            if !holder.starts_with("md") {
                bail!("{device} is held by {holder}, which cannot be released");
            }
            let node = format!("/dev/{holder}");
            release_node(&node)?;
            runner
                .run(&Command::new(MDADM).args(["--stop", node.as_str()]))
                .with_context(|| format!("stopping {holder} on {name}"))?;
        }
        release_node(&format!("/dev/{device}"))?;
    }
    Ok(())
}

/// Unmounts a device wherever it is mounted. The boot initrd mounts and swaps to nothing, so swap in use means that
/// this is not the place to work.
fn release_node(node: &str) -> anyhow::Result<()> {
    let same = |other: &str| {
        other == node || matches!((fs::canonicalize(other), fs::canonicalize(node)), (Ok(a), Ok(b)) if a == b)
    };
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().skip(1).filter_map(|l| l.split_whitespace().next()).any(same) {
        bail!("{node} is in use as swap");
    }
    let mounts = fs::read_to_string("/proc/mounts").context("reading /proc/mounts")?;
    let points =
        mounts.lines().map(|l| l.split(' ').collect::<Vec<_>>()).filter(|f| f.len() > 1 && same(f[0]));
    let mut points: Vec<String> = points.map(|f| f[1].replace("\\040", " ")).collect();
    points.reverse();
    for point in points {
        rustix::mount::unmount(&*point, UnmountFlags::empty())
            .with_context(|| format!("unmounting {node} from {point}"))?;
    }
    Ok(())
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
    file.write_all_at(&zeros, 0)?;
    file.write_all_at(&zeros, size - zeros.len() as u64)?;
    file.sync_all().with_context(|| format!("writing out {node}"))
}
