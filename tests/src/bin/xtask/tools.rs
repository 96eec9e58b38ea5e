//! Linters that do not come with the toolchain: pinned, and built once into the user's cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// A program from crates.io in the one version that counts.
pub(crate) struct Pinned {
    package: &'static str,
    program: &'static str,
    version: &'static str,
}

/// Judges licences, sources and duplicate versions of dependencies.
pub(crate) const CARGO_DENY: Pinned =
    Pinned { package: "cargo-deny", program: "cargo-deny", version: "0.20.2" };

/// Finds misspelt words.
pub(crate) const TYPOS: Pinned = Pinned { package: "typos-cli", program: "typos", version: "1.52.0" };

impl Pinned {
    /// The program, built if it is not there yet.
    pub(crate) fn command(&self) -> Result<Command> {
        let home = std::env::var_os("HOME").context("HOME is not set")?;
        let cache = std::env::var_os("XDG_CACHE_HOME")
            .map_or_else(|| PathBuf::from(home).join(".cache"), PathBuf::from);
        let folder = cache.join("sysclone-tools").join(format!("{}-{}", self.package, self.version));
        let program = folder.join("bin").join(self.program);
        if !program.exists() {
            let mut install = shell::cargo(&["install", "--locked", self.package, "--version", self.version]);
            // Its intermediate files would otherwise mix with the project's.
            let build = folder.join("build");
            shell::run(install.arg("--root").arg(&folder).arg("--target-dir").arg(&build))?;
            std::fs::remove_dir_all(&build).context("removing intermediate files")?;
        }
        Ok(Command::new(program))
    }
}
