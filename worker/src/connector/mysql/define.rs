//! Runs create, index, foreign-key and objects tasks. Each looks at what is there and does the rest, so a
//! second run ends the same. The task's session is registered in the fence first, and sessions of
//! older epochs are killed: a zombie's DROP can't come late.

use std::collections::BTreeSet;

use common::code::Code;
use common::fault::Fault;
use common::job::TargetMode;
use common::limits;
use common::plan::TablePlan;
use common::schema::{ObjectStage, TableSchema};
use common::task::TaskKind;

use super::error::Failed;
use super::quote::{database_of, ident, table_name, text};
use super::session::{Host, Purpose, Session};
use super::{carry, columns, ddl, fence, inspect};
use crate::connector::recovery::books::gone;
use crate::connector::recovery::{self, turn};
use crate::connector::{Current, DefineWork, Error, Occupied, Result, Role};
use crate::faults;

/// Where definitions are run.
pub struct Target {
    pub session: Session,
    pub current: Current,
    /// An earlier owner of this task was here.
    pub again: bool,
}

impl Target {
    /// Runs a statement that makes or destroys something, if the task is still this worker's.
    pub async fn change(&mut self, sql: &str) -> std::result::Result<(), Failed> {
        let ours = self.current.still_ours().await;
        ours.map_err(|error| Failed { number: 0, error })?;
        let deadline_ms = limits::DEFINE_DEADLINE_MS;
        self.session.run_within(sql, deadline_ms).await.map(drop)
    }
}

/// See [`crate::connector::Connector::define`].
pub async fn run(host: &Host, work: DefineWork) -> Result<()> {
    for table in &work.tables {
        inspect::refuse_unsupported(&table.target)?;
    }
    let mut at = Target {
        session: host.open(Role::Target, Purpose::Define).await?,
        current: work.current.clone(),
        again: false,
    };
    let home = ddl::home(host.database.as_str(), &work.tables);
    match &work.kind {
        TaskKind::Create => create_all(&mut at, host, &work, home).await?,
        TaskKind::Index { table } => {
            at.again = register(&mut at, host, &work).await?;
            let table = planned(&work, table.0)?;
            index(&mut at, &host.database, &table.target).await?;
        }
        TaskKind::ForeignKeys { table } => {
            at.again = register(&mut at, host, &work).await?;
            let table = planned(&work, table.0)?;
            foreign_keys(&mut at, &host.database, &table.target).await?;
        }
        TaskKind::Objects => {
            at.again = register(&mut at, host, &work).await?;
            carry::run(&mut at, home, &work, ObjectStage::AfterData).await?;
        }
        other => {
            let what = format!("{} is no work for a target's definitions", other.name());
            return Err(Error::permanent(Code::Internal, what));
        }
    }
    Ok(())
}

async fn create_all(at: &mut Target, host: &Host, work: &DefineWork, home: &str) -> Result<()> {
    faults::point(Fault::CreateBeforeBooks).await?;
    turn::take(&mut at.session, &work.job, &at.current).await?;
    let books = fence::find(&mut at.session, &host.database).await?;
    let is_known = match &books {
        Some(books) => books.knows(&mut at.session, &work.job).await?,
        None => false,
    };
    // What is there of a job that has begun here may be its own.
    if !is_known {
        carry::refuse_others(&mut at.session, home, work).await?;
    }
    register(at, host, work).await?;
    at.again = is_known;
    faults::point(Fault::CreateAfterBooks).await?;
    let database = host.database.as_str();
    for name in databases(database, &work.tables) {
        at.change(&ddl::create_database(name)).await?;
    }
    carry::run(at, home, work, ObjectStage::BeforeTables).await?;
    for table in &work.tables {
        create(at, database, table, work.spec.target_mode).await?;
        faults::point(Fault::CreateMidway).await?;
    }
    Ok(())
}

/// Databases beside the URL's that tables go to.
fn databases<'a>(default: &'a str, tables: &'a [TablePlan]) -> BTreeSet<&'a str> {
    let names = tables
        .iter()
        .map(|table| database_of(default, &table.target));
    names.filter(|name| *name != default).collect()
}

