//! The tasks of a job's phases: which are added, and whether a phase's are done.

use serde::{Deserialize, Serialize};

use crate::code::Failure;
use crate::epoch::Epoch;
use crate::id::{Millis, TableNo, WorkerId};
use crate::job::{TargetMode, VerifyMode};
use crate::schema::ObjectStage;
use crate::state::{Job, Phase};
use crate::task::TaskKind;

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

impl Job {
    pub(super) fn add_task(&mut self, kind: TaskKind) {
        let stage = TaskStage::Waiting {
            not_before: Millis(0),
        };
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
            let expected = self.totals[table as usize].digest;
            self.add_task(TaskKind::Verify {
                table: TableNo(table),
                at_source,
                expected,
            });
        }
    }

    /// Rows that were at the target before (append) are in no digest of ours.
    pub(super) fn is_verifiable(&self) -> bool {
        let ours = self.spec.target_mode != TargetMode::Append || self.spec.from.is_some();
        self.spec.verify == VerifyMode::Full && ours
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
    }

    /// Every task is done, and while copying every partition is committed.
    pub(super) fn step_is_done(&self) -> bool {
        let tasks = self.live_tasks().all(|task| task.stage == TaskStage::Done);
        let copying = self.phase == Phase::Copying && self.ending.is_none();
        tasks && (!copying || self.index.committed as usize == self.partitions.len())
    }
}
