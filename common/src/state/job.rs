//! One job: its phase, its partitions, its tasks, and the indexes that keep a tick from walking
//! every partition.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::change::{Mark, Secured};
use crate::code::Failure;
use crate::digest::Digest;
use crate::epoch::Epoch;
use crate::id::{JobUid, Millis, PartitionNo, TableNo, TaskNo, WorkerId};
use crate::job::JobSpec;
use crate::plan::{Loaded, Plan};
use crate::schema::{Catalog, SourceMark};
use crate::state::tasks::OpenTasks;
use crate::state::{Intent, Task};
use crate::verify::{DifferingRange, TableVerdict};

/// Where a job stands. Set by `apply` alone, durable in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Phase {
    /// Pre-checks on both ends and the catalogue. Left by the inspect task's result.
    Checking,
    /// The leader makes the plan. Left by `AdoptPlan` or `RefusePlan`.
    Planning,
    /// Fence, ledger, tables; P0 at a source that is followed. From here on the target is touched.
    Creating,
    /// Partitions by two-phase commit, then what the source logged meanwhile is replayed; or, where
    /// it is not followed, the question whether it moved.
    Copying,
    /// Secondary indexes, then foreign keys.
    Indexing,
    /// Changes of the source, as they happen. Left by `Complete` and what it takes.
    Following,
    /// The target is read back; of a job that is there to compare, both ends are read.
    Verifying,
    /// Ranges of the target are made equal to the source's.
    Repairing,
    CutOver,
    Completed,
    /// Stopped by an error; `SetIntent(Run)` goes on where it stopped.
    Failed,
    Cancelled,
}

impl Phase {
    pub const ALL: [Phase; 12] = [
        Phase::Checking,
        Phase::Planning,
        Phase::Creating,
        Phase::Copying,
        Phase::Indexing,
        Phase::Following,
        Phase::Verifying,
        Phase::Repairing,
        Phase::CutOver,
        Phase::Completed,
        Phase::Failed,
        Phase::Cancelled,
    ];

    /// Nothing more happens by itself.
    pub fn is_ended(self) -> bool {
        matches!(self, Phase::Completed | Phase::Failed | Phase::Cancelled)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::str::FromStr for Phase {
    type Err = ();
    fn from_str(text: &str) -> Result<Phase, ()> {
        let found = Phase::ALL
            .iter()
            .find(|phase| phase.to_string().eq_ignore_ascii_case(text));
        found.copied().ok_or(())
    }
}

/// How a job is ending, while its resolve task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    Completed,
    Failed,
    Cancelled,
}

/// Whether the source stood still while it was copied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SourceProof {
    /// Not asked yet.
    #[default]
    Open,
    /// Its log or change counter didn't move.
    Unmoved,
    /// It moved, or keeps none; every table read again had the copied digest.
    Reread,
    /// Not known, and the user allowed it.
    Waived,
    /// What was written meanwhile was replayed from its log: [`Job::followed`] says up to where.
    Replayed,
}

/// A partition. Where it lies (table, class, buckets) follows from the plan and isn't stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Packed", into = "Packed")]
pub struct Partition {
    /// The last epoch minted.
    pub epoch: Epoch,
    /// Failures in a row.
    pub attempts: u16,
    /// An ownerless partition is not given out before this moment.
    pub not_before: Millis,
    pub stage: Stage,
}

impl Partition {
    /// What was loaded of it; nothing before it is committed.
    pub fn digest(&self) -> Digest {
        match &self.stage {
            Stage::Committed { loaded, .. } => loaded.digest,
            _ => Digest::default(),
        }
    }
}

/// Arrays, not maps: there may be millions.
type Packed = (u32, u16, u64, Stage);

impl From<Packed> for Partition {
    fn from((epoch, attempts, not_before, stage): Packed) -> Partition {
        Partition {
            epoch: Epoch(epoch),
            attempts,
            not_before: Millis(not_before),
            stage,
        }
    }
}

impl From<Partition> for Packed {
    fn from(partition: Partition) -> Packed {
        (
            partition.epoch.0,
            partition.attempts,
            partition.not_before.0,
            partition.stage,
        )
    }
}

/// A transaction whose decision is Commit and whose end isn't recorded yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    pub txn: Epoch,
    pub loaded: Loaded,
}

