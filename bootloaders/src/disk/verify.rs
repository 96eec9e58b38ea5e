//! Reads back what the firmware and the loader's stages will read, in their order: boot code in the MBR and the core
//! image it points to, or the core image in the PReP partition; the menu, the kernels in the menu.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use sysclone_protocol::boot::Loader;
use sysclone_protocol::layout::Subvolume;

use super::menu::menu_kernels;
use super::plan::{BootloaderPlan, LoaderDisk};
use super::uefi;
use super::yaboot::{self, YabootError};

/// GRUB counts in sectors of this size, whatever the disk's own size.
const SECTOR_BYTES: u64 = 512;
/// Boot code ends where the disk signature begins.
const BOOT_CODE: std::ops::Range<usize> = 0..440;
/// Where GRUB's boot code keeps the sector number of the core image (`GRUB_BOOT_MACHINE_KERNEL_SECTOR`).
const KERNEL_SECTOR: std::ops::Range<usize> = 0x5c..0x64;
/// What the installer changes in the embedded core image: the block list at the end of its first sector and the
/// error correction fields at the start of its second.
const EMBEDDED_FIELDS: std::ops::Range<usize> = 0x1e0..0x220;
/// Length and start of the first block list entry in the first sector of the core image.
const FIRST_BLOCKS: std::ops::Range<usize> = 0x1f4..0x1fe;

/// What would keep the clone from starting.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// It could not be read.
    #[error("reading {path}")]
    Read {
        /// What was read.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The MBR has no boot code of GRUB.
    #[error("{device} has no GRUB boot code in its first sector")]
    NoBootCode {
        /// The disk.
        device: String,
    },
    /// The boot code points to something that is not the core image.
    #[error("the boot code of {device} points to sector {sector}, where GRUB's core image is not ({what})")]
    NoCore {
        /// The disk.
        device: String,
        /// Where it points.
        sector: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// The PReP partition holds something else.
    #[error(
        "{partition} does not hold GRUB's core image ({core}), so Open Firmware would not start the clone"
    )]
    NotInPrep {
        /// The partition.
        partition: String,
        /// The core image's file.
        core: PathBuf,
    },
    /// yaboot would not start the clone.
    #[error(transparent)]
    Yaboot(#[from] YabootError),
    /// What the firmware starts is not a program for it.
    #[error("{path} is not a program that UEFI starts")]
    NotStartable {
        /// The file, or the folder that holds none.
        path: PathBuf,
    },
    /// GRUB's start file looks for a filesystem that the clone does not have.
    #[error("{path} searches the filesystem {uuid}, which the clone does not have")]
    LostFilesystem {
        /// The start file.
        path: PathBuf,
        /// What it searches.
        uuid: String,
    },
    /// No menu.
    #[error("the clone has no GRUB menu: none of {looked_for} is in {root}")]
    NoMenu {
        /// Where one was looked for.
        looked_for: String,
        /// The clone's root.
        root: PathBuf,
    },
    /// A menu without kernels.
    #[error("the GRUB menu {menu} starts no kernel")]
    EmptyMenu {
        /// The menu.
        menu: PathBuf,
    },
    /// The menu's first entry starts a kernel that is not there.
    #[error("the GRUB menu {menu} starts {kernel}, which is not in the clone")]
    NoKernel {
        /// The menu.
        menu: PathBuf,
        /// Path as the menu has it.
        kernel: String,
    },
}

const MENUS: &[&str] = &["boot/grub/grub.cfg", "boot/grub2/grub.cfg"];
const CORES: &[&str] = &["boot/grub/i386-pc/core.img", "boot/grub2/i386-pc/core.img"];

/// The core images of Open Firmware.
const POWER_CORES: &[&str] = &["boot/grub/powerpc-ieee1275/core.elf", "boot/grub2/powerpc-ieee1275/core.elf"];
/// Open Firmware starts programs of this form.
const ELF: &[u8] = b"\x7fELF";

