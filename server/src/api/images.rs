//! Images, as [`crate::wire`] lists the calls.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::error::ApiError;
use super::extract::{Body, Path, Query};
use super::stream::{Stream, streamed};
use super::user::{Actor, Root};
use crate::app::App;
use crate::images::{self, ImageError};
use crate::wire::{ImageAccess, ImageChange, ImageChanged, ImageLine, ImageWork, ImageWorkLine};

#[derive(Deserialize, JsonSchema)]
pub(super) struct ListQuery {
    /// Only the generations of this image.
    name: Option<String>,
}

/// `GET images`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _actor: Actor,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<ImageLine>>, ApiError> {
    Ok(Json(images::list(&app, query.name.as_deref()).await?))
}

/// `POST images`.
pub(super) async fn change(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<ImageChange>,
) -> Result<Json<ImageChanged>, ApiError> {
    let owned = Arc::clone(&app);
    Ok(Json(app.to_the_end(async move { images::change(&owned, request, &actor.0).await }).await?))
}

/// `GET images/{image}`.
pub(super) async fn access(
    State(app): State<Arc<App>>,
    _root: Root,
    Path(image): Path<String>,
) -> Result<Json<ImageAccess>, ApiError> {
    Ok(Json(images::access(&app, &image).await?))
}

/// `POST images/work`. It names files of this machine, which the daemon reads and writes as root.
pub(super) async fn work(
    State(app): State<Arc<App>>,
    (_root, actor): (Root, Actor),
    Body(request): Body<ImageWork>,
) -> Result<Stream<ImageWorkLine>, ApiError> {
    let owned = Arc::clone(&app);
    Ok(streamed(&app, |lines| async move { images::run_work(&owned, request, &actor.0, lines).await }))
}

impl From<ImageError> for ApiError {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::Store(error) => error.into(),
            ImageError::Db(error) => error.into(),
            ImageError::Name(_) | ImageError::Invalid(_) => Self::invalid(error.to_string()),
            ImageError::Key(_) | ImageError::File { .. } | ImageError::BrokenOff => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{:#}", anyhow::Error::new(error)))
            }
        }
    }
}
