//! Who owns a unit of work, and the fencing rule.
//!
//! **The rule.** `apply(Assign)` mints epoch e+1 for a unit and, in the same log entry, fixes
//! Abort for every undecided transaction of an older epoch. From then on a report that carries an
//! older epoch is [`crate::state::Rejected::StaleEpoch`]. In the target, the new owner's `begin`
//! raises the fence row to e+1 before it writes; the old owner's last statement before its prepare
//! updates the fence row `WHERE epoch = e` and must affect one row. Whichever comes first, only one
//! of the two can ever commit. Leases (time) decide when a unit is given away, never whether that
//! is safe.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::{JobId, JobUid, PartitionNo, TaskNo};

/// Fencing token of one unit: grows by one at every assignment, never reused. 0 = never assigned.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u32);

impl Epoch {
    /// The epoch of the next assignment.
    pub fn next(self) -> Epoch {
        Epoch(
            self.0
                .checked_add(1)
                .expect("a unit is not assigned four billion times"),
        )
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "e{}", self.0)
    }
}

/// What a lease is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// A partition: rows, moved under two-phase commit.
    Partition(PartitionNo),
    /// A task: inspect, create, index, …
    Task(TaskNo),
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unit::Partition(no) => no.fmt(f),
            Unit::Task(no) => no.fmt(f),
        }
    }
}

/// The right to work on a unit. The worker it was given to is in the state, not in the lease:
/// the epoch alone tells two owners apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lease {
    pub job: JobId,
    pub unit: Unit,
    pub epoch: Epoch,
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.job, self.unit, self.epoch)
    }
}

/// T: one transaction in the target, named in the log before anything is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TxnId {
    pub job: JobUid,
    pub partition: PartitionNo,
    pub epoch: Epoch,
}

impl fmt::Display for TxnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "sterna/{}/{}/{}",
            self.job, self.partition.0, self.epoch.0
        )
    }
}

impl TxnId {
    /// Reads what `Display` wrote; `None` for a transaction that isn't ours.
    pub fn parse(text: &str) -> Option<TxnId> {
        let mut parts = text.split('/');
        if parts.next()? != "sterna" {
            return None;
        }
        let job = JobUid::parse(parts.next()?)?;
        let partition = PartitionNo(parts.next()?.parse().ok()?);
        let epoch = Epoch(parts.next()?.parse().ok()?);
        parts.next().is_none().then_some(TxnId {
            job,
            partition,
            epoch,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_id_reads_back_and_foreign_ones_do_not() {
        let job = JobUid::parse("0123456789abcdef0123456789abcdef").expect("32 hex digits");
        let txn = TxnId {
            job,
            partition: PartitionNo(7),
            epoch: Epoch(3),
        };
        assert_eq!(TxnId::parse(&txn.to_string()), Some(txn.clone()));
        assert!(txn.to_string().len() <= 64, "an XA gtrid holds 64 bytes");
        for foreign in [
            "",
            "sterna",
            "sterna/xyz/1/2",
            "other/0/1/2",
            &format!("{txn}/4"),
        ] {
            assert_eq!(TxnId::parse(foreign), None, "{foreign}");
        }
    }
}
