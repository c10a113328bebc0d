//! Bugs planted on purpose. Each takes one safeguard away from the model (or from what the model
//! does with the core's answers), and a named checker must notice: a checker that no bug can reach
//! proves nothing. Where safeguards overlap, a plant takes away all that cover for each other, and
//! the table of layers says which one alone is enough.

use common::directive::{Outcome, Report};
use common::epoch::{Lease, Unit};
use common::limits::Limits;
use common::schedule;
use common::state::{Command, Stage, State, TaskStage};
use common::two_phase;
use common::view::ClusterView;

/// One safeguard that is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// The last statements of T don't touch the fence row.
    NoFence,
    /// The fence row is read with a share lock instead of being modified; MariaDB drops such a
    /// lock at XA PREPARE.
    ShareLock,
    /// A new owner doesn't KILL the session of the old one.
    NoKill,
    /// The ledger has no unique key, and the new owner doesn't read it again.
    NoLedgerKey,
    /// T writes no ledger row.
    NoLedger,
    /// The new owner doesn't look at the ledger after it has raised the fence.
    LedgerNotReread,
    /// The new owner raises the fence without ending what older epochs prepared.
    OlderLeft,
    /// The worker commits as soon as it has prepared, before any decision.
    CommitUndecided,
    /// The leader tells workers to commit before the decision is in the log.
    DecisionNotLogged,
    /// A word about an older epoch is taken for one about the present epoch.
    NoEpochCheck,
    /// XAER_NOTA is read as "already committed".
    NotaIsDone,
    /// A failed statement doesn't poison T.
    NoPoison,
    /// PostgreSQL answers PREPARE of a failed transaction with success and the tag ROLLBACK; only
    /// the success is looked at.
    TagNotLooked,
    /// A warning doesn't poison T: the server dropped rows.
    NoWarnings,
    /// A unit that is told to stop after PrepareAck rolls T back although it may be decided.
    RollBackDecided,
    /// The end of a job leaves prepared transactions alone.
    NoResolve,
    /// The end of a job leaves fence and ledger.
    KeepsBooks,
    /// A unit that ended leaves its session open.
    KeepsSessions,
    /// Reading back says "equal" without reading.
    BlindVerify,
    /// The upper bound of a range belongs to it: rows on a bound are in two partitions.
    ClosedRanges,
    /// The lower bound of a range doesn't belong to it: rows on a bound are in none.
    OpenRanges,
    /// A worker begins tasks that it was told long ago.
    ZombieBegins,
    /// A lease that was taken away is begun again by an older set of directives.
    BeginsAgain,
    /// Directives of an older term are taken in.
    OldTerms,
    /// An acknowledgement is said once, not until the directives move on.
    SaysOnce,
    /// A worker says that it has more slots than it has.
    MoreSlots,
    /// A leader's clock is the wall clock of its machine.
    WallClock,
    /// Work that is given out already is planned again.
    ForgetsLeases,
    /// `apply` reads a clock of its own beside the entry's time.
    ClockInApply,
    /// The indexes aren't rebuilt after a snapshot.
    NoReindex,
    /// A snapshot without the workers.
    SnapshotLosesWorkers,
    /// A snapshot without the epochs of partitions.
    SnapshotLosesEpochs,
    /// A snapshot without the totals of tables.
    SnapshotLosesTotals,
    /// A snapshot that calls a copying job verified.
    SnapshotSkipsPhase,
    /// Changes are committed without a look at the fence.
    NoMarkFence,
    /// The mark isn't committed together with the changes it is about.
    MarkApart,
    /// A new follow task begins where the log ends, not where the target stands.
    FollowsFromNow,
    /// The end of a job leaves the source keeping its log.
    KeepsLog,
}

/// The bugs of one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bugs(u64);

impl Bugs {
    pub fn of(bugs: &[Bug]) -> Bugs {
        Bugs(bugs.iter().fold(0, |all, bug| all | 1 << *bug as u64))
    }

    pub fn has(self, bug: Bug) -> bool {
        self.0 >> bug as u64 & 1 == 1
    }

    /// What a report means: the core's own `intake`, or one that doesn't look at epochs.
    pub fn intake(self, state: &State, report: &Report) -> Vec<Command> {
        let mut commands = two_phase::intake(state, report);
        if !self.has(Bug::NoEpochCheck) || state.worker_of(&report.hello).is_none() {
            return commands;
        }
        for ack in &report.acks {
            let (Unit::Partition(no), Outcome::Prepared(loaded)) = (ack.lease.unit, &ack.outcome)
            else {
                continue;
            };
            let Some(partition) = state.job(ack.lease.job).and_then(|job| job.partition(no)) else {
                continue;
            };
            if partition.epoch != ack.lease.epoch && matches!(partition.stage, Stage::Leased { .. })
            {
                let lease = Lease {
                    epoch: partition.epoch,
                    ..ack.lease
                };
                let loaded = *loaded;
                commands.push(Command::RecordPrepared { lease, loaded });
            }
        }
        commands
    }

    /// What is to be given out: the core's own `schedule`, or one that forgets what is out.
    pub fn schedule(self, state: &State, view: &ClusterView, limits: &Limits) -> Vec<Command> {
        let mut commands = schedule::schedule(state, view, limits);
        if !self.has(Bug::ForgetsLeases) {
            return commands;
        }
        for (job, of) in state.active_jobs() {
            for (task, held) in of.tasks() {
                if let TaskStage::Leased { worker } = held.stage {
                    commands.push(Command::AssignTask { job, task, worker });
                }
            }
        }
        commands
    }

