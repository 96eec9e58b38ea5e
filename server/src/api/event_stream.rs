//! The two forms of the event log: lines of JSON, and server-sent events (HTML Living Standard, 9.2), which browsers
//! and many libraries resume by themselves.

use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::describe::{Answers, Asks, Operation};
use super::error::ApiError;
use crate::wire::EventRecord;

/// Events that wait for a slow reader.
const WAITING: usize = 64;
/// What is sent while nothing happens, so that either side learns when the other one has gone. Proxies end a
/// connection after half a minute or a minute of silence.
pub(super) const KEEP_ALIVE: Bytes = Bytes::from_static(b":\n\n");
/// How often.
pub(super) const KEEP_ALIVE_TIME: Duration = Duration::from_secs(15);

const SERVER_SENT: &str = "text/event-stream";
const LINES: &str = "application/jsonl";
const LAST_EVENT_ID: &str = "last-event-id";

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Lines,
    ServerSent,
}

impl Form {
    /// One event.
    pub(super) fn encode(self, event: &EventRecord) -> Bytes {
        // JSON has no line breaks of its own, so that it is one field of a server-sent event.
        let json = serde_json::to_string(event).expect("wire types have text keys only and always encode");
        match self {
            Self::Lines => format!("{json}\n").into(),
            Self::ServerSent => format!("id: {}\ndata: {json}\n\n", event.id).into(),
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Lines => LINES,
            Self::ServerSent => SERVER_SENT,
        }
    }
}

/// What the headers say of the reader.
pub(super) struct Reader {
    /// The form that it accepts.
    pub(super) form: Form,
    /// The last event that it has seen.
    pub(super) last: Option<i64>,
}

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        let header = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let accepts = header(ACCEPT.as_str()).unwrap_or_default().to_ascii_lowercase();
        let form = if accepts.contains(SERVER_SENT) { Form::ServerSent } else { Form::Lines };
        let last = header(LAST_EVENT_ID).filter(|text| !text.is_empty()).map(str::parse).transpose();
        let last = last.map_err(|_| ApiError::invalid("Last-Event-ID is not the number of an event"))?;
        Ok(Self { form, last })
    }
}

impl Asks for Reader {
    fn describe(operation: &mut Operation<'_>) {
        operation.parameter(json!({
            "name": "Last-Event-ID", "in": "header", "schema": { "type": "integer", "format": "int64" },
            "description": "Only events with higher numbers than this, whatever `after` says.",
        }));
    }
}

/// An answer of events.
pub(super) struct EventStream(Response);

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        self.0
    }
}

impl Answers for EventStream {
    fn describe(operation: &mut Operation<'_>) {
        let schema = operation.schema::<EventRecord>();
        let what = "Lines, each of which is one such document; or server-sent events, which go on always and have \
                    it as data and its number as id.";
        let events = json!({ LINES: { "schema": schema }, SERVER_SENT: { "schema": { "type": "string" } } });
        operation.answer(what, events);
    }
}

/// A stream of this form, and where its pieces go.
pub(super) fn event_stream(form: Form) -> (mpsc::Sender<io::Result<Bytes>>, EventStream) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let body = Body::from_stream(ReceiverStream::new(receiver));
    let headers = [(CONTENT_TYPE, form.media_type()), (CACHE_CONTROL, "no-store")];
    (sender, EventStream((headers, body).into_response()))
}
