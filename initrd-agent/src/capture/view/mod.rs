//! How the golden client's file systems are read: from snapshots that hold still, or as they are.

mod plan;
mod snapshots;
mod stage;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use sysclone_exec::Runner;
use sysclone_protocol::layout::{DeviceRef, Layout};

use crate::disk::Mount;
use plan::{Source, Volume, Way, plan};
pub(super) use snapshots::remove_all;
pub(super) use stage::DIRECTORY;
use stage::Stage;
pub(crate) use stage::leave_the_others;

/// The file systems of one capture, and how each is read.
pub(super) struct View {
    sources: Vec<Source>,
    ways: Vec<Way>,
}

impl View {
    /// Decides how each file system is read, and makes the snapshots.
    pub(super) fn make(runner: &dyn Runner, (mounts, layout): (&[Mount], &Layout)) -> anyhow::Result<Self> {
        let sources = sources(mounts, layout);
        let ways = plan(&sources, &snapshots::means(runner)?);
        let ways = snapshots::make(runner, &sources, ways);
        Ok(Self { sources, ways })
    }

    /// Everything as it is, for this reason.
    pub(super) fn live((mounts, layout): (&[Mount], &Layout), reason: &str) -> Self {
        let sources = sources(mounts, layout);
        let ways = sources.iter().map(|_| Way::Live { reason: reason.to_owned() }).collect();
        Self { sources, ways }
    }

    /// No snapshot can be read after all.
    pub(super) fn give_up(&mut self, reason: &str) {
        self.ways.fill(Way::Live { reason: reason.to_owned() });
    }

    /// Mounts the view at `root`; this thread must have left the others.
    pub(super) fn build(&mut self, root: &Path) -> anyhow::Result<Built> {
        Ok(Built(Stage::build(root, &self.sources, &mut self.ways)?))
    }

    /// Whether nothing is read as it is, so that the machine may go on changing.
    pub(super) fn holds_still(&self) -> bool {
        self.ways.iter().all(|way| !matches!(way, Way::Live { .. }))
    }

    /// Whether a snapshot ran over, so that what was read of it is worth nothing.
    pub(super) fn ran_over(&self, runner: &dyn Runner) -> anyhow::Result<bool> {
        snapshots::is_any_full(runner, &self.ways)
    }

    /// The mount points, `/` first.
    pub(super) fn points(&self) -> Vec<PathBuf> {
        self.sources.iter().map(|source| source.point.clone()).collect()
    }

    /// One sentence for each file system: how it is read.
    pub(super) fn sentences(&self) -> Vec<String> {
        let sentence = |(source, way): (&Source, &Way)| {
            let point = source.point.display();
            match way {
                Way::Lvm { group, origin, size_bytes, .. } => {
                    let mib = size_bytes >> 20;
                    format!(
                        "{point} is read from an LVM snapshot of {group}/{origin} with room for {mib} MiB of changes"
                    )
                }
                Way::Btrfs => format!("{point} is read from a btrfs snapshot"),
                Way::Live { reason } => format!("{point} is read as it is: {reason}"),
            }
        };
        self.sources.iter().zip(&self.ways).map(sentence).collect()
    }
}

/// A view that is mounted; unmounted when dropped.
pub(super) struct Built(Stage);

impl Built {
    /// The directory that stands for `/`.
    pub(super) fn root(&self) -> &Path {
        self.0.root()
    }
}

/// Mount points where a btrfs snapshot of ours may be.
pub(super) fn btrfs_points(mounts: &[Mount]) -> Vec<PathBuf> {
    mounts.iter().filter(|mount| mount.kind == "btrfs").map(|mount| mount.point.clone()).collect()
}

/// Patterns that leave a btrfs snapshot out of what is read as it is.
pub(super) fn excludes(mounts: &[Mount]) -> Vec<String> {
    let snapshot = |point: PathBuf| point.join(snapshots::BTRFS_SNAPSHOT).to_str().map(super::names::escape);
    btrfs_points(mounts).into_iter().filter_map(snapshot).collect()
}

fn sources(mounts: &[Mount], layout: &Layout) -> Vec<Source> {
    let volume = |mount: &Mount| {
        let on = |at: &Option<String>| at.as_deref().is_some_and(|at| Path::new(at) == mount.point);
        let fs = layout.filesystems.iter().find(|fs| on(&fs.mount_point))?;
        let DeviceRef::LogicalVolume { group, volume } = &fs.device else { return None };
        let found = layout.volume_groups.iter().find(|g| g.name == *group)?;
        let found = found.logical_volumes.iter().find(|lv| lv.name == *volume)?;
        let (group, name, segment_type) = (group.clone(), volume.clone(), found.segment_type.clone());
        Some(Volume { group, name, segment_type, size_bytes: found.size_bytes })
    };
    let source = |mount: &Mount| Source {
        point: mount.point.clone(),
        kind: mount.kind.clone(),
        volume: volume(mount),
    };
    mounts.iter().map(source).collect()
}
