//! Tokens, as [`crate::wire`] has their documents. For root only: a token is a key to the server.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::SignedDuration;
use sysclone_protocol::names::Secret;

use super::error::ApiError;
use super::extract::Body;
use super::permit::{Act, permit};
use super::user::{Actor, Root};
use crate::app::App;
use crate::policy::About;
use crate::trust::{TokenHash, random};
use crate::wire::{TokenCreate, TokenCreated, TokenRecord, TokenRevoke};

/// `GET tokens`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _root: Root,
) -> Result<Json<Vec<TokenRecord>>, ApiError> {
    Ok(Json(app.db.tokens().await?))
}

/// `POST tokens`.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    (_root, actor): (Root, Actor),
    Body(request): Body<TokenCreate>,
) -> Result<Json<TokenCreated>, ApiError> {
    let TokenCreate { name, seconds } = request;
    let plain = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
        return Err(ApiError::invalid(format!(
            "'{name}' is no name for a token: letters, digits, '_', '.' and '-'"
        )));
    }
    permit(&app, &actor, Act::write(&["token"], format!("create {name}"), About::Nothing)).await?;
    let token = Secret::new(blake3::Hash::from_bytes(random()).to_hex().to_string());
    let life = seconds.map(|seconds| SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX)));
    let hash = TokenHash::of(token.reveal());
    match app.db.create_token((&name, &hash), life, &actor.0).await? {
        Some(record) => Ok(Json(TokenCreated { record, token })),
        None => Err(ApiError::new(
            StatusCode::CONFLICT,
            format!("there is a token '{name}' already; revoke it first, or take another name"),
        )),
    }
}

/// `POST tokens/revoke`.
pub(super) async fn revoke(
    State(app): State<Arc<App>>,
    (_root, actor): (Root, Actor),
    Body(request): Body<TokenRevoke>,
) -> Result<Json<TokenRevoke>, ApiError> {
    let name = &request.name;
    permit(&app, &actor, Act::write(&["token"], format!("revoke {name}"), About::Nothing)).await?;
    if app.db.revoke_token(name, &actor.0).await? {
        return Ok(Json(request));
    }
    Err(ApiError::new(StatusCode::NOT_FOUND, format!("there is no token '{name}'")))
}
