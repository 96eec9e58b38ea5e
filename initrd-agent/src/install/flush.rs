//! Writes out what was pulled, all the time: a machine that is reset in the middle has lost seconds, not the half
//! minute that the kernel keeps data to itself.

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use rustix::fs::{Mode, OFlags, open, syncfs};

/// Time between two rounds. What a reset costs is what came in this time; more often would make small files slow.
const EVERY: Duration = Duration::from_secs(5);

/// Flushes file systems until it is dropped.
pub struct Flusher {
    /// Dropped to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Flusher {
    /// Begins with the file systems mounted at `points`.
    #[must_use]
    pub fn start(points: &[PathBuf]) -> Self {
        let (stop, stopped) = bounded::<()>(0);
        let points = points.to_vec();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(EVERY) == Err(RecvTimeoutError::Timeout) {
                points.iter().for_each(|point| flush(point));
            }
        });
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::warn!("the thread that writes out the file systems ended early");
        }
    }
}

fn flush(point: &Path) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let flushed = open(point, flags, Mode::empty()).and_then(syncfs);
    if let Err(error) = flushed {
        // The error stays with the file system and fails the installation at its end.
        tracing::warn!(point = %point.display(), %error, "a file system could not be written out");
    }
}