/// The table a task is about: `tables` holds the whole plan, or just this one.
fn planned(work: &DefineWork, table: u32) -> Result<&TablePlan> {
    let by_number = work.tables.get(table as usize);
    let alone = work.tables.first().filter(|_| work.tables.len() == 1);
    by_number
        .or(alone)
        .ok_or_else(|| Error::permanent(Code::Internal, format!("the plan has no table {table}")))
}

/// Writes the task's session into the fence. A create task makes fence and ledger if need be; any
/// other finds them, and a row of its job, or its job is over.
async fn register(at: &mut Target, host: &Host, work: &DefineWork) -> Result<bool> {
    let creates = matches!(work.kind, TaskKind::Create);
    let books = match creates {
        true => fence::ensure(&mut at.session, &host.database, &at.current).await?,
        false => fence::find(&mut at.session, &host.database)
            .await?
            .ok_or_else(gone)?,
    };
    recovery::register(&mut at.session, &books, work).await
}

/// Whether a table is there and holds a row.
pub async fn occupied(session: &mut Session, database: &str, table: &str) -> Result<Occupied> {
    let exists = format!(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = {} AND table_name = {}",
        text(database),
        text(table)
    );
    if session.row(&exists).await?.is_none() {
        return Ok(Occupied::Absent);
    }
    let look = format!("SELECT 1 FROM {}.{} LIMIT 1", ident(database), ident(table));
    Ok(match session.row(&look).await? {
        Some(_) => Occupied::HoldsRows,
        None => Occupied::Empty,
    })
}

/// Makes a table, or finds it as it should be.
pub async fn create(
    at: &mut Target,
    database: &str,
    plan: &TablePlan,
    mode: TargetMode,
) -> Result<()> {
    let table = &plan.target;
    let name = table_name(database, table);
    let home = database_of(database, table);
    let mut found = occupied(&mut at.session, home, &table.name).await?;
    if found != Occupied::Absent && mode == TargetMode::Recreate {
        at.change(&format!("DROP TABLE {name}")).await?;
        found = Occupied::Absent;
    }
    if found == Occupied::Absent {
        let created = at.change(&ddl::create(database, table)).await;
        return created.map_err(|failed| about(failed, table));
    }
    match mode {
        // An empty one with these columns is what an earlier run of this task has made.
        TargetMode::RequireEmpty if found == Occupied::HoldsRows => {
            let what = format!("table {} holds rows", table.name);
            return Err(Error::permanent(Code::TargetNotEmpty, what));
        }
        TargetMode::RequireEmpty | TargetMode::Append | TargetMode::Recreate => {}
        TargetMode::Truncate => {
            compare(&mut at.session, database, table).await?;
            at.change(&format!("TRUNCATE TABLE {name}")).await?;
        }
    }
    compare(&mut at.session, database, table).await
}

/// A table that is there must have the planned columns and a transactional engine.
async fn compare(session: &mut Session, database: &str, table: &TableSchema) -> Result<()> {
    let sql = format!(
        "SELECT engine FROM information_schema.tables WHERE table_schema = {} AND table_name = {}",
        text(database_of(database, table)),
        text(&table.name)
    );
    let engine = session.cell(&sql).await?.unwrap_or_default();
    if !engine.eq_ignore_ascii_case("InnoDB") {
        let what = format!("table {} has the engine {engine:?}", table.name);
        let fix = format!("ALTER TABLE {} ENGINE=InnoDB", ident(&table.name));
        let mut error = Error::permanent(Code::NotTransactional, what);
        error.failure.fixes.push(fix);
        return Err(error);
    }
    let there = columns::columns_of(session, database_of(database, table), &table.name).await?;
    let differs = |what: String| {
        let what = format!("table {}: {what}", table.name);
        Err(Error::permanent(Code::TargetDiffers, what))
    };
    for column in &table.columns {
        let Some(found) = there.iter().find(|found| found.name == column.name) else {
            return differs(format!("column {} is missing", column.name));
        };
        let (wanted, has) = (bare(&column.native_type), bare(&found.native_type));
        if wanted != has {
            return differs(format!("column {} is {has}, not {wanted}", column.name));
        }
        if column.generated.is_some() != found.generated.is_some()
            || column.nullable != found.nullable
        {
            return differs(format!("column {} is declared differently", column.name));
        }
        if column.charset.is_some() && column.charset != found.charset {
            return differs(format!("column {} has another charset", column.name));
        }
    }
    match there.len() == table.columns.len() {
        true => Ok(()),
        false => differs("it has more columns".to_owned()),
    }
}

