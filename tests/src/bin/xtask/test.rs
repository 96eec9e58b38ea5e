//! All checks, in the order in which they are quick to fail.

use anyhow::{Context as _, Result};

use crate::arch::Arch;
use crate::shell::{self, cargo};
use crate::{build, power, setup, tools};

/// Options of the tests.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Test the agent's engine on these architectures, under emulation, and for ppc64le a network boot, instead of
    /// everything on this one.
    #[arg(long, value_enum, value_delimiter = ',')]
    arch: Vec<Arch>,
}

/// Sets up the host and runs every check.
pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.arch.is_empty() {
        return power::test(&options.arch);
    }
    setup::run()?;
    shell::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    let deny_warnings = ["--locked", "--", "-D", "warnings"];
    shell::run(cargo(&["clippy", "--workspace", "--all-targets"]).args(deny_warnings))?;
    let machines = ["clippy", "--package", "sysclone-tests", "--test", "e2e", "--test", "power"];
    shell::run(cargo(&machines).args(deny_warnings))?;
    fuzz_targets()?;
    shell::run(&mut tools::typos()?)?;
    // The advisory database cannot be fetched everywhere; these checks need no network.
    shell::run(tools::cargo_deny()?.args(["--workspace", "check", "bans", "licenses", "sources"]))?;
    shell::run(cargo(&["doc", "--workspace", "--no-deps", "--locked"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    shell::run(&mut cargo(&["test", "--workspace", "--locked"]))?;
    interface()?;
    e2e()
}

/// Checks that the fuzz targets still fit what they call. They are no members of the workspace, so they get its versions
/// of everything by a copy of its lock file, to which cargo adds what only they need.
fn fuzz_targets() -> Result<()> {
    let (from, to) = (shell::root().join("Cargo.lock"), shell::root().join("fuzz/Cargo.lock"));
    std::fs::copy(&from, &to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
    let mut check = cargo(&["check", "--manifest-path", "fuzz/Cargo.toml", "--target-dir"]);
    shell::run(check.arg(shell::target_dir().join("fuzz")).env("RUSTFLAGS", "--cfg fuzzing"))
}

/// Has the administrators' interface, the metrics and Redfish judged by others' programs.
fn interface() -> Result<()> {
    let mut judge = cargo(&["test", "--package", "sysclone-server", "--test", "daemon", "--locked"]);
    judge.args(["--", "--ignored", "judge::"]).env("SCHEMATHESIS", tools::schemathesis()?);
    judge.env("SUSHY_EMULATOR", tools::sushy_emulator()?);
    shell::run(judge.env("PROMETHEUS_PYTHON", tools::prometheus_client()?))
}

/// Builds what is shipped and runs the end-to-end suite on it.
pub(crate) fn e2e() -> Result<()> {
    setup::run()?;
    let programs = build::run(&build::Options::lab())?;
    let mut suite = cargo(&["test", "--package", "sysclone-tests", "--test", "e2e", "--locked"]);
    suite.env("SYSCLONE_BIN", programs.bin).env("SYSCLONE_BOOT", programs.boot);
    shell::run(suite.env("SYSCLONE_LAB_CACHE", build::cache_dir()).env("SYSCLONE_LAB_LOGS", shell::lab_dir()))
}
