//! `rpower` and `rsetboot` as streams of lines, one for each node as it is done.

use std::sync::Arc;

use axum::extract::State;

use super::error::ApiError;
use super::extract::Body;
use super::permit::{Act, permit};
use super::stream::{Stream, streamed};
use super::user::Actor;
use crate::app::App;
use crate::deploy::nodeset;
use crate::policy::About;
use crate::power::{Asked, BootDevice, BootOrder, BootRequest, PowerAction, Task, record_request, run};
use crate::wire::power::{InstallRequest, NetbootRequest, NodeAnswer, PowerRequest, installs};
use crate::wire::{NodesetRequest, Outcome};

/// `POST power`.
pub(super) async fn power(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<PowerRequest>,
) -> Result<Stream<NodeAnswer>, ApiError> {
    let PowerRequest { nodes, task, limits } = request;
    permit(&app, &actor, power_act(task, &nodes)).await?;
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
) -> Result<Stream<NodeAnswer>, ApiError> {
    let InstallRequest { nodes, state, uefi, limits } = request;
    if !installs(&state) {
        return Err(ApiError::invalid(format!("Unknown state {state} requested")));
    }
    permit(&app, &actor, Act::write(&["rinstall"], &state, About::Nodes(&nodes))).await?;
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

/// `POST rnetboot`: boot order and power of the nodes that have something to do at a network boot.
pub(super) async fn rnetboot(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<NetbootRequest>,
) -> Result<Stream<NodeAnswer>, ApiError> {
    let NetbootRequest { nodes, force, limits } = request;
    permit(&app, &actor, Act::write(&["rnetboot"], "", About::Nodes(&nodes))).await?;
    let question = NodesetRequest { nodes, state: "stat".to_owned() };
    let states = nodeset(&app, &question, &actor.0).await?;
    let idle = |text: &String| !force && matches!(text.as_str(), "boot" | "offline");
    let mut refused = Vec::new();
    let mut nodes = Vec::new();
    for Outcome { name, result } in states {
        let error = match result {
            Ok(state) if idle(&state) => format!(
                "Node is in {state} state. Use nodeset command before rnetboot or use -F option with rnetboot"
            ),
            Ok(_) => {
                nodes.push(name);
                continue;
            }
            Err(error) => error,
        };
        refused.push(NodeAnswer { name, step: Some("rnetboot".to_owned()), result: Err(error) });
    }
    let order = BootOrder { device: BootDevice::Net, uefi: false, persistent: false };
    let tasks = vec![Task::Boot(BootRequest::Set(order)), Task::Power(PowerAction::Boot)];
    let asked = Asked { nodes, tasks, limits, actor: actor.0 };
    record_request(&app, &asked).await?;
    let owned = Arc::clone(&app);
    Ok(streamed(&app, |answers| async move {
        for answer in refused {
            // Whoever has gone is noticed by the work itself.
            let _ = answers.send(answer).await;
        }
        run(&owned, &asked, answers).await;
    }))
}

fn power_act(task: Task, nodes: &[String]) -> Act<'_> {
    let verbs: &[&str] = match task {
        Task::Power(_) => &["rpower"],
        Task::Boot(_) => &["rsetboot"],
        Task::Netboot => &["rnetboot"],
    };
    let words = task.to_string();
    let parameters = words.split_once(' ').map_or(words.as_str(), |(_, rest)| rest);
    Act { reads: task.only_reads(), ..Act::write(verbs, parameters, About::Nodes(nodes)) }
}
