//! Decides what must be written so that the machine starts from its disk. Pure, and complete before the first
//! write: what cannot be done is refused while the disks are untouched.

use std::collections::BTreeMap;

use sysclone_protocol::boot::{BootFacts, Loader};
use sysclone_protocol::inventory::Firmware;
use sysclone_protocol::layout::{DeviceRef, Layout, Subvolume, TableKind};

/// GPT partition type of the place where GRUB keeps its core image on BIOS machines.
const BIOS_GRUB: &str = "21686148-6449-6E6F-744E-656564454649";

/// GPT type of a PReP boot partition, from which Open Firmware starts what lies in it, and its MBR type.
const PREP_TYPES: [&str; 2] = ["9E1A2D38-C612-4316-AA26-8B49521E5A8B", "41"];

/// GPT type of an EFI system partition, and its MBR type.
const ESP_TYPES: [&str; 2] = ["C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "ef"];

/// What is written outside of file systems, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootloaderPlan {
    /// Loader family.
    pub loader: Loader,
    /// Disks that get its first stage.
    pub disks: Vec<LoaderDisk>,
    /// UEFI: the partition that the firmware starts from.
    pub esp: Option<Esp>,
    /// Subvolumes that the clone mounts: GRUB's paths count from the top of their filesystem.
    pub subvolumes: Vec<Subvolume>,
}

/// The EFI system partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Esp {
    /// Device node of its disk on this machine.
    pub device: String,
    /// Its number in the disk's table.
    pub number: u32,
    /// Where the clone mounts it, relative to its root (`boot/efi`).
    pub mount: String,
    /// UUIDs of the clone's filesystems, one of which GRUB's start file searches.
    pub known_uuids: Vec<String>,
}

/// One disk that the firmware may start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoaderDisk {
    /// Label in the layout.
    pub label: String,
    /// Device node of the whole disk on this machine.
    pub device: String,
    /// Device node of the partition that holds GRUB's core image (on Open Firmware the PReP partition); none when it
    /// lies behind the MBR.
    pub core_partition: Option<String>,
}

/// Why a captured machine's way of booting cannot be given to this one. Nothing has been written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The loader is of a family that this version does not install.
    #[error(
        "the golden client boots by {loader}, which is not supported yet by this version; the disks are untouched"
    )]
    Loader {
        /// Loader family in words.
        loader: &'static str,
    },
    /// The image was captured on other firmware than this machine has.
    #[error(
        "the golden client boots by {golden} but this machine was started by {firmware}; \
         switch this machine's firmware to {mode} mode"
    )]
    Firmware {
        /// The golden client's firmware in words.
        golden: &'static str,
        /// This machine's firmware in words.
        firmware: &'static str,
        /// What to choose in this machine's setup.
        mode: &'static str,
    },
    /// UEFI without a partition that the firmware looks into.
    #[error(
        "the image mounts no EFI system partition (FAT, partition type {}), so UEFI would not find its loader",
        ESP_TYPES[0]
    )]
    NoEsp,
    /// Open Firmware without a partition that it starts from.
    #[error(
        "no disk of the image has a PReP boot partition (GPT type {}, MBR type {}), so Open Firmware would not find its \
         loader",
        PREP_TYPES[0],
        PREP_TYPES[1]
    )]
    NoPrep,
    /// No disk is known to carry the loader.
    #[error("the image does not say which disk carries the boot loader; capture the golden client again")]
    NoDisk,
    /// A disk that carried the loader has no counterpart here.
    #[error(
        "the boot loader belongs on disk '{label}' of the layout, which was given no disk of this machine"
    )]
    DiskMissing {
        /// Label in the layout.
        label: String,
    },
    /// GPT without a place for the core image.
    #[error(
        "disk '{label}' of the layout has a GPT without a BIOS boot partition (type {BIOS_GRUB}), so GRUB for BIOS \
         has no place on it"
    )]
    NoCorePartition {
        /// Label in the layout.
        label: String,
    },
}

