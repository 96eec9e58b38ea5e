//! What administrators do with captured images: look at them, point at them, remove and check them.

mod change;
mod collect;
mod keep;
mod list;
mod transfer;
mod work;

use std::io;
use std::path::PathBuf;

use sysclone_image::{ImageKey, StoreError};
use sysclone_protocol::names::{ImageName, ImageSelector, NameError};

pub use change::change;
pub use collect::collect_daily;
pub use keep::parse_keep;
pub use list::{access, list};
pub use work::run_work;

use crate::app::App;
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
    /// A file outside the store.
    #[error("{doing} {path}")]
    File {
        /// `opening`, `writing`…
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
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

fn image_key(app: &App, image: &ImageName) -> Result<ImageKey, ImageError> {
    let missing = || ImageError::Invalid(format!("the key of image {image} is not on this server"));
    app.keys.image_key(image)?.ok_or_else(missing)
}
