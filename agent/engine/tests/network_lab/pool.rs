//! Networks made in advance: no different from those made on demand, and nothing stays of them.

use std::{collections::BTreeSet, net::Ipv4Addr, process::Command, time::Duration};

use agent_engine::network::{Network, NetworkConfig};

use crate::{
    lab::{BRIDGE, Lab, id, inside, on_fresh_host, pool},
    wire::ping,
};

const SIZE: usize = 3;

fn config(lab: &Lab) -> NetworkConfig {
    NetworkConfig { pool: pool(SIZE), ..lab.config() }
}

/// Opens it and asks, until so many are in stock.
async fn stocked(lab: &Lab) -> Network {
    let network = Network::open(config(lab)).await.unwrap();
    assert_eq!(network.lend(), None, "nothing is made before somebody asks");
    for _ in 0..500 {
        if lab.namespaces().len() == SIZE && lab.links().len() == 2 + SIZE {
            return network;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not stocked: {:?}, {:?}", lab.namespaces(), lab.links());
}

#[test]
fn a_network_in_stock_is_like_one_made_on_demand() {
    on_fresh_host(|lab| async move {
        let network = stocked(&lab).await;
        let lent = network.lend().expect("one in stock");
        let pooled = network.attach(&lent).await.unwrap();
        let made = network.attach(&id(1)).await.unwrap();
        assert_ne!(pooled.address, made.address);
        for endpoint in [&pooled, &made] {
            ping(&inside(endpoint), Ipv4Addr::LOCALHOST).expect("loopback is up");
            ping(&inside(endpoint), endpoint.gateway).expect("the gateway answers");
        }
        // Asked again it is the same, and removed it is gone.
        assert_eq!(network.attach(&lent).await.unwrap(), pooled);
        network.detach(&lent).await.unwrap();
        assert!(!lab.namespaces().contains(&lent));
        network.remove_all().await.unwrap();
    });
}

#[test]
fn closing_gives_back_what_nobody_took_and_keeps_what_somebody_did() {
    on_fresh_host(|lab| async move {
        let network = stocked(&lab).await;
        let (taken, lent) = (network.lend().unwrap(), network.lend().unwrap());
        network.attach(&taken).await.unwrap();
        network.close_pool().await;
        assert_eq!(lab.namespaces(), std::slice::from_ref(&taken));
        assert_eq!(lab.links().len(), 3, "{:?}", lab.links());
        // Its container starts all the same.
        network.attach(&lent).await.unwrap();
        network.remove_all().await.unwrap();
        assert_eq!(lab.links(), ["lo"]);
    });
}

#[test]
fn what_a_dead_agent_had_in_stock_is_swept() {
    on_fresh_host(|lab| async move {
        let network = stocked(&lab).await;
        let taken = network.lend().unwrap();
        network.attach(&taken).await.unwrap();
        drop(network);
        let next = Network::open(lab.config()).await.unwrap();
        next.sweep(&BTreeSet::from([taken.clone()])).await.unwrap();
        assert_eq!(lab.namespaces(), [taken]);
        assert_eq!(lab.links().len(), 3, "{:?}", lab.links());
        next.remove_all().await.unwrap();
    });
}

#[test]
fn a_network_in_stock_whose_bridge_was_deleted_is_made_again() {
    on_fresh_host(|lab| async move {
        let network = stocked(&lab).await;
        let lent = network.lend().unwrap();
        let deleted = Command::new("ip").args(["link", "delete", BRIDGE]).status().unwrap();
        assert!(deleted.success());
        let endpoint = network.attach(&lent).await.unwrap();
        let bridged = Command::new("ip").args(["-o", "link", "show", "master", BRIDGE]).output();
        let bridged = String::from_utf8(bridged.unwrap().stdout).unwrap();
        assert!(bridged.contains(&format!("rs{}", &lent[..12])), "{bridged}");
        assert_eq!(endpoint.netns.file_name().unwrap().to_str(), Some(lent.as_str()));
        network.remove_all().await.unwrap();
    });
}

#[test]
fn the_last_addresses_are_not_put_into_stock() {
    on_fresh_host(|lab| async move {
        let small = NetworkConfig { subnet: "10.99.0.0/29".parse().unwrap(), ..config(&lab) };
        let network = Network::open(small).await.unwrap();
        for _ in 0..20 {
            assert_eq!(network.lend(), None);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let room = 8 - 3;
        for number in 0..room {
            network.attach(&id(number)).await.unwrap();
        }
        network.attach(&id(room)).await.expect_err("all are in use");
        network.remove_all().await.unwrap();
    });
}