/// Plans the loader for a machine whose `devices` (layout disk label → device node) have been chosen.
///
/// # Errors
/// The machine cannot be made to boot as the golden client did; the message says why.
pub fn plan(
    facts: &BootFacts,
    layout: &Layout,
    devices: &BTreeMap<String, String>,
    firmware: Firmware,
) -> Result<BootloaderPlan, PlanError> {
    let subvolumes = || layout.filesystems.iter().flat_map(|fs| fs.subvolumes.iter().cloned()).collect();
    let plan = |disks, esp| BootloaderPlan { loader: facts.loader, disks, esp, subvolumes: subvolumes() };
    match facts.loader {
        Loader::Grub2Bios => {
            must_be((Firmware::Bios, "BIOS (legacy, CSM)"), firmware)?;
            if facts.loader_disks.is_empty() {
                return Err(PlanError::NoDisk);
            }
            let disks = facts.loader_disks.iter().map(|label| loader_disk(label, layout, devices));
            Ok(plan(disks.collect::<Result<_, _>>()?, None))
        }
        Loader::Grub2Uefi => {
            must_be((Firmware::Uefi, "UEFI"), firmware)?;
            Ok(plan(Vec::new(), Some(esp(layout, devices)?)))
        }
        Loader::Grub2Ieee1275 | Loader::Yaboot => {
            must_be((Firmware::OpenFirmware, "Open Firmware"), firmware)?;
            Ok(plan(prep_disks(layout, devices)?, None))
        }
        Loader::Petitboot => {
            must_be((Firmware::Opal, "OPAL"), firmware)?;
            Ok(plan(Vec::new(), None))
        }
        Loader::GrubLegacy | Loader::Unknown => Err(PlanError::Loader { loader: loader_words(facts.loader) }),
    }
}

fn must_be((golden, mode): (Firmware, &'static str), firmware: Firmware) -> Result<(), PlanError> {
    if golden == firmware {
        return Ok(());
    }
    Err(PlanError::Firmware { golden: firmware_words(golden), firmware: firmware_words(firmware), mode })
}

/// The first mounted FAT filesystem on a partition of the type that firmware looks for.
fn esp(layout: &Layout, devices: &BTreeMap<String, String>) -> Result<Esp, PlanError> {
    let known_uuids = layout.filesystems.iter().filter_map(|fs| fs.uuid.clone()).collect();
    for filesystem in layout.filesystems.iter().filter(|fs| fs.kind == "vfat") {
        let DeviceRef::Partition { disk: label, number } = &filesystem.device else { continue };
        let Some(mount) = &filesystem.mount_point else { continue };
        let table = layout.disks.iter().find(|disk| disk.name == *label).and_then(|disk| disk.table.as_ref());
        let partition = table.and_then(|table| table.partitions.iter().find(|p| p.number == *number));
        if partition.is_some_and(|partition| is_of(&partition.type_id, &ESP_TYPES)) {
            let device = devices.get(label).ok_or_else(|| PlanError::DiskMissing { label: label.clone() })?;
            let mount = mount.trim_start_matches('/').to_owned();
            return Ok(Esp { device: device.clone(), number: *number, mount, known_uuids });
        }
    }
    Err(PlanError::NoEsp)
}

fn is_of(type_id: &str, known: &[&str]) -> bool {
    known.iter().any(|known| type_id.trim_start_matches("0x").eq_ignore_ascii_case(known))
}

/// Every disk with a PReP partition, the first of each: the disk itself has no boot code by which it could be known.
fn prep_disks(layout: &Layout, devices: &BTreeMap<String, String>) -> Result<Vec<LoaderDisk>, PlanError> {
    let mut found = Vec::new();
    for disk in &layout.disks {
        let partitions = disk.table.iter().flat_map(|table| &table.partitions);
        let Some(prep) = partitions.into_iter().find(|p| is_of(&p.type_id, &PREP_TYPES)) else { continue };
        let device =
            devices.get(&disk.name).ok_or_else(|| PlanError::DiskMissing { label: disk.name.clone() })?;
        let core_partition = Some(partition_node(device, prep.number));
        found.push(LoaderDisk { label: disk.name.clone(), device: device.clone(), core_partition });
    }
    if found.is_empty() { Err(PlanError::NoPrep) } else { Ok(found) }
}

fn loader_disk(
    label: &str,
    layout: &Layout,
    devices: &BTreeMap<String, String>,
) -> Result<LoaderDisk, PlanError> {
    let missing = || PlanError::DiskMissing { label: label.to_owned() };
    let device = devices.get(label).ok_or_else(missing)?;
    let disk = layout.disks.iter().find(|disk| disk.name == label).ok_or_else(missing)?;
    let core_partition = match &disk.table {
        Some(table) if table.kind == TableKind::Gpt => {
            let core = table.partitions.iter().find(|p| p.type_id.eq_ignore_ascii_case(BIOS_GRUB));
            let core = core.ok_or_else(|| PlanError::NoCorePartition { label: label.to_owned() })?;
            Some(partition_node(device, core.number))
        }
        Some(_) | None => None,
    };
    Ok(LoaderDisk { label: label.to_owned(), device: device.clone(), core_partition })
}

fn partition_node(device: &str, number: u32) -> String {
    let separator = if device.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    format!("{device}{separator}{number}")
}

fn loader_words(loader: Loader) -> &'static str {
    match loader {
        Loader::Grub2Bios => "GRUB 2 for BIOS",
        Loader::Grub2Uefi => "GRUB 2 for UEFI",
        Loader::Grub2Ieee1275 => "GRUB 2 for Open Firmware",
        Loader::GrubLegacy => "GRUB 0.97",
        Loader::Petitboot => "Petitboot",
        Loader::Yaboot => "yaboot",
        Loader::Unknown => "a loader that the capture did not recognise",
    }
}

