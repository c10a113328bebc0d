//! DDL at an SQLite target. Each task is one fenced write transaction, so it happened or it didn't:
//! a repeated one sees in the fence that it is done. One engine on both ends uses the source's own
//! statements, so that every clause survives.

use common::code::{Code, ErrorClass, Failure};
use common::epoch::Unit;
use common::fault::Fault;
use common::job::TargetMode;
use common::limits;
use common::plan::{Plan, TablePlan};
use common::schema::{
    CanonicalType, CellForm, Column, ColumnDefault, Engine, ForeignKey, Index, TableSchema,
};
use common::task::TaskKind;

use super::fence;
use super::forms::is_hidden_rowid;
use super::inspect::AUTO_INDEX;
use super::objects;
use super::session::{Session, args, bind, literal, quote};
use crate::connector::{DefineWork, Error, Result};
use crate::faults;

/// Does the work, or leaves everything as it was.
pub async fn define(session: &mut Session, work: &DefineWork) -> Result<()> {
    session.begin_write(limits::BEGIN_DEADLINE_MS).await?;
    // The wait for the lock may have been long; while it is held nobody can end the job.
    let done = async {
        work.current.still_ours().await?;
        fenced(session, work).await?;
        work.current.still_ours().await
    };
    match done.await {
        Ok(()) => session.commit().await,
        Err(error) => {
            session.rollback().await?;
            Err(error)
        }
    }
}

/// Runs a statement that makes or destroys something, if the task is still this worker's.
pub async fn change(session: &mut Session, work: &DefineWork, sql: &str) -> Result<()> {
    work.current.still_ours().await?;
    session.run_once(sql, args([])).await.map(drop)
}

async fn fenced(session: &mut Session, work: &DefineWork) -> Result<()> {
    match &work.kind {
        TaskKind::Create => {
            objects::refuse_others(session, work).await?;
            fence::create(session).await?;
            if fence::has_partitions(session, &work.job).await? {
                let what = "partitions of the job have begun at the target: its tables are made";
                return Err(Error {
                    class: ErrorClass::Fenced,
                    failure: Failure::new(Code::Internal, what),
                });
            }
        }
        // The job has ended here, and this is a worker that doesn't know.
        _ if !fence::exists(session).await? || !fence::knows(session, &work.job).await? => {
            let what = "the job's fence is gone; the job has ended here";
            return Err(Error::permanent(Code::TargetRejected, what));
        }
        _ => {}
    }
    let unit = Unit::Task(work.task).to_string();
    if fence::raise(session, &work.job, &unit, work.epoch).await? > 0 {
        return Ok(());
    }
    match &work.kind {
        TaskKind::Create => {
            faults::point(Fault::CreateAfterBooks).await?;
            // Under the source's names first: SQLite then renames in foreign keys too.
            let mut changes = Vec::new();
            for table in &work.tables {
                changes.extend(make_table(session, table, work).await?);
                faults::point(Fault::CreateMidway).await?;
            }
            for sql in changes {
                change(session, work, &sql).await?;
            }
        }
        TaskKind::Index { table } => {
            let place = (table.0 as usize).min(work.tables.len().saturating_sub(1));
            if let Some(table) = work.tables.get(place) {
                make_indexes(session, table, work).await?;
                set_next_value(session, &table.target).await?;
            }
        }
        // They are part of the table's own statement: SQLite can't add them later.
        TaskKind::ForeignKeys { .. } => {}
        TaskKind::Objects => objects::make(session, work).await?,
        other => {
            let what = format!("{} is no DDL task", other.name());
            return Err(Error::permanent(Code::Internal, what));
        }
    }
    fence::count(session, &work.job, &unit, work.epoch).await
}

/// Makes a table. Returns what is to be changed of it once all are there.
async fn make_table(
    session: &mut Session,
    plan: &TablePlan,
    work: &DefineWork,
) -> Result<Vec<String>> {
    let (table, mode) = (&plan.target, work.spec.target_mode);
    let there = object_type(session, &table.name).await?;
    if there.is_some() {
        match mode {
            TargetMode::RequireEmpty => {
                let what = format!("the target has {} already", table.name);
                return Err(Error::permanent(Code::TargetNotEmpty, what));
            }
            TargetMode::Recreate => {
                let sql = match there.as_deref() {
                    Some("view") => format!("DROP VIEW {}", quote(&table.name)),
                    _ => format!("DROP TABLE {}", quote(&table.name)),
                };
                change(session, work, &sql).await?;
            }
            TargetMode::Append | TargetMode::Truncate => {
                check_fitting(session, table).await?;
                if mode == TargetMode::Truncate {
                    let sql = format!("DELETE FROM {}", quote(&table.name));
                    change(session, work, &sql).await?;
                }
                return Ok(Vec::new());
            }
        }
    }
    let from = work.spec.source.engine();
    let (made, changes) = table_statements(plan, &work.tables, from == Some(Engine::Sqlite))?;
    change(session, work, &made).await?;
    Ok(changes)
}

