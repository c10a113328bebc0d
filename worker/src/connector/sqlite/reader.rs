//! Rows out of SQLite, range by range, on SQLite's own thread. How a row becomes cells is in
//! `layout`.

use common::code::Code;
use common::schema::{KeyBound, KeyRange, TableSchema};
use common::value::RowBatch;
use futures::StreamExt;
use sqlx::sqlite::SqliteArguments;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use async_trait::async_trait;

use super::cells::{Stored, Value, read_any};
use super::layout::Layout;
use super::session::{Session, quote};
use crate::connector::{Error, ReadRequest, Result, SourceReader};

/// Rows between SQLite's thread and this one are kept to about this many bytes.
const ROW_BUFFER_BYTES: u64 = 1 << 20;
/// Batches between the reading task and the caller: one waits while the next is filled.
const BATCHES_WAITING: usize = 1;

/// How many rows may wait, by the table's estimates.
pub fn row_buffer(table: &TableSchema) -> usize {
    let average = table.bytes_estimate / table.rows_estimate.max(1);
    (ROW_BUFFER_BYTES / average.max(1)).clamp(2, 512) as usize
}

/// See [`SourceReader`]. The task dies with it.
pub struct Reader {
    batches: mpsc::Receiver<RowBatch>,
    snapshot: Option<String>,
    task: Option<AbortOnDropHandle<Result<()>>>,
}

impl Reader {
    /// Starts reading. A log lets writers go on beside a reader, so there all ranges are read in one
    /// snapshot: no row moves from one to another meanwhile.
    pub async fn start(
        mut session: Session,
        request: ReadRequest,
        wide_text: bool,
    ) -> Result<Reader> {
        let plan = Plan::new(&request, wide_text)?;
        let mut snapshot = None;
        if request.pinned || session.has_log().await? {
            session.begin_read().await?;
        }
        if request.pinned {
            snapshot = Some(super::follow::snapshot(&mut session).await?);
        }
        let (sender, batches) = mpsc::channel(BATCHES_WAITING);
        let task = tokio::spawn(pump(session, plan, sender));
        Ok(Reader {
            batches,
            snapshot,
            task: Some(AbortOnDropHandle::new(task)),
        })
    }
}

#[async_trait]
impl SourceReader for Reader {
    async fn next(&mut self) -> Result<Option<RowBatch>> {
        if let Some(batch) = self.batches.recv().await {
            return Ok(Some(batch));
        }
        match self.task.take() {
            None => Ok(None),
            Some(task) => match task.await {
                Ok(ended) => ended.map(|()| None),
                Err(error) => Err(Error::permanent(
                    Code::Internal,
                    format!("the reading task ended: {error}"),
                )),
            },
        }
    }

    fn snapshot(&self) -> Option<String> {
        self.snapshot.clone()
    }
}

/// One SELECT per range, and how its columns become cells.
struct Plan {
    selects: Vec<(String, SqliteArguments)>,
    layout: Layout,
}

impl Plan {
    fn new(request: &ReadRequest, wide_text: bool) -> Result<Plan> {
        let table = &request.table;
        let (layout, list) = Layout::new(request, wide_text)?;
        let select = format!(
            "SELECT {} FROM {} AS s",
            list.join(", "),
            quote(&table.name)
        );
        let whole = [KeyRange::default()];
        let ranges = match request.ranges.is_empty() {
            true => &whole[..],
            false => &request.ranges,
        };
        let selects = ranges
            .iter()
            .map(|range| {
                let (filter, arguments) = filter(&request.key, range)?;
                Ok((format!("{select}{filter}"), arguments))
            })
            .collect::<Result<_>>()?;
        Ok(Plan { selects, layout })
    }
}

