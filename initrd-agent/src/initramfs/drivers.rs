//! Which kernel modules drive a disk, from the kernel's device tree.

use std::collections::BTreeSet;
use std::path::Path;

/// Modules of the drivers of a disk (`sda`) and of everything between it and the processor.
#[must_use]
pub fn disk_drivers(sys: &Path, disk: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    let Ok(mut device) = std::fs::canonicalize(sys.join("class/block").join(disk)) else { return modules };
    let Ok(top) = std::fs::canonicalize(sys.join("devices")) else { return modules };
    while device.starts_with(&top) && device != top {
        // A block device has its driver one link away; all others have it themselves.
        for link in ["driver/module", "device/driver/module"] {
            let module = std::fs::canonicalize(device.join(link)).ok();
            if let Some(name) = module.as_deref().and_then(Path::file_name) {
                modules.insert(name.to_string_lossy().replace('-', "_"));
            }
        }
        device.pop();
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn all_drivers_between_disk_and_processor_count() {
        let sys = tempfile::tempdir().unwrap();
        let controller = sys.path().join("devices/pci0000:00/0000:00:04.0");
        let target = controller.join("ata1/host0/target0:0:0/0:0:0:0");
        let disk = target.join("block/sda");
        std::fs::create_dir_all(&disk).unwrap();
        for (holder, module) in [(&controller, "ahci"), (&target, "sd_mod")] {
            let driver = sys.path().join("bus").join(module);
            std::fs::create_dir_all(&driver).unwrap();
            let folder = sys.path().join("module").join(module);
            std::fs::create_dir_all(&folder).unwrap();
            symlink(&folder, driver.join("module")).unwrap();
            symlink(&driver, holder.join("driver")).unwrap();
        }
        symlink(&target, disk.join("device")).unwrap();
        std::fs::create_dir_all(sys.path().join("class/block")).unwrap();
        symlink(&disk, sys.path().join("class/block/sda")).unwrap();
        let found: Vec<String> = disk_drivers(sys.path(), "sda").into_iter().collect();
        assert_eq!(found, ["ahci", "sd_mod"]);
        assert!(disk_drivers(sys.path(), "sdb").is_empty());
    }
}
