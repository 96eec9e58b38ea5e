//! probe: whether the server's side is ready for deployments.

use clap::Args;

use super::args::Common;
use super::client::Client;
use super::console::{Console, Exit};
use crate::wire::probe::{Check, Verdict};

pub(super) const EXAMPLES: &str = "\
Examples:
  sysclone probe
  sysclone probe --json";

/// Options of probe.
#[derive(Debug, Args)]
pub(super) struct Probe {
    #[command(flatten)]
    pub(super) common: Common,
}

/// Shows what was looked at; fails when deployments would.
pub(super) async fn run(args: &Probe, console: &mut Console) -> anyhow::Result<Exit> {
    let checks: Vec<Check> = Client::new(&args.common.socket).get("/api/v1/probe").await?;
    if args.common.json {
        console.json(&checks)?;
    } else {
        for check in &checks {
            console.line(&said(check))?;
        }
    }
    Ok(Exit::failed_if(checks.iter().any(|check| check.verdict == Verdict::Failed)))
}

fn said(check: &Check) -> String {
    let verdict = match check.verdict {
        Verdict::Good => "ok",
        Verdict::Warning => "warning",
        Verdict::Failed => "FAILED",
    };
    let advice = check.advice.as_ref().map(|advice| format!("\n         to do: {advice}"));
    format!("{verdict:<8} {}: {}{}", check.subject, check.found, advice.unwrap_or_default())
}
