//! How the golden client starts, seen from its files and the first sectors of its disks.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use sysclone_protocol::boot::{BootFacts, Initramfs, Loader};
use sysclone_protocol::inventory::Firmware;
use sysclone_protocol::layout::{DeviceRef, Layout};

use super::names::kernels;

/// Gathers the facts of the system below `root`, whose disks are in `/dev` under the layout's labels.
pub(crate) fn boot_facts(root: &Path, firmware: Firmware, layout: &Layout) -> BootFacts {
    let exists = |path: &str| root.join(path).exists();
    let loader_disks = layout.disks.iter().map(|disk| disk.name.clone());
    let boot_names = file_names(&root.join("boot"));
    BootFacts {
        firmware,
        loader: loader(firmware, exists),
        loader_disks: loader_disks.filter(|name| has_boot_code(&Path::new("/dev").join(name))).collect(),
        boot_device: boot_device(layout),
        kernels: kernels(boot_names.iter().map(String::as_str)),
        initramfs: initramfs(exists),
        kernel_cmdline: std::fs::read_to_string("/proc/cmdline").unwrap_or_default().trim().to_owned(),
    }
}

/// Names in a folder; none when there is no such folder.
pub(super) fn file_names(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

fn loader(firmware: Firmware, exists: impl Fn(&str) -> bool) -> Loader {
    let any = |paths: &[&str]| paths.iter().any(|path| exists(path));
    match firmware {
        Firmware::Bios if any(&["boot/grub/i386-pc/core.img", "boot/grub2/i386-pc/core.img"]) => {
            Loader::Grub2Bios
        }
        Firmware::Bios if any(&["boot/grub/stage2"]) => Loader::GrubLegacy,
        Firmware::Uefi if any(&["boot/grub/grub.cfg", "boot/grub2/grub.cfg", "etc/grub2-efi.cfg"]) => {
            Loader::Grub2Uefi
        }
        Firmware::OpenFirmware if any(&["boot/grub/powerpc-ieee1275", "boot/grub2/powerpc-ieee1275"]) => {
            Loader::Grub2Ieee1275
        }
        Firmware::OpenFirmware if any(&["etc/yaboot.conf"]) => Loader::Yaboot,
        Firmware::Opal if any(&["boot/grub/grub.cfg", "boot/grub2/grub.cfg"]) => Loader::Petitboot,
        Firmware::Bios | Firmware::Uefi | Firmware::OpenFirmware | Firmware::Opal | Firmware::Unknown => {
            Loader::Unknown
        }
    }
}

/// Whether the first sector has GRUB's boot code (of either GRUB; which one it is, the files say).
fn has_boot_code(device: &Path) -> bool {
    let mut sector = [0; 440];
    let read = File::open(device).and_then(|file| file.read_exact_at(&mut sector, 0));
    match read {
        Ok(()) => sector.windows(4).any(|bytes| bytes == b"GRUB"),
        Err(error) => {
            tracing::warn!(device = %device.display(), %error, "boot code not read");
            false
        }
    }
}

/// The filesystem that holds `/boot`.
fn boot_device(layout: &Layout) -> Option<DeviceRef> {
    let at = |point: &str| layout.filesystems.iter().find(|fs| fs.is_mounted_at(point));
    at("/boot").or_else(|| at("/")).map(|filesystem| filesystem.device.clone())
}

fn initramfs(exists: impl Fn(&str) -> bool) -> Initramfs {
    let any = |paths: &[&str]| paths.iter().any(|path| exists(path));
    if any(&["usr/sbin/update-initramfs"]) {
        Initramfs::InitramfsTools
    } else if any(&["usr/bin/dracut", "sbin/dracut", "usr/sbin/dracut"]) {
        Initramfs::Dracut
    } else if any(&["sbin/mkinitrd"]) {
        Initramfs::Mkinitrd
    } else {
        Initramfs::Unknown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loader_is_known_by_firmware_and_files() {
        for (firmware, files, expected) in [
            (Firmware::Bios, &["boot/grub/i386-pc/core.img"][..], Loader::Grub2Bios),
            (Firmware::Bios, &["boot/grub2/i386-pc/core.img"], Loader::Grub2Bios),
            (Firmware::Bios, &["boot/grub/stage2"], Loader::GrubLegacy),
            (Firmware::Bios, &["boot/extlinux"], Loader::Unknown),
            (Firmware::Uefi, &["boot/grub/grub.cfg", "boot/grub/i386-pc/core.img"], Loader::Grub2Uefi),
            (Firmware::OpenFirmware, &["boot/grub2/powerpc-ieee1275"], Loader::Grub2Ieee1275),
            (Firmware::OpenFirmware, &["etc/yaboot.conf"], Loader::Yaboot),
            (Firmware::Opal, &["boot/grub2/grub.cfg"], Loader::Petitboot),
            (Firmware::Opal, &["boot/vmlinux"], Loader::Unknown),
        ] {
            assert_eq!(loader(firmware, |path| files.contains(&path)), expected, "{files:?}");
        }
    }

    #[test]
    fn boot_code_is_seen_in_the_first_sector() {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        std::fs::write(&disk, [0; 512]).unwrap();
        assert!(!has_boot_code(&disk));
        let mut sector = [0; 512];
        sector[0x180..0x184].copy_from_slice(b"GRUB");
        std::fs::write(&disk, sector).unwrap();
        assert!(has_boot_code(&disk));
        assert!(!has_boot_code(&dir.path().join("absent")));
    }

    #[test]
    fn the_initramfs_generator_is_known_by_its_program() {
        assert_eq!(initramfs(|path| path == "usr/bin/dracut"), Initramfs::Dracut);
        assert_eq!(initramfs(|path| path == "usr/sbin/update-initramfs"), Initramfs::InitramfsTools);
        assert_eq!(initramfs(|_| false), Initramfs::Unknown);
    }
}
