//! Entry point: chooses the role.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sysclone_agent::{capture, init, install, report, tools, update};

/// The part of sysclone that runs away from the server. As process 1 of the initrd it installs the machine.
#[derive(Debug, Parser)]
#[command(name = "sysclone-agent", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    /// Be process 1: mount kernel file systems, run the installation, hold the machine when it fails.
    #[arg(long)]
    init: bool,
    /// Log every command and decision.
    #[arg(long, global = true)]
    debug: bool,
    #[command(subcommand)]
    role: Option<Role>,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// Install this machine as its kernel command line says. Erases disks; started by process 1.
    Install,
    /// Capture this machine. The order comes on standard input as JSON; progress goes to standard output as JSON
    /// lines.
    Capture,
    /// Clean up behind a capture that was killed; started by it.
    #[command(hide = true)]
    CaptureCleanup {
        /// The image that was being captured.
        image: String,
    },
    /// Tell the server once that this clone runs from its own disk.
    Report {
        /// Show which image generation this clone is of, and report nothing.
        #[arg(long)]
        show: bool,
    },
    /// Make this running clone like a newer generation of its image, or show what that would do.
    Update(update::Arguments),
    /// Print every program that the agent needs in the initrd, one per line.
    Tools,
}

fn main() -> ExitCode {
    // The kernel passes words of its command line that it does not know to process 1; they are not for us.
    if std::process::id() == 1 {
        init::run_init();
    }
    let name = std::env::args_os().next().map(std::path::PathBuf::from);
    if name.is_some_and(|name| name.file_name().is_some_and(|name| name == "si_updateclient")) {
        return update::run(false, &update::SiUpdateclient::parse().into());
    }
    let arguments = Arguments::parse();
    if arguments.init {
        init::run_init();
    }
    match arguments.role {
        Some(Role::Install) => install::run(arguments.debug),
        Some(Role::Capture) => capture::run(arguments.debug),
        Some(Role::CaptureCleanup { image }) => capture::run_cleanup(&image),
        Some(Role::Report { show: true }) => report::show(),
        Some(Role::Report { show: false }) => report::run(arguments.debug),
        Some(Role::Update(options)) => update::run(arguments.debug, &options),
        Some(Role::Tools) => {
            for tool in tools::required() {
                println!("{}", tool.0);
            }
            ExitCode::SUCCESS
        }
        None => {
            eprintln!("sysclone-agent: no role given; try --help");
            ExitCode::from(2)
        }
    }
}
