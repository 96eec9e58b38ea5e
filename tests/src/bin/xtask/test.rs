//! All checks, in the order in which they are quick to fail.

use anyhow::Result;

use crate::shell::{self, cargo};
use crate::{build, setup, tools};

/// Sets up the host and runs every check.
pub(crate) fn run() -> Result<()> {
    setup::run()?;
    shell::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    let deny_warnings = ["--locked", "--", "-D", "warnings"];
    shell::run(cargo(&["clippy", "--workspace", "--all-targets"]).args(deny_warnings))?;
    shell::run(cargo(&["clippy", "--package", "sysclone-tests", "--test", "e2e"]).args(deny_warnings))?;
    shell::run(
        cargo(&["check", "--manifest-path", "fuzz/Cargo.toml", "--target-dir", "target/fuzz", "--locked"])
            .env("RUSTFLAGS", "--cfg fuzzing"),
    )?;
    shell::run(&mut tools::typos()?)?;
    // The advisory database cannot be fetched everywhere; these checks need no network.
    shell::run(tools::cargo_deny()?.args(["--workspace", "check", "bans", "licenses", "sources"]))?;
    shell::run(&mut cargo(&["test", "--workspace", "--locked"]))?;
    shell::run(cargo(&["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    e2e()
}

/// Builds what is shipped and runs the end-to-end suite on it.
pub(crate) fn e2e() -> Result<()> {
    setup::run()?;
    let programs = build::run()?;
    let mut suite = cargo(&["test", "--package", "sysclone-tests", "--test", "e2e", "--locked"]);
    suite.env("SYSCLONE_BIN", programs.bin).env("SYSCLONE_BOOT", programs.boot);
    shell::run(suite.env("SYSCLONE_LAB_CACHE", build::cache_dir()).env("SYSCLONE_LAB_LOGS", shell::lab_dir()))
}
