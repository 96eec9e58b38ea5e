//! Disks: finding them, reading a golden client's layout, and making a machine's disks hold it. The destructive work
//! is a chain of values, each made only from the one before, so the wrong order does not compile:
//! [`Probed`] → [`Planned`] → [`Cleared`] → [`Partitioned`] → [`Assembled`] → [`Formatted`] → [`Mounted`].

mod blocks;
mod bus;
mod capture;
mod clear;
#[cfg(test)]
mod fixtures;
mod format;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod inventory;
mod mounts;
mod nodes;
mod phases;
mod resume;
mod sfdisk;
mod subvolumes;
mod superblock;
mod table;
#[cfg(test)]
mod tests;
mod unmount;
mod verify;
mod volumes;

pub use capture::capture_layout;
pub use inventory::{inventory, inventory_under};
pub use mounts::{Mount, real_mounts};
pub use phases::{Assembled, Cleared, Formatted, Mounted, Partitioned, Planned, Probed};

use sysclone_exec::Tool;

/// Writes partition tables.
pub(crate) const SFDISK: Tool = Tool("sfdisk");
/// Makes ext2, ext3 and ext4.
pub(crate) const MKE2FS: Tool = Tool("mke2fs");
/// Sets what mke2fs cannot.
pub(crate) const TUNE2FS: Tool = Tool("tune2fs");
/// Makes XFS.
pub(crate) const MKFS_XFS: Tool = Tool("mkfs.xfs");
/// Makes btrfs.
pub(crate) const MKFS_BTRFS: Tool = Tool("mkfs.btrfs");
/// Makes subvolumes of btrfs.
pub(crate) const BTRFS: Tool = Tool("btrfs");
/// Makes FAT.
pub(crate) const MKFS_VFAT: Tool = Tool("mkfs.vfat");
/// Makes swap areas.
pub(crate) const MKSWAP: Tool = Tool("mkswap");
/// Stops md arrays that are in the way.
pub(crate) const MDADM: Tool = Tool("mdadm");
/// Removes device mapper maps that are in the way.
pub(crate) const DMSETUP: Tool = Tool("dmsetup");
/// Ends swapping to what is in the way.
pub(crate) const SWAPOFF: Tool = Tool("swapoff");

/// Every program that the phases may start; checked before the first of them begins.
pub const TOOLS: &[Tool] = &[
    lvm2_cmd_wrapper::LVM,
    SFDISK,
    MKE2FS,
    TUNE2FS,
    MKFS_XFS,
    MKFS_BTRFS,
    BTRFS,
    MKFS_VFAT,
    MKSWAP,
    MDADM,
    DMSETUP,
    SWAPOFF,
];
