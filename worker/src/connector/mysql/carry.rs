//! Makes a plan's objects at the target: each with its own settings, after what it replaces is
//! removed; those that fail for want of another are tried again once that one is there.

use common::schema::{ObjectStage, SchemaObject};

use super::error::{Failed, MISSING};
use super::objects::definer;
use super::quote::{ident, text};
use super::session::{SQL_MODE, Session};
use crate::connector::Result;

/// Makes the objects of `stage` in `database`.
pub async fn run(
    session: &mut Session,
    database: &str,
    objects: &[SchemaObject],
    stage: ObjectStage,
) -> Result<()> {
    let mut waiting: Vec<&SchemaObject> = objects.iter().filter(|o| o.stage == stage).collect();
    if waiting.is_empty() {
        return Ok(());
    }
    session.run(&format!("USE {}", ident(database))).await?;
    loop {
        let mut left = Vec::new();
        let mut last: Option<(Failed, &SchemaObject)> = None;
        for object in &waiting {
            let made = make(session, object).await;
            restore(session).await?;
            match made {
                Ok(()) => {}
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

async fn make(session: &mut Session, object: &SchemaObject) -> std::result::Result<(), Failed> {
    for statement in &object.undo {
        session.run(statement).await?;
    }
    for statement in &object.statements {
        let statement = with_known_definer(session, statement).await?;
        session.run(&statement).await?;
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
