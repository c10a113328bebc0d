//! Makes a plan's objects at the target: each with its own settings; those that fail for want of
//! another are tried again once that one is there. What is at the target under the name of one is
//! left as it is if it is the same, replaced if the job recreates, and refused else.

use std::collections::BTreeSet;

use common::fault::Fault;
use common::job::TargetMode;
use common::schema::{ObjectStage, SchemaObject};

use super::define::Target;
use super::error::{Failed, MISSING};
use super::objects::{self, definer};
use super::quote::{ident, text};
use super::session::{SQL_MODE, Session};
use crate::connector::{DefineWork, Result, replaced};
use crate::faults;

/// Makes the objects of `stage` in `database`. One that is there is replaced under `recreate` only.
pub async fn run(
    at: &mut Target,
    database: &str,
    work: &DefineWork,
    stage: ObjectStage,
) -> Result<()> {
    let objects = work.objects.iter();
    let mut waiting: Vec<&SchemaObject> = objects.filter(|o| o.stage == stage).collect();
    if waiting.is_empty() {
        return Ok(());
    }
    let there = objects_of(&mut at.session, database, work).await?;
    at.session.run(&format!("USE {}", ident(database))).await?;
    loop {
        let mut left = Vec::new();
        let mut last: Option<(Failed, &SchemaObject)> = None;
        for object in &waiting {
            let made = match stands(object, &there, work, at.again)? {
                Stands::Done => Ok(()),
                Stands::Absent => make(at, object, 0).await,
                Stands::Made => make(at, object, made_by(object)).await,
                Stands::Replaced => replace(at, object).await,
            };
            restore(&mut at.session).await?;
            match made {
                Ok(()) => faults::point(Fault::ObjectsMidway).await?,
                Err(failed) if MISSING.contains(&failed.number) => {
                    left.push(*object);
                    last = Some((failed, object));
                }
                Err(failed) => return Err(named(failed, object).into()),
            }
        }
        match last {
            None => return Ok(()),
            Some((failed, object)) if left.len() == waiting.len() => {
                return Err(named(failed, object).into());
            }
            Some(_) => waiting = left,
        }
    }
}

/// Names every object of the target that a job's would take the place of, before anything is made.
pub async fn refuse_others(session: &mut Session, database: &str, work: &DefineWork) -> Result<()> {
    if work.objects.is_empty() || work.spec.target_mode == TargetMode::Recreate {
        return Ok(());
    }
    let there = objects_of(session, database, work).await?;
    let relations = relations_of(session, database).await?;
    let others = work.objects.iter().filter(|object| {
        let found = find(object, &there);
        found.is_some_and(|found| !is_same(found, object))
            || (found.is_none() && is_relation(object) && relations.contains(&object.name))
    });
    let others: Vec<&SchemaObject> = others.collect();
    match others.is_empty() {
        true => Ok(()),
        false => Err(replaced::refusal(&others)),
    }
}

/// How an object of the plan stands at the target.
enum Stands {
    Absent,
    /// All that is left is to set what isn't part of its definition.
    Made,
    Done,
    /// Another one, which the job may replace.
    Replaced,
}

fn stands(
    object: &SchemaObject,
    there: &[SchemaObject],
    work: &DefineWork,
    again: bool,
) -> Result<Stands> {
    let recreate = work.spec.target_mode == TargetMode::Recreate;
    match find(object, there) {
        None => Ok(Stands::Absent),
        Some(_) if recreate => Ok(Stands::Replaced),
        Some(found) if is_same(found, object) => Ok(Stands::Made),
        // By an earlier owner of the task; this server prints it in other words.
        Some(_) if again => Ok(Stands::Done),
        Some(_) => Err(replaced::refusal(&[object])),
    }
}

