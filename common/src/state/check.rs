//! The invariants of the state, each with its name. The simulation asks after every step, a debug
//! build after every entry.

use std::fmt;

use crate::epoch::Epoch;
use crate::id::JobId;
use crate::state::{Job, Phase, Stage, State, TaskStage};

/// A broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: &'static str,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

impl State {
    /// Every broken invariant; empty = all hold.
    pub fn check(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (id, job) in self.jobs() {
            self.check_owners(id, job, &mut found);
            check_transactions(id, job, &mut found);
            check_counts(id, job, &mut found);
            check_phase(id, job, &mut found);
        }
        found
    }

    /// single_owner: who holds a lease is a registered worker, and an ended job has none.
    fn check_owners(&self, id: JobId, job: &Job, found: &mut Vec<Violation>) {
        let mut owners: Vec<_> = job
            .partitions()
            .iter()
            .filter_map(|p| p.stage.worker())
            .collect();
        owners.extend(job.tasks().filter_map(|(_, task)| match task.stage {
            TaskStage::Leased { worker } => Some(worker),
            _ => None,
        }));
        for worker in &owners {
            if self.worker(*worker).is_none() {
                found.push(violation(
                    "single_owner",
                    format!("{id}: {worker} is not registered"),
                ));
            }
        }
        if job.phase.is_ended() && !owners.is_empty() {
            found.push(violation(
                "single_owner",
                format!("{id} has ended and {owners:?} hold leases"),
            ));
        }
    }
}

/// no_commit_without_decision, decision_stable: a transaction's epoch was minted, and no partition
/// that was ever assigned is without an epoch.
fn check_transactions(id: JobId, job: &Job, found: &mut Vec<Violation>) {
    for (no, partition) in (0u32..).zip(job.partitions()) {
        let txn = match &partition.stage {
            Stage::Waiting => None,
            Stage::Prepared { .. } => Some(partition.epoch),
            Stage::Leased { decided, .. } => {
                if decided.is_some_and(|decided| decided.txn >= partition.epoch) {
                    let what = format!("{id}/p{no}: its owner would resolve its own transaction");
                    found.push(violation("decision_stable", what));
                }
                Some(partition.epoch)
            }
            Stage::Committing { decided, .. } => Some(decided.txn),
            Stage::Committed { txn, .. } => Some(*txn),
        };
        if txn.is_some_and(|txn| txn == Epoch(0) || txn > partition.epoch) {
            let what = format!("{id}/p{no}: {txn:?} was never minted ({})", partition.epoch);
            found.push(violation("no_commit_without_decision", what));
        }
    }
}

/// ledger_matches: what the totals say is what the partitions say; the indexes are the partitions.
fn check_counts(id: JobId, job: &Job, found: &mut Vec<Violation>) {
    let mut rebuilt = job.clone();
    rebuilt.reindex();
    if rebuilt.index != job.index {
        found.push(violation(
            "index",
            format!("{id}: an index differs from its partitions"),
        ));
    }
    let mut totals = vec![crate::state::TableTotals::default(); job.totals.len()];
    for (no, partition) in (0u32..).map(crate::id::PartitionNo).zip(job.partitions()) {
        let Some(table) = job.table_of(no) else {
            found.push(violation(
                "no_lost_key",
                format!("{id}/{no} has no place in the plan"),
            ));
            continue;
        };
        let total = &mut totals[table.0 as usize];
        total.partitions += 1;
        if let Stage::Committed { loaded, .. } = &partition.stage {
            total.committed += 1;
            total.bytes += loaded.bytes;
            total.digest += loaded.digest;
        }
    }
    for (table, (counted, kept)) in totals.iter().zip(&job.totals).enumerate() {
        let same = (
            counted.partitions,
            counted.committed,
            counted.bytes,
            counted.digest,
        ) == (kept.partitions, kept.committed, kept.bytes, kept.digest);
        if !same {
            let what = format!("{id}/table{table}: {kept:?} is kept, {counted:?} is counted");
            found.push(violation("ledger_matches", what));
        }
    }
}

/// A job is past copying only with every partition committed; an ended one has no open task.
fn check_phase(id: JobId, job: &Job, found: &mut Vec<Violation>) {
    let past = matches!(
        job.phase,
        Phase::Indexing | Phase::Verifying | Phase::Completed
    );
    if past && job.committed() as usize != job.partitions().len() {
        found.push(violation(
            "exactly_once",
            format!("{id} is {} with rows missing", job.phase),
        ));
    }
    if job.phase == Phase::Completed {
        let open = job.tasks().any(|(_, task)| {
            matches!(
                task.stage,
                TaskStage::Waiting { .. } | TaskStage::Leased { .. }
            )
        });
        if open || job.ending.is_some() {
            found.push(violation(
                "no_orphans",
                format!("{id} is Completed with open tasks"),
            ));
        }
    }
}

fn violation(invariant: &'static str, what: String) -> Violation {
    Violation { invariant, what }
}
