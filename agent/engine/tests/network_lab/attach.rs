//! Attaching and detaching containers: what they get, and that nothing stays behind.

use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use agent_engine::network::{Network, NetworkConfig, NetworkError};

use crate::{
    lab::{BRIDGE, id, inside, on_fresh_host, within},
    wire::{Server, ask, ping},
};

#[test]
fn attach_then_detach_leaves_nothing() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let before = lab.links();
        let endpoint = network.attach(&id(1)).await.unwrap();
        assert_eq!(endpoint.address, Ipv4Addr::new(10, 213, 0, 2));
        assert_eq!((endpoint.prefix, endpoint.gateway), (16, Ipv4Addr::new(10, 213, 0, 1)));
        assert_eq!(endpoint.mac, "02:72:0a:d5:00:02");
        assert_eq!((lab.namespaces(), lab.mounts()), (vec![id(1)], 1));
        assert!(lab.links().contains(&"rs000000000001".to_owned()));
        network.detach(&id(1)).await.unwrap();
        assert_eq!(lab.links(), before);
        assert_eq!((lab.namespaces(), lab.mounts()), (vec![], 0));
        network.detach(&id(1)).await.expect("detaching what is not there is fine");
        network.remove_all().await.unwrap();
        assert_eq!(lab.links(), ["lo"]);
        assert_eq!(lab.rules(), "");
        assert_eq!(std::fs::read_dir(lab.run_dir.path()).unwrap().count(), 0);
    });
}

#[test]
fn what_is_retired_goes_soon_or_when_its_address_is_wanted() {
    on_fresh_host(|lab| async move {
        let config = NetworkConfig { subnet: "10.213.0.0/29".parse().unwrap(), ..lab.config() };
        let network = Network::open(config).await.unwrap();
        let before = lab.links();
        for number in 1..=5 {
            network.attach(&id(number)).await.unwrap();
        }
        let kept = network.attach(&id(1)).await.unwrap();
        for number in 2..=5 {
            network.retire(&id(number)).await.unwrap();
        }
        // The subnet is full until they are gone: whoever needs an address does not hear of that.
        let next = network.attach(&id(6)).await.unwrap();
        assert_ne!(next.address, kept.address);
        let left: BTreeSet<String> = lab.namespaces().into_iter().collect();
        assert_eq!(left, BTreeSet::from([id(1), id(6)]));
        network.retire(&id(1)).await.unwrap();
        network.retire(&id(6)).await.unwrap();
        let asked = Instant::now();
        while lab.links() != before || !lab.namespaces().is_empty() {
            assert!(asked.elapsed().as_secs() < 10, "{:?}, {:?}", lab.links(), lab.namespaces());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        network.attach(&id(7)).await.unwrap();
        network.retire(&id(7)).await.unwrap();
        network.settle().await.unwrap();
        assert_eq!((lab.links(), lab.mounts()), (before, 0), "settled is gone");
        assert!(matches!(network.retire("../x").await, Err(NetworkError::BadId { .. })));
    });
}

#[test]
fn the_inside_is_set_up_as_promised() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let endpoint = network.attach(&id(1)).await.unwrap();
        let (mac, setting) = within(&inside(&endpoint), || {
            let arp = std::fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
            assert!(!arp.contains("eth0"), "{arp}");
            let mac = std::net::UdpSocket::bind("0.0.0.0:53").map(drop);
            (mac, std::fs::read_to_string("/proc/sys/net/ipv4/ping_group_range").unwrap())
        });
        mac.expect("low ports need no capability");
        assert_eq!(setting.split_whitespace().collect::<Vec<_>>(), ["0", "2147483647"]);
        ping(&inside(&endpoint), Ipv4Addr::LOCALHOST).expect("loopback is up");
        ping(&inside(&endpoint), endpoint.gateway).expect("the gateway answers");
        network.remove_all().await.unwrap();
    });
}

#[test]
fn attaching_twice_gives_the_same_endpoint() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let (a, b) = (id(1), id(1));
        let (first, second) = tokio::join!(network.attach(&a), network.attach(&b));
        let first = first.unwrap();
        assert_eq!(first, second.unwrap());
        assert_eq!(first, network.attach(&id(1)).await.unwrap());
        assert_eq!(lab.mounts(), 1);
        network.remove_all().await.unwrap();
    });
}

#[test]
fn two_containers_reach_each_other_and_the_host() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let one = network.attach(&id(1)).await.unwrap();
        let two = network.attach(&id(2)).await.unwrap();
        ping(&inside(&one), two.address).unwrap();
        let _server = Server::start(&inside(&two), "two", (Ipv4Addr::UNSPECIFIED, 80));
        assert_eq!(ask(&inside(&one), (two.address, 80)).unwrap(), format!("two {}", one.address));
        assert_eq!(ask(&lab.host, (two.address, 80)).unwrap(), format!("two {}", one.gateway));
        network.remove_all().await.unwrap();
    });
}