fn firmware_words(firmware: Firmware) -> &'static str {
    match firmware {
        Firmware::Bios => "PC BIOS",
        Firmware::Uefi => "UEFI",
        Firmware::OpenFirmware => "Open Firmware",
        Firmware::Opal => "OPAL",
        Firmware::Unknown => "unknown firmware",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysclone_protocol::boot::Initramfs;
    use sysclone_protocol::layout::{
        Disk, DiskRules, Filesystem, FsFeatures, Grow, Partition, PartitionTable,
    };

    fn partition(number: u32, type_id: &str) -> Partition {
        Partition {
            number,
            start_bytes: 1 << 20,
            size_bytes: 1 << 20,
            type_id: type_id.into(),
            uuid: None,
            name: None,
            attributes: None,
            bootable: false,
            grow: Grow::Fixed,
        }
    }

    fn layout(kind: TableKind, types: &[&str]) -> Layout {
        let partitions = (1..).zip(types).map(|(n, t)| partition(n, t)).collect();
        let disk = Disk {
            name: "vda".into(),
            size_bytes: 8 << 30,
            sector_bytes: 512,
            rules: DiskRules::default(),
            table: Some(PartitionTable { kind, id: None, partitions }),
        };
        Layout { disks: vec![disk], ..Layout::default() }
    }

    fn facts(loader: Loader, disks: &[&str]) -> BootFacts {
        BootFacts {
            firmware: Firmware::Bios,
            loader,
            loader_disks: disks.iter().map(|d| (*d).to_owned()).collect(),
            boot_device: None,
            kernels: vec![],
            initramfs: Initramfs::InitramfsTools,
            kernel_cmdline: String::new(),
        }
    }

    fn devices(device: &str) -> BTreeMap<String, String> {
        BTreeMap::from([("vda".to_owned(), device.to_owned())])
    }

    #[test]
    fn the_core_image_goes_where_the_golden_client_has_it() {
        let grub = facts(Loader::Grub2Bios, &["vda"]);
        for (kind, types, device, core) in [
            (
                TableKind::Gpt,
                &["0FC63DAF-8483-4772-8E79-3D69D8477DE4", BIOS_GRUB][..],
                "/dev/sda",
                Some("/dev/sda2"),
            ),
            (TableKind::Gpt, &[BIOS_GRUB][..], "/dev/nvme0n1", Some("/dev/nvme0n1p1")),
            (TableKind::Mbr, &["83"][..], "/dev/sda", None),
        ] {
            let plan = plan(&grub, &layout(kind, types), &devices(device), Firmware::Bios).unwrap();
            assert_eq!(plan.disks[0].core_partition.as_deref(), core, "{device}");
        }
    }

    #[test]
    fn the_system_partition_is_the_mounted_fat_of_its_type() {
        let mut gpt = layout(TableKind::Gpt, &["0FC63DAF-8483-4772-8E79-3D69D8477DE4", ESP_TYPES[0]]);
        let filesystem = |number, kind: &str, point: &str| Filesystem {
            device: DeviceRef::Partition { disk: "vda".into(), number },
            kind: kind.into(),
            uuid: Some(format!("uuid-{number}")),
            label: None,
            mount_point: Some(point.into()),
            options: None,
            used_bytes: 0,
            features: FsFeatures::default(),
            subvolumes: vec![],
        };
        gpt.filesystems = vec![filesystem(1, "ext4", "/"), filesystem(2, "vfat", "/boot/efi")];
        let uefi = facts(Loader::Grub2Uefi, &[]);
        let found = plan(&uefi, &gpt, &devices("/dev/nvme0n1"), Firmware::Uefi).unwrap().esp.unwrap();
        let expected = Esp {
            device: "/dev/nvme0n1".into(),
            number: 2,
            mount: "boot/efi".into(),
            known_uuids: vec!["uuid-1".into(), "uuid-2".into()],
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn open_firmwares_core_image_goes_into_the_prep_partition_of_either_table() {
        let grub = facts(Loader::Grub2Ieee1275, &[]);
        for (kind, types, device, core) in [
            (TableKind::Gpt, &[PREP_TYPES[0], "8e"][..], "/dev/vda", "/dev/vda1"),
            (TableKind::Gpt, &["9e1a2d38-c612-4316-aa26-8b49521e5a8b"], "/dev/nvme0n1", "/dev/nvme0n1p1"),
            (TableKind::Mbr, &["83", "41"], "/dev/sda", "/dev/sda2"),
            (TableKind::Mbr, &["0x41"], "/dev/sda", "/dev/sda1"),
        ] {
            let plan = plan(&grub, &layout(kind, types), &devices(device), Firmware::OpenFirmware).unwrap();
            assert_eq!(plan.disks[0].core_partition.as_deref(), Some(core), "{types:?}");
        }
        let refuse = |types, devices: &BTreeMap<_, _>, firmware| {
            plan(&grub, &layout(TableKind::Gpt, types), devices, firmware).unwrap_err()
        };
        let here = devices("/dev/vda");
        assert_eq!(refuse(&["83"], &here, Firmware::OpenFirmware), PlanError::NoPrep);
        let missing = refuse(&PREP_TYPES[..1], &BTreeMap::new(), Firmware::OpenFirmware);
        assert_eq!(missing, PlanError::DiskMissing { label: "vda".into() });
        let other = refuse(&PREP_TYPES[..1], &here, Firmware::Opal).to_string();
        assert!(other.contains("boots by Open Firmware but this machine was started by OPAL"), "{other}");
    }

    #[test]
    fn petitboot_needs_nothing_on_the_disk_but_is_only_in_its_own_firmware() {
        let facts = facts(Loader::Petitboot, &[]);
        let layout = layout(TableKind::Gpt, &["83"]);
        let plan = |firmware| plan(&facts, &layout, &devices("/dev/vda"), firmware);
        let planned = plan(Firmware::Opal).unwrap();
        assert!(planned.disks.is_empty() && planned.esp.is_none());
        plan(Firmware::OpenFirmware).unwrap_err();
    }

    #[test]
    fn what_cannot_boot_is_refused_before_any_write() {
        let gpt = layout(TableKind::Gpt, &[BIOS_GRUB]);
        let refuse = |facts: &BootFacts, layout: &Layout, firmware| {
            plan(facts, layout, &devices("/dev/sda"), firmware).unwrap_err()
        };
        let bios = facts(Loader::Grub2Bios, &["vda"]);
        assert_eq!(refuse(&facts(Loader::Yaboot, &[]), &gpt, Firmware::OpenFirmware), PlanError::NoPrep);
        let legacy = refuse(&facts(Loader::GrubLegacy, &["vda"]), &gpt, Firmware::Bios).to_string();
        assert!(legacy.contains("GRUB 0.97, which is not supported yet by this version"), "{legacy}");
        let other = refuse(&bios, &gpt, Firmware::Uefi).to_string();
        assert!(other.contains("boots by PC BIOS but this machine was started by UEFI"), "{other}");
        let uefi = facts(Loader::Grub2Uefi, &[]);
        let other = refuse(&uefi, &gpt, Firmware::Bios).to_string();
        assert!(other.contains("boots by UEFI but this machine was started by PC BIOS"), "{other}");
        assert_eq!(refuse(&uefi, &gpt, Firmware::Uefi), PlanError::NoEsp);
        assert_eq!(refuse(&facts(Loader::Grub2Bios, &[]), &gpt, Firmware::Bios), PlanError::NoDisk);
        assert_eq!(
            refuse(&facts(Loader::Grub2Bios, &["vdb"]), &gpt, Firmware::Bios),
            PlanError::DiskMissing { label: "vdb".into() }
        );
        assert_eq!(
            refuse(&bios, &layout(TableKind::Gpt, &["83"]), Firmware::Bios),
            PlanError::NoCorePartition { label: "vda".into() }
        );
    }
}
