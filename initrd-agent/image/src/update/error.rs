//! Why an update did not happen.

use std::io;

use crate::apply::ApplyError;
use crate::capture::CaptureError;

/// Why an update failed. What the tree is like then is told by whoever returns it: until the first swap nothing has
/// changed; from then on the journal finishes it.
#[derive(Debug, thiserror::Error)]
pub enum UpdateError {
    /// The tree could not be read.
    #[error("looking at this machine's files")]
    Look(#[from] CaptureError),
    /// Something could not be fetched, verified or written; nothing was changed.
    #[error("making the update ready")]
    Stage(#[from] ApplyError),
    /// There is no room for it; nothing was changed.
    #[error(
        "{mount} has {available} bytes free, the update needs {needed} there; make room, or leave something out by a rule"
    )]
    Room {
        /// Mount point.
        mount: String,
        /// Free bytes.
        available: u64,
        /// Bytes that are needed, with some to spare.
        needed: u64,
    },
    /// A call failed.
    #[error("{doing} {path}")]
    Call {
        /// `renaming`, `opening`…
        doing: &'static str,
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The journal is not one that this version reads.
    #[error("{path} is damaged or of another version: {what}")]
    Journal {
        /// The file.
        path: String,
        /// What does not fit.
        what: String,
    },
    /// An update was interrupted before.
    #[error(
        "an update of this machine to {to} was interrupted; `sysclone-agent update --recover` finishes it"
    )]
    Unfinished {
        /// `image@generation`.
        to: String,
    },
    /// There is nothing to go back to.
    #[error("there is nothing to roll back: {0}")]
    NothingToRollBack(&'static str),
}

/// Makes an error of one from the operating system.
pub(super) fn call<E: Into<io::Error>>(
    doing: &'static str,
    path: impl Into<String>,
) -> impl FnOnce(E) -> UpdateError {
    let path = path.into();
    move |source| UpdateError::Call { doing, path, source: source.into() }
}
