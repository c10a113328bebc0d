//! What is logged of a table, and the triggers that do it. A row of `sterna_changes` is (id, job,
//! table, op, at, c0, c1, …); ids grow with the order of commits, for a file has one writer.
//!
//! A table with a key: `c0…` are the key's values, the rows themselves are read when the log is. A
//! table without: `c0` is the rowid, then the whole row as it was or came.

use common::plan::TablePlan;
use common::schema::TableSchema;

use super::unique::{Rival, rivals};
use crate::connector::Result;
use crate::connector::sqlite::sample::rowid_name;
use crate::connector::sqlite::session::{Session, quote};

pub const CHANGES: &str = "sterna_changes";
pub const LOG: &str = "sterna_log";

/// A row came.
pub const INSERTED: i64 = 1;
/// A row was changed and kept its key.
pub const UPDATED: i64 = 2;
/// A row went.
pub const DELETED: i64 = 3;
/// A row was there, and perhaps made room for another without a word.
pub const SEEN: i64 = 4;

/// Milliseconds of Unix time, in words that every version of SQLite knows.
const NOW: &str = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";

/// How the rows of a table are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ident {
    /// Columns of the source. Their values come first.
    Key(Vec<String>),
    /// Its name. It comes first.
    Rowid(String),
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Watch {
    pub table: TableSchema,
    pub ident: Ident,
    /// Columns that are logged as well: all that are copied, or none.
    pub image: Vec<String>,
}

impl Watch {
    /// None: nothing tells its rows apart.
    pub fn new(plan: &TablePlan) -> Option<Watch> {
        let table = plan.source.clone();
        let whole = || -> Vec<String> {
            let columns = table.copied_columns();
            columns.map(|column| column.name.clone()).collect()
        };
        let (ident, image) = match source_key(plan) {
            Some(key) if !key.is_empty() && plan.rule.is_none() => (Ident::Key(key), Vec::new()),
            // What a rule says of a row that is no more is asked of the row as it was.
            Some(key) if !key.is_empty() => (Ident::Key(key), whole()),
            Some(_) => (Ident::Rowid(rowid_name(&table)?), whole()),
            None if !table.primary_key.is_empty() => {
                (Ident::Key(table.primary_key.clone()), whole())
            }
            None => (Ident::Rowid(rowid_name(&table)?), whole()),
        };
        Some(Watch {
            table,
            ident,
            image,
        })
    }

    /// Names of what is logged, in order.
    pub fn logged(&self) -> Vec<&str> {
        let ident: Vec<&str> = match &self.ident {
            Ident::Key(key) => key.iter().map(String::as_str).collect(),
            Ident::Rowid(rowid) => vec![rowid],
        };
        let image = self.image.iter().map(String::as_str);
        ident.into_iter().chain(image).collect()
    }

    pub fn is_keyless(&self) -> bool {
        matches!(self.ident, Ident::Rowid(_))
    }

