//! Goes on with file systems that an interrupted installation made. Until their root has shown whose they are, the
//! disks are only read: not even a journal is replayed.

use std::ffi::CString;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::mount::{MountFlags, mount};
use sysclone_exec::Runner;
use sysclone_protocol::plan::{InstallPlan, PlannedFilesystem};

use super::{clear, format, nodes, verify, volumes};

/// Says of a clone's root whether it is the interrupted installation's.
type Check<'a> = &'a dyn Fn(&Path) -> anyhow::Result<()>;

/// Brings `plan`'s file systems to where they can be mounted. `check` is given the clone's root, read-only, and says
/// whether it is the interrupted installation's.
///
/// # Errors
/// The disks do not hold what the plan makes, or `check` refuses.
pub(super) fn resume(
    runner: &dyn Runner,
    plan: &InstallPlan,
    (at, check): (&Path, Check<'_>),
) -> anyhow::Result<()> {
    let root = plan.mounts().into_iter().find(|(_, mount)| mount.point == "/");
    let (root, mounted) = root.context("the plan has no root file system")?;
    let Some(untouched) = without_replay(root) else {
        bail!(
            "the root file system {} is {} without a journal, which cannot be trusted after an interruption: run \
             nodeset for this node again to install it from the beginning",
            root.device,
            root.facts.kind
        );
    };
    for disk in &plan.disks {
        let parts = disk.table.iter().flat_map(|table| {
            table.partitions.iter().filter(|p| !p.is_extended(table.kind)).map(|p| p.number)
        });
        let parts: Vec<String> = parts.map(|number| disk.facts.partition_device(number)).collect();
        nodes::wait_for(&parts).context("looking for what the interrupted installation made")?;
    }
    for group in &plan.groups {
        volumes::activate(runner, group)?;
    }
    let devices: Vec<String> = plan.filesystems.iter().map(|fs| fs.device.clone()).collect();
    nodes::wait_for(&devices).context("looking for the interrupted installation's file systems")?;
    verify::verify(runner, plan)
        .context("comparing the disks with what the interrupted installation made")?;
    look((root, mounted.subvolume), (at, untouched), check)?;
    for filesystem in plan.filesystems.iter().filter(|fs| must_be_made_anew(fs)) {
        let node = &filesystem.device;
        clear::wipe_ends(node).with_context(|| format!("clearing {node}"))?;
        for command in format::commands(filesystem)? {
            let making = || format!("making {} on {node} anew", filesystem.facts.kind);
            runner.run(&command).with_context(making)?;
        }
    }
    Ok(())
}

/// The mount option that leaves a file system's journal alone; none when it has no journal.
fn without_replay(filesystem: &PlannedFilesystem) -> Option<&'static str> {
    match filesystem.facts.kind.as_str() {
        "ext3" | "ext4" if has_journal(filesystem) => Some("noload"),
        "xfs" => Some("norecovery"),
        "btrfs" => Some("rescue=nologreplay"),
        _ => None,
    }
}

fn has_journal(filesystem: &PlannedFilesystem) -> bool {
    filesystem.facts.features.features.iter().any(|feature| feature == "has_journal")
}

/// A file system that cannot repair itself by its journal is not trusted after a reset; what is on it is little
/// (an EFI system partition, an old `/boot`) and is fetched again.
fn must_be_made_anew(filesystem: &PlannedFilesystem) -> bool {
    filesystem.facts.mounts().next().is_some() && without_replay(filesystem).is_none()
}

fn look(
    (root, subvolume): (&PlannedFilesystem, Option<&str>),
    (at, untouched): (&Path, &str),
    check: Check<'_>,
) -> anyhow::Result<()> {
    let mounting = || format!("looking at {}", root.device);
    let flags = MountFlags::RDONLY | MountFlags::NOATIME;
    let options = [Some(untouched.to_owned()), subvolume.map(|path| format!("subvol=/{path}"))];
    let options = options.into_iter().flatten().collect::<Vec<_>>().join(",");
    let options = CString::new(options).context("a subvolume's name has a zero byte")?;
    mount(root.device.as_str(), at, root.facts.kind.as_str(), flags, &*options).with_context(mounting)?;
    let verdict = check(at);
    super::unmount::unmount(at).with_context(|| format!("unmounting {}", root.device))?;
    verdict
}
