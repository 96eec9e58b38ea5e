//! `/metrics`, for administrators and on the listener for Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;

use super::describe::{Answers, Operation};
use super::error::ApiError;
use super::permit::{Act, permit};
use super::user::Actor;
use crate::app::App;
use crate::metrics;
use crate::policy::About;

/// The format as Prometheus asks for it.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An answer of metrics.
pub(super) struct Metrics(String);

impl IntoResponse for Metrics {
    fn into_response(self) -> Response {
        ([(CONTENT_TYPE, TEXT)], self.0).into_response()
    }
}

impl Answers for Metrics {
    fn describe(operation: &mut Operation<'_>) {
        let what = "Counts and sizes in Prometheus' text format.";
        operation.answer(what, json!({ "text/plain": { "schema": { "type": "string" } } }));
    }
}

/// The only call of the listener for Prometheus, which anybody who reaches it may make.
pub fn metrics_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(async |State(app): State<Arc<App>>| rendered(&app).await))
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "there is only /metrics here"))
        .with_state(app)
}

/// `GET /metrics`.
pub(super) async fn metrics(State(app): State<Arc<App>>, actor: Actor) -> Result<Metrics, ApiError> {
    permit(&app, &actor, Act::read(&["metrics"], About::Nothing)).await?;
    rendered(&app).await
}

async fn rendered(app: &Arc<App>) -> Result<Metrics, ApiError> {
    Ok(Metrics(metrics::render(app).await?))
}
