//! Everything that is shipped: the server's programs, the static agent, and what machines boot.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use sysclone_tests::site::Programs;

use crate::shell;

/// The agent runs on every Linux of its architecture, so it is linked without any library.
const AGENT_TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds all and says where it is.
pub(crate) fn run() -> Result<Programs> {
    let release = ["build", "--release", "--locked"];
    let mut server = shell::cargo(&release);
    shell::run(server.args(["--package", "sysclone-server", "--package", "sysclone-image-builder"]))?;
    let mut agent = shell::cargo(&release);
    agent.args(["--package", "sysclone-agent", "--target", AGENT_TARGET]);
    shell::run(agent.env("RUSTFLAGS", "-C target-feature=+crt-static"))?;
    let programs = Programs { bin: shell::target_dir().join("release"), boot: shell::lab_dir().join("boot") };
    let agent = shell::target_dir().join(AGENT_TARGET).join("release/sysclone-agent");
    image(&programs, &agent).context("building what machines boot")?;
    Ok(programs)
}

fn image(programs: &Programs, agent: &Path) -> Result<()> {
    std::fs::create_dir_all(shell::lab_dir()).context("creating the lab's folder")?;
    let mut builder = Command::new(programs.bin.join("sysclone-image-builder"));
    builder.arg("build").arg("--agent").arg(agent).arg("--out").arg(&programs.boot);
    shell::run(builder.arg("--cache").arg(cache_dir().join("boot-packages")))
}

/// What is slow to make and stays the same between runs.
pub(crate) fn cache_dir() -> std::path::PathBuf {
    std::env::var_os("SYSCLONE_LAB_CACHE")
        .map_or_else(|| shell::lab_dir().join("cache"), |dir| shell::root().join(dir))
}
