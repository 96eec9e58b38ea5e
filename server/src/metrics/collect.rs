//! Puts together what is asked for at one moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustix::fs::statvfs;

use super::text::Text;
use crate::app::App;
use crate::db::DbError;
use crate::deploy::statuses;

/// Every state a node can be in, so that a state without nodes is 0 and not absent.
const STATES: [&str; 11] = [
    "defined",
    "armed",
    "booting",
    "installing",
    "resuming",
    "finishing",
    "rebooting",
    "booted",
    "running",
    "done",
    "failed",
];
/// Those in which an agent works.
const RUNNING: [&str; 3] = ["installing", "finishing", "running"];

/// The metrics in Prometheus' text format.
///
/// # Errors
/// The database cannot be read.
pub async fn render(app: &Arc<App>) -> Result<String, DbError> {
    let mut text = Text::default();
    text.gauge(("build_info", "The running version."), "version", [(env!("CARGO_PKG_VERSION"), 1)]);
    let started = u64::try_from(app.counters.started.as_second()).unwrap_or_default();
    text.single(("start_time_seconds", "When the server started, since the epoch."), "gauge", started);
    work(app, &mut text).await?;
    let mut events = app.counters.events.lock().await;
    let (after, counts) = &mut *events;
    for (kind, count, last) in app.db.count_events(*after).await? {
        *counts.entry(kind).or_default() += count;
        *after = last.max(*after);
    }
    let counts = counts.iter().map(|(kind, count)| (kind.as_str(), *count));
    text.counter(("events_total", "Entries of the event log by kind."), "kind", counts);
    drop(events);
    traffic(app, &mut text);
    let owned = Arc::clone(app);
    let stored = tokio::task::spawn_blocking(move || stored(&owned)).await;
    // What cannot be found out is left out, and an alert on its absence says so.
    match stored.map_err(std::io::Error::other).flatten() {
        Ok((free, size)) => {
            let help = "Size of the file system that images are on.";
            text.single(("store_filesystem_size_bytes", help), "gauge", size);
            text.single(("store_filesystem_free_bytes", "Room that is left for images."), "gauge", free);
        }
        Err(error) => tracing::warn!(%error, "the room for images could not be found out"),
    }
    Ok(text.finish())
}

/// Nodes, deployments, captures, updates.
async fn work(app: &App, text: &mut Text) -> Result<(), DbError> {
    let mut nodes: BTreeMap<&str, u64> = STATES.into_iter().map(|state| (state, 0)).collect();
    let statuses = statuses(app, None).await?;
    for status in &statuses {
        *nodes.entry(&status.state).or_default() += 1;
    }
    let running = RUNNING.iter().filter_map(|state| nodes.get(state)).sum();
    text.gauge(("nodes", "Defined nodes by state."), "state", nodes);
    text.single(("deployments_running", "Nodes that an agent is installing."), "gauge", running);
    let captures = app.captures.running() as u64;
    text.single(("captures_running", "Golden clients being read."), "gauge", captures);
    let updates = app.updates.running() as u64;
    text.single(("updates_running", "Clones being compared or updated."), "gauge", updates);
    Ok(())
}

/// What the network services did.
fn traffic(app: &App, text: &mut Text) {
    let counters = &app.counters;
    let dhcp = counters.dhcp.now();
    let what = [
        ("received", dhcp.received),
        ("offer", dhcp.offers),
        ("ack", dhcp.acks),
        ("nak", dhcp.naks),
        ("bootp", dhcp.bootp_replies),
        ("boot-file", dhcp.boot_files),
        ("malformed", dhcp.malformed),
        ("unknown", dhcp.unknown),
        ("ignored", dhcp.ignored),
        ("error", dhcp.panics + dhcp.send_errors),
    ];
    text.counter(("dhcp_packets_total", "Packets that came, and what became of them."), "what", what);
    let transfers = [
        ("done", counters.tftp_done.now()),
        ("size-only", counters.tftp_size_only.now()),
        ("failed", counters.tftp_failed.now()),
    ];
    text.counter(("tftp_transfers_total", "TFTP requests by how they ended."), "outcome", transfers);
    let bytes = counters.tftp_bytes.now();
    text.single(("tftp_sent_bytes_total", "Bytes that TFTP clients acknowledged."), "counter", bytes);
    let answers = [
        ("boot", counters.boot_files.now()),
        ("pack", counters.packs.now()),
        ("refused", counters.refused.now()),
    ];
    text.counter(("http_answers_total", "Answers of plain HTTP by what they were."), "kind", answers);
    let bytes = counters.pack_bytes.now();
    text.single(("pack_sent_bytes_total", "Bytes of packs sent, whole answers only."), "counter", bytes);
}

/// Bytes that are free where images are, and all there are.
fn stored(app: &App) -> std::io::Result<(u64, u64)> {
    let found = statvfs(app.config.store_dir())?;
    Ok((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
}