#[test]
fn a_container_reaches_the_lan_under_the_hosts_address() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let peer = lab.lan_peer().await;
        let one = network.attach(&id(1)).await.unwrap();
        let _server = Server::start(&peer, "peer", (Ipv4Addr::UNSPECIFIED, 80));
        let answer = ask(&inside(&one), (crate::lab::LAN_PEER, 80)).unwrap();
        assert_eq!(answer, format!("peer {}", crate::lab::HOST_ON_LAN));
        network.remove_all().await.unwrap();
    });
}

#[test]
fn what_listens_on_the_hosts_loopback_is_out_of_a_containers_reach() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let one = network.attach(&id(1)).await.unwrap();
        let loopback = Ipv4Addr::new(127, 1, 1, 1);
        let _private = Server::start(&lab.host, "private", (loopback, 7000));
        ask(&lab.host, (loopback, 7000)).expect("the host reaches it");
        assert!(ask(&inside(&one), (one.gateway, 7000)).is_err());
        // The container sends 127.1.1.1 out to the host, as one with NET_ADMIN could.
        within(&inside(&one), || {
            for interface in ["eth0", "all"] {
                let setting = format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet");
                std::fs::write(setting, "1").unwrap();
            }
        });
        crate::lab::route_loopback_through(&inside(&one), loopback, one.gateway).await;
        assert!(ask(&inside(&one), (loopback, 7000)).is_err());
        let _open = Server::start(&lab.host, "open", (Ipv4Addr::UNSPECIFIED, 7001));
        ask(&inside(&one), (one.gateway, 7001)).expect("the host's other addresses stay reachable");
        network.remove_all().await.unwrap();
    });
}

#[test]
fn a_sweep_removes_strangers_only() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        for number in 1..=3 {
            network.attach(&id(number)).await.unwrap();
        }
        let known = BTreeSet::from([id(2)]);
        let mut swept = network.sweep(&known).await.unwrap();
        swept.sort();
        assert_eq!(swept, [id(1), id(3)]);
        assert_eq!((lab.namespaces(), lab.mounts()), (vec![id(2)], 1));
        assert!(network.sweep(&known).await.unwrap().is_empty());
        network.remove_all().await.unwrap();
    });
}

#[test]
fn bad_input_is_refused_and_changes_nothing() {
    on_fresh_host(|lab| async move {
        let bad = agent_engine::network::NetworkConfig { bridge: "a/b".into(), ..lab.config() };
        assert!(matches!(Network::open(bad).await, Err(NetworkError::BadBridge { .. })));
        let lo = agent_engine::network::NetworkConfig { bridge: "lo".into(), ..lab.config() };
        let error = Network::open(lo).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot use interface 'lo' as the bridge: it is not a bridge");
        let _peer = lab.lan_peer().await;
        let taken = agent_engine::network::NetworkConfig {
            subnet: "192.168.0.0/16".parse().unwrap(),
            ..lab.config()
        };
        let error = Network::open(taken).await.unwrap_err().to_string();
        assert!(error.contains("overlaps 192.168.77.1 of this host's interface 'lan0'"), "{error}");
        assert!(!lab.links().contains(&BRIDGE.to_owned()), "{:?}", lab.links());
        assert_eq!(lab.rules(), "");
        let network = lab.open().await;
        assert!(matches!(network.attach("../../x").await, Err(NetworkError::BadId { .. })));
        assert!(lab.namespaces().is_empty());
        network.remove_all().await.unwrap();
    });
}

#[test]
fn fifty_at_once_are_attached_and_detached() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let one = Instant::now();
        network.attach(&id(1000)).await.unwrap();
        let attached = one.elapsed();
        let one = Instant::now();
        network.detach(&id(1000)).await.unwrap();
        eprintln!("alone: attach {attached:?}, detach {:?}", one.elapsed());
        let one = Instant::now();
        for number in 0..50 {
            network.attach(&id(number)).await.unwrap();
        }
        eprintln!("50 attaches in turn: {:?} each", one.elapsed() / 50);
        let ids: Vec<String> = (0..50).map(id).collect();
        let all = Instant::now();
        let results = futures::future::join_all(ids.iter().map(|id| network.detach(id))).await;
        eprintln!("50 detaches at once: {:?}, {:?} each", all.elapsed(), all.elapsed() / 50);
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        assert_eq!(lab.links().iter().filter(|name| name.starts_with("rs")).count(), 0);
        let all = Instant::now();
        let results = futures::future::join_all(ids.iter().map(|id| network.attach(id))).await;
        eprintln!("50 attaches at once: {:?}, {:?} each", all.elapsed(), all.elapsed() / 50);
        let addresses: BTreeSet<_> = results.into_iter().map(|endpoint| endpoint.unwrap().address).collect();
        assert_eq!(addresses.len(), 50);
        network.remove_all().await.unwrap();
        assert_eq!((lab.links(), lab.mounts()), (vec!["lo".to_owned()], 0));
    });
}
