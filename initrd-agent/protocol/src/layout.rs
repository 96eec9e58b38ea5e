//! The disk layout of a captured machine: what was on its disks, by reading them. It names no device of the
//! target; [`crate::plan`] fits it onto real disks.

use serde::{Deserialize, Serialize};

/// All that a clone's disks need to hold. Written as TOML when shown or edited.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layout {
    /// Disks in the captured machine's order.
    pub disks: Vec<Disk>,
    /// LVM volume groups.
    pub volume_groups: Vec<VolumeGroup>,
    /// Filesystems and swap areas.
    pub filesystems: Vec<Filesystem>,
}

/// One captured disk. Its `name` labels it inside the layout and is only a hint outside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Label inside this layout; the golden client's kernel name (`vda`).
    pub name: String,
    /// Size on the golden client in bytes.
    pub size_bytes: u64,
    /// Logical sector size on the golden client in bytes.
    pub sector_bytes: u32,
    /// Rules that choose a target disk for it; empty rules accept any fixed disk that is large enough.
    #[serde(default)]
    pub rules: DiskRules,
    /// Partition table, or none when the whole disk is used.
    pub table: Option<PartitionTable>,
}

/// What a target disk must satisfy. Every given rule must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskRules {
    /// Exact serial number.
    pub serial: Option<String>,
    /// Exact WWN, EUI-64 or NGUID.
    pub wwn: Option<String>,
    /// Exact bus path.
    pub path: Option<String>,
    /// Exact kernel name; fragile, so for machines with nothing better.
    pub name: Option<String>,
    /// Bus (`nvme`, `sata`…).
    pub transport: Option<String>,
    /// Spinning or not.
    pub rotational: Option<bool>,
    /// Smallest acceptable size in bytes.
    pub min_bytes: Option<u64>,
    /// Largest acceptable size in bytes.
    pub max_bytes: Option<u64>,
}

/// A partition table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionTable {
    /// GPT or MBR.
    pub kind: TableKind,
    /// Disk GUID, or the MBR disk signature as `0x…`.
    pub id: Option<String>,
    /// Partitions by start.
    pub partitions: Vec<Partition>,
}

/// Kinds of partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableKind {
    /// GUID partition table (UEFI specification, chapter 5).
    Gpt,
    /// MBR (`dos`), primary and logical partitions.
    #[serde(rename = "dos")]
    Mbr,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// Number in the table, from 1.
    pub number: u32,
    /// Start in bytes from the disk's start.
    pub start_bytes: u64,
    /// Size in bytes.
    pub size_bytes: u64,
    /// GPT type GUID (upper case) or MBR type as two hexadecimal digits.
    pub type_id: String,
    /// Partition GUID (GPT only).
    #[serde(default)]
    pub uuid: Option<String>,
    /// GPT partition name.
    #[serde(default)]
    pub name: Option<String>,
    /// sfdisk attribute words (`LegacyBIOSBootable`, `GUID:63`…).
    #[serde(default)]
    pub attributes: Option<String>,
    /// MBR active flag.
    #[serde(default)]
    pub bootable: bool,
    /// What happens to its size on another disk.
    #[serde(default)]
    pub grow: Grow,
}

impl Partition {
    /// Whether this is an MBR's container of logical partitions.
    #[must_use]
    pub fn is_extended(&self, kind: TableKind) -> bool {
        let plain = self.type_id.trim_start_matches("0x").to_ascii_lowercase();
        kind == TableKind::Mbr && matches!(plain.as_str(), "5" | "05" | "f" | "0f" | "85")
    }
}

/// What happens to a size when the target disk is not as large as the captured one.
///
/// What a capture chooses: partitions with a volume group, or with an ext, XFS or btrfs filesystem other than `/boot`,
/// share the disk in proportion to their captured sizes; all other partitions are fixed. Logical volumes with such a
/// filesystem keep their size, all others (swap, raw) are fixed, and what a larger disk adds stays free in the group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "policy")]
pub enum Grow {
    /// Exactly the captured size (boot, ESP, PReP, bios_grub, swap).
    #[default]
    Fixed,
    /// The captured size where there is room for it; where there is not, less, in proportion to the captured sizes,
    /// but never below what is used plus a reserve.
    Keep,
    /// Takes a share of the room that is left, in proportion to `weight`, but never less than what is used plus a
    /// reserve.
    Share {
        /// Share of the free room.
        weight: u32,
    },
}

/// Where a filesystem, swap area or physical volume lives.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "on")]
pub enum DeviceRef {
    /// A partition of a layout disk.
    Partition {
        /// Layout disk label.
        disk: String,
        /// Partition number.
        number: u32,
    },
    /// A logical volume.
    LogicalVolume {
        /// Volume group name.
        group: String,
        /// Logical volume name.
        volume: String,
    },
    /// A whole disk without a table.
    WholeDisk {
        /// Layout disk label.
        disk: String,
    },
}

