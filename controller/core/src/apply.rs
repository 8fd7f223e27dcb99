//! The one way the State changes: `apply(&mut State, &Command) -> Vec<Event>`, total and without choices.
//!
//! One file per object. Each handler first looks for a reason to refuse, and only then writes, so that a
//! refused command changes nothing.

mod cluster;
mod node;
mod plan;
mod report;
mod service;

use crate::{command::Command, event::Event, refusal::Refusal, state::State};

pub(crate) use self::plan::carry_out;

/// Carries out a committed command. Equal states and commands give equal states and events, on every machine.
pub fn apply(state: &mut State, command: &Command) -> Vec<Event> {
    let done = match command {
        Command::Bootstrap { cluster_id, root_der, at } => {
            cluster::bootstrap(state, *cluster_id, root_der, *at)
        }
        Command::CreateToken { hash, role, expires, at } => {
            cluster::create_token(state, hash, *role, *expires, *at)
        }
        Command::AdmitNode { id, name, token_hash, at } => node::admit(state, *id, name, token_hash, *at),
        Command::RegisterNode { id, description, at } => node::register(state, *id, description, *at),
        Command::CreateService { id, spec, trace, at } => {
            service::create(state, *id, spec, trace.as_deref(), *at)
        }
        Command::UpdateService { id, version, spec, trace, at } => {
            service::update(state, *id, *version, spec, trace.as_deref(), *at)
        }
        Command::RemoveService { id, at } => service::remove(state, *id, *at),
        Command::Plan(plan) => plan::apply(state, plan),
        Command::ReportTasks { reports, at } => Ok(report::apply(state, reports, *at)),
    };
    done.unwrap_or_else(|refusal: Refusal| vec![Event::Refused(refusal)])
}
