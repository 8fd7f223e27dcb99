//! Who gets in, over real connections.

use std::time::{Duration, Instant, SystemTime};

use controller::ca::{Ca, PeerName, Role};
use controller::tls::Limits;
use proto::v1;
use proto::v1::control_client::ControlClient;
use proto::v1::dispatch_client::DispatchClient;
use proto::v1::identity_client::IdentityClient;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;

use crate::rig::{PATIENCE, Rig, card, csr};

async fn control(channel: Channel) -> Code {
    code(ControlClient::new(channel).get_cluster(v1::GetClusterRequest {}).await)
}

async fn session(channel: Channel) -> Code {
    let none = tokio_stream::iter(Vec::<v1::SessionRequest>::new());
    match DispatchClient::new(channel).session(none).await {
        Ok(answer) => code(answer.into_inner().message().await),
        Err(status) => status.code(),
    }
}

async fn renew(channel: Channel) -> Code {
    code(IdentityClient::new(channel).renew(v1::RenewRequest { csr_der: csr().0 }).await)
}

async fn issue(channel: Channel) -> Code {
    let request =
        v1::IssueRequest { token_secret: "guess".to_owned(), csr_der: csr().0, ..Default::default() };
    code(IdentityClient::new(channel).issue(request).await)
}

fn code<T>(answer: Result<T, tonic::Status>) -> Code {
    answer.map_or_else(|status| status.code(), |_| Code::Ok)
}

/// The connection was refused or cut, so no RPC was answered at all. Depending
/// on who notices first, tonic calls that one or the other.
fn hung_up(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Unknown)
}

#[tokio::test]
async fn each_role_reaches_its_own_services_and_nothing_else() {
    use Code::{InvalidArgument, Ok, PermissionDenied, Unauthenticated};
    let rig = Rig::start().await;
    let (_, node) = rig.node("n1").await;
    let stranger = rig.card(Role::Node, &"z".repeat(25));
    let admin = rig.card(Role::User, "admin");
    let guest = rig.card(Role::User, "guest");
    let controller = rig.card(Role::Controller, "2");
    let no = PermissionDenied;
    // Who, then what Control, Session, Renew and Issue answer. INVALID_ARGUMENT is a session that got in and said
    // nothing; a guessed token is denied to everybody.
    let table = [
        ("nobody", None, [Unauthenticated, Unauthenticated, Unauthenticated, no]),
        ("admin", Some(&admin), [Ok, no, no, no]),
        ("guest", Some(&guest), [no, no, no, no]),
        ("controller", Some(&controller), [no, no, no, no]),
        ("node", Some(&node), [no, InvalidArgument, Ok, no]),
        ("removed node", Some(&stranger), [no, no, no, no]),
    ];
    for (who, card, expected) in table {
        let channel = rig.channel(card);
        let found = [
            control(channel.clone()).await,
            session(channel.clone()).await,
            renew(channel.clone()).await,
            issue(channel).await,
        ];
        assert_eq!(found, expected, "{who}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn foreign_and_expired_certificates_fail_in_the_handshake() {
    let rig = Rig::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign = Ca::open_or_create(elsewhere.path()).unwrap();
    let name = PeerName::new(rig.ca.cluster_id(), Role::User, "admin");
    let forged = card(&foreign, &name, SystemTime::now());
    assert!(hung_up(control(rig.channel(Some(&forged))).await));
    let day = Duration::from_secs(24 * 3600);
    let expired = card(&rig.ca, &name, SystemTime::now() - day - Duration::from_secs(1));
    assert!(hung_up(control(rig.channel(Some(&expired))).await));
    let future = card(&rig.ca, &name, SystemTime::now() + day);
    assert!(hung_up(control(rig.channel(Some(&future))).await));
    rig.stop().await;
}

#[tokio::test]
async fn silent_strangers_are_hung_up_on_and_do_not_keep_others_out() {
    let limits = Limits {
        handshakes: 2,
        handshake_timeout: Duration::from_millis(500),
        anonymous: 1,
        anonymous_life: Duration::from_millis(500),
        ..Limits::default()
    };
    let rig = Rig::with_limits(limits).await;
    let mut silent = Vec::new();
    for _ in 0..4 {
        silent.push(TcpStream::connect(rig.address).await.unwrap());
    }
    let began = Instant::now();
    rig.admin().get_cluster(v1::GetClusterRequest {}).await.unwrap();
    assert!(began.elapsed() < PATIENCE);
    for mut stream in silent {
        let mut byte = [0];
        let end = tokio::time::timeout(PATIENCE, stream.read(&mut byte)).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)), "a silent connection was kept");
    }
    // One without a certificate at a time, and not for long.
    let first = rig.channel(None);
    assert_eq!(control(first.clone()).await, Code::Unauthenticated);
    assert!(hung_up(control(rig.channel(None)).await));
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(control(rig.channel(None)).await, Code::Unauthenticated);
    rig.stop().await;
}
