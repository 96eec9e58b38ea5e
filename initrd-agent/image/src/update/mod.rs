//! Makes a running machine like a newer generation of its image: plan, stage, swap, and back.
//!
//! The plan is the dry run. Staging writes beside what runs and changes nothing. Swapping follows a journal that is on
//! the disk before the first swap, so that whatever interrupts it, every file is the old or the new one, and the next
//! run finishes or undoes it. That all files change at one instant is not possible without a snapshot, and FAT cannot
//! even replace one file at an instant.

mod cache;
mod check;
mod clear;
mod decide;
mod error;
mod ids;
mod job;
mod journal;
mod judge;
mod keep;
mod look;
mod meta;
mod plan;
mod side;
mod slot;
mod stage;
mod swap;

pub use error::UpdateError;
pub use job::{Preview, Special, UpdateJob};
pub use journal::{Journal, Progress};
pub use keep::{Decision, Keep, LOCAL_RULES, OWN_STATE, STAGING, local_rules};
pub use plan::{Planned, plan_update};
pub use stage::Staged;
pub use swap::{Unwatched, Watch};