/// The statements of a whole plan, as `define` runs them on an empty target.
pub fn statements(plan: &Plan) -> Vec<String> {
    let same_engine = plan.source.engine == Engine::Sqlite;
    let tables = plan.tables.iter();
    // What can't be made is said when it is to be made.
    let (mut all, changes): (Vec<String>, Vec<Vec<String>>) = tables
        .filter_map(|table| table_statements(table, &plan.tables, same_engine).ok())
        .unzip();
    all.extend(changes.into_iter().flatten());
    for table in &plan.tables {
        let made = table.target.indexes.iter().filter(|index| is_own(index));
        all.extend(made.filter_map(|index| index_statement(table, index)));
    }
    let objects = plan.objects.iter();
    all.extend(objects.flat_map(|object| object.statements.clone()));
    all
}

/// What makes a table: the source's own statement where that is SQLite too, and then what a rule
/// changes of it, so that no clause is lost.
fn table_statements(
    plan: &TablePlan,
    all: &[TablePlan],
    same_engine: bool,
) -> Result<(String, Vec<String>)> {
    // A foreign key that the rules leave out is a clause of that statement; one whose other end is
    // renamed follows if that is done by ALTER, not if the other table is made anew.
    let same_keys = plan.source.foreign_keys.len() == plan.target.foreign_keys.len();
    let follows = |key: &ForeignKey| {
        let other = all.iter().find(|other| {
            let name = &other.source.name;
            name.eq_ignore_ascii_case(&key.references_table)
        });
        other.is_none_or(|other| other.rule.is_none() || alterations(other).is_some())
    };
    let kept = same_engine && same_keys && plan.source.foreign_keys.iter().all(follows);
    for native in plan.source.native_ddl.iter().filter(|_| kept) {
        if plan.form == CellForm::Native {
            return Ok((native.clone(), Vec::new()));
        }
        if let Some(changes) = alterations(plan) {
            return Ok((native.clone(), changes));
        }
    }
    let generated = { plan.target.columns.iter() }.find(|column| column.generated.is_some());
    match generated {
        Some(column) => {
            let what = format!(
                "{}.{} is a generated column, and the job's rule makes the table anew",
                plan.source.name, column.name
            );
            Err(Error::permanent(Code::NotBuilt, what))
        }
        None => Ok((create_table(&plan.target), Vec::new())),
    }
}

/// From the source's table to the target's; None = that can't be altered.
fn alterations(plan: &TablePlan) -> Option<Vec<String>> {
    let (source, target) = (&plan.source, &plan.target);
    let rules = plan.rule.iter().flat_map(|rule| &rule.columns);
    let mut changes = Vec::new();
    let mut shape: Vec<(String, String)> = source
        .columns
        .iter()
        .map(|column| (column.name.clone(), column.native_type.clone()))
        .collect();
    let table = quote(&source.name);
    for rule in rules {
        let place = shape.iter().position(|(name, _)| *name == rule.column)?;
        if rule.drop {
            shape.remove(place);
            changes.push(format!(
                "ALTER TABLE {table} DROP COLUMN {}",
                quote(&rule.column)
            ));
        } else if let Some(name) = &rule.rename {
            shape[place].0.clone_from(name);
            let (old, new) = (quote(&rule.column), quote(name));
            changes.push(format!("ALTER TABLE {table} RENAME COLUMN {old} TO {new}"));
        }
    }
    let wanted = target.columns.iter();
    let wanted: Vec<(&str, &str)> = wanted
        .map(|column| (column.name.as_str(), column.native_type.as_str()))
        .collect();
    let shape: Vec<(&str, &str)> = shape
        .iter()
        .map(|(name, native)| (name.as_str(), native.as_str()))
        .collect();
    if shape != wanted {
        return None;
    }
    if source.name != target.name {
        changes.push(format!(
            "ALTER TABLE {table} RENAME TO {}",
            quote(&target.name)
        ));
    }
    Some(changes)
}

