//! Images, as [`crate::wire`] lists the calls.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

use super::error::ApiError;
use super::extract::{Body, Path, Query};
use super::permit::{Act, permit};
use super::stream::{Stream, streamed};
use super::user::{Actor, Root};
use crate::app::App;
use crate::images::{self, ImageError};
use crate::policy::About;
use crate::wire::{ImageAccess, ImageChange, ImageChanged, ImageLine, ImageWork, ImageWorkLine};

#[derive(Deserialize, JsonSchema)]
pub(super) struct ListQuery {
    /// Only the generations of this image.
    name: Option<String>,
}

/// `GET images`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    actor: Actor,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<ImageLine>>, ApiError> {
    permit(&app, &actor, Act::read(&["image"], About::Nothing)).await?;
    Ok(Json(images::list(&app, query.name.as_deref()).await?))
}

/// `POST images`.
pub(super) async fn change(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<ImageChange>,
) -> Result<Json<ImageChanged>, ApiError> {
    permit(&app, &actor, Act::write(&["image"], change_words(&request), About::Nothing)).await?;
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
    permit(&app, &actor, Act::write(&["image"], work_words(&request), About::Nothing)).await?;
    let owned = Arc::clone(&app);
    Ok(streamed(&app, |lines| async move { images::run_work(&owned, request, &actor.0, lines).await }))
}

/// As they were typed.
fn change_words(change: &ImageChange) -> String {
    match change {
        ImageChange::Tag { image, tag } => format!("tag {image} {tag}"),
        ImageChange::Untag { image, tag } => format!("tag --delete {image} {tag}"),
        ImageChange::Rollback { image } => format!("rollback {image}"),
        ImageChange::Remove { image, all: false } => format!("rm {image}"),
        ImageChange::Remove { image, all: true } => format!("rm --all {image}"),
    }
}

fn work_words(work: &ImageWork) -> String {
    match work {
        ImageWork::Verify { image } => format!("verify {image}"),
        ImageWork::Fsck { .. } => "fsck".to_owned(),
        ImageWork::Gc { .. } => "gc".to_owned(),
        ImageWork::Export { image, file, .. } => format!("export {image} {}", file.display()),
        ImageWork::Import { file, .. } => format!("import {}", file.display()),
    }
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
