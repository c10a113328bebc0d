//! One table's changes: rows go by lists of keys, come by COPY, or by INSERT where they are few.

use std::collections::BTreeMap;

use common::change::net::{NetChanges, Patch};
use common::code::{Code, Failure};
use common::limits;
use common::plan::TablePlan;
use common::value::RowBatch;

use super::rows::{Rows, literal};
use crate::connector::postgres::quote::{ident, idents, text};
use crate::connector::postgres::session::{Host, Session};
use crate::connector::postgres::writer::Load;
use crate::connector::recovery::applier::Keys;
use crate::connector::{Error, Result};

/// Keys of one statement.
const KEYS_MAX: usize = 5_000;
/// Bytes of one message.
const MESSAGE_BYTES: usize = 1 << 20;
/// Rows that come by INSERT instead of COPY.
const FEW_ROWS: usize = 100;
const FEW_BYTES: usize = 64 << 10;
const SAVEPOINT: &str = "SAVEPOINT sterna_set; ";

type Row<'a> = &'a [Option<&'a [u8]>];

/// How one table gets its changes.
pub struct Table {
    load: Load,
    rows: Rows,
    /// `[ONLY] schema.table`: what inherits from it has rows of its own.
    pub relation: String,
    /// Rows of a partitioned table are known by their table too.
    partitioned: bool,
    /// A unique key of it can be deferred.
    deferrable: bool,
    /// GENERATED ALWAYS AS IDENTITY: no UPDATE sets them.
    identities: Vec<String>,
}

/// A row that isn't there, or is there already.
fn mismatch(what: String) -> Error {
    Error::permanent(Code::ReplayMismatch, what)
}

impl Table {
    pub async fn new(session: &mut Session, host: &Host, plan: &TablePlan) -> Result<Table> {
        let load = Load::new(host, plan);
        let oid = format!("{}::regclass", text(&load.relation));
        let sql = format!(
            "SELECT relkind::text, EXISTS (SELECT FROM pg_catalog.pg_constraint WHERE \
             condeferrable AND contype IN ('p', 'u', 'x') AND conrelid IN (SELECT relid FROM \
             pg_partition_tree({oid}) UNION ALL SELECT {oid}))::text FROM pg_catalog.pg_class \
             WHERE oid = {oid}"
        );
        let facts = session.row(&sql).await?.unwrap_or_default();
        let is = |at: usize, value: &str| facts.get(at).and_then(|f| f.as_deref()) == Some(value);
        let sql = format!(
            "SELECT attname::text FROM pg_catalog.pg_attribute WHERE attrelid = {oid} AND \
             attidentity = 'a'"
        );
        let identities = session.rows(&sql).await?;
        let partitioned = is(0, "p");
        let only = if partitioned { "" } else { "ONLY " };
        Ok(Table {
            rows: Rows::of(plan, &load.fields),
            relation: format!("{only}{}", load.relation),
            partitioned,
            deferrable: is(1, "true"),
            identities: identities
                .into_iter()
                .filter_map(|row| row.into_iter().next()?)
                .collect(),
            load,
        })
    }

    fn title(&self) -> &str {
        &self.load.table
    }

    pub async fn delete(
        &self,
        session: &mut Session,
        begin: &mut String,
        changes: &NetChanges,
    ) -> Result<()> {
        let (width, given) = (self.rows.width(), changes.deletes.columns());
        if given != width {
            let title = self.title();
            let what = format!("table {title}: keys of {given} cells for {width} columns");
            return Err(Error::permanent(Code::Internal, what));
        }
        let cells: Vec<Option<&[u8]>> = changes.deletes.cells().collect();
        if !self.rows.keyed {
            return self.delete_copies(session, begin, changes, &cells).await;
        }
        let keys: Vec<Row> = cells.chunks(width.max(1)).collect();
        if changes.strict {
            begin.push_str(SAVEPOINT);
        }
        for chunk in chunks(&keys) {
            let sql = format!(
                "{begin}DELETE FROM {} AS t USING {} WHERE {}",
                self.relation,
                self.rows.values(chunk)?,
                self.rows.joined()
            );
            begin.clear();
            let done = session.run_all(&sql, limits::TRANSFER_DEADLINE_MS).await?;
            if changes.strict && done.last() != Some(&(chunk.len() as u64)) {
                return Err(match self.look_for_missing(session, &keys).await {
                    Ok(what) => mismatch(what),
                    Err(error) => error,
                });
            }
        }
        Ok(())
    }

    /// Names the first key that doesn't hit one row, as the table was before the set.
    async fn look_for_missing(&self, session: &mut Session, keys: &[Row<'_>]) -> Result<String> {
        session.run("ROLLBACK TO SAVEPOINT sterna_set").await?;
        let mut rest = keys;
        while rest.len() > 1 {
            let (first, second) = rest.split_at((rest.len() / 2).min(KEYS_MAX));
            rest = match self.count(session, first).await? == first.len() as u64 {
                true => second,
                false => first,
            };
        }
        let title = self.title();
        let Some(key) = rest.first() else {
            return Ok(format!("table {title}: a key is missing"));
        };
        let hit = self.count(session, &[key]).await?;
        let row = self.rows.shown(key);
        Ok(format!(
            "table {title}: {hit} rows have the key {row}, the source changed one"
        ))
    }

    /// Rows with these keys.
    async fn count(&self, session: &mut Session, keys: &[Row<'_>]) -> Result<u64> {
        let sql = format!(
            "SELECT count(*)::text FROM {} AS t, {} WHERE {}",
            self.relation,
            self.rows.values(keys)?,
            self.rows.joined()
        );
        let rows = session.rows_within(&sql, limits::TRANSFER_DEADLINE_MS);
        let count = rows.await?.into_iter().next();
        let count = count.and_then(|row| row.into_iter().next()?);
        Ok(count.and_then(|count| count.parse().ok()).unwrap_or(0))
    }

    /// As many copies of each whole row as are given, in a table without a key.
    async fn delete_copies(
        &self,
        session: &mut Session,
        begin: &mut String,
        changes: &NetChanges,
        cells: &[Option<&[u8]>],
    ) -> Result<()> {
        let mut copies: BTreeMap<Row, u64> = BTreeMap::new();
        for row in cells.chunks(self.rows.width().max(1)) {
            *copies.entry(row).or_default() += 1;
        }
        if self.rows.width() == 0 && changes.deletes.rows() > 0 {
            copies.insert(&[], changes.deletes.rows() as u64);
        }
        let all: Vec<(Row, u64)> = copies.into_iter().collect();
        let row_id = match self.partitioned {
            true => "(tableoid, ctid)",
            false => "ctid",
        };
        let mut at = 0;
        while at < all.len() {
            let mut sql = std::mem::take(begin);
            let (before, first) = (sql.matches("; ").count(), at);
            while at < all.len() && (at == first || sql.len() < MESSAGE_BYTES / 4) {
                let (row, n) = all[at];
                sql.push_str(if at > first { "; " } else { "" });
                let (relation, condition) = (&self.relation, self.rows.same(row)?);
                let ids = row_id.trim_matches(|c| c == '(' || c == ')');
                sql.push_str(&format!(
                    "DELETE FROM {relation} WHERE {row_id} IN (SELECT {ids} FROM {relation} AS t \
                     WHERE {condition} LIMIT {n})"
                ));
                at += 1;
            }
            let done = session.run_all(&sql, limits::TRANSFER_DEADLINE_MS).await?;
            let done = done.get(before..).unwrap_or(&[]);
            for ((row, n), gone) in all[first..at].iter().zip(done) {
                if changes.strict && gone != n {
                    let (title, row) = (self.title(), self.rows.shown(row));
                    return Err(mismatch(format!(
                        "table {title}: {gone} of {n} rows are there with {row}"
                    )));
                }
            }
        }
        Ok(())
    }

    pub async fn insert(
        &self,
        session: &mut Session,
        begin: &mut String,
        changes: &NetChanges,
    ) -> Result<()> {
        let rows = &changes.inserts;
        let few = rows.rows() <= FEW_ROWS && rows.bytes() <= FEW_BYTES && rows.columns() > 0;
        let taken = match few {
            true => self.insert_few(session, begin, rows).await,
            false => {
                open_transaction(session, begin).await?;
                self.load.run(session, rows).await
            }
        };
        taken.map_err(|mut error| {
            // A row of this key is there already.
            if changes.strict && error.failure.what.contains("(23505)") {
                let what = std::mem::take(&mut error.failure.what);
                error.failure = Failure::new(Code::ReplayMismatch, what);
            }
            error
        })?;
        match self.deferrable && self.rows.keyed {
            true => self.check_unique(session, rows).await,
            false => Ok(()),
        }
    }

    async fn insert_few(
        &self,
        session: &mut Session,
        begin: &mut String,
        rows: &RowBatch,
    ) -> Result<()> {
        let (fields, title) = (&self.load.fields, self.title());
        if rows.columns() != fields.len() {
            let (given, wanted) = (rows.columns(), fields.len());
            let what = format!("table {title}: {given} cells for {wanted} columns");
            return Err(Error::permanent(Code::Internal, what));
        }
        let names = idents(fields.iter().map(|field| field.name.as_str()));
        let mut sql = format!(
            "{begin}INSERT INTO {} ({names}) OVERRIDING SYSTEM VALUE VALUES ",
            self.load.relation
        );
        for (at, cell) in rows.cells().enumerate() {
            let column = at % fields.len();
            sql.push_str(match (at, column) {
                (0, _) => "(",
                (_, 0) => "), (",
                _ => ", ",
            });
            sql.push_str(&literal(title, &fields[column], cell)?);
        }
        sql.push(')');
        begin.clear();
        let done = session.run_all(&sql, limits::TRANSFER_DEADLINE_MS).await;
        let done = done.map_err(|failed| failed.about(&format!("table {title}")))?;
        let (taken, given) = (done.last().copied().unwrap_or(0), rows.rows());
        if taken != given as u64 {
            let what = format!("table {title}: the target took {taken} rows of {given}");
            return Err(Error::permanent(Code::TargetRejected, what));
        }
        Ok(())
    }

    /// No key is there twice: nothing else looks at a key that can be deferred.
    async fn check_unique(&self, session: &mut Session, rows: &RowBatch) -> Result<()> {
        let cells: Vec<Option<&[u8]>> = rows.cells().collect();
        let rows = cells.chunks(rows.columns().max(1));
        let keys: Vec<Vec<Option<&[u8]>>> = rows
            .map(|row| self.rows.places.iter().map(|at| row[*at]).collect())
            .collect();
        let keys: Vec<Row> = keys.iter().map(Vec::as_slice).collect();
        for chunk in chunks(&keys) {
            let there = self.count(session, chunk).await?;
            if there != chunk.len() as u64 {
                let (title, came) = (self.title(), chunk.len());
                let what = format!("table {title}: {there} rows have the keys of {came} that came");
                return Err(mismatch(what));
            }
        }
        Ok(())
    }

    pub async fn patch(
        &self,
        session: &mut Session,
        begin: &mut String,
        changes: &NetChanges,
    ) -> Result<Keys> {
        let (patches, mut missed) = (&changes.patches, Vec::new());
        let mut at = 0;
        while at < patches.len() {
            let mut sql = std::mem::take(begin);
            let (before, first) = (sql.matches("; ").count(), at);
            while at < patches.len() && (at == first || sql.len() < MESSAGE_BYTES / 4) {
                sql.push_str(if at > first { "; " } else { "" });
                sql.push_str(&self.patch_sql(&patches[at])?);
                at += 1;
            }
            let done = session.run_all(&sql, limits::TRANSFER_DEADLINE_MS).await;
            let done = done.map_err(|failed| failed.about(&format!("table {}", self.title())))?;
            let done = done.get(before..).unwrap_or(&[]);
            for (patch, hit) in patches[first..at].iter().zip(done) {
                match hit {
                    1 => {}
                    0 if !changes.strict => missed.push(patch.key.clone()),
                    hit => {
                        let key: Vec<_> = patch.key.iter().map(|c| Some(&c[..])).collect();
                        let (title, row) = (self.title(), self.rows.shown(&key));
                        return Err(mismatch(format!(
                            "table {title}: {hit} rows have the key {row}, one was changed"
                        )));
                    }
                }
            }
        }
        Ok(missed)
    }

    fn patch_sql(&self, patch: &Patch) -> Result<String> {
        let key: Vec<Option<&[u8]>> = patch.key.iter().map(|c| Some(&c[..])).collect();
        let (relation, condition) = (&self.relation, self.rows.equal(&key)?);
        let fields = &self.load.fields;
        let mut sets = BTreeMap::new();
        for (at, cell) in &patch.cells {
            let Some(field) = fields.get(*at as usize) else {
                let what = format!("table {} has no copied column {at}", self.title());
                return Err(Error::permanent(Code::Internal, what));
            };
            sets.insert(&field.name, literal(self.title(), field, cell.as_deref())?);
        }
        if sets.is_empty() {
            return Ok(format!("SELECT FROM {relation} AS t WHERE {condition}"));
        }
        if !sets.keys().any(|name| self.identities.contains(name)) {
            let sets = sets
                .iter()
                .map(|(name, value)| format!("{} = {value}", ident(name)));
            let sets = sets.collect::<Vec<_>>().join(", ");
            return Ok(format!(
                "UPDATE {relation} AS t SET {sets} WHERE {condition}"
            ));
        }
        let names = idents(fields.iter().map(|field| field.name.as_str()));
        let values = fields.iter().map(|field| match sets.get(&field.name) {
            Some(value) => value.clone(),
            None => format!("old.{}", ident(&field.name)),
        });
        Ok(format!(
            "WITH old AS (DELETE FROM {relation} AS t WHERE {condition} RETURNING t.*) INSERT INTO \
             {} ({names}) OVERRIDING SYSTEM VALUE SELECT {} FROM old",
            self.load.relation,
            values.collect::<Vec<_>>().join(", ")
        ))
    }
}

/// Keys, as many as fit in one statement each.
fn chunks<'k, 'c>(keys: &'k [Row<'c>]) -> Vec<&'k [Row<'c>]> {
    let (mut chunks, mut first, mut bytes) = (Vec::new(), 0, 0);
    for (at, key) in keys.iter().enumerate() {
        if at > first && (at - first == KEYS_MAX || bytes >= MESSAGE_BYTES) {
            chunks.push(&keys[first..at]);
            (first, bytes) = (at, 0);
        }
        bytes += key
            .iter()
            .map(|cell| cell.map_or(0, <[u8]>::len) + 4)
            .sum::<usize>();
    }
    if first < keys.len() {
        chunks.push(&keys[first..]);
    }
    chunks
}

/// Sends what was to go before a statement.
pub async fn open_transaction(session: &mut Session, begin: &mut String) -> Result<()> {
    if !begin.is_empty() {
        session.run(begin.trim_end_matches("; ")).await?;
        begin.clear();
    }
    Ok(())
}