async fn object_type(session: &mut Session, name: &str) -> Result<Option<String>> {
    let sql = "SELECT type FROM sqlite_master WHERE type IN ('table', 'view') \
               AND name = ? COLLATE NOCASE";
    match session.row(sql, args([name])).await? {
        Some(row) => Ok(Some(super::session::cell(&row, 0)?)),
        None => Ok(None),
    }
}

/// Whether rows can be added to a table that is there: the same columns, and nothing that would
/// change them on the way.
async fn check_fitting(session: &mut Session, table: &TableSchema) -> Result<()> {
    let sql = "SELECT name FROM pragma_table_xinfo(?) WHERE hidden = 0";
    let mut there = Vec::new();
    for row in session.rows(sql, args([&table.name])).await? {
        there.push(super::session::cell::<String>(&row, 0)?.to_ascii_lowercase());
    }
    let mut wanted: Vec<String> = table
        .copied_columns()
        .filter(|column| !is_hidden_rowid(column))
        .map(|column| column.name.to_ascii_lowercase())
        .collect();
    there.sort();
    wanted.sort();
    if there != wanted {
        let what = format!(
            "{} has the columns {}, the source has {}",
            table.name,
            there.join(", "),
            wanted.join(", ")
        );
        return Err(Error::permanent(Code::TargetDiffers, what));
    }
    let sql = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' \
               AND tbl_name = ? COLLATE NOCASE";
    if session.number(sql, args([&table.name])).await? != Some(0) {
        let what = format!(
            "{} has triggers in the target, which would fire",
            table.name
        );
        return Err(Error::permanent(Code::UnsupportedTable, what));
    }
    Ok(())
}

/// CREATE TABLE for a table that comes from another engine.
pub fn create_table(table: &TableSchema) -> String {
    let mut clauses = Vec::new();
    let rowid_key = match table.primary_key.as_slice() {
        [key] => table
            .column(key)
            .filter(|column| column.native_type.eq_ignore_ascii_case("INTEGER")),
        _ => None,
    };
    for column in &table.columns {
        let is_key = rowid_key.is_some_and(|key| key.name == column.name);
        clauses.push(column_clause(column, is_key));
    }
    if rowid_key.is_none() && !table.primary_key.is_empty() {
        clauses.push(format!("PRIMARY KEY ({})", list(&table.primary_key)));
    }
    // Indexes that SQLite makes for such clauses.
    let unique = table.indexes.iter().filter(|index| !is_own(index));
    clauses.extend(unique.map(|index| {
        let columns: Vec<String> = { index.columns.iter() }
            .map(|column| column.name.clone())
            .collect();
        format!("UNIQUE ({})", list(&columns))
    }));
    clauses.extend(table.foreign_keys.iter().map(foreign_key_clause));
    format!(
        "CREATE TABLE {} (\n  {}\n){}",
        quote(&table.name),
        clauses.join(",\n  "),
        match table.native_options.as_str() {
            "" => String::new(),
            options => format!(" {options}"),
        }
    )
}

pub fn column_clause(column: &Column, rowid_key: bool) -> String {
    let mut clause = format!("{} {}", quote(&column.name), column.native_type);
    if !column.nullable {
        clause.push_str(" NOT NULL");
    }
    if rowid_key {
        clause.push_str(" PRIMARY KEY");
        if column.auto_increment {
            clause.push_str(" AUTOINCREMENT");
        }
        return clause;
    }
    match &column.default {
        None => {}
        Some(ColumnDefault::CurrentTimestamp { .. }) => {
            clause.push_str(" DEFAULT CURRENT_TIMESTAMP");
        }
        Some(ColumnDefault::Expression(expression)) => {
            clause.push_str(&format!(" DEFAULT ({expression})"));
        }
        Some(ColumnDefault::Literal(text)) => {
            clause.push_str(&format!(" DEFAULT {}", default_literal(column, text)));
        }
    }
    clause
}

fn default_literal(column: &Column, text: &str) -> String {
    match column.canonical {
        CanonicalType::Int { .. }
        | CanonicalType::Decimal { .. }
        | CanonicalType::Float32
        | CanonicalType::Float64
        | CanonicalType::Year
        | CanonicalType::Bit { .. }
            if text.parse::<f64>().is_ok_and(f64::is_finite) =>
        {
            text.to_owned()
        }
        CanonicalType::Bytes { .. } => {
            let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
            format!("x'{hex}'")
        }
        _ => literal(text),
    }
}

