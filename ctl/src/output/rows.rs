//! The objects as `ctl` prints them: one struct an object, whose fields are the
//! JSON for programs and whose cells are the table for people. They are written
//! by hand, so that the output stays stable when the wire format grows.

use proto::v1;
use serde::Serialize;

use super::{Row, time};

mod container;
mod host;
mod named;
mod space;
mod usage;
mod volume;

pub use container::{ContainerRow, EventRow, PortRow, ProcessRow, SizedContainerRow};
pub use host::{DigestRow, HistoryRow, ImageRow, VariantRow, short_digest};
pub use named::event;
pub use space::{ContainerSpaceRow, ImageSpaceRow, SpaceRow, VolumeSpaceRow};
pub use usage::UsageRow;
pub use volume::VolumeRow;

/// The first characters of an id, enough to tell a cluster's objects apart.
pub fn short(id: &str) -> String {
    id.chars().take(12).collect()
}

/// `web` of `docker.io/roadstead/web:latest@sha256:...` is of no use; this cuts
/// only what never tells anything.
pub(crate) fn short_image(image: &str) -> String {
    let image = image.strip_prefix("docker.io/").unwrap_or(image);
    image.strip_prefix("library/").unwrap_or(image).to_owned()
}

/// The name of a task state, as tables and JSON show it.
pub fn state_name(state: i32) -> &'static str {
    match v1::TaskState::try_from(state).unwrap_or(v1::TaskState::New) {
        v1::TaskState::New => "new",
        v1::TaskState::Pending => "pending",
        v1::TaskState::Assigned => "assigned",
        v1::TaskState::Accepted => "accepted",
        v1::TaskState::Preparing => "preparing",
        v1::TaskState::Ready => "ready",
        v1::TaskState::Starting => "starting",
        v1::TaskState::Running => "running",
        v1::TaskState::Complete => "complete",
        v1::TaskState::Shutdown => "shutdown",
        v1::TaskState::Failed => "failed",
        v1::TaskState::Rejected => "rejected",
        v1::TaskState::Remove => "remove",
        v1::TaskState::Orphaned => "orphaned",
    }
}

fn ports(ports: &[v1::PublishedPort]) -> String {
    let one = |port: &v1::PublishedPort| {
        let protocol = if port.protocol == v1::Protocol::Udp as i32 { "udp" } else { "tcp" };
        format!("{}:{}/{protocol}", port.published, port.target)
    };
    ports.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A service.
#[derive(Debug, Serialize)]
pub struct ServiceRow {
    id: String,
    name: String,
    running: u32,
    replicas: u32,
    image: String,
    ports: String,
    update: String,
    created_at: String,
    version: u64,
}

impl From<&v1::Service> for ServiceRow {
    fn from(service: &v1::Service) -> Self {
        let spec = service.spec.clone().unwrap_or_default();
        let update = service.update_status.clone().unwrap_or_default();
        Self {
            id: service.id.clone(),
            name: spec.name,
            running: service.running,
            replicas: spec.replicas,
            image: short_image(&spec.container.unwrap_or_default().image),
            ports: ports(&spec.ports),
            update: update_state(&update).to_owned(),
            created_at: time::rfc3339(service.created_at_ms),
            version: service.version,
        }
    }
}

/// The state of an update, in a word.
pub fn update_state(status: &v1::UpdateStatus) -> &'static str {
    use v1::update_status::State;
    match State::try_from(status.state).unwrap_or(State::None) {
        State::None => "",
        State::Updating => "updating",
        State::Completed => "completed",
        State::Paused => "paused",
        State::RollingBack => "rolling back",
        State::RolledBack => "rolled back",
    }
}

impl Row for ServiceRow {
    fn headings() -> Vec<&'static str> {
        vec!["ID", "NAME", "REPLICAS", "IMAGE", "PORTS", "UPDATE"]
    }
    fn cells(&self) -> Vec<String> {
        vec![
            short(&self.id),
            self.name.clone(),
            format!("{}/{}", self.running, self.replicas),
            self.image.clone(),
            self.ports.clone(),
            self.update.clone(),
        ]
    }
}

