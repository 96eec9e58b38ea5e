//! Who an agent is, by its bearer token. A token is good for one job or one capture, in one role.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::error::ApiError;
use crate::app::App;
use crate::capture::Capturing;
use crate::db::{Job, Role};
use crate::trust::TokenHash;

/// The bearer of a token.
pub(super) enum Bearer {
    /// An agent that installs a node.
    Installing(Box<Job>),
    /// A clone that has booted.
    Booted(Box<Job>),
    /// An agent that reads a golden client.
    Capturing(Arc<Capturing>),
}

impl Bearer {
    /// The job of an installing agent.
    pub(super) fn installing(self) -> Result<Job, ApiError> {
        match self {
            Self::Installing(job) => Ok(*job),
            Self::Booted(_) | Self::Capturing(_) => Err(other_role()),
        }
    }

    /// The job of a clone that reports.
    pub(super) fn booted(self) -> Result<Job, ApiError> {
        match self {
            Self::Booted(job) => Ok(*job),
            Self::Installing(_) | Self::Capturing(_) => Err(other_role()),
        }
    }

    /// The capture of a capturing agent.
    pub(super) fn capturing(self) -> Result<Arc<Capturing>, ApiError> {
        match self {
            Self::Capturing(capturing) => Ok(capturing),
            Self::Installing(_) | Self::Booted(_) => Err(other_role()),
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
        match app.db.job_by_token(&token).await? {
            Some((job, Role::Install)) => Ok(Self::Installing(Box::new(job))),
            Some((job, Role::Report)) => Ok(Self::Booted(Box::new(job))),
            None => {
                Err(refuse("this token is not valid, or not any more: its deployment or capture is over"))
            }
        }
    }
}
