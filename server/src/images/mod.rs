//! What administrators do with captured images: look at them, point at them, remove and check them.

mod change;
mod list;
mod work;

use sysclone_image::StoreError;
use sysclone_protocol::names::{ImageSelector, NameError};

pub use change::change;
pub use list::{access, list};
pub use work::run_work;

use crate::db::DbError;
use crate::trust::KeyFileError;

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A name that is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key file cannot be read.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The event could not be recorded.
    #[error(transparent)]
    Db(#[from] DbError),
    /// It makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The work on files ended by itself.
    #[error("the work in the store was broken off")]
    BrokenOff,
}

/// Runs work that blocks on files.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(ImageError::BrokenOff))
}

fn selector(text: &str) -> Result<ImageSelector, ImageError> {
    Ok(text.parse()?)
}
