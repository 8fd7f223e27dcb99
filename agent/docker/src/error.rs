//! Failures as Docker's clients expect them: a status and `{"message": ...}`.

use std::error::Error;

use agent_engine::EngineError;
use agent_engine::image::PullError;
use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::version::{MAXIMUM, MINIMUM, Version};

/// A refused or failed request.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The path's version is beyond what is spoken.
    #[error("client version {0} is too new. Maximum supported API version is {MAXIMUM}")]
    TooNew(Version),
    /// The path's version is no longer spoken. Such clients read errors as plain text.
    #[error(
        "client version {0} is too old. Minimum supported API version is {MINIMUM}, please upgrade your client to a newer version"
    )]
    TooOld(Version),
    /// The path or a parameter makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// Docker has it, this engine has not. Clients that only look around know the words and go on.
    #[error("{0} is not supported by Roadstead")]
    NotSupported(String),
    /// Nothing answers on this path.
    #[error("page not found")]
    NoSuchPage,
    /// The container is not there, in the words that clients look for.
    #[error("No such container: {0}")]
    NoSuchContainer(String),
    /// The image is not there, in the words that clients look for.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// The engine refused or failed, in its own words.
    #[error(transparent)]
    Engine(EngineError),
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NoSuchContainer(name) => Self::NoSuchContainer(name),
            EngineError::Image(PullError::Absent { image }) => Self::NoSuchImage(image),
            error => Self::Engine(error),
        }
    }
}

impl From<PullError> for ApiError {
    fn from(error: PullError) -> Self {
        Self::from(EngineError::from(error))
    }
}

impl ApiError {
    /// The error with its causes, for a stream that has begun.
    pub(crate) fn message(&self) -> String {
        describe(self)
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::TooNew(_) | Self::TooOld(_) | Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotSupported(_) => StatusCode::NOT_IMPLEMENTED,
            Self::NoSuchPage | Self::NoSuchContainer(_) | Self::NoSuchImage(_) => StatusCode::NOT_FOUND,
            Self::Engine(error) => match error {
                EngineError::Ambiguous(..) | EngineError::Invalid { .. } => StatusCode::BAD_REQUEST,
                EngineError::NoSuchContainer(_) | EngineError::NoSuchImage(_) => StatusCode::NOT_FOUND,
                EngineError::NameTaken { .. }
                | EngineError::State { .. }
                | EngineError::Image(PullError::InUse { .. } | PullError::SeveralNames { .. }) => {
                    StatusCode::CONFLICT
                }
                EngineError::Image(
                    PullError::Malformed(_)
                    | PullError::Ambiguous { .. }
                    | PullError::Archive { .. }
                    | PullError::Unusable { .. },
                ) => StatusCode::BAD_REQUEST,
                EngineError::Image(PullError::NotFound { .. }) => StatusCode::NOT_FOUND,
                EngineError::Image(PullError::Denied { .. } | PullError::Realm { .. }) => {
                    StatusCode::FORBIDDEN
                }
                EngineError::Image(PullError::WrongLogin { .. }) => StatusCode::UNAUTHORIZED,
                EngineError::Closed => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            },
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, message) = (self.status(), describe(&self));
        match self {
            Self::TooOld(_) => (status, format!("{message}\n")).into_response(),
            _ => (status, Json(json!({ "message": message }))).into_response(),
        }
    }
}

/// The error with its causes, each once; some print their cause themselves.
fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_dockers_status() {
        let of = |error: EngineError| ApiError::from(error).status().as_u16();
        assert_eq!(of(EngineError::NoSuchContainer("x".into())), 404);
        assert_eq!(of(EngineError::Ambiguous("a".into(), 2)), 400);
        assert_eq!(of(EngineError::NameTaken { name: "a".into(), id: "b".into() }), 409);
        assert_eq!(of(EngineError::Closed), 503);
        assert_eq!(of(EngineError::Keeper("gone".into())), 500);
    }

    #[test]
    fn clients_find_the_words_they_look_for() {
        let error = ApiError::from(EngineError::NoSuchContainer("web".into()));
        assert_eq!(describe(&error), "No such container: web");
    }
}
