//! An agent that comes back: it takes over what is there and nobody's connection notices.

use std::net::{Ipv4Addr, TcpListener};

use crate::{
    lab::{id, inside, on_fresh_host, tcp},
    wire::{Server, ask, talk},
};

#[test]
fn a_connection_and_its_port_live_through_a_new_agent() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let peer = lab.lan_peer().await;
        let one = network.attach(&id(1)).await.unwrap();
        let _server = Server::start(&inside(&one), "one", (Ipv4Addr::UNSPECIFIED, 80));
        let wanted = vec![tcp(8080, &[(one.address, 80)])];
        network.set_published(wanted.clone()).await.unwrap();
        let mut local = talk(&lab.host, (Ipv4Addr::LOCALHOST, 8080)).unwrap();
        let mut remote = talk(&peer, (crate::lab::HOST_ON_LAN, 8080)).unwrap();
        let rules = lab.rules();
        drop(network);
        assert_eq!(local.say("nobody home").unwrap(), "nobody home");
        ask(&peer, (crate::lab::HOST_ON_LAN, 8080)).expect("new connections need no agent");

        let network = lab.open().await;
        assert_eq!(local.say("opened").unwrap(), "opened");
        assert!(network.set_published(wanted).await.unwrap().is_empty());
        assert_eq!(remote.say("published").unwrap(), "published");
        assert_eq!(without_handles(&lab.rules()), without_handles(&rules));
        assert_eq!(network.attach(&id(1)).await.unwrap(), one, "the lease was read back");
        assert_eq!(local.say("attached again").unwrap(), "attached again");
        let two = network.attach(&id(2)).await.unwrap();
        assert_ne!(two.address, one.address);
        network.remove_all().await.unwrap();
        assert_eq!((lab.links().contains(&"rs000000000001".into()), lab.mounts()), (false, 0));
    });
}

#[test]
fn ports_nobody_wants_any_more_are_found_and_removed() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let bare = lab.rules();
        let target = [(Ipv4Addr::new(10, 213, 0, 9), 80)];
        network.set_published(vec![tcp(8080, &target), tcp(8081, &target)]).await.unwrap();
        drop(network);
        let network = lab.open().await;
        network.set_published(vec![tcp(8081, &target)]).await.unwrap();
        let rules = lab.rules();
        assert!(rules.contains("tcp . 8081") && !rules.contains("8080"), "{rules}");
        network.set_published(Vec::new()).await.unwrap();
        assert_eq!(lab.rules(), bare);
        TcpListener::bind("0.0.0.0:8081").expect("the port is free again");
        network.remove_all().await.unwrap();
    });
}

#[test]
fn a_bridge_that_somebody_deleted_is_made_again_with_all_that_was_on_it() {
    on_fresh_host(|lab| async move {
        let delete_bridge = || {
            let deleted =
                std::process::Command::new("ip").args(["link", "delete", crate::lab::BRIDGE]).status();
            assert!(deleted.unwrap().success());
        };
        let network = lab.open().await;
        let one = network.attach(&id(1)).await.unwrap();
        let _server = Server::start(&inside(&one), "one", (Ipv4Addr::UNSPECIFIED, 80));
        delete_bridge();
        assert!(ask(&lab.host, (one.address, 80)).is_err(), "nothing leads to it");
        let two = network.attach(&id(2)).await.unwrap();
        ask(&inside(&two), (one.address, 80)).expect("they are on one bridge");
        ask(&lab.host, (one.address, 80)).expect("the host reaches it again");
        delete_bridge();
        drop(network);
        let network = lab.open().await;
        ask(&lab.host, (one.address, 80)).expect("whoever comes next makes it again, too");
        assert_eq!(network.attach(&id(1)).await.unwrap(), one);
        network.remove_all().await.unwrap();
    });
}

#[test]
fn a_half_made_endpoint_is_finished_or_swept() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let one = network.attach(&id(1)).await.unwrap();
        drop(network);
        // An agent that died at the worst moments: the namespace is lost, or only its empty file was made.
        rustix::mount::unmount(&one.netns, rustix::mount::UnmountFlags::DETACH).unwrap();
        std::fs::write(one.netns.with_file_name(id(2)), "").unwrap();
        let network = lab.open().await;
        let again = network.attach(&id(1)).await.unwrap();
        let two = network.attach(&id(2)).await.unwrap();
        crate::wire::ping(&inside(&again), two.address).unwrap();
        std::fs::write(one.netns.with_file_name(id(3)), "").unwrap();
        assert_eq!(network.sweep(&[id(1), id(2)].into()).await.unwrap(), [id(3)]);
        assert_eq!(lab.mounts(), 2);
        network.remove_all().await.unwrap();
        assert_eq!((lab.links(), lab.mounts()), (vec!["lo".to_owned()], 0));
    });
}

/// Listings differ in nothing but, on some versions of nft, numbers of handles.
fn without_handles(rules: &str) -> String {
    rules
        .lines()
        .map(|line| line.split(" # handle").next().unwrap_or_default())
        .collect::<Vec<_>>()
        .join("\n")
}
