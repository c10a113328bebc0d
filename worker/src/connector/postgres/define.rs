//! Runs create, index, foreign-key and objects tasks. Each looks at what is there and does the
//! rest, so a second run ends the same; each table, index, key and object is made in a transaction
//! of its own. The task's session is registered in the fence first, and sessions of older epochs
//! are ended: a zombie's DROP can't come late.

use common::code::Code;
use common::fault::Fault;
use common::job::TargetMode;
use common::limits;
use common::plan::TablePlan;
use common::schema::{Engine, Member, TableRef, TableSchema};
use common::task::TaskKind;

use super::ddl;
use super::define_fence;
use super::define_objects;
use super::error::Failed;
use super::inspect_tables::{self, ColumnRow};
use super::quote::{ident, qualified, text};
use super::session::{Host, Purpose, Session};
use crate::connector::{Current, DefineWork, Error, Occupied, Result, Role};
use crate::faults;

/// See [`crate::connector::Connector::define`].
pub async fn run(host: &Host, work: DefineWork) -> Result<()> {
    let mut session = host.open(Role::Target, Purpose::Define).await?;
    define_fence::register(&mut session, host, &work).await?;
    // Bodies may be about what is made later; their order of creation isn't kept anywhere.
    session
        .run("SET check_function_bodies = off; SET client_min_messages = error")
        .await?;
    let mut at = Target {
        session,
        current: work.current.clone(),
        schema: host.schema.clone(),
        same_engine: work.spec.source.engine() == Some(Engine::Postgres),
    };
    match &work.kind {
        TaskKind::Create => create(&mut at, &work).await,
        TaskKind::Key { table } => key(&mut at, planned(&work, table.0)?).await,
        TaskKind::Index { table } => {
            let table = planned(&work, table.0)?;
            // A job that an older version began has had no task of its own for the key.
            if work.spec.target_mode != TargetMode::Append {
                key(&mut at, table).await?;
            }
            index(&mut at, table, &work.tables).await
        }
        TaskKind::ForeignKeys { table } => foreign_keys(&mut at, planned(&work, table.0)?).await,
        TaskKind::Objects => define_objects::after_data(&mut at, &work).await,
        other => {
            let what = format!("{} is no work for a target's definitions", other.name());
            Err(Error::permanent(Code::Internal, what))
        }
    }
}

/// Where definitions are run.
pub struct Target {
    pub session: Session,
    pub current: Current,
    /// The default schema.
    pub schema: String,
    /// The source is PostgreSQL too.
    pub same_engine: bool,
}

impl Target {
    /// Runs a statement that makes or destroys something, if the task is still this worker's.
    pub async fn change(&mut self, sql: &str) -> std::result::Result<(), Failed> {
        let ours = self.current.still_ours().await;
        ours.map_err(|error| Failed {
            sqlstate: String::new(),
            error,
        })?;
        let deadline_ms = limits::DEFINE_DEADLINE_MS;
        self.session.run_within(sql, deadline_ms).await.map(drop)
    }
}

/// The table a task is about: `tables` holds the whole plan, or just this one.
fn planned(work: &DefineWork, table: u32) -> Result<&TablePlan> {
    let by_number = work.tables.get(table as usize);
    let alone = work.tables.first().filter(|_| work.tables.len() == 1);
    by_number
        .or(alone)
        .ok_or_else(|| Error::permanent(Code::Internal, format!("the plan has no table {table}")))
}

/// Whether a table is there and holds a row.
pub async fn occupied(session: &mut Session, host: &Host, table: &TableRef) -> Result<Occupied> {
    let schema = host.schema_of(table.schema.as_deref());
    occupied_at(session, schema, &table.name).await
}

async fn occupied_at(session: &mut Session, schema: &str, name: &str) -> Result<Occupied> {
    let exists = format!(
        "SELECT c.relkind::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid \
         = c.relnamespace WHERE n.nspname = {} AND c.relname = {} AND c.relkind IN ('r', 'p', 'v', \
         'm', 'f')",
        text(schema),
        text(name)
    );
    let Some(kind) = session.cell(&exists).await? else {
        return Ok(Occupied::Absent);
    };
    // What inherits from it has rows of its own.
    let only = if kind == "r" { "ONLY " } else { "" };
    let look = format!(
        "SELECT 1::text FROM {only}{} LIMIT 1",
        qualified(schema, name)
    );
    Ok(match session.cell(&look).await? {
        Some(_) => Occupied::HoldsRows,
        None => Occupied::Empty,
    })
}

async fn create(at: &mut Target, work: &DefineWork) -> Result<()> {
    refuse_lost(at, &work.tables)?;
    define_objects::refuse_others(at, work).await?;
    for schema in ddl::schemas(&work.tables, &at.schema) {
        let there = format!(
            "SELECT 1::text FROM pg_catalog.pg_namespace WHERE nspname = {}",
            text(&schema)
        );
        if at.session.cell(&there).await?.is_none() {
            let sql = format!("CREATE SCHEMA IF NOT EXISTS {}", ident(&schema));
            at.change(&sql).await?;
        }
    }
    match work.spec.target_mode {
        TargetMode::Recreate => {
            define_objects::undo_after_data(at, work).await?;
            drop_tables(at, &work.tables).await?;
        }
        TargetMode::Truncate => truncate(at, &work.tables).await?,
        TargetMode::RequireEmpty | TargetMode::Append => {}
    }
    define_objects::with_tables(at, work).await
}

