//! The update role: a running clone becomes like a newer generation of its image, and back.
//!
//! `updatenode -S` starts it by ssh with an order on standard input. With options it asks the server for an order by
//! itself, with the token that the clone got when it reported its first boot. At boot it finishes what a power cut
//! interrupted.

mod boot;
mod diff;
mod fallback;
mod hints;
mod lines;
mod lock;
mod state;
mod text;
mod work;

pub use state::{DIRECTORY, UpdateConfig, Which, install_catch_up};

use std::process::ExitCode;

use clap::Args;
use serde::Deserialize as _;
use sysclone_protocol::update::{UpdateAction, UpdateOrder};

use crate::console::{Place, start_logging};
use crate::failure::describe;
use lines::Output;

/// Without options, an order as JSON is read from standard input.
#[derive(Debug, Clone, Default, Args)]
#[command(after_help = "\
Examples:
  sysclone-agent update --dry-run               what an update from the server would do
  sysclone-agent update --explain /etc/fstab    which rule decides about a path
  sysclone-agent update --rollback              back to before the last update, without the server
  sysclone-agent update --recover               finish an update that was interrupted")]
pub struct Arguments {
    /// Show what would be done, and do nothing
    #[arg(long, group = "what")]
    dry_run: bool,
    /// Update this machine; the server must allow it (updatepull=yes)
    #[arg(long, group = "what")]
    apply: bool,
    /// List what is not as in the generation that this machine has
    #[arg(long, group = "what")]
    verify: bool,
    /// Put back what the last update replaced; needs no server
    #[arg(long, group = "what")]
    rollback: bool,
    /// Finish what was interrupted; needs no server
    #[arg(long, group = "what")]
    recover: bool,
    /// As --apply, and no failure when the server does not allow it; started at every boot
    #[arg(long, group = "what")]
    catch_up: bool,
    /// Say which rule decides about this path
    #[arg(long, group = "what", value_name = "PATH")]
    explain: Option<String>,
    /// Print JSON lines
    #[arg(long)]
    json: bool,
}

/// SystemImager's `si_updateclient`, as far as `--dry-run` and an update go.
#[derive(Debug, clap::Parser)]
#[command(
    name = "si_updateclient",
    about = "Updates this clone from its image: sysclone-agent update by its old name"
)]
pub struct SiUpdateclient {
    /// Accepted, and must be this machine's server
    #[arg(long, value_name = "HOST")]
    server: Option<String>,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Accepted: nothing is asked
    #[arg(long)]
    yes: bool,
    /// Accepted: the boot loader is renewed only when its programs changed
    #[arg(long)]
    no_bootloader: bool,
}

impl From<SiUpdateclient> for Arguments {
    fn from(old: SiUpdateclient) -> Self {
        let SiUpdateclient { dry_run, server: _, yes: _, no_bootloader: _ } = old;
        Self { dry_run, apply: !dry_run, ..Self::default() }
    }
}

impl Arguments {
    /// What is asked for; none when an order comes on standard input.
    fn action(&self) -> Option<UpdateAction> {
        match self {
            Self { dry_run: true, .. } => Some(UpdateAction::Plan),
            Self { apply: true, .. } => Some(UpdateAction::Apply),
            Self { verify: true, .. } => Some(UpdateAction::Verify),
            Self { rollback: true, .. } => Some(UpdateAction::Rollback),
            Self { explain: Some(path), .. } => Some(UpdateAction::Explain { path: path.clone() }),
            Self { .. } => None,
        }
    }
}

/// Does what the options or the order say.
#[must_use]
pub fn run(debug: bool, arguments: &Arguments) -> ExitCode {
    start_logging(Place::Stderr, debug);
    let by_order = arguments.action().is_none() && !arguments.recover && !arguments.catch_up;
    let output = if by_order || arguments.json { Output::json() } else { Output::text() };
    let done = match arguments.action() {
        _ if arguments.recover => work::recover(&output),
        _ if arguments.catch_up => work::catch_up(&output),
        Some(UpdateAction::Rollback) => work::roll_back(&output),
        Some(action) => work::by_itself(action, &output),
        None => read_order().and_then(|order| work::by_order(&order, &output)),
    };
    match done {
        Ok(Some(report)) => {
            output.finished(report);
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            let failure = describe(&error);
            output.failed(failure.reason, state::words(&error));
            ExitCode::FAILURE
        }
    }
}

/// Reads one JSON document; what follows it is not waited for, because the connection stays open.
fn read_order() -> anyhow::Result<UpdateOrder> {
    use anyhow::Context as _;
    let mut documents = serde_json::Deserializer::from_reader(std::io::stdin());
    UpdateOrder::deserialize(&mut documents).context("reading the update's order from standard input")
}
