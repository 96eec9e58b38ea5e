//! Programs of the golden client's administrator that make its services hold still while it is captured: every
//! executable in `/etc/sysclone/capture.d` is run with the argument `pre` before, in the order of their names, and
//! with `post` afterwards, in reverse. `post` is run for every hook whose `pre` was started, whatever happened since.
//!
//! When every file system is read from a snapshot, `post` comes as soon as the snapshots are there; otherwise after
//! everything was read. A hook that fails or takes too long makes the capture fail.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sysclone_exec::{Command, Runner};

/// Where hooks are.
pub(super) const DIRECTORY: &str = "/etc/sysclone/capture.d";

/// How long one hook may take: a database that writes everything out needs a while, a golden client that waits for a
/// stuck one does nobody any good.
const LIMIT: Duration = Duration::from_secs(300);

/// When a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Pre,
    Post,
}

/// The hooks of a machine.
pub(super) struct Hooks<'a> {
    runner: &'a dyn Runner,
    image: String,
    hooks: Vec<PathBuf>,
    /// How many of them have run `pre` and not yet `post`.
    open: usize,
}

impl<'a> Hooks<'a> {
    /// Finds the hooks in a directory, which need not be there.
    pub(super) fn find(runner: &'a dyn Runner, directory: &Path, image: &str) -> anyhow::Result<Self> {
        let hooks =
            find(directory).with_context(|| format!("looking for hooks in {}", directory.display()))?;
        Ok(Self { runner, image: image.to_owned(), hooks, open: 0 })
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    /// Takes every `pre` as run, by a process that is no more.
    pub(super) fn assume_open(&mut self) {
        self.open = self.hooks.len();
    }

    /// Runs `pre`; stops at the first that fails.
    pub(super) fn pre(&mut self) -> anyhow::Result<()> {
        for index in 0..self.hooks.len() {
            self.open = index + 1;
            self.run(index, Moment::Pre)?;
        }
        Ok(())
    }

    /// Runs `post` wherever it is due, all of them even when one fails.
    pub(super) fn post(&mut self) -> anyhow::Result<()> {
        let mut first = Ok(());
        while self.open > 0 {
            self.open -= 1;
            let ended = self.run(self.open, Moment::Post);
            first = first.and(ended);
        }
        first
    }

    fn run(&self, index: usize, moment: Moment) -> anyhow::Result<()> {
        let hook = &self.hooks[index];
        let word = match moment {
            Moment::Pre => "pre",
            Moment::Post => "post",
        };
        tracing::info!(hook = %hook.display(), moment = word, "running a hook");
        let command = Command::of_file(hook).arg(word).env("SYSCLONE_IMAGE", &self.image).timeout(LIMIT);
        self.runner.run(&command).with_context(|| format!("running the hook {}", hook.display())).map(drop)
    }
}

/// The executables in a directory by name. Names with anything but letters, digits, `-` and `_` are a package
/// manager's or an editor's leftovers.
fn find(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let plain = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        let named = path.file_name().and_then(|name| name.to_str()).is_some_and(plain);
        let meta = path.metadata().with_context(|| format!("looking at {}", path.display()))?;
        if !named || !meta.is_file() || meta.mode() & 0o111 == 0 {
            tracing::warn!(path = %path.display(), "not taken for a hook: not executable, or oddly named");
            continue;
        }
        ensure!(
            meta.uid() == 0 && meta.mode() & 0o022 == 0,
            "{} can be changed by others than root: chown root and chmod go-w it",
            path.display()
        );
        found.push(path);
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use sysclone_exec::System;

    use super::*;

    fn directory(hooks: &[(&str, &str)]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in hooks {
            let path = directory.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\ncd {}\n{text}\n", directory.path().display())).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        directory
    }

    const LOG: &str = "echo $(basename $0) $1 $SYSCLONE_IMAGE >> log.txt";

    fn log(directory: &tempfile::TempDir) -> String {
        std::fs::read_to_string(directory.path().join("log.txt")).unwrap_or_default().replace('\n', ", ")
    }

    #[test]
    fn hooks_run_in_order_and_back() {
        let directory = directory(&[("20-b", LOG), ("10-a", LOG), ("10-a.dpkg-old", LOG)]);
        let mut hooks = Hooks::find(&System, directory.path(), "demo").unwrap();
        hooks.pre().unwrap();
        hooks.post().unwrap();
        hooks.post().unwrap();
        assert_eq!(log(&directory), "10-a pre demo, 20-b pre demo, 20-b post demo, 10-a post demo, ");
        assert!(Hooks::find(&System, &directory.path().join("none"), "demo").unwrap().is_empty());
    }

    #[test]
    fn a_hook_that_fails_ends_the_capture_and_is_undone() {
        let fails = format!("{LOG}; test $1 = post || {{ echo no database >&2; exit 3; }}");
        let directory = directory(&[("10-a", LOG), ("20-b", &fails), ("30-c", LOG)]);
        let mut hooks = Hooks::find(&System, directory.path(), "demo").unwrap();
        let error = format!("{:#}", hooks.pre().unwrap_err());
        assert!(
            error.contains("running the hook") && error.contains("20-b pre: exit status 3: no database"),
            "{error}"
        );
        hooks.post().unwrap();
        assert_eq!(log(&directory), "10-a pre demo, 20-b pre demo, 20-b post demo, 10-a post demo, ");
    }

    #[test]
    fn a_hook_that_others_can_change_is_refused() {
        let directory = directory(&[("10-a", LOG)]);
        let path = directory.path().join("10-a");
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o775)).unwrap();
        let error = Hooks::find(&System, directory.path(), "demo").err().unwrap();
        assert!(format!("{error:#}").contains("can be changed by others than root"));
    }
}
