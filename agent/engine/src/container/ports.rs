//! Which ports of the host lead where: those of services, as their owner says,
//! and those of plain containers that run. The network always gets the whole set.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::record::Entry;
use super::{ContainerConfig, PortMapping, Protocol};
use crate::EngineError;
use crate::engine::Inner;
use crate::image::Image;
use crate::network::{NetworkError, PublishedPort};

/// Where ports for `publish_all` are looked for, as in Docker.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// Reads `80`, `80/tcp` or `53/udp`; what an image says otherwise exposes nothing.
fn exposed(text: &str) -> Option<(u16, Protocol)> {
    let (number, protocol) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
        Some((number, "udp")) => (number, Protocol::Udp),
        Some(_) => return None,
    };
    let plain = number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|port| plain && *port > 0).map(|port| (port, protocol))
}

impl Inner {
    /// Publishes what services and running plain containers want now. Answers
    /// the ports that another process has.
    pub(crate) async fn publish(&self) -> Result<Vec<NetworkError>, EngineError> {
        // One at a time, so that an older set never replaces a newer one.
        let _turn = self.publishing.lock().await;
        let mut ports = self.plain_ports();
        let mut refused = Vec::new();
        for service in self.services().iter() {
            let is_same =
                |plain: &&PublishedPort| (plain.protocol, plain.port) == (service.protocol, service.port);
            if ports.iter().any(|plain| is_same(&plain)) {
                refused.push(NetworkError::PortInUse { protocol: service.protocol, port: service.port });
            } else {
                ports.push(service.clone());
            }
        }
        refused.extend(self.network.set_published(ports).await?);
        Ok(refused)
    }

    fn plain_ports(&self) -> Vec<PublishedPort> {
        let mut ports = Vec::new();
        for entry in self.entries().values() {
            let live = entry.live();
            // An address means attached to the network: from just before it runs until just after.
            let Some(address) = live.address.filter(|_| live.record.config.task.is_none()) else {
                continue;
            };
            ports.extend(live.record.config.ports.iter().map(|port| PublishedPort {
                protocol: port.protocol,
                port: port.published,
                targets: vec![(address, port.target)],
            }));
        }
        ports
    }

    /// Whether a plain container may publish a port: no service and no other
    /// plain container that runs has it.
    pub(crate) fn check_port_free(&self, port: &PortMapping, but: Option<&Entry>) -> Result<(), EngineError> {
        let in_use = || NetworkError::PortInUse { protocol: port.protocol, port: port.published };
        let is_same =
            |service: &PublishedPort| (service.protocol, service.port) == (port.protocol, port.published);
        if self.services().iter().any(is_same) {
            return Err(in_use().into());
        }
        match self.plain_holder(port, but) {
            Some(holder) => {
                let rule = format!("{}/{} is published by container {holder}", port.published, port.protocol);
                Err(EngineError::invalid("ports", rule))
            }
            None => Ok(()),
        }
    }

    /// The name of the plain container that runs and publishes this port.
    pub(crate) fn plain_holder(&self, port: &PortMapping, but: Option<&Entry>) -> Option<String> {
        let is_same =
            |other: &PortMapping| (other.protocol, other.published) == (port.protocol, port.published);
        let entries = self.entries();
        let others = entries.values().filter(|entry| but.is_none_or(|but| but.id != entry.id));
        let mut running = others.filter(|entry| entry.state().is_alive());
        running.find_map(|entry| {
            let live = entry.live();
            let config = &live.record.config;
            let holds = config.task.is_none() && config.ports.iter().any(is_same);
            holds.then(|| live.record.name.clone())
        })
    }

    /// Chooses a free port of the host for every port that the caller wants on one, and where the caller says so for
    /// all that the caller or the image exposes. The choice stays with the container.
    pub(crate) fn publish_exposed(
        &self,
        config: &mut ContainerConfig,
        image: &Image,
    ) -> Result<(), EngineError> {
        let mut wanted: BTreeSet<_> = config.isolation.publish_free.iter().copied().collect();
        if config.isolation.publish_all {
            wanted.extend(image.config.exposed_ports.iter().filter_map(|text| exposed(text)));
            wanted.extend(&config.isolation.expose);
        }
        for (target, protocol) in wanted {
            if config.ports.iter().any(|port| (port.target, port.protocol) == (target, protocol)) {
                continue;
            }
            let is_free = |published: &u16| {
                let port = PortMapping { protocol, published: *published, target };
                let held = |other: &PortMapping| (other.protocol, other.published) == (protocol, *published);
                !config.ports.iter().any(held)
                    && !self.entries().values().any(|entry| entry.live().record.config.ports.iter().any(held))
                    && self.check_port_free(&port, None).is_ok()
                    && self.network.check_port(protocol, *published).is_ok()
            };
            let published = EPHEMERAL.clone().find(is_free).ok_or_else(|| {
                let rule =
                    format!("no port from {} to {} of this host is free", EPHEMERAL.start(), EPHEMERAL.end());
                EngineError::invalid("publish", rule)
            })?;
            config.ports.push(PortMapping { protocol, published, target });
        }
        Ok(())
    }

    /// Publishes a plain container's ports before it runs.
    pub(crate) async fn claim_ports(&self, entry: &Arc<Entry>) -> Result<(), EngineError> {
        let (ports, is_plain) = {
            let live = entry.live();
            (live.record.config.ports.clone(), live.record.config.task.is_none())
        };
        if ports.is_empty() || !is_plain {
            return Ok(());
        }
        for port in &ports {
            self.check_port_free(port, Some(entry))?;
        }
        let concerns_us = |error: &NetworkError| match error {
            NetworkError::PortInUse { protocol, port } | NetworkError::PortHold { protocol, port, .. } => {
                ports.iter().any(|ours| (ours.protocol, ours.published) == (*protocol, *port))
            }
            _ => false,
        };
        match self.publish().await?.into_iter().find(concerns_us) {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    /// After a container is gone from the network.
    pub(crate) async fn release_ports(&self, entry: &Entry) {
        let has_ports = {
            let live = entry.live();
            !live.record.config.ports.is_empty() && live.record.config.task.is_none()
        };
        if has_ports && let Err(error) = self.publish().await {
            tracing::warn!(container = entry.id, %error, "published ports are not up to date");
        }
    }
}
