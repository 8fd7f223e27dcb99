//! Commands that are refused: each with its reason in words, and none with an effect.

use controller_core::{Command, Ids, NodeDescription, Protocol, PublishedPort, Role, ServiceSpec, Timestamp};

use crate::cluster::{Cluster, spec};

fn published(name: &str, port: u16) -> ServiceSpec {
    let ports = vec![PublishedPort { protocol: Protocol::Tcp, published: port, target: 80 }];
    ServiceSpec { ports, ..spec(name, 1, 0) }
}

fn creation(cluster: &mut Cluster, spec: ServiceSpec) -> Command {
    Command::CreateService { id: cluster.ids.service(), spec, trace: None, at: cluster.now }
}

#[test]
fn a_taken_name_is_refused() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 1, 0));
    let again = creation(&mut cluster, spec("web", 1, 0));
    assert_eq!(cluster.refused(&again).to_string(), "the name web is taken by another service");
}

#[test]
fn a_published_port_is_refused_to_another_service_by_name() {
    let mut cluster = Cluster::new(1);
    cluster.create(published("web", 8080));
    let other = creation(&mut cluster, published("api", 8080));
    let text = cluster.refused(&other).to_string();
    assert_eq!(text, "port 8080/tcp is already published by service web");
}

#[test]
fn a_port_of_the_revision_an_update_may_return_to_stays_taken() {
    let mut cluster = Cluster::new(1);
    cluster.create(published("web", 8080));
    cluster.settle();
    cluster.update("web", |spec| spec.ports[0].published = 9090);
    let other = creation(&mut cluster, published("api", 8080));
    assert!(cluster.refused(&other).to_string().contains("service web"));
    cluster.settle();
    cluster.must(&other);
}

#[test]
fn a_removed_service_frees_name_and_port_at_once() {
    let mut cluster = Cluster::new(1);
    cluster.create(published("web", 8080));
    cluster.settle();
    cluster.remove("web");
    cluster.create(published("web", 8080));
}

#[test]
fn a_write_that_read_an_older_version_is_refused() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 1, 0));
    let id = cluster.service("web").id;
    let stale =
        Command::UpdateService { id, version: 7, spec: spec("web", 2, 0), trace: None, at: cluster.now };
    let text = cluster.refused(&stale).to_string();
    assert_eq!(text, "service web has changed: version 7 was read, it is 1 now; read it again");
}

#[test]
fn a_service_cannot_be_renamed() {
    let mut cluster = Cluster::new(1);
    cluster.create(spec("web", 1, 0));
    let (id, at) = (cluster.service("web").id, cluster.now);
    let rename = Command::UpdateService { id, version: 1, spec: spec("www", 1, 0), trace: None, at };
    assert!(cluster.refused(&rename).to_string().contains("cannot be renamed"));
}

#[test]
fn an_invalid_specification_is_refused_with_field_and_rule() {
    let mut cluster = Cluster::new(1);
    let mut bad = spec("web", 1, 0);
    bad.container.limits.memory_bytes = 1;
    let command = creation(&mut cluster, bad);
    assert!(
        cluster
            .refused(&command)
            .to_string()
            .starts_with("container.limits.memory_bytes: must be at least 6 MiB")
    );
}

#[test]
fn only_a_token_that_is_known_and_young_admits_a_node() {
    let mut cluster = Cluster::empty();
    let admit = |ids: &mut Ids, hash: &str, at| Command::AdmitNode {
        id: ids.node(),
        name: "n".into(),
        token_hash: hash.into(),
        at,
    };
    let (hash, role) = ("short".to_owned(), Role::Agent);
    cluster.must(&Command::CreateToken { hash, role, expires: Timestamp(10), at: Timestamp(0) });
    let young = admit(&mut cluster.ids, "short", Timestamp(9));
    cluster.must(&young);
    let unknown = admit(&mut cluster.ids, "guess", Timestamp(9));
    let old = admit(&mut cluster.ids, "short", Timestamp(10));
    for refused in [unknown, old] {
        assert_eq!(cluster.refused(&refused).to_string(), "the join token is unknown or has expired");
    }
}

#[test]
fn a_node_that_was_not_admitted_cannot_register() {
    let mut cluster = Cluster::empty();
    let id = cluster.ids.node();
    let command = Command::RegisterNode { id, description: NodeDescription::default(), at: cluster.now };
    assert!(cluster.refused(&command).to_string().contains("join with a token first"));
}

#[test]
fn names_of_nodes_are_made_unique() {
    let mut cluster = Cluster::empty();
    for _ in 0..3 {
        cluster.join("Worker_A", crate::cluster::NODE);
    }
    let mut names: Vec<_> = cluster.state.nodes().map(|node| node.name.clone()).collect();
    names.sort();
    assert_eq!(names, ["worker-a", "worker-a-2", "worker-a-3"]);
}

#[test]
fn the_cluster_is_made_once() {
    let mut cluster = Cluster::empty();
    let cluster_id = cluster.ids.cluster();
    let again = Command::Bootstrap { cluster_id, root_der: Vec::new(), at: cluster.now };
    assert!(cluster.refused(&again).to_string().ends_with("exists already"));
}
