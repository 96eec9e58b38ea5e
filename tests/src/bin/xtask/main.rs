//! The project's own commands: `cargo xtask --help`.

mod arch;
mod bench;
mod build;
mod demo;
mod power;
mod power_big;
mod power_std;
mod power_tree;
mod setup;
mod shell;
mod test;
mod tools;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use sysclone_tests::golden;

/// Sets up, builds, demonstrates and tests sysclone. Everything made goes to target/.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
enum Task {
    /// Install the Debian packages that the build and the lab need, and check the host (root).
    Setup,
    /// Build the server, the static agents, and the kernel and initrd that machines boot.
    Build(build::Options),
    /// Clone a running machine onto a blank one in the lab, and show it.
    Demo(demo::Options),
    /// Set up, lint and run all tests, the end-to-end suite included; or the engine's on other architectures.
    Test(test::Options),
    /// Run the end-to-end suite only.
    E2e,
    /// Measure sysclone against its rivals (docs/benchmarks.md).
    #[command(disable_help_flag = true)]
    Bench(bench::Options),
    /// Make the golden client (started by the others in a mount namespace of its own).
    #[command(hide = true)]
    GoldenBuild {
        /// Which one.
        kind: golden::Kind,
        /// Where to put it.
        folder: PathBuf,
        /// Where downloaded packages are kept.
        debs: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Task::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Setup => setup::run(),
        Task::Build(options) => build::run(&options).map(drop),
        Task::Demo(options) => demo::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::E2e => test::e2e(),
        Task::GoldenBuild { kind, folder, debs } => golden::build(kind, &folder, &debs),
    }
}
