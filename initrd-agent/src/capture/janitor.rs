//! Cleans up behind a capture however it ended: a second process of this program waits for the first to end. What it
//! would have done itself, had it not been killed, is done by this one: hooks are run with `post`, snapshots removed.
//! Also keeps captures apart: one at a time on a machine.

use std::fs::File;
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ExitCode};

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use sysclone_exec::{Command, System, Tool, start_fed};
use sysclone_protocol::names::ImageName;

use super::hooks::{self, Hooks};
use super::view;
use crate::console::{Place, start_logging};
use crate::disk;

const SELF: Tool = Tool("/proc/self/exe");

/// Beside the agent itself, in the directory that is never captured.
const LOCK: &str = "/var/lib/sysclone/capture.lock";

/// Said when hooks are about to be run with `pre`, and when all were run with `post`.
const QUIESCED: &str = "quiesced";
const RELEASED: &str = "released";
/// Said when nothing is left to do.
const CLEAN: &str = "clean";

/// The right to capture this machine, for as long as it is kept.
pub(super) struct Lock(#[expect(dead_code, reason = "the lock is the open file")] File);

impl Lock {
    /// Takes it.
    ///
    /// # Errors
    /// Another capture has it.
    pub(super) fn take() -> anyhow::Result<Self> {
        Self::at(Path::new(LOCK))
    }

    fn at(path: &Path) -> anyhow::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
        }
        let file = File::create(path).with_context(|| format!("opening {}", path.display()))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(Errno::WOULDBLOCK) => bail!("this machine is being captured already: wait for that to end"),
            Err(errno) => Err(errno).with_context(|| format!("locking {}", path.display())),
        }
    }
}

/// The second process, seen from the first.
pub(super) struct Janitor {
    child: Child,
    tell: ChildStdin,
}

impl Janitor {
    /// Starts it.
    pub(super) fn start(image: &ImageName) -> anyhow::Result<Self> {
        let command = Command::new(SELF).args(["capture-cleanup", image.as_str()]);
        let (child, tell) = start_fed(&command).context("starting the process that cleans up")?;
        Ok(Self { child, tell })
    }

    /// Hooks are about to be run with `pre`.
    pub(super) fn quiesced(&mut self) -> anyhow::Result<()> {
        self.say(QUIESCED)
    }

    /// All hooks were run with `post`.
    pub(super) fn released(&mut self) -> anyhow::Result<()> {
        self.say(RELEASED)
    }

    fn say(&mut self, word: &str) -> anyhow::Result<()> {
        writeln!(self.tell, "{word}").context("talking to the process that cleans up")
    }

    /// Nothing is left to do.
    pub(super) fn dismiss(mut self) {
        // When it is gone already, it has nothing to do either.
        drop(self.say(CLEAN));
        drop(self.tell);
        drop(self.child.wait());
    }
}

/// The second process itself: waits for the end of its input.
#[must_use]
pub fn run_cleanup(image: &str) -> ExitCode {
    start_logging(Place::Stderr, false);
    let (mut quiesced, mut clean) = (false, false);
    for word in std::io::stdin().lock().lines().map_while(Result::ok) {
        match word.as_str() {
            QUIESCED => quiesced = true,
            RELEASED => quiesced = false,
            CLEAN => clean = true,
            other => tracing::warn!(word = other, "not understood"),
        }
    }
    if clean {
        return ExitCode::SUCCESS;
    }
    match clean_up(image, quiesced) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("cleaning up after a capture: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn clean_up(image: &str, quiesced: bool) -> anyhow::Result<()> {
    let released = if quiesced {
        let mut hooks = Hooks::find(&System, Path::new(hooks::DIRECTORY), image)?;
        hooks.assume_open();
        hooks.post()
    } else {
        Ok(())
    };
    // A capture that began meanwhile has removed what was left, and what there is now is its own.
    if let Ok(_lock) = Lock::take() {
        view::remove_all(&System, &view::btrfs_points(&disk::real_mounts()?))?;
    }
    released
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_capture_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("sysclone/capture.lock");
        let first = Lock::at(&path).unwrap();
        let error = Lock::at(&path).err().unwrap().to_string();
        assert!(error.contains("is being captured already"), "{error}");
        drop(first);
        // A program that another test is just starting may still have it; this waits until nobody has.
        flock(File::open(&path).unwrap(), FlockOperation::LockExclusive).unwrap();
    }
}
