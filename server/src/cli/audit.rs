//! audit: who did what, and what policy denied.

use anyhow::Context as _;
use clap::Args;
use jiff::civil::Date;
use jiff::{Span, Timestamp, Zoned};

use super::args::Common;
use super::client::{Client, query_value};
use super::console::{Console, Exit};
use crate::wire::AuditRecord;

pub(super) const EXAMPLES: &str = "\
Examples:
  sysclone audit                         the newest 100 calls that changed something or were denied
  sysclone audit --since 2h --user anna
  sysclone audit --since 2026-11-01 --command nodeset -n 1000
  sysclone audit --denied --json

Calls are kept for ever; a call takes about 200 bytes of the database.";

/// Options of audit.
#[derive(Debug, Args)]
pub(super) struct Audit {
    /// Only calls since then: 30m, 2h, 3d, a date, or a time as RFC 3339 writes it
    #[arg(long, value_name = "TIME", value_parser = parse_since)]
    since: Option<Timestamp>,
    /// Only calls of this account
    #[arg(long, value_name = "ACCOUNT")]
    user: Option<String>,
    /// Only calls of this verb; of verbs that do the same, the first is written down (chdef for nodech)
    #[arg(long, value_name = "VERB")]
    command: Option<String>,
    /// Only calls that policy denied
    #[arg(long)]
    denied: bool,
    /// The newest so many
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 100)]
    limit: u32,
    #[command(flatten)]
    pub(super) common: Common,
}

fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let now = Zoned::now();
    if let Ok(date) = text.parse::<Date>() {
        return date
            .to_zoned(now.time_zone().clone())
            .map(|zoned| zoned.timestamp())
            .map_err(|e| e.to_string());
    }
    let ago: Span = text.parse().map_err(|_| "30m, 2h, 3d, 2026-11-01 or 2026-11-01T08:00:00Z".to_owned())?;
    now.checked_sub(ago).map(|zoned| zoned.timestamp()).map_err(|error| error.to_string())
}

/// Prints the audit log.
pub(super) async fn run(args: &Audit, console: &mut Console) -> anyhow::Result<Exit> {
    let mut path = format!("/api/v1/audit?limit={}&denied={}", args.limit, args.denied);
    let since = args.since.map(|since| since.to_string());
    for (key, value) in [("since", &since), ("user", &args.user), ("command", &args.command)] {
        if let Some(value) = value {
            path.push_str(&format!("&{key}={}", query_value(value)));
        }
    }
    let calls: Vec<AuditRecord> =
        Client::new(&args.common.socket).get(&path).await.context("reading the audit log")?;
    if args.common.json {
        console.json(&calls)?;
    } else {
        for call in &calls {
            console.line(&said(call))?;
        }
    }
    Ok(Exit::Done)
}

/// `2026-01-02T03:04:05.000Z admin:anna nodeset n1,n2 osimage=demo (allowed by rule 5; 1 done, 1 failed)`.
fn said(call: &AuditRecord) -> String {
    let mut text = format!("{} {} {}", call.at, call.actor, call.command);
    for word in [&call.targets, &call.parameters] {
        if !word.is_empty() {
            text.push(' ');
            text.push_str(word);
        }
    }
    let by = match (call.allowed, &call.rule) {
        (true, None) => String::new(),
        (true, Some(rule)) => format!("allowed by rule {rule}"),
        (false, None) => "DENIED, no rule allows it".to_owned(),
        (false, Some(rule)) => format!("DENIED by rule {rule}"),
    };
    let done = match (call.done, call.failed) {
        (Some(done), Some(0)) => format!("{done} done"),
        (Some(done), Some(failed)) => format!("{done} done, {failed} failed"),
        _ => String::new(),
    };
    let about: Vec<&str> =
        [&by, &done].into_iter().filter(|part| !part.is_empty()).map(String::as_str).collect();
    if !about.is_empty() {
        text.push_str(&format!(" ({})", about.join("; ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_several_ways() {
        for good in ["30m", "2h", "3d", "2026-11-01", "2026-11-01T08:00:00Z", "2026-11-01T08:00:00+01:00"] {
            assert!(
                parse_since(good).is_ok_and(|time| time < Timestamp::now()) || good.starts_with("2026"),
                "{good}"
            );
        }
        for bad in ["", "soon", "5", "2026-13-01"] {
            assert!(parse_since(bad).is_err(), "{bad}");
        }
    }
}
