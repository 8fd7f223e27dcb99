//! An agent's Node API that only knows logs, with any certificate one likes.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::Stream;
use proto::v1;
use proto::v1::node_control_server::{NodeControl, NodeControlServer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

use crate::rig::{Card, Rig};

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Unary<T> = Result<Response<T>, Status>;

/// A line that is not sent: it breaks the stream that comes to it, once.
pub(crate) const CUT: &[u8] = b"(cut)";

/// Lines per container, which tests add to.
#[derive(Clone, Default)]
pub(crate) struct NodeApi {
    lines: Arc<Mutex<BTreeMap<String, Vec<v1::LogLine>>>>,
    pub(crate) asked: Arc<Mutex<Vec<v1::ContainerLogsRequest>>>,
}

impl NodeApi {
    /// Serves with this card; returns the address.
    pub(crate) async fn serve(&self, rig: &Rig, card: &Card) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let tls = ServerTlsConfig::new()
            .identity(Identity::from_pem(&card.certificate, &card.key))
            .client_ca_root(Certificate::from_pem(rig.ca.root_pem()));
        let server =
            Server::builder().tls_config(tls).unwrap().add_service(NodeControlServer::new(self.clone()));
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
        address
    }

    pub(crate) fn write(&self, container: &str, time_ns: u64, text: &str) {
        let line = v1::LogLine { time_ns, data: text.as_bytes().to_vec(), ..v1::LogLine::default() };
        self.lines.lock().unwrap().entry(container.to_owned()).or_default().push(line);
    }

    fn remove(&self, container: &str, at: usize) {
        if let Some(lines) = self.lines.lock().unwrap().get_mut(container) {
            lines.remove(at);
        }
    }

    /// Line number `at` of a container; `None` when there is no such container.
    fn line(&self, container: &str, at: usize) -> Option<Option<v1::LogLine>> {
        self.lines.lock().unwrap().get(container).map(|lines| lines.get(at).cloned())
    }
}

fn no<T>() -> Unary<T> {
    Err(Status::unimplemented("this node only knows logs"))
}

#[tonic::async_trait]
impl NodeControl for NodeApi {
    type PullImageStream = Answers<v1::PullImageResponse>;
    type AttachContainerStream = Answers<v1::AttachContainerResponse>;
    type ContainerLogsStream = Answers<v1::ContainerLogsResponse>;

    async fn container_logs(
        &self,
        request: Request<v1::ContainerLogsRequest>,
    ) -> Unary<Self::ContainerLogsStream> {
        let request = request.into_inner();
        self.asked.lock().unwrap().push(request.clone());
        if self.line(&request.container, 0).is_none() {
            return Err(Status::not_found(format!("there is no container {:?}", request.container)));
        }
        let (sender, answers) = mpsc::channel(1);
        let api = self.clone();
        tokio::spawn(async move {
            let mut at = 0;
            loop {
                match api.line(&request.container, at).flatten() {
                    Some(line) if line.data == CUT => {
                        api.remove(&request.container, at);
                        let _ = sender.send(Err(Status::unavailable("the agent restarts"))).await;
                        return;
                    }
                    Some(line) => {
                        at += 1;
                        if line.time_ns / 1_000_000 >= request.since_ms
                            && sender.send(Ok(v1::ContainerLogsResponse { line: Some(line) })).await.is_err()
                        {
                            return;
                        }
                    }
                    None if request.follow => tokio::time::sleep(Duration::from_millis(10)).await,
                    None => return,
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn get_info(&self, _: Request<v1::GetInfoRequest>) -> Unary<v1::GetInfoResponse> {
        no()
    }

    async fn get_node(&self, _: Request<v1::GetNodeRequest>) -> Unary<v1::GetNodeResponse> {
        no()
    }
    async fn shutdown(&self, _: Request<v1::ShutdownRequest>) -> Unary<v1::ShutdownResponse> {
        no()
    }
    async fn pull_image(&self, _: Request<v1::PullImageRequest>) -> Unary<Self::PullImageStream> {
        no()
    }
    async fn list_images(&self, _: Request<v1::ListImagesRequest>) -> Unary<v1::ListImagesResponse> {
        no()
    }
    async fn create_container(
        &self,
        _: Request<v1::CreateContainerRequest>,
    ) -> Unary<v1::CreateContainerResponse> {
        no()
    }
    async fn start_container(
        &self,
        _: Request<v1::StartContainerRequest>,
    ) -> Unary<v1::StartContainerResponse> {
        no()
    }
    async fn attach_container(
        &self,
        _: Request<Streaming<v1::AttachContainerRequest>>,
    ) -> Unary<Self::AttachContainerStream> {
        no()
    }
    async fn wait_container(&self, _: Request<v1::WaitContainerRequest>) -> Unary<v1::WaitContainerResponse> {
        no()
    }
    async fn stop_container(&self, _: Request<v1::StopContainerRequest>) -> Unary<v1::StopContainerResponse> {
        no()
    }
    async fn kill_container(&self, _: Request<v1::KillContainerRequest>) -> Unary<v1::KillContainerResponse> {
        no()
    }
    async fn remove_container(
        &self,
        _: Request<v1::RemoveContainerRequest>,
    ) -> Unary<v1::RemoveContainerResponse> {
        no()
    }
    async fn container_usage(
        &self,
        _: Request<v1::ContainerUsageRequest>,
    ) -> Unary<v1::ContainerUsageResponse> {
        no()
    }
    async fn list_container_usage(
        &self,
        _: Request<v1::ListContainerUsageRequest>,
    ) -> Unary<v1::ListContainerUsageResponse> {
        no()
    }
    async fn list_containers(
        &self,
        _: Request<v1::ListContainersRequest>,
    ) -> Unary<v1::ListContainersResponse> {
        no()
    }
    async fn restart_container(
        &self,
        _: Request<v1::RestartContainerRequest>,
    ) -> Unary<v1::RestartContainerResponse> {
        no()
    }
    async fn pause_container(
        &self,
        _: Request<v1::PauseContainerRequest>,
    ) -> Unary<v1::PauseContainerResponse> {
        no()
    }
    async fn unpause_container(
        &self,
        _: Request<v1::UnpauseContainerRequest>,
    ) -> Unary<v1::UnpauseContainerResponse> {
        no()
    }
    async fn rename_container(
        &self,
        _: Request<v1::RenameContainerRequest>,
    ) -> Unary<v1::RenameContainerResponse> {
        no()
    }
    async fn inspect_container(
        &self,
        _: Request<v1::InspectContainerRequest>,
    ) -> Unary<v1::InspectContainerResponse> {
        no()
    }
    async fn top_container(&self, _: Request<v1::TopContainerRequest>) -> Unary<v1::TopContainerResponse> {
        no()
    }
    async fn prune_containers(
        &self,
        _: Request<v1::PruneContainersRequest>,
    ) -> Unary<v1::PruneContainersResponse> {
        no()
    }
    async fn update_container(
        &self,
        _: Request<v1::UpdateContainerRequest>,
    ) -> Unary<v1::UpdateContainerResponse> {
        no()
    }
}
