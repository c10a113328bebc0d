//! One range of a table as both ends read it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use common::code::{Code, ErrorClass};
use common::digest::Digest;
use common::fault::Fault;
use common::job::Purpose;
use common::plan::TablePlan;
use common::schema::{CellForm, Engine, KeyBound, KeyRange};
use common::value::RowBatch;
use common::verify::Difference;
use common::verify::fold::{Folder, Hashes, Words};
use common::verify::pair::{self, Shown, Suspect};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::connector::{Error, ReadRequest, Result, SourceReader};
use crate::faults;
use crate::meter::Wait;
use crate::metrics::Side;
use crate::task::{TaskContext, shaped};

/// Rows of a table that are longer on average are read by one reader of the process at a time: a
/// reader holds a row a few times over, and there are two ends and several slots.
const LONG_ROW_BYTES: u64 = 1 << 20;
static LONG_ROWS: Mutex<()> = Mutex::const_new(());

/// Which end is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Source,
    Target,
}

/// A set of rows of one table that both ends read alike.
pub(crate) struct Range<'a> {
    pub ctx: &'a TaskContext,
    pub table: TablePlan,
    columns: Vec<String>,
    ranges: Vec<KeyRange>,
    key: Vec<String>,
    /// Rows a second of both ends together.
    pace: Option<u64>,
}

