//! Published ports: who reaches them, who answers, and who must not get past them.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    time::{Duration, Instant},
};

use agent_engine::network::{Network, NetworkError, Protocol, PublishedPort};

use crate::{
    lab::{HOST_ON_LAN, LAN_PEER, id, inside, on_fresh_host, tcp, within},
    wire::{Server, answer_one_datagram, ask, ask_by_datagram},
};

#[test]
fn a_published_port_answers_from_everywhere() {
    everywhere("1");
}

#[test]
fn a_published_port_answers_from_everywhere_without_bridge_netfilter() {
    everywhere("0");
}

/// Whether bridged packets pass the packet filter is the host's choice, and absent without the kernel module.
fn everywhere(bridge_netfilter: &'static str) {
    on_fresh_host(move |lab| async move {
        let setting = std::path::Path::new("/proc/sys/net/bridge/bridge-nf-call-iptables");
        if setting.exists() {
            std::fs::write(setting, bridge_netfilter).unwrap();
        }
        let network = lab.open().await;
        let peer = lab.lan_peer().await;
        let one = network.attach(&id(1)).await.unwrap();
        let two = network.attach(&id(2)).await.unwrap();
        let _server = Server::start(&inside(&one), "one", (Ipv4Addr::UNSPECIFIED, 80));
        assert!(network.set_published(vec![tcp(8080, &[(one.address, 80)])]).await.unwrap().is_empty());
        let local = ask(&lab.host, (Ipv4Addr::LOCALHOST, 8080)).expect("from the host by loopback");
        assert_eq!(local, format!("one {}", one.gateway));
        ask(&lab.host, (HOST_ON_LAN, 8080)).expect("from the host by its own address");
        let lan = ask(&peer, (HOST_ON_LAN, 8080)).expect("from the LAN");
        assert_eq!(lan, format!("one {LAN_PEER}"), "the client's address is kept");
        ask(&inside(&two), (HOST_ON_LAN, 8080)).expect("from another container");
        ask(&inside(&two), (two.gateway, 8080)).expect("from another container by the gateway");
        ask(&inside(&one), (HOST_ON_LAN, 8080)).expect("from the container itself");
        network.remove_all().await.unwrap();
    });
}

#[test]
fn datagrams_are_translated_too() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let peer = lab.lan_peer().await;
        let one = network.attach(&id(1)).await.unwrap();
        let port = PublishedPort { protocol: Protocol::Udp, port: 5353, targets: vec![(one.address, 53)] };
        assert!(network.set_published(vec![port]).await.unwrap().is_empty());
        answer_one_datagram(&inside(&one), (Ipv4Addr::UNSPECIFIED, 53));
        assert_eq!(ask_by_datagram(&peer, (HOST_ON_LAN, 5353)).unwrap(), LAN_PEER.to_string());
        network.remove_all().await.unwrap();
    });
}

#[test]
fn a_datagram_client_that_keeps_its_port_follows_the_targets() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let peer = lab.lan_peer().await;
        let one = network.attach(&id(1)).await.unwrap();
        let two = network.attach(&id(2)).await.unwrap();
        let servers = [&one, &two].map(inside);
        let port = |targets| PublishedPort { protocol: Protocol::Udp, port: 5353, targets };
        let client = within(&peer, || UdpSocket::bind("0.0.0.0:4000").unwrap());
        client.set_read_timeout(Some(Duration::from_millis(1500))).unwrap();
        client.connect((HOST_ON_LAN, 5353)).unwrap();
        let ask = || {
            let mut buffer = [0u8; 64];
            client.send(b"who").and_then(|_| client.recv(&mut buffer)).map(|count| buffer[..count].to_vec())
        };
        network.set_published(vec![port(Vec::new())]).await.unwrap();
        client.send(b"too early").unwrap();
        for (server, target) in servers.iter().zip([&one, &two]) {
            answer_one_datagram(server, (Ipv4Addr::UNSPECIFIED, 53));
            network.set_published(vec![port(vec![(target.address, 53)])]).await.unwrap();
            assert_eq!(ask().expect("the present target answers"), LAN_PEER.to_string().into_bytes());
        }
        network.remove_all().await.unwrap();
    });
}

#[test]
fn connections_go_to_all_targets_in_turn() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let mut servers = Vec::new();
        let mut targets = Vec::new();
        for number in 1..=3 {
            let endpoint = network.attach(&id(number)).await.unwrap();
            let at = (Ipv4Addr::UNSPECIFIED, 80);
            servers.push(Server::start(&inside(&endpoint), &number.to_string(), at));
            targets.push((endpoint.address, 80));
        }
        network.set_published(vec![tcp(8080, &targets)]).await.unwrap();
        let mut answers = BTreeMap::new();
        for _ in 0..12 {
            let answer = ask(&lab.host, (Ipv4Addr::LOCALHOST, 8080)).unwrap();
            *answers.entry(answer[..1].to_owned()).or_insert(0) += 1;
        }
        assert_eq!(answers.into_values().collect::<Vec<_>>(), [4, 4, 4]);
        network.remove_all().await.unwrap();
    });
}