/// Reads back everything between the firmware and the kernel.
///
/// # Errors
/// The first thing that would keep the clone from starting.
pub fn verify(plan: &BootloaderPlan, root: &Path) -> Result<(), VerifyError> {
    if let Some(esp) = &plan.esp {
        uefi::verify(esp, root)?;
        return verify_menu(plan, root);
    }
    if plan.loader == Loader::Petitboot {
        return verify_menu(plan, root);
    }
    if plan.loader == Loader::Yaboot {
        return Ok(yaboot::verify(plan, root)?);
    }
    let is_power = plan.loader == Loader::Grub2Ieee1275;
    let cores = if is_power { POWER_CORES } else { CORES };
    let core = cores.iter().map(|path| root.join(path)).find(|path| path.is_file());
    let core = core.unwrap_or_else(|| root.join(cores[0]));
    let image = std::fs::read(&core).map_err(|source| VerifyError::Read { path: core.clone(), source })?;
    for disk in &plan.disks {
        match &disk.core_partition {
            Some(prep) if is_power => verify_prep(prep, (&core, &image))?,
            Some(_) | None => verify_disk(disk, &image)?,
        }
    }
    verify_menu(plan, root)
}

fn verify_prep(partition: &str, (core, image): (&Path, &[u8])) -> Result<(), VerifyError> {
    let reading = |source| VerifyError::Read { path: partition.into(), source };
    let found = read_at(partition, 0, image.len()).map_err(reading)?;
    if image.starts_with(ELF) && found == image {
        return Ok(());
    }
    Err(VerifyError::NotInPrep { partition: partition.to_owned(), core: core.to_owned() })
}

