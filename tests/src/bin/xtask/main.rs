//! The project's own commands: `cargo xtask --help`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;
use sysclone_tests::golden;

/// Sets up, builds, demonstrates and tests sysclone.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", version)]
enum Task {
    /// Makes the golden client (started by the other tasks in a mount namespace of its own).
    #[command(hide = true)]
    GoldenBuild {
        /// Where to put it.
        folder: PathBuf,
        /// Where downloaded packages are kept.
        debs: PathBuf,
    },
    /// Makes the golden client, or finds it in the cache, and prints where it is.
    Golden { cache: PathBuf },
}

fn main() -> Result<()> {
    match Task::parse() {
        Task::GoldenBuild { folder, debs } => golden::build(&folder, &debs),
        Task::Golden { cache } => {
            let g = golden::Golden::prepare(&cache, &std::env::current_exe()?, |s| eprintln!("{s}"))?;
            println!("{}", g.disk().display());
            Ok(())
        }
    }
}
