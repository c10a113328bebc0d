//! The phases of a job in which the matrix strikes, and the fault points that hold a job there.

use common::fault::Fault;

use super::pool::Engine;

/// Where a job stands when a fault strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// The source is inspected, the target isn't.
    Inspect,
    /// Some tables are made.
    Create,
    /// Some rows of a partition are loaded.
    Load,
    /// T is prepared, nobody knows.
    Prepared,
    /// The leader knows that T is prepared, its worker doesn't know the decision.
    Acked,
    /// T is committed, nobody knows.
    Commit,
    Index,
    ForeignKeys,
    Objects,
    Verify,
    /// Some transactions are ended, the bookkeeping is there.
    Resolve,
}

impl Phase {
    pub const ALL: [Phase; 11] = [
        Phase::Inspect,
        Phase::Create,
        Phase::Load,
        Phase::Prepared,
        Phase::Acked,
        Phase::Commit,
        Phase::Index,
        Phase::ForeignKeys,
        Phase::Objects,
        Phase::Verify,
        Phase::Resolve,
    ];

    /// The points that hold it.
    pub fn points(self) -> &'static [Fault] {
        match self {
            Phase::Inspect => &[Fault::InspectMidway],
            Phase::Create => &[Fault::CreateMidway],
            Phase::Load => &[Fault::WorkerMidLoad],
            Phase::Prepared => &[Fault::WorkerAfterPrepare],
            Phase::Acked => &[Fault::WorkerAfterAck],
            Phase::Commit => &[Fault::WorkerAfterCommit, Fault::TargetInDoubt],
            Phase::Index => &[Fault::IndexMidway],
            Phase::ForeignKeys => &[Fault::ForeignKeysMidway],
            Phase::Objects => &[Fault::ObjectsMidway],
            Phase::Verify => &[Fault::VerifyMidway],
            Phase::Resolve => &[Fault::ResolveMidway],
        }
    }

    /// Whether a job of that engine passes through it.
    pub fn exists_in(self, engine: Engine) -> bool {
        match self {
            // Constraints of a SQLite table are part of its definition.
            Phase::ForeignKeys => engine != Engine::Sqlite,
            _ => true,
        }
    }

    /// Whether its point is passed once per partition.
    pub fn is_copying(self) -> bool {
        matches!(
            self,
            Phase::Load | Phase::Prepared | Phase::Acked | Phase::Commit
        )
    }

    pub fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }
}
