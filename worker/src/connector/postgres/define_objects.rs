//! Makes what isn't a table, in the order that works: what fails for want of something else is
//! tried again after the rest, as long as anything gets made. An object that is there already must
//! be the one of the plan.

use std::collections::BTreeMap;

use common::code::Code;
use common::fault::Fault;
use common::job::TargetMode;
use common::plan::TablePlan;
use common::schema::{ObjectStage, SchemaObject};

use super::ddl;
use super::define::{Made, Target, create_table};
use super::objects;
use crate::connector::{DefineWork, Error, Result};
use crate::faults;

/// What is made: an object or a table.
enum Item<'a> {
    Object(&'a SchemaObject),
    Table(&'a TablePlan),
}

/// The objects at the target, by kind and name, with their statements.
type There = BTreeMap<(String, String), Vec<String>>;

/// Objects that tables need, and the tables.
pub async fn with_tables(at: &mut Target, work: &DefineWork) -> Result<()> {
    let there = there(at, work).await?;
    let before = of_stage(work, ObjectStage::BeforeTables).map(Item::Object);
    let items = before.chain(work.tables.iter().map(Item::Table)).collect();
    let mode = Some(work.spec.target_mode);
    let left = until_no_progress(at, mode, items, &there).await?;
    for (item, error) in left {
        match item {
            // It may be about a view.
            Item::Object(object) if may_come_later(object) => {}
            _ => return Err(error),
        }
    }
    Ok(())
}

/// What can't be made after the copy, because another one is there, is found out before anything is
/// changed.
pub async fn refuse_others(at: &mut Target, work: &DefineWork) -> Result<()> {
    let there = there(at, work).await?;
    for object in of_stage(work, ObjectStage::AfterData) {
        state_of(object, &there, Some(work.spec.target_mode))?;
    }
    Ok(())
}

/// Objects that need the data, and what of the others waited for them.
pub async fn after_data(at: &mut Target, work: &DefineWork) -> Result<()> {
    let there = there(at, work).await?;
    let late = of_stage(work, ObjectStage::BeforeTables).filter(|object| may_come_later(object));
    let all = late.chain(of_stage(work, ObjectStage::AfterData));
    let items = all.map(Item::Object).collect();
    let left = until_no_progress(at, None, items, &there).await?;
    match left.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

/// Removes what would hold on to tables that are to be dropped.
pub async fn undo_after_data(at: &mut Target, work: &DefineWork) -> Result<()> {
    let there = there(at, work).await?;
    let mut found: Vec<&SchemaObject> = of_stage(work, ObjectStage::AfterData)
        .filter(|object| there.contains_key(&key(object)))
        .collect();
    found.reverse();
    // A view can be dropped once no other reads it.
    loop {
        let mut kept = Vec::new();
        let mut error = None;
        let before = found.len();
        for object in found {
            match undo(at, object).await {
                Ok(()) => {}
                Err(failed) => {
                    kept.push(object);
                    error = Some(failed);
                }
            }
        }
        match error {
            None => return Ok(()),
            Some(error) if kept.len() == before => return Err(error),
            Some(_) => found = kept,
        }
    }
}

fn of_stage(work: &DefineWork, stage: ObjectStage) -> impl Iterator<Item = &SchemaObject> {
    let objects = work.objects.iter();
    objects.filter(move |object| object.stage == stage)
}

fn may_come_later(object: &SchemaObject) -> bool {
    matches!(object.kind.as_str(), "function" | "procedure" | "aggregate")
}

fn key(object: &SchemaObject) -> (String, String) {
    (object.kind.clone(), object.name.clone())
}

async fn there(at: &mut Target, work: &DefineWork) -> Result<There> {
    if work.objects.is_empty() {
        return Ok(There::new());
    }
    let found = objects::read(&mut at.session).await?;
    let found = found.into_iter().map(|found| found.object);
    Ok(found.map(|o| (key(&o), o.statements)).collect())
}

/// How an object of the plan stands at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Absent,
    AsPlanned,
    /// Another one, which is to be replaced.
    Otherwise,
}

/// `mode` None: whatever is there was looked at by the create task or made since, by an earlier run
/// of this one; another version of the server may print it in other words.
fn state_of(object: &SchemaObject, there: &There, mode: Option<TargetMode>) -> Result<Stands> {
    // What nothing can undo is a setting: it is set again.
    let found = there.get(&key(object)).filter(|_| !object.undo.is_empty());
    match (found, mode) {
        (None, _) => Ok(Stands::Absent),
        (Some(_), None) => Ok(Stands::AsPlanned),
        (Some(statements), _) if *statements == object.statements => Ok(Stands::AsPlanned),
        (Some(_), Some(TargetMode::Recreate)) => Ok(Stands::Otherwise),
        (Some(_), Some(_)) => {
            let what = format!(
                "{} {} is at the target already, and is another one",
                object.kind, object.name
            );
            let mut error = Error::permanent(Code::TargetDiffers, what);
            let drop = object.undo.join("; ");
            error.failure.fixes.push(drop);
            Err(error)
        }
    }
}

async fn until_no_progress<'a>(
    at: &mut Target,
    mode: Option<TargetMode>,
    items: Vec<Item<'a>>,
    there: &There,
) -> Result<Vec<(Item<'a>, Error)>> {
    let mut pending = items;
    loop {
        let before = pending.len();
        let mut left = Vec::new();
        for item in pending {
            let made = match &item {
                Item::Table(table) => create_table(at, table, mode.unwrap_or_default()).await,
                Item::Object(object) => {
                    let stands = state_of(object, there, mode)?;
                    make(at, object, stands).await
                }
            };
            match made? {
                Made::Done => faults::point(midway(&item)).await?,
                Made::Later(error) => left.push((item, error)),
            }
        }
        if left.is_empty() || left.len() == before {
            return Ok(left);
        }
        pending = left.into_iter().map(|(item, _)| item).collect();
    }
}

fn midway(item: &Item<'_>) -> Fault {
    match item {
        Item::Table(_) => Fault::CreateMidway,
        Item::Object(_) => Fault::ObjectsMidway,
    }
}

async fn make(at: &mut Target, object: &SchemaObject, stands: Stands) -> Result<Made> {
    match stands {
        Stands::AsPlanned => return Ok(Made::Done),
        Stands::Otherwise => undo(at, object).await?,
        Stands::Absent => {}
    }
    let made = attempt(at, &ddl::together(object)).await;
    let named = |mut error: Error| {
        let what = &mut error.failure.what;
        *what = format!("{} {}: {what}", object.kind, object.name);
        error
    };
    match made {
        Ok(Made::Later(error)) => Ok(Made::Later(named(error))),
        Err(error) => Err(named(error)),
        done => done,
    }
}

async fn undo(at: &mut Target, object: &SchemaObject) -> Result<()> {
    for statement in &object.undo {
        at.change(statement).await?;
    }
    Ok(())
}

/// Runs statements that may be too early.
pub async fn attempt(at: &mut Target, sql: &str) -> Result<Made> {
    match at.change(sql).await {
        Ok(()) => Ok(Made::Done),
        Err(failed) if is_early(&failed.sqlstate) => Ok(Made::Later(failed.error)),
        Err(failed) => Err(failed.into()),
    }
}

/// Something it needs is missing, or not in the state it needs.
fn is_early(sqlstate: &str) -> bool {
    matches!(
        sqlstate,
        // No such schema, table, object, function, column; a view without rows, a shell type.
        "3F000" | "42P01" | "42704" | "42883" | "42703" | "55000" | "42P16" | "42809" | "42P17"
    )
}
