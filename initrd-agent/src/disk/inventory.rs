//! Finds out what a machine has, from `/sys` and `/proc` alone.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sysclone_protocol::inventory::{DiskFacts, Firmware, Inventory, Nic};

/// Block devices that are never disks of the machine.
const NOT_DISKS: &[&str] = &["loop", "ram", "zram", "dm-", "md", "sr", "fd", "nbd", "mtdblock", "drbd"];

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
        uuid: dmi("product_uuid").or_else(|| tree("vm,uuid")).map(|u| u.to_ascii_lowercase()),
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
    } else if root.join("proc/device-tree/openprom").exists() {
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
    let mut nics: Vec<Nic> = names(&base)
        .into_iter()
        .filter_map(|name| {
            let dir = base.join(&name);
            // Only hardware has a device; bridges, bonds and lo do not.
            dir.join("device").exists().then_some(())?;
            let mac = text(&dir.join("address"))?.parse().ok()?;
            let driver = link_name(&dir.join("device/driver"));
            Some(Nic { link: text(&dir.join("carrier")).as_deref() == Some("1"), name, mac, driver })
        })
        .collect();
    nics.sort_by(|a, b| a.name.cmp(&b.name));
    nics
}

fn disks(root: &Path) -> anyhow::Result<Vec<DiskFacts>> {
    let base = root.join("sys/block");
    fs::read_dir(&base).with_context(|| format!("listing {}", base.display()))?;
    let mut disks: Vec<DiskFacts> = names(&base)
        .into_iter()
        .filter(|name| !NOT_DISKS.iter().any(|prefix| name.starts_with(prefix)))
        .filter_map(|name| disk(&base.join(&name), name))
        .collect();
    disks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(disks)
}

/// One disk; none when it has no medium, or is an eMMC boot area or an NVMe path of another disk.
fn disk(dir: &Path, name: String) -> Option<DiskFacts> {
    let attribute = |path: &str| text(&dir.join(path));
    let number = |path: &str| attribute(path)?.parse::<u64>().ok();
    let size_bytes = number("size")? * SIZE_UNIT;
    let hidden = number("hidden") == Some(1);
    let boot_area = name.starts_with("mmcblk") && (name.contains("boot") || name.contains("rpmb"));
    if size_bytes == 0 || hidden || boot_area {
        return None;
    }
    let device = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned()).display().to_string();
    Some(DiskFacts {
        size_bytes,
        sector_bytes: number("queue/logical_block_size").and_then(|n| u32::try_from(n).ok()).unwrap_or(512),
        transport: Some(transport(&device, &name).to_owned()),
        model: attribute("device/model"),
        serial: attribute("device/serial").or_else(|| attribute("serial")).or_else(|| vpd_serial(dir)),
        wwn: attribute("wwid").or_else(|| attribute("device/wwid")),
        path: bus_path(&device),
        rotational: number("queue/rotational") == Some(1),
        removable: number("removable") == Some(1),
        read_only: number("ro") == Some(1),
        held_by: None,
        name,
    })
}

/// The bus that a disk hangs on, from the device path that the kernel gives it.
fn transport(device: &str, name: &str) -> &'static str {
    let has = |part: &str| device.contains(part);
    if has("/usb") {
        "usb"
    } else if name.starts_with("nvme") {
        "nvme"
    } else if name.starts_with("mmcblk") {
        "mmc"
    } else if name.starts_with("vd") {
        "virtio"
    } else if has("/ata") {
        "sata"
    } else if has("/end_device-") || has("/sas_") {
        "sas"
    } else if has("/rport-") {
        "fc"
    } else if has("/session") {
        "iscsi"
    } else {
        "scsi"
    }
}

/// The last PCI function on the way to a disk, and the port behind it: stays the same over restarts.
fn bus_path(device: &str) -> Option<String> {
    let is_pci = |part: &&str| part.len() == 12 && part.as_bytes()[4] == b':' && part.as_bytes()[10] == b'.';
    let pci = device.split('/').rfind(is_pci)?;
    let port = device.split('/').find(|p| p.starts_with("ata") && p[3..].parse::<u32>().is_ok());
    let scsi = device.split('/').find(|p| p.split(':').count() == 4 && !is_pci(p));
    Some(match (port, scsi) {
        (Some(port), _) => format!("pci-{pci}-{}", port.replace("ata", "ata-")),
        (None, Some(scsi)) => format!("pci-{pci}-scsi-{scsi}"),
        (None, None) => format!("pci-{pci}"),
    })
}

