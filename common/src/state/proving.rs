//! Jobs that compare or repair: their ranges as tasks, and what is kept of what they find.

use std::collections::BTreeSet;

use crate::id::{JobId, PartitionNo, TableNo};
use crate::job::Purpose;
use crate::limits::DIFFERENCES_PER_JOB;
use crate::state::{Job, Phase, State, TaskStage};
use crate::task::TaskKind;
use crate::verify::{DifferingRange, Examined, Repaired, TableRange, TableVerdict};

/// Thousandths, of [`crate::verify::VerifyOptions::sample_permille`].
const ALL_PERMILLE: u32 = 1_000;

impl State {
    /// The plan is adopted: on to the ranges, or first to the bookkeeping they are repaired under.
    pub(super) fn begin_proving(&mut self, id: JobId) {
        let job = self.jobs.get_mut(&id).expect("callers hold the id");
        job.partitions.clear();
        job.catalog = None;
        job.reindex();
        let tables = job.totals.len();
        job.verdicts = vec![TableVerdict::default(); tables];
        for range in job.ranges() {
            if let Some(table) = job.table_of_range(range) {
                job.verdicts[table.0 as usize].ranges += 1;
            }
        }
        let phase = match (&job.spec.purpose, job.only_reads()) {
            (Purpose::Repair(_), false) => {
                job.add_task(TaskKind::Create);
                Phase::Creating
            }
            (Purpose::Repair(_), true) => Phase::Repairing,
            _ => Phase::Verifying,
        };
        if phase != Phase::Creating {
            job.add_proving();
        }
        self.enter(id, phase);
        self.advance(id);
    }
}

impl Job {
    /// Nothing of it is ever at the target.
    pub fn only_reads(&self) -> bool {
        match &self.spec.purpose {
            Purpose::Migrate => false,
            Purpose::Verify(_) => true,
            Purpose::Repair(options) => options.dry_run,
        }
    }

    /// The ranges that are examined or repaired. The same ones on every coordinator, every time.
    pub fn ranges(&self) -> Vec<u32> {
        match &self.spec.purpose {
            Purpose::Migrate => Vec::new(),
            Purpose::Verify(options) => {
                let share = options.sample_permille.unwrap_or(ALL_PERMILLE);
                let seed = xxhash_rust::xxh3::xxh3_64(self.uid.0.as_bytes());
                let mut tables = BTreeSet::new();
                let drawn = |range: &u32| {
                    let hash = xxhash_rust::xxh3::xxh3_64_with_seed(&range.to_le_bytes(), seed);
                    let by_chance = hash % u64::from(ALL_PERMILLE) < u64::from(share);
                    // Of each table one at least: a sample of nothing would be equal.
                    let first = tables.insert(self.table_of(PartitionNo(*range)));
                    first || by_chance
                };
                (0..self.index.layout.len() as u32).filter(drawn).collect()
            }
            Purpose::Repair(options) => (0..options.ranges.len() as u32).collect(),
        }
    }

    /// The table a range is of; None = a repair's table that isn't in the plan.
    pub fn table_of_range(&self, range: u32) -> Option<TableNo> {
        let Purpose::Repair(options) = &self.spec.purpose else {
            return self.table_of(PartitionNo(range));
        };
        let name = &options.ranges.get(range as usize)?.table;
        let tables = &self.plan.as_ref()?.tables;
        let place = tables
            .iter()
            .position(|table| table.source.full_name() == *name)?;
        Some(TableNo(place as u32))
    }

    /// A range as both ends read it, for people and for repair plans.
    pub fn range(&self, range: u32) -> Option<TableRange> {
        if let Purpose::Repair(options) = &self.spec.purpose {
            return options.ranges.get(range as usize).cloned();
        }
        let spec = self.partition_spec(PartitionNo(range))?;
        let table = self.plan.as_ref()?.tables.get(spec.table.0 as usize)?;
        Some(TableRange {
            table: table.source.full_name(),
            columns: spec.columns,
            ranges: spec.ranges,
            keys: Vec::new(),
        })
    }

    /// The rate the user allows, divided among as many tasks as can run at a time.
    pub fn pace(&self, slots: u32) -> Option<u64> {
        let Purpose::Verify(options) = &self.spec.purpose else {
            return None;
        };
        let at_once = slots.min(self.index.layout.len() as u32).max(1);
        let rate = options.rows_per_second?;
        Some((rate / u64::from(at_once)).max(1))
    }

    /// Tasks for the ranges that aren't done.
    pub(super) fn add_proving(&mut self) {
        let done: BTreeSet<u32> = { self.tasks.iter() }
            .filter(|task| task.stage == TaskStage::Done)
            .filter_map(|task| task.kind.range())
            .collect();
        let repairs = matches!(self.spec.purpose, Purpose::Repair(_));
        for range in self.ranges() {
            if done.contains(&range) {
                continue;
            }
            self.add_task(match repairs {
                true => TaskKind::Repair { range, spec: None },
                false => TaskKind::Examine {
                    range,
                    spec: None,
                    pace: None,
                },
            });
        }
    }

    pub(super) fn take_examined(&mut self, range: u32, found: Examined) {
        let Some(table) = self.table_of_range(range) else {
            return;
        };
        let verdict = &mut self.verdicts[table.0 as usize];
        verdict.ranges_done += 1;
        verdict.at_source += found.at_source;
        verdict.at_target += found.at_target;
        verdict.counts.merge(&found.counts);
        if found.counts == Default::default() {
            return;
        }
        let mut listed = found.listed;
        listed.truncate(DIFFERENCES_PER_JOB.saturating_sub(self.index.told));
        self.index.told += listed.len();
        let differing = DifferingRange {
            table,
            range,
            counts: found.counts,
            listed,
        };
        if let Some(before) = self.differing.insert(range, differing) {
            self.index.told -= before.listed.len();
        }
    }

    pub(super) fn take_repaired(&mut self, range: u32, done: Repaired) {
        if let Some(table) = self.table_of_range(range) {
            let verdict = &mut self.verdicts[table.0 as usize];
            verdict.inserted += done.inserted;
            verdict.updated += done.updated;
            verdict.deleted += done.deleted;
        }
        self.take_examined(range, done.left);
    }
}
