//! The event log as lines of JSON, to its present end or on and on, and as server-sent events, which go on always.

use std::io;
use std::sync::Arc;

use axum::extract::State;
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::admin::{about, names};
use super::error::ApiError;
use super::event_stream::{EventStream, Form, KEEP_ALIVE, KEEP_ALIVE_TIME, Reader, event_stream};
use super::extract::Query;
use super::permit::{Act, permit};
use super::user::Actor;
use crate::app::App;
use crate::db::DbError;
use crate::wire::ObjectType;

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
    actor: Actor,
    reader: Reader,
    Query(query): Query<EventsQuery>,
) -> Result<EventStream, ApiError> {
    let nodes = names(query.nodes.as_deref());
    permit(&app, &actor, Act::read(&["events", "watch"], about(ObjectType::Node, nodes.as_deref()))).await?;
    let (sender, stream) = event_stream(reader.form);
    let wanted = Wanted {
        after: reader.last.unwrap_or(query.after),
        nodes,
        follow: query.follow || reader.form == Form::ServerSent,
        form: reader.form,
    };
    let owned = Arc::clone(&app);
    app.tasks.spawn(async move {
        tokio::select! {
            sent = send_events(&owned, wanted, &sender) => if let Err(error) = sent {
                tracing::error!(%error, "an event stream ended early");
                let broken = io::Error::other("the event log cannot be read");
                // When the reader has gone too, there is nobody to tell.
                let _ = sender.send(Err(broken)).await;
            },
            // Also when the reader holds still and there is no room for more.
            () = owned.cancel.cancelled() => {}
        }
    });
    Ok(stream)
}

struct Wanted {
    after: i64,
    nodes: Option<Vec<String>>,
    follow: bool,
    form: Form,
}

async fn send_events(
    app: &App,
    mut wanted: Wanted,
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), DbError> {
    let mut newest = app.db.watch_events();
    loop {
        newest.mark_unchanged();
        let batch = app.db.events(wanted.after, wanted.nodes.as_deref(), BATCH).await?;
        let full = batch.len() == BATCH as usize;
        for event in batch {
            wanted.after = event.id;
            if sender.send(Ok(wanted.form.encode(&event))).await.is_err() {
                return Ok(());
            }
        }
        if full {
            continue;
        }
        if !wanted.follow {
            return Ok(());
        }
        tokio::select! {
            changed = newest.changed() => if changed.is_err() { return Ok(()) },
            () = sender.closed() => return Ok(()),
            () = tokio::time::sleep(KEEP_ALIVE_TIME), if wanted.form == Form::ServerSent => {
                if sender.send(Ok(KEEP_ALIVE)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}
