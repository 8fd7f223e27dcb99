//! The gRPC service `NodeControl` and those beside it: what this agent does on its own host. One
//! resource per file; here requests are only handed on, each within the trace of
//! its caller. Who may call is decided by [`crate::server`], before.

mod attach;
mod container;
mod control;
mod event;
mod exec;
mod files;
mod filter;
mod image;
mod info;
mod inspect;
mod list;
mod log;
mod node;
mod push;
mod usage;
mod volume;

pub use self::volume::shown as mount;

use std::pin::Pin;

use agent_engine::Engine;
use futures::Stream;
use proto::v1;
use proto::v1::node_control_server::NodeControl;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument;

use crate::session::Link;
use crate::shutdown::Shutdown;
use crate::task::fetch::Fetcher;
use crate::telemetry::{record_failure, request_span};

/// Messages that may wait for a slow client before the source is paused.
const STREAM_QUEUE: usize = 16;

/// A stream of answers.
type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Api {
    /// The containers.
    pub engine: Engine,
    /// Missing images.
    pub fetcher: Fetcher,
    /// What is known of the cluster.
    pub link: watch::Receiver<Link>,
    /// To end the agent.
    pub shutdown: Shutdown,
}

/// Runs one request in a span that belongs to its caller's trace.
async fn traced<Q, A>(
    name: &'static str,
    request: Request<Q>,
    answer: impl AsyncFnOnce(Q) -> Result<A, Status>,
) -> Result<Response<A>, Status> {
    let span = request_span(name, request.metadata());
    let answer = answer(request.into_inner()).instrument(span.clone()).await;
    answer.inspect_err(|status| record_failure(&span, status.message())).map(Response::new)
}