impl<'a> Range<'a> {
    pub fn new(
        ctx: &'a TaskContext,
        table: TablePlan,
        columns: Vec<String>,
        ranges: Vec<KeyRange>,
        pace: Option<u64>,
    ) -> Result<Range<'a>> {
        let key = table.change_key();
        Ok(Range {
            ctx,
            table,
            columns,
            ranges,
            key,
            pace,
        })
    }

    pub fn folder(&self) -> Folder {
        let words = Words::of(self.ctx.job.spec.source.engine(), self.table.form);
        Folder::new(self.table.rows(), self.table.form, words, &self.key)
    }

    /// About how many rows an end has.
    pub fn rows_estimate(&self) -> u64 {
        match self.ranges.is_empty() {
            // A whole table may have any number: the estimate may be old, or none.
            true => u64::MAX,
            // A range is some megabytes.
            false => 256 << 10,
        }
    }

    /// Whether a row is so long that one at a time must be enough, by what the source estimates.
    fn has_long_rows(&self) -> bool {
        let source = &self.table.source;
        source.bytes_estimate / source.rows_estimate.max(1) > LONG_ROW_BYTES
    }

    async fn open(&self, end: End) -> Result<Box<dyn SourceReader>> {
        let (columns, ranges) = (self.columns.clone(), self.ranges.clone());
        match end {
            End::Source => {
                let transform = shaped::transform(self.ctx, &self.table)?;
                let request = ReadRequest::source(&self.table, columns, ranges);
                let source = self.ctx.source()?;
                shaped::read(&*source, request, transform, |_| {}).await
            }
            End::Target => {
                let request = at_target(self.ctx, &self.table, &columns, &ranges);
                self.ctx.target()?.read(request).await
            }
        }
    }

    /// Every row of one end, batch by batch, at the pace that is allowed.
    pub async fn batches(&self, end: End, mut visit: impl FnMut(&RowBatch)) -> Result<()> {
        let wait = match end {
            End::Source => Wait::Source,
            End::Target => Wait::Target,
        };
        let _turn = match self.has_long_rows() {
            true => Some(LONG_ROWS.lock().await),
            false => None,
        };
        let mut reader = self.ctx.meter.timed(wait, self.open(end)).await?;
        let (began, mut seen) = (Instant::now(), 0);
        while let Some(batch) = self.ctx.meter.timed(wait, reader.next()).await? {
            self.check_width(&batch)?;
            let (rows, bytes) = (batch.rows() as u64, batch.bytes() as u64);
            visit(&batch);
            seen += rows;
            if end == End::Source {
                self.ctx.meter.add_rows(rows, bytes);
            }
            self.ctx.shared.metrics.add_rows(Side::Read, rows, bytes);
            faults::point(Fault::VerifyMidway).await?;
            if let Some(pace) = self.pace {
                // Each end has half. A server waits for a reader some 60 s.
                let due = Duration::from_secs_f64(seen as f64 * 2.0 / pace.max(1) as f64);
                let latest = Instant::now() + Duration::from_secs(20);
                sleep_until((began + due).min(latest)).await;
            }
        }
        Ok(())
    }

    /// The hashes of every row of one end.
    pub async fn hashes(&self, end: End, mut visit: impl FnMut(Hashes)) -> Result<()> {
        let mut folder = self.folder();
        self.batches(end, |batch| folder.each(batch, |row, _| visit(row)))
            .await
    }

    /// A reader and the plan that don't agree would shift every cell.
    fn check_width(&self, batch: &RowBatch) -> Result<()> {
        let columns = self.table.rows().copied_columns().count();
        if batch.columns() == columns {
            return Ok(());
        }
        let found = batch.columns();
        let what = format!("a reader yields {found} columns where the plan has {columns}");
        Err(Error::permanent(Code::Internal, what))
    }

    /// One row of each suspect's key at one end, those that are there: of several, one that has no
    /// equal at the other end can't be told from one that has, and any of them is shown.
    pub async fn shown(&self, end: End, suspects: &[Suspect]) -> Result<BTreeMap<u128, Shown>> {
        let wanted: BTreeSet<u128> = suspects.iter().map(|suspect| suspect.key).collect();
        let (mut folder, teller) = (self.folder(), self.folder());
        let mut found = BTreeMap::new();
        self.batches(end, |batch| {
            folder.each(batch, |row, cells| {
                if wanted.contains(&row.key) {
                    let shown = || Shown::of(&teller, self.table.rows(), cells);
                    found.entry(row.key).or_insert_with(shown);
                }
            });
        })
        .await?;
        Ok(found)
    }

    pub fn tell(
        &self,
        suspect: Suspect,
        source: Option<&Shown>,
        target: Option<&Shown>,
    ) -> Difference {
        let (folder, rows) = (self.folder(), self.table.rows());
        pair::difference(suspect, &folder, rows, source, target)
    }

    /// The digest of both ends, if the servers fold the range themselves and come to the same.
    pub async fn folded_by_servers(&self) -> Result<Option<Digest>> {
        let fast = matches!(&self.ctx.job.spec.purpose, Purpose::Verify(o) if o.fast);
        if !fast || self.table.form != CellForm::Native || self.table.rule.is_some() {
            return Ok(None);
        }
        let request = ReadRequest::source(&self.table, self.columns.clone(), self.ranges.clone());
        let there = at_target(self.ctx, &self.table, &self.columns, &self.ranges);
        let (source, target) = (self.ctx.source()?, self.ctx.target()?);
        match tokio::try_join!(source.fold(request), target.fold(there)) {
            Ok((one, two)) => Ok(one.filter(|digest| two == Some(*digest))),
            // A server that can't (a row too long, a type without text) leaves it to us.
            Err(error) if error.class == ErrorClass::Permanent => {
                tracing::info!(%error, "the range is read: a server can't fold it");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// What a key column of the source is called at the target.
fn target_name(table: &TablePlan, name: &str) -> String {
    let rule = table.rule.as_ref().and_then(|rule| rule.of(name));
    let renamed = rule.and_then(|rule| rule.rename.as_deref()).unwrap_or(name);
    let rows = table.rows();
    let place = rows
        .copied_columns()
        .position(|column| column.name == renamed);
    let found = place.and_then(|place| table.target.copied_columns().nth(place));
    found.map_or_else(|| renamed.to_owned(), |column| column.name.clone())
}

/// The target's rows in ranges of the source's, by the target's names and in the target's words.
pub(crate) fn at_target(
    ctx: &TaskContext,
    table: &TablePlan,
    columns: &[String],
    ranges: &[KeyRange],
) -> ReadRequest {
    let spec = &ctx.job.spec;
    let engines = (spec.source.engine(), spec.target.engine());
    let mut request = ReadRequest::target(table);
    let names = columns.iter().map(|name| target_name(table, name));
    request.key = names.collect();
    let bound = |bound: &KeyBound| KeyBound(bound.0.iter().map(|b| said(b, engines)).collect());
    let range = |range: &KeyRange| KeyRange {
        from: range.from.as_ref().map(bound),
        until: range.until.as_ref().map(bound),
    };
    request.ranges = ranges.iter().map(range).collect();
    request
}

/// A bound of the source in the target's words. SQLite's begin with the storage class; between
/// engines only integers are bounds.
fn said(bound: &str, (source, target): (Option<Engine>, Option<Engine>)) -> String {
    let sqlite = Some(Engine::Sqlite);
    match (source == sqlite, target == sqlite) {
        (true, false) => bound.strip_prefix('i').unwrap_or(bound).to_owned(),
        (false, true) => format!("i{}", bound.trim_matches('\'')),
        _ => bound.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_said_in_the_target_s_words() {
        let (lite, my, pg) = (
            Some(Engine::Sqlite),
            Some(Engine::Mysql),
            Some(Engine::Postgres),
        );
        assert_eq!(said("i5", (lite, my)), "5");
        assert_eq!(said("'-5'", (pg, lite)), "i-5");
        assert_eq!(said("'5'", (pg, my)), "'5'");
        assert_eq!(said("i5", (lite, lite)), "i5");
    }
}