#[test]
fn a_port_of_another_process_is_named_and_the_others_are_served() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let one = network.attach(&id(1)).await.unwrap();
        let _server = Server::start(&inside(&one), "one", (Ipv4Addr::UNSPECIFIED, 80));
        let other = TcpListener::bind("127.0.0.1:8080").unwrap();
        let message = "port 8080/tcp is already in use on this host by another process";
        assert_eq!(network.check_port(Protocol::Tcp, 8080).unwrap_err().to_string(), message);
        assert!(network.check_port(Protocol::Udp, 8080).is_ok());
        let target = [(one.address, 80)];
        let wanted = vec![tcp(8080, &target), tcp(8081, &target)];
        let refused = network.set_published(wanted.clone()).await.unwrap();
        assert_eq!(refused.iter().map(ToString::to_string).collect::<Vec<_>>(), [message]);
        assert!(matches!(refused[..], [NetworkError::PortInUse { port: 8080, protocol: Protocol::Tcp }]));
        ask(&lab.host, (Ipv4Addr::LOCALHOST, 8081)).expect("the free port is served");
        assert!(network.check_port(Protocol::Tcp, 8081).is_ok(), "our own port is no conflict");
        assert_eq!(TcpListener::bind("0.0.0.0:8081").unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(other);
        assert!(network.set_published(wanted).await.unwrap().is_empty());
        ask(&lab.host, (Ipv4Addr::LOCALHOST, 8080)).expect("served once the other process is gone");
        network.remove_all().await.unwrap();
    });
}

#[test]
fn unpublishing_removes_every_element_and_gives_the_port_back() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let one = network.attach(&id(1)).await.unwrap();
        let _server = Server::start(&inside(&one), "one", (Ipv4Addr::UNSPECIFIED, 80));
        let bare = lab.rules();
        network.set_published(vec![tcp(8080, &[(one.address, 80)]), tcp(8081, &[])]).await.unwrap();
        let rules = lab.rules();
        assert!(rules.contains("tcp . 8080 : goto tcp-8080"), "{rules}");
        let error = ask(&lab.host, (Ipv4Addr::LOCALHOST, 8081)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "a port without targets refuses");
        network.set_published(Vec::new()).await.unwrap();
        assert_eq!(lab.rules(), bare);
        let error = ask(&lab.host, (Ipv4Addr::LOCALHOST, 8080)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        TcpListener::bind("0.0.0.0:8080").expect("the port is free again");
        network.remove_all().await.unwrap();
    });
}

#[test]
fn a_lan_peer_cannot_route_past_the_published_ports() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let peer = lab.lan_peer().await;
        let one = network.attach(&id(1)).await.unwrap();
        let at = (Ipv4Addr::UNSPECIFIED, 80);
        let _server = Server::start(&inside(&one), "one", at);
        network.set_published(vec![tcp(8080, &[(one.address, 80)])]).await.unwrap();
        ask(&peer, (HOST_ON_LAN, 8080)).expect("the published port is open");
        let error = ask(&peer, (one.address, 80)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
        network.remove_all().await.unwrap();
    });
}

#[test]
fn a_flushed_rule_set_is_written_again_with_the_next_change() {
    flushed("ruleset", |network, target| async move {
        network.set_published(vec![tcp(8080, &[target]), tcp(8081, &[target])]).await.unwrap();
    });
}

#[test]
fn a_flushed_rule_set_is_written_again_by_itself() {
    flushed("ruleset", |_network, _| tokio::time::sleep(Duration::from_secs(1)));
}

#[test]
fn a_flushed_table_is_written_again_by_itself() {
    flushed("table ip roadstead", |_network, _| tokio::time::sleep(Duration::from_secs(1)));
}

fn flushed<F: Future<Output = ()>>(
    what: &'static str,
    then: impl FnOnce(Network, (Ipv4Addr, u16)) -> F + Send + 'static,
) {
    on_fresh_host(move |lab| async move {
        let network = lab.open().await;
        let one = network.attach(&id(1)).await.unwrap();
        let _server = Server::start(&inside(&one), "one", (Ipv4Addr::UNSPECIFIED, 80));
        network.set_published(vec![tcp(8080, &[(one.address, 80)])]).await.unwrap();
        let before = lab.rules();
        let flush = std::process::Command::new("nft").args(["flush", what]).status().unwrap();
        assert!(flush.success());
        assert_ne!(lab.rules(), before);
        then(network.clone(), (one.address, 80)).await;
        ask(&lab.host, (Ipv4Addr::LOCALHOST, 8080)).unwrap();
        network.set_published(vec![tcp(8080, &[(one.address, 80)])]).await.unwrap();
        assert_eq!(lab.rules(), before);
        network.remove_all().await.unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(lab.rules(), "", "what is removed stays removed");
    });
}

#[test]
fn many_ports_and_targets_fit_one_transaction() {
    on_fresh_host(|lab| async move {
        let network = lab.open().await;
        let many: Vec<_> =
            (0..=1999u16).map(|number| (Ipv4Addr::from(0x0ad5_0002 + u32::from(number)), 80)).collect();
        let mut ports: Vec<_> = (20_000..21_000).map(|port| tcp(port, &many[..3])).collect();
        let start = Instant::now();
        assert!(network.set_published(ports.clone()).await.unwrap().is_empty());
        eprintln!("1,000 ports of 3 targets: {:?}", start.elapsed());
        ports.push(tcp(19_999, &many));
        assert!(network.set_published(ports.clone()).await.unwrap().is_empty());
        let mut fastest = Duration::MAX;
        for count in 1..=20 {
            ports[0] = tcp(20_000, &many[..count]);
            let start = Instant::now();
            network.set_published(ports.clone()).await.unwrap();
            fastest = fastest.min(start.elapsed());
        }
        eprintln!("one port's targets changed among 1,001 ports: {fastest:?}");
        let mut fastest = Duration::MAX;
        for count in 1..=20 {
            let ports = vec![tcp(20_000, &many[..count])];
            let start = Instant::now();
            network.set_published(ports).await.unwrap();
            fastest = fastest.min(start.elapsed());
        }
        eprintln!("one port's targets changed, alone: {fastest:?}");
        network.remove_all().await.unwrap();
    });
}
