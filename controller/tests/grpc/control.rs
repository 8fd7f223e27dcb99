//! What people ask of the cluster.

use std::time::{Duration, Instant};

use proto::v1;
use tonic::Code;

use crate::rig::{PATIENCE, Rig, create, spec};

fn port(published: u32) -> v1::PublishedPort {
    v1::PublishedPort { protocol: 0, published, target: 80 }
}

#[tokio::test]
async fn a_service_lives_from_creation_to_removal() {
    let rig = Rig::start().await;
    let mut admin = rig.admin();
    let made = create(&mut admin, spec("web", 2)).await;
    let by_name = v1::GetServiceRequest { service: "web".to_owned() };
    let by_id = v1::GetServiceRequest { service: made.id.clone() };
    let read = admin.get_service(by_name.clone()).await.unwrap().into_inner().service.unwrap();
    assert_eq!(read.id, made.id);
    assert_eq!(admin.get_service(by_id).await.unwrap().into_inner().service.unwrap().id, made.id);
    let update = |version: u64, replicas: u32| v1::UpdateServiceRequest {
        service: "web".to_owned(),
        version,
        spec: Some(spec("web", replicas)),
    };
    let newer = admin.update_service(update(read.version, 3)).await.unwrap().into_inner().service.unwrap();
    assert_eq!(newer.spec.unwrap().replicas, 3);
    let stale = admin.update_service(update(read.version, 4)).await.unwrap_err();
    assert_eq!(stale.code(), Code::Aborted);
    let cluster = admin.get_cluster(v1::GetClusterRequest {}).await.unwrap().into_inner();
    assert_eq!((cluster.id.as_str(), cluster.services), (rig.ca.cluster_id(), 1));
    let remove = v1::RemoveServiceRequest { service: "web".to_owned() };
    admin.remove_service(remove.clone()).await.unwrap();
    for status in [
        admin.get_service(by_name).await.unwrap_err(),
        admin.remove_service(remove).await.unwrap_err(),
        admin.update_service(update(1, 1)).await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::NotFound);
        assert!(status.message().contains("\"web\""), "{status}");
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_request_that_cannot_be_carried_out_changes_nothing() {
    let rig = Rig::start().await;
    let mut admin = rig.admin();
    let taken = v1::ServiceSpec { ports: vec![port(8080)], ..spec("web", 1) };
    create(&mut admin, taken.clone()).await;
    let before = rig.store.state();
    let image = |image: &str| {
        let container = v1::ContainerSpec { image: image.to_owned(), ..Default::default() };
        v1::ServiceSpec { container: Some(container), ..spec("x", 1) }
    };
    let table = [
        (None, Code::InvalidArgument, "spec: "),
        (Some(spec("Web", 1)), Code::InvalidArgument, "spec.name: "),
        (Some(spec("x", 10_001)), Code::InvalidArgument, "spec.replicas: "),
        (Some(image("")), Code::InvalidArgument, "spec.container.image: "),
        (
            Some(v1::ServiceSpec { container: None, ..spec("x", 1) }),
            Code::InvalidArgument,
            "spec.container: ",
        ),
        (
            Some(v1::ServiceSpec { ports: vec![port(65_536)], ..spec("x", 1) }),
            Code::InvalidArgument,
            "spec.ports[0].published: ",
        ),
        (Some(spec("web", 1)), Code::AlreadyExists, "the name web is taken"),
        (Some(v1::ServiceSpec { name: "x".to_owned(), ..taken }), Code::AlreadyExists, "port 8080/tcp"),
    ];
    for (spec, code, words) in table {
        let status = admin.create_service(v1::CreateServiceRequest { spec }).await.unwrap_err();
        assert_eq!(status.code(), code, "{status}");
        assert!(status.message().starts_with(words), "{status}");
    }
    assert_eq!(rig.store.state().services().count(), before.services().count());
    for (service, node) in [("nothing", ""), ("", "nowhere"), ("..", "")] {
        let request = v1::ListTasksRequest { service: service.to_owned(), node: node.to_owned() };
        assert_eq!(admin.list_tasks(request).await.unwrap_err().code(), Code::NotFound);
    }
    let watch = v1::WatchServiceRequest { service: "nothing".to_owned() };
    assert_eq!(admin.watch_service(watch).await.unwrap_err().code(), Code::NotFound);
    rig.stop().await;
}

#[tokio::test]
async fn a_watcher_sees_merged_snapshots_and_the_end() {
    let rig = Rig::start().await;
    let mut admin = rig.admin();
    let made = create(&mut admin, spec("web", 1)).await;
    let watch = v1::WatchServiceRequest { service: "web".to_owned() };
    let mut watch = admin.watch_service(watch).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.service.unwrap().id, made.id);
    let (began, mut version, mut snapshots) = (Instant::now(), made.version, 0_u32);
    for replicas in 1..=50 {
        let spec = Some(spec("web", replicas % 3 + 1));
        let read = v1::GetServiceRequest { service: "web".to_owned() };
        let have = admin.get_service(read).await.unwrap().into_inner().service.unwrap().version;
        version = have.max(version);
        let update = v1::UpdateServiceRequest { service: "web".to_owned(), version, spec };
        // The leader writes the service too, now and then.
        let _ = admin.update_service(update).await;
    }
    admin.remove_service(v1::RemoveServiceRequest { service: "web".to_owned() }).await.unwrap();
    let end = loop {
        match tokio::time::timeout(PATIENCE, watch.message()).await.expect("no end") {
            Ok(Some(_)) => snapshots += 1,
            Ok(None) => panic!("it ended without a reason"),
            Err(status) => break status,
        }
    };
    assert_eq!(end.code(), Code::NotFound, "{end}");
    let most = began.elapsed().as_millis() / Duration::from_millis(50).as_millis() + 2;
    assert!(u128::from(snapshots) <= most, "{snapshots} snapshots, at most {most} expected");
    rig.stop().await;
}

#[tokio::test]
async fn open_watches_end_when_the_controller_stops() {
    let rig = Rig::start().await;
    let mut admin = rig.admin();
    create(&mut admin, spec("web", 1)).await;
    let watch = v1::WatchServiceRequest { service: "web".to_owned() };
    let mut watch = admin.watch_service(watch).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();
    let began = Instant::now();
    rig.stop().await;
    assert!(began.elapsed() < Duration::from_secs(2), "stopping took {:?}", began.elapsed());
    let end = async {
        loop {
            if let Err(status) = watch.message().await {
                return status.code();
            }
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, end).await.unwrap(), Code::Unavailable);
}
