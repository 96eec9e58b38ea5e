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
pub use run::apply;