/// One LVM volume group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeGroup {
    /// Name.
    pub name: String,
    /// LVM UUID of the group on the golden client.
    pub uuid: String,
    /// Extent size in bytes.
    pub extent_bytes: u64,
    /// Its physical volumes.
    pub physical_volumes: Vec<PhysicalVolume>,
    /// Its logical volumes in creation order.
    pub logical_volumes: Vec<LogicalVolume>,
}

/// One LVM physical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PhysicalVolume {
    /// Where it lives.
    pub device: DeviceRef,
    /// LVM UUID of the physical volume on the golden client.
    pub uuid: String,
}

/// One LVM logical volume.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogicalVolume {
    /// Name.
    pub name: String,
    /// LVM UUID of the volume on the golden client.
    #[serde(default)]
    pub uuid: Option<String>,
    /// Size in bytes on the golden client.
    pub size_bytes: u64,
    /// Segment type as lvm names it (`linear`, `striped`, `raid1`…).
    pub segment_type: String,
    /// Stripes, 1 for linear.
    #[serde(default = "one")]
    pub stripes: u32,
    /// Size of one stripe in bytes; none for linear.
    #[serde(default)]
    pub stripe_bytes: Option<u64>,
    /// Tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// What happens to its size on another disk.
    #[serde(default)]
    pub grow: Grow,
}

fn one() -> u32 {
    1
}

/// A filesystem or a swap area.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    /// Where it lives.
    pub device: DeviceRef,
    /// `ext2`, `ext3`, `ext4`, `xfs`, `btrfs`, `vfat`, `swap`.
    pub kind: String,
    /// Filesystem UUID as blkid prints it.
    #[serde(default)]
    pub uuid: Option<String>,
    /// Label.
    #[serde(default)]
    pub label: Option<String>,
    /// Where it was mounted; none for swap, and for a btrfs of which only subvolumes were.
    #[serde(default)]
    pub mount_point: Option<String>,
    /// Mount options of the golden client's fstab.
    #[serde(default)]
    pub options: Option<String>,
    /// Bytes in use when captured.
    #[serde(default)]
    pub used_bytes: u64,
    /// The exact features of the original, read from its superblock.
    #[serde(default)]
    pub features: FsFeatures,
    /// btrfs: the subvolumes that were mounted, parents before children.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subvolumes: Vec<Subvolume>,
}

/// A mounted subvolume of a btrfs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subvolume {
    /// Path from the top of the filesystem, without a leading slash (`@`, `@/.snapshots/1/snapshot`).
    pub path: String,
    /// Where it was mounted.
    pub mount_point: String,
    /// Mount options of the golden client's fstab.
    #[serde(default)]
    pub options: Option<String>,
    /// Whether it is what a mount gets that names none.
    #[serde(default)]
    pub default: bool,
}

/// A place where a filesystem is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountedAt<'a> {
    /// Mount point.
    pub point: &'a str,
    /// Path of the subvolume that is mounted there; none for the whole filesystem.
    pub subvolume: Option<&'a str>,
    /// Mount options of the golden client's fstab.
    pub options: Option<&'a str>,
}

impl Filesystem {
    /// Everywhere it was mounted.
    pub fn mounts(&self) -> impl Iterator<Item = MountedAt<'_>> {
        let whole = self.mount_point.as_deref();
        let whole = whole.map(|point| MountedAt { point, subvolume: None, options: self.options.as_deref() });
        let parts = self.subvolumes.iter().map(|part| MountedAt {
            point: &part.mount_point,
            subvolume: Some(&part.path),
            options: part.options.as_deref(),
        });
        whole.into_iter().chain(parts)
    }

    /// Whether it, or a subvolume of it, was mounted there.
    #[must_use]
    pub fn is_mounted_at(&self, point: &str) -> bool {
        self.mounts().any(|mount| mount.point == point)
    }
}

/// What mkfs must be told so that an old kernel or loader reads the clone as it read the golden client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FsFeatures {
    /// Block size in bytes.
    pub block_bytes: Option<u32>,
    /// Inode size in bytes.
    pub inode_bytes: Option<u32>,
    /// ext: bytes per inode, so that a clone has room for as many files.
    pub bytes_per_inode: Option<u64>,
    /// ext: feature names as dumpe2fs prints them (without run-time state such as `needs_recovery`).
    /// xfs: mkfs.xfs suboptions (`crc=1`, `finobt=1`, `reflink=1`, `bigtime=0`, `sectsize=512`…).
    /// btrfs: feature names as mkfs.btrfs takes them (`no-holes`, `^mixed-bg`), `csum=`, `nodesize=`, `metadata=`.
    /// vfat: `fat=32` and bytes in a cluster (`cluster=4096`).
    pub features: Vec<String>,
    /// ext: default mount options (`user_xattr`, `acl`).
    pub default_mount_options: Vec<String>,
    /// ext: directory hash seed as a UUID.
    pub hash_seed: Option<String>,
    /// ext: blocks kept for root, in hundredths of a per cent of all blocks.
    pub reserved_basis_points: Option<u32>,
}
