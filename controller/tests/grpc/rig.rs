//! One controller in this process, and clients with any certificate one likes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use controller::ca::{Ca, PeerName, Role, VerifiedRequest};
use controller::consensus::{MemoryLog, RaftSettings, RaftThread, SnapshotPolicy};
use controller::server::{Services, SharedIds};
use controller::store::Store;
use controller::tls::Limits;
use controller_core::{Command, NodeId, Timestamp};
use proto::v1;
use proto::v1::control_client::ControlClient;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Long enough for a slow machine, short enough to notice a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) address: SocketAddr,
    pub(crate) ca: Ca,
    pub(crate) store: Store,
    raft: RaftThread,
    leader: JoinHandle<()>,
    server: JoinHandle<()>,
    stop: oneshot::Sender<()>,
    pub(crate) dir: TempDir,
}

/// A certificate and its key.
pub(crate) struct Card {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::with_limits(Limits::default()).await
    }

    pub(crate) async fn with_limits(limits: Limits) -> Self {
        let dir = TempDir::new().unwrap();
        let ca = Ca::open_or_create(&dir.path().join("ca")).unwrap();
        let log = Arc::new(MemoryLog::new());
        let settings = RaftSettings::single(1);
        let (store, raft) = controller::consensus::start(&settings, SnapshotPolicy::default(), log).unwrap();
        let (handle, run) = controller::leader::run(store.clone(), 1);
        let leader = tokio::spawn(run);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let services = Services {
            store: store.clone(),
            leader: handle,
            ca: ca.clone(),
            ids: SharedIds::new(2),
            admin_dir: Some(dir.path().join("admin")),
            limits,
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            controller::server::serve(listener, services, shutdown).await.unwrap();
        });
        let mut status = store.status_changes();
        let lead = status.wait_for(|status| status.leading);
        drop(tokio::time::timeout(PATIENCE, lead).await.unwrap().unwrap());
        // The server writes the bundle before it answers, and the certificate last.
        let bundle = async {
            while !dir.path().join("admin/cert.pem").exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, bundle).await.unwrap();
        Self { address, ca, store, raft, leader, server, stop, dir }
    }

    /// Stops everything; the server must not hang on open calls.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        tokio::time::timeout(PATIENCE, self.server).await.unwrap().unwrap();
        self.raft.stop(&self.store).await.unwrap();
        self.leader.abort();
    }

    /// A card of this cluster.
    pub(crate) fn card(&self, role: Role, id: &str) -> Card {
        card(&self.ca, &PeerName::new(self.ca.cluster_id(), role, id), SystemTime::now())
    }

    /// A connection that shows this card.
    pub(crate) fn channel(&self, card: Option<&Card>) -> Channel {
        let root = Certificate::from_pem(self.ca.root_pem());
        let mut tls = ClientTlsConfig::new().ca_certificate(root).domain_name("controller.roadstead");
        if let Some(card) = card {
            tls = tls.identity(Identity::from_pem(&card.certificate, &card.key));
        }
        let endpoint = Endpoint::from_shared(format!("https://{}", self.address)).unwrap();
        endpoint.tls_config(tls).unwrap().timeout(PATIENCE).connect_lazy()
    }

    /// The administrator, with the bundle that the server wrote.
    pub(crate) fn admin(&self) -> ControlClient<Channel> {
        let read = |name: &str| std::fs::read_to_string(self.dir.path().join("admin").join(name)).unwrap();
        let card = Card { certificate: read("cert.pem"), key: read("key.pem") };
        ControlClient::new(self.channel(Some(&card)))
    }

    /// A node the cluster has let in, and its card.
    pub(crate) async fn node(&self, name: &str) -> (NodeId, Card) {
        let ids = SharedIds::random().unwrap();
        let (id, token_hash) = (ids.node(), controller::ca::hash_secret(name));
        let (at, expires) = (Timestamp(1), Timestamp(2));
        let role = controller_core::Role::Agent;
        let hash = token_hash.clone();
        self.store.propose_checked(Command::CreateToken { hash, role, expires, at }).await.unwrap();
        let admit = Command::AdmitNode { id, name: name.to_owned(), token_hash, at };
        self.store.propose_checked(admit).await.unwrap();
        (id, self.card(Role::Node, id.as_str()))
    }
}

pub(crate) fn card(ca: &Ca, name: &PeerName, now: SystemTime) -> Card {
    let (csr, key) = csr();
    let issued = ca.issue(name, VerifiedRequest::from_der(&csr).unwrap(), now).unwrap();
    Card { certificate: issued.leaf_pem, key }
}

/// A signing request, and its key as PEM.
pub(crate) fn csr() -> (Vec<u8>, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::default();
    (params.serialize_request(&key).unwrap().der().to_vec(), key.serialize_pem())
}

pub(crate) fn spec(name: &str, replicas: u32) -> v1::ServiceSpec {
    let container = v1::ContainerSpec { image: "roadstead/hello".to_owned(), ..Default::default() };
    v1::ServiceSpec { name: name.to_owned(), replicas, container: Some(container), ..Default::default() }
}

pub(crate) async fn create(admin: &mut ControlClient<Channel>, spec: v1::ServiceSpec) -> v1::Service {
    let request = v1::CreateServiceRequest { spec: Some(spec) };
    admin.create_service(request).await.unwrap().into_inner().service.unwrap()
}
