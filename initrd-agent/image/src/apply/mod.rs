//! Writes an image into a mounted tree that is empty, or that an interrupted deployment of the same image left.

mod attributes;
mod fetch;
mod files;
mod job;
mod leftovers;
mod names;
mod plan;
mod report;
mod run;
mod survey;
mod worker;

pub use job::{ApplyError, ApplyJob, ApplyProgress, ApplyReport, ApplyWarning, Before};
#[cfg(any(test, fuzzing))]
pub(crate) use plan::check_plan;
pub use run::apply;
