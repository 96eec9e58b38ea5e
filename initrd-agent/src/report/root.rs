//! What `/` is mounted from, down to the physical disk.

use std::path::Path;

/// The device of `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RootDevice {
    /// As it was mounted (`/dev/mapper/vg0-root`).
    pub(super) source: String,
    /// `major:minor`.
    pub(super) number: String,
}

/// Finds it in `/proc/self/mountinfo`; the last mount on `/` is the one that is seen.
pub(super) fn find(mountinfo: &str) -> Option<RootDevice> {
    mountinfo.lines().rev().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ');
        let number = front.nth(2)?;
        let point = front.nth(1)?;
        (point == "/")
            .then_some(RootDevice { source: back.split(' ').nth(1)?.to_owned(), number: number.to_owned() })
    })
}

/// Kernel name of the physical disk under a device; of several, the first.
pub(super) fn disk_of(sys: &Path, number: &str) -> Option<String> {
    let mut device = std::fs::canonicalize(sys.join("dev/block").join(number)).ok()?;
    // Each round goes one layer down: LVM over RAID over a partition is three.
    while let Some(below) = first_slave(&device) {
        device = below;
    }
    if device.join("partition").exists() {
        device = device.parent()?.to_owned();
    }
    Some(device.file_name()?.to_string_lossy().into_owned())
}

fn first_slave(device: &Path) -> Option<std::path::PathBuf> {
    let mut slaves: Vec<_> =
        std::fs::read_dir(device.join("slaves")).ok()?.flatten().map(|e| e.path()).collect();
    slaves.sort();
    std::fs::canonicalize(slaves.first()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_last_mount_on_the_root_counts() {
        let table = "1 0 0:2 / / rw - rootfs rootfs rw\n\
            22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/mapper/vg0-root rw\n\
            23 22 0:5 / /proc rw - proc proc rw\n";
        let root = find(table).unwrap();
        assert_eq!((root.source.as_str(), root.number.as_str()), ("/dev/mapper/vg0-root", "254:0"));
        assert_eq!(find("garbage\n"), None);
    }

    #[test]
    fn a_logical_volume_leads_to_its_disk() {
        let sys = tempfile::tempdir().unwrap();
        let block = sys.path().join("devices/nvme0n1");
        std::fs::create_dir_all(block.join("nvme0n1p3")).unwrap();
        std::fs::write(block.join("nvme0n1p3/partition"), "3\n").unwrap();
        let volume = sys.path().join("devices/dm-0");
        std::fs::create_dir_all(volume.join("slaves")).unwrap();
        symlink(block.join("nvme0n1p3"), volume.join("slaves/nvme0n1p3")).unwrap();
        std::fs::create_dir_all(sys.path().join("dev/block")).unwrap();
        symlink(&volume, sys.path().join("dev/block/254:0")).unwrap();
        symlink(&block, sys.path().join("dev/block/259:0")).unwrap();
        assert_eq!(disk_of(sys.path(), "254:0").as_deref(), Some("nvme0n1"));
        assert_eq!(disk_of(sys.path(), "259:0").as_deref(), Some("nvme0n1"));
        assert_eq!(disk_of(sys.path(), "8:0"), None);
    }
}
