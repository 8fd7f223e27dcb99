//! Compares the indexes with the tables they are derived from.

use crate::state::{Index, State, Usage, dump::Dump};

impl State {
    /// The indexes that differ from what the tables say.
    pub(crate) fn broken_indexes(&self) -> Vec<&'static str> {
        let Ok(rebuilt) = Self::try_from(Dump::from(self.clone())) else { return vec!["revisions"] };
        let (have, want) = (&self.index, &rebuilt.index);
        let usage = |index: &Index| {
            let held = index.usage.iter().filter(|(_, usage)| **usage != Usage::default());
            held.map(|(node, usage)| (*node, *usage)).collect::<Vec<_>>()
        };
        let services = |index: &Index| index.services.keys().copied().collect::<Vec<_>>();
        let nodes = |index: &Index| index.nodes.keys().copied().collect::<Vec<_>>();
        [
            ("node names", have.node_names == want.node_names),
            ("service names", have.service_names == want.service_names),
            ("ports", have.ports == want.ports),
            ("tasks of services", have.service_tasks == want.service_tasks),
            ("tasks on nodes", have.node_tasks == want.node_tasks),
            ("unplaced tasks", have.unplaced == want.unplaced),
            ("usage", usage(have) == usage(want)),
            ("touched services", services(have) == services(want)),
            ("touched nodes", nodes(have) == nodes(want)),
        ]
        .into_iter()
        .filter_map(|(name, same)| (!same).then_some(name))
        .collect()
    }
}
