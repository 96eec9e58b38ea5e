//! `sysclone-image-builder`: the administrator's command.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use sysclone_exec::System;
use sysclone_image_builder::arch::Arch;
use sysclone_image_builder::build::{self, Options};
use tracing_subscriber::EnvFilter;

const EXAMPLES: &str = "\
Examples:
  Kernel, programs and loaders from Debian's packages:
    sysclone-image-builder build --agent target/release/sysclone-agent --out /usr/lib/sysclone/boot
  A kernel of your own, one more driver, and firmware for NICs that need it:
    sysclone-image-builder build --agent sysclone-agent --out boot --kernel /boot/vmlinuz-6.12.1 \\
      --modules /lib/modules/6.12.1 --module qed --firmware /lib/firmware
  For POWER:
    sysclone-image-builder build --arch ppc64le --agent sysclone-agent.ppc64le --out boot";

/// Builds the kernel, initrd and network boot loaders that machines start from. The same inputs give the same bytes.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Build for one architecture and publish the boot directory in one step.
    #[command(after_help = EXAMPLES)]
    Build(Build),
}

#[derive(Args)]
struct Build {
    /// Architecture of the machines that will boot.
    #[arg(long, value_enum, default_value_t = Arch::X86_64)]
    arch: Arch,
    /// The agent: a static program for that architecture; becomes /init.
    #[arg(long, value_name = "FILE")]
    agent: PathBuf,
    /// The directory to make or replace (`boot_dir` of the server). Other architectures in it stay.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Kernel file instead of Debian's newest.
    #[arg(long, value_name = "FILE", requires = "modules")]
    kernel: Option<PathBuf>,
    /// That kernel's modules (`…/lib/modules/<release>`).
    #[arg(long, value_name = "DIR", requires = "kernel")]
    modules: Option<PathBuf>,
    /// Take programs and libraries from this root directory instead of Debian's packages.
    #[arg(long, value_name = "DIR")]
    tree: Option<PathBuf>,
    /// Also include a module that is not on the list; may be given several times.
    #[arg(long = "module", value_name = "NAME")]
    extra_modules: Vec<String>,
    /// Include the firmware files that included modules name, from this directory.
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,
    /// Where downloaded packages are kept.
    #[arg(long, value_name = "DIR", default_value = "/var/cache/sysclone-image-builder")]
    cache: PathBuf,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .without_time()
        .init();
    let Action::Build(args) = Cli::parse().command;
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sysclone-image-builder: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Build) -> anyhow::Result<()> {
    let options = Options {
        arch: args.arch,
        agent: args.agent,
        out: args.out,
        cache: args.cache,
        kernel: args.kernel.zip(args.modules),
        tree: args.tree,
        firmware: args.firmware,
        extra_modules: args.extra_modules,
        loaders: true,
    };
    let report = build::run(&options, &System)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(())
}
