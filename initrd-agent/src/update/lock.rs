//! One update of a machine at a time.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// The right to update this machine, for as long as it is kept.
pub(super) struct Lock(#[expect(dead_code, reason = "the lock is the open file")] File);

impl Lock {
    /// Takes it; makes the state directory.
    ///
    /// # Errors
    /// Another update has it.
    pub(super) fn take(state: &Path) -> anyhow::Result<Self> {
        let mut builder = DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(state)
            .with_context(|| format!("making {}", state.display()))?;
        let path = state.join("lock");
        let file = File::create(&path).with_context(|| format!("opening {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(Errno::WOULDBLOCK) => bail!("this machine is being updated already: wait for that to end"),
            Err(errno) => Err(errno).with_context(|| format!("locking {}", path.display())),
        }
    }
}
