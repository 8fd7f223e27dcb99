//! `ctl info`: what a host is, has and lacks, and what it does instead; and, where the context knows a cluster, what
//! that is.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use proto::v1::{GetClusterRequest, GetClusterResponse, GetInfoRequest, GetInfoResponse};
use serde::Serialize;

use crate::cli::Global;
use crate::error::CommandError;
use crate::output::rows::{bytes as size, short};
use crate::output::{self, Format};

/// How long a controller may take: the host's answer is there already.
const PATIENCE: Duration = Duration::from_secs(2);

/// Show what a host is, has and lacks
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What is printed as JSON; later versions only add keys.
#[derive(Debug, Serialize)]
struct Info {
    ctl_version: &'static str,
    agent: Agent,
    host: Machine,
    storage: Storage,
    network: Network,
    containers: BTreeMap<String, u32>,
    images: u32,
    volumes: u32,
    cgroups: Cgroups,
    confinement: Vec<String>,
    attested_starts: u64,
    attested_execs: u64,
    failed_attestations: u64,
    cdi: Cdi,
    features: Vec<Feature>,
    cluster: Option<Cluster>,
}

#[derive(Debug, Serialize)]
struct Agent {
    version: String,
    keeper_pid: u32,
    node_id: Option<String>,
    node_name: String,
    session: bool,
}

