//! Writes an image into a mounted, empty tree.

mod attributes;
mod fetch;
mod files;
mod job;
mod names;
mod plan;
mod report;
mod run;
mod worker;

pub use job::{ApplyError, ApplyJob, ApplyProgress, ApplyReport, ApplyWarning};
#[cfg(any(test, fuzzing))]
pub(crate) use plan::check_plan;
pub use run::apply;
