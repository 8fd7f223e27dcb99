//! Who is let in over TLS. The API itself is tested against an engine.

use super::*;
use crate::identity::testing::{Authority, CLUSTER};

fn role_of(authority: &Authority, role_name: &str, cluster: &str) -> Option<String> {
    let (chain, _) = authority.issue(role_name, "x");
    role(chain[0].as_ref(), cluster)
}

#[test]
fn the_role_is_read_from_the_certificate_of_this_cluster_only() {
    let authority = Authority::new();
    assert_eq!(role_of(&authority, "controller", CLUSTER).as_deref(), Some("controller"));
    assert_eq!(role_of(&authority, "node", CLUSTER).as_deref(), Some("node"));
    assert_eq!(role_of(&authority, "controller", "c"), None, "a prefix of the cluster's id");
    assert_eq!(role_of(&authority, "controller", "other"), None);
    assert_eq!(role(authority.root().as_ref(), CLUSTER), None);
    assert_eq!(role(b"nonsense", CLUSTER), None);
}

#[test]
fn a_request_without_certificate_is_refused() {
    let status = admit(Request::new(()), CLUSTER).unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
}

#[test]
fn a_socket_that_a_killed_agent_left_is_replaced() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let _context = runtime.enter();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    drop(bind_unix(&path).unwrap());
    assert!(path.exists());
    let _listener = bind_unix(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
}