async fn pump(mut session: Session, plan: Plan, sender: mpsc::Sender<RowBatch>) -> Result<()> {
    let mut batch = RowBatch::new(plan.layout.width());
    for (sql, arguments) in plan.selects.clone() {
        let mut failed = None;
        {
            let mut rows = session.stream(&sql, arguments);
            while let Some(row) = rows.next().await {
                match row {
                    Ok(row) => plan.layout.append(&row, &mut batch)?,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
                if batch.is_full() {
                    let full = std::mem::replace(&mut batch, RowBatch::new(plan.layout.width()));
                    if sender.send(full).await.is_err() {
                        return Ok(());
                    }
                }
            }
        }
        if let Some(error) = failed {
            return Err(session.error(&sql, &error));
        }
    }
    if !batch.is_empty() {
        // The caller is gone if this fails, and then nobody wants the rows.
        let _ = sender.send(batch).await;
    }
    session.close().await;
    Ok(())
}

/// The WHERE clause of a half-open range. The literals are compared as parameters: those have no
/// affinity of their own, so the column's affinity and collation decide, as in the index.
fn filter(key: &[String], range: &KeyRange) -> Result<(String, SqliteArguments)> {
    let mut arguments = SqliteArguments::default();
    let mut terms = Vec::new();
    for (bound, comparison) in [(&range.from, ">="), (&range.until, "<")] {
        if let Some(bound) = bound {
            terms.push(compare(key, bound, comparison, &mut arguments)?);
        }
    }
    let clause = match terms.is_empty() {
        true => String::new(),
        false => format!(" WHERE {}", terms.join(" AND ")),
    };
    Ok((clause, arguments))
}

/// `(s."a", s."b") >= (?, ?)`.
pub fn compare(
    key: &[String],
    bound: &KeyBound,
    comparison: &str,
    arguments: &mut SqliteArguments,
) -> Result<String> {
    if bound.0.is_empty() || bound.0.len() > key.len() {
        let what = format!("a bound of {} values for {key:?}", bound.0.len());
        return Err(Error::permanent(Code::Internal, what));
    }
    for text in &bound.0 {
        let value = from_literal(text)
            .map_err(|reason| Error::permanent(Code::Internal, format!("a bound: {reason}")))?;
        value.bind(arguments);
    }
    let columns: Vec<String> = key[..bound.0.len()]
        .iter()
        .map(|name| format!("s.{}", quote(name)))
        .collect();
    let marks = vec!["?"; columns.len()];
    Ok(match columns.as_slice() {
        [one] => format!("{one} {comparison} ?"),
        _ => format!(
            "({}) {comparison} ({})",
            columns.join(", "),
            marks.join(", ")
        ),
    })
}

/// A key value as the text of a bound; None for text that isn't UTF-8, which makes no bound.
pub fn to_literal(stored: Stored<'_>) -> Option<String> {
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
    };
    match stored {
        Stored::Null => None,
        Stored::Int(int) => Some(format!("i{int}")),
        Stored::Real(real) => Some(format!("r{}", hex(&real.to_bits().to_be_bytes()))),
        Stored::Text(text) => Some(format!("t{}", std::str::from_utf8(text).ok()?)),
        Stored::Blob(blob) => Some(format!("b{}", hex(blob))),
    }
}

fn from_literal(text: &str) -> std::result::Result<Value, String> {
    let bytes = text.as_bytes();
    match bytes.first() {
        Some(class @ (b'r' | b'b')) => {
            let mut cell = vec![*class];
            for pair in bytes[1..].chunks(2) {
                let pair = std::str::from_utf8(pair).map_err(|_| "hex digits")?;
                cell.push(u8::from_str_radix(pair, 16).map_err(|_| "hex digits")?);
            }
            read_any(&cell)
        }
        _ => read_any(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_read_back() {
        for (stored, value) in [
            (Stored::Int(-5), Value::Int(-5)),
            (Stored::Real(1.5), Value::Real(1.5)),
            (
                Stored::Text("it's ü".as_bytes()),
                Value::Text("it's ü".into()),
            ),
            (Stored::Blob(b"\x00\xff"), Value::Blob(vec![0, 255])),
        ] {
            let literal = to_literal(stored).expect("printable");
            assert_eq!(from_literal(&literal), Ok(value));
        }
        assert_eq!(to_literal(Stored::Text(b"\xff")), None);
    }

    #[test]
    fn a_prefix_of_the_key_is_compared_alone() {
        let key = ["a".to_owned(), "b\"".to_owned()];
        let mut arguments = SqliteArguments::default();
        let both = KeyBound(vec!["i1".into(), "tx".into()]);
        let sql = compare(&key, &both, ">=", &mut arguments).expect("two values");
        assert_eq!(sql, "(s.\"a\", s.\"b\"\"\") >= (?, ?)");
        let first = KeyBound(vec!["i1".into()]);
        let sql = compare(&key, &first, "<", &mut arguments).expect("one value");
        assert_eq!(sql, "s.\"a\" < ?");
    }
}
