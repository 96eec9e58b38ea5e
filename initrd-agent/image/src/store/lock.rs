//! The store's lock: between what begins to name packs and what takes unnamed packs away.
//!
//! Whoever is about to rely on a pack (a capture that puts or finds it, a manifest that names it) holds the lock
//! shared while it sees that the pack is there and leaves what names it: mark, manifest, tag, pin. Whoever takes
//! something away because nothing names it holds the lock alone from its last look at the names until it is done.
//! The kernel frees the lock of a process that dies.

use std::fs::{File, OpenOptions};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Store, StoreError, files};

/// The lock, free again when dropped.
#[must_use]
pub(super) struct Held(#[expect(dead_code, reason = "closing the file frees the lock")] File);

impl Store {
    /// Held while something is named. Many at a time.
    pub(super) fn naming(&self) -> Result<Held, StoreError> {
        self.take(FlockOperation::LockShared)
    }

    /// Held while something is taken away. Nobody else has the lock.
    pub(super) fn removing(&self) -> Result<Held, StoreError> {
        self.take(FlockOperation::LockExclusive)
    }

    fn take(&self, operation: FlockOperation) -> Result<Held, StoreError> {
        let path = self.root.join("lock");
        // Opened anew each time, so that threads of one process keep each other out as well.
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(files::failed("opening", &path))?;
        loop {
            match flock(&file, operation) {
                Ok(()) => return Ok(Held(file)),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(files::failed("locking", &path)(errno.into())),
            }
        }
    }
}
