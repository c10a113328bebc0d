//! What a database holds beside its tables: sequences, routines, views, triggers and events, as the
//! statements that make them again, each with the settings it was made under.
//!
//! What refers to a table the job leaves out or gives another shape is left out and named. Whether
//! a definer exists at the target is asked there (`carry`).

use std::collections::BTreeSet;

use common::job::JobSpec;
use common::schema::{ObjectStage, SchemaObject, TableSchema};

use super::quote::{ident, text};
use super::session::{Session, TextRow};
use crate::connector::Result;

/// What was found.
#[derive(Default)]
pub struct Found {
    pub objects: Vec<SchemaObject>,
    pub notes: Vec<String>,
    definers: BTreeSet<String>,
}

/// Every object of `database`, in an order that works but for views of views.
pub async fn of(
    session: &mut Session,
    database: &str,
    spec: &JobSpec,
    tables: &[TableSchema],
) -> Result<Found> {
    let mut found = Found::default();
    let missing = reshaped(spec, tables);
    sequences(session, database, &mut found).await?;
    routines(session, database, &mut found).await?;
    views(session, database, &missing, &mut found).await?;
    triggers(session, database, &missing, &mut found).await?;
    events(session, database, &mut found).await?;
    if !found.definers.is_empty() {
        let definers: Vec<&str> = found.definers.iter().map(String::as_str).collect();
        found.notes.push(format!(
            "views and routines defined by an account that the target doesn't have ({}) run there \
             with the rights of whoever uses them; such triggers and events, with those of the \
             target's user",
            definers.join(", ")
        ));
    }
    Ok(found)
}

/// Tables that won't be at the target as they are here.
fn reshaped(spec: &JobSpec, tables: &[TableSchema]) -> BTreeSet<String> {
    let names: Vec<String> = tables.iter().map(TableSchema::full_name).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (chosen, _) = spec.select(&names);
    let changed = |name: &str| {
        let mut rules = spec.rules.iter().filter(|rule| rule.table == name);
        rules.any(|rule| {
            let mut columns = rule.columns.iter();
            rule.rename.is_some() || columns.any(|c| c.rename.is_some() || c.drop)
        })
    };
    let gone = names
        .iter()
        .filter(|name| !chosen.contains(name) || changed(name));
    gone.map(|name| (*name).to_owned()).collect()
}

/// One answer of SHOW CREATE, its columns by name.
struct Shown {
    row: TextRow,
}

impl Shown {
    fn cell(&self, at: usize) -> Option<&str> {
        self.row.get(at)?.as_deref()
    }
}

async fn show(session: &mut Session, what: &str, database: &str, name: &str) -> Result<Shown> {
    let sql = format!("SHOW CREATE {what} {}.{}", ident(database), ident(name));
    let row = session.row(&sql).await?.unwrap_or_default();
    Ok(Shown { row })
}

/// Rows of an information_schema query.
async fn listed(session: &mut Session, sql: String) -> Result<Vec<Vec<String>>> {
    let rows = session.rows(&sql).await?;
    let cells = |row: TextRow| row.into_iter().map(Option::unwrap_or_default).collect();
    Ok(rows.into_iter().map(cells).collect())
}

async fn sequences(session: &mut Session, database: &str, found: &mut Found) -> Result<()> {
    let sql = format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = {} AND \
         table_type = 'SEQUENCE' ORDER BY table_name",
        text(database)
    );
    for name in listed(session, sql).await?.into_iter().flatten() {
        let shown = show(session, "SEQUENCE", database, &name).await?;
        let Some(create) = shown.cell(1) else {
            found.unreadable("sequence", &name);
            continue;
        };
        found.objects.push(SchemaObject {
            kind: "sequence".to_owned(),
            undo: vec![format!("DROP SEQUENCE IF EXISTS {}", ident(&name))],
            stage: ObjectStage::BeforeTables,
            statements: vec![create.to_owned()],
            name: name.clone(),
        });
        found.objects.push(SchemaObject {
            kind: VALUE.to_owned(),
            undo: Vec::new(),
            stage: ObjectStage::AfterData,
            statements: vec![value(session, database, &name).await?],
            name,
        });
    }
    Ok(())
}

/// The kind of an object that is the value of a sequence.
pub const VALUE: &str = "sequence value";

