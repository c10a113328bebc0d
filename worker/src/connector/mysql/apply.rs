//! Changes into this engine as a target, as sets: rows go by lists of keys, come by the load path
//! of copying. The order of steps, fence and marks: `recovery::applier`.
//!
//! foreign_key_checks is off, so rows may go and come in any order of tables and nothing cascades;
//! unique_checks stays on.

mod alter;
mod rows;

use std::collections::BTreeMap;

use async_trait::async_trait;
use common::change::net::{NetChanges, Patch};
use common::code::{Code, Failure};
use common::id::TableNo;
use common::limits;
use common::plan::TablePlan;
use common::value::RowBatch;

use self::rows::Rows;
use super::define::Target;
use super::load::{Load, set_lax};
use super::quote::table_name;
use super::session::{Done, Host, Session};
use super::writer;
use crate::connector::recovery::applier::{Applier, Engine, Keys};
use crate::connector::recovery::books::Books;
use crate::connector::recovery::{self};
use crate::connector::{ApplyWork, Error, Result, TargetApplier};

/// Keys of one statement: beyond some number the servers' range optimizers give up and read the
/// whole table.
const KEYS_MAX: usize = 1_000;
/// Bytes of one message.
const MESSAGE_BYTES: usize = 1 << 20;
/// Rows that come by INSERT instead of LOAD DATA.
const FEW_ROWS: usize = 100;
const FEW_BYTES: usize = 64 << 10;
const SAVEPOINT: &str = "SAVEPOINT sterna_set; ";

pub fn open(host: &Host, work: ApplyWork) -> Result<Box<dyn TargetApplier>> {
    let sets = Sets {
        host: host.clone(),
        work: work.clone(),
        tables: BTreeMap::new(),
    };
    Ok(Box::new(Applier::new(sets, work)))
}

/// How one table gets its changes.
struct Table {
    name: String,
    /// As people write it.
    title: String,
    load: Load,
    rows: Rows,
}

struct Sets {
    host: Host,
    work: ApplyWork,
    tables: BTreeMap<TableNo, Table>,
}

/// A row that isn't there, or is there already.
fn mismatch(what: String) -> Error {
    Error::permanent(Code::ReplayMismatch, what)
}

/// Cells of the batch, row by row.
fn each_row(batch: &RowBatch) -> Vec<Option<&[u8]>> {
    batch.cells().collect()
}

impl Table {
    fn new(host: &Host, plan: &TablePlan) -> Table {
        Table {
            name: table_name(&host.database, &plan.target),
            title: plan.target.full_name(),
            load: Load::new(&host.database, &plan.target, plan.form),
            rows: Rows::of(plan),
        }
    }

    async fn delete(
        &self,
        session: &mut Session,
        begin: &mut String,
        changes: &NetChanges,
    ) -> Result<()> {
        let cells = each_row(&changes.deletes);
        let width = self.rows.width();
        if changes.deletes.columns() != width {
            let what = format!(
                "table {}: keys of {} cells for {width} columns",
                self.title,
                changes.deletes.columns()
            );
            return Err(Error::permanent(Code::Internal, what));
        }
        if !self.rows.keyed {
            return self.delete_copies(session, begin, changes, &cells).await;
        }
        let keys: Vec<&[Option<&[u8]>]> = cells.chunks(width.max(1)).collect();
        let mariadb = session.facts.mariadb;
        if changes.strict {
            begin.push_str(SAVEPOINT);
        }
        let mut at = 0;
        while at < keys.len() {
            let (mut chunk, mut bytes) = (0, 0);
            while at + chunk < keys.len() && chunk < KEYS_MAX && bytes < MESSAGE_BYTES / 4 {
                let key = keys[at + chunk].iter();
                bytes += key
                    .map(|cell| cell.map_or(0, <[u8]>::len) + 16)
                    .sum::<usize>();
                chunk += 1;
            }
            let chunk = &keys[at..at + chunk];
            let sql = format!(
                "{begin}DELETE FROM {} WHERE {}",
                self.name,
                self.rows.any_of(chunk, mariadb)
            );
            begin.clear();
            let done = session.run_all(&sql, limits::TRANSFER_DEADLINE_MS).await?;
            let gone = done.last().map_or(0, |done| done.affected);
            if changes.strict && gone != chunk.len() as u64 {
                return Err(self.find_missing(session, &keys).await);
            }
            at += chunk.len();
        }
        Ok(())
    }

