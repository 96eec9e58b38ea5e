//! Answers that are streams of JSON documents, one per line.

use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use crate::app::App;

/// Lines that wait for a slow reader.
const WAITING: usize = 64;

/// An answer of lines, each of which is a `T`.
pub(super) struct Stream<T>(Response, PhantomData<fn() -> T>);

impl<T> IntoResponse for Stream<T> {
    fn into_response(self) -> Response {
        self.0
    }
}

/// Where lines of JSON go.
struct Lines<T>(mpsc::Sender<io::Result<Bytes>>, PhantomData<fn(T)>);

impl<T: Serialize> Lines<T> {
    /// Sends one value as a line; answers whether somebody still reads.
    async fn send(&self, value: &T) -> bool {
        let mut line = serde_json::to_vec(value).expect("wire types have text keys only and always encode");
        line.push(b'\n');
        self.0.send(Ok(line.into())).await.is_ok()
    }
}

/// A stream of lines, and the answer that carries it.
fn lines<T>() -> (Lines<T>, Stream<T>) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let body = Body::from_stream(ReceiverStream::new(receiver));
    let response = ([(CONTENT_TYPE, "application/jsonl")], body).into_response();
    (Lines(sender, PhantomData), Stream(response, PhantomData))
}

/// Starts work whose answers become the lines of a response. When the reader goes, the work learns it from its
/// channel and ends itself.
pub(super) fn streamed<T, F>(app: &Arc<App>, work: impl FnOnce(mpsc::Sender<T>) -> F) -> Stream<T>
where
    T: Serialize + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (lines, response) = lines();
    let (answers, mut received) = mpsc::channel(WAITING);
    app.tasks.spawn(work(answers));
    app.tasks.spawn(async move {
        loop {
            tokio::select! {
                answer = received.recv() => match answer {
                    Some(answer) if lines.send(&answer).await => {}
                    Some(_) | None => return,
                },
                () = lines.0.closed() => return,
            }
        }
    });
    response
}
