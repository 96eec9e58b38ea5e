//! What the making of a golden client needs of its own: device nodes with disk-like names, and fast room to work.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat, stat};
use rustix::mount::{UnmountFlags, unmount};
use sysclone_exec::{Command, Runner, System, Tool};

const MOUNT: Tool = Tool("mount");

/// Loop devices that the private /dev has nodes for; more than a host has in use.
const LOOPS: u32 = 256;

/// Character devices that programs expect, by number (Linux, Documentation/admin-guide/devices.txt).
const PLAIN: &[(&str, u32, u32)] = &[
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
    ("loop-control", 10, 237),
];

/// Puts a private /dev in place of the host's in this mount namespace. The GRUB tools treat /dev/loop* specially;
/// under other names the same devices look like disks to them.
pub(super) fn own_devices() -> Result<()> {
    let staging = tempfile::tempdir().context("making a folder")?;
    let dev = staging.path();
    System.run(&Command::new(MOUNT).args(["-t", "tmpfs", "-o", "mode=755", "dev"]).arg(dev))?;
    for folder in ["disk/by-uuid", "mapper", "shm", "pts"] {
        fs::create_dir_all(dev.join(folder)).with_context(|| format!("creating {folder}"))?;
    }
    for &(name, major, minor) in PLAIN {
        let node = dev.join(name);
        mknodat(CWD, &node, FileType::CharacterDevice, Mode::empty(), makedev(major, minor))?;
        fs::set_permissions(&node, Permissions::from_mode(0o666))
            .with_context(|| format!("opening up {name}"))?;
    }
    for minor in 0..LOOPS {
        let node = dev.join(format!("loop{minor}"));
        mknodat(CWD, node, FileType::BlockDevice, Mode::RUSR | Mode::WUSR, makedev(7, minor))?;
    }
    symlink("/proc/self/fd", dev.join("fd")).context("linking /dev/fd")?;
    System.run(&Command::new(MOUNT).args(["--move"]).arg(dev).arg("/dev"))?;
    Ok(())
}

/// Gives the block device `device` another name under the private /dev.
pub(super) fn alias(device: &Path, name: &str) -> Result<PathBuf> {
    let number = stat(device).with_context(|| format!("looking at {}", device.display()))?.st_rdev;
    let node = Path::new("/dev").join(name);
    mknodat(CWD, &node, FileType::BlockDevice, Mode::RUSR | Mode::WUSR, number)
        .with_context(|| format!("creating {}", node.display()))?;
    Ok(node)
}

/// Memory that must be free before the tree is unpacked there: the tree itself and as much again.
const MEMORY_KIB: u64 = 4 << 20;

/// A folder to unpack the system in: in memory when there is plenty (dpkg flushes every file), else beside the
/// result.
pub(super) fn workspace(folder: &Path) -> Result<PathBuf> {
    let work = folder.join("work");
    fs::create_dir(&work).context("creating the work space")?;
    let info = fs::read_to_string("/proc/meminfo").context("reading /proc/meminfo")?;
    let free = info.lines().find_map(|line| line.strip_prefix("MemAvailable:")).unwrap_or_default();
    let free: u64 = free.trim().trim_end_matches(" kB").parse().unwrap_or(0);
    if free >= MEMORY_KIB {
        System.run(&Command::new(MOUNT).args(["-t", "tmpfs", "-o", "size=3g", "work"]).arg(&work))?;
    }
    Ok(work)
}

/// Removes the work space, wherever it is.
pub(super) fn remove_workspace(work: &Path) -> Result<()> {
    match unmount(work, UnmountFlags::DETACH) {
        // It was not in memory.
        Err(rustix::io::Errno::INVAL) => {}
        result => result.context("unmounting")?,
    }
    fs::remove_dir_all(work).context("removing")
}
