//! What is gathered for the target, and its way there: whole source transactions in one
//! transaction of the target, with the mark. A transaction too large to be held is applied piece by
//! piece in it.

use std::collections::{BTreeMap, BTreeSet};

use common::change::net::{Contradiction, Net, NetChanges, Patch, Row};
use common::change::{ChangeBatch, ChangeCounts, Mark, Op, Position, Secured};
use common::code::Code;
use common::epoch::Unit;
use common::fault::Fault;
use common::id::{Millis, TableNo};
use common::limits;
use common::plan::TablePlan;
use common::value::RowBatch;

use super::images::{Image, Table, Tables};
use crate::connector::changes::{Marks, Origin, mark_of};
use crate::connector::{ApplyWork, Connector, Error, FetchRequest, Result, TargetApplier};
use crate::faults;
use crate::meter::Meter;
use crate::task::TaskContext;

/// One lane: its session at the target and what is to go there next.
pub struct Set<'a> {
    meter: &'a Meter,
    applier: Box<dyn TargetApplier>,
    tables: Tables,
    nets: BTreeMap<TableNo, Net>,
    strict: bool,
    /// What is committed.
    mark: Mark,
    /// What will be, once what is gathered is.
    next: Mark,
    /// Of tables without a key: the snapshot their copy was read in.
    snapshots: BTreeMap<TableNo, String>,
    /// Tables whose copy holds the present transaction already.
    skipped: BTreeSet<TableNo>,
    bytes: usize,
    /// Pieces are in the target's open transaction.
    open: bool,
    rows: u64,
}

