//! The administrators' interface, as [`crate::wire`] lists it.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;

use super::error::ApiError;
use super::extract::{Body, Path, Query};
use super::user::Actor;
use super::{capture, events, images, power, probe, remote, secrets};
use crate::app::App;
use crate::define::{Inherited, apply_changes};
use crate::deploy;
use crate::noderange::Range;
use crate::wire::{
    ChangeRequest, NodeStatus, NodesetRequest, ObjectType, Objects, Outcome, RangeReply, RangeRequest,
};

/// Largest body: definitions of tens of thousands of nodes.
const MAX_BODY: usize = 32 << 20;

/// The administrators' interface.
pub fn admin_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/api/v1/noderange", post(noderange))
        .route("/api/v1/objects/{type}", get(objects))
        .route("/api/v1/objects", post(change))
        .route("/api/v1/objects/batch", post(change_many))
        .route("/api/v1/nodeset", post(nodeset))
        .route("/api/v1/status", get(status))
        .route("/api/v1/capture", post(capture::capture))
        .route("/api/v1/power", post(power::power))
        .route("/api/v1/rinstall", post(power::rinstall))
        .route("/api/v1/run", post(remote::run))
        .route("/api/v1/copy", post(remote::copy))
        .route("/api/v1/agents", post(remote::agents))
        .route("/api/v1/images", get(images::list).post(images::change))
        .route("/api/v1/images/work", post(images::work))
        .route("/api/v1/images/{image}", get(images::access))
        .route("/api/v1/probe", get(probe::probe))
        .route("/api/v1/events", get(events::events))
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "there is no such call"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this call has another method")
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(app)
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

#[derive(Deserialize)]
struct ObjectsQuery {
    names: Option<String>,
    /// Whether passwords are to be shown.
    #[serde(default)]
    secrets: bool,
}

async fn objects(
    State(app): State<Arc<App>>,
    actor: Actor,
    Path(kind): Path<ObjectType>,
    Query(query): Query<ObjectsQuery>,
) -> Result<Json<Objects>, ApiError> {
    let mut objects = app.db.objects(kind, names(query.names.as_deref()).as_deref()).await?;
    if kind == ObjectType::Node {
        Inherited::new(&app.db.objects(ObjectType::Group, None).await?).add_to(&mut objects);
        deploy::node_views(&app, &mut objects).await?;
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
    let owned = Arc::clone(app);
    app.to_the_end(async move {
        let outcomes = apply_changes(&owned.db, &requests, &actor.0).await?;
        owned.known.refresh(&owned.db).await?;
        Ok(Json(outcomes))
    })
    .await
}

async fn nodeset(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<NodesetRequest>,
) -> Result<Json<Vec<Outcome>>, ApiError> {
    let owned = Arc::clone(&app);
    Ok(Json(app.to_the_end(async move { deploy::nodeset(&owned, &request, &actor.0).await }).await?))
}

#[derive(Deserialize)]
struct StatusQuery {
    nodes: Option<String>,
}

async fn status(
    State(app): State<Arc<App>>,
    _actor: Actor,
    Query(query): Query<StatusQuery>,
) -> Result<Json<Vec<NodeStatus>>, ApiError> {
    Ok(Json(deploy::statuses(&app, names(query.nodes.as_deref()).as_deref()).await?))
}