#[tonic::async_trait]
impl NodeControl for Api {
    async fn get_node(
        &self,
        request: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::GetNodeResponse>, Status> {
        traced("GetNode", request, async |_| Ok(node::get(self))).await
    }

    async fn get_info(
        &self,
        request: Request<v1::GetInfoRequest>,
    ) -> Result<Response<v1::GetInfoResponse>, Status> {
        traced("GetInfo", request, async |_| info::get(self).await).await
    }

    async fn shutdown(
        &self,
        request: Request<v1::ShutdownRequest>,
    ) -> Result<Response<v1::ShutdownResponse>, Status> {
        traced("Shutdown", request, async |request| Ok(node::shutdown(self, request))).await
    }

    type PullImageStream = Answers<v1::PullImageResponse>;

    async fn pull_image(
        &self,
        request: Request<v1::PullImageRequest>,
    ) -> Result<Response<Self::PullImageStream>, Status> {
        traced("PullImage", request, async |request| image::pull(self, &request)).await
    }

    async fn list_images(
        &self,
        request: Request<v1::ListImagesRequest>,
    ) -> Result<Response<v1::ListImagesResponse>, Status> {
        traced("ListImages", request, async |request| image::list(self, request).await).await
    }

    async fn create_container(
        &self,
        request: Request<v1::CreateContainerRequest>,
    ) -> Result<Response<v1::CreateContainerResponse>, Status> {
        traced("CreateContainer", request, async |request| container::create(self, request).await).await
    }

    async fn start_container(
        &self,
        request: Request<v1::StartContainerRequest>,
    ) -> Result<Response<v1::StartContainerResponse>, Status> {
        traced("StartContainer", request, async |request| container::start(self, &request).await).await
    }

    type AttachContainerStream = Answers<v1::AttachContainerResponse>;

    async fn attach_container(
        &self,
        request: Request<Streaming<v1::AttachContainerRequest>>,
    ) -> Result<Response<Self::AttachContainerStream>, Status> {
        traced("AttachContainer", request, async |requests| attach::attach(self, requests).await).await
    }

    async fn wait_container(
        &self,
        request: Request<v1::WaitContainerRequest>,
    ) -> Result<Response<v1::WaitContainerResponse>, Status> {
        traced("WaitContainer", request, async |request| container::wait(self, &request).await).await
    }

    async fn kill_container(
        &self,
        request: Request<v1::KillContainerRequest>,
    ) -> Result<Response<v1::KillContainerResponse>, Status> {
        traced("KillContainer", request, async |request| control::kill(self, &request).await).await
    }

    async fn stop_container(
        &self,
        request: Request<v1::StopContainerRequest>,
    ) -> Result<Response<v1::StopContainerResponse>, Status> {
        traced("StopContainer", request, async |request| control::stop(self, &request).await).await
    }

    async fn remove_container(
        &self,
        request: Request<v1::RemoveContainerRequest>,
    ) -> Result<Response<v1::RemoveContainerResponse>, Status> {
        traced("RemoveContainer", request, async |request| control::remove(self, &request).await).await
    }

    async fn list_containers(
        &self,
        request: Request<v1::ListContainersRequest>,
    ) -> Result<Response<v1::ListContainersResponse>, Status> {
        traced("ListContainers", request, async |request| list::list(self, request).await).await
    }

    async fn container_usage(
        &self,
        request: Request<v1::ContainerUsageRequest>,
    ) -> Result<Response<v1::ContainerUsageResponse>, Status> {
        traced("ContainerUsage", request, async |request| usage::one(self, &request).await).await
    }

    async fn list_container_usage(
        &self,
        request: Request<v1::ListContainerUsageRequest>,
    ) -> Result<Response<v1::ListContainerUsageResponse>, Status> {
        traced("ListContainerUsage", request, async |request| usage::list(self, &request).await).await
    }

    async fn restart_container(
        &self,
        request: Request<v1::RestartContainerRequest>,
    ) -> Result<Response<v1::RestartContainerResponse>, Status> {
        traced("RestartContainer", request, async |request| control::restart(self, &request).await).await
    }

    async fn pause_container(
        &self,
        request: Request<v1::PauseContainerRequest>,
    ) -> Result<Response<v1::PauseContainerResponse>, Status> {
        traced("PauseContainer", request, async |request| control::pause(self, &request).await).await
    }

    async fn unpause_container(
        &self,
        request: Request<v1::UnpauseContainerRequest>,
    ) -> Result<Response<v1::UnpauseContainerResponse>, Status> {
        traced("UnpauseContainer", request, async |request| control::unpause(self, &request).await).await
    }

    async fn rename_container(
        &self,
        request: Request<v1::RenameContainerRequest>,
    ) -> Result<Response<v1::RenameContainerResponse>, Status> {
        traced("RenameContainer", request, async |request| control::rename(self, &request).await).await
    }

    async fn update_container(
        &self,
        request: Request<v1::UpdateContainerRequest>,
    ) -> Result<Response<v1::UpdateContainerResponse>, Status> {
        traced("UpdateContainer", request, async |request| control::update(self, request).await).await
    }

    async fn prune_containers(
        &self,
        request: Request<v1::PruneContainersRequest>,
    ) -> Result<Response<v1::PruneContainersResponse>, Status> {
        traced("PruneContainers", request, async |request| control::prune(self, request).await).await
    }

    async fn inspect_container(
        &self,
        request: Request<v1::InspectContainerRequest>,
    ) -> Result<Response<v1::InspectContainerResponse>, Status> {
        traced("InspectContainer", request, async |request| inspect::inspect(self, &request).await).await
    }

    async fn top_container(
        &self,
        request: Request<v1::TopContainerRequest>,
    ) -> Result<Response<v1::TopContainerResponse>, Status> {
        traced("TopContainer", request, async |request| inspect::top(self, &request).await).await
    }

    type ContainerLogsStream = Answers<v1::ContainerLogsResponse>;

    async fn container_logs(
        &self,
        request: Request<v1::ContainerLogsRequest>,
    ) -> Result<Response<Self::ContainerLogsStream>, Status> {
        traced("ContainerLogs", request, async |request| log::read(self, &request)).await
    }
}