/// What sets a sequence of the target to where that of the source is now.
async fn value(session: &mut Session, database: &str, name: &str) -> Result<String> {
    let state = format!(
        "SELECT next_not_cached_value, cycle_count FROM {}.{}",
        ident(database),
        ident(name)
    );
    let state = session.row(&state).await?.unwrap_or_default();
    let number = |at: usize| -> i128 {
        let cell = state.get(at).and_then(|cell| cell.as_deref()?.parse().ok());
        cell.unwrap_or(0)
    };
    let (next, rounds) = (number(0), number(1));
    Ok(format!("DO SETVAL({}, {next}, 0, {rounds})", ident(name)))
}

/// See [`crate::connector::Connector::refresh`].
pub async fn refresh(
    session: &mut Session,
    database: &str,
    objects: &mut [SchemaObject],
) -> Result<()> {
    for object in objects.iter_mut().filter(|object| object.kind == VALUE) {
        object.statements = vec![value(session, database, &object.name).await?];
    }
    Ok(())
}

async fn routines(session: &mut Session, database: &str, found: &mut Found) -> Result<()> {
    let sql = format!(
        "SELECT routine_type, routine_name FROM information_schema.routines WHERE \
         routine_schema = {} ORDER BY routine_type, routine_name",
        text(database)
    );
    for row in listed(session, sql).await? {
        let [kind, name] = row.as_slice() else {
            continue;
        };
        let shown = show(session, kind, database, name).await?;
        let Some(create) = shown.cell(2) else {
            found.unreadable(&kind.to_lowercase(), name);
            continue;
        };
        let mut statements = made_under(shown.cell(1), shown.cell(4));
        statements.push(create.to_owned());
        found.add(&kind.to_lowercase(), name, statements);
    }
    Ok(())
}

async fn views(
    session: &mut Session,
    database: &str,
    missing: &BTreeSet<String>,
    found: &mut Found,
) -> Result<()> {
    let sql = format!(
        "SELECT table_name FROM information_schema.views WHERE table_schema = {} ORDER BY \
         table_name",
        text(database)
    );
    let mut views = Vec::new();
    for name in listed(session, sql).await?.into_iter().flatten() {
        // A view that is broken at the source can't be shown.
        let shown = match show(session, "VIEW", database, &name).await {
            Ok(shown) => shown,
            Err(error) => {
                let why = format!("view {name} is not carried: {}", error.failure.what);
                found.notes.push(why);
                continue;
            }
        };
        match shown.cell(1) {
            Some(create) => {
                let mut statements = made_under(None, shown.cell(3));
                statements.push(create.to_owned());
                views.push((name, statements));
            }
            None => found.unreadable("view", &name),
        }
    }
    let mut missing = missing.clone();
    loop {
        let lost = views.iter().position(|(name, statements)| {
            let names = statements.last().map(|sql| idents_in(sql));
            names.is_some_and(|names| names.iter().any(|n| n != name && missing.contains(n)))
        });
        let Some(at) = lost else { break };
        let (name, _) = views.remove(at);
        found.notes.push(format!(
            "view {name} is not carried: a table or view in it is not, or is changed by the job"
        ));
        missing.insert(name);
    }
    for (name, statements) in views {
        found.add("view", &name, statements);
    }
    Ok(())
}

async fn triggers(
    session: &mut Session,
    database: &str,
    missing: &BTreeSet<String>,
    found: &mut Found,
) -> Result<()> {
    let sql = format!(
        "SELECT trigger_name, event_object_table FROM information_schema.triggers WHERE \
         trigger_schema = {} ORDER BY event_object_table, action_timing, event_manipulation, \
         action_order",
        text(database)
    );
    for row in listed(session, sql).await? {
        let [name, table] = row.as_slice() else {
            continue;
        };
        if missing.contains(table) {
            found.notes.push(format!(
                "trigger {name} is not carried: its table {table} is not, or is changed by the job"
            ));
            continue;
        }
        let shown = show(session, "TRIGGER", database, name).await?;
        let Some(create) = shown.cell(2) else {
            found.unreadable("trigger", name);
            continue;
        };
        let mut statements = made_under(shown.cell(1), shown.cell(4));
        statements.push(create.to_owned());
        found.add("trigger", name, statements);
    }
    Ok(())
}

