//! `sysclone-image-builder`: the administrator's command.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use sysclone_exec::System;
use sysclone_image_builder::arch::Arch;
use sysclone_image_builder::build::{self, Options};
use sysclone_image_builder::other_kernel;
use sysclone_image_builder::report::Report;
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

const OTHER_KERNEL_EXAMPLES: &str = "\
Examples:
  `sysclone image boot-files` does this with the kernel of a captured image. By hand:
    sysclone-image-builder other-kernel --out /usr/lib/sysclone/boot --name image/compute \\
      --kernel /boot/vmlinuz-5.10.0 --modules /lib/modules/5.10.0 --config /boot/config-5.10.0";

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
    /// Add another kernel to a boot directory: agent and programs as built before, kernel and modules as given.
    #[command(after_help = OTHER_KERNEL_EXAMPLES)]
    OtherKernel(OtherKernel),
}

#[derive(Args)]
struct OtherKernel {
    /// Architecture of the machines that will boot.
    #[arg(long, value_enum, default_value_t = Arch::X86_64)]
    arch: Arch,
    /// The boot directory, made by `build` for that architecture.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Folder in it for this kernel and its initrd.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// Kernel file.
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,
    /// That kernel's modules (`…/lib/modules/<release>`); the listed ones that it has are included.
    #[arg(long, value_name = "DIR")]
    modules: PathBuf,
    /// That kernel's configuration (`/boot/config-<release>`); without it the initrd is packed by gzip.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Include the firmware files that included modules name, from this directory.
    #[arg(long, value_name = "DIR")]
    firmware: Option<PathBuf>,
    /// Also include a module that is not on the list; may be given several times.
    #[arg(long = "module", value_name = "NAME")]
    extra_modules: Vec<String>,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
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
    /// Leave out listed modules and programs that are not there, instead of failing. Machines then work from memory
    /// only (nodeset shell, runcmd, standby), unless what is missing is not needed by their images.
    #[arg(long)]
    incomplete: bool,
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
    let done = match Cli::parse().command {
        Action::Build(args) => run(args),
        Action::OtherKernel(args) => run_other_kernel(args),
    };
    match done {
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
        incomplete: args.incomplete,
        loaders: true,
    };
    print(&build::run(&options, &System)?, args.json)
}

fn run_other_kernel(args: OtherKernel) -> anyhow::Result<()> {
    let options = other_kernel::Options {
        arch: args.arch,
        out: args.out,
        name: args.name,
        kernel: args.kernel,
        modules: args.modules,
        config: args.config,
        firmware: args.firmware,
        extra_modules: args.extra_modules,
    };
    print(&other_kernel::run(&options)?, args.json)
}

fn print(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else {
        print!("{}", report.table());
    }
    Ok(())
}
