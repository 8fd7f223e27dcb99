//! Joining and renewing.

use controller::ca::JoinToken;
use controller_core::{Command, Timestamp};
use proto::v1;
use proto::v1::dispatch_client::DispatchClient;
use proto::v1::identity_client::IdentityClient;
use tonic::Code;

use crate::rig::{Card, Rig, csr};

fn request(secret: &str, csr_der: Vec<u8>, name: &str) -> v1::IssueRequest {
    v1::IssueRequest { token_secret: secret.to_owned(), csr_der, node_name: name.to_owned() }
}

async fn token(rig: &Rig) -> JoinToken {
    let request = v1::CreateJoinTokenRequest { role: "agent".to_owned(), ttl_seconds: 0 };
    let answer = rig.admin().create_join_token(request).await.unwrap().into_inner();
    JoinToken::parse(&answer.token).unwrap()
}

#[tokio::test]
async fn a_token_admits_nodes_under_ids_and_names_the_cluster_chooses() {
    let rig = Rig::start().await;
    let token = token(&rig).await;
    assert!(token.pins(rig.ca.root_der()));
    let mut identity = IdentityClient::new(rig.channel(None));
    let mut names = Vec::new();
    for _ in 0..2 {
        let (csr, key) = csr();
        let issued = identity.issue(request(token.secret(), csr, "host")).await.unwrap().into_inner();
        assert_eq!(issued.cluster_id, rig.ca.cluster_id());
        assert_eq!(issued.chain_der.last().unwrap(), &rig.ca.root_der().to_vec());
        let id = issued.node_id.parse().unwrap();
        names.push(rig.store.state().node(&id).unwrap().name.clone());
        // The certificate opens a session: it is refused for its first message, not for who it is.
        let card = Card { certificate: pem(&issued.chain_der[0]), key };
        let silent = tokio_stream::iter(Vec::<v1::SessionRequest>::new());
        let mut session =
            DispatchClient::new(rig.channel(Some(&card))).session(silent).await.unwrap().into_inner();
        assert_eq!(session.message().await.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(names, ["host", "host-2"]);
    rig.stop().await;
}

#[tokio::test]
async fn a_refused_caller_leaves_no_node_behind() {
    let rig = Rig::start().await;
    let good = token(&rig).await;
    let late = rig.ca.make_token().unwrap();
    let role = controller_core::Role::Agent;
    let (hash, at, expires) = (late.secret_hash(), Timestamp(1), Timestamp(2));
    rig.store.propose_checked(Command::CreateToken { hash, role, expires, at }).await.unwrap();
    let forged = rig.ca.make_token().unwrap();
    let mut identity = IdentityClient::new(rig.channel(None));
    let damaged = {
        let mut csr = csr().0;
        let last = csr.len() - 1;
        csr[last] ^= 1;
        csr
    };
    let huge = "x".repeat(100_000);
    let table = [
        (forged.secret(), csr().0, "n", Code::PermissionDenied),
        (late.secret(), csr().0, "n", Code::PermissionDenied),
        (&good.secret_hash(), csr().0, "n", Code::PermissionDenied),
        ("", csr().0, "n", Code::PermissionDenied),
        (&huge, csr().0, "n", Code::PermissionDenied),
        (good.secret(), Vec::new(), "n", Code::InvalidArgument),
        (good.secret(), damaged, "n", Code::InvalidArgument),
        (good.secret(), vec![0x30; 100_000], "n", Code::InvalidArgument),
        (good.secret(), csr().0, &huge, Code::InvalidArgument),
    ];
    for (row, (secret, csr, name, code)) in table.into_iter().enumerate() {
        let status = identity.issue(request(secret, csr, name)).await.unwrap_err();
        assert_eq!(status.code(), code, "row {row}: {status}");
    }
    assert_eq!(rig.store.state().nodes().count(), 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_node_renews_its_certificate_for_a_new_key() {
    let rig = Rig::start().await;
    let (id, old) = rig.node("n1").await;
    let (csr, key) = csr();
    let mut identity = IdentityClient::new(rig.channel(Some(&old)));
    let renewed = identity.renew(v1::RenewRequest { csr_der: csr }).await.unwrap().into_inner();
    let card = Card { certificate: pem(&renewed.chain_der[0]), key };
    let mut identity = IdentityClient::new(rig.channel(Some(&card)));
    let (csr, _) = crate::rig::csr();
    identity.renew(v1::RenewRequest { csr_der: csr }).await.unwrap();
    assert_eq!(rig.store.state().nodes().map(|node| node.id).collect::<Vec<_>>(), [id]);
    rig.stop().await;
}

#[tokio::test]
async fn tokens_for_unknown_roles_or_for_ever_are_refused() {
    let rig = Rig::start().await;
    for (role, ttl_seconds, field) in
        [("controller", 0, "role"), ("", 0, "role"), ("agent", u64::MAX, "ttl_seconds")]
    {
        let request = v1::CreateJoinTokenRequest { role: role.to_owned(), ttl_seconds };
        let status = rig.admin().create_join_token(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().starts_with(field), "{status}");
    }
    rig.stop().await;
}

/// DER as PEM, the long way round: parsed by rcgen's own dependency.
fn pem(der: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in der.chunks(3) {
        let byte = |n: usize| u32::from(chunk.get(n).copied().unwrap_or(0));
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = char::from(DIGITS[(group >> (18 - 6 * place) & 63) as usize]);
            text.push(if place > chunk.len() { '=' } else { digit });
        }
    }
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}
