//! Makes a clone's own disk bootable, the way the golden client's was: decided from the boot facts, done by the
//! clone's own tools in its root, then read back.
//!
//! File systems keep their UUIDs and volume groups their names, so the clone's `grub.cfg`, fstab and initramfs are
//! true as captured and are not made again; only what lies outside of file systems is written here.

mod apply;
mod gpt;
mod grub2;
mod menu;
mod nvram;
mod plan;
mod times;
mod uefi;
mod verify;
mod yaboot;

pub use apply::{ApplyError, apply, with_system_mounts};
pub use plan::{BootloaderPlan, Esp, LoaderDisk, PlanError, plan};
pub use verify::{VerifyError, first_kernel, verify};
pub use yaboot::YabootError;

use sysclone_exec::Tool;

/// Programs of the agent's own environment that this module starts. (`grub-install` is the clone's own.)
pub const TOOLS: &[Tool] = &[MOUNT, UMOUNT, CHROOT];

const MOUNT: Tool = Tool("mount");
const UMOUNT: Tool = Tool("umount");
const CHROOT: Tool = Tool("chroot");
