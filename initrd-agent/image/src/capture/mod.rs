//! Reads a running file tree into packs and a manifest.

mod assemble;
mod entries;
mod job;
mod pipeline;
mod read;
mod run;
mod still;
mod unchanged;
mod work;

pub use job::{CaptureError, CaptureFacts, CaptureJob, CaptureOptions, CaptureProgress};
pub use run::capture;
pub(crate) use run::tree_path;
