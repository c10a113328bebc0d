//! What is gathered for the target, and its way there: whole source transactions in one
//! transaction of the target, with the mark. A transaction too large to be held is applied piece by
//! piece in it.

use std::collections::{BTreeMap, BTreeSet};

use common::change::net::{Contradiction, Net, NetChanges, Patch};
use common::change::{ChangeBatch, Mark, Position, Secured};
use common::code::Code;
use common::epoch::Unit;
use common::fault::Fault;
use common::id::{Millis, TableNo};
use common::limits;
use common::value::RowBatch;

use super::images::{Image, Tables};
use crate::connector::changes::Origin;
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
    pub async fn open(
        ctx: &'a TaskContext,
        tables: Tables,
        strict: bool,
        from: &Secured,
    ) -> Result<Set<'a>> {
        let Unit::Task(task) = ctx.lease.unit else {
            let what = "following is a task";
            return Err(Error::permanent(Code::Internal, what));
        };
        let work = ApplyWork {
            job: ctx.job.uid.clone(),
            task,
            epoch: ctx.lease.epoch,
            lane: 0,
            tables: tables.values().map(|table| table.plan.clone()).collect(),
            current: ctx.shared.fresh.of(ctx.word.clone()),
        };
        let mut applier = ctx.target()?.applier(work).await?;
        let marks = applier.begin().await?;
        let mark = match marks.lanes.get(&0) {
            Some(text) => serde_json::from_str(text).map_err(|error| {
                let what = format!("the target's mark can't be read: {error}");
                Error::permanent(Code::Internal, what)
            })?,
            None => Mark {
                position: from.position.clone(),
                ..Mark::default()
            },
        };
        let of = ctx.plan()?.partitions();
        let snapshots = marks.snapshots.into_iter().filter_map(|(no, snapshot)| {
            let (table, _, _) = of.get(no.0 as usize)?;
            Some((*table, snapshot))
        });
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

    /// Where the target will be once what is gathered is committed.
    pub fn reached(&self) -> &Position {
        &self.next.position
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
        for _ in 0..2 {
            let strict = self.is_strict(no);
            let Some(table) = self.tables.get(&no) else {
                return Ok(());
            };
            let net = self.nets.entry(no).or_insert_with(|| table.net(strict));
            let before = net.bytes();
            let added = net.add(op, old.clone(), new.clone(), &unchanged);
            let after = net.bytes();
            match added {
                Ok(true) => {
                    self.bytes += after.saturating_sub(before);
                    self.rows += 1;
                    return Ok(());
                }
                Ok(false) => self.apply(source).await?,
                Err(contradiction) => return Err(self.mismatch(no, &contradiction)),
            }
        }
        let what = format!("a change of {no} can't be gathered");
        Err(Error::permanent(Code::Internal, what))
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
