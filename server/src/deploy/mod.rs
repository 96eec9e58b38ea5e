//! Deployments: arming nodes, enrolling their agents, following them until the clone reports itself.

mod advance;
mod agent;
mod arm;
mod enroll;
mod image;
mod nodeset;
mod pin;
mod progress;
mod resume;
mod status;

pub use advance::{Advance, advance};
pub(crate) use agent::shown;
pub use agent::{agent_event, boot_report};
pub use enroll::enroll;
pub(crate) use image::read_manifest;
pub use nodeset::nodeset;
pub use pin::pin_for_deploy;
pub use progress::Progress;
pub use resume::booted_again;
pub use status::{armed_word, node_views, statuses};

use crate::db::DbError;
use crate::define::AttributeError;
use crate::state::IllegalMove;

/// Why a call about a deployment was not done.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The database failed; nothing was changed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// Not allowed; the sentence says what to do.
    #[error("{0}")]
    Refused(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The deployment cannot take this step.
    #[error(transparent)]
    Illegal(#[from] IllegalMove),
    /// There is no such deployment any more.
    #[error("this deployment is not known any more: the node was removed or set anew")]
    Gone,
    /// A key file failed.
    #[error(transparent)]
    Key(#[from] crate::trust::KeyFileError),
    /// A definition cannot be read.
    #[error(transparent)]
    Attribute(#[from] AttributeError),
}
