//! Changes of tables whose rows nothing but their number tells apart. Their rows are logged whole, so
//! they are delivered one by one as they happened. The one thing no trigger tells is which of the
//! rows that were in the way of REPLACE went: of those, the next entry of the same number tells, or,
//! if there is none, the table itself.

use std::collections::{BTreeSet, HashMap};

use common::change::Op;
use common::plan::TablePlan;
use futures::StreamExt;

use super::watch::{CHANGES, DELETED, INSERTED, SEEN, Watch};
use super::window::{Filling, Gone, Sink, Span};
use crate::connector::sqlite::layout::Layout;
use crate::connector::sqlite::sample::rowid_name;
use crate::connector::sqlite::session::{Session, args, bind, cell, quote};
use crate::connector::{ReadRequest, Result};

/// One change and its place in the log; the caller decides where transactions end.
pub trait Taker: Send {
    fn take(
        &mut self,
        id: u64,
        filling: &mut Filling,
    ) -> impl Future<Output = std::result::Result<(), Gone>> + Send;
}

/// All changes in one transaction.
pub struct InOne<'a, 'b>(pub &'a mut Sink<'b>);

impl Taker for InOne<'_, '_> {
    async fn take(&mut self, _id: u64, filling: &mut Filling) -> std::result::Result<(), Gone> {
        match filling.rows.is_full() {
            true => self.0.rows(filling.take()).await,
            false => Ok(()),
        }
    }
}

/// Delivers a span's changes of a table without a key. What `taker` leaves in the batch at the end
/// is returned.
pub async fn deliver(
    session: &mut Session,
    span: &Span,
    watch: &Watch,
    plan: &TablePlan,
    table: u32,
    taker: &mut impl Taker,
) -> Result<std::result::Result<Filling, Gone>> {
    let replaced = replaced(session, span, watch, table).await?;
    let request = ReadRequest::source(plan, Vec::new(), Vec::new());
    let (layout, list) = Layout::aliased(&request, span.wide, "o", 0)?;
    let mut cells: Vec<String> = (1..)
        .zip(&watch.image)
        .map(|(place, name): (usize, _)| format!("l.c{place} AS {}", quote(name)))
        .collect();
    if let Some(rowid) = rowid_name(&watch.table)
        && !watch.image.contains(&rowid)
    {
        cells.push(format!("l.c0 AS {}", quote(&rowid)));
    }
    let (filter, arguments) = span.filter(table);
    let sql = format!(
        "SELECT {}, o.\"sterna_op\", o.\"sterna_id\" FROM (SELECT l.id AS \"sterna_id\", \
         l.op AS \"sterna_op\", {} FROM {CHANGES} AS l WHERE {filter} ORDER BY l.id) AS o \
         ORDER BY o.\"sterna_id\"",
        list.join(", "),
        cells.join(", ")
    );
    let mut filling = Filling::new(table, layout.width(), false);
    let mut failed = None;
    {
        let mut rows = session.stream(&sql, arguments);
        while let Some(row) = rows.next().await {
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            let columns = sqlx::Row::len(&row);
            let (op, id): (i64, i64) = (cell(&row, columns - 2)?, cell(&row, columns - 1)?);
            let op = match op {
                INSERTED => Op::Insert,
                DELETED => Op::Delete,
                SEEN if replaced.contains(&id) => Op::Delete,
                _ => continue,
            };
            filling.ops.push(op);
            layout.append(&row, &mut filling.rows)?;
            if let Err(gone) = taker.take(id.unsigned_abs(), &mut filling).await {
                return Ok(Err(gone));
            }
        }
    }
    match failed {
        Some(error) => Err(session.error(&sql, &error)),
        None => Ok(Ok(filling)),
    }
}

/// The entries of rows that went without one of their own.
async fn replaced(
    session: &mut Session,
    span: &Span,
    watch: &Watch,
    table: u32,
) -> Result<BTreeSet<i64>> {
    let (filter, arguments) = span.filter(table);
    let sql = format!("SELECT 1 FROM {CHANGES} AS l WHERE {filter} AND l.op = {SEEN} LIMIT 1");
    if session.row(&sql, arguments).await?.is_none() {
        return Ok(BTreeSet::new());
    }
    let (filter, arguments) = span.filter(table);
    let sql = format!("SELECT l.id, l.op, l.c0 FROM {CHANGES} AS l WHERE {filter} ORDER BY l.id");
    let mut replaced = BTreeSet::new();
    let mut waiting: HashMap<i64, i64> = HashMap::new();
    let mut failed = None;
    {
        let mut rows = session.stream(&sql, arguments);
        while let Some(row) = rows.next().await {
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            };
            let (id, op, rowid): (i64, i64, i64) = (cell(&row, 0)?, cell(&row, 1)?, cell(&row, 2)?);
            match op {
                SEEN => {
                    waiting.insert(rowid, id);
                }
                // The number was free again.
                INSERTED => replaced.extend(waiting.remove(&rowid)),
                _ => {
                    waiting.remove(&rowid);
                }
            }
        }
    }
    if let Some(error) = failed {
        return Err(session.error(&sql, &error));
    }
    let rowid = rowid_name(&watch.table).unwrap_or_default();
    let sql = format!(
        "SELECT count(*) FROM {} AS s WHERE s.{} = ?",
        quote(&watch.table.name),
        quote(&rowid)
    );
    for (rowid, id) in waiting {
        let mut arguments = args([]);
        bind(&mut arguments, rowid);
        if session.number(&sql, arguments).await? == Some(0) {
            replaced.insert(id);
        }
    }
    Ok(replaced)
}
