//! What was logged between two places, as changes. All of it is read in one transaction: of a table
//! with a key, each key once, with the row as it is in that transaction's snapshot. So what is
//! delivered leads from one whole-transaction state of the file to another, however many
//! transactions lie between them.
//!
//! Whether a key was there before is what its first entry says: it came (then it wasn't), or it
//! was changed, deleted or seen.

use common::change::{ChangeBatch, LogOrder, Op};
use common::code::Code;
use common::id::TableNo;
use common::plan::TablePlan;
use common::value::RowBatch;
use futures::StreamExt;
use sqlx::sqlite::SqliteArguments;
use tokio::sync::mpsc;

use super::bind_id;
use super::watch::{CHANGES, INSERTED, Ident, Watch};
use crate::connector::changes::Event;
use crate::connector::sqlite::layout::Layout;
use crate::connector::sqlite::sample::rowid_name;
use crate::connector::sqlite::session::{Session, args, cell, quote};
use crate::connector::{Error, Origin, ReadRequest, Result};

/// Entries up to which an update is delivered as one. Of more, all old rows come before all new
/// ones: who applies them piece by piece then never has a unique value twice.
const WHOLE_MAX: u64 = 20_000;

/// A part of the log.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The job's number.
    pub job: i64,
    pub after: u64,
    pub upto: u64,
    /// The file keeps text in UTF-16.
    pub wide: bool,
    /// The target may have any row that was there at any moment of the span.
    pub replay: bool,
}

impl Span {
    /// `WHERE` about entries of a table, called `l`.
    pub fn filter(&self, table: u32) -> (String, SqliteArguments) {
        let sql = format!(
            "l.job = {} AND l.tbl = {table} AND l.id > ? AND l.id <= ?",
            self.job
        );
        let mut arguments = args([]);
        bind_id(&mut arguments, self.after);
        bind_id(&mut arguments, self.upto);
        (sql, arguments)
    }
}

/// What of the log lies in a span.
pub struct Touched {
    pub table: u32,
    pub entries: u64,
    /// When its last change was made.
    pub at: u64,
}

pub async fn touched(session: &mut Session, span: &Span) -> Result<Vec<Touched>> {
    let sql = format!(
        "SELECT tbl, count(*), max(at) FROM {CHANGES} WHERE job = {} AND tbl >= 0 AND id > ? \
         AND id <= ? GROUP BY tbl",
        span.job
    );
    let mut arguments = args([]);
    bind_id(&mut arguments, span.after);
    bind_id(&mut arguments, span.upto);
    let mut found = Vec::new();
    for row in session.rows(&sql, arguments).await? {
        let (entries, at): (i64, i64) = (cell(&row, 1)?, cell(&row, 2)?);
        found.push(Touched {
            table: cell(&row, 0)?,
            entries: entries.unsigned_abs(),
            at: u64::try_from(at).unwrap_or(0),
        });
    }
    Ok(found)
}

/// Where events go. `Begin` is said with the first rows.
pub struct Sink<'a> {
    pub out: &'a mpsc::Sender<Event>,
    pub order: LogOrder,
    pub begun: bool,
}

/// The receiver is gone: nobody wants the rest.
#[derive(Debug)]
pub struct Gone;

impl Sink<'_> {
    pub async fn say(&self, event: Event) -> std::result::Result<(), Gone> {
        self.out.send(event).await.map_err(|_| Gone)
    }

    pub async fn rows(&mut self, batch: ChangeBatch) -> std::result::Result<(), Gone> {
        if batch.ops.is_empty() {
            return Ok(());
        }
        if !self.begun {
            self.begun = true;
            let origin = Origin {
                xid: 0,
                order: self.order,
            };
            self.say(Event::Begin(origin)).await?;
        }
        self.say(Event::Rows(batch)).await
    }
}

/// A batch being filled.
pub struct Filling {
    table: TableNo,
    width: usize,
    old_is_key: bool,
    pub ops: Vec<Op>,
    pub rows: RowBatch,
}

impl Filling {
    pub fn new(table: u32, width: usize, old_is_key: bool) -> Filling {
        Filling {
            table: TableNo(table),
            width,
            old_is_key,
            ops: Vec::new(),
            rows: RowBatch::new(width),
        }
    }