/// Two-phase commit of one partition, as the log knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Nobody's. Set at planning, by loss, failure or release; left by `AssignPartition`.
    #[serde(rename = "W")]
    #[default]
    Waiting,
    /// Assigned; the owner recovers, loads, prepares. `decided`: an older epoch whose decision is
    /// Commit. Left by `RecordPrepared`, `RecordCommitted` or loss.
    #[serde(rename = "L")]
    Leased {
        worker: WorkerId,
        decided: Option<Decided>,
    },
    /// T of the current epoch is prepared in the target. Set by the owner's PrepareAck; left only
    /// by `Decide`, or by `AssignPartition` after the loss of a held transaction.
    #[serde(rename = "P")]
    Prepared {
        worker: Option<WorkerId>,
        loaded: Loaded,
    },
    /// The decision is Commit; the owner, if there is one, finishes it. Left by `RecordCommitted`,
    /// or by loss and `AssignPartition` to an owner that resolves it.
    #[serde(rename = "D")]
    Committing {
        worker: Option<WorkerId>,
        decided: Decided,
    },
    /// The ledger has the row. Final.
    #[serde(rename = "C")]
    Committed { txn: Epoch, loaded: Loaded },
}

impl Stage {
    /// Who works on it now.
    pub fn worker(&self) -> Option<WorkerId> {
        match self {
            Stage::Leased { worker, .. } => Some(*worker),
            Stage::Prepared { worker, .. } | Stage::Committing { worker, .. } => *worker,
            Stage::Waiting | Stage::Committed { .. } => None,
        }
    }
}

/// What was copied of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableTotals {
    pub partitions: u32,
    pub committed: u32,
    pub bytes: u64,
    pub digest: Digest,
    /// The target's digest was equal.
    pub verified: bool,
    /// Parts of it that are still to be read back.
    #[serde(default)]
    pub unread: u32,
    pub indexed: bool,
    /// The two ends differ, and the source was written to beyond what the target stands for.
    #[serde(default)]
    pub written_since: bool,
}

/// One migration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub uid: JobUid,
    pub spec: JobSpec,
    pub phase: Phase,
    pub intent: Intent,
    pub ending: Option<Ending>,
    pub failure: Option<Failure>,
    /// The phase a Failed job stopped in, to go on there.
    pub failed_in: Option<Phase>,
    pub submitted_at: Millis,
    pub phase_since: Millis,
    pub ended_at: Option<Millis>,
    /// Only between inspection and planning.
    pub catalog: Option<Box<Catalog>>,
    #[serde(with = "shared")]
    pub plan: Option<Arc<Plan>>,
    pub mark: Option<SourceMark>,
    pub source_proof: SourceProof,
    /// P0, once the source keeps its log for us. Set by the secure task's result.
    #[serde(default)]
    pub secured: Option<Secured>,
    /// How far the target is, as the last follow task that ended said: to show, and to prove the
    /// result by. Where a next one goes on is read from the target.
    #[serde(default)]
    pub followed: Option<Mark>,
    /// The user wants a job that follows to end.
    #[serde(default)]
    pub complete: bool,
    pub totals: Vec<TableTotals>,
    /// Of a job that compares or repairs, by table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<TableVerdict>,
    /// Ranges that differ, by number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub differing: BTreeMap<u32, DifferingRange>,
    /// Partitions that were handed out again after a loss or a failure, and copied again.
    pub redone: u64,
    pub(crate) partitions: Vec<Partition>,
    pub(crate) tasks: Vec<Task>,
    #[serde(skip)]
    pub(crate) index: Index,
}

/// Derived from the job; rebuilt after a snapshot is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Index {
    /// Table, class, buckets of each partition.
    pub layout: Vec<(TableNo, u32, Vec<u32>)>,
    /// Waiting partitions and ownerless committing ones, by the earliest moment they may go.
    pub waiting: BTreeSet<(Millis, PartitionNo)>,
    pub prepared: BTreeSet<PartitionNo>,
    pub tasks: OpenTasks,
    /// Differences that are kept, over all ranges.
    pub told: usize,
    pub by_worker: BTreeMap<WorkerId, BTreeSet<PartitionNo>>,
    pub in_flight: u32,
    pub committed: u32,
}

impl Index {
    /// Enters (`add`) or removes a partition by its present stage.
    pub(crate) fn put(&mut self, no: PartitionNo, partition: &Partition, add: bool) {
        let stage = &partition.stage;
        let flip = |set: &mut BTreeSet<PartitionNo>| match add {
            true => set.insert(no),
            false => set.remove(&no),
        };
        match stage {
            Stage::Waiting | Stage::Committing { worker: None, .. } => {
                let key = (partition.not_before, no);
                match add {
                    true => self.waiting.insert(key),
                    false => self.waiting.remove(&key),
                };
            }
            Stage::Prepared { .. } => {
                flip(&mut self.prepared);
            }
            Stage::Committed { .. } => {
                self.committed = if add {
                    self.committed + 1
                } else {
                    self.committed - 1
                };
            }
            Stage::Leased { .. } | Stage::Committing { .. } => {}
        }
        if let Some(worker) = stage.worker() {
            self.in_flight = if add {
                self.in_flight + 1
            } else {
                self.in_flight - 1
            };
            let set = self.by_worker.entry(worker).or_default();
            flip(set);
            if set.is_empty() {
                self.by_worker.remove(&worker);
            }
        }
    }
}

