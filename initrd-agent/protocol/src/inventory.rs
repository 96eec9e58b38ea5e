//! What a machine turned out to have: disks, network interfaces, firmware. Read by the agent, judged by
//! [`crate::plan`], stored by the server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::Mac;

/// Everything the agent knows about the machine it runs on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Inventory {
    /// SMBIOS/device-tree system UUID, lower case.
    pub uuid: Option<String>,
    /// System serial number.
    pub serial: Option<String>,
    /// Vendor and product, for people.
    pub model: Option<String>,
    /// Kernel architecture name (`x86_64`, `ppc64le`, `ppc64`).
    pub arch: String,
    /// How the machine was started.
    pub firmware: Firmware,
    /// Installed memory in bytes.
    pub memory_bytes: u64,
    /// Every network interface with an Ethernet address.
    pub nics: Vec<Nic>,
    /// Every whole disk, also those that must not be touched.
    pub disks: Vec<DiskFacts>,
}

/// The firmware interface of a machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// PC BIOS.
    #[default]
    Bios,
    /// UEFI, Secure Boot or not.
    Uefi,
    /// IEEE 1275 Open Firmware (PowerVM, SLOF).
    OpenFirmware,
    /// OPAL with petitboot.
    Opal,
    /// A kind that this version does not know.
    #[serde(other)]
    Unknown,
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Nic {
    /// Kernel name, a hint only.
    pub name: String,
    /// Permanent hardware address.
    pub mac: Mac,
    /// Kernel driver.
    #[serde(default)]
    pub driver: Option<String>,
    /// Whether the link was up when probed.
    #[serde(default)]
    pub link: bool,
}

/// What is known about one disk before anything is done to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DiskFacts {
    /// Kernel name without `/dev/` (`nvme0n1`).
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Logical sector size in bytes.
    pub sector_bytes: u32,
    /// Bus: `nvme`, `sata`, `sas`, `virtio`, `usb`, `mmc`, `ata`, `scsi`…
    pub transport: Option<String>,
    /// Model name.
    pub model: Option<String>,
    /// Serial number.
    pub serial: Option<String>,
    /// World Wide Name, EUI-64 or NGUID.
    pub wwn: Option<String>,
    /// Stable bus path (`/dev/disk/by-path` style).
    pub path: Option<String>,
    /// True for spinning disks.
    pub rotational: bool,
    /// True for removable media.
    pub removable: bool,
    /// True when the disk refuses writes.
    pub read_only: bool,
    /// Set when something outside this machine's own disks holds it (multipath map, mounted, SAN); why.
    pub held_by: Option<String>,
}

impl DiskFacts {
    /// The device node.
    #[must_use]
    pub fn device(&self) -> String {
        format!("/dev/{}", self.name)
    }

    /// The device node of partition `number` (`/dev/sda1`, `/dev/nvme0n1p1`).
    #[must_use]
    pub fn partition_device(&self, number: u32) -> String {
        let separator = if self.name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
        format!("/dev/{}{separator}{number}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partition_nodes_take_a_p_after_a_digit() {
        for (disk, node) in
            [("sda", "/dev/sda3"), ("nvme0n1", "/dev/nvme0n1p3"), ("mmcblk0", "/dev/mmcblk0p3")]
        {
            let facts = DiskFacts { name: disk.into(), ..DiskFacts::default() };
            assert_eq!(facts.partition_device(3), node);
        }
    }
}
