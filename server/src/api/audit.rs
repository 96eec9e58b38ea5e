//! The audit log, as [`crate::wire`] lists the call.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Deserialize;

use super::error::ApiError;
use super::extract::Query;
use super::permit::{Act, permit};
use super::user::Actor;
use crate::app::App;
use crate::db::AuditFilter;
use crate::policy::About;
use crate::wire::AuditRecord;

/// Most calls that are answered at a time.
const MOST: u32 = 100_000;

#[derive(Deserialize, JsonSchema)]
pub(super) struct AuditQuery {
    /// Only calls since then, RFC 3339.
    since: Option<String>,
    /// Only calls of this account.
    user: Option<String>,
    /// Only calls of this verb.
    command: Option<String>,
    /// Only calls that were denied.
    #[serde(default)]
    denied: bool,
    /// The newest so many; 100 when not given.
    limit: Option<u32>,
}

/// `GET audit`.
pub(super) async fn audit(
    State(app): State<Arc<App>>,
    actor: Actor,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Vec<AuditRecord>>, ApiError> {
    permit(&app, &actor, Act::read(&["audit"], About::Nothing)).await?;
    let since = query.since.as_deref().map(str::parse).transpose();
    let filter = AuditFilter {
        since: since.map_err(|error| ApiError::invalid(format!("since: {error}")))?,
        actor: query.user,
        command: query.command,
        denied: query.denied,
        limit: query.limit.unwrap_or(100).min(MOST),
    };
    Ok(Json(app.db.audit(&filter).await?))
}
