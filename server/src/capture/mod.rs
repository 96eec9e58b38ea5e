//! `imgcapture`: the server reaches a golden client by ssh, puts the agent on it, and the agent sends what it reads.
//! Packs that arrive are kept; an image generation appears only when its manifest is accepted.

mod definition;
mod order;
mod registry;
mod run;

pub use definition::{define_image, finish_capture, osvers};
pub use registry::{Captures, Capturing};
pub use run::run_capture;

/// Why a capture did not happen or did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CaptureError {
    /// Refused before anything was done, or the agent said why it failed.
    #[error("{0}")]
    Said(String),
    /// The golden client could not be used by ssh.
    #[error(transparent)]
    Ssh(#[from] crate::remote::SshError),
    /// The agent could not be put there.
    #[error(transparent)]
    Place(#[from] crate::remote::PlaceError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] crate::db::DbError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] sysclone_image::StoreError),
    /// A key file failed.
    #[error(transparent)]
    Key(#[from] crate::trust::KeyFileError),
    /// Whoever asked has gone, or the server stops.
    #[error("the capture was broken off; what was sent is kept for the next one")]
    BrokenOff,
}
