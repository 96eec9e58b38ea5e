//! Finds out what a machine has, from `/sys` and `/proc` alone.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use sysclone_protocol::inventory::{DiskFacts, Firmware, Inventory, Nic};

use super::blocks::{Blocks, listed};
use super::bus;
use super::mounts::mounted_numbers;

/// Block devices that are never disks of the machine.
const NOT_DISKS: &[&str] =
    &["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "mtdblock", "drbd", "rbd"];

/// A block device's `size` file counts these, whatever its sector size is.
const SIZE_UNIT: u64 = 512;

/// Reads the machine that this program runs on.
///
/// # Errors
/// `/sys/block` cannot be read.
pub fn inventory() -> anyhow::Result<Inventory> {
    inventory_under(Path::new("/"))
}

/// Reads a machine from the `sys` and `proc` trees under `root`.
///
/// # Errors
/// Its `sys/block` cannot be read.
pub fn inventory_under(root: &Path) -> anyhow::Result<Inventory> {
    let dmi = |name: &str| text(&root.join("sys/class/dmi/id").join(name));
    let tree = |name: &str| text(&root.join("proc/device-tree").join(name)).map(|t| t.replace('\0', ""));
    let model = match (dmi("sys_vendor"), dmi("product_name")) {
        (Some(vendor), Some(product)) => Some(format!("{vendor} {product}")),
        (vendor, product) => product.or(vendor).or_else(|| tree("model")),
    };
    Ok(Inventory {
        // A machine that nobody gave a UUID says that it is all zeros.
        uuid: dmi("product_uuid")
            .or_else(|| tree("vm,uuid"))
            .filter(|uuid| uuid.contains(|c: char| c.is_ascii_hexdigit() && c != '0'))
            .map(|uuid| uuid.to_ascii_lowercase()),
        serial: dmi("product_serial").or_else(|| tree("system-id")),
        model,
        arch: arch().into(),
        firmware: firmware(root),
        memory_bytes: memory(root),
        nics: nics(root),
        disks: disks(root)?,
    })
}

fn arch() -> &'static str {
    match (std::env::consts::ARCH, cfg!(target_endian = "little")) {
        ("powerpc64", true) => "ppc64le",
        ("powerpc64", false) => "ppc64",
        (arch, _) => arch,
    }
}

fn firmware(root: &Path) -> Firmware {
    if root.join("sys/firmware/efi").exists() {
        Firmware::Uefi
    } else if root.join("sys/firmware/opal").exists() {
        Firmware::Opal
    } else if root.join("proc/device-tree").exists() {
        Firmware::OpenFirmware
    } else {
        Firmware::Bios
    }
}

fn memory(root: &Path) -> u64 {
    let info = text(&root.join("proc/meminfo")).unwrap_or_default();
    let kib = info
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.unwrap_or(0_u64) * 1024
}

fn nics(root: &Path) -> Vec<Nic> {
    let base = root.join("sys/class/net");
    let nic = |name: String| {
        let dir = base.join(&name);
        // Only hardware has a device; bridges, bonds and lo do not.
        dir.join("device").exists().then_some(())?;
        let mac = text(&dir.join("address"))?.parse().ok()?;
        let driver = link_name(&dir.join("device/driver"));
        Some(Nic { link: text(&dir.join("carrier")).as_deref() == Some("1"), name, mac, driver })
    };
    listed(&base).into_iter().filter_map(nic).collect()
}

fn disks(root: &Path) -> anyhow::Result<Vec<DiskFacts>> {
    let base = root.join("sys/block");
    fs::read_dir(&base).with_context(|| format!("listing {}", base.display()))?;
    let mounted = mounted_numbers(root);
    let blocks = Blocks::under(root);
    let names = listed(&base).into_iter().filter(|name| !NOT_DISKS.iter().any(|kind| name.starts_with(kind)));
    Ok(names
        .filter_map(|name| {
            let held_by = holder(&blocks, &name, &mounted);
            disk(&base.join(&name), name).map(|facts| DiskFacts { held_by, ..facts })
        })
        .collect())
}

/// One disk; none when it has no medium, or is an eMMC boot area or an NVMe path of another disk.
fn disk(dir: &Path, name: String) -> Option<DiskFacts> {
    let attribute = |path: &str| text(&dir.join(path));
    let number = |path: &str| attribute(path)?.parse::<u64>().ok();
    let size_bytes = number("size")?.checked_mul(SIZE_UNIT)?;
    let hidden = number("hidden") == Some(1);
    let boot_area = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    if size_bytes == 0 || hidden || boot_area {
        return None;
    }
    let device = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    Some(DiskFacts {
        size_bytes,
        sector_bytes: number("queue/logical_block_size").and_then(|n| u32::try_from(n).ok()).unwrap_or(512),
        transport: Some(bus::transport(&device, &name).to_owned()),
        model: attribute("device/model"),
        serial: attribute("device/serial")
            .or_else(|| attribute("serial"))
            .or_else(|| bus::usb_serial(&device))
            .or_else(|| vpd_serial(dir)),
        wwn: attribute("wwid").or_else(|| attribute("device/wwid")).filter(|id| !id.starts_with("t10.")),
        path: bus::path(&device, &name),
        rotational: number("queue/rotational") == Some(1),
        removable: number("removable") == Some(1),
        read_only: number("ro") == Some(1),
        held_by: None,
        name,
    })
}

