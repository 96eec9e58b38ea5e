//! Key files: mode 0600 in a 0700 directory, whole or not there.

use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sysclone_protocol::names::Secret;

/// Why a key file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The operating system refused something.
    #[error("{doing} {path}")]
    Io {
        /// `reading`, `writing`…
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file does not hold the key that it should.
    #[error("{path} does not hold a valid key: restore it from a backup ({reason})")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A new key could not be made.
    #[error("making a key: {0}")]
    Make(String),
}

pub(super) fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> KeyFileError {
    move |source| KeyFileError::Io { doing, path: path.to_owned(), source }
}

/// Makes a directory that only its owner may enter.
pub(super) fn make_private_directory(path: &Path) -> Result<(), KeyFileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("creating", path))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(failed("protecting", path))
}

/// Reads a key, or makes it with `make` and keeps it.
pub(super) fn load_or_make(
    path: &Path,
    make: impl FnOnce() -> Result<Secret, KeyFileError>,
) -> Result<Secret, KeyFileError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Secret::new(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = make()?;
            write_private(path, secret.reveal().as_bytes())?;
            Ok(secret)
        }
        Err(error) => Err(failed("reading", path)(error)),
    }
}

/// Writes a file for its owner only: under another name, flushed, then renamed.
pub(super) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let directory = path.parent().expect("key files are in a directory");
    let new = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(directory)?.sync_all()
    };
    write().map_err(failed("writing", path))
}
