//! The daemon `syscloned`: options, log, signals. The work is in `sysclone_server::daemon`.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;
use sd_notify::NotifyState;
use sysclone_server::config::{Config, DEFAULT_PATH, SHIPPED, load_config};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// The sysclone boot server: DHCP, TFTP, HTTP, the agents' interface and the image store.
#[derive(Parser)]
#[command(name = "syscloned", version)]
struct Options {
    /// Configuration file.
    #[arg(long, default_value = DEFAULT_PATH, value_name = "FILE")]
    config: PathBuf,
    /// Print a commented configuration with all defaults, and end.
    #[arg(long)]
    print_config: bool,
    /// Check the configuration file, and end.
    #[arg(long)]
    check_config: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.print_config {
        print!("{SHIPPED}");
        return ExitCode::SUCCESS;
    }
    match start(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("syscloned: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(options: &Options) -> Result<()> {
    let config = load_config(&options.config)?;
    let filter = EnvFilter::try_new(&config.log)
        .with_context(|| format!("log in {}: '{}' is not a log filter", config.path.display(), config.log))?;
    if options.check_config {
        return Ok(());
    }
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<()> {
    let cancel = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let stop = cancel.clone();
    let signals = tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stop.cancelled() => {}
        }
        notify(NotifyState::Stopping);
        stop.cancel();
    });
    let outcome = sysclone_server::daemon::run(config, cancel.clone(), || notify(NotifyState::Ready)).await;
    cancel.cancel();
    signals.await.context("listening for signals")?;
    outcome
}

/// Does nothing where no service manager listens.
fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
