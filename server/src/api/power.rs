//! `rpower` and `rsetboot` as streams of lines, one for each node as it is done.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tokio::sync::mpsc;

use super::error::ApiError;
use super::events::lines;
use super::extract::Body;
use super::user::Actor;
use crate::app::App;
use crate::deploy::nodeset;
use crate::power::{Asked, BootDevice, BootOrder, BootRequest, PowerAction, Task, record_request, run};
use crate::wire::power::{InstallRequest, NodeAnswer, PowerRequest, installs};
use crate::wire::{NodesetRequest, Outcome};

/// Lines between the work and its reader.
const WAITING: usize = 64;

/// `POST power`.
pub(super) async fn power(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<PowerRequest>,
) -> Result<Response, ApiError> {
    let PowerRequest { nodes, task, limits } = request;
    let asked = Asked { nodes, tasks: vec![task], limits, actor: actor.0 };
    record_request(&app, &asked).await?;
    let owned = Arc::clone(&app);
    Ok(streamed(&app, |answers| async move { run(&owned, &asked, answers).await }))
}

/// `POST rinstall`: nodeset for all in one transaction, then boot order and power of those that took it.
pub(super) async fn rinstall(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<InstallRequest>,
) -> Result<Response, ApiError> {
    let InstallRequest { nodes, state, uefi, limits } = request;
    if !installs(&state) {
        return Err(ApiError::invalid(format!("Unknown state {state} requested")));
    }
    let (owned, by) = (Arc::clone(&app), actor.0.clone());
    let request = NodesetRequest { nodes, state };
    let set = app.to_the_end(async move { nodeset(&owned, &request, &by).await }).await?;
    let nodes = set.iter().filter(|outcome| outcome.result.is_ok()).map(|o| o.name.clone()).collect();
    let order = BootOrder { device: BootDevice::Net, uefi, persistent: false };
    let tasks = vec![Task::Boot(BootRequest::Set(order)), Task::Power(PowerAction::Boot)];
    let asked = Asked { nodes, tasks, limits, actor: actor.0 };
    record_request(&app, &asked).await?;
    let owned = Arc::clone(&app);
    Ok(streamed(&app, |answers| async move {
        for Outcome { name, result } in set {
            // Whoever has gone is noticed by the work itself.
            let _ = answers.send(NodeAnswer { name, step: Some("nodeset".to_owned()), result }).await;
        }
        run(&owned, &asked, answers).await;
    }))
}

/// Starts work whose answers become the lines of a response. When the reader goes, the work learns it from its
/// channel and ends itself.
pub(super) fn streamed<T, F>(app: &Arc<App>, work: impl FnOnce(mpsc::Sender<T>) -> F) -> Response
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
