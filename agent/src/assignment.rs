//! What the controller wants of this node, as the session told it: a whole set
//! first, then changes, each naming the set it applies to. A change that applies
//! to another set than the one held means that something was lost; the session
//! then begins again. Pure: no clock, no channel, no container.

use std::collections::BTreeMap;

use proto::v1::{Assignments, TaskAssignment};

/// More tasks than any one node can run; a set beyond it is not believed.
const MAX_TASKS: usize = 20_000;

/// The set as last told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AssignmentSet {
    id: Option<String>,
    tasks: BTreeMap<String, TaskAssignment>,
}

/// What follows from one message.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// This is all there is; what is not in it is not wanted any more.
    Whole(Vec<TaskAssignment>),
    /// These are new or changed, those are not wanted any more.
    Part {
        /// New or changed tasks.
        update: Vec<TaskAssignment>,
        /// Ids of tasks to stop and forget.
        remove: Vec<String>,
    },
}

/// A message that cannot be applied; the set is as it was before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// Something was lost in between.
    #[error("the change applies to assignment set {applies_to:?}, but the agent has {held:?}")]
    Gap {
        /// The set the change names.
        applies_to: String,
        /// The set held; empty when there is none.
        held: String,
    },
    /// A message that breaks the protocol.
    #[error("the assignments are malformed: {0}")]
    Malformed(&'static str),
}

impl AssignmentSet {
    /// The tasks by id.
    pub fn tasks(&self) -> &BTreeMap<String, TaskAssignment> {
        &self.tasks
    }

    /// Applies one message.
    ///
    /// # Errors
    /// A gap in the chain or a malformed message; nothing has changed then.
    pub fn apply(&mut self, message: Assignments) -> Result<Change, ChainError> {
        check(&message)?;
        if message.complete {
            self.tasks = message.update.iter().map(|task| (task.task_id.clone(), task.clone())).collect();
            self.id = Some(message.results_in);
            return Ok(Change::Whole(message.update));
        }
        if self.id.as_deref() != Some(message.applies_to.as_str()) {
            let held = self.id.clone().unwrap_or_default();
            return Err(ChainError::Gap { applies_to: message.applies_to, held });
        }
        if self.tasks.len() + message.update.len() > MAX_TASKS {
            return Err(ChainError::Malformed("more than 20,000 tasks"));
        }
        for task in &message.update {
            self.tasks.insert(task.task_id.clone(), task.clone());
        }
        for id in &message.remove {
            self.tasks.remove(id);
        }
        self.id = Some(message.results_in);
        Ok(Change::Part { update: message.update, remove: message.remove })
    }
}

fn check(message: &Assignments) -> Result<(), ChainError> {
    if message.results_in.is_empty() {
        return Err(ChainError::Malformed("no results_in"));
    }
    if message.complete && !(message.applies_to.is_empty() && message.remove.is_empty()) {
        return Err(ChainError::Malformed("a complete set that applies to another or removes"));
    }
    if message.update.len() > MAX_TASKS {
        return Err(ChainError::Malformed("more than 20,000 tasks"));
    }
    if message.update.iter().any(|task| task.task_id.is_empty()) {
        return Err(ChainError::Malformed("a task without id"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn task(id: &str, slot: u32) -> TaskAssignment {
        TaskAssignment { task_id: id.to_owned(), slot, ..TaskAssignment::default() }
    }

    fn whole(results_in: &str, update: Vec<TaskAssignment>) -> Assignments {
        Assignments { complete: true, results_in: results_in.to_owned(), update, ..Assignments::default() }
    }

    fn part(from: &str, to: &str, update: Vec<TaskAssignment>, remove: Vec<String>) -> Assignments {
        Assignments { complete: false, applies_to: from.into(), results_in: to.into(), update, remove }
    }

    #[test]
    fn a_change_before_the_first_whole_set_is_a_gap() {
        let mut set = AssignmentSet::default();
        let error = set.apply(part("1", "2", vec![], vec![])).unwrap_err();
        assert_eq!(error, ChainError::Gap { applies_to: "1".into(), held: String::new() });
    }

    #[test]
    fn a_lost_change_is_noticed_and_changes_nothing() {
        let mut set = AssignmentSet::default();
        set.apply(whole("1", vec![task("a", 1)])).unwrap();
        let before = set.clone();
        let lost = part("2", "3", vec![task("b", 2)], vec!["a".into()]);
        assert!(matches!(set.apply(lost), Err(ChainError::Gap { .. })));
        assert_eq!(set, before);
    }

    #[test]
    fn malformed_messages_change_nothing() {
        let mut set = AssignmentSet::default();
        set.apply(whole("1", vec![task("a", 1)])).unwrap();
        let before = set.clone();
        for bad in [
            whole("", vec![]),
            whole("2", vec![task("", 1)]),
            Assignments { remove: vec!["a".into()], ..whole("2", vec![]) },
            part("1", "", vec![], vec![]),
        ] {
            assert!(matches!(set.apply(bad), Err(ChainError::Malformed(_))));
            assert_eq!(set, before);
        }
    }

    proptest! {
        /// Whoever follows the changes knows the same as whoever is told the whole.
        #[test]
        fn changes_add_up_to_the_whole(steps in prop::collection::vec(
            (prop::collection::vec((0u8..6, 0u32..4), 0..4), prop::collection::vec(0u8..6, 0..3)), 0..12)) {
            let mut set = AssignmentSet::default();
            set.apply(whole("0", vec![])).unwrap();
            let mut model = BTreeMap::new();
            for (number, (updates, removes)) in steps.into_iter().enumerate() {
                let update: Vec<_> = updates.iter().map(|(id, slot)| task(&id.to_string(), *slot)).collect();
                let remove: Vec<_> = removes.iter().map(u8::to_string).collect();
                for task in &update { model.insert(task.task_id.clone(), task.clone()); }
                for id in &remove { model.remove(id); }
                set.apply(part(&number.to_string(), &(number + 1).to_string(), update, remove)).unwrap();
            }
            prop_assert_eq!(set.tasks(), &model);
        }
    }
}
