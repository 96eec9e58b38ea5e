//! `rpower` and `rsetboot` as streams of lines, one for each node as it is done.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::response::Response;
use tokio::sync::mpsc;

use super::agent::body;
use super::error::ApiError;
use super::events::lines;
use super::user::Actor;
use crate::app::App;
use crate::power::{Asked, record_request, run};
use crate::wire::power::{NodeAnswer, PowerRequest};

/// Lines between the work and its reader.
const WAITING: usize = 64;

/// `POST power`.
pub(super) async fn power(
    State(app): State<Arc<App>>,
    actor: Actor,
    request: Result<Json<PowerRequest>, JsonRejection>,
) -> Result<Response, ApiError> {
    let PowerRequest { nodes, task, limits } = body(request)?;
    let asked = Asked { nodes, task, limits, actor: actor.0 };
    record_request(&app, &asked).await?;
    let owned = Arc::clone(&app);
    Ok(streamed(&app, |answers| async move { run(&owned, &asked, answers).await }))
}

/// Starts work whose answers become the lines of a response. When the reader goes, the work learns it from its
/// channel and ends itself.
pub(super) fn streamed<F>(app: &Arc<App>, work: impl FnOnce(mpsc::Sender<NodeAnswer>) -> F) -> Response
where
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
