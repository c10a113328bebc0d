//! The rows that go and come, read by key's hash, a bounded number of bytes at a time.

use std::collections::BTreeMap;

use common::change::net::NetChanges;
use common::code::Code;
use common::epoch::Unit;
use common::id::TableNo;
use common::limits::{REPAIR_BYTES, REPAIR_ROWS};
use common::value::RowBatch;
use common::verify::fold::Hashes;
use common::verify::pair::Suspect;

use crate::connector::{ApplyWork, Error, Result, TargetApplier};
use crate::task::examine::range::{End, Range};

/// Which way rows move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The target's rows go.
    Delete,
    /// The source's rows come.
    Insert,
}

/// An open applier, and what its transaction holds.
pub struct Moved<'a, 'b> {
    range: &'a Range<'b>,
    table: TableNo,
    applier: Box<dyn TargetApplier>,
    rows: u64,
}

impl<'a, 'b> Moved<'a, 'b> {
    pub async fn open(range: &'a Range<'b>, table: TableNo, number: u32) -> Result<Moved<'a, 'b>> {
        let ctx = range.ctx;
        let Unit::Task(task) = ctx.lease.unit else {
            let what = format!("{} was ordered to repair", ctx.lease.unit);
            return Err(Error::permanent(Code::Internal, what));
        };
        let work = ApplyWork {
            job: ctx.job.uid.clone(),
            task,
            epoch: ctx.lease.epoch,
            lane: number,
            tables: ctx.plan()?.tables.clone(),
            current: ctx.current(),
        };
        let mut applier = ctx.target()?.applier(work).await?;
        applier.begin().await?;
        Ok(Moved {
            range,
            table,
            applier,
            rows: 0,
        })
    }

    /// Moves the suspects' rows. Each reading ends before anything is written: at SQLite a reader
    /// would keep the writer from committing.
    pub async fn run(
        &mut self,
        kind: Kind,
        suspects: impl Iterator<Item = &Suspect>,
    ) -> Result<()> {
        let mut wanted: BTreeMap<u128, u64> = BTreeMap::new();
        for suspect in suspects {
            *wanted.entry(suspect.key).or_default() += suspect.copies;
        }
        while !wanted.is_empty() {
            let found = collect(self.range, kind, &mut wanted).await?;
            if found.is_empty() {
                // Gone meanwhile: the comparison that follows tells what is left.
                break;
            }
            for batch in found {
                self.apply(kind, batch).await?;
            }
        }
        Ok(())
    }

    async fn apply(&mut self, kind: Kind, batch: RowBatch) -> Result<()> {
        let key = self.range.folder().key_places().len();
        let width = self.range.folder().width();
        let keys = if key == 0 { width } else { key };
        self.rows += batch.rows() as u64;
        let (deletes, inserts) = match kind {
            Kind::Delete => (batch, RowBatch::new(width)),
            Kind::Insert => (RowBatch::new(keys), batch),
        };
        let changes = NetChanges {
            table: self.table,
            truncate: false,
            deletes,
            inserts,
            patches: Vec::new(),
            strict: true,
        };
        self.applier.apply(changes).await?;
        if self.rows >= REPAIR_ROWS {
            self.commit().await?;
        }
        Ok(())
    }

    pub async fn commit(&mut self) -> Result<()> {
        if self.rows > 0 {
            self.applier.commit(&[]).await?;
        }
        self.rows = 0;
        Ok(())
    }
}

/// Rows of wanted keys, as many as are wanted, up to a number of bytes.
async fn collect(
    range: &Range<'_>,
    kind: Kind,
    wanted: &mut BTreeMap<u128, u64>,
) -> Result<Vec<RowBatch>> {
    let mut folder = range.folder();
    let places: Vec<usize> = match (kind, folder.key_places()) {
        (Kind::Insert, _) | (Kind::Delete, []) => (0..folder.width()).collect(),
        (Kind::Delete, key) => key.to_vec(),
    };
    let end = match kind {
        Kind::Delete => End::Target,
        Kind::Insert => End::Source,
    };
    let mut found = Vec::new();
    let mut pending = RowBatch::new(places.len());
    let mut bytes = 0;
    let mut keep = |row: Hashes, cells: &[Option<&[u8]>]| {
        let Some(copies) = wanted.get_mut(&row.key).filter(|_| bytes < REPAIR_BYTES) else {
            return;
        };
        *copies -= 1;
        if *copies == 0 {
            wanted.remove(&row.key);
        }
        for at in &places {
            match cells[*at] {
                Some(cell) => pending.push(cell),
                None => pending.push_null(),
            }
        }
        if pending.is_full() {
            bytes += pending.bytes();
            found.push(std::mem::replace(&mut pending, RowBatch::new(places.len())));
        }
    };
    range
        .batches(end, |batch| folder.each(batch, &mut keep))
        .await?;
    if !pending.is_empty() {
        found.push(pending);
    }
    Ok(found)
}
