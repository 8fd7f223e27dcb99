//! The gRPC service `Registries`: pushing images with their progress, and trying credentials.

use agent_engine::image::{
    Credentials, Images, PullError, PushOptions, PushProgress, PushStep, Pushed, Reference,
};
use proto::v1;
use proto::v1::registries_server::Registries;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tracing::{Instrument, info};

use super::image::{platform, reference};
use super::{Answers, Api, STREAM_QUEUE, traced};
use crate::error;

type Sender = mpsc::Sender<Result<v1::PushImageResponse, Status>>;

#[tonic::async_trait]
impl Registries for Api {
    type PushImageStream = Answers<v1::PushImageResponse>;

    async fn push_image(
        &self,
        request: Request<v1::PushImageRequest>,
    ) -> Result<Response<Self::PushImageStream>, Status> {
        traced("PushImage", request, async |request| push(self, request).await).await
    }

    async fn check_login(
        &self,
        request: Request<v1::CheckLoginRequest>,
    ) -> Result<Response<v1::CheckLoginResponse>, Status> {
        traced("CheckLogin", request, async |request| {
            let auth = request.auth.ok_or_else(|| error::invalid_field("auth", "it is missing"))?;
            // A registry's name is what stands before the first slash of a reference.
            let named = format!("{}/x", auth.registry).parse::<Reference>();
            if named.is_err() || named.is_ok_and(|named| named.domain() != auth.registry) {
                return Err(error::invalid_field(
                    "auth.registry",
                    format!("{:?} is no registry", auth.registry),
                ));
            }
            let images = self.engine.images();
            let checked = images.check_login(&auth.registry, &credentials(&auth)).await;
            checked.map_err(|fault| error::pull(&fault))?;
            Ok(v1::CheckLoginResponse {})
        })
        .await
    }
}

fn credentials(auth: &v1::RegistryAuth) -> Credentials {
    if auth.identity_token.is_empty() {
        Credentials::password(&auth.username, &auth.password)
    } else {
        Credentials::identity_token(&auth.identity_token)
    }
}

/// The credentials that came with a request, which must be for the image's own registry.
pub(super) fn login(
    auth: Option<&v1::RegistryAuth>,
    image: &Reference,
) -> Result<Option<Credentials>, Status> {
    let Some(auth) = auth else { return Ok(None) };
    if auth.registry != image.domain() {
        let rule = format!("it is for {:?}, the image is in {}", auth.registry, image.domain());
        return Err(error::invalid_field("auth.registry", rule));
    }
    Ok(Some(credentials(auth)))
}

async fn push(api: &Api, request: v1::PushImageRequest) -> Result<Answers<v1::PushImageResponse>, Status> {
    let image = reference(&request.image)?;
    let images = api.engine.images().clone();
    let options =
        PushOptions { platform: platform(&request.platform)?, login: login(request.auth.as_ref(), &image)? };
    let tags = if request.all_tags { tags(&images, &image).await? } else { vec![image] };
    let (answers, stream) = mpsc::channel(STREAM_QUEUE);
    let work = async move {
        for image in tags {
            let pushed = tokio::select! {
                pushed = push_one(&images, &image, &options, &answers) => pushed,
                // Nobody waits for it any more.
                () = answers.closed() => return,
            };
            let failed = pushed.is_err();
            let last = pushed.map_err(|fault| error::pull(&fault)).map(|pushed| v1::PushImageResponse {
                pushed: Some(answer(&image, &pushed)),
                ..v1::PushImageResponse::default()
            });
            if answers.send(last).await.is_err() || failed {
                return;
            }
        }
    };
    tokio::spawn(work.in_current_span());
    Ok(Box::pin(ReceiverStream::new(stream)))
}

async fn push_one(
    images: &Images,
    image: &Reference,
    options: &PushOptions,
    answers: &Sender,
) -> Result<Pushed, PullError> {
    // A client too slow for each step misses some; the next one says more anyway.
    let progress = |step| {
        let _ = answers.try_send(Ok(shown(step)));
    };
    let pushed = images.push(image, options, progress).await?;
    info!(image = image.full(), digest = %pushed.digest, "pushed");
    Ok(pushed)
}

/// Every tag of a repository that is here.
async fn tags(images: &Images, image: &Reference) -> Result<Vec<Reference>, Status> {
    let all = images.list().await.map_err(|fault| error::pull(&fault))?;
    let same = |name: &Reference| name.domain() == image.domain() && name.path() == image.path();
    let names = all.into_iter().map(|found| found.name);
    let tags: Vec<Reference> =
        names.filter(|name| same(name) && name.tag().is_some() && name.digest().is_none()).collect();
    if tags.is_empty() {
        return Err(error::pull(&PullError::Absent { image: image.to_string() }));
    }
    Ok(tags)
}

fn answer(image: &Reference, pushed: &Pushed) -> v1::PushedImage {
    v1::PushedImage {
        image: image.to_string(),
        digest: pushed.digest.to_string(),
        size_bytes: pushed.size,
        instead_of: pushed.instead_of.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

fn shown(progress: PushProgress) -> v1::PushImageResponse {
    let (digest, step) = match progress {
        PushProgress::Blob { digest, step } => (digest, step),
        PushProgress::Delayed { reason, wait } => {
            let note = format!("{reason}; trying again in {} s", wait.as_secs());
            return v1::PushImageResponse { note, ..v1::PushImageResponse::default() };
        }
    };
    let mut response =
        v1::PushImageResponse { digest: digest.to_string(), ..v1::PushImageResponse::default() };
    let phase = match step {
        PushStep::Waiting => v1::TransferPhase::Waiting,
        PushStep::Sending { done, total } => {
            (response.bytes, response.total_bytes) = (done, total);
            v1::TransferPhase::Moving
        }
        PushStep::Done => v1::TransferPhase::Done,
        PushStep::Present => v1::TransferPhase::Present,
        PushStep::Mounted(source) => {
            response.mounted_from = source;
            v1::TransferPhase::Mounted
        }
    };
    response.set_phase(phase);
    response
}