/// A task of a service.
#[derive(Debug, Serialize)]
pub struct TaskRow {
    id: String,
    service: String,
    slot: u32,
    image: String,
    node: String,
    desired_state: &'static str,
    state: &'static str,
    since: String,
    #[serde(skip)]
    age: String,
    address: String,
    pid: u32,
    exit_code: Option<i32>,
    message: String,
    error: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    retry_at: String,
    #[serde(skip)]
    retry_in: String,
}

impl From<&v1::Task> for TaskRow {
    fn from(task: &v1::Task) -> Self {
        let now_ms = time::now_ms();
        Self {
            id: task.id.clone(),
            service: task.service_name.clone(),
            slot: task.slot,
            image: short_image(&task.image),
            node: if task.node_name.is_empty() { task.node_id.clone() } else { task.node_name.clone() },
            desired_state: state_name(task.desired_state),
            state: state_name(task.state),
            since: time::rfc3339(task.state_since_ms),
            age: time::age(task.state_since_ms, now_ms),
            address: task.address.clone(),
            pid: task.pid,
            exit_code: task.exit_code,
            message: task.message.clone(),
            error: task.error.clone(),
            retry_at: time::rfc3339(task.retry_at_ms),
            retry_in: time::until(task.retry_at_ms, now_ms),
        }
    }
}

impl Row for TaskRow {
    fn headings() -> Vec<&'static str> {
        vec!["TASK", "SLOT", "IMAGE", "NODE", "DESIRED", "STATE", "SINCE", "ERROR"]
    }
    fn cells(&self) -> Vec<String> {
        let why = if self.error.is_empty() && self.state != "running" { &self.message } else { &self.error };
        vec![
            short(&self.id),
            format!("{}.{}", self.service, self.slot),
            self.image.clone(),
            self.node.clone(),
            self.desired_state.to_owned(),
            self.state.to_owned(),
            self.age.clone(),
            if self.retry_in.is_empty() {
                why.clone()
            } else {
                format!("{why}; next try in {}", self.retry_in)
            },
        ]
    }
}

/// A node of the cluster.
#[derive(Debug, Serialize)]
pub struct NodeRow {
    id: String,
    name: String,
    status: &'static str,
    message: String,
    address: String,
    tasks: u32,
    cpus: f64,
    memory_bytes: u64,
    reserved_cpus: f64,
    reserved_memory_bytes: u64,
    version: String,
    kernel: String,
}

#[expect(clippy::cast_precision_loss, reason = "a number of cores needs no 53 bits")]
fn cores(nano_cpus: u64) -> f64 {
    nano_cpus as f64 / 1e9
}

impl From<&v1::Node> for NodeRow {
    fn from(node: &v1::Node) -> Self {
        let capacity = node.capacity.unwrap_or_default();
        let reserved = node.reserved.unwrap_or_default();
        Self {
            id: node.id.clone(),
            name: node.name.clone(),
            status: match v1::node::Status::try_from(node.status) {
                Ok(v1::node::Status::Ready) => "ready",
                Ok(v1::node::Status::Down) => "down",
                _ => "unknown",
            },
            message: node.status_message.clone(),
            address: node.address.clone(),
            tasks: node.tasks,
            cpus: cores(capacity.nano_cpus),
            memory_bytes: capacity.memory_bytes,
            reserved_cpus: cores(reserved.nano_cpus),
            reserved_memory_bytes: reserved.memory_bytes,
            version: node.agent_version.clone(),
            kernel: node.kernel.clone(),
        }
    }
}

impl Row for NodeRow {
    fn headings() -> Vec<&'static str> {
        vec!["ID", "NAME", "STATUS", "TASKS", "CPUS", "MEMORY", "ADDRESS", "VERSION"]
    }
    fn cells(&self) -> Vec<String> {
        let status = if self.message.is_empty() {
            self.status.to_owned()
        } else {
            format!("{} ({})", self.status, self.message)
        };
        vec![
            short(&self.id),
            self.name.clone(),
            status,
            self.tasks.to_string(),
            format!("{:.1}/{:.1}", self.reserved_cpus, self.cpus),
            format!("{}/{}", bytes(self.reserved_memory_bytes), bytes(self.memory_bytes)),
            self.address.clone(),
            self.version.clone(),
        ]
    }
}

/// A size for people: "12.3 MiB".
pub fn bytes(count: u64) -> String {
    indicatif::BinaryBytes(count).to_string()
}
