//! The tasks of a job's phases: which are added, and whether a phase's are done.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::code::Failure;
use crate::digest::Digest;
use crate::epoch::Epoch;
use crate::id::{Millis, PartitionNo, TableNo, TaskNo, WorkerId};
use crate::job::{TargetMode, VerifyMode};
use crate::limits::VERIFY_PARTS_MAX;
use crate::schema::{Engine, ObjectStage};
use crate::state::{Job, Phase};
use crate::task::{Part, TaskKind};

/// A task and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub kind: TaskKind,
    pub epoch: Epoch,
    pub attempts: u16,
    pub stage: TaskStage,
    /// When it was last given out.
    #[serde(default)]
    pub assigned_at: Millis,
    /// Why it is tried again, as long as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
}

/// Set and left by `apply` alone, durable in the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TaskStage {
    Waiting {
        not_before: Millis,
    },
    Leased {
        worker: WorkerId,
    },
    Done,
    /// Made pointless by the job's end.
    Dropped,
}

/// The open tasks, so that a tick doesn't walk those that are done: comparing a large database has
/// as many as ranges. Derived from the tasks.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct OpenTasks {
    pub waiting: BTreeSet<TaskNo>,
    pub by_worker: BTreeMap<WorkerId, BTreeSet<TaskNo>>,
}

impl OpenTasks {
    /// Enters (`add`) or removes a task by its present stage.
    pub(crate) fn put(&mut self, no: TaskNo, task: &Task, add: bool) {
        let flip = |set: &mut BTreeSet<TaskNo>| match add {
            true => set.insert(no),
            false => set.remove(&no),
        };
        match task.stage {
            TaskStage::Waiting { .. } => {
                flip(&mut self.waiting);
            }
            TaskStage::Leased { worker } => {
                let set = self.by_worker.entry(worker).or_default();
                flip(set);
                if set.is_empty() {
                    self.by_worker.remove(&worker);
                }
            }
            TaskStage::Done | TaskStage::Dropped => {}
        }
    }

    /// Those that run, then those that wait.
    pub(crate) fn iter(&self) -> impl Iterator<Item = TaskNo> + '_ {
        let leased = self.by_worker.values().flatten();
        leased.chain(&self.waiting).copied()
    }
}

impl Job {
    pub(super) fn add_task(&mut self, kind: TaskKind) {
        let stage = TaskStage::Waiting {
            not_before: Millis(0),
        };
        let no = TaskNo(self.tasks.len() as u32);
        self.index.tasks.waiting.insert(no);
        self.tasks.push(Task {
            kind,
            epoch: Epoch(0),
            attempts: 0,
            stage,
            assigned_at: Millis(0),
            last_failure: None,
        });
    }

    pub(super) fn add_for_tables(&mut self, kind: impl Fn(TableNo) -> TaskKind) {
        for table in 0..self.totals.len() as u32 {
            self.add_task(kind(TableNo(table)));
        }
    }

    pub(super) fn add_verify(&mut self, at_source: bool) {
        for table in 0..self.totals.len() as u32 {
            self.add_verify_of(TableNo(table), at_source);
        }
    }

    /// Reads a table again, in parts if it is large: more than one worker can, and a lost one costs
    /// less.
    pub(super) fn add_verify_of(&mut self, table: TableNo, at_source: bool) {
        let parts = self.parts_of(table, at_source);
        self.totals[table.0 as usize].unread = parts.len().max(1) as u32;
        let verify = |expected, part| TaskKind::Verify {
            table,
            at_source,
            expected,
            part,
            spec: None,
        };
        if parts.len() < 2 {
            let expected = self.totals[table.0 as usize].digest;
            return self.add_task(verify(expected, None));
        }
        for part in parts {
            let these = part.first.0 as usize..part.end.0 as usize;
            let digests = self.partitions[these].iter();
            let expected = digests.fold(Digest::default(), |sum, one| sum + one.digest());
            self.add_task(verify(expected, Some(part)));
        }
    }

