//! What the checkers remember of the log: every decision, in order.

use std::collections::BTreeMap;

use common::state::{Decision, EventKind, State};

use crate::target::Txn;

#[derive(Debug, Default)]
pub struct Memory {
    seen: u64,
    pub decided: BTreeMap<Txn, Decision>,
    /// Decisions of the newest entry, with the decision there was before.
    pub fresh: Vec<(Txn, Decision, Option<Decision>)>,
    /// Commits in the target that were looked at.
    pub commits: usize,
}

impl Memory {
    /// Takes in what the newest entry decided.
    pub fn take(&mut self, state: &State) {
        self.fresh.clear();
        for event in state.events_after(self.seen) {
            self.seen = event.seq;
            if let EventKind::Decided {
                partition,
                epoch,
                decision,
            } = event.kind
            {
                let txn = (partition, epoch);
                let before = self.decided.insert(txn, decision);
                self.fresh.push((txn, decision, before));
            }
        }
    }

    pub fn is_commit(&self, txn: Txn) -> bool {
        self.decided.get(&txn) == Some(&Decision::Commit)
    }
}