async fn events(session: &mut Session, database: &str, found: &mut Found) -> Result<()> {
    let sql = format!(
        "SELECT event_name FROM information_schema.events WHERE event_schema = {} ORDER BY \
         event_name",
        text(database)
    );
    for name in listed(session, sql).await?.into_iter().flatten() {
        let shown = show(session, "EVENT", database, &name).await?;
        let Some(create) = shown.cell(3) else {
            found.unreadable("event", &name);
            continue;
        };
        let mut statements = made_under(shown.cell(1), shown.cell(5));
        if let Some(zone) = shown.cell(2) {
            statements.push(format!("SET SESSION time_zone = {}", text(zone)));
        }
        statements.push(create.to_owned());
        found.add("event", &name, statements);
    }
    Ok(())
}

/// The settings an object keeps from the session that makes it.
fn made_under(sql_mode: Option<&str>, collation: Option<&str>) -> Vec<String> {
    let mut settings = Vec::new();
    if let Some(mode) = sql_mode {
        settings.push(format!("SET SESSION sql_mode = {}", text(mode)));
    }
    if let Some(collation) = collation {
        settings.push(format!(
            "SET SESSION collation_connection = {}",
            text(collation)
        ));
    }
    settings
}

impl Found {
    fn add(&mut self, kind: &str, name: &str, statements: Vec<String>) {
        let definer = statements.last().and_then(|create| definer(create));
        self.definers
            .extend(definer.map(|(account, _)| account.to_owned()));
        self.objects.push(SchemaObject {
            kind: kind.to_owned(),
            name: name.to_owned(),
            stage: ObjectStage::AfterData,
            undo: vec![format!(
                "DROP {} IF EXISTS {}",
                kind.to_uppercase(),
                ident(name)
            )],
            statements,
        });
    }

    fn unreadable(&mut self, kind: &str, name: &str) {
        self.notes.push(format!(
            "{kind} {name} is not carried: the source's user may not read its definition"
        ));
    }
}

/// The account in ``CREATE … DEFINER=`a`@`b` …``, and where the clause is in the text.
pub fn definer(create: &str) -> Option<(&str, std::ops::Range<usize>)> {
    let start = create.find("DEFINER=")?;
    // Only in the head of the statement, before the object's own name.
    if create[..start].contains('`') {
        return None;
    }
    let account = &create[start + "DEFINER=".len()..];
    let mut end = 0;
    for part in 0..2 {
        let rest = &account[end..];
        let rest_at = match part {
            0 => 0,
            _ => usize::from(rest.starts_with('@')),
        };
        if part == 1 && rest_at == 0 {
            break;
        }
        end += rest_at + quoted_length(&rest[rest_at..])?;
    }
    let clause = start..start + "DEFINER=".len() + end;
    Some((&account[..end], clause))
}

/// Bytes of the quoted name `text` begins with.
fn quoted_length(text: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    let (_, quote) = characters.next().filter(|(_, c)| *c == '`')?;
    let mut characters = characters.peekable();
    while let Some((at, character)) = characters.next() {
        if character == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return Some(at + 1);
        }
    }
    None
}

/// Every quoted name in a statement as the server writes it.
fn idents_in(sql: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut rest = sql;
    while let Some(start) = rest.find('`') {
        let Some(length) = quoted_length(&rest[start..]) else {
            break;
        };
        names.insert(rest[start + 1..start + length - 1].replace("``", "`"));
        rest = &rest[start + length..];
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_definer_is_found_in_the_head_only() {
        let view = "CREATE ALGORITHM=UNDEFINED DEFINER=`a``b`@`%` SQL SECURITY DEFINER VIEW `v` AS";
        let (account, clause) = definer(view).expect("there");
        assert_eq!(account, "`a``b`@`%`");
        assert_eq!(&view[clause], "DEFINER=`a``b`@`%`");
        assert_eq!(definer("CREATE VIEW `v` AS select 'DEFINER=`x`@`y`'"), None);
        assert_eq!(
            definer("CREATE DEFINER=`role` VIEW").map(|d| d.0),
            Some("`role`")
        );
    }

    #[test]
    fn names_in_a_statement_are_unquoted() {
        let names = idents_in("select `t`.`a``b` AS `x` from (`t` join `u q`)");
        let expected = ["a`b", "t", "u q", "x"].map(str::to_owned);
        assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
    }
}
