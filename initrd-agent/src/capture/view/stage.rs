//! A private view of the golden client's file systems and of nothing else: each is mounted once more below one
//! directory, from its snapshot or as it is, in a mount name space that only the reading thread is in. What other file
//! systems hide on the running machine (`/dev`, a mount point's own content) is seen as it is on the disk; `/proc`,
//! network file systems, FUSE, removable media and second views of the same files (bind mounts) are not there at all.

use std::ffi::CString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::plan::{Source, Way};
use super::snapshots::BTRFS_SNAPSHOT;

/// Where the view is made, on the golden client: in the directory that is never captured.
pub(in super::super) const DIRECTORY: &str = "/var/lib/sysclone/stage";

/// A view, as long as it is mounted.
pub(super) struct Stage {
    root: PathBuf,
    mounted: Vec<PathBuf>,
}

/// Gives this thread, and those that it starts, a mount name space of its own.
///
/// # Errors
/// It is not allowed, as in most containers.
pub(crate) fn leave_the_others() -> rustix::io::Result<()> {
    #[expect(unsafe_code, reason = "the safe form is deprecated")]
    // SAFETY: only the mount name space is left; file descriptors stay shared.
    unsafe {
        unshare_unsafe(UnshareFlags::NEWNS)?;
    }
    // Nothing that is mounted here appears there.
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
}

impl Stage {
    /// Mounts every source below `root`, in this thread's own name space. A snapshot that cannot be mounted is
    /// replaced by the file system as it is, and its way says so.
    pub(super) fn build(root: &Path, sources: &[Source], ways: &mut [Way]) -> anyhow::Result<Self> {
        fs::create_dir_all(root).with_context(|| format!("making {}", root.display()))?;
        let mut stage = Self { root: root.to_owned(), mounted: Vec::new() };
        for (source, way) in sources.iter().zip(ways) {
            let target = root.join(below_root(&source.point));
            if let Err(error) = mount_one(source, way, &target) {
                anyhow::ensure!(!matches!(way, Way::Live { .. }), error);
                *way = Way::Live { reason: format!("its snapshot cannot be mounted: {error:#}") };
                mount_one(source, way, &target)?;
            }
            stage.mounted.push(target);
        }
        Ok(stage)
    }

    /// The directory that stands for `/`.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        for target in self.mounted.iter().rev() {
            if let Err(error) = unmount(target.as_path(), UnmountFlags::empty()) {
                // It goes with the thread's name space.
                tracing::debug!(target = %target.display(), %error, "not unmounted");
            }
        }
    }
}

fn mount_one(source: &Source, way: &Way, target: &Path) -> anyhow::Result<()> {
    let point = source.point.display();
    match way {
        Way::Lvm { group, snapshot, .. } => {
            let device = format!("/dev/{group}/{snapshot}");
            // A second file system with the same UUID is what XFS refuses otherwise.
            let options = (source.kind == "xfs").then(|| CString::from(c"nouuid"));
            let mounted = mount(&device, target, &source.kind, MountFlags::RDONLY, options.as_deref());
            mounted.with_context(|| format!("mounting {device}, the snapshot of {point}"))
        }
        Way::Btrfs => mount_bind(source.point.join(BTRFS_SNAPSHOT), target)
            .with_context(|| format!("mounting the snapshot of {point}")),
        Way::Live { .. } => {
            mount_bind(&source.point, target).with_context(|| format!("mounting {point} once more"))
        }
    }
}

fn below_root(path: &Path) -> PathBuf {
    path.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}
