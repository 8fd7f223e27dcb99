//! Join tokens: shown in clear once, to the person who asked, and kept as a hash.

use std::time::Duration;

use controller_core::{Command, Role, SpecError};
use proto::v1;

use crate::error::ApiError;
use crate::leader::clock;
use crate::server::Context;

const DEFAULT_LIFE: Duration = Duration::from_secs(60 * 60);
/// A token that leaks should have expired long ago.
const LONGEST_LIFE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

pub(super) async fn create(
    context: &Context,
    request: v1::CreateJoinTokenRequest,
) -> Result<v1::CreateJoinTokenResponse, ApiError> {
    let broken = |field: &str, rule: String| SpecError { field: field.to_owned(), rule };
    if request.role != "agent" {
        return Err(broken("role", format!("must be \"agent\", not {:?}", request.role)).into());
    }
    let life = match request.ttl_seconds {
        0 => DEFAULT_LIFE,
        seconds => Duration::from_secs(seconds),
    };
    if life > LONGEST_LIFE {
        let rule = format!("must be at most {}, not {}", LONGEST_LIFE.as_secs(), request.ttl_seconds);
        return Err(broken("ttl_seconds", rule).into());
    }
    let token = context.ca.make_token()?;
    let at = clock();
    let expires = at.plus(life);
    let command = Command::CreateToken { hash: token.secret_hash(), role: Role::Agent, expires, at };
    context.store.propose_checked(command).await?;
    Ok(v1::CreateJoinTokenResponse { token: token.to_string(), expires_at_ms: expires.0 })
}
