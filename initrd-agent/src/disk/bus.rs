//! On which bus a disk hangs and where, from the path of its directory in sysfs. The places are named as udev's
//! `path_id` names them in `/dev/disk/by-path`.

use std::fs;
use std::path::Path;

use super::blocks::listed;

/// The bus of a disk.
pub(super) fn transport(device: &Path, name: &str) -> &'static str {
    let text = device.display().to_string();
    let has = |part: &str| text.contains(part);
    if has("/usb") {
        "usb"
    } else if has("/nvme-fabrics/") {
        "nvme-fabrics"
    } else if has("/nvme-subsystem/") {
        shared_nvme(device)
    } else if name.starts_with("nvme") {
        "nvme"
    } else if name.starts_with("mmcblk") {
        "mmc"
    } else if name.starts_with("vd") {
        "virtio"
    } else if name.starts_with("xvd") {
        "xen"
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

/// An NVMe disk that the kernel joined from its controllers: theirs say where they are.
fn shared_nvme(device: &Path) -> &'static str {
    let Some(subsystem) = device.parent() else { return "nvme" };
    let transports = listed(subsystem)
        .into_iter()
        .filter_map(|entry| fs::read_to_string(subsystem.join(entry).join("transport")).ok());
    let mut elsewhere = transports.filter(|transport| transport.trim() != "pcie");
    if elsewhere.next().is_some() { "nvme-fabrics" } else { "nvme" }
}

/// Where a disk is, the same over restarts; none when it is on no PCI bus.
pub(super) fn path(device: &Path, name: &str) -> Option<String> {
    let parts: Vec<&str> = device.iter().filter_map(|part| part.to_str()).collect();
    let pci_at = parts.iter().rposition(|part| is_pci(part))?;
    let mut words = vec![format!("pci-{}", parts[pci_at])];
    for (at, part) in parts.iter().enumerate().skip(pci_at) {
        if let Some((port, function)) = usb_interface(part) {
            words.push(format!("usb-0:{port}:{function}"));
        } else if let Some(number) = numbered(part, "ata") {
            words.push(format!("ata-{}", relative(device, at, "ata", number)? + 1));
            return Some(words.join("-"));
        } else if let Some((host, rest)) = scsi_address(part) {
            let host_at = parts.iter().position(|p| numbered(p, "host") == Some(host))?;
            words.push(format!("scsi-{}:{rest}", relative(device, host_at, "host", host)?));
            return Some(words.join("-"));
        }
    }
    let namespace = name.strip_prefix("nvme").and_then(|rest| rest.split_once('n')).map(|(_, n)| n);
    words.extend(namespace.map(|n| format!("nvme-{n}")));
    Some(words.join("-"))
}

/// `0000:00:1f.2`.
fn is_pci(part: &str) -> bool {
    let bytes = part.as_bytes();
    bytes.len() == 12 && bytes[4] == b':' && bytes[7] == b':' && bytes[10] == b'.'
}

/// `2-1.4:1.0`: bus 2 (which is numbered by chance), port 1.4, configuration and interface.
fn usb_interface(part: &str) -> Option<(&str, &str)> {
    let (bus, rest) = part.split_once('-')?;
    let (port, function) = rest.split_once(':')?;
    bus.parse::<u32>().ok()?;
    function.contains('.').then_some((port, function))
}

/// `7:0:0:0`: host 7 (numbered by chance), channel, target, unit.
fn scsi_address(part: &str) -> Option<(u32, &str)> {
    let (host, rest) = part.split_once(':')?;
    let numbers = rest.split(':').filter(|n| n.parse::<u64>().is_ok()).count();
    (numbers == 3 && rest.matches(':').count() == 2).then_some(())?;
    Some((host.parse().ok()?, rest))
}

fn numbered(part: &str, prefix: &str) -> Option<u32> {
    part.strip_prefix(prefix)?.parse().ok()
}

/// How far a number that the kernel gave by chance lies above its siblings' least one.
fn relative(device: &Path, at: usize, prefix: &str, number: u32) -> Option<u32> {
    let parent: std::path::PathBuf = device.iter().take(at).collect();
    let least = listed(&parent).iter().filter_map(|name| numbered(name, prefix)).min()?;
    number.checked_sub(least)
}

/// The serial number of the USB device that a disk is, nearer than which there is none.
pub(super) fn usb_serial(device: &Path) -> Option<String> {
    let is_interface =
        |dir: &&Path| dir.file_name().and_then(|n| n.to_str()).is_some_and(|n| usb_interface(n).is_some());
    let interface = device.ancestors().find(is_interface)?;
    let serial = fs::read_to_string(interface.parent()?.join("serial")).ok()?;
    Some(serial.trim().to_owned()).filter(|serial| !serial.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bus_is_seen_from_the_device_path() {
        for (device, name, bus) in [
            ("/sys/devices/pci0000:00/0000:00:01.0/host0/port-0:0/end_device-0:0/x/sda", "sda", "sas"),
            ("/sys/devices/pci0000:00/0000:00:01.0/host1/rport-1:0-1/target1:0:1/x/sdb", "sdb", "fc"),
            ("/sys/devices/platform/host2/session1/target2:0:0/2:0:0:1/block/sdc", "sdc", "iscsi"),
            ("/sys/devices/virtual/nvme-fabrics/ctl/nvme0/nvme0n1", "nvme0n1", "nvme-fabrics"),
            ("/sys/devices/vio/30000003/host0/target0:0:1/0:0:1:0/block/sda", "sda", "scsi"),
            ("/sys/devices/platform/x/mmc_host/mmc0/mmc0:0001/block/mmcblk0", "mmcblk0", "mmc"),
        ] {
            assert_eq!(transport(Path::new(device), name), bus, "{device}");
        }
    }

    #[test]
    fn addresses_are_told_apart_from_names() {
        assert_eq!(scsi_address("7:0:0:0"), Some((7, "0:0:0")));
        assert_eq!(scsi_address("target7:0:0"), None);
        assert_eq!(usb_interface("2-1.4:1.0"), Some(("1.4", "1.0")));
        assert_eq!(usb_interface("2-1"), None);
        assert!(is_pci("0000:00:1f.2") && !is_pci("pci0000:00"));
    }
}
