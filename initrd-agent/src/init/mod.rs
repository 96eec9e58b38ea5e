//! Being process 1 of the initrd: kernel file systems, a console, one worker that installs, and whatever becomes of
//! it, a machine that stays up and says why.

mod mounts;
mod supervise;
mod whole;

pub use supervise::{WORKER_FAILED, deliver_failure, run_init};
pub(crate) use supervise::{console_shell, restart, switch_off};
pub(crate) use whole::initrd_fault;