/// The unit serial number from a SCSI disk's vital product data (page 0x80), which also SATA disks have.
fn vpd_serial(dir: &Path) -> Option<String> {
    let page = fs::read(dir.join("device/vpd_pg80")).ok()?;
    let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    let serial = String::from_utf8_lossy(page.get(4..4 + length)?).trim().to_owned();
    (!serial.is_empty()).then_some(serial)
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.filter_map(|e| e.ok()?.file_name().into_string().ok()).collect()
}

fn link_name(link: &PathBuf) -> Option<String> {
    Some(fs::read_link(link).ok()?.file_name()?.to_str()?.to_owned())
}

/// A small file's content without the white space around it; none when there is none.
fn text(path: &Path) -> Option<String> {
    let text = String::from_utf8_lossy(&fs::read(path).ok()?).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, content: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// A block device as sysfs shows it: the real directory under `devices`, a link in `block`.
    fn block(root: &Path, device: &str, files: &[(&str, &str)]) {
        let name = device.rsplit('/').next().unwrap();
        for (file, content) in files {
            write(root, &format!("sys/devices/{device}/{file}"), content);
        }
        fs::create_dir_all(root.join("sys/block")).unwrap();
        std::os::unix::fs::symlink(root.join("sys/devices").join(device), root.join("sys/block").join(name))
            .unwrap();
    }

    #[test]
    fn disks_are_known_by_bus_serial_and_path() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let size = ("size", "12582912\n");
        block(
            root,
            "pci0000:00/0000:00:04.0/nvme/nvme0/nvme0n1",
            &[size, ("device/serial", "NV1  \n"), ("wwid", "eui.1\n")],
        );
        block(
            root,
            "pci0000:00/0000:00:1f.2/ata2/host1/target1:0:0/1:0:0:0/block/sda",
            &[size, ("device/model", "QEMU HARDDISK\n")],
        );
        block(
            root,
            "pci0000:00/0000:00:1d.7/usb1/1-1/1-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb",
            &[size, ("removable", "1\n")],
        );
        block(root, "pci0000:00/0000:00:03.0/virtio1/block/vda", &[size, ("serial", "abc\n")]);
        block(root, "virtual/block/loop0", &[size]);
        block(root, "pci0000:00/0000:00:1f.1/ata1/host0/target0:0:0/0:0:0:0/block/sr0", &[size]);
        block(root, "pci0000:00/0000:00:09.0/virtio2/block/vdb", &[("size", "0\n")]);
        let disks = disks(root).unwrap();
        let shown: Vec<_> = disks
            .iter()
            .map(|d| {
                format!(
                    "{} {} {:?} {:?}",
                    d.name,
                    d.transport.as_deref().unwrap(),
                    d.serial,
                    d.path.as_deref()
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                "nvme0n1 nvme Some(\"NV1\") Some(\"pci-0000:00:04.0\")",
                "sda sata None Some(\"pci-0000:00:1f.2-ata-2\")",
                "sdb usb None Some(\"pci-0000:00:1d.7-scsi-6:0:0:0\")",
                "vda virtio Some(\"abc\") Some(\"pci-0000:00:03.0\")",
            ]
        );
        assert_eq!(disks[0].size_bytes, 6 << 30);
        assert!(disks[2].removable);
    }

    #[test]
    fn only_hardware_counts_as_an_interface() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "sys/class/net/eth0/device/x", "");
        write(root.path(), "sys/class/net/eth0/address", "52:54:00:77:00:01\n");
        write(root.path(), "sys/class/net/eth0/carrier", "1\n");
        write(root.path(), "sys/class/net/br0/address", "52:54:00:77:00:02\n");
        let nics = nics(root.path());
        assert_eq!(nics.len(), 1);
        assert!(nics[0].link && nics[0].mac.to_string() == "52:54:00:77:00:01");
    }
}
