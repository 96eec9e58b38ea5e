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

pub(crate) use attributes::{set_all_of_new, timestamps};
pub use job::{ApplyError, ApplyJob, ApplyProgress, ApplyReport, ApplyWarning, Before};
#[cfg(any(test, fuzzing))]
pub(crate) use plan::check_plan;
pub(crate) use plan::{chunks_of, file_data};
pub(crate) use report::Tally;
pub use run::apply;
