//! events.

use std::collections::BTreeSet;
use std::time::Duration;

use super::args::Events;
use super::client::{Client, query_value};
use super::console::{Closed, Console, Exit};
use super::targets;
use crate::wire::EventRecord;

/// Most nodes whose names are sent as a filter. With more, all events are fetched and chosen here, because the names
/// have to fit into one URL.
const MAX_FILTER: usize = 200;

/// How long to wait before asking a daemon again that ended while it was followed; a restart takes about that long.
const RETRY: Duration = Duration::from_secs(2);

/// Prints the event log.
pub(super) async fn run(args: &Events, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&args.common.socket);
    let (nodes, missed) = match &args.noderange {
        None => (Vec::new(), false),
        Some(range) => match targets::known(&client, range, console).await? {
            (nodes, missed) if nodes.is_empty() => return Ok(Exit::failed_if(missed)),
            (nodes, missed) => (nodes, missed),
        },
    };
    let mut after = args.after;
    print(&client, args, &nodes, (&mut after, console)).await?;
    if !args.follow {
        return Ok(Exit::failed_if(missed));
    }
    loop {
        tokio::time::sleep(RETRY).await;
        match print(&client, args, &nodes, (&mut after, console)).await {
            Err(error) if error.is::<Closed>() => return Err(error),
            Err(error) => console.note(&format!("Warning: {error:#}; trying again\n"))?,
            Ok(()) => {}
        }
    }
}

/// Prints one stream of events to its end, and moves `after` on, so that no event is printed twice.
async fn print(
    client: &Client,
    args: &Events,
    nodes: &[String],
    (after, console): (&mut i64, &mut Console),
) -> anyhow::Result<()> {
    let mut path = format!("/api/v1/events?after={after}&follow={}", args.follow);
    if !nodes.is_empty() && nodes.len() <= MAX_FILTER {
        path.push_str(&format!("&nodes={}", query_value(&nodes.join(","))));
    }
    let chosen: BTreeSet<&str> = nodes.iter().map(String::as_str).collect();
    let wanted = |event: &EventRecord| {
        chosen.is_empty() || event.node.as_deref().is_some_and(|node| chosen.contains(node))
    };
    let mut events = client.get_lines::<EventRecord>(&path).await?;
    while let Some(event) = events.next().await? {
        *after = event.id;
        if !wanted(&event) {
            continue;
        }
        console.line(&if args.common.json { serde_json::to_string(&event)? } else { said(&event) })?;
    }
    Ok(())
}

/// `2026-01-02T03:04:05Z n1 node-armed: demo@3 at the next network boot (admin:root)`.
fn said(event: &EventRecord) -> String {
    let EventRecord { at, node, actor, kind, text, .. } = event;
    format!("{at} {} {kind}: {text} ({actor})", node.as_deref().unwrap_or("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line() {
        let event = EventRecord {
            id: 7,
            at: "2026-01-02T03:04:05Z".into(),
            node: None,
            actor: "dhcp".into(),
            kind: "dhcp-refused".into(),
            text: "52:54:00:00:00:09 belongs to no node".into(),
        };
        assert_eq!(
            said(&event),
            "2026-01-02T03:04:05Z - dhcp-refused: 52:54:00:00:00:09 belongs to no node (dhcp)"
        );
    }
}
