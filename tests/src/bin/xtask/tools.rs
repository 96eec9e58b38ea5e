//! Linters that do not come with the toolchain: pinned, and installed once into the user's cache.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::shell;

/// Judges licences, sources and banned dependencies. From crates.io, a few minutes to build.
const CARGO_DENY: &str = "0.20.2";

/// Finds misspelt words. From PyPI, where it is the same program ready-made: building its dictionaries takes long.
const TYPOS: &str = "1.52.0";

/// Asks an HTTP interface what its OpenAPI document allows and forbids. All versions stand in `tests/schemathesis.txt`.
const SCHEMATHESIS: &str = "4.32.5";

/// Reads Prometheus' text format. `promtool` would be 100 MB for the same.
const PROMETHEUS_CLIENT: &str = "0.26.0";

/// A Redfish service that is not ours. All versions stand in `tests/sushy-tools.txt`.
const SUSHY_TOOLS: &str = "2.2.0";

/// cargo-deny.
pub(crate) fn cargo_deny() -> Result<Command> {
    let folder = folder("cargo-deny", CARGO_DENY)?;
    let program = folder.join("bin/cargo-deny");
    if !program.exists() {
        let mut install = shell::cargo(&["install", "--locked", "cargo-deny", "--version", CARGO_DENY]);
        // Its intermediate files would otherwise mix with the project's.
        let build = folder.join("build");
        shell::run(install.arg("--root").arg(&folder).arg("--target-dir").arg(&build))?;
        std::fs::remove_dir_all(&build).context("removing intermediate files")?;
    }
    Ok(Command::new(program))
}

/// typos.
pub(crate) fn typos() -> Result<Command> {
    Ok(Command::new(from_pypi(("typos", TYPOS), "typos", &[&format!("typos=={TYPOS}")])?))
}

/// schemathesis, with all that it needs.
pub(crate) fn schemathesis() -> Result<PathBuf> {
    from_pypi(("schemathesis", SCHEMATHESIS), "st", &["--requirement", "tests/schemathesis.txt"])
}

/// The Redfish service of sushy-tools, with all that it needs.
pub(crate) fn sushy_emulator() -> Result<PathBuf> {
    let what = ["--requirement", "tests/sushy-tools.txt"];
    from_pypi(("sushy-tools", SUSHY_TOOLS), "sushy-emulator", &what)
}

/// A Python with Prometheus' library.
pub(crate) fn prometheus_client() -> Result<PathBuf> {
    let what = format!("prometheus-client=={PROMETHEUS_CLIENT}");
    from_pypi(("prometheus-client", PROMETHEUS_CLIENT), "python", &[&what])
}

/// A program from PyPI, in an environment of its own.
fn from_pypi((tool, version): (&str, &str), program: &str, what: &[&str]) -> Result<PathBuf> {
    let folder = folder(tool, version)?;
    let program = folder.join("bin").join(program);
    if !program.exists() {
        shell::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        let mut pip = Command::new(folder.join("bin/pip"));
        let installed =
            shell::run(pip.args(["install", "--quiet", "--disable-pip-version-check"]).args(what));
        // Half of it would be taken for all of it the next time.
        installed.or_else(|error| std::fs::remove_dir_all(&folder).map_err(Into::into).and(Err(error)))?;
    }
    Ok(program)
}

fn folder(tool: &str, version: &str) -> Result<PathBuf> {
    let home = std::env::var_os("HOME").context("HOME is not set")?;
    let cache =
        std::env::var_os("XDG_CACHE_HOME").map_or_else(|| PathBuf::from(home).join(".cache"), PathBuf::from);
    Ok(cache.join("sysclone-tools").join(format!("{tool}-{version}")))
}