    /// Names the first key that doesn't hit one row, as the table was before the set.
    async fn find_missing(&self, session: &mut Session, keys: &[&[Option<&[u8]>]]) -> Error {
        match self.look_for_missing(session, keys).await {
            Ok(what) => mismatch(what),
            Err(error) => error,
        }
    }

    async fn look_for_missing(
        &self,
        session: &mut Session,
        keys: &[&[Option<&[u8]>]],
    ) -> Result<String> {
        session.run("ROLLBACK TO SAVEPOINT sterna_set").await?;
        let mariadb = session.facts.mariadb;
        let mut rest = keys;
        while rest.len() > 1 {
            let (first, second) = rest.split_at((rest.len() / 2).min(KEYS_MAX));
            let hit = self
                .count(session, &self.rows.any_of(first, mariadb))
                .await?;
            rest = match hit == first.len() as u64 {
                true => second,
                false => first,
            };
        }
        let Some(key) = rest.first() else {
            return Ok(format!("table {}: a key is missing", self.title));
        };
        let hit = self.count(session, &self.rows.equal(key)).await?;
        Ok(format!(
            "table {}: {hit} rows have the key {}, the source changed one",
            self.title,
            self.rows.shown(key)
        ))
    }

    async fn count(&self, session: &mut Session, condition: &str) -> Result<u64> {
        let sql = format!("SELECT COUNT(*) FROM {} WHERE {condition}", self.name);
        let count = session.cell(&sql).await?;
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
        let mut copies: BTreeMap<&[Option<&[u8]>], u64> = BTreeMap::new();
        for row in cells.chunks(self.rows.width().max(1)) {
            *copies.entry(row).or_default() += 1;
        }
        if self.rows.width() == 0 && changes.deletes.rows() > 0 {
            copies.insert(&[], changes.deletes.rows() as u64);
        }
        let all: Vec<(&[Option<&[u8]>], u64)> = copies.into_iter().collect();
        let mut at = 0;
        while at < all.len() {
            let mut sql = std::mem::take(begin);
            let (before, first) = (sql.matches("; ").count(), at);
            while at < all.len() && (at == first || sql.len() < MESSAGE_BYTES / 4) {
                let (row, n) = all[at];
                sql.push_str(if at > first { "; " } else { "" });
                let condition = self.rows.same(row, session.facts.mariadb);
                sql.push_str(&format!(
                    "DELETE FROM {} WHERE {condition} LIMIT {n}",
                    self.name
                ));
                at += 1;
            }
            let done = session.run_all(&sql, limits::TRANSFER_DEADLINE_MS).await?;
            let done = done.get(before..).unwrap_or(&[]);
            for ((row, n), done) in all[first..at].iter().zip(done) {
                if changes.strict && done.affected != *n {
                    let (title, gone) = (&self.title, done.affected);
                    let row = self.rows.shown(row);
                    return Err(mismatch(format!(
                        "table {title}: {gone} of {n} rows are there with {row}"
                    )));
                }
            }
        }
        Ok(())
    }

    async fn insert(&self, session: &mut Session, changes: &mut NetChanges) -> Result<()> {
        let rows = std::mem::take(&mut changes.inserts);
        if rows.is_empty() {
            return Ok(());
        }
        let few = rows.rows() <= FEW_ROWS && rows.bytes() <= FEW_BYTES;
        let loaded = match few {
            true => self.load.run_few(session, rows).await,
            false => self.load.run(session, rows).await,
        };
        loaded.map_err(|mut error| {
            // A row of this key is there already.
            if changes.strict && error.failure.what.contains("(1062)") {
                let what = std::mem::take(&mut error.failure.what);
                error.failure = Failure::new(Code::ReplayMismatch, what);
            }
            error
        })
    }

    async fn patch(&self, session: &mut Session, patches: &[Patch], strict: bool) -> Result<Keys> {
        let mut missed = Vec::new();
        let mut at = 0;
        while at < patches.len() {
            let (mut sql, first) = (String::new(), at);
            let lax = self.strangers(&patches[at]) > 0;
            while at < patches.len() && (at == first || sql.len() < MESSAGE_BYTES / 4) {
                let patch = &patches[at];
                if (self.strangers(patch) > 0) != lax {
                    break;
                }
                let key: Vec<Option<&[u8]>> = patch.key.iter().map(|c| Some(&c[..])).collect();
                let mut sets = Vec::with_capacity(patch.cells.len());
                for (column, cell) in &patch.cells {
                    let set = self.load.assignment(*column as usize, cell.as_deref())?;
                    sets.push(set);
                }
                sql.push_str(if at > first { "; " } else { "" });
                let condition = self.rows.equal(&key);
                match sets.is_empty() {
                    true => sql.push_str("DO 0"),
                    false => sql.push_str(&format!(
                        "UPDATE {} SET {} WHERE {condition}",
                        self.name,
                        sets.join(", ")
                    )),
                }
                at += 1;
            }
            if lax {
                set_lax(session, true).await?;
            }
            let done = session.run_all(&sql, limits::TRANSFER_DEADLINE_MS).await?;
            if lax {
                set_lax(session, false).await?;
            }
            for (patch, done) in patches[first..at].iter().zip(done) {
                self.check_patch(patch, done, strict, &mut missed)?;
            }
        }
        Ok(missed)
    }

