//! Subvolumes of a new btrfs.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use rustix::mount::{MountFlags, mount};
use sysclone_exec::{Command, Runner};
use sysclone_protocol::plan::PlannedFilesystem;

use super::BTRFS;

/// Where the top of the filesystem is mounted meanwhile.
const TOP: &str = "/run/sysclone-btrfs";

/// Makes a filesystem's subvolumes, parents before children.
///
/// # Errors
/// It cannot be mounted, or btrfs failed.
pub(super) fn make(runner: &dyn Runner, filesystem: &PlannedFilesystem) -> anyhow::Result<()> {
    let (node, top) = (filesystem.device.as_str(), Path::new(TOP));
    fs::create_dir_all(top).with_context(|| format!("creating {TOP}"))?;
    mount(node, top, "btrfs", MountFlags::NOATIME, c"subvolid=5")
        .with_context(|| format!("mounting {node}"))?;
    let made = make_below(runner, filesystem, top);
    super::unmount::unmount(top).with_context(|| format!("unmounting {node}"))?;
    made
}

fn make_below(runner: &dyn Runner, filesystem: &PlannedFilesystem, top: &Path) -> anyhow::Result<()> {
    for subvolume in &filesystem.facts.subvolumes {
        let path = top.join(&subvolume.path);
        let making = || format!("making subvolume {}", subvolume.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).with_context(making)?;
        }
        let create = Command::new(BTRFS).args(["subvolume", "create"]).arg(&path);
        runner.run(&create).with_context(making)?;
        if subvolume.default {
            let set = Command::new(BTRFS).args(["subvolume", "set-default"]).arg(&path);
            runner.run(&set).with_context(making)?;
        }
    }
    Ok(())
}