fn foreign_key_clause(key: &ForeignKey) -> String {
    let mut clause = match key.name.as_str() {
        "" => String::new(),
        name => format!("CONSTRAINT {} ", quote(name)),
    };
    clause.push_str(&format!(
        "FOREIGN KEY ({}) REFERENCES {}",
        list(&key.columns),
        quote(&key.references_table)
    ));
    if !key.references_columns.is_empty() {
        clause.push_str(&format!(" ({})", list(&key.references_columns)));
    }
    for (event, action) in [("DELETE", &key.on_delete), ("UPDATE", &key.on_update)] {
        let known = ["CASCADE", "SET NULL", "RESTRICT", "SET DEFAULT"];
        if let Some(action) = known
            .iter()
            .find(|known| action.eq_ignore_ascii_case(known))
        {
            clause.push_str(&format!(" ON {event} {action}"));
        }
    }
    clause
}

fn list(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quote(name)).collect();
    quoted.join(", ")
}

/// Not a part of the table's own statement.
fn is_own(index: &Index) -> bool {
    !index.name.starts_with(AUTO_INDEX)
}

/// The source's statement names the source's table and columns; None = nothing else says what a
/// partial index or one on expressions is.
fn index_statement(plan: &TablePlan, index: &Index) -> Option<String> {
    let names = |table: &TableSchema| -> Vec<String> {
        let columns = table.columns.iter();
        columns.map(|column| column.name.clone()).collect()
    };
    let same = plan.target.name == plan.source.name && names(&plan.target) == names(&plan.source);
    match &index.native {
        Some(native) if same => Some(native.clone()),
        _ if index.columns.is_empty() => None,
        _ => Some(create_index(&plan.target, index)),
    }
}

async fn make_indexes(session: &mut Session, plan: &TablePlan, work: &DefineWork) -> Result<()> {
    for index in plan.target.indexes.iter().filter(|index| is_own(index)) {
        let Some(sql) = index_statement(plan, index) else {
            let what = format!(
                "index {} of {} is partial or on expressions, and the job's rule gives its table or \
                 columns other names",
                index.name, plan.source.name
            );
            return Err(Error::permanent(Code::NotBuilt, what));
        };
        let there =
            "SELECT sql FROM sqlite_master WHERE type = 'index' AND name = ? COLLATE NOCASE";
        match session.row(there, args([&index.name])).await? {
            None => {
                change(session, work, &sql).await?;
                faults::point(Fault::IndexMidway).await?;
            }
            Some(row) => {
                let found: Option<String> = super::session::cell(&row, 0)?;
                if found.as_deref() != Some(&sql) {
                    let what = format!("the target has another index {}", index.name);
                    return Err(Error::permanent(Code::TargetDiffers, what));
                }
            }
        }
    }
    Ok(())
}

fn create_index(table: &TableSchema, index: &Index) -> String {
    let columns: Vec<String> = index
        .columns
        .iter()
        .map(|column| {
            let name = quote(&column.name);
            // SQLite has no prefixes; for a unique index the prefix is what is unique.
            let term = match (index.unique, column.prefix) {
                (true, Some(prefix)) => format!("substr({name}, 1, {prefix})"),
                _ => name,
            };
            match column.descending {
                true => format!("{term} DESC"),
                false => term,
            }
        })
        .collect();
    format!(
        "CREATE {}INDEX {} ON {} ({})",
        if index.unique { "UNIQUE " } else { "" },
        quote(&index.name),
        quote(&table.name),
        columns.join(", ")
    )
}

/// AUTOINCREMENT goes on where the source's would have.
async fn set_next_value(session: &mut Session, table: &TableSchema) -> Result<()> {
    let counts = table.columns.iter().any(|column| column.auto_increment);
    let (true, Some(next)) = (counts, table.auto_increment) else {
        return Ok(());
    };
    let there = "SELECT count(*) FROM sqlite_master WHERE name = 'sqlite_sequence'";
    if session.number(there, args([])).await? != Some(1) {
        return Ok(());
    }
    let last = i64::try_from(next.saturating_sub(1)).unwrap_or(i64::MAX);
    let sql = "SELECT count(*) FROM sqlite_sequence WHERE name = ?";
    let sql = match session.number(sql, args([&table.name])).await? {
        Some(0) | None => "INSERT INTO sqlite_sequence (seq, name) VALUES (?, ?)",
        Some(_) => "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = ?",
    };
    let mut arguments = args([]);
    bind(&mut arguments, last);
    bind(&mut arguments, table.name.as_str());
    session.run_once(sql, arguments).await?;
    Ok(())
}
