//! The objects a cluster is made of, as they are stored. Each carries a version that grows with every write.

mod cluster;
mod node;
mod service;
mod task;
mod token;

pub use self::{
    cluster::Cluster,
    node::{Node, NodeDescription, NodeStatus},
    service::{Revision, Service, UpdateState, UpdateStatus},
    task::{Desired, Task, TaskSpec, TaskState},
    token::{Role, Token},
};
