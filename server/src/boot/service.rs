//! The boot files in service. They are held in memory, as they were when their hashes were right: whatever happens to
//! the boot directory, no machine gets half a file. When the directory has changed, all of it is read again; when it is
//! wrong, those in memory stay.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use super::files::{BootFiles, BootFilesError};
use crate::trust::Keys;

/// Boot files that are read again when they have changed.
#[derive(Debug)]
pub struct BootService {
    directory: PathBuf,
    files: RwLock<Arc<BootFiles>>,
    seen: Mutex<Vec<Stamp>>,
}

/// What says that a file was changed: how long it is, and when it was written.
type Stamp = Option<(u64, SystemTime)>;

impl BootService {
    /// Reads the boot directory.
    ///
    /// # Errors
    /// It was not filled by the image builder, or was damaged since.
    pub fn load(directory: &Path, keys: &Keys) -> Result<Self, BootFilesError> {
        let files = BootFiles::load(directory, keys)?;
        let seen = Mutex::new(stamps(directory, &files));
        Ok(Self { directory: directory.to_owned(), files: RwLock::new(Arc::new(files)), seen })
    }

    /// The files to serve.
    #[must_use]
    pub fn now(&self) -> Arc<BootFiles> {
        Arc::clone(&self.files.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the directory again when any file in it has changed since it was last looked at; says whether other files
    /// are served now.
    ///
    /// # Errors
    /// What is there now is not as its list says. What was served before still is.
    pub fn look_again(&self, keys: &Keys) -> Result<bool, BootFilesError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.now();
        if stamps(&self.directory, &before) == *seen {
            return Ok(false);
        }
        let files = BootFiles::load(&self.directory, keys)?;
        *seen = stamps(&self.directory, &files);
        let changed = !files.is_same(&before);
        *self.files.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(files);
        Ok(changed)
    }
}

/// Of the list and of every file on it.
fn stamps(directory: &Path, files: &BootFiles) -> Vec<Stamp> {
    let stamp = |path: PathBuf| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.len(), meta.modified().ok()?))
    };
    files.paths(directory).into_iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::files::tests::{directory, keys};

    #[test]
    fn a_damaged_file_is_named_and_never_served_and_a_new_one_is() {
        let dir = directory(&[("x86_64/kernel", b"kernel"), ("x86_64/initrd.img", b"initrd")]);
        let (_keep, keys) = keys();
        let service = BootService::load(dir.path(), &keys).unwrap();
        assert!(!service.look_again(&keys).unwrap());
        std::fs::write(dir.path().join("x86_64/kernel"), "ker").unwrap();
        for _ in 0..2 {
            let error = service.look_again(&keys).unwrap_err().to_string();
            assert!(error.contains("x86_64/kernel") && error.contains("sysclone-image-builder"), "{error}");
            assert_eq!(service.now().get("x86_64/kernel").unwrap().bytes, "kernel");
        }
        let other = directory(&[("x86_64/kernel", b"newer"), ("image/a/kernel", b"other")]);
        std::fs::remove_dir_all(dir.path().join("x86_64")).unwrap();
        for name in ["boot.json", "x86_64", "image"] {
            std::fs::rename(other.path().join(name), dir.path().join(name)).unwrap();
        }
        assert!(service.look_again(&keys).unwrap());
        assert_eq!(service.now().get("image/a/kernel").unwrap().bytes, "other");
        assert!(!service.look_again(&keys).unwrap());
    }
}
