//! `ctl container commit`: an image of a container's image and its changes.

use std::process::ExitCode;

use proto::v1::CommitContainerRequest;
use proto::v1::container_files_client::ContainerFilesClient;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output;

/// Make an image of a container's changes
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Who made it
    #[arg(long, short = 'a', default_value = "", hide_default_value = true)]
    author: String,
    /// Change the image's configuration by an instruction: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, USER, VOLUME
    /// or WORKDIR
    #[arg(long, short = 'c', value_name = "INSTRUCTION")]
    change: Vec<String>,
    /// What it is for
    #[arg(long, short = 'm', default_value = "", hide_default_value = true)]
    message: String,
    /// Hold the container still while its files are read
    #[arg(
        long,
        short = 'p',
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true
    )]
    pause: bool,
    /// Name or id of the container
    container: String,
    /// Name of the image
    image: String,
}

/// Makes the image and prints its digest.
///
/// # Errors
/// When an instruction makes no sense, or the files cannot be read; no image is made then.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut files = ContainerFilesClient::new(crate::cmd::host(global).await?);
    let request = CommitContainerRequest {
        container: args.container,
        image: args.image,
        author: args.author,
        comment: args.message,
        changes: args.change,
        no_pause: !args.pause,
    };
    output::line(&files.commit_container(request).await?.into_inner().image_digest);
    Ok(ExitCode::SUCCESS)
}