    /// The statements that make the triggers, `no` being the table's and `job` the job's number.
    pub async fn triggers(
        &self,
        session: &mut Session,
        uid: &str,
        job: i64,
        no: u32,
    ) -> Result<Vec<String>> {
        let rivals = rivals(session, &self.table).await?;
        let table = quote(&self.table.name);
        let put = |op: i64, row: &str| self.put(job, no, op, row);
        let same = self.same();
        let mut bodies = vec![
            ("i", "AFTER INSERT", String::new(), put(INSERTED, "NEW")),
            ("d", "AFTER DELETE", String::new(), put(DELETED, "OLD")),
        ];
        let moved = format!("{} {}", put(DELETED, "OLD"), put(INSERTED, "NEW"));
        if self.is_keyless() {
            bodies.push(("u", "AFTER UPDATE", String::new(), moved));
        } else {
            let when = format!("WHEN {same} ");
            bodies.push(("u", "AFTER UPDATE", when, put(UPDATED, "OLD")));
            let when = format!("WHEN NOT ({same}) ");
            bodies.push(("m", "AFTER UPDATE", when, moved));
        }
        if !rivals.is_empty() {
            let seen = |rival: &Rival| self.seen(job, no, &rival.condition);
            let all: Vec<String> = rivals.iter().map(seen).collect();
            bodies.push(("r", "BEFORE INSERT", String::new(), all.join(" ")));
            let changed: Vec<String> = { rivals.iter() }
                .map(|rival| format!("({})", rival.changed))
                .collect();
            let other = self.other();
            let seen = |rival: &Rival| {
                let condition = format!("{} AND ({}) AND {other}", rival.condition, rival.changed);
                self.seen(job, no, &condition)
            };
            let all: Vec<String> = rivals.iter().map(seen).collect();
            let when = format!("WHEN {} ", changed.join(" OR "));
            bodies.push(("s", "BEFORE UPDATE", when, all.join(" ")));
        }
        Ok(bodies
            .into_iter()
            .map(|(letter, event, when, body)| {
                let name = quote(&format!("{}{no}_{letter}", trigger_prefix(uid)));
                format!(
                    "CREATE TRIGGER {name} {event} ON {table} FOR EACH ROW {when}BEGIN {body} END"
                )
            })
            .collect())
    }

    fn head(&self) -> String {
        let cells: Vec<String> = (0..self.logged().len())
            .map(|n| format!(", c{n}"))
            .collect();
        format!("INSERT INTO {CHANGES} (job, tbl, op, at{})", cells.concat())
    }

    fn cells(&self, row: &str) -> String {
        let cell = |name: &&str| format!(", {row}.{}", quote(name));
        self.logged().iter().map(cell).collect()
    }

    fn put(&self, job: i64, no: u32, op: i64, row: &str) -> String {
        let (head, cells) = (self.head(), self.cells(row));
        format!("{head} VALUES ({job}, {no}, {op}, {NOW}{cells});")
    }

    fn seen(&self, job: i64, no: u32, condition: &str) -> String {
        let (head, cells) = (self.head(), self.cells("x"));
        let table = quote(&self.table.name);
        format!(
            "{head} SELECT {job}, {no}, {SEEN}, {NOW}{cells} FROM {table} AS x WHERE {condition};"
        )
    }

    /// The same key in every byte: 'a' is not 'A' and 1 not 1.0, whatever the column's collation.
    fn same(&self) -> String {
        let Ident::Key(key) = &self.ident else {
            return "1".to_owned();
        };
        let terms: Vec<String> = { key.iter() }
            .map(|name| {
                let name = quote(name);
                format!(
                    "OLD.{name} COLLATE BINARY IS NEW.{name} AND typeof(OLD.{name}) = typeof(NEW.{name})"
                )
            })
            .collect();
        terms.join(" AND ")
    }

    /// `x` isn't the row that is updated.
    fn other(&self) -> String {
        if let Some(rowid) = rowid_name(&self.table) {
            let rowid = quote(&rowid);
            return format!("x.{rowid} <> OLD.{rowid}");
        }
        let terms: Vec<String> = { self.table.primary_key.iter() }
            .map(|name| format!("x.{0} IS OLD.{0}", quote(name)))
            .collect();
        match terms.is_empty() {
            true => "1".to_owned(),
            false => format!("NOT ({})", terms.join(" AND ")),
        }
    }
}

/// What the names of a job's triggers begin with.
pub fn trigger_prefix(uid: &str) -> String {
    format!("sterna_{uid}_")
}

/// The change key by the source's names; None = it isn't made of the source's columns. Empty = the
/// table has none.
fn source_key(plan: &TablePlan) -> Option<Vec<String>> {
    let key = plan.change_key();
    let Some(rule) = &plan.rule else {
        return Some(key);
    };
    let of = |name: &String| {
        let renamed = { rule.columns.iter() }
            .find(|column| column.rename.as_ref() == Some(name) && !column.drop);
        let source = renamed.map_or(name, |column| &column.column);
        plan.source.column(source).map(|column| column.name.clone())
    };
    key.iter().map(of).collect()
}