    /// What a snapshot loses on its way.
    pub fn warp(self, snapshot: &mut serde_json::Value) {
        let Some(jobs) = snapshot
            .get_mut("jobs")
            .and_then(|jobs| jobs.as_object_mut())
        else {
            return;
        };
        for job in jobs.values_mut() {
            if self.has(Bug::SnapshotLosesTotals) {
                for total in job["totals"].as_array_mut().into_iter().flatten() {
                    total["committed"] = 0.into();
                }
            }
            if self.has(Bug::SnapshotLosesEpochs) {
                for partition in job["partitions"].as_array_mut().into_iter().flatten() {
                    partition[0] = 0.into();
                }
            }
            if self.has(Bug::SnapshotSkipsPhase) && job["phase"] == "Copying" {
                job["phase"] = "Verifying".into();
            }
        }
        if self.has(Bug::SnapshotLosesWorkers) {
            snapshot["workers"] = serde_json::json!({});
        }
    }
}

/// Bugs planted together, and who must notice them: each of the checkers, asked alone.
pub struct Plant {
    pub bugs: &'static [Bug],
    pub noticed_by: &'static [&'static str],
}

/// What nobody notices, because something else does the same: the words say what. With
/// `CommitUndecided` the log protects nothing and the target has to, by itself.
pub struct Layer {
    pub without: &'static [Bug],
    /// The checker that is asked; "" = all of them.
    pub asked: &'static str,
    pub covered_by: &'static str,
}

macro_rules! plants {
    ($( [$($bug:ident)*] => $($checker:literal)*; )*) => {
        &[$( Plant { bugs: &[$(Bug::$bug),*], noticed_by: &[$($checker),*] }, )*]
    };
}

macro_rules! layers {
    ($( [$($bug:ident)*] $asked:literal: $text:literal; )*) => {
        &[$( Layer { without: &[$(Bug::$bug),*], asked: $asked, covered_by: $text }, )*]
    };
}

pub const PLANTS: &[Plant] = plants! {
    [CommitUndecided] => "no_commit_without_decision";
    [DecisionNotLogged] => "no_commit_without_decision";
    [NoEpochCheck] => "decision_stable";
    [RollBackDecided] => "decision_stable";
    [BeginsAgain] => "decision_stable";
    [NoPoison TagNotLooked] => "decision_stable";
    [ShareLock OlderLeft NoLedgerKey] => "decision_stable";
    [OlderLeft] => "heals";
    [NoLedger] => "ledger_matches" "heals";
    [NotaIsDone NoKill] => "ledger_matches";
    [NoPoison] => "exactly_once";
    [NoWarnings] => "exactly_once" "heals";
    [NoPoison BlindVerify] => "honest_exit";
    [NoWarnings BlindVerify] => "honest_exit";
    [ClosedRanges] => "no_lost_key" "exactly_once" "honest_exit";
    [OpenRanges] => "no_lost_key" "exactly_once" "honest_exit";
    [NoResolve] => "heals";
    [NoResolve NoFence] => "no_orphans";
    [KeepsBooks] => "no_orphans";
    [KeepsSessions] => "no_orphans";
    [ZombieBegins] => "no_orphans";
    [LedgerNotReread NoLedgerKey] => "single_owner";
    [NoFence NoKill NoLedgerKey] => "single_owner";
    [CommitUndecided NoFence NoKill NoLedgerKey] => "single_owner";
    [SaysOnce] => "heals";
    [WallClock] => "heals";
    [MoreSlots] => "bounded";
    [ForgetsLeases] => "schedule_stable";
    [ClockInApply] => "replay";
    [NoReindex] => "replay" "state";
    [SnapshotLosesWorkers] => "state" "replay";
    [SnapshotLosesEpochs] => "state" "replay";
    [SnapshotLosesTotals] => "state" "replay";
    [SnapshotSkipsPhase] => "state" "replay";
    [NoMarkFence NoKill] => "changes_once";
    [MarkApart] => "changes_once" "position_monotonic";
    [FollowsFromNow] => "changes_once";
    [KeepsLog] => "no_orphans";
};

pub const LAYERS: &[Layer] = layers! {
    [NoFence] "": "ledger key, KILL";
    [NoMarkFence] "": "KILL";
    [NoKill] "": "the fence's lock, ledger key";
    [NoLedgerKey] "": "ledger read again under the fence";
    [LedgerNotReread] "single_owner": "ledger key";
    [NoFence NoKill] "single_owner": "ledger key";
    [NoFence NoLedgerKey] "single_owner": "KILL";
    [CommitUndecided NoKill NoLedgerKey] "single_owner": "the fence, modified by T";
    [CommitUndecided NoKill NoFence] "single_owner": "ledger key";
    [OlderLeft NoLedgerKey] "decision_stable": "the fence's lock, which outlives PREPARE";
    [ShareLock] "": "older transactions are ended first, ledger key";
    [NotaIsDone] "": "KILL before the second try";
    [TagNotLooked] "": "a failed statement poisons T";
    [BlindVerify] "": "nothing wrong is committed";
    [OldTerms] "": "leases taken away are remembered, decisions are logged";
};
