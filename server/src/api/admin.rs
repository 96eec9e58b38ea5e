//! The administrators' interface, as [`crate::wire`] lists it.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::{Json, Router};
use schemars::JsonSchema;
use serde::Deserialize;

use super::error::ApiError;
use super::extract::{Body, Path, Query};
use super::permit::{Act, READING, permit, permit_changes, permit_rename};
use super::routes::Routes;
use super::user::Actor;
use super::{
    audit, capture, discover, events, images, metrics, power, probe, remote, secrets, tokens, update,
};
use crate::app::App;
use crate::define::{self, Inherited, apply_changes};
use crate::deploy;
use crate::noderange::Range;
use crate::policy::About;
use crate::wire::{
    ChangeRequest, NodeStatus, NodesetRequest, ObjectType, Objects, Outcome, RangeReply, RangeRequest,
    RenameRequest,
};
use sysclone_protocol::names::ImageName;

/// Largest body: definitions of tens of thousands of nodes.
const MAX_BODY: usize = 32 << 20;

/// The administrators' interface.
pub fn admin_router(app: Arc<App>) -> Router {
    Routes::new()
        .post("/api/v1/noderange", "The nodes of a noderange", noderange)
        .get("/api/v1/objects/{type}", "Definitions of one type, passwords masked", objects)
        .post("/api/v1/objects", "Changes definitions; one outcome for each name", change)
        .post("/api/v1/objects/batch", "Changes definitions in one transaction", change_many)
        .post("/api/v1/objects/rename", "Gives an object another name", rename)
        .post("/api/v1/nodeset", "What nodes do at their next network boot", nodeset)
        .get("/api/v1/status", "Where nodes stand", status)
        .post("/api/v1/capture", "Captures a golden client; closing the answer ends it", capture::capture)
        .post("/api/v1/power", "Power or boot order of nodes, one answer for each", power::power)
        .post("/api/v1/rinstall", "Nodeset, boot order and power, one answer for each step", power::rinstall)
        .post(
            "/api/v1/rnetboot",
            "Boots nodes from the network now, one answer for each step",
            power::rnetboot,
        )
        .post("/api/v1/run", "Runs a command on nodes; closing the answer ends it", remote::run)
        .post("/api/v1/copy", "Copies files to or from nodes", remote::copy)
        .post("/api/v1/agents", "Puts the agent on running nodes", remote::agents)
        .post(
            "/api/v1/update",
            "Brings running clones up to date; closing the answer ends it",
            update::update,
        )
        .get("/api/v1/synced", "What clones are like", update::synced)
        .get("/api/v1/images", "Every generation of images, oldest first", images::list)
        .post("/api/v1/images", "Tags, rolls back or removes generations", images::change)
        .post("/api/v1/images/work", "Checks, collects, exports or imports", images::work)
        .get("/api/v1/images/{image}", "All that reads one generation", images::access)
        .get("/api/v1/probe", "What deployments need, and how it is", probe::probe)
        .get("/api/v1/tokens", "Tokens of programs", tokens::list)
        .post("/api/v1/tokens", "Makes a token, which is shown once", tokens::create)
        .post("/api/v1/tokens/revoke", "Makes a token worthless", tokens::revoke)
        .get("/api/v1/discovered", "Machines that were discovered", discover::list)
        .post("/api/v1/discovered", "Makes a discovered machine a node, or forgets it", discover::change)
        .get("/api/v1/discovery", "Whether machines are being discovered", discover::status)
        .post("/api/v1/discovery", "Turns discovery on or off", discover::switch)
        .get("/api/v1/audit", "Who did what, and what policy denied", audit::audit)
        .get("/api/v1/events", "The event log", events::events)
        .get("/metrics", "Counts and sizes for Prometheus", metrics::metrics)
        .finish()
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "there is no such call"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this call has another method")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
}

/// What a question about objects is about.
pub(super) fn about(kind: ObjectType, names: Option<&[String]>) -> About<'_> {
    match kind {
        ObjectType::Node => names.map_or(About::All, About::Nodes),
        _ => About::Nothing,
    }
}

