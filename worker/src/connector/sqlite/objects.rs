//! Views, triggers and numbers in the file's header: what a file holds beside its tables. Carried
//! to another SQLite file as the statements that made them; a virtual table isn't, because its
//! content is its module's.

use std::collections::BTreeSet;

use common::schema::{ObjectStage, SchemaObject};

use super::fence::is_bookkeeping;
use super::session::{Session, args, cell, quote};
use crate::connector::{DefineWork, Result};

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
            undo: vec![format!("DROP {kind} IF EXISTS {}", quote(&name))],
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
async fn settings(session: &mut Session) -> Result<Vec<SchemaObject>> {
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

/// Makes the job's objects, each after removing what an earlier run of this task made of it.
pub async fn make(session: &mut Session, work: &DefineWork) -> Result<()> {
    for object in &work.objects {
        for statement in object.undo.iter().chain(&object.statements) {
            session.run_once(statement, args([])).await?;
        }
    }
    Ok(())
}
