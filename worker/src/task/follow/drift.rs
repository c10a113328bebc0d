//! A table was altered at the source: whether the job can go on, with which columns. Looks at what
//! both ends have now. What isn't understood stops the job with the position before the statement.

use std::collections::BTreeSet;

use common::change::DriftMode;
use common::code::{Code, Failure};
use common::id::TableNo;
use common::mapping;
use common::plan::{Plan, TablePlan};
use common::schema::{CellForm, TableSchema};

use super::write::Set;
use crate::connector::changes::Drift;
use crate::connector::{Connector, Error, Result, Role};
use crate::task::TaskContext;

/// What the job goes on with beyond the statement.
pub enum Settled {
    /// The statement changed nothing that is copied.
    AsItWas,
    Altered(TableNo, Box<TablePlan>),
}

/// Decides, and alters the target where the job says so. Everything before the statement is
/// committed by now.
pub async fn settle(
    ctx: &TaskContext,
    source: &dyn Connector,
    set: &mut Set<'_>,
    drift: &Drift,
) -> Result<Settled> {
    let Some(no) = drift.table else {
        return Err(stop(
            drift,
            "it isn't clear what of the job's tables it changes",
        ));
    };
    let Some(before) = set.plan(no).cloned() else {
        return Err(stop(drift, "the plan doesn't know the table"));
    };
    let spec = &ctx.job.spec;
    let seen = source.inspect(Role::Source, spec).await?;
    let present = find(&seen.tables, &before.source);
    let Some(present) = present else {
        return Err(stop(drift, "the source has no such table now"));
    };
    let mut present = present.clone();
    let plan = ctx.plan()?;
    mapping::as_read(&mut present, spec, plan.source.engine, plan.target.engine);
    let added = added(&before, &present).map_err(|why| stop(drift, &why))?;
    if added.is_empty() {
        return Ok(Settled::AsItWas);
    }
    let table = extend(ctx, plan, set, no, &present).map_err(|failure| {
        let why = format!("the new columns can't be carried: {}", failure.what);
        stop(drift, &why)
    })?;
    if spec.drift == DriftMode::Apply {
        set.alter(no, &table).await?;
        let names = added.join(", ");
        tracing::info!(lease = %ctx.lease, table = %drift.name, columns = %names, "columns added");
        return Ok(Settled::Altered(no, Box::new(table)));
    }
    let there = ctx.target()?.inspect(Role::Source, spec).await?;
    let there = find(&there.tables, &table.target);
    let has = |name: &str| there.is_some_and(|there| there.column(name).is_some());
    let wanted = table
        .target
        .copied_columns()
        .map(|column| column.name.as_str());
    let missing: Vec<&str> = wanted.filter(|name| !has(name)).collect();
    match missing.is_empty() {
        true => Ok(Settled::Altered(no, Box::new(table))),
        false => {
            let why = format!("the target has no column {}", missing.join(", "));
            Err(stop(drift, &why))
        }
    }
}

fn find<'a>(tables: &'a [TableSchema], wanted: &TableSchema) -> Option<&'a TableSchema> {
    let same = |table: &&TableSchema| table.name == wanted.name && table.schema == wanted.schema;
    tables.iter().find(same)
}

/// The columns that came; an error says what else is different.
fn added(before: &TablePlan, present: &TableSchema) -> std::result::Result<Vec<String>, String> {
    let old = &before.source;
    let mut last = None;
    for column in &old.columns {
        let name = &column.name;
        let Some(place) = present.columns.iter().position(|c| c.name == *name) else {
            return Err(format!("column {name} is gone"));
        };
        let now = &present.columns[place];
        let same = now.native_type == column.native_type
            && now.canonical == column.canonical
            && now.nullable == column.nullable
            && now.charset == column.charset
            && now.collation == column.collation
            && now.generated == column.generated;
        if !same {
            return Err(format!("column {name} is another one now"));
        }
        if last.is_some_and(|last| place < last) {
            return Err(format!("column {name} is at another place"));
        }
        last = Some(place);
    }
    if present.primary_key != old.primary_key {
        return Err("the primary key is another one".to_owned());
    }
    let known: BTreeSet<&str> = old.columns.iter().map(|c| c.name.as_str()).collect();
    let new = |column: &&common::schema::Column| !known.contains(column.name.as_str());
    let new: Vec<_> = present.columns.iter().filter(new).collect();
    if let Some(column) = new.iter().find(|column| column.generated.is_some()) {
        return Err(format!("the new column {} is a generated one", column.name));
    }
    if before.rule.is_some() && !new.is_empty() {
        return Err("the job has a rule for the table".to_owned());
    }
    Ok(new.iter().map(|column| column.name.clone()).collect())
}

/// The table's plan with the columns it has now; its keys and indexes stay as they were.
fn extend(
    ctx: &TaskContext,
    plan: &Plan,
    set: &Set<'_>,
    no: TableNo,
    present: &TableSchema,
) -> std::result::Result<TablePlan, Failure> {
    let plans = set.plans();
    let missing = || Failure::new(Code::Internal, format!("the plan has no {no}"));
    let old = plans.get(no.0 as usize).ok_or_else(missing)?;
    let source = TableSchema {
        indexes: old.source.indexes.clone(),
        foreign_keys: old.source.foreign_keys.clone(),
        ..present.clone()
    };
    let mut rows: Vec<&TableSchema> = plans.iter().map(TablePlan::rows).collect();
    rows[no.0 as usize] = &source;
    let mapped = mapping::map_tables(&rows, &plan.source, &plan.target, &ctx.job.spec)?;
    let (mut target, columns) = mapped
        .tables
        .into_iter()
        .nth(no.0 as usize)
        .ok_or_else(missing)?;
    let kept = |column: &common::schema::Column| {
        let now = target.column(&column.name);
        now.is_some_and(|now| now.native_type == column.native_type)
    };
    if !old.target.columns.iter().all(kept) {
        let what = "other columns would get another type or name with it";
        return Err(Failure::new(Code::SchemaDrift, what));
    }
    target.indexes.clone_from(&old.target.indexes);
    target.foreign_keys.clone_from(&old.target.foreign_keys);
    if old.form == CellForm::Canonical && plan.source.engine == plan.target.engine {
        target.native_ddl = None;
    }
    Ok(TablePlan {
        source,
        target,
        columns,
        ..old.clone()
    })
}

/// The error that ends the task; the target stands before the statement.
pub fn stop(drift: &Drift, why: &str) -> Error {
    let Drift {
        name, statement, ..
    } = drift;
    let what = format!(
        "{name} was altered at the source: {statement}; {why} (everything before it is applied, the \
         position is kept)"
    );
    let mut error = Error::permanent(Code::SchemaDrift, what);
    error.failure = error.failure.fix(
        "alter the target's table by hand in the same way and `sterna resume` the job, or submit \
         it with `drift: apply`; a change that isn't a new column needs a new copy",
    );
    error
}
