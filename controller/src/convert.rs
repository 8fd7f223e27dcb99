//! Between the wire and the core, both ways. What comes in is parsed once, and
//! an error names the field by its path: `spec.container.image: ...`. What goes
//! out cannot fail.
//!
//! Only this module knows both vocabularies; nothing is decided here.

mod assignment;
mod node;
mod object;
mod spec;
mod state;

use controller_core::SpecError;

pub(crate) use self::{
    assignment::assignments,
    node::{description, statuses},
    object::{node, service, task},
    spec::service_spec,
};

/// The error for one field.
fn broken(field: impl Into<String>, rule: impl Into<String>) -> SpecError {
    SpecError { field: field.into(), rule: rule.into() }
}