impl<'a> Set<'a> {
    pub async fn open(ctx: &'a TaskContext, strict: bool, from: &Secured) -> Result<Set<'a>> {
        let mut plans: Vec<TablePlan> = ctx.plan()?.tables.clone();
        let (mut applier, mut marks) = begin(ctx, &plans).await?;
        let mark = match marks.lanes.get(&0) {
            Some(text) => mark_of(text)?,
            None => Mark {
                position: from.position.clone(),
                ..Mark::default()
            },
        };
        if !mark.altered.is_empty() {
            for (no, table) in &mark.altered {
                if let Some(plan) = plans.get_mut(no.0 as usize) {
                    plan.clone_from(table);
                }
            }
            drop(applier);
            (applier, marks) = begin(ctx, &plans).await?;
        }
        let numbered = (0u32..).map(TableNo).zip(plans);
        let tables = numbered.map(|(no, plan)| Ok((no, Table::new(ctx, plan, no)?)));
        let tables: Tables = tables.collect::<Result<_>>()?;
        let snapshots = marks.snapshots.into_iter();
        let snapshots =
            snapshots.filter_map(|(no, snapshot)| Some((ctx.job.table_of(no)?, snapshot)));
        Ok(Set {
            meter: &ctx.meter,
            applier,
            tables,
            nets: BTreeMap::new(),
            strict,
            next: mark.clone(),
            mark,
            snapshots: snapshots.collect(),
            skipped: BTreeSet::new(),
            bytes: 0,
            open: false,
            rows: 0,
        })
    }

    pub fn mark(&self) -> &Mark {
        &self.mark
    }

    /// Counts of what was read, applied or not.
    pub fn read(&self) -> ChangeCounts {
        self.next.counts
    }

    /// The tables as they are from here on.
    pub fn plans(&self) -> Vec<TablePlan> {
        self.tables
            .values()
            .map(|table| table.plan.clone())
            .collect()
    }

    pub fn plan(&self, no: TableNo) -> Option<&TablePlan> {
        self.tables.get(&no).map(|table| &table.plan)
    }

    /// Gives the target's table what the source's has got. Nothing is gathered by now.
    pub async fn alter(&mut self, no: TableNo, table: &TablePlan) -> Result<()> {
        let before = self.tables.get(&no).map(|table| table.plan.clone());
        self.applier.alter(before.as_ref(), table).await
    }

    /// Notes that a statement was dealt with, and what the table is beyond it. What follows is read
    /// and applied by a new set.
    pub async fn pass(
        &mut self,
        to: &Position,
        altered: Option<(TableNo, TablePlan)>,
    ) -> Result<()> {
        self.idle(to.clone());
        self.next.altered.extend(altered);
        self.write_mark().await
    }

    /// Where the target will be once what is gathered is committed.
    pub fn reached(&self) -> &Position {
        &self.next.position
    }

    /// When the last transaction that is gathered was committed at the source.
    pub fn reached_at(&self) -> Millis {
        self.next.committed_at
    }

    pub fn has_work(&self) -> bool {
        self.open || self.nets.values().any(|net| !net.is_empty())
    }

    pub fn has_moved(&self) -> bool {
        self.next.position != self.mark.position
    }

    pub fn is_full(&self) -> bool {
        self.open || self.bytes >= limits::FOLLOW_SET_BYTES || self.rows >= limits::FOLLOW_SET_ROWS
    }

    pub fn begin(&mut self, source: &dyn Connector, origin: &Origin) -> Result<()> {
        self.skipped.clear();
        for (table, snapshot) in &self.snapshots {
            if source.is_in(origin, snapshot)? {
                self.skipped.insert(*table);
            }
        }
        Ok(())
    }

    pub async fn rows(&mut self, source: &dyn Connector, batch: ChangeBatch) -> Result<()> {
        if self.skipped.contains(&batch.table) {
            return Ok(());
        }
        let no = batch.table;
        let Some(table) = self.tables.get_mut(&no) else {
            let what = format!("the log has changes of {no}, which the plan doesn't know");
            return Err(Error::permanent(Code::Internal, what));
        };
        let images = table.images(&batch, &mut self.next.counts)?;
        self.next.touched.insert(no);
        for image in images {
            self.image(source, no, image).await?;
        }
        if self.bytes >= limits::FOLLOW_SET_BYTES {
            self.apply(source).await?;
        }
        Ok(())
    }

    async fn image(&mut self, source: &dyn Connector, no: TableNo, image: Image) -> Result<()> {
        let Image {
            op,
            old,
            new,
            unchanged,
        } = image;
        if self.nets.get(&no).is_some_and(Net::must_wait) {
            self.apply(source).await?;
        }
        // Only a change of which not every cell is known may have to wait.
        let again = match unchanged.is_empty() {
            true => (None, None),
            false => (old.clone(), new.clone()),
        };
        if self.gather(no, op, (old, new), &unchanged)? {
            return Ok(());
        }
        self.apply(source).await?;
        if self.gather(no, op, again, &unchanged)? {
            return Ok(());
        }
        let what = format!("a change of {no} can't be gathered");
        Err(Error::permanent(Code::Internal, what))
    }

    /// False: what was gathered before must be handed on first.
    fn gather(
        &mut self,
        no: TableNo,
        op: Op,
        (old, new): (Option<Row>, Option<Row>),
        unchanged: &[u32],
    ) -> Result<bool> {
        let strict = self.is_strict(no);
        let Some(table) = self.tables.get(&no) else {
            return Ok(true);
        };
        let net = self.nets.entry(no).or_insert_with(|| table.net(strict));
        let before = net.bytes();
        let added = net.add(op, old, new, unchanged);
        self.bytes += net.bytes().saturating_sub(before);
        self.rows += 1;
        added.map_err(|contradiction| self.mismatch(no, &contradiction))
    }

    /// A table without a key is exact from its snapshot on.
    fn is_strict(&self, no: TableNo) -> bool {
        self.strict || self.snapshots.contains_key(&no)
    }

    fn mismatch(&self, no: TableNo, contradiction: &Contradiction) -> Error {
        let table = self.tables.get(&no);
        let table = table.map_or_else(|| no.to_string(), |table| table.plan.source.full_name());
        let what = format!("table {table}: the log has {contradiction}");
        Error::permanent(Code::ReplayMismatch, what)
    }

    pub fn end(&mut self, position: Position, at: Millis) {
        self.next.position = position;
        self.next.committed_at = at;
        self.next.counts.transactions += 1;
    }

    pub fn idle(&mut self, position: Position) {
        if position.order > self.next.position.order {
            self.next.position = position;
        }
    }

    /// Hands what is gathered to the target's open transaction.
    async fn apply(&mut self, source: &dyn Connector) -> Result<()> {
        faults::point(Fault::FollowBeforeApply).await?;
        for (no, net) in &mut self.nets {
            if net.is_empty() {
                continue;
            }
            let changes = net.take();
            let (rows, bytes) = (
                changes.inserts.rows() as u64,
                changes.inserts.bytes() as u64,
            );
            let patches = changes.patches.clone();
            let missed = self.applier.apply(changes).await?;
            self.open = true;
            self.meter.add_rows(rows, bytes);
            if !missed.is_empty() {
                let again = read_again(source, &mut self.tables, *no, &patches, &missed).await?;
                self.applier.apply(again).await?;
            }
        }
        self.bytes = 0;
        self.rows = 0;
        faults::point(Fault::FollowAfterApply).await
    }

    /// Commits what is gathered, and the mark.
    pub async fn commit(&mut self, source: &dyn Connector) -> Result<()> {
        self.apply(source).await?;
        self.write_mark().await
    }

    async fn write_mark(&mut self) -> Result<()> {
        let text = serde_json::to_string(&self.next).map_err(|error| {
            Error::permanent(Code::Internal, format!("a mark can't be written: {error}"))
        })?;
        faults::point(Fault::FollowBeforeCommit).await?;
        self.applier.commit(&[(0, text)]).await?;
        faults::point(Fault::FollowAfterCommit).await?;
        self.open = false;
        self.mark.clone_from(&self.next);
        Ok(())
    }
}

/// A session at the target, and what the target knows.
async fn begin(ctx: &TaskContext, plans: &[TablePlan]) -> Result<(Box<dyn TargetApplier>, Marks)> {
    let Unit::Task(task) = ctx.lease.unit else {
        let what = "following is a task";
        return Err(Error::permanent(Code::Internal, what));
    };
    let work = ApplyWork {
        job: ctx.job.uid.clone(),
        task,
        epoch: ctx.lease.epoch,
        lane: 0,
        tables: plans.to_vec(),
        current: ctx.shared.fresh.of(ctx.word.clone()),
    };
    let mut applier = ctx.target()?.applier(work).await?;
    let marks = applier.begin().await?;
    Ok((applier, marks))
}

/// Rows whose update the target couldn't make, because it has them as they were later or not yet:
/// as the source has them now. What changed since is still to come in the log.
async fn read_again(
    source: &dyn Connector,
    tables: &mut Tables,
    no: TableNo,
    patches: &[Patch],
    missed: &[Vec<Vec<u8>>],
) -> Result<NetChanges> {
    let missing = || Error::permanent(Code::Internal, format!("{no} is unknown"));
    let table = tables.get_mut(&no).ok_or_else(missing)?;
    let mut keys = RowBatch::new(table.key.len());
    for patch in patches.iter().filter(|patch| missed.contains(&patch.key)) {
        for (place, before) in table.key.iter().zip(&patch.key) {
            let sent = patch
                .cells
                .iter()
                .find(|(column, _)| *column as usize == *place);
            match sent {
                Some((_, Some(cell))) => keys.push(cell),
                _ => keys.push(before),
            }
        }
    }
    let request = FetchRequest {
        table: table.plan.clone(),
        no,
        keys: keys.clone(),
    };
    let found = source.fetch(request).await?;
    Ok(NetChanges {
        table: no,
        truncate: false,
        deletes: keys,
        inserts: table.rows(found)?,
        patches: Vec::new(),
        strict: false,
    })
}
