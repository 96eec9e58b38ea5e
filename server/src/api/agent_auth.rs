//! Who an agent is, by its bearer token. A token is good for one job, one capture or one update, in one role.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use sysclone_protocol::names::NodeName;

use super::error::ApiError;
use crate::app::App;
use crate::capture::Capturing;
use crate::db::{Job, Role};
use crate::trust::TokenHash;
use crate::update::{Updating, node_by_token};

/// The bearer of a token.
pub(super) enum Bearer {
    /// An agent that installs a node.
    Installing(Box<Job>),
    /// A clone that has booted.
    Booted(Box<Job>),
    /// An agent that reads a golden client.
    Capturing(Arc<Capturing>),
    /// An agent that updates a clone.
    Updating(Arc<Updating>),
    /// A clone that asks by itself.
    Clone(NodeName),
}

impl Bearer {
    /// The job of an installing agent.
    pub(super) fn installing(self) -> Result<Job, ApiError> {
        match self {
            Self::Installing(job) => Ok(*job),
            Self::Booted(_) | Self::Capturing(_) | Self::Updating(_) | Self::Clone(_) => Err(other_role()),
        }
    }

    /// The job of a clone that reports.
    pub(super) fn booted(self) -> Result<Job, ApiError> {
        match self {
            Self::Booted(job) => Ok(*job),
            Self::Installing(_) | Self::Capturing(_) | Self::Updating(_) | Self::Clone(_) => {
                Err(other_role())
            }
        }
    }

    /// The capture of a capturing agent.
    pub(super) fn capturing(self) -> Result<Arc<Capturing>, ApiError> {
        match self {
            Self::Capturing(capturing) => Ok(capturing),
            Self::Installing(_) | Self::Booted(_) | Self::Updating(_) | Self::Clone(_) => Err(other_role()),
        }
    }

    /// The update of an updating agent.
    pub(super) fn updating(self) -> Result<Arc<Updating>, ApiError> {
        match self {
            Self::Updating(updating) => Ok(updating),
            Self::Installing(_) | Self::Booted(_) | Self::Capturing(_) | Self::Clone(_) => Err(other_role()),
        }
    }

    /// The clone that asks by itself.
    pub(super) fn node(self) -> Result<NodeName, ApiError> {
        match self {
            Self::Clone(node) => Ok(node),
            Self::Installing(_) | Self::Booted(_) | Self::Capturing(_) | Self::Updating(_) => {
                Err(other_role())
            }
        }
    }
}

fn other_role() -> ApiError {
    ApiError::new(StatusCode::FORBIDDEN, "this token is not for this call")
}

impl FromRequestParts<Arc<App>> for Bearer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let refuse = |sentence: &str| ApiError::new(StatusCode::UNAUTHORIZED, sentence);
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|text| text.strip_prefix("Bearer "));
        let token = TokenHash::of(token.ok_or_else(|| refuse("this call needs a bearer token"))?.trim());
        if let Some(capturing) = app.captures.by_token(&token) {
            return Ok(Self::Capturing(capturing));
        }
        if let Some(updating) = app.updates.by_token(&token) {
            return Ok(Self::Updating(updating));
        }
        match app.db.job_by_token(&token).await? {
            Some((job, Role::Install)) => return Ok(Self::Installing(Box::new(job))),
            Some((job, Role::Report)) => return Ok(Self::Booted(Box::new(job))),
            None => {}
        }
        let over = "this token is not valid, or not any more: its deployment, capture or update is over";
        node_by_token(app, &token).await?.map(Self::Clone).ok_or_else(|| refuse(over))
    }
}
