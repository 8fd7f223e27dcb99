//! One pass over everything that needs attention: at most one plan, and never two under way.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    apply::carry_out,
    command::{Change, Command, Plan},
    control::{BUDGET, PATIENCE, lease::Leases},
    ids::{Ids, NodeId, ServiceId},
    reconcile::{RECONCILERS, View, node_health},
    schedule,
    state::State,
    time::Timestamp,
};

/// A plan that was proposed and is not yet seen in the State.
#[derive(Debug)]
struct UnderWay {
    base: u64,
    seal: u64,
    again_at: Timestamp,
    services: BTreeSet<ServiceId>,
}

/// What is left to look at.
#[derive(Debug, Default)]
pub(super) struct Pass {
    /// Version of the State up to which every touch is accounted for.
    seen: u64,
    dirty: BTreeSet<ServiceId>,
    due: BTreeMap<ServiceId, Timestamp>,
    orphans_due: BTreeMap<NodeId, Timestamp>,
    /// Placement version of the State for which every waiting task was looked at.
    scheduled: Option<u64>,
    under_way: Option<UnderWay>,
}

/// The changes decided so far, and the State as it will be with them.
struct Draft {
    state: State,
    changes: Vec<Change>,
    at: Timestamp,
}

impl Draft {
    fn room(&self) -> usize {
        BUDGET - self.changes.len()
    }

    /// Takes as many changes as there is room for; says whether that was all.
    fn take(&mut self, changes: Vec<Change>) -> bool {
        let all = changes.len() <= self.room();
        for change in changes.into_iter().take(self.room()) {
            // What would be left out when the plan is carried out is left out of the plan.
            if carry_out(&mut self.state, &change, self.at).is_some() {
                self.changes.push(change);
            }
        }
        all
    }
}

impl Pass {
    /// Looks at everything that was touched or is due, unless the last plan is still under way.
    pub(super) fn run(
        &mut self,
        state: &State,
        leases: &mut Leases,
        now: Timestamp,
        ids: &mut Ids,
    ) -> Option<Command> {
        self.note_touches(state, leases, now);
        if self.is_waiting(state, now) {
            return None;
        }
        let (ended, heard) = (leases.ended(state, now), leases.heard(state, now));
        let services = self.take_dirty(now);
        let orphaned = self.take_orphaned(state, now);
        if services.is_empty()
            && ended.is_empty()
            && heard.is_empty()
            && orphaned.is_empty()
            && self.scheduled == Some(state.placement_version())
        {
            return None;
        }
        let mut draft = Draft { state: state.clone(), changes: Vec::new(), at: now };
        draft.state.begin();
        draft.take(node_health::plan(state, &ended, &heard));
        for node in orphaned {
            if !draft.take(node_health::orphan(state, &node)) {
                self.orphans_due.insert(node, now);
            }
        }
        // Services with tasks on a node that just went down are touched in the draft.
        let mut services = services;
        services.extend(draft.state.services_touched_since(state.version()));
        for service in &services {
            self.reconcile(&mut draft, service, now, ids);
        }
        self.schedule(&mut draft, state);
        self.propose(draft, services, state, now, ids)
    }

    fn note_touches(&mut self, state: &State, leases: &mut Leases, now: Timestamp) {
        for node in state.nodes_touched_since(self.seen) {
            leases.adopt(state, node, now);
            match node_health::orphans_due(state, &node) {
                Some(due) => self.orphans_due.insert(node, due),
                None => self.orphans_due.remove(&node),
            };
        }
        self.dirty.extend(state.services_touched_since(self.seen));
        self.seen = state.version();
    }

    /// Whether the last plan may still arrive. When it was overtaken or lost, its services are looked at again.
    fn is_waiting(&mut self, state: &State, now: Timestamp) -> bool {
        let Some(plan) = &self.under_way else { return false };
        if state.plan_seal() == plan.base && now < plan.again_at {
            return true;
        }
        if state.plan_seal() != plan.seal {
            self.dirty.extend(plan.services.iter().copied());
            self.scheduled = None;
        }
        self.under_way = None;
        false
    }

    fn take_dirty(&mut self, now: Timestamp) -> BTreeSet<ServiceId> {
        let mut services = std::mem::take(&mut self.dirty);
        services.extend(self.due.iter().filter(|(_, due)| **due <= now).map(|(service, _)| *service));
        services
    }

    fn take_orphaned(&mut self, state: &State, now: Timestamp) -> Vec<NodeId> {
        let due = self
            .orphans_due
            .iter()
            .filter(|(_, due)| **due <= now)
            .map(|(node, _)| *node)
            .collect::<Vec<_>>();
        for node in &due {
            self.orphans_due.remove(node);
        }
        due.into_iter().filter(|node| node_health::orphans_due(state, node).is_some()).collect()
    }

    /// Runs all reconcilers over one service. One that does not fit into this plan waits for the next.
    fn reconcile(&mut self, draft: &mut Draft, service: &ServiceId, now: Timestamp, ids: &mut Ids) {
        self.due.remove(service);
        let mut view = View::of(&draft.state, service);
        for plan in RECONCILERS {
            if draft.room() == 0 {
                self.dirty.insert(*service);
                return;
            }
            let outcome = plan(&view, now, ids);
            if let Some(due) = outcome.due {
                let known = self.due.entry(*service).or_insert(due);
                *known = due.min(*known);
            }
            if outcome.changes.is_empty() {
                continue;
            }
            if !draft.take(outcome.changes) {
                self.dirty.insert(*service);
            }
            view = View::of(&draft.state, service);
        }
    }

    fn schedule(&mut self, draft: &mut Draft, state: &State) {
        if self.scheduled == Some(draft.state.placement_version()) {
            return;
        }
        let placements = schedule::plan(&draft.state, draft.room());
        let taken = draft.take(placements.changes);
        let complete = taken && placements.complete;
        self.scheduled = complete.then(|| state.placement_version());
    }

    fn propose(
        &mut self,
        draft: Draft,
        services: BTreeSet<ServiceId>,
        state: &State,
        now: Timestamp,
        ids: &mut Ids,
    ) -> Option<Command> {
        if draft.changes.is_empty() {
            return None;
        }
        let (base, seal) = (state.plan_seal(), ids.seal());
        self.under_way = Some(UnderWay { base, seal, again_at: now.plus(PATIENCE), services });
        Some(Command::Plan(Plan { base, seal, at: now, changes: draft.changes }))
    }
}