/// What only the source's own text could make is refused before anything is.
fn refuse_lost(at: &Target, tables: &[TablePlan]) -> Result<()> {
    for table in tables {
        let lost = ddl::lost(table, at.same_engine);
        if !lost.is_empty() {
            let what = format!(
                "index {} of {} on a table whose name or columns a rule changes",
                lost.join(", "),
                table.source.full_name()
            );
            return Err(Error::permanent(Code::NotBuilt, what));
        }
    }
    Ok(())
}

/// All at once: they may refer to each other.
async fn drop_tables(at: &mut Target, tables: &[TablePlan]) -> Result<()> {
    let names: Vec<String> = tables
        .iter()
        .map(|table| ddl::name(&table.target, &at.schema))
        .collect();
    if names.is_empty() {
        return Ok(());
    }
    let drop = format!("DROP TABLE IF EXISTS {}", names.join(", "));
    at.change(&drop).await?;
    Ok(())
}

/// Makes a table, or finds it as it should be.
pub async fn create_table(at: &mut Target, plan: &TablePlan, mode: TargetMode) -> Result<Made> {
    let table = &plan.target;
    let schema = table.schema.clone().unwrap_or_else(|| at.schema.clone());
    let found = occupied_at(&mut at.session, &schema, &table.name).await?;
    if found == Occupied::Absent {
        let mut sql = ddl::create(plan, &at.schema);
        // Rows that are added one by one need the key at once.
        if mode == TargetMode::Append {
            let key = ddl::key(plan, &at.schema);
            sql.extend(key.map(|key| format!(";\n{key}")));
        }
        return define_objects::attempt(at, &sql).await;
    }
    compare(at, table).await?;
    // An empty one with these columns is what an earlier run of this task has made.
    if mode == TargetMode::RequireEmpty && found == Occupied::HoldsRows {
        let what = format!("table {} holds rows", table.full_name());
        return Err(Error::permanent(Code::TargetNotEmpty, what));
    }
    Ok(Made::Done)
}

/// Empties what is there, after a look at its columns; all at once, for the keys between them.
async fn truncate(at: &mut Target, tables: &[TablePlan]) -> Result<()> {
    let mut names = Vec::new();
    for plan in tables {
        let table = &plan.target;
        let schema = table.schema.clone().unwrap_or_else(|| at.schema.clone());
        let found = occupied_at(&mut at.session, &schema, &table.name).await?;
        if found == Occupied::Absent {
            continue;
        }
        compare(at, table).await?;
        // The partitions of a partitioned table are tables of the job, or rows of this one.
        let only = match plan.source.member {
            Some(Member::Root) if ddl::is_native(plan) => continue,
            _ if is_partitioned(at, table).await? => "",
            _ => "ONLY ",
        };
        names.push(format!("{only}{}", ddl::name(table, &at.schema)));
    }
    if !names.is_empty() {
        let sql = format!("TRUNCATE TABLE {}", names.join(", "));
        at.change(&sql).await?;
    }
    Ok(())
}

async fn is_partitioned(at: &mut Target, table: &TableSchema) -> Result<bool> {
    let sql = format!(
        "SELECT (relkind = 'p')::text FROM pg_catalog.pg_class WHERE oid = {}::regclass",
        text(&ddl::name(table, &at.schema))
    );
    Ok(at.session.cell(&sql).await?.as_deref() == Some("true"))
}

/// What came of an attempt.
#[derive(Debug)]
pub enum Made {
    Done,
    /// Something it needs isn't there yet.
    Later(Error),
}