    pub fn take(&mut self) -> ChangeBatch {
        ChangeBatch {
            table: self.table,
            ops: std::mem::take(&mut self.ops),
            rows: std::mem::replace(&mut self.rows, RowBatch::new(self.width)),
            old_is_key: self.old_is_key,
            unchanged: Vec::new(),
        }
    }
}

/// Which part of a table's changes is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    Whole,
    Old,
    New,
}

/// Delivers a span's changes of a table with a key.
pub async fn keyed(
    session: &mut Session,
    span: &Span,
    watch: &Watch,
    plan: &TablePlan,
    touched: &Touched,
    sink: &mut Sink<'_>,
) -> Result<std::result::Result<(), Gone>> {
    refuse_null_keys(session, span, watch, touched.table).await?;
    let passes = match touched.entries > WHOLE_MAX {
        true => &[Pass::Old, Pass::New][..],
        false => &[Pass::Whole],
    };
    for pass in passes {
        if let Err(gone) = one_pass(session, span, watch, plan, touched.table, *pass, sink).await? {
            return Ok(Err(gone));
        }
    }
    Ok(Ok(()))
}

/// SQLite takes NULL into most primary keys, as often as one likes; then it is none.
async fn refuse_null_keys(
    session: &mut Session,
    span: &Span,
    watch: &Watch,
    table: u32,
) -> Result<()> {
    let Ident::Key(key) = &watch.ident else {
        return Ok(());
    };
    let nullable: Vec<String> = (0..)
        .zip(key)
        .filter(|(_, name)| {
            watch
                .table
                .column(name)
                .is_some_and(|column| column.nullable)
        })
        .map(|(place, _): (usize, _)| format!("l.c{place} IS NULL"))
        .collect();
    if nullable.is_empty() {
        return Ok(());
    }
    let (filter, arguments) = span.filter(table);
    let sql = format!(
        "SELECT 1 FROM {CHANGES} AS l WHERE {filter} AND ({}) LIMIT 1",
        nullable.join(" OR ")
    );
    if session.row(&sql, arguments).await?.is_some() {
        let what = format!(
            "{}: a row came whose key ({}) has NULL in it; nothing tells it from another",
            watch.table.name,
            key.join(", ")
        );
        return Err(Error::permanent(Code::UnsupportedTable, what));
    }
    Ok(())
}

async fn one_pass(
    session: &mut Session,
    span: &Span,
    watch: &Watch,
    plan: &TablePlan,
    table: u32,
    pass: Pass,
    sink: &mut Sink<'_>,
) -> Result<std::result::Result<(), Gone>> {
    let request = ReadRequest::source(plan, Vec::new(), Vec::new());
    let (new, mut list) = Layout::new(&request, span.wide)?;
    let (old, olds) = Layout::aliased(&request, span.wide, "o", list.len())?;
    list.extend(olds);
    let (sql, arguments) = select(session, span, watch, table, list).await?;
    let width = new.width();
    let mut filling = Filling::new(table, width, watch.image.is_empty());
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
            let first: i64 = cell(&row, columns - 2)?;
            let (before, now) = (first != INSERTED, cell::<bool>(&row, columns - 1)?);
            let ops: &[Op] = match (before, now, pass) {
                (true, true, Pass::Whole) => &[Op::Update],
                (true, _, Pass::Old) | (true, false, Pass::Whole) => &[Op::Delete],
                (_, true, Pass::New) | (false, true, Pass::Whole) => &[Op::Insert],
                // A row that came and went may have been copied between; who counts strictly has
                // copied nothing since, and finds that the two come to nothing.
                (false, false, Pass::Whole | Pass::Old) if span.replay => &[Op::Insert, Op::Delete],
                _ => continue,
            };
            for op in ops {
                filling.ops.push(*op);
                if *op != Op::Insert || !now {
                    old.append(&row, &mut filling.rows)?;
                }
                if *op != Op::Delete && now {
                    new.append(&row, &mut filling.rows)?;
                }
            }
            if filling.rows.is_full()
                && let Err(gone) = sink.rows(filling.take()).await
            {
                return Ok(Err(gone));
            }
        }
    }
    match failed {
        Some(error) => Err(session.error(&sql, &error)),
        None => Ok(sink.rows(filling.take()).await),
    }
}

