//! `updatenode -S`: running clones become like a newer generation of their image. The server reaches each by ssh, puts
//! the agent on it, gives it an order and passes on what it says; the agent decides and does the work.

mod group;
mod keep;
mod order;
mod pull;
mod registry;
mod rules;
mod run;
mod target;
mod view;

pub(crate) use keep::{give_token, node_by_token};
pub(crate) use pull::{pull, synced};
pub use registry::{Updates, Updating};
pub(crate) use rules::{ATTRIBUTE, check_rules};
pub use run::run_updates;
pub use view::node_syncs;

/// Why a node was not updated.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpdateError {
    /// Refused before anything was done.
    #[error("{0}")]
    Said(String),
    /// The agent said why it failed.
    #[error("{reason}")]
    Agent {
        /// One line.
        reason: String,
        /// What the node is like now.
        state: String,
    },
    /// The node could not be used by ssh.
    #[error(transparent)]
    Ssh(#[from] crate::remote::SshError),
    /// The agent was at work when it was lost: that is no node that happens to be off, but one that an update may have
    /// put down.
    #[error(
        "the connection was lost while the agent was at work: {0}; what was begun is finished or undone when the node \
         is up"
    )]
    Lost(String),
    /// The agent could not be put there.
    #[error(transparent)]
    Place(#[from] crate::remote::PlaceError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] crate::db::DbError),
    /// A key file failed.
    #[error(transparent)]
    Key(#[from] crate::trust::KeyFileError),
    /// Whoever asked has gone, or the server stops.
    #[error("the update was broken off; the next one finishes or undoes what was begun")]
    BrokenOff,
}

impl UpdateError {
    /// Whether the node could not be reached at all.
    fn is_unreachable(&self) -> bool {
        use crate::remote::{PlaceError, SshError};
        matches!(
            self,
            Self::Ssh(SshError::Unreachable { .. })
                | Self::Place(PlaceError::Ssh(SshError::Unreachable { .. }))
        )
    }
}
