//! Commands and files on nodes. Whoever may do this is root on every node, so it is for root only.

use std::sync::Arc;

use axum::extract::State;

use super::error::ApiError;
use super::extract::Body;
use super::permit::{Act, permit};
use super::stream::{Stream, streamed};
use super::user::{Actor, Root};
use crate::app::App;
use crate::db::NewEvent;
use crate::policy::About;
use crate::remote;
use crate::wire::power::NodeAnswer;
use crate::wire::remote::{AgentsRequest, CopyRequest, RunLine, RunRequest};

/// `POST run`.
pub(super) async fn run(
    State(app): State<Arc<App>>,
    (_root, actor): (Root, Actor),
    Body(request): Body<RunRequest>,
) -> Result<Stream<RunLine>, ApiError> {
    account(request.user.as_deref())?;
    let what = if request.script.is_some() { "a script with" } else { "the command" };
    let text = format!("{what} '{}' runs on {}", request.command, counted(&request.nodes));
    permit(&app, &actor, Act::write(&["xdsh"], &request.command, About::Nodes(&request.nodes))).await?;
    record(&app, ("nodes-run", text), &actor).await?;
    let owned = Arc::clone(&app);
    Ok(streamed(&app, |lines| async move { remote::run(&owned, &request, lines).await }))
}

/// `POST copy`.
pub(super) async fn copy(
    State(app): State<Arc<App>>,
    (_root, actor): (Root, Actor),
    Body(request): Body<CopyRequest>,
) -> Result<Stream<NodeAnswer>, ApiError> {
    account(request.user.as_deref())?;
    if request.files.sources.is_empty() {
        return Err(ApiError::invalid("no file is named"));
    }
    let from: Vec<String> = request.files.sources.iter().map(|path| path.display().to_string()).collect();
    let word = if request.files.pull { "from" } else { "to" };
    let (files, target) = (from.join(" "), request.files.target.display());
    let text = format!("{files} is copied {word} {} as {target}", counted(&request.nodes));
    permit(&app, &actor, Act::write(&["xdcp"], format!("{files} {target}"), About::Nodes(&request.nodes)))
        .await?;
    record(&app, ("nodes-copied", text), &actor).await?;
    let owned = Arc::clone(&app);
    Ok(streamed(&app, |answers| async move { remote::copy(&owned, &request, answers).await }))
}

/// `POST agents`.
pub(super) async fn agents(
    State(app): State<Arc<App>>,
    (_root, actor): (Root, Actor),
    Body(request): Body<AgentsRequest>,
) -> Result<Stream<NodeAnswer>, ApiError> {
    let text = format!("the agent goes to {}", counted(&request.nodes));
    permit(&app, &actor, Act::write(&["updatenode"], "-S", About::Nodes(&request.nodes))).await?;
    record(&app, ("agents-installed", text), &actor).await?;
    let owned = Arc::clone(&app);
    Ok(streamed(&app, |answers| async move { remote::install_agents(&owned, &request, answers).await }))
}

/// Before anything is done. What cannot be written down is not done.
async fn record(app: &App, (kind, text): (&str, String), actor: &Actor) -> Result<(), ApiError> {
    Ok(app.db.record(NewEvent { node: None, actor: &actor.0, kind, text }).await?)
}

/// ssh takes a name that begins with a dash for an option.
fn account(user: Option<&str>) -> Result<(), ApiError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    match user {
        Some(user) if user.is_empty() || user.starts_with('-') || !user.chars().all(plain) => {
            Err(ApiError::invalid(format!("'{user}' is not the name of an account")))
        }
        _ => Ok(()),
    }
}

/// The nodes, as far as one line can name them.
fn counted(nodes: &[String]) -> String {
    match nodes {
        [first, .., last] if nodes.len() > 8 => format!("{} nodes, {first} to {last}", nodes.len()),
        _ => nodes.join(","),
    }
}
