//! Views, triggers and numbers in the file's header: what a file holds beside its tables. Carried
//! to another SQLite file as the statements that made them; a virtual table isn't, because its
//! content is its module's.

use std::collections::BTreeSet;

use common::fault::Fault;
use common::job::TargetMode;
use common::schema::{ObjectStage, SchemaObject};

use super::ddl::change;
use super::fence::is_bookkeeping;
use super::session::{Session, args, cell, quote};
use crate::connector::{DefineWork, Result, replaced};
use crate::faults;

/// Every object of the file in an order that works, and what isn't carried, a line each. `chosen`
/// are the tables the job copies.
pub async fn objects(
    session: &mut Session,
    chosen: &[&str],
) -> Result<(Vec<SchemaObject>, Vec<String>)> {
    let mut objects = Vec::new();
    let mut notes = Vec::new();
    let mut owners: BTreeSet<String> = chosen
        .iter()
        .map(|name| name.to_ascii_lowercase())
        .collect();
    // Views before triggers, each in the order they were made in: a trigger may be on a view.
    let sql = "SELECT type, name, tbl_name, sql FROM sqlite_master \
               WHERE type IN ('view', 'trigger') ORDER BY type = 'trigger', rowid";
    for row in session.rows(sql, args([])).await? {
        let (kind, name): (String, String) = (cell(&row, 0)?, cell(&row, 1)?);
        let (owner, statement): (String, String) = (cell(&row, 2)?, cell(&row, 3)?);
        if is_bookkeeping(&name) {
            continue;
        }
        if kind == "view" {
            owners.insert(name.to_ascii_lowercase());
        } else if !owners.contains(&owner.to_ascii_lowercase()) {
            notes.push(format!(
                "trigger {name} is not carried: its table {owner} isn't"
            ));
            continue;
        }
        objects.push(SchemaObject {
            undo: vec![undo(&kind, &name)],
            name: match kind.as_str() {
                "trigger" => format!("{name} on {owner}"),
                _ => name,
            },
            kind,
            stage: ObjectStage::AfterData,
            statements: vec![statement],
        });
    }
    objects.extend(settings(session).await?);
    notes.extend(virtual_tables(session).await?);
    Ok((objects, notes))
}

/// Numbers an application may keep in the file's header: they aren't in any table.
pub async fn settings(session: &mut Session) -> Result<Vec<SchemaObject>> {
    let mut objects = Vec::new();
    for pragma in ["user_version", "application_id"] {
        let sql = format!("PRAGMA {pragma}");
        match session.number(&sql, args([])).await? {
            None | Some(0) => {}
            Some(value) => objects.push(SchemaObject {
                kind: "pragma".to_owned(),
                name: format!("{pragma} = {value}"),
                stage: ObjectStage::AfterData,
                statements: vec![format!("PRAGMA {pragma} = {value}")],
                undo: Vec::new(),
            }),
        }
    }
    Ok(objects)
}

async fn virtual_tables(session: &mut Session) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    let sql = "SELECT name, type FROM pragma_table_list WHERE schema = 'main' \
               AND type IN ('virtual', 'shadow') ORDER BY name";
    for row in session.rows(sql, args([])).await? {
        let (name, kind): (String, String) = (cell(&row, 0)?, cell(&row, 1)?);
        notes.push(match kind.as_str() {
            "virtual" => format!(
                "virtual table {name} is not carried, make it anew: triggers that write to it fail \
                 until then"
            ),
            _ => format!("{name} belongs to a virtual table and is not carried"),
        });
    }
    Ok(notes)
}

/// Makes the job's objects. One that is there is replaced under `recreate` only: the task is one
/// transaction, so it is none that an earlier run of it made.
pub async fn make(session: &mut Session, work: &DefineWork) -> Result<()> {
    let there = there(session).await?;
    for object in &work.objects {
        let replaces = work.spec.target_mode == TargetMode::Recreate;
        match stands(object, &there) {
            Stands::AsPlanned => continue,
            Stands::Otherwise if !replaces => return Err(replaced::refusal(&[object])),
            Stands::Otherwise => {
                for statement in &object.undo {
                    change(session, work, statement).await?;
                }
            }
            Stands::Absent => {}
        }
        for statement in &object.statements {
            change(session, work, statement).await?;
        }
        faults::point(Fault::ObjectsMidway).await?;
    }
    Ok(())
}

/// Names every object of the target that a job's would take the place of, before anything is made.
pub async fn refuse_others(session: &mut Session, work: &DefineWork) -> Result<()> {
    if work.spec.target_mode == TargetMode::Recreate {
        return Ok(());
    }
    let there = there(session).await?;
    let is_other = |object: &&SchemaObject| stands(object, &there) == Stands::Otherwise;
    let others: Vec<&SchemaObject> = work.objects.iter().filter(is_other).collect();
    match others.is_empty() {
        true => Ok(()),
        false => Err(replaced::refusal(&others)),
    }
}

/// How an object of the plan stands at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Absent,
    AsPlanned,
    Otherwise,
}

/// Something of the target's catalogue.
struct There {
    kind: String,
    name: String,
    sql: Option<String>,
}

async fn there(session: &mut Session) -> Result<Vec<There>> {
    let sql = "SELECT type, name, sql FROM sqlite_master";
    let rows = session.rows(sql, args([])).await?;
    let there = rows.iter().map(|row| {
        Ok(There {
            kind: cell(row, 0)?,
            name: cell(row, 1)?,
            sql: cell(row, 2)?,
        })
    });
    there.collect()
}

/// Triggers have names of their own; a view shares them with tables and indexes.
fn stands(object: &SchemaObject, there: &[There]) -> Stands {
    let found = there.iter().find(|found| {
        let shared = object.kind == "view" && found.kind != "trigger";
        let undo = undo(&object.kind, &found.name);
        let same_name = { object.undo.iter() }.any(|own| own.eq_ignore_ascii_case(&undo));
        (found.kind == object.kind || shared) && same_name
    });
    match found {
        None => Stands::Absent,
        Some(found) if found.sql.as_ref() == object.statements.first() => Stands::AsPlanned,
        Some(_) => Stands::Otherwise,
    }
}

fn undo(kind: &str, name: &str) -> String {
    format!("DROP {kind} IF EXISTS {}", quote(name))
}
