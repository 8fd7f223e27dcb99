//! `ctl login` and `ctl logout`: credentials for registries, tried before they are kept, and kept where Docker keeps
//! them, so that either program knows what was given to the other.

use std::io::Read as _;
use std::process::ExitCode;

use proto::v1::registries_client::RegistriesClient;
use proto::v1::{CheckLoginRequest, RegistryAuth};

use crate::cli::Global;
use crate::credentials::{DockerConfig, Place, registry};
use crate::error::{CommandError, Kind};
use crate::{cmd, output, terminal};

/// Longest password, in bytes; tokens of cloud registries take some thousands.
const MAX_PASSWORD: u64 = 64 << 10;

/// Who to be, and where.
#[derive(Debug, clap::Args)]
pub struct LoginArgs {
    /// The registry [default: docker.io]
    registry: Option<String>,
    /// The user; asked for when missing
    #[arg(long, short)]
    username: Option<String>,
    /// Read the password from standard input
    #[arg(long, conflicts_with = "password", requires = "username")]
    password_stdin: bool,
    /// The password; everybody on this machine may see it here
    #[arg(long, short, hide = true, requires = "username")]
    password: Option<String>,
}

/// Where to be nobody again.
#[derive(Debug, clap::Args)]
pub struct LogoutArgs {
    /// The registry [default: docker.io]
    registry: Option<String>,
}

/// Asks the registry, then keeps the credentials.
///
/// # Errors
/// When the registry does not take them, or they cannot be kept.
pub async fn login(global: &Global, args: LoginArgs) -> Result<ExitCode, CommandError> {
    let registry = registry(args.registry.as_deref().unwrap_or_default())?;
    let username = match args.username {
        Some(username) => username,
        None => terminal::ask(&format!("user at {registry}: "))?,
    };
    let password = match args.password {
        Some(password) => {
            output::note(
                "the password of --password is in the list of processes; --password-stdin keeps it out",
            );
            password
        }
        None if args.password_stdin => from_stdin()?,
        None => terminal::ask_secretly(&format!("password of {username} at {registry}: "))?,
    };
    if username.is_empty() || password.is_empty() {
        return Err(CommandError::new(Kind::Usage, "a login needs a user and a password"));
    }
    if username.contains(':') {
        return Err(CommandError::new(Kind::Usage, "a user's name has no colon in it"));
    }
    let auth = RegistryAuth { registry, username, password, ..RegistryAuth::default() };
    let mut agent = RegistriesClient::new(cmd::host(global).await?);
    agent.check_login(CheckLoginRequest { auth: Some(auth.clone()) }).await?;
    match DockerConfig::load()?.store(&auth).await? {
        Place::Helper(helper) => {
            output::note(&format!("logged in to {}; kept by docker-credential-{helper}", auth.registry));
        }
        Place::File(path) => output::note(&format!(
            "logged in to {}; the password is in {}, not encrypted: a credential helper keeps it better",
            auth.registry,
            path.display()
        )),
    }
    Ok(ExitCode::SUCCESS)
}

/// Forgets credentials.
///
/// # Errors
/// When they cannot be taken away from where they are.
pub async fn logout(args: LogoutArgs) -> Result<ExitCode, CommandError> {
    let registry = registry(args.registry.as_deref().unwrap_or_default())?;
    let known = DockerConfig::load()?.erase(&registry).await?;
    output::note(&if known {
        format!("logged out of {registry}")
    } else {
        format!("there were no credentials for {registry}")
    });
    Ok(ExitCode::SUCCESS)
}

fn from_stdin() -> Result<String, CommandError> {
    let mut text = String::new();
    let read = std::io::stdin().take(MAX_PASSWORD + 1).read_to_string(&mut text);
    if read.is_err() || text.len() as u64 > MAX_PASSWORD {
        return Err(CommandError::new(Kind::Usage, "standard input holds no password"));
    }
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