    /// Some partitions each, as many as the table's size asks for; none if a partition's rows are
    /// not a range of the end that is read.
    fn parts_of(&self, table: TableNo, at_source: bool) -> Vec<Part> {
        let totals = &self.totals[table.0 as usize];
        let Some(plan) = &self.plan else {
            return Vec::new();
        };
        if !at_source && !crate::verify::plan::reads_alike(plan, plan.table(table)) {
            return Vec::new();
        }
        let before = self.totals[..table.0 as usize].iter();
        let first: u32 = before.map(|totals| totals.partitions).sum();
        let wanted = totals
            .bytes
            .div_ceil((self.spec.partition_bytes / 4).max(1));
        let most = totals.partitions.min(VERIFY_PARTS_MAX);
        let parts = wanted.min(u64::from(most)) as u32;
        let edge = |part: u32| {
            let of = u64::from(totals.partitions) * u64::from(part) / u64::from(parts);
            PartitionNo(first + of as u32)
        };
        let part = |at| Part {
            first: edge(at),
            end: edge(at + 1),
        };
        (0..parts).map(part).collect()
    }

    /// Rows that were at the target before (append) are in no digest of ours.
    pub(super) fn is_verifiable(&self) -> bool {
        let ours = self.spec.target_mode != TargetMode::Append || self.spec.from.is_some();
        self.spec.verify == VerifyMode::Full && ours
    }

    /// The primary key of a table that is whole, at a target that is filled faster without it.
    pub(super) fn add_key(&mut self, table: TableNo) {
        let totals = &self.totals[table.0 as usize];
        let Some(plan) = &self.plan else { return };
        let late = plan.target.engine == Engine::Postgres
            && self.spec.target_mode != TargetMode::Append
            && !plan.table(table).target.primary_key.is_empty();
        if late && totals.partitions > 0 && totals.committed == totals.partitions {
            self.add_task(TaskKind::Key { table });
        }
    }

    /// Foreign keys need every table's unique keys. False if there are none to add, or they were.
    pub(super) fn add_foreign_keys(&mut self) -> bool {
        if self
            .live_tasks()
            .any(|task| matches!(task.kind, TaskKind::ForeignKeys { .. }))
        {
            return false;
        }
        let plan = self.plan.clone().expect("indexing follows planning");
        if self.spec.from.is_some() {
            return false;
        }
        let mut any = false;
        for (table, target) in (0u32..).map(TableNo).zip(&plan.tables) {
            if !target.target.foreign_keys.is_empty() {
                self.add_task(TaskKind::ForeignKeys { table });
                any = true;
            }
        }
        any
    }

    /// Views and triggers come last: they see the tables as they will stay. False if there are none
    /// to add, or they were.
    pub(super) fn add_objects(&mut self) -> bool {
        let plan = self.plan.as_ref().expect("indexing follows planning");
        let none = !plan
            .objects
            .iter()
            .any(|object| object.stage == ObjectStage::AfterData);
        let added = |task: &Task| task.kind == TaskKind::Objects;
        if none || self.live_tasks().any(added) {
            return false;
        }
        self.add_task(TaskKind::Objects);
        true
    }

    pub(super) fn live_tasks(&self) -> impl Iterator<Item = &Task> {
        self.tasks
            .iter()
            .filter(|task| task.stage != TaskStage::Dropped)
    }

    pub(super) fn has_settled(&self) -> bool {
        self.live_tasks()
            .any(|task| matches!(task.kind, TaskKind::Settle { .. }))
    }

    /// What was found of a range stays found.
    pub(super) fn drop_tasks(&mut self) {
        for task in &mut self.tasks {
            if task.stage != TaskStage::Done || task.kind.range().is_none() {
                task.stage = TaskStage::Dropped;
            }
        }
        self.index.tasks = OpenTasks::default();
    }

    /// Changes where a task stands and keeps the index true.
    pub(super) fn restage_task(&mut self, no: TaskNo, stage: TaskStage) {
        let task = &mut self.tasks[no.0 as usize];
        self.index.tasks.put(no, task, false);
        task.stage = stage;
        self.index.tasks.put(no, task, true);
    }

    /// Every task is done, and while copying every partition is committed.
    pub(super) fn step_is_done(&self) -> bool {
        let copying = self.phase == Phase::Copying && self.ending.is_none();
        let committed = self.index.committed as usize == self.partitions.len();
        self.index.tasks.iter().next().is_none() && (!copying || committed)
    }
}
