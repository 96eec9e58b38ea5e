//! Disks of lab machines: sparse raw files, and windows into them as loop devices.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;
use sysclone_exec::{Command, Runner, System, Tool};

use super::cleanup::{self, Guard};

const LOSETUP: Tool = Tool("losetup");
const CP: Tool = Tool("cp");
const MOUNT: Tool = Tool("mount");
const UMOUNT: Tool = Tool("umount");

/// How a disk is attached to its machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    /// `/dev/vd*`.
    Virtio,
    /// `/dev/nvme*`.
    Nvme,
    /// `/dev/sd*` behind an AHCI controller.
    Sata,
    /// `/dev/sd*` behind a virtio SCSI controller.
    Scsi,
}

/// A disk to be plugged into a machine.
#[derive(Debug, Clone)]
pub struct Disk {
    pub(crate) path: PathBuf,
    pub(crate) bus: Bus,
    pub(crate) serial: String,
}

impl Disk {
    /// A new, empty disk of `size_bytes` in the file `path`.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn blank(path: &Path, size_bytes: u64, bus: Bus) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        file.set_len(size_bytes).with_context(|| format!("sizing {}", path.display()))?;
        Ok(Self::existing(path, bus))
    }

    /// A sparse copy of the disk in `source`, so that the original stays as it is.
    ///
    /// # Errors
    /// The copy fails.
    pub fn copy_of(source: &Path, path: &Path, bus: Bus) -> Result<Self> {
        let copy = Command::new(CP).args(["--sparse=always", "--reflink=auto", "--"]).arg(source).arg(path);
        System.run(&copy).context("copying a disk")?;
        Ok(Self::existing(path, bus))
    }

    /// The disk in the file `path`.
    #[must_use]
    pub fn existing(path: &Path, bus: Bus) -> Self {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        // NVMe allows 20 bytes of serial number.
        let serial: String = format!("LAB-{name}").chars().take(20).collect();
        Self { path: path.to_owned(), bus, serial }
    }

    /// Gives it another serial number than the one made of its file's name.
    #[must_use]
    pub fn serial(mut self, serial: &str) -> Self {
        serial.clone_into(&mut self.serial);
        self
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A part of a file as a block device, detached when dropped.
#[derive(Debug)]
pub struct Loop {
    device: PathBuf,
    _detached_on_drop: Guard,
}

impl Loop {
    /// The bytes from `start` on, `size` of them, of `file`; the whole file when `size` is none.
    ///
    /// # Errors
    /// No loop device can be had.
    pub fn attach(file: &Path, start: u64, size: Option<u64>) -> Result<Self> {
        let mut command = Command::new(LOSETUP).args(["--find", "--show", "--offset", &start.to_string()]);
        if let Some(size) = size {
            command = command.args(["--sizelimit", &size.to_string()]);
        }
        let output = System.run(&command.arg(file)).context("attaching a loop device")?;
        let device = PathBuf::from(output.text().trim());
        let doomed = device.clone();
        let guard = cleanup::guard(move || {
            let detach = Command::new(LOSETUP).arg("--detach").arg(&doomed);
            cleanup::report("loop device", System.run(&detach).map(drop));
        });
        Ok(Self { device, _detached_on_drop: guard })
    }

    /// Detaches what a killed run has left attached to files in `folder`.
    ///
    /// # Errors
    /// The kernel does not tell or does not let go.
    pub fn detach_all(folder: &Path) -> Result<()> {
        #[derive(Deserialize)]
        struct Report {
            loopdevices: Vec<Device>,
        }
        #[derive(Deserialize)]
        struct Device {
            name: PathBuf,
            #[serde(rename = "back-file")]
            file: Option<PathBuf>,
        }
        let list = Command::new(LOSETUP).args(["--list", "--json", "--output", "NAME,BACK-FILE"]);
        let output = System.run(&list).context("listing loop devices")?.text();
        // Without any there is no document at all.
        if output.trim().is_empty() {
            return Ok(());
        }
        let report: Report = serde_json::from_str(&output).context("reading the list of loop devices")?;
        for device in report.loopdevices {
            if device.file.is_some_and(|file| file.starts_with(folder)) {
                let detach = Command::new(LOSETUP).arg("--detach").arg(&device.name);
                System.run(&detach).context("detaching a loop device")?;
            }
        }
        Ok(())
    }

    /// Its device node.
    #[must_use]
    pub fn device(&self) -> &Path {
        &self.device
    }
}

/// A mounted filesystem, unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    _unmounted_on_drop: Guard,
}

impl Mount {
    /// Mounts `device` at `at` (made when missing) as `kind` with mount `options`.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn new(device: &Path, at: &Path, kind: &str, options: &str) -> Result<Self> {
        std::fs::create_dir_all(at).with_context(|| format!("creating {}", at.display()))?;
        let mount = Command::new(MOUNT).args(["-t", kind, "-o", options]).arg(device).arg(at);
        System.run(&mount).context("mounting")?;
        Ok(Self::undone_at(at))
    }

    /// Shows the tree at `from` also at `at`, with what is mounted inside it.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn bind(from: &Path, at: &Path) -> Result<Self> {
        System
            .run(&Command::new(MOUNT).args(["--rbind", "--make-rslave"]).arg(from).arg(at))
            .context("mounting")?;
        Ok(Self::undone_at(at))
    }

    /// Unmounts what a killed run has left mounted in `folder`, the innermost first.
    ///
    /// # Errors
    /// The kernel does not let go.
    pub fn remove_all(folder: &Path) -> Result<()> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").context("reading the mounts")?;
        let inside = |line: &&str| line.split(' ').nth(1).is_some_and(|at| Path::new(at).starts_with(folder));
        for line in mounts.lines().rev().filter(inside) {
            let at = line.split(' ').nth(1).unwrap_or_default();
            System.run(&Command::new(UMOUNT).arg(at)).context("unmounting")?;
        }
        Ok(())
    }

    fn undone_at(at: &Path) -> Self {
        let doomed = at.to_owned();
        let guard = cleanup::guard(move || {
            let unmount = Command::new(UMOUNT).arg("--recursive").arg(&doomed);
            cleanup::report("mount", System.run(&unmount).map(drop));
        });
        Self { _unmounted_on_drop: guard }
    }
}
