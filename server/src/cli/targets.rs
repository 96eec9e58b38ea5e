//! From what was typed as a noderange to the nodes that the daemon knows.

use super::client::{Client, Refused};
use super::console::{Console, Usage};
use crate::noderange::{Range, RangeError};
use crate::wire::{RangeReply, RangeRequest};

/// Most names that go into one URL. A URL may have 64 KiB (the `http` crate's limit); names are up to 253 bytes.
const NAMES_PER_CALL: usize = 200;

/// Has the daemon evaluate a noderange. Files that it names are read here, with the rights of who typed it.
pub(super) async fn evaluate(client: &Client, text: &str) -> anyhow::Result<RangeReply> {
    asked(client, text, false).await
}

/// The same with the nodes that the site's `excludenodes` hides, for verbs that change definitions.
pub(super) async fn evaluate_with_hidden(client: &Client, text: &str) -> anyhow::Result<RangeReply> {
    asked(client, text, true).await
}

async fn asked(client: &Client, text: &str, hidden: bool) -> anyhow::Result<RangeReply> {
    let range = text
        .parse::<Range>()
        .and_then(|range| range.with_files(&mut |path| std::fs::read_to_string(path)))
        .map_err(|error| match error {
            RangeError::Unreadable { .. } => anyhow::Error::from(error),
            other => Usage(other.to_string()).into(),
        })?;
    let reply = client.post("/api/v1/noderange", &RangeRequest { range: range.to_string(), hidden }).await;
    reply.map_err(|error| if error.is::<Refused>() { Usage(error.to_string()).into() } else { error })
}

/// The known nodes of a range, after saying which names nobody has. The flag tells whether there were such names.
///
/// # Errors
/// The range names no node at all.
pub(super) async fn known(
    client: &Client,
    text: &str,
    console: &mut Console,
) -> anyhow::Result<(Vec<String>, bool)> {
    let RangeReply { nodes, unknown } = evaluate(client, text).await?;
    if !unknown.is_empty() {
        console.error(&format!("Invalid nodes and/or groups in noderange: {}", unknown.join(",")))?;
    } else if nodes.is_empty() {
        console.error(&format!("No node in '{text}', check the noderange syntax."))?;
    }
    let missed = !unknown.is_empty() || nodes.is_empty();
    Ok((nodes, missed))
}

/// Cuts names into lists that fit into one URL each.
pub(super) fn batches(names: &[String]) -> impl Iterator<Item = String> {
    names.chunks(NAMES_PER_CALL).map(|batch| super::client::query_value(&batch.join(",")))
}
