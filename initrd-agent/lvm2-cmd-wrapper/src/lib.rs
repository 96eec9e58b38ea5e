//! Typed lvm2 commands and their JSON reports, on `sysclone-exec`.
//!
//! [`Lvm::host`] follows the machine's own lvm2 configuration and is for reading a running system. [`Lvm::initrd`] is
//! for making volume groups where there is no udev and no state: it sees only the devices that it is given, so that
//! an old copy of the same group on another disk (same names, same UUIDs) can neither be changed nor be in the way.
//!
//! A group is made from generated metadata ([`metadata::Group`]) by `vgcfgrestore`, not by `vgcreate` and `lvcreate`:
//! that is the one way to give the group and its volumes the UUIDs that they had on the captured machine (GRUB names
//! devices by them), it is one step on disk instead of one for each volume, and every extent lies where the plan
//! says.

mod command;
mod error;
pub mod metadata;
mod report;
mod snapshot;

pub use command::{LVM, Lvm};
pub use error::LvmError;
pub use report::{LvReport, PvReport, SnapshotReport, VgReport};
pub use snapshot::TAG as SNAPSHOT_TAG;
