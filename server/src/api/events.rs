//! The event log as lines of JSON, to its present end or on and on.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::admin::names;
use super::error::ApiError;
use super::extract::Query;
use super::user::Actor;
use crate::app::App;
use crate::db::DbError;

/// Events read from the database at a time.
const BATCH: u32 = 500;
/// Lines that wait for a slow reader.
const WAITING: usize = 64;

#[derive(Deserialize)]
pub(super) struct EventsQuery {
    #[serde(default)]
    after: i64,
    nodes: Option<String>,
    #[serde(default)]
    follow: bool,
}

/// `GET events`.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    _actor: Actor,
    Query(query): Query<EventsQuery>,
) -> Result<Response, ApiError> {
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

async fn send_events(app: &App, query: &EventsQuery, lines: &Lines) -> Result<(), DbError> {
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

/// Where lines of JSON go.
pub(super) struct Lines(pub(super) mpsc::Sender<io::Result<Bytes>>);

impl Lines {
    /// Sends one value as a line; answers whether somebody still reads.
    pub(super) async fn send(&self, value: &impl Serialize) -> bool {
        let mut line = serde_json::to_vec(value).expect("wire types have text keys only and always encode");
        line.push(b'\n');
        self.0.send(Ok(line.into())).await.is_ok()
    }
}

/// A stream of lines, and the answer that carries it.
pub(super) fn lines() -> (Lines, Response) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let body = Body::from_stream(ReceiverStream::new(receiver));
    (Lines(sender), ([(CONTENT_TYPE, "application/jsonl")], body).into_response())
}