#[derive(Debug, Serialize)]
struct Machine {
    name: String,
    os: String,
    kernel: String,
    architecture: String,
    processors: u32,
    memory_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Storage {
    driver: &'static str,
    data_dir: String,
    filesystem: String,
    bytes: u64,
    free_bytes: u64,
}

#[derive(Debug, Serialize)]
struct Network {
    bridge: String,
    subnet: String,
}

#[derive(Debug, Serialize)]
struct Cgroups {
    version: String,
    hierarchies: Vec<Hierarchy>,
}

#[derive(Debug, Serialize)]
struct Hierarchy {
    path: String,
    controllers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Cdi {
    directories: Vec<String>,
    devices: Vec<String>,
    failures: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Feature {
    name: String,
    state: String,
    detail: String,
}

#[derive(Debug, Serialize)]
struct Cluster {
    id: String,
    leader: String,
    nodes: u32,
    nodes_ready: u32,
    services: u32,
    version: String,
}

/// Prints what the agent says of its host, and what a controller says of the cluster if one answers.
///
/// # Errors
/// When the agent can't be asked.
pub async fn run(global: &Global, _: Args) -> Result<ExitCode, CommandError> {
    let mut agent = super::agent(global).await?;
    let answer = agent.get_info(GetInfoRequest {}).await?.into_inner();
    let cluster = match answer.node_id.is_empty() {
        true => None,
        false => tokio::time::timeout(PATIENCE, cluster(global)).await.ok().flatten(),
    };
    let info = Info::new(answer, cluster);
    match global.output {
        Format::Json => output::json(&info),
        Format::Table => info.lines().iter().for_each(|line| output::line(line)),
    }
    Ok(ExitCode::SUCCESS)
}

/// The cluster of the context; a host can be looked at without.
async fn cluster(global: &Global) -> Option<Cluster> {
    let mut control = super::control(global).await.ok()?;
    let found = control.get_cluster(GetClusterRequest {}).await.ok()?.into_inner();
    let GetClusterResponse { id, leader_id: leader, nodes, nodes_ready, services, version, .. } = found;
    Some(Cluster { id, leader, nodes, nodes_ready, services, version })
}

impl Info {
    fn new(answer: GetInfoResponse, cluster: Option<Cluster>) -> Self {
        let hierarchies = answer.hierarchies.into_iter();
        let features = answer.features.into_iter();
        Self {
            ctl_version: env!("CARGO_PKG_VERSION"),
            agent: Agent {
                version: answer.version,
                keeper_pid: answer.keeper_pid,
                node_id: (!answer.node_id.is_empty()).then_some(answer.node_id),
                node_name: answer.node_name,
                session: answer.session,
            },
            host: Machine {
                name: answer.hostname,
                os: answer.os,
                kernel: answer.kernel,
                architecture: answer.architecture,
                processors: answer.processors,
                memory_bytes: answer.memory_bytes,
            },
            storage: Storage {
                driver: "overlay",
                data_dir: answer.data_dir,
                filesystem: answer.filesystem,
                bytes: answer.disk_bytes,
                free_bytes: answer.disk_free_bytes,
            },
            network: Network { bridge: answer.bridge, subnet: answer.subnet },
            containers: answer.containers.into_iter().collect(),
            images: answer.images,
            volumes: answer.volumes,
            cgroups: Cgroups {
                version: answer.cgroup_version,
                hierarchies: hierarchies
                    .map(|one| Hierarchy { path: one.path, controllers: one.controllers })
                    .collect(),
            },
            confinement: answer.confinement,
            attested_starts: answer.attested_starts,
            attested_execs: answer.attested_execs,
            failed_attestations: answer.failed_attestations,
            cdi: Cdi {
                directories: answer.cdi_directories,
                devices: answer.cdi_devices,
                failures: answer.cdi_failures,
            },
            features: features
                .map(|one| Feature { name: one.name, state: one.state, detail: one.detail })
                .collect(),
            cluster,
        }
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = self.about_the_host();
        lines.extend(self.about_containers());
        let of = |state: &'static str| self.features.iter().filter(move |feature| feature.state == state);
        let width = self.features.iter().map(|feature| feature.name.len()).max().unwrap_or_default();
        for (heading, state) in [
            ("Used of the kernel:", "used"),
            ("On this host, and not used:", "unused"),
            ("Not on this host, and what follows from that:", "missing"),
        ] {
            if of(state).next().is_some() {
                lines.extend([String::new(), heading.to_owned()]);
            }
            let line = |feature: &Feature| format!("  {:width$}   {}", feature.name, feature.detail);
            lines.extend(of(state).map(|feature| line(feature).trim_end().to_owned()));
        }
        lines
    }

    fn about_the_host(&self) -> Vec<String> {
        let (agent, host, storage) = (&self.agent, &self.host, &self.storage);
        let place = match (&agent.node_id, agent.session) {
            (None, _) => "by itself, in no cluster".to_owned(),
            (Some(id), true) => format!("node {} ({}), connected", agent.node_name, short(id)),
            (Some(id), false) => format!("node {} ({}), no controller connected", agent.node_name, short(id)),
        };
        let mut lines = vec![
            entry("Agent", &format!("{}, {place}; keeper {}", agent.version, agent.keeper_pid)),
            entry("ctl", self.ctl_version),
        ];
        if let Some(cluster) = &self.cluster {
            let leader = if cluster.leader.is_empty() { "none at the moment" } else { &cluster.leader };
            let text = format!(
                "{}, leader {leader}, {} of {} nodes ready, {} services",
                short(&cluster.id),
                cluster.nodes_ready,
                cluster.nodes,
                cluster.services
            );
            lines.push(entry("Cluster", &text));
        }
        lines.extend([
            entry(
                "Host",
                &format!("{}, {}, Linux {} ({})", host.name, host.os, host.kernel, host.architecture),
            ),
            entry("Capacity", &format!("{} processors, {} memory", host.processors, size(host.memory_bytes))),
            entry(
                "Storage",
                &format!(
                    "{} in {} on {}, {} of {} free",
                    storage.driver,
                    storage.data_dir,
                    storage.filesystem,
                    size(storage.free_bytes),
                    size(storage.bytes)
                ),
            ),
            entry("Network", &format!("{}, {}", self.network.bridge, self.network.subnet)),
        ]);
        lines
    }

    fn about_containers(&self) -> Vec<String> {
        let total: u32 = self.containers.values().sum();
        let by_state: Vec<String> =
            self.containers.iter().map(|(state, number)| format!("{number} {state}")).collect();
        let containers = match total {
            0 => "none".to_owned(),
            _ => format!("{total}: {}", by_state.join(", ")),
        };
        let mut lines = vec![
            entry("Containers", &containers),
            entry("Images", &format!("{}, volumes {}", self.images, self.volumes)),
        ];
        for (index, hierarchy) in self.cgroups.hierarchies.iter().enumerate() {
            let controllers = match hierarchy.controllers.is_empty() {
                true => "no controllers".to_owned(),
                false => hierarchy.controllers.join(" "),
            };
            let text = format!("{}: {controllers}", hierarchy.path);
            lines.push(match index {
                0 => entry("Cgroups", &format!("{}; {text}", self.cgroups.version)),
                _ => entry("", &text),
            });
        }
        let attested = format!("{} starts, {} further processes", self.attested_starts, self.attested_execs);
        let verdict = match self.failed_attestations {
            0 => "all as asked for".to_owned(),
            failed => format!("{failed} STOPPED: see the agent's log"),
        };
        lines.push(entry("Attested", &format!("{attested}; {verdict}")));
        for (index, word) in self.confinement.iter().enumerate() {
            lines.push(entry(if index == 0 { "By default" } else { "" }, word));
        }
        let devices = match self.cdi.devices.is_empty() {
            true => format!("no devices in {}", self.cdi.directories.join(", ")),
            false => self.cdi.devices.join(" "),
        };
        lines.push(entry("CDI", &devices));
        lines.extend(self.cdi.failures.iter().map(|failure| entry("", &format!("not used: {failure}"))));
        lines
    }
}

fn entry(name: &str, text: &str) -> String {
    format!("{name:<12} {text}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use proto::v1::HostFeature;

    use super::*;

    #[test]
    fn what_is_missing_says_what_follows() {
        let missing = HostFeature {
            name: "AppArmor".into(),
            state: "missing".into(),
            detail: "profiles are refused".into(),
        };
        let answer = GetInfoResponse {
            version: "1.2.3".into(),
            features: vec![missing],
            failed_attestations: 2,
            containers: [("running".to_owned(), 3), ("exited".to_owned(), 1)].into(),
            ..GetInfoResponse::default()
        };
        let text = Info::new(answer, None).lines().join("\n");
        for wanted in [
            "1.2.3",
            "in no cluster",
            "4: 1 exited, 3 running",
            "2 STOPPED",
            "AppArmor   profiles are refused",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        assert!(!text.contains("not used:\n"), "no heading without lines: {text}");
    }
}
