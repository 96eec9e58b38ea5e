//! The benchmarks: builds what is measured and starts the script that measures. Not part of the tests.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::shell;

/// Words for the script.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Passed on to tests/bench/bench.py; --help lists them.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    ensure!(rustix::process::geteuid().is_root(), "the benchmarks mount file systems: run them as root");
    let release = |words: &[&str]| shell::run(shell::cargo(&["build", "--release", "--locked"]).args(words));
    release(&["--package", "sysclone-server", "--bins"])?;
    release(&["--package", "sysclone-agent", "--example", "bench_worker"])?;
    let (programs, work) = (shell::target_dir().join("release"), shell::lab_dir().join("bench"));
    std::fs::create_dir_all(shell::lab_dir()).context("creating the lab's folder")?;
    let mut script = Command::new("python3");
    script.arg("-B").arg("tests/bench/bench.py").arg("--programs").arg(programs).arg("--work").arg(work);
    shell::run(script.args(&options.words))
}
