//! What people ask for: the specification of a service, plain data until [`ServiceSpec::validate`] has passed it.

pub mod constraint;
mod container;
mod image;
mod logging;
mod service;
mod validate;

pub use self::{
    constraint::Constraint,
    container::ContainerSpec,
    logging::Logging,
    service::{FailureAction, Protocol, PublishedPort, ServiceSpec, UpdatePolicy},
    validate::{LEAST_MEMORY, MOST_REPLICAS, SpecError},
};