fn verify_disk(disk: &LoaderDisk, image: &[u8]) -> Result<(), VerifyError> {
    let read = |path: &str, offset, length| {
        read_at(path, offset, length).map_err(|source| VerifyError::Read { path: path.into(), source })
    };
    let sector = read(&disk.device, 0, SECTOR_BYTES as usize)?;
    if !sector[BOOT_CODE].windows(4).any(|bytes| bytes == b"GRUB") {
        return Err(VerifyError::NoBootCode { device: disk.device.clone() });
    }
    let start = number(&sector[KERNEL_SECTOR]);
    let no_core = |what| VerifyError::NoCore { device: disk.device.clone(), sector: start, what };
    if start == 0 || image.len() < EMBEDDED_FIELDS.end {
        return Err(no_core("it is empty"));
    }
    let offset = start.checked_mul(SECTOR_BYTES).ok_or_else(|| no_core("it is beyond the disk"))?;
    let found = read(&disk.device, offset, image.len())?;
    if !same_core(&found, image, start) {
        return Err(no_core("it differs from core.img in the clone's /boot"));
    }
    match &disk.core_partition {
        Some(partition) if read(partition, 0, image.len())? != found => {
            Err(no_core("it is not in the BIOS boot partition"))
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether the embedded bytes are the core image. Behind an MBR the installer steps over sectors that other programs
/// claim; then the first sector alone is compared.
fn same_core(found: &[u8], image: &[u8], start: u64) -> bool {
    let blocks = &found[FIRST_BLOCKS];
    let (first, length) = (number(&blocks[..8]), number(&blocks[8..]));
    let in_one_piece = first == start + 1 && (length + 1) * SECTOR_BYTES >= image.len() as u64;
    let head = found[..EMBEDDED_FIELDS.start] == image[..EMBEDDED_FIELDS.start];
    let tail = found[EMBEDDED_FIELDS.end..] == image[EMBEDDED_FIELDS.end..];
    head && (tail || !in_one_piece)
}

/// The kernel that the clone's menu starts first, as the menu has it; none when there is no menu or no kernel in it.
///
/// # Errors
/// The menu cannot be read.
pub fn first_kernel(root: &Path) -> Result<Option<String>, VerifyError> {
    let Some(menu) = find_menu(root) else { return Ok(yaboot::first_kernel(root)) };
    let kernels = menu_kernels(root, &menu).map_err(|source| VerifyError::Read { path: menu, source })?;
    Ok(kernels.into_iter().next())
}

fn find_menu(root: &Path) -> Option<PathBuf> {
    MENUS.iter().map(|path| root.join(path)).find(|path| path.is_file())
}

fn verify_menu(plan: &BootloaderPlan, root: &Path) -> Result<(), VerifyError> {
    let menu = find_menu(root)
        .ok_or_else(|| VerifyError::NoMenu { looked_for: MENUS.join(", "), root: root.to_owned() })?;
    // A path in the menu counts from the file system that holds /boot, which may be the root or one of its own.
    let exists = |path: &str| {
        let path = path.trim_start_matches('/');
        let of_subvolume = |part: &Subvolume| {
            let rest = path.strip_prefix(&part.path)?.strip_prefix('/')?;
            Some(root.join(part.mount_point.trim_start_matches('/')).join(rest))
        };
        root.join("boot").join(path).is_file()
            || root.join(path).is_file()
            || plan.subvolumes.iter().filter_map(of_subvolume).any(|path| path.is_file())
    };
    match first_kernel(root)? {
        None => Err(VerifyError::EmptyMenu { menu }),
        Some(kernel) if !exists(&kernel) => Err(VerifyError::NoKernel { menu, kernel }),
        Some(_) => Ok(()),
    }
}

fn read_at(path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    File::open(path)?.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 4;

    /// A disk of 64 KiB with GRUB installed the way its installer was seen to do it, and a root with its files.
    struct Installed {
        dir: tempfile::TempDir,
        disk: Vec<u8>,
    }

    impl Installed {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let image: Vec<u8> = (0..5000_u32).map(|n| n.to_le_bytes()[usize::from(n % 7 == 0)]).collect();
            for folder in ["boot/grub/i386-pc", "boot/loader/entries"] {
                std::fs::create_dir_all(dir.path().join(folder)).unwrap();
            }
            std::fs::write(dir.path().join("boot/grub/i386-pc/core.img"), &image).unwrap();
            std::fs::write(dir.path().join("boot/vmlinuz-6.1"), "kernel").unwrap();
            std::fs::write(dir.path().join("boot/grub/grub.cfg"), "\tlinux\t/vmlinuz-6.1 root=/dev/x\n")
                .unwrap();
            let mut disk = vec![0; 64 << 10];
            disk[0x180..0x184].copy_from_slice(b"GRUB");
            disk[KERNEL_SECTOR].copy_from_slice(&START.to_le_bytes());
            let at = (START * SECTOR_BYTES) as usize;
            disk[at..at + image.len()].copy_from_slice(&image);
            disk[at + 0x1f4..at + 0x1fc].copy_from_slice(&(START + 1).to_le_bytes());
            disk[at + 0x1fc..at + 0x1fe].copy_from_slice(&20_u16.to_le_bytes());
            disk[at + 0x210] = 77;
            Self { dir, disk }
        }

        fn subvolumes(&self) -> Vec<Subvolume> {
            let part = |path: &str, at: &str| Subvolume {
                path: path.into(),
                mount_point: at.into(),
                options: None,
                default: false,
            };
            vec![part("@", "/"), part("@opt", "/opt")]
        }

        fn verify(&self) -> Result<(), String> {
            let device = self.dir.path().join("disk");
            let partition = self.dir.path().join("partition");
            std::fs::write(&device, &self.disk).unwrap();
            std::fs::write(&partition, &self.disk[(START * SECTOR_BYTES) as usize..]).unwrap();
            let disk = LoaderDisk {
                label: "vda".into(),
                device: device.to_str().unwrap().into(),
                core_partition: Some(partition.to_str().unwrap().into()),
            };
            let plan = BootloaderPlan {
                loader: Loader::Grub2Bios,
                disks: vec![disk],
                esp: None,
                subvolumes: self.subvolumes(),
            };
            verify(&plan, self.dir.path()).map_err(|error| error.to_string())
        }

        fn refuses(&self, words: &str) {
            let error = self.verify().unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_grub_installs_is_accepted() {
        Installed::new().verify().unwrap();
    }

    #[test]
    fn petitboot_only_reads_the_menu() {
        let installed = Installed::new();
        std::fs::remove_dir_all(installed.dir.path().join("boot/grub/i386-pc")).unwrap();
        let (loader, disks, subvolumes) = (Loader::Petitboot, Vec::new(), Vec::new());
        let plan = BootloaderPlan { loader, disks, esp: None, subvolumes };
        verify(&plan, installed.dir.path()).unwrap();
        std::fs::remove_file(installed.dir.path().join("boot/vmlinuz-6.1")).unwrap();
        verify(&plan, installed.dir.path()).unwrap_err();
    }

    #[test]
    fn a_kernel_is_found_in_the_subvolume_that_the_menu_names() {
        let installed = Installed::new();
        let menu = installed.dir.path().join("boot/grub/grub.cfg");
        std::fs::write(&menu, "\tlinux\t/@/boot/vmlinuz-6.1 root=/dev/x\n").unwrap();
        installed.verify().unwrap();
        std::fs::write(&menu, "\tlinux\t/@opt/boot/vmlinuz-6.1 root=/dev/x\n").unwrap();
        installed.refuses("starts /@opt/boot/vmlinuz-6.1, which is not in the clone");
    }

    #[test]
    fn every_broken_stage_is_named() {
        let mut disk = Installed::new();
        disk.disk[0x180] = b'g';
        disk.refuses("no GRUB boot code");

        let mut disk = Installed::new();
        disk.disk[KERNEL_SECTOR.start] = 9;
        disk.refuses("points to sector 9, where GRUB's core image is not");

        for damaged in [10, 0x220, 4999] {
            let mut disk = Installed::new();
            disk.disk[(START * SECTOR_BYTES) as usize + damaged] ^= 1;
            disk.refuses("differs from core.img");
        }

        let disk = Installed::new();
        std::fs::remove_file(disk.dir.path().join("boot/vmlinuz-6.1")).unwrap();
        disk.refuses("starts /vmlinuz-6.1, which is not in the clone");

        let disk = Installed::new();
        std::fs::write(disk.dir.path().join("boot/grub/grub.cfg"), "set timeout=5\n").unwrap();
        disk.refuses("starts no kernel");

        let disk = Installed::new();
        std::fs::remove_file(disk.dir.path().join("boot/grub/grub.cfg")).unwrap();
        disk.refuses("has no GRUB menu");
    }

    #[test]
    fn the_prep_partition_holds_the_core_image_and_nothing_else_will_do() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("boot/grub/powerpc-ieee1275")).unwrap();
        std::fs::write(at("boot/vmlinux-6.1"), "kernel").unwrap();
        std::fs::write(at("boot/grub/grub.cfg"), "linux /vmlinux-6.1 ro\n").unwrap();
        let prep = at("prep").to_str().unwrap().to_owned();
        let disk = LoaderDisk { label: "vda".into(), device: "/dev/none".into(), core_partition: Some(prep) };
        let plan = BootloaderPlan {
            loader: Loader::Grub2Ieee1275,
            disks: vec![disk],
            esp: None,
            subvolumes: vec![],
        };
        for (core, partition, refused) in [
            ("\x7fELF core", "\x7fELF core\0\0", None),
            ("\x7fELF core", "\x7fELF c0re\0\0", Some("does not hold GRUB's core image")),
            ("no program", "no program\0", Some("does not hold GRUB's core image")),
            ("\x7fELF core", "\x7fELF", Some("reading ")),
        ] {
            std::fs::write(at("boot/grub/powerpc-ieee1275/core.elf"), core).unwrap();
            std::fs::write(at("prep"), partition).unwrap();
            let said = verify(&plan, dir.path()).err().map(|error| error.to_string());
            assert!(refused.is_none() == said.is_none(), "{partition:?}: {said:?}");
            assert!(said.unwrap_or_default().contains(refused.unwrap_or_default()), "{partition:?}");
        }
    }

    #[test]
    fn a_core_image_in_pieces_is_judged_by_its_first_sector() {
        let mut disk = Installed::new();
        let at = (START * SECTOR_BYTES) as usize;
        disk.disk[at + 0x1fc..at + 0x1fe].copy_from_slice(&2_u16.to_le_bytes());
        disk.disk[at + 4000] ^= 1;
        disk.verify().unwrap();
    }

    #[test]
    fn kernels_of_a_boot_directory_in_the_root_file_system_are_found() {
        let disk = Installed::new();
        std::fs::write(disk.dir.path().join("boot/grub/grub.cfg"), "linux /boot/vmlinuz-6.1 ro\n").unwrap();
        disk.verify().unwrap();
    }
}