/// A type without what two servers spell differently: case, and the display width of integers.
pub fn bare(native_type: &str) -> String {
    let lower = native_type.trim().to_ascii_lowercase();
    let word: String = lower
        .chars()
        .take_while(|c| c.is_ascii_alphabetic())
        .collect();
    let numeric = matches!(
        word.as_str(),
        "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "year"
    );
    if !numeric {
        return lower.replace(", ", ",");
    }
    let rest = &lower[word.len()..];
    let rest = match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((_, rest)) => rest,
        None => rest,
    };
    let word = if word == "integer" { "int" } else { &word };
    format!("{word}{rest}")
}

/// Builds what is missing of a table's indexes, all in one pass over it, then its counter.
pub async fn index(at: &mut Target, database: &str, table: &TableSchema) -> Result<()> {
    let name = table_name(database, table);
    let sql = format!(
        "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = {} \
         AND table_name = {}",
        text(database_of(database, table)),
        text(&table.name)
    );
    let there = first_cells(&mut at.session, &sql).await?;
    let missing = |item: &&common::schema::Index| {
        !there
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&item.name))
    };
    let items = table.indexes.iter().filter(missing).map(ddl::index_item);
    for statement in ddl::index_changes(table, items.collect()) {
        let alter = format!("ALTER TABLE {name} {statement}");
        let altered = at.change(&alter).await;
        altered.map_err(|failed| about(failed, table))?;
        faults::point(Fault::IndexMidway).await?;
    }
    Ok(())
}

/// A refused definition, with the table it is about.
pub fn about(failed: Failed, table: &TableSchema) -> Error {
    let mut error = failed.error;
    let what = &mut error.failure.what;
    *what = format!("table {}: {what}", table.full_name());
    error
}

/// Adds what is missing of a table's foreign keys. The session has foreign_key_checks off: the
/// rows are the source's, and a parent may be left out of the job.
pub async fn foreign_keys(at: &mut Target, database: &str, table: &TableSchema) -> Result<()> {
    let sql = format!(
        "SELECT constraint_name FROM information_schema.table_constraints WHERE table_schema = {} \
         AND table_name = {} AND constraint_type = 'FOREIGN KEY'",
        text(database_of(database, table)),
        text(&table.name)
    );
    let there = first_cells(&mut at.session, &sql).await?;
    let mut items = Vec::new();
    for (name, key) in ddl::named_keys(table) {
        if !there.iter().any(|there| there.eq_ignore_ascii_case(&name)) {
            let item = ddl::foreign_key_item(database, &name, key);
            items.push(format!("ADD {item}"));
        }
    }
    if items.is_empty() {
        return Ok(());
    }
    let alter = format!(
        "ALTER TABLE {} {}",
        table_name(database, table),
        items.join(", ")
    );
    let altered = at.change(&alter).await;
    altered.map_err(|failed| about(failed, table))?;
    faults::point(Fault::ForeignKeysMidway).await
}

async fn first_cells(session: &mut Session, sql: &str) -> Result<Vec<String>> {
    let rows = session.rows(sql).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| row.into_iter().next()?)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_a_type_are_one() {
        assert_eq!(bare("BIGINT"), bare("bigint(20)"));
        assert_eq!(bare("int(10) unsigned"), bare("int unsigned"));
        assert_ne!(bare("int(10) unsigned"), bare("int(10)"));
        assert_ne!(bare("varchar(10)"), bare("varchar(20)"));
        assert_eq!(bare("DECIMAL(10, 2)"), bare("decimal(10,2)"));
    }
}
