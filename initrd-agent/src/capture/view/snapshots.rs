//! Makes snapshots, tells whether they are still good, and removes them: those of this run, and those that an earlier
//! one left when it was killed with all its helpers, or the power failed.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use lvm2_cmd_wrapper::{LVM, Lvm};
use sysclone_exec::{Command, Runner, Tool, missing_tools};

use super::plan::{Means, Room, Source, Way};

const BTRFS: Tool = Tool("btrfs");

/// Name of a btrfs snapshot at the top of its file system.
pub(super) const BTRFS_SNAPSHOT: &str = ".sysclone-capture";

/// How long a snapshot may be busy after its last reader ended: the kernel lets go of a mount a moment later, and
/// udev looks at every device that changes.
const BUSY: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(200);

/// What snapshots can be made with here.
pub(super) fn means(runner: &dyn Runner) -> anyhow::Result<Means> {
    let mut means = Means { groups: [].into(), btrfs: missing_tools(&[BTRFS]).is_empty() };
    if has_lvm() {
        let groups = Lvm::host(runner).vgs().context("reading the volume groups")?;
        let room = |g: &lvm2_cmd_wrapper::VgReport| Room {
            extent_bytes: g.extent_bytes,
            free_extents: g.free_extents,
        };
        means.groups = groups.iter().map(|group| (group.name.clone(), room(group))).collect();
    }
    Ok(means)
}

fn has_lvm() -> bool {
    missing_tools(&[LVM]).is_empty()
}

/// Makes the snapshots of a plan. One that cannot be made is no error: its file system is read as it is.
pub(super) fn make(runner: &dyn Runner, sources: &[Source], ways: Vec<Way>) -> Vec<Way> {
    let make = |(source, way): (&Source, Way)| {
        let made = match &way {
            Way::Lvm { group, origin, snapshot, size_bytes } => Lvm::host(runner)
                .make_snapshot(&format!("{group}/{origin}"), snapshot, *size_bytes)
                .map_err(Into::into),
            Way::Btrfs => make_btrfs(runner, &source.point),
            Way::Live { .. } => Ok(()),
        };
        match made {
            Ok(()) => way,
            Err(error) => Way::Live { reason: format!("no snapshot could be made: {error:#}") },
        }
    };
    sources.iter().zip(ways).map(make).collect()
}

fn make_btrfs(runner: &dyn Runner, point: &Path) -> anyhow::Result<()> {
    let create = Command::new(BTRFS).args(["subvolume", "snapshot", "-r"]);
    keeping_times(point, || Ok(runner.run(&create.arg(point).arg(point.join(BTRFS_SNAPSHOT))).map(drop)?))
}

/// Whether a snapshot has no room for more changes, so that what was read of it may be anything.
pub(super) fn is_any_full(runner: &dyn Runner, ways: &[Way]) -> anyhow::Result<bool> {
    if !ways.iter().any(|way| matches!(way, Way::Lvm { .. })) {
        return Ok(false);
    }
    let found = Lvm::host(runner).snapshots().context("asking whether the snapshots are still good")?;
    let good = |group: &str, name: &str| {
        found.iter().any(|snapshot| snapshot.group == group && snapshot.name == name && !snapshot.is_full)
    };
    // One that is gone is as bad as one that is full.
    Ok(ways.iter().any(|way| match way {
        Way::Lvm { group, snapshot, .. } => !good(group, snapshot),
        Way::Btrfs | Way::Live { .. } => false,
    }))
}

/// Removes every snapshot that is ours; answers how many there were.
pub(in super::super) fn remove_all(runner: &dyn Runner, btrfs: &[PathBuf]) -> anyhow::Result<usize> {
    let mut removed = 0;
    if has_lvm() {
        let lvm = Lvm::host(runner);
        for snapshot in lvm.snapshots().context("looking for snapshots")? {
            let what = || format!("removing the snapshot {}/{}", snapshot.group, snapshot.name);
            patiently(|| Ok(lvm.remove_snapshot(&snapshot)?)).with_context(what)?;
            removed += 1;
        }
    }
    for point in btrfs {
        let snapshot = point.join(BTRFS_SNAPSHOT);
        if snapshot.symlink_metadata().is_ok() {
            let delete = Command::new(BTRFS).args(["subvolume", "delete"]).arg(&snapshot);
            let remove = || patiently(|| Ok(runner.run(&delete).map(drop)?));
            keeping_times(point, remove)
                .with_context(|| format!("removing the snapshot {}", snapshot.display()))?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn patiently(mut act: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let deadline = Instant::now() + BUSY;
    loop {
        match act() {
            Err(_) if Instant::now() < deadline => std::thread::sleep(AGAIN),
            ended => return ended,
        }
    }
}

/// Gives the directory that a snapshot comes and goes in its times back: they are the golden client's, and a capture
/// is to leave no trace in the next one.
fn keeping_times(directory: &Path, act: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    use rustix::fs::{Timespec, Timestamps};
    let fd = std::fs::File::open(directory).with_context(|| format!("opening {}", directory.display()))?;
    let stat = rustix::fs::fstat(&fd).with_context(|| format!("looking at {}", directory.display()))?;
    act()?;
    // Nanoseconds below a thousand million, whose type is not the same on every architecture.
    let access = i64::try_from(stat.st_atime_nsec).unwrap_or_default();
    let modification = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    let times = Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: access },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: modification },
    };
    rustix::fs::futimens(&fd, &times).with_context(|| format!("setting the times of {}", directory.display()))
}
