//! The event log as lines of JSON, to its present end or on and on.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;

use super::admin::names;
use super::error::ApiError;
use super::extract::Query;
use super::stream::{Lines, Stream, lines};
use super::user::Actor;
use crate::app::App;
use crate::db::DbError;
use crate::wire::EventRecord;

/// Events read from the database at a time.
const BATCH: u32 = 500;

#[derive(Deserialize, JsonSchema)]
pub(super) struct EventsQuery {
    /// Only events with higher numbers than this.
    #[serde(default)]
    after: i64,
    /// Only events of these nodes, names with commas between.
    nodes: Option<String>,
    /// Whether the stream goes on with events as they happen.
    #[serde(default)]
    follow: bool,
}

/// `GET events`.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    _actor: Actor,
    Query(query): Query<EventsQuery>,
) -> Result<Stream<EventRecord>, ApiError> {
    let (lines, stream) = lines();
    let owned = Arc::clone(&app);
    app.tasks.spawn(async move {
        if let Err(error) = send_events(&owned, &query, &lines).await {
            tracing::error!(%error, "an event stream ended early");
            let broken = io::Error::other("the event log cannot be read");
            // When the reader has gone too, there is nobody to tell.
            let _ = lines.0.send(Err(broken)).await;
        }
    });
    Ok(stream)
}

async fn send_events(app: &App, query: &EventsQuery, lines: &Lines<EventRecord>) -> Result<(), DbError> {
    let mut newest = app.db.watch_events();
    let nodes = names(query.nodes.as_deref());
    let mut after = query.after;
    loop {
        newest.mark_unchanged();
        let batch = app.db.events(after, nodes.as_deref(), BATCH).await?;
        let full = batch.len() == BATCH as usize;
        for event in batch {
            after = event.id;
            if !lines.send(&event).await {
                return Ok(());
            }
        }
        if full {
            continue;
        }
        if !query.follow {
            return Ok(());
        }
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { return Ok(()) },
            () = lines.0.closed() => return Ok(()),
            () = app.cancel.cancelled() => return Ok(()),
        }
    }
}
