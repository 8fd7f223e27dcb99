//! The Control service: what people and tools ask of the cluster. This file
//! only hands each call to the resource it is about; authorisation happened
//! before (`server/access.rs`), conversion and errors have modules of their own.

mod cluster;
mod log;
mod node;
mod service;
mod task;
mod token;
mod watch;

use proto::v1::{self, control_server::Control};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::server::Context;

/// Answers of a stream; bounded, so a slow reader slows only its own stream.
type Answers<T> = ReceiverStream<Result<T, Status>>;

/// Serves the Control service.
#[derive(Clone, Debug)]
pub(crate) struct ControlApi {
    context: Context,
}

impl ControlApi {
    /// Serves from these parts.
    pub(crate) fn new(context: Context) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl Control for ControlApi {
    type WatchServiceStream = Answers<v1::WatchServiceResponse>;
    type ServiceLogsStream = Answers<v1::ServiceLogsResponse>;

    async fn get_cluster(
        &self,
        _: Request<v1::GetClusterRequest>,
    ) -> Result<Response<v1::GetClusterResponse>, Status> {
        Ok(Response::new(cluster::get(&self.context)))
    }

    async fn create_join_token(
        &self,
        request: Request<v1::CreateJoinTokenRequest>,
    ) -> Result<Response<v1::CreateJoinTokenResponse>, Status> {
        Ok(Response::new(token::create(&self.context, request.into_inner()).await?))
    }

    async fn create_service(
        &self,
        request: Request<v1::CreateServiceRequest>,
    ) -> Result<Response<v1::CreateServiceResponse>, Status> {
        Ok(Response::new(service::create(&self.context, request.into_inner()).await?))
    }

    async fn update_service(
        &self,
        request: Request<v1::UpdateServiceRequest>,
    ) -> Result<Response<v1::UpdateServiceResponse>, Status> {
        Ok(Response::new(service::update(&self.context, request.into_inner()).await?))
    }

    async fn remove_service(
        &self,
        request: Request<v1::RemoveServiceRequest>,
    ) -> Result<Response<v1::RemoveServiceResponse>, Status> {
        Ok(Response::new(service::remove(&self.context, &request.into_inner()).await?))
    }

    async fn get_service(
        &self,
        request: Request<v1::GetServiceRequest>,
    ) -> Result<Response<v1::GetServiceResponse>, Status> {
        Ok(Response::new(service::get(&self.context, &request.into_inner())?))
    }

    async fn list_services(
        &self,
        _: Request<v1::ListServicesRequest>,
    ) -> Result<Response<v1::ListServicesResponse>, Status> {
        Ok(Response::new(service::list(&self.context)))
    }

    async fn watch_service(
        &self,
        request: Request<v1::WatchServiceRequest>,
    ) -> Result<Response<Self::WatchServiceStream>, Status> {
        Ok(Response::new(watch::open(&self.context, &request.into_inner())?))
    }

    async fn service_logs(
        &self,
        request: Request<v1::ServiceLogsRequest>,
    ) -> Result<Response<Self::ServiceLogsStream>, Status> {
        Ok(Response::new(log::open(&self.context, &request.into_inner())?))
    }

    async fn list_tasks(
        &self,
        request: Request<v1::ListTasksRequest>,
    ) -> Result<Response<v1::ListTasksResponse>, Status> {
        Ok(Response::new(task::list(&self.context, &request.into_inner())?))
    }

    async fn list_nodes(
        &self,
        _: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        Ok(Response::new(node::list(&self.context)))
    }
}