/// Why a disk must be left alone: it is a path to a multipath map, or something on it is mounted. What only lies
/// stacked on it (old volume groups, arrays) can be cleared away.
fn holder(blocks: &Blocks, name: &str, mounted: &[(String, String)]) -> Option<String> {
    for device in blocks.stack(name) {
        if blocks.attribute(&device, "dm/uuid").is_some_and(|uuid| uuid.starts_with("mpath-")) {
            let map = blocks.attribute(&device, "dm/name").unwrap_or(device);
            return Some(format!("multipath map {map}"));
        }
        let number = blocks.number(&device);
        if let Some((_, point)) = mounted.iter().find(|(other, _)| Some(other) == number.as_ref()) {
            return Some(format!("{device} is mounted at {point}"));
        }
    }
    None
}

/// The unit serial number from a SCSI disk's vital product data (page 0x80), which also SATA disks have.
fn vpd_serial(dir: &Path) -> Option<String> {
    let page = fs::read(dir.join("device/vpd_pg80")).ok()?;
    let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    let serial = String::from_utf8_lossy(page.get(4..4 + length)?).trim().to_owned();
    (!serial.is_empty()).then_some(serial)
}

fn link_name(link: &Path) -> Option<String> {
    Some(fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned())
}

/// A small file's content without the white space around it; none when there is none.
fn text(path: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::Tree;
    use super::*;

    #[test]
    fn disks_are_known_by_bus_serial_wwn_and_path() {
        let shown: Vec<String> = inventory_under(Tree::load("buses").root())
            .unwrap()
            .disks
            .iter()
            .map(|d| {
                let or = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
                format!("{} {} {} {} {}", d.name, or(&d.transport), or(&d.serial), or(&d.wwn), or(&d.path))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "nvme0n1 nvme NVME0001 \
                 nvme.1b36-4e564d4530303031-51454d55204e564d65204374726c-00000001 pci-0000:00:03.0-nvme-1",
                "sda sata SATA0001 naa.5000c500a1b2c3d4 pci-0000:00:1f.2-ata-1",
                "sdb sata SATA0002 - pci-0000:00:1f.2-ata-2",
                "sdc scsi SCSI0001 naa.5000c500deadbeef pci-0000:00:05.0-scsi-0:0:0:0",
                "sdd usb USB0001 - pci-0000:00:04.0-usb-0:1:1.0-scsi-0:0:0:0",
                "vda virtio VIRT-0001 - pci-0000:00:02.0",
            ]
        );
    }

    #[test]
    fn sizes_sectors_and_kinds_are_read() {
        let disks = inventory_under(Tree::load("buses").root()).unwrap().disks;
        let facts: Vec<_> = disks.iter().map(|d| (d.size_bytes >> 20, d.sector_bytes, d.removable)).collect();
        assert_eq!(
            facts,
            [
                (8192, 4096, false),
                (256, 512, false),
                (256, 512, false),
                (256, 512, false),
                (256, 512, true),
                (8192, 512, false)
            ]
        );
        // The SATA disk that says so does not spin; QEMU's NVMe neither.
        let rotational: Vec<_> = disks.iter().filter(|d| !d.rotational).map(|d| d.name.as_str()).collect();
        assert_eq!(rotational, ["nvme0n1", "sdb"]);
        assert_eq!(disks[0].model.as_deref(), Some("QEMU NVMe Ctrl"));
    }

    #[test]
    fn the_machine_is_known_by_its_firmware_tables() {
        let tree = Tree::load("buses");
        let machine = inventory_under(tree.root()).unwrap();
        assert_eq!(machine.uuid.as_deref(), Some("4c4c4544-0042-3510-8052-b4c04f4e4d31"));
        tree.file("sys/class/dmi/id/product_uuid", b"00000000-0000-0000-0000-000000000000\n");
        assert_eq!(inventory_under(tree.root()).unwrap().uuid, None);
        assert_eq!(machine.serial.as_deref(), Some("SN12345"));
        assert_eq!(machine.model.as_deref(), Some("QEMU Standard PC (Q35 + ICH9, 2009)"));
        assert_eq!((machine.firmware, machine.memory_bytes >> 30), (Firmware::Bios, 0));
        let [nic] = &machine.nics[..] else { panic!("{:?}", machine.nics) };
        assert_eq!((nic.name.as_str(), nic.driver.as_deref()), ("eth0", Some("virtio_net")));
        assert_eq!(nic.mac.to_string(), "52:54:00:77:00:09");
        tree.file("sys/firmware/efi/fw_platform_size", b"64\n");
        assert_eq!(inventory_under(tree.root()).unwrap().firmware, Firmware::Uefi);
    }

    #[test]
    fn old_layers_do_not_hold_a_disk_but_mounts_and_multipath_do() {
        let tree = Tree::load("stacked");
        let held = || inventory_under(tree.root()).unwrap().disks.into_iter().map(|d| (d.name, d.held_by));
        assert!(held().all(|(_, by)| by.is_none()));
        tree.file(
            "proc/self/mountinfo",
            b"30 1 253:1 / /mnt/old rw - ext4 /dev/mapper/crypt rw\n31 1 8:48 / /media rw - vfat /dev/sdd rw\n",
        );
        tree.file("sys/devices/virtual/block/dm-2/dm/uuid", b"mpath-36000\n");
        let held: Vec<_> = held().filter_map(|(name, by)| Some((name, by?))).collect();
        let shown: Vec<_> = held.iter().map(|(name, by)| (name.as_str(), by.as_str())).collect();
        assert_eq!(
            shown,
            [
                ("sda", "dm-1 is mounted at /mnt/old"),
                ("sdb", "dm-1 is mounted at /mnt/old"),
                ("sdd", "sdd is mounted at /media"),
            ]
        );
    }
}