async fn objects_of(
    session: &mut Session,
    database: &str,
    work: &DefineWork,
) -> Result<Vec<SchemaObject>> {
    let exists = format!(
        "SELECT 1 FROM information_schema.schemata WHERE schema_name = {}",
        text(database)
    );
    if session.row(&exists).await?.is_none() {
        return Ok(Vec::new());
    }
    // A server names the database of what isn't in the one in use.
    session.run(&format!("USE {}", ident(database))).await?;
    Ok(objects::of(session, database, &work.spec, &[])
        .await?
        .objects)
}

/// Tables, views and sequences share their names.
async fn relations_of(session: &mut Session, database: &str) -> Result<BTreeSet<String>> {
    let sql = format!(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = {}",
        text(database)
    );
    let rows = session.rows(&sql).await?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

fn is_relation(object: &SchemaObject) -> bool {
    matches!(object.kind.as_str(), "view" | "sequence")
}

fn find<'a>(object: &SchemaObject, there: &'a [SchemaObject]) -> Option<&'a SchemaObject> {
    let is_it = |found: &&SchemaObject| {
        let same_name = match object.kind.as_str() {
            "procedure" | "function" | "event" => found.name.eq_ignore_ascii_case(&object.name),
            _ => found.name == object.name,
        };
        found.kind == object.kind && same_name
    };
    there.iter().find(is_it)
}

/// Two definitions that mean the same, but for whose rights they run with: see
/// [`with_known_definer`].
fn is_same(a: &SchemaObject, b: &SchemaObject) -> bool {
    let bare = |object: &SchemaObject| -> Vec<String> {
        let defining = object.statements.iter().take(made_by(object));
        defining.map(|sql| without_rights(sql)).collect()
    };
    bare(a) == bare(b)
}

fn without_rights(sql: &str) -> String {
    let head = match definer(sql) {
        Some((_, clause)) => format!("{}{}", &sql[..clause.start], &sql[clause.end..]),
        None => sql.to_owned(),
    };
    let words = head.split_whitespace().collect::<Vec<_>>().join(" ");
    words
        .replacen(" SQL SECURITY DEFINER", "", 1)
        .replacen(" SQL SECURITY INVOKER", "", 1)
}

/// How many of an object's statements define it: a sequence's value is set by another one.
fn made_by(object: &SchemaObject) -> usize {
    match object.kind.as_str() {
        "sequence" => 1,
        _ => object.statements.len(),
    }
}

/// The settings of a session of ours, which an object's own have replaced.
async fn restore(session: &mut Session) -> Result<()> {
    if !session.is_alive() {
        return Ok(());
    }
    session.run("SET NAMES utf8mb4").await?;
    let pinned = format!(
        "SET SESSION character_set_results = NULL, time_zone = '+00:00', sql_mode = '{SQL_MODE}'"
    );
    session.run(&pinned).await?;
    Ok(())
}

async fn replace(at: &mut Target, object: &SchemaObject) -> std::result::Result<(), Failed> {
    for statement in &object.undo {
        at.change(statement).await?;
    }
    make(at, object, 0).await
}

/// Runs an object's statements but for the first `done`.
async fn make(
    at: &mut Target,
    object: &SchemaObject,
    done: usize,
) -> std::result::Result<(), Failed> {
    for statement in object.statements.iter().skip(done) {
        let statement = with_known_definer(&mut at.session, statement).await?;
        at.change(&statement).await?;
    }
    Ok(())
}

/// The statement as it is if its definer exists here; else without it, and then with the rights of
/// whoever uses the object: ours may be many more than the definer had.
async fn with_known_definer(
    session: &mut Session,
    statement: &str,
) -> std::result::Result<String, Failed> {
    let Some((account, clause)) = definer(statement) else {
        return Ok(statement.to_owned());
    };
    let (user, host) = account.split_once("`@`").unwrap_or((account, ""));
    let plain = |part: &str| part.trim_matches('`').replace("``", "`");
    let sql = format!(
        "SELECT COUNT(*) FROM mysql.user WHERE user = {} AND host = {}",
        text(&plain(user)),
        text(&plain(host))
    );
    let is_known = match session.cell(&sql).await {
        Ok(count) => count.as_deref() != Some("0"),
        // Not ours to ask: an account of our own name is the one that certainly exists.
        Err(failed) if failed.number != 0 => {
            let me = session.cell("SELECT CURRENT_USER()").await?;
            me == Some(format!("{}@{}", plain(user), plain(host)))
        }
        Err(failed) => return Err(failed),
    };
    Ok(match is_known {
        true => statement.to_owned(),
        false => without_definer(statement, clause),
    })
}