/// Each touched key once: the row it has now, if any, as `s`; what its first entry says of the row
/// it had, as `o`; that entry's kind; whether it has a row now.
async fn select(
    session: &mut Session,
    span: &Span,
    watch: &Watch,
    table: u32,
    list: Vec<String>,
) -> Result<(String, SqliteArguments)> {
    let Ident::Key(key) = &watch.ident else {
        let what = format!("{} has no key", watch.table.name);
        return Err(Error::permanent(Code::Internal, what));
    };
    let collations = collations(session, watch, key).await?;
    let mut group = Vec::new();
    let mut join = Vec::new();
    for (place, (name, collation)) in key.iter().zip(&collations).enumerate() {
        group.push(format!("l.c{place}, typeof(l.c{place})"));
        let name = quote(name);
        // The first finds the row by its index, the others say that it is the same in every byte.
        join.push(format!(
            "s.{name} COLLATE {} = o.\"sterna_k{place}\" \
             AND s.{name} COLLATE BINARY = o.\"sterna_k{place}\" \
             AND typeof(s.{name}) = typeof(o.\"sterna_k{place}\")",
            quote(collation)
        ));
    }
    let (filter, arguments) = span.filter(table);
    let sql = format!(
        "SELECT {}, o.\"sterna_op\", s.{} IS NOT NULL FROM (SELECT min(l.id) AS \"sterna_id\", \
         l.op AS \"sterna_op\", {} FROM {CHANGES} AS l WHERE {filter} GROUP BY {}) AS o \
         LEFT JOIN {} AS s ON {}",
        list.join(", "),
        quote(key.first().map(String::as_str).unwrap_or_default()),
        old_cells(watch, key).join(", "),
        group.join(", "),
        quote(&watch.table.name),
        join.join(" AND ")
    );
    Ok((sql, arguments))
}

/// The logged cells under the names they have in the table; what isn't logged is NULL.
fn old_cells(watch: &Watch, key: &[String]) -> Vec<String> {
    let mut cells: Vec<String> = (0..key.len())
        .map(|place| format!("l.c{place} AS \"sterna_k{place}\""))
        .collect();
    let mut names: Vec<&str> = { watch.table.copied_columns() }
        .map(|column| column.name.as_str())
        .collect();
    let rowid = rowid_name(&watch.table);
    if let Some(rowid) = rowid.as_deref().filter(|rowid| !names.contains(rowid)) {
        names.push(rowid);
    }
    for name in names {
        let imaged = watch.image.iter().position(|image| image == name);
        let in_key = key.iter().position(|key| key == name);
        let value = match (imaged, in_key) {
            (Some(place), _) => format!("l.c{}", key.len() + place),
            (None, Some(place)) => format!("l.c{place}"),
            (None, None) => "NULL".to_owned(),
        };
        cells.push(format!("{value} AS {}", quote(name)));
    }
    cells
}

/// How the key's own index compares its columns.
async fn collations(session: &mut Session, watch: &Watch, key: &[String]) -> Result<Vec<String>> {
    let sql = "SELECT name FROM pragma_index_list(?) WHERE \"unique\" = 1 AND partial = 0 \
               ORDER BY origin = 'pk' DESC, seq";
    for row in session.rows(sql, args([&watch.table.name])).await? {
        let index: String = cell(&row, 0)?;
        let sql = "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key = 1 ORDER BY seqno";
        let mut found: Vec<(Option<String>, String)> = Vec::new();
        for row in session.rows(sql, args([&index])).await? {
            found.push((cell(&row, 0)?, cell(&row, 1)?));
        }
        let of = |name: &String| {
            let column = found.iter().find(|(found, _)| found.as_ref() == Some(name));
            column.map(|(_, collation)| collation.clone())
        };
        let all: Option<Vec<String>> = key.iter().map(of).collect();
        if let Some(all) = all
            && found.len() == key.len()
        {
            return Ok(all);
        }
    }
    Ok(vec!["BINARY".to_owned(); key.len()])
}
