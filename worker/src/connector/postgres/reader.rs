//! Reads rows: `COPY (SELECT …) TO STDOUT` over key ranges, one after another on one connection.
//! No transaction is held (a long snapshot would keep the source from vacuuming) unless the read is
//! pinned: then everything is read in one snapshot, whose place among the transactions is known.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use common::schema::{CellForm, Column, KeyBound, KeyRange, Member};
use common::value::RowBatch;
use tokio::sync::mpsc;

use super::copytext::{Field, decode_row};
use super::quote::{ident, idents, qualified};
use super::session::{Host, Session};
use super::types;
use crate::connector::{ReadRequest, Result, SourceReader};

/// See [`SourceReader`].
pub struct Reader {
    /// Reads everything, a batch at a time; runs only while `next` is waited for. None = ended.
    pump: Option<Pin<Box<dyn Future<Output = Result<()>> + Send>>>,
    batches: mpsc::Receiver<RowBatch>,
    snapshot: Arc<OnceLock<String>>,
}

/// What [`pump`] reads.
struct Work {
    table: String,
    fields: Vec<Field>,
    statements: Vec<String>,
    /// How many digits of a `money` are behind the point is the database's own matter.
    own_locale: bool,
    /// Where the snapshot goes that everything is read in.
    pinned: Option<Arc<OnceLock<String>>>,
}

impl Reader {
    pub fn new(session: Session, host: &Host, request: &ReadRequest) -> Reader {
        let ranges = request.ranges.iter();
        let conditions = ranges.map(|range| condition(&request.key, range));
        let conditions: Vec<Option<String>> = match request.ranges.is_empty() {
            true => vec![None],
            false => conditions.collect(),
        };
        Reader::with(session, host, request, conditions)
    }

    /// The rows of which one of `conditions` is true.
    pub fn of_rows(
        session: Session,
        host: &Host,
        request: &ReadRequest,
        conditions: Vec<String>,
    ) -> Reader {
        let conditions = conditions.into_iter().map(Some).collect();
        Reader::with(session, host, request, conditions)
    }

    fn with(
        session: Session,
        host: &Host,
        request: &ReadRequest,
        conditions: Vec<Option<String>>,
    ) -> Reader {
        let pairs: Vec<(&Column, &Column)> = request
            .table
            .copied_columns()
            .zip(request.canonical.copied_columns())
            .collect();
        let fields = pairs.iter().map(|(column, rows)| Field {
            name: column.name.clone(),
            shape: types::shape(column, &rows.canonical, request.form),
        });
        let snapshot = Arc::new(OnceLock::new());
        let work = Work {
            table: request.table.full_name(),
            fields: fields.collect(),
            statements: statements(host, request, &pairs, conditions),
            own_locale: request.form == CellForm::Canonical,
            pinned: request.pinned.then(|| snapshot.clone()),
        };
        let (full, batches) = mpsc::channel(1);
        Reader {
            pump: Some(Box::pin(pump(session, work, full))),
            batches,
            snapshot,
        }
    }
}

#[async_trait]
impl SourceReader for Reader {
    async fn next(&mut self) -> Result<Option<RowBatch>> {
        while let Some(pump) = &mut self.pump {
            tokio::select! {
                biased;
                Some(batch) = self.batches.recv() => return Ok(Some(batch)),
                ended = pump => {
                    self.pump = None;
                    ended?;
                }
            }
        }
        Ok(self.batches.recv().await)
    }

    fn snapshot(&self) -> Option<String> {
        self.snapshot.get().cloned()
    }
}

