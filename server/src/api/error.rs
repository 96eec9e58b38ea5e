//! Refusals as answers: a status and one sentence.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use sysclone_image::StoreError;
use sysclone_protocol::agent::ErrorReply;

use crate::db::DbError;
use crate::deploy::DeployError;
use crate::update::UpdateError;

/// What a call answers when it is not done.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    sentence: String,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into() }
    }

    pub(super) fn invalid(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, sentence)
    }
}

/// The whole chain of causes on one line.
fn chain(error: impl std::error::Error + Send + Sync + 'static) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

impl From<DbError> for ApiError {
    fn from(error: DbError) -> Self {
        // Agents try again on 503: a database that is locked or a disk that is full is not their end.
        let sentence = chain(error);
        tracing::error!(error = sentence, "the database failed");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, sentence)
    }
}

impl From<DeployError> for ApiError {
    fn from(error: DeployError) -> Self {
        let status = match &error {
            DeployError::Db(_) => StatusCode::SERVICE_UNAVAILABLE,
            DeployError::Refused(_) => StatusCode::FORBIDDEN,
            DeployError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            DeployError::Illegal(_) => StatusCode::CONFLICT,
            DeployError::Gone => StatusCode::UNAUTHORIZED,
            DeployError::Key(_) | DeployError::Attribute(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, chain(error))
    }
}

impl From<UpdateError> for ApiError {
    fn from(error: UpdateError) -> Self {
        let status = match &error {
            UpdateError::Said(_) | UpdateError::Agent { .. } => StatusCode::FORBIDDEN,
            UpdateError::Db(_) | UpdateError::BrokenOff => StatusCode::SERVICE_UNAVAILABLE,
            UpdateError::Key(_) | UpdateError::Ssh(_) | UpdateError::Place(_) | UpdateError::Lost(_) => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, chain(error))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let status = match &error {
            StoreError::NoSpace { .. } => StatusCode::INSUFFICIENT_STORAGE,
            StoreError::NoSuchImage(_) | StoreError::NoGeneration(_) | StoreError::NoSuchTag { .. } => {
                StatusCode::NOT_FOUND
            }
            StoreError::Hash { .. } | StoreError::Manifest { .. } | StoreError::OtherImage { .. } => {
                StatusCode::UNPROCESSABLE_ENTITY
            }
            StoreError::Delta { .. } => StatusCode::PRECONDITION_FAILED,
            StoreError::MissingPacks { .. } | StoreError::InUse { .. } | StoreError::Refused { .. } => {
                StatusCode::CONFLICT
            }
            StoreError::Receive { .. } | StoreError::Import(_) => StatusCode::BAD_REQUEST,
            StoreError::Io { .. }
            | StoreError::Signature { .. }
            | StoreError::Misplaced { .. }
            | StoreError::Damaged { .. }
            | StoreError::Export(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, chain(error))
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        if self.status.is_server_error() {
            tracing::error!(status = self.status.as_u16(), error = self.sentence, "a call failed");
        } else {
            tracing::info!(status = self.status.as_u16(), error = self.sentence, "a call was refused");
        }
        (self.status, Json(ErrorReply { error: self.sentence })).into_response()
    }
}
