//! The check before a deployment, as [`crate::wire`] lists the call.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::error::ApiError;
use super::permit::{Act, permit};
use super::user::Actor;
use crate::app::App;
use crate::policy::About;
use crate::wire::probe::Check;

/// `GET probe`.
pub(super) async fn probe(State(app): State<Arc<App>>, actor: Actor) -> Result<Json<Vec<Check>>, ApiError> {
    permit(&app, &actor, Act::read(&["probe"], About::Nothing)).await?;
    let checks = tokio::task::spawn_blocking(move || crate::probe::probe(&app)).await;
    checks.map(Json).map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}