/// Runs the statements and sends their rows on. Dropped half way, it takes the connection with it.
async fn pump(mut session: Session, work: Work, full: mpsc::Sender<RowBatch>) -> Result<()> {
    if work.own_locale {
        session.run("RESET lc_monetary").await?;
    }
    if let Some(pinned) = &work.pinned {
        let begin = "BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
        session.run(begin).await?;
        // The first statement takes the snapshot of all.
        let sql = "SELECT pg_catalog.pg_current_snapshot()::text";
        let taken = session.cell(sql).await?.unwrap_or_default();
        // Nobody else sets it.
        let _ = pinned.set(taken);
    }
    let named = |failed: super::error::Failed| failed.about(&format!("table {}", work.table));
    let mut batch = RowBatch::new(work.fields.len());
    // The server sends a row in each piece, as it happens; what it promises is bytes.
    let mut carried: Vec<u8> = Vec::new();
    for sql in &work.statements {
        let mut pieces = session.copy_out(sql).await.map_err(named)?;
        while let Some(piece) = pieces.next().await.map_err(named)? {
            let mut rest: &[u8] = &piece;
            while let Some(end) = memchr::memchr(b'\n', rest) {
                let (line, after) = (&rest[..end], &rest[end + 1..]);
                if carried.is_empty() {
                    decode_row(&work.table, &work.fields, line, &mut batch)?;
                } else {
                    carried.extend_from_slice(line);
                    decode_row(&work.table, &work.fields, &carried, &mut batch)?;
                    carried = Vec::new();
                }
                rest = after;
            }
            carried.extend_from_slice(rest);
            if batch.is_full() {
                let ready = std::mem::replace(&mut batch, RowBatch::new(work.fields.len()));
                if full.send(ready).await.is_err() {
                    return Ok(());
                }
                // `next` takes it before more is read.
                tokio::task::yield_now().await;
            }
        }
    }
    if !batch.is_empty() {
        // Nobody listens only when nobody wants it.
        let _ = full.send(batch).await;
    }
    Ok(())
}

/// One COPY for each condition; None = all rows.
fn statements(
    host: &Host,
    request: &ReadRequest,
    pairs: &[(&Column, &Column)],
    conditions: Vec<Option<String>>,
) -> Vec<String> {
    let table = &request.table;
    let list: Vec<String> = pairs
        .iter()
        .map(|(column, rows)| types::select(column, &rows.canonical, request.form))
        .collect();
    // A root is read through only where its partitions aren't tables of the job themselves;
    // children by inheritance always are.
    let whole = request.form == CellForm::Canonical && table.member == Some(Member::Root);
    let select = format!(
        "SELECT {} FROM {}{}",
        list.join(", "),
        if whole { "" } else { "ONLY " },
        qualified(host.schema_of(table.schema.as_deref()), &table.name)
    );
    let copy = |condition: Option<String>| match condition {
        None => format!("COPY ({select}) TO STDOUT"),
        Some(condition) => format!("COPY ({select} WHERE {condition}) TO STDOUT"),
    };
    conditions.into_iter().map(copy).collect()
}

/// `from <= key < until`; None = everything. Literals have no type of their own: they take the
/// column's, and with it the order of its own index.
pub fn condition(key: &[String], range: &KeyRange) -> Option<String> {
    let sides = [(&range.from, ">="), (&range.until, "<")];
    let parts: Vec<String> = sides
        .into_iter()
        .filter_map(|(bound, operator)| Some(side(key, bound.as_ref()?, operator)))
        .collect();
    (!parts.is_empty()).then(|| parts.join(" AND "))
}

/// `key <op> bound` over a prefix of the key's columns.
fn side(key: &[String], bound: &KeyBound, operator: &str) -> String {
    match (key, bound.0.as_slice()) {
        (_, []) | ([], _) => "TRUE".to_owned(),
        ([column, ..], [value]) => format!("{} {operator} {value}", ident(column)),
        (columns, values) => {
            let columns = columns.iter().take(values.len()).map(String::as_str);
            format!("({}) {operator} ({})", idents(columns), values.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(values: &[&str]) -> KeyBound {
        KeyBound(values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn ranges_are_half_open_and_may_name_a_prefix_of_the_key() {
        let key = ["a".to_owned(), "b".to_owned()];
        let range = KeyRange {
            from: Some(bound(&["'1'", "'2'"])),
            until: Some(bound(&["'3'"])),
        };
        assert_eq!(
            condition(&key, &range).expect("bounded"),
            "(\"a\", \"b\") >= ('1', '2') AND \"a\" < '3'"
        );
        assert_eq!(condition(&key, &KeyRange::default()), None);
    }
}
