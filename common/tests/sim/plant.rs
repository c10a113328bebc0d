//! Bugs planted on purpose: each takes one safeguard away from the model, and the checkers must
//! notice. A checker that no bug can reach proves nothing.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The last statements of T don't touch the fence row.
    NoFence,
    /// The fence row is read with a share lock instead of being modified; MariaDB drops such a
    /// lock at XA PREPARE.
    ShareLock,
    /// The worker commits as soon as it has prepared, before any decision.
    CommitUndecided,
    /// T writes no ledger row, and recovery looks at the data's key instead: it can't tell.
    NoLedger,
    /// XAER_NOTA is read as "already committed".
    NotaIsDone,
    /// A failed statement doesn't poison T.
    NoPoison,
    /// The leader tells workers to commit before the decision is in the log.
    DecisionNotLogged,
    /// The new owner raises the fence before it resolves what older epochs prepared, and forgets
    /// to look at the ledger again.
    LedgerNotReread,
    /// A unit that is told to stop after PrepareAck rolls T back although it may be decided.
    RollBackDecided,
    /// The end of a job leaves prepared transactions alone.
    NoResolve,
}

impl Bug {
    pub const ALL: [Bug; 10] = [
        Bug::NoFence,
        Bug::ShareLock,
        Bug::CommitUndecided,
        Bug::NoLedger,
        Bug::NotaIsDone,
        Bug::NoPoison,
        Bug::DecisionNotLogged,
        Bug::LedgerNotReread,
        Bug::RollBackDecided,
        Bug::NoResolve,
    ];
}
