//! Failures as Docker's clients expect them: a status and `{"message": ...}`.

use agent_engine::EngineError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A refused or failed request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The path, its version or a parameter makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// Nothing answers on this path.
    #[error("page not found")]
    NoSuchPage,
    /// The container is not there, in the words that clients look for.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// The engine refused or failed, in its own words.
    #[error(transparent)]
    Engine(EngineError),
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NoSuchContainer(name) => Self::NoSuchContainer(name),
            error => Self::Engine(error),
        }
    }
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::Engine(EngineError::Ambiguous(..) | EngineError::Invalid { .. }) => {
                StatusCode::BAD_REQUEST
            }
            Self::NoSuchPage
            | Self::NoSuchContainer(_)
            | Self::Engine(EngineError::NoSuchContainer(_) | EngineError::NoSuchImage(_)) => {
                StatusCode::NOT_FOUND
            }
            Self::Engine(EngineError::NameTaken { .. } | EngineError::State { .. }) => StatusCode::CONFLICT,
            Self::Engine(EngineError::Closed) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Engine(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        (self.status(), Json(json!({ "message": self.to_string() }))).into_response()
    }
}