/// `a,b` as a list; an absent one means all.
pub(super) fn names(text: Option<&str>) -> Option<Vec<String>> {
    text.map(|text| text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

async fn noderange(
    State(app): State<Arc<App>>,
    _actor: Actor,
    Body(request): Body<RangeRequest>,
) -> Result<Json<RangeReply>, ApiError> {
    let range: Range = request.range.parse().map_err(|error| ApiError::invalid(format!("{error}")))?;
    let known = app.known.now();
    let selection =
        if request.hidden { range.evaluate_with_hidden(&*known) } else { range.evaluate(&*known) }
            .map_err(|error| ApiError::invalid(format!("{error}")))?;
    Ok(Json(RangeReply { nodes: selection.nodes, unknown: selection.unknown }))
}

#[derive(Deserialize, JsonSchema)]
struct ObjectsQuery {
    /// Only these, names with commas between.
    names: Option<String>,
    /// Whether passwords are to be shown, which is put on record.
    #[serde(default)]
    secrets: bool,
    /// Whether only what nodes have themselves is wanted, not what their groups give them.
    #[serde(default)]
    own: bool,
}

async fn objects(
    State(app): State<Arc<App>>,
    actor: Actor,
    Path(kind): Path<ObjectType>,
    Query(query): Query<ObjectsQuery>,
) -> Result<Json<Objects>, ApiError> {
    let names = names(query.names.as_deref());
    let act = Act {
        parameters: format!("-t {}{}", kind.word(), if query.secrets { " --secrets" } else { "" }),
        ..Act::read(READING, about(kind, names.as_deref()))
    };
    permit(&app, &actor, act).await?;
    if query.secrets && actor.1.token {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "passwords are not shown to tokens"));
    }
    let mut objects = app.db.objects(kind, names.as_deref()).await?;
    if kind == ObjectType::Node {
        if !query.own {
            Inherited::new(&app.db.objects(ObjectType::Group, None).await?).add_to(&mut objects);
        }
        deploy::node_views(&app, &mut objects).await?;
    }
    if kind == ObjectType::Group {
        define::add_members(&mut objects, &app.known.now(), names.as_deref());
    }
    secrets::show_or_mask(&app, (kind, &mut objects), query.secrets, &actor).await?;
    Ok(Json(objects))
}

async fn change(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<ChangeRequest>,
) -> Result<Json<Vec<Outcome>>, ApiError> {
    changed(&app, vec![request], actor).await
}

async fn change_many(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(requests): Body<Vec<ChangeRequest>>,
) -> Result<Json<Vec<Outcome>>, ApiError> {
    changed(&app, requests, actor).await
}

async fn changed(
    app: &Arc<App>,
    requests: Vec<ChangeRequest>,
    actor: Actor,
) -> Result<Json<Vec<Outcome>>, ApiError> {
    let permit = permit_changes(app, &actor, &requests).await?;
    let owned = Arc::clone(app);
    app.to_the_end(async move {
        let outcomes = apply_changes((&owned.db, &owned.known.now()), &requests, &actor.0).await?;
        permit.done(&owned, &outcomes).await;
        owned.known.refresh(&owned.db).await?;
        Ok(Json(outcomes))
    })
    .await
}

async fn rename(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<RenameRequest>,
) -> Result<Json<Outcome>, ApiError> {
    let permit = permit_rename(&app, &actor, &request).await?;
    let owned = Arc::clone(&app);
    app.to_the_end(async move {
        let is_stored = stored(&owned, &request).await;
        let mut tx = owned.db.write().await?;
        let result = define::rename((&mut tx, is_stored), &request, &actor.0).await?;
        tx.commit().await?;
        let outcome = Outcome { name: request.from, result };
        permit.done(&owned, std::slice::from_ref(&outcome)).await;
        owned.known.refresh(&owned.db).await?;
        Ok(Json(outcome))
    })
    .await
}

/// Whether the store keeps generations of an osimage under its name.
async fn stored(app: &Arc<App>, request: &RenameRequest) -> bool {
    let name = request.from.parse::<ImageName>().ok().filter(|_| request.kind == ObjectType::Osimage);
    let Some(name) = name else { return false };
    let store = Arc::clone(&app.store);
    let found = tokio::task::spawn_blocking(move || store.generations(&name)).await;
    // A store that cannot be read may well have them.
    !matches!(found, Ok(Ok(generations)) if generations.is_empty())
}

async fn nodeset(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<NodesetRequest>,
) -> Result<Json<Vec<Outcome>>, ApiError> {
    let about = About::Nodes(&request.nodes);
    let act = Act { reads: request.state == "stat", ..Act::write(&["nodeset"], &request.state, about) };
    let permit = permit(&app, &actor, act).await?;
    let owned = Arc::clone(&app);
    app.to_the_end(async move {
        let outcomes = deploy::nodeset(&owned, &request, &actor.0).await?;
        permit.done(&owned, &outcomes).await;
        Ok(Json(outcomes))
    })
    .await
}

#[derive(Deserialize, JsonSchema)]
struct StatusQuery {
    /// Only these nodes, names with commas between.
    nodes: Option<String>,
}

async fn status(
    State(app): State<Arc<App>>,
    actor: Actor,
    Query(query): Query<StatusQuery>,
) -> Result<Json<Vec<NodeStatus>>, ApiError> {
    let nodes = names(query.nodes.as_deref());
    permit(&app, &actor, Act::read(&["nodestat", "watch"], about(ObjectType::Node, nodes.as_deref())))
        .await?;
    Ok(Json(deploy::statuses(&app, nodes.as_deref()).await?))
}