fn without_definer(statement: &str, clause: std::ops::Range<usize>) -> String {
    let (head, tail) = (&statement[..clause.start], &statement[clause.end..]);
    let tail = tail.trim_start();
    if let Some(tail) = tail.strip_prefix("SQL SECURITY DEFINER") {
        return format!("{head}SQL SECURITY INVOKER{tail}");
    }
    let is_routine = tail.starts_with("PROCEDURE") || tail.starts_with("FUNCTION");
    if !is_routine {
        return format!("{head}{tail}");
    }
    // A routine's clause stands after its parameters; the server writes each on a line of its own.
    match tail.contains("\n    SQL SECURITY INVOKER\n") {
        true => format!("{head}{tail}"),
        false => format!("{head}{}", with_invoker(tail)),
    }
}

/// Adds the clause after a routine's parameter list (and a function's return type).
fn with_invoker(routine: &str) -> String {
    let Some(close) = closing(routine) else {
        return routine.to_owned();
    };
    let (head, tail) = routine.split_at(close + 1);
    let returns = tail.trim_start().starts_with("RETURNS ");
    // The return type ends its line.
    let end = match returns {
        true => tail.find('\n').unwrap_or(tail.len()),
        false => 0,
    };
    let (kind, body) = tail.split_at(end);
    format!(
        "{head}{kind}\n    SQL SECURITY INVOKER{}{body}",
        if body.starts_with('\n') { "" } else { "\n" }
    )
}

/// Where the parameter list's closing parenthesis is.
fn closing(routine: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0, None);
    for (at, character) in routine.char_indices() {
        match (quote, character) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '`' | '\'' | '"') => quote = Some(character),
            (None, '(') => depth += 1,
            (None, ')') => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            (None, _) => {}
        }
    }
    None
}

fn named(mut failed: Failed, object: &SchemaObject) -> Failed {
    let what = &mut failed.error.failure.what;
    *what = format!("{} {}: {what}", object.kind, object.name);
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_its_definer_an_object_has_the_rights_of_its_user() {
        let bare = |sql: &str| without_definer(sql, definer(sql).expect("there").1);
        assert_eq!(
            bare(
                "CREATE ALGORITHM=MERGE DEFINER=`a`@`b` SQL SECURITY DEFINER VIEW `v` AS select 1"
            ),
            "CREATE ALGORITHM=MERGE SQL SECURITY INVOKER VIEW `v` AS select 1"
        );
        assert_eq!(
            bare(
                "CREATE DEFINER=`a`@`b` FUNCTION `f`(a DECIMAL(3,1)) RETURNS int(11)\n    DETERMINISTIC\nRETURN a"
            ),
            "CREATE FUNCTION `f`(a DECIMAL(3,1)) RETURNS int(11)\n    SQL SECURITY INVOKER\n    DETERMINISTIC\nRETURN a"
        );
        assert_eq!(
            bare("CREATE DEFINER=`a`@`b` PROCEDURE `p`()\nBEGIN SELECT 1; END"),
            "CREATE PROCEDURE `p`()\n    SQL SECURITY INVOKER\nBEGIN SELECT 1; END"
        );
        assert_eq!(
            bare("CREATE DEFINER=`a`@`b` TRIGGER `t` BEFORE INSERT ON `x` FOR EACH ROW SET @a = 1"),
            "CREATE TRIGGER `t` BEFORE INSERT ON `x` FOR EACH ROW SET @a = 1"
        );
    }
}
