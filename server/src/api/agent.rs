//! The agents' interface, as `sysclone_protocol::agent` lists it. Everything that comes in is hostile until checked.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use sysclone_protocol::agent::{AgentEvent, BootReport, EnrollRequest, EventReply, Order};

use super::agent_auth::Bearer;
use super::error::ApiError;
use super::{discover, packs, update};
use crate::app::App;
use crate::deploy;

/// Largest JSON body; an inventory of hundreds of disks and a plan for them are far below.
const MAX_JSON: usize = 1 << 20;
/// Largest JSON body of a machine that is nobody's.
const MAX_REPORT: usize = 256 << 10;
/// Largest unsigned manifest: some ten million files.
const MAX_MANIFEST: usize = 1 << 30;

/// The agents' interface.
pub fn agent_router(app: Arc<App>) -> Router {
    let json = Router::new()
        .route("/agent/v1/enroll", post(enroll))
        .route("/agent/v1/event", post(event))
        .route("/agent/v1/report", post(report))
        .route("/agent/v1/update", post(update::pull))
        .route("/agent/v1/synced", post(update::synced_itself))
        .layer(DefaultBodyLimit::max(MAX_JSON));
    let strangers = Router::new()
        .route("/agent/v1/discover", post(discover::report))
        .layer(DefaultBodyLimit::max(MAX_REPORT));
    let bytes = Router::new()
        .route("/agent/v1/manifest", get(manifest).post(packs::commit))
        .route("/agent/v1/manifest/delta", post(packs::commit_delta))
        .layer(DefaultBodyLimit::max(MAX_MANIFEST));
    let packs = Router::new()
        .route("/agent/v1/parent", get(packs::parent))
        .route("/agent/v1/manifest/delta/{generation}", get(update::manifest_delta))
        .route("/agent/v1/staged", get(packs::staged))
        .route("/agent/v1/packs/{hash}", put(packs::put_pack));
    Router::new()
        .merge(json)
        .merge(strangers)
        .merge(bytes)
        .merge(packs)
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "there is no such call"))
        .method_not_allowed_fallback(async || {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "this call has another method")
        })
        .with_state(app)
}

/// A body that must be JSON; what is wrong with it is said in our form.
pub(super) fn body<T>(json: Result<Json<T>, JsonRejection>) -> Result<T, ApiError> {
    json.map(|Json(value)| value).map_err(|error| ApiError::new(error.status(), error.body_text()))
}

async fn enroll(
    State(app): State<Arc<App>>,
    request: Result<Json<EnrollRequest>, JsonRejection>,
) -> Result<Json<Order>, ApiError> {
    let request = body(request)?;
    let owned = Arc::clone(&app);
    Ok(Json(app.to_the_end(async move { deploy::enroll(&owned, &request).await }).await?))
}

async fn event(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    event: Result<Json<AgentEvent>, JsonRejection>,
) -> Result<Json<EventReply>, ApiError> {
    let job = bearer.installing()?;
    let event = body(event)?;
    let owned = Arc::clone(&app);
    Ok(Json(app.to_the_end(async move { deploy::agent_event(&owned, &job, event).await }).await?))
}

async fn report(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    report: Result<Json<BootReport>, JsonRejection>,
) -> Result<Json<EventReply>, ApiError> {
    let job = bearer.booted()?;
    let report = body(report)?;
    let owned = Arc::clone(&app);
    Ok(Json(app.to_the_end(async move { deploy::boot_report(&owned, &job, report).await }).await?))
}

async fn manifest(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    if let Bearer::Updating(updating) = &bearer {
        return update::ordered_manifest(app, updating, &headers).await;
    }
    let job = bearer.installing()?;
    if !job.state.is_running() {
        return Err(ApiError::new(StatusCode::CONFLICT, "this deployment is over"));
    }
    let Some(image) = job.work.image().cloned() else {
        return Err(ApiError::new(StatusCode::CONFLICT, "this node installs no image"));
    };
    let store = Arc::clone(&app.store);
    let bytes = packs::blocking(move || {
        deploy::pin_for_deploy(&store, &image, &job.node);
        store.manifest_bytes(&image.name, image.generation)
    })
    .await?;
    Ok(octets(bytes))
}

/// Bytes as an answer.
pub(super) fn octets(bytes: impl Into<Bytes>) -> Response {
    ([(CONTENT_TYPE, "application/octet-stream")], bytes.into()).into_response()
}
