//! Bugs planted on purpose: each takes one safeguard away from the model of worker, leader or
//! target. Where a second safeguard covers the first, the two are planted together.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// The last statements of T don't touch the fence row.
    NoFence,
    /// They read it with a share lock instead; MariaDB drops such a lock at XA PREPARE.
    ShareLock,
    /// The worker commits as soon as it has prepared.
    CommitUndecided,
    /// The leader tells workers to commit before the decision is in the log.
    DecisionNotLogged,
    /// XAER_NOTA is read as "committed already".
    NotaIsDone,
    /// A new owner doesn't look at the ledger again once it has raised the fence.
    LedgerNotReread,
    /// The ledger takes a second row of a partition.
    NoLedgerKey,
    /// A failed statement doesn't poison T.
    NoPoison,
    /// What was loaded isn't compared with what was read.
    NoRowCheck,
    /// PostgreSQL's success of PREPARE is believed without looking at its list.
    NoTagCheck,
    /// A unit that is told to stop after PrepareAck rolls T back although it may be decided.
    RollBackDecided,
    /// The end of a job leaves prepared transactions alone.
    NoResolve,
    /// A resolve task that comes late ends newer transactions too.
    ResolveNewer,
    /// A new owner leaves older prepared transactions alone.
    NoRecovery,
    /// A new owner rolls back whatever it finds, whatever was decided.
    DecisionIgnored,
    /// A worker begins a lease again that was taken away from it.
    LeaseTwice,
    /// The leader takes a word about an older epoch for one about the present one.
    EpochIgnored,
}
