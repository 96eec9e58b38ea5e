//! `updatenode -S` and `sysclone verify` as streams of lines, what clones are like, and what updating agents fetch.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::header::IF_NONE_MATCH;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use schemars::JsonSchema;
use serde::Deserialize;
use sysclone_image::StoreError;
use sysclone_image::sign::seal_delta;
use sysclone_protocol::agent::EventReply;
use sysclone_protocol::names::{ImageRef, ImageSelector};
use sysclone_protocol::update::{SyncReport, UpdateAction, UpdateOrder, UpdateRequest};

use super::admin::{about, names};
use super::agent::{body, octets};
use super::agent_auth::Bearer;
use super::error::ApiError;
use super::extract::{Body, Query};
use super::packs::blocking;
use super::permit::{Act, permit};
use super::stream::{Stream, streamed};
use super::user::Actor;
use crate::app::App;
use crate::policy::About;
use crate::update::{self, Updating, node_syncs, run_updates};
use crate::wire::ObjectType;
use crate::wire::update::{NodeSync, UpdateAnswer, UpdateNodesRequest};

/// `POST update`.
pub(super) async fn update(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<UpdateNodesRequest>,
) -> Result<Stream<UpdateAnswer>, ApiError> {
    if request.diff && !actor.1.root {
        let text = "how files differ is shown to root only: an image holds /etc/shadow";
        return Err(ApiError::new(StatusCode::FORBIDDEN, text));
    }
    if let Some(image) = &request.image {
        image.parse::<ImageSelector>().map_err(|error| ApiError::invalid(error.to_string()))?;
    }
    let (verbs, reads): (&[&str], _) = match request.action {
        UpdateAction::Apply | UpdateAction::Rollback => (&["updatenode"], false),
        UpdateAction::Plan | UpdateAction::Explain { .. } => (&["updatenode"], true),
        UpdateAction::Verify => (&["verify", "updatenode"], true),
    };
    let act = Act { reads, ..Act::write(verbs, parameters(&request), About::Nodes(&request.nodes)) };
    permit(&app, &actor, act).await?;
    let owned = Arc::clone(&app);
    // Closing the answer ends the channel, and updates that nobody listens to end themselves.
    Ok(streamed(&app, |answers| async move { run_updates(&owned, &request, &actor.0, answers).await }))
}

/// What stands after verb and nodes, as policy rules and the audit log see it.
fn parameters(request: &UpdateNodesRequest) -> String {
    let mut text = "-S".to_owned();
    if let Some(image) = &request.image {
        text += &format!(" --image {image}");
    }
    let action = match &request.action {
        UpdateAction::Apply => String::new(),
        UpdateAction::Plan => " --dry-run".to_owned(),
        UpdateAction::Verify => " --verify".to_owned(),
        UpdateAction::Rollback => " --rollback".to_owned(),
        UpdateAction::Explain { path } => format!(" --explain {path}"),
    };
    text += &action;
    for (set, word) in [
        (request.diff, " --diff"),
        (request.keep_local, " --keep-local"),
        (request.delete_local, " --delete-local"),
    ] {
        text += if set { word } else { "" };
    }
    text
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct SyncQuery {
    /// Only these nodes, names with commas between.
    nodes: Option<String>,
}

/// `GET synced`.
pub(super) async fn synced(
    State(app): State<Arc<App>>,
    actor: Actor,
    Query(query): Query<SyncQuery>,
) -> Result<Json<Vec<NodeSync>>, ApiError> {
    let nodes = names(query.nodes.as_deref());
    permit(&app, &actor, Act::read(&["nodestat"], about(ObjectType::Node, nodes.as_deref()))).await?;
    Ok(Json(node_syncs(&app, nodes.as_deref()).await?))
}

/// `POST update` of a clone that asks by itself.
pub(super) async fn pull(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    request: Result<Json<UpdateRequest>, JsonRejection>,
) -> Result<Json<UpdateOrder>, ApiError> {
    let node = bearer.node()?;
    let request = body(request)?;
    Ok(Json(update::pull(&app, &node, request).await?))
}

/// `POST synced` of a clone that asked by itself.
pub(super) async fn synced_itself(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    report: Result<Json<SyncReport>, JsonRejection>,
) -> Result<Json<EventReply>, ApiError> {
    let updating = bearer.updating()?;
    let report = body(report)?;
    let owned = Arc::clone(&app);
    app.to_the_end(async move { update::synced(&owned, &updating, &report).await }).await?;
    Ok(Json(EventReply::default()))
}

/// `GET manifest` of an updating agent: 304 when it has it, without reading it.
pub(super) async fn ordered_manifest(
    app: Arc<App>,
    updating: &Updating,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let known = headers.get(IF_NONE_MATCH).map(HeaderValue::as_bytes);
    let digest = updating.digest.as_ref().map(|digest| format!("\"{digest}\""));
    if known.is_some() && known == digest.as_deref().map(str::as_bytes) {
        return Ok(StatusCode::NOT_MODIFIED.into_response());
    }
    let image = updating.image.clone();
    blocking(move || app.store.manifest_bytes(&image.name, image.generation)).await.map(octets)
}

/// `GET manifest/delta/{generation}`: what the ordered generation differs in from one that the agent has.
pub(super) async fn manifest_delta(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    Path(generation): Path<u32>,
) -> Result<Response, ApiError> {
    let updating = bearer.updating()?;
    let none = || ApiError::new(StatusCode::NOT_FOUND, "fetch the whole manifest");
    let image = updating.image.clone();
    let old = ImageRef { name: image.name.clone(), generation };
    let key = (updating.digest.clone().ok_or_else(none)?, old.clone());
    // Held while it is made, so that it is made once for all nodes of a range.
    let mut last = app.updates.delta.lock().await;
    if let Some((_, delta)) = last.as_ref().filter(|(known, _)| *known == key) {
        return Ok(octets(delta.clone()));
    }
    let owned = Arc::clone(&app);
    let made = blocking(move || match delta(&owned, &image, &old) {
        Err(StoreError::NoSuchImage(_)) => Ok(None),
        made => made,
    });
    let delta = Bytes::from(made.await?.ok_or_else(none)?);
    *last = Some((key, delta.clone()));
    Ok(octets(delta))
}

fn delta(app: &App, image: &ImageRef, old: &ImageRef) -> Result<Option<Vec<u8>>, StoreError> {
    let key = app.keys.signing.verifying_key();
    let old = app.store.manifest(old, &key)?;
    let sealed = app.store.manifest_bytes(&image.name, image.generation)?;
    let new = app.store.manifest(image, &key)?;
    Ok(seal_delta(&sealed, &new.delta(&old)))
}