    fn strangers(&self, patch: &Patch) -> u64 {
        self.load.strangers_of(&patch.cells)
    }

    fn check_patch(
        &self,
        patch: &Patch,
        done: Done,
        strict: bool,
        missed: &mut Keys,
    ) -> Result<()> {
        let key: Vec<Option<&[u8]>> = patch.key.iter().map(|c| Some(&c[..])).collect();
        let row = self.rows.shown(&key);
        if u64::from(done.warnings) != self.strangers(patch) {
            let what = format!("table {}: a value of the row {row}", self.title);
            return Err(Error::permanent(Code::ValueChanged, what));
        }
        match done.affected {
            _ if patch.cells.is_empty() => {}
            1 => {}
            hit if strict || hit > 1 => {
                let title = &self.title;
                let what = format!("table {title}: {hit} rows have the key {row}, one was changed");
                return Err(mismatch(what));
            }
            _ => missed.push(patch.key.clone()),
        }
        Ok(())
    }
}

#[async_trait]
impl Engine for Sets {
    type Session = Session;

    const BEGIN: &'static str = "BEGIN";

    async fn connect(&self) -> Result<(Session, Option<Books>)> {
        writer::connect(&self.host).await
    }

    async fn settle(&mut self, session: &mut Session) -> Result<()> {
        let settings: &[&str] = match session.facts.mariadb {
            // A long list of keys is a list of keys, not a table to be made of it.
            true => &[
                "SET SESSION in_predicate_conversion_threshold = 0",
                "SET SESSION optimizer_max_sel_arg_weight = 0",
            ],
            false => &["SET SESSION range_optimizer_max_mem_size = 0"],
        };
        for setting in settings {
            // An older server has no such limit.
            let _ = session.run(setting).await;
        }
        Ok(())
    }

    async fn apply(
        &mut self,
        session: &mut Session,
        begin: &str,
        mut changes: NetChanges,
    ) -> Result<Keys> {
        let mut begin = begin.to_owned();
        let (host, no) = (&self.host, changes.table);
        if !self.tables.contains_key(&no) {
            let Some(plan) = self.work.tables.get(no.0 as usize) else {
                let what = format!("the plan has no table {}", no.0);
                return Err(Error::permanent(Code::Internal, what));
            };
            self.tables.insert(no, Table::new(host, plan));
        }
        let table = &self.tables[&no];
        if changes.truncate {
            // TRUNCATE would commit.
            let sql = format!("{begin}DELETE FROM {}", table.name);
            session.run_all(&sql, limits::TRANSFER_DEADLINE_MS).await?;
            begin.clear();
        }
        if !changes.deletes.is_empty() {
            table.delete(session, &mut begin, &changes).await?;
        }
        if !begin.is_empty() {
            let begin = begin.trim_end_matches("; ");
            session.run(begin).await?;
        }
        table.insert(session, &mut changes).await?;
        table.patch(session, &changes.patches, changes.strict).await
    }

    async fn run_all(
        &self,
        session: &mut Session,
        sql: &str,
    ) -> std::result::Result<Vec<u64>, recovery::Failed> {
        let done = session.run_all(sql, limits::BEGIN_DEADLINE_MS).await?;
        Ok(done.iter().map(|done| done.affected).collect())
    }

    async fn alter(
        &mut self,
        session: Session,
        before: Option<&TablePlan>,
        table: &TablePlan,
    ) -> Result<Session> {
        let mut at = Target {
            session,
            current: self.work.current.clone(),
            again: true,
        };
        alter::run(&mut at, &self.host.database, before, table).await?;
        let name = before.unwrap_or(table).target.full_name();
        let known = |plan: &TablePlan| plan.target.full_name() == name;
        match self.work.tables.iter().position(known) {
            Some(place) => self.work.tables[place] = table.clone(),
            None => self.work.tables.push(table.clone()),
        }
        self.tables.clear();
        Ok(at.session)
    }
}
