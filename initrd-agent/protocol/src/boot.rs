//! Facts about how a captured machine starts from its disk, recorded at capture and used at deploy.

use serde::{Deserialize, Serialize};

use crate::inventory::Firmware;
use crate::layout::DeviceRef;

/// How the golden client boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootFacts {
    /// Firmware the golden client was started by.
    pub firmware: Firmware,
    /// Loader on its disk.
    pub loader: Loader,
    /// Layout labels of the disks that carry the loader's first stage.
    pub loader_disks: Vec<String>,
    /// The filesystem that holds `/boot`.
    pub boot_device: Option<DeviceRef>,
    /// Kernel files found in `/boot`, newest first (`vmlinuz-6.1.0-35-amd64`).
    #[serde(default)]
    pub kernels: Vec<String>,
    /// Tool that makes its initramfs.
    #[serde(default)]
    pub initramfs: Initramfs,
    /// Kernel command line of the running golden client.
    #[serde(default)]
    pub kernel_cmdline: String,
}

/// Bootloader families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loader {
    /// GRUB 2 for PC BIOS.
    Grub2Bios,
    /// GRUB 2 for UEFI.
    Grub2Uefi,
    /// GRUB 2 for Open Firmware in a PReP partition.
    Grub2Ieee1275,
    /// Petitboot, which is part of the firmware and reads GRUB's menu; nothing of it is on the disk.
    Petitboot,
    /// GRUB 0.97.
    GrubLegacy,
    /// yaboot.
    Yaboot,
    /// A loader this version cannot install.
    #[serde(other)]
    Unknown,
}

/// Initramfs generators.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Initramfs {
    /// Debian's initramfs-tools.
    InitramfsTools,
    /// dracut.
    Dracut,
    /// SLES mkinitrd.
    Mkinitrd,
    /// None found or not known.
    #[default]
    #[serde(other)]
    Unknown,
}