/// A table that is there must have the planned columns.
async fn compare(at: &mut Target, table: &TableSchema) -> Result<()> {
    let name = ddl::name(table, &at.schema);
    let there = inspect_tables::columns_of(&mut at.session, &name).await?;
    let differs = |what: String| {
        let what = format!("table {}: {what}", table.full_name());
        Err(Error::permanent(Code::TargetDiffers, what))
    };
    for column in &table.columns {
        let Some(found) = there.iter().find(|found| found.name == column.name) else {
            return differs(format!("column {} is missing", column.name));
        };
        let (wanted, has) = (bare(&column.native_type), bare(&found.r#type));
        if wanted != has {
            return differs(format!("column {} is {has}, not {wanted}", column.name));
        }
        if declared(found)
            != (
                column.generated.is_some(),
                column.nullable && !in_key(table, column),
            )
        {
            return differs(format!("column {} is declared differently", column.name));
        }
    }
    match there.len() == table.columns.len() {
        true => Ok(()),
        false => differs("it has more columns".to_owned()),
    }
}

/// (generated, nullable).
fn declared(found: &ColumnRow) -> (bool, bool) {
    (!found.generated.is_empty(), !found.not_null)
}

fn in_key(table: &TableSchema, column: &common::schema::Column) -> bool {
    table.primary_key.contains(&column.name)
}

/// A type as `format_type` spells it.
pub fn bare(native_type: &str) -> String {
    let lower = native_type.trim().replace(", ", ",");
    let word_end = lower
        .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .unwrap_or(lower.len());
    let (word, rest) = lower.split_at(word_end);
    let (long, suffix) = match word.to_ascii_lowercase().as_str() {
        "varchar" => ("character varying", ""),
        "char" => ("character", ""),
        "varbit" => ("bit varying", ""),
        "decimal" => ("numeric", ""),
        "bool" => ("boolean", ""),
        "int2" => ("smallint", ""),
        "int" | "int4" => ("integer", ""),
        "int8" => ("bigint", ""),
        "float4" => ("real", ""),
        "float8" => ("double precision", ""),
        "timestamptz" => ("timestamp", " with time zone"),
        "timetz" => ("time", " with time zone"),
        "timestamp" if !rest.contains(" time zone") => ("timestamp", " without time zone"),
        "time" if !rest.contains(" time zone") => ("time", " without time zone"),
        _ => return lower,
    };
    match rest.find('[') {
        Some(array) => format!("{long}{}{suffix}{}", &rest[..array], &rest[array..]),
        None => format!("{long}{rest}{suffix}"),
    }
}

/// Makes the primary key, if the table has none.
async fn key(at: &mut Target, plan: &TablePlan) -> Result<()> {
    let Some(make) = ddl::key(plan, &at.schema) else {
        return Ok(());
    };
    let there = format!(
        "SELECT 1::text FROM pg_catalog.pg_index WHERE indisprimary AND indrelid = {}::regclass",
        text(&ddl::name(&plan.target, &at.schema))
    );
    if at.session.cell(&there).await?.is_none() {
        at.change(&make).await?;
    }
    Ok(())
}

/// Builds what is missing of a table's indexes, joins them to those of its parent and its
/// partitions, then sets the sequence of a table that came from another engine.
pub async fn index(at: &mut Target, plan: &TablePlan, tables: &[TablePlan]) -> Result<()> {
    let table = &plan.target;
    let name = ddl::name(table, &at.schema);
    let sql = format!(
        "SELECT c.relname::text FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = \
         i.indexrelid WHERE i.indrelid = {}::regclass",
        text(&name)
    );
    let there = first_cells(&mut at.session, &sql).await?;
    for made in ddl::indexes(plan, at.same_engine, &at.schema) {
        if !there.contains(&made.name) {
            at.change(&made.create).await?;
            faults::point(Fault::IndexMidway).await?;
        }
    }
    // Whoever comes last, of a parent's task and its partitions', finds both indexes there.
    let family = match &table.member {
        Some(_) => tables,
        None => &[],
    };
    let attached: Vec<String> = family
        .iter()
        .flat_map(|table| ddl::indexes(table, at.same_engine, &at.schema))
        .filter_map(|made| made.attach)
        .collect();
    for attach in &attached {
        attach_index(at, attach).await?;
    }
    if let Some(set) = ddl::next_value(table, &at.schema).filter(|_| !ddl::is_native(plan)) {
        at.change(&set).await?;
    }
    Ok(())
}

/// Attaching twice does nothing; the other index may not be there yet.
async fn attach_index(at: &mut Target, attach: &str) -> Result<()> {
    match at.change(attach).await {
        Err(failed) if failed.sqlstate != super::error::UNDEFINED_TABLE => Err(failed.into()),
        _ => Ok(()),
    }
}

/// Adds what is missing of a table's foreign keys.
pub async fn foreign_keys(at: &mut Target, plan: &TablePlan) -> Result<()> {
    let name = ddl::name(&plan.target, &at.schema);
    let sql = format!(
        "SELECT conname::text FROM pg_catalog.pg_constraint WHERE contype = 'f' AND conrelid = \
         {}::regclass",
        text(&name)
    );
    let there = first_cells(&mut at.session, &sql).await?;
    for (key, sql) in ddl::foreign_keys(plan, at.same_engine, &at.schema) {
        if !there.contains(&key) {
            at.change(&sql).await?;
            faults::point(Fault::ForeignKeysMidway).await?;
        }
    }
    Ok(())
}

async fn first_cells(session: &mut Session, sql: &str) -> Result<Vec<String>> {
    let rows = session.rows(sql).await?;
    let first = rows.into_iter().filter_map(|row| row.into_iter().next()?);
    Ok(first.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_spellings_of_a_type_are_one() {
        for (a, b) in [
            ("varchar(20)", "character varying(20)"),
            ("timestamptz(3)", "timestamp(3) with time zone"),
            ("timestamp", "timestamp without time zone"),
            ("decimal(10, 2)", "numeric(10,2)"),
            ("int8", "bigint"),
            ("timestamptz[]", "timestamp with time zone[]"),
        ] {
            assert_eq!(bare(a), bare(b));
        }
        assert_ne!(bare("varchar(10)"), bare("varchar(20)"));
        assert_ne!(bare("timestamp"), bare("timestamptz"));
        assert_eq!(bare("\"char\""), "\"char\"");
    }
}