impl Job {
    pub(crate) fn new(uid: JobUid, spec: JobSpec, at: Millis) -> Job {
        Job {
            uid,
            spec,
            phase: Phase::Checking,
            intent: Intent::Run,
            ending: None,
            failure: None,
            failed_in: None,
            submitted_at: at,
            phase_since: at,
            ended_at: None,
            catalog: None,
            plan: None,
            mark: None,
            source_proof: SourceProof::Open,
            secured: None,
            followed: None,
            complete: false,
            totals: Vec::new(),
            verdicts: Vec::new(),
            differing: BTreeMap::new(),
            redone: 0,
            partitions: Vec::new(),
            tasks: Vec::new(),
            index: Index::default(),
        }
    }

    pub fn partition(&self, no: PartitionNo) -> Option<&Partition> {
        self.partitions.get(no.0 as usize)
    }

    pub fn partitions(&self) -> &[Partition] {
        &self.partitions
    }

    pub fn task(&self, no: TaskNo) -> Option<&Task> {
        self.tasks.get(no.0 as usize)
    }

    pub fn tasks(&self) -> impl Iterator<Item = (TaskNo, &Task)> {
        (0u32..).map(TaskNo).zip(&self.tasks)
    }

    pub fn committed(&self) -> u32 {
        self.index.committed
    }

    pub fn in_flight(&self) -> u32 {
        self.index.in_flight
    }

    /// The table a partition belongs to.
    pub fn table_of(&self, no: PartitionNo) -> Option<TableNo> {
        self.index
            .layout
            .get(no.0 as usize)
            .map(|(table, _, _)| *table)
    }

    /// Partitions `worker` holds, with their epochs.
    pub fn partitions_of_worker(
        &self,
        worker: WorkerId,
    ) -> impl Iterator<Item = (PartitionNo, Epoch)> + '_ {
        let held = self.index.by_worker.get(&worker).into_iter().flatten();
        held.map(|no| (*no, self.partitions[no.0 as usize].epoch))
    }

    /// Tasks `worker` holds, with their epochs.
    pub fn tasks_of_worker(&self, worker: WorkerId) -> impl Iterator<Item = (TaskNo, Epoch)> + '_ {
        let held = self.index.tasks.by_worker.get(&worker);
        let held = held.into_iter().flatten();
        held.map(|no| (*no, self.tasks[no.0 as usize].epoch))
    }

    /// Tasks nobody has, in order.
    pub fn waiting_tasks(&self) -> impl Iterator<Item = (TaskNo, &Task)> {
        { self.index.tasks.waiting.iter() }.map(|no| (*no, &self.tasks[no.0 as usize]))
    }

    /// Tasks somebody has.
    pub fn leased_tasks(&self) -> impl Iterator<Item = (TaskNo, &Task)> {
        { self.index.tasks.by_worker.values().flatten() }
            .map(|no| (*no, &self.tasks[no.0 as usize]))
    }

    /// Changes a partition and keeps the indexes true.
    pub(crate) fn restage(&mut self, no: PartitionNo, stage: Stage, not_before: Millis) {
        let partition = &mut self.partitions[no.0 as usize];
        self.index.put(no, partition, false);
        partition.stage = stage;
        partition.not_before = not_before;
        self.index.put(no, partition, true);
    }

    /// Table, class and buckets of every partition; none where the rows are at the target already.
    pub(crate) fn layout(&self) -> Vec<(TableNo, u32, Vec<u32>)> {
        match &self.plan {
            Some(plan) if self.spec.from.is_none() => plan.partitions(),
            _ => Vec::new(),
        }
    }

    /// Rebuilds what isn't stored.
    pub(crate) fn reindex(&mut self) {
        let mut index = Index {
            layout: self.layout(),
            ..Index::default()
        };
        for (no, partition) in (0u32..).map(PartitionNo).zip(&self.partitions) {
            index.put(no, partition, true);
        }
        for (no, task) in self.tasks() {
            index.tasks.put(no, task, true);
        }
        index.told = { self.differing.values() }
            .map(|range| range.listed.len())
            .sum();
        self.index = index;
    }
}

mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::plan::Plan;

    pub fn serialize<S: Serializer>(plan: &Option<Arc<Plan>>, s: S) -> Result<S::Ok, S::Error> {
        plan.as_deref().serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Arc<Plan>>, D::Error> {
        Ok(Option::<Plan>::deserialize(d)?.map(Arc::new))
    }
}
