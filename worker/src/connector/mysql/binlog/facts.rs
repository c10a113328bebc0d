//! Whether a server's log can be followed: its settings, our rights, what isn't in it.

use common::change::LogFacts;
use common::code::{Code, ErrorClass, Failure};
use common::schema::TableSchema;

use super::log::{self, Asked};
use crate::connector::mysql::error::Failed;
use crate::connector::mysql::quote::{ident, text};
use crate::connector::mysql::session::{Host, Purpose, Session};
use crate::connector::{Error, Result, Role};

/// A log that can't be followed, and the statement that mends it.
pub fn unusable(what: impl Into<String>, fix: impl Into<String>) -> Error {
    Error {
        class: ErrorClass::Permanent,
        failure: failure(what, fix),
    }
}

fn failure(what: impl Into<String>, fix: impl Into<String>) -> Failure {
    Failure::new(Code::LogUnusable, what).fix(fix)
}

/// See [`crate::connector::Connector::log_facts`].
pub async fn log_facts(host: &Host, tables: &[TableSchema]) -> Result<LogFacts> {
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    let found = match settings(&mut session).await? {
        Some(failure) => Some(failure),
        None => match rights(&mut session, host).await? {
            Some(failure) => Some(failure),
            None => of_tables(&mut session, host, tables).await?,
        },
    };
    Ok(found.map_or(LogFacts::Usable, LogFacts::Unusable))
}

/// A variable's global value; None = the server doesn't have it.
pub async fn global(session: &mut Session, name: &str) -> Asked<Option<String>> {
    let sql = format!("SHOW GLOBAL VARIABLES LIKE '{name}'");
    let row = session.row(&sql).await?;
    Ok(row.and_then(|row| row.into_iter().nth(1).flatten()))
}

async fn settings(session: &mut Session) -> Result<Option<Failure>> {
    if session.cell("SELECT @@log_bin").await?.as_deref() != Some("1") {
        return Ok(Some(failure(
            "the server keeps no binary log",
            "start the server with --log-bin --server-id=1 --binlog-format=ROW",
        )));
    }
    let wanted = [
        (
            "binlog_format",
            "ROW",
            "its binary log holds statements, not rows",
        ),
        (
            "binlog_row_image",
            "FULL",
            "its binary log holds parts of rows only",
        ),
        (
            "binlog_row_value_options",
            "",
            "its binary log holds parts of JSON values only",
        ),
    ];
    for (name, value, what) in wanted {
        let found = global(session, name).await?;
        if found
            .as_ref()
            .is_some_and(|found| !found.eq_ignore_ascii_case(value))
        {
            let what = format!("{what}: {name} is {}", found.unwrap_or_default());
            let fix = format!("SET GLOBAL {name} = '{value}' (sessions that are open keep theirs)");
            return Ok(Some(failure(what, fix)));
        }
    }
    // A replica passes on what it applies only if it is told to.
    let passes_on = match global(session, "log_replica_updates").await? {
        None => global(session, "log_slave_updates").await?,
        known => known,
    };
    if passes_on.is_some_and(|passes_on| passes_on == "OFF") && is_replica(session).await {
        return Ok(Some(failure(
            "the server is a replica and doesn't log what it applies",
            "start it with --log-slave-updates, or follow its primary",
        )));
    }
    Ok(None)
}

/// Whether it applies what another server logs.
pub async fn is_replica(session: &mut Session) -> bool {
    let rows = log::either(session, "SHOW SLAVE STATUS", "SHOW REPLICA STATUS").await;
    rows.is_ok_and(|rows| !rows.is_empty())
}

/// What the user must be allowed, tried one by one.
pub async fn rights(session: &mut Session, host: &Host) -> Result<Option<Failure>> {
    let grantee = grantee(session).await?;
    let grant = |right: &str, what: &str| {
        let fix = format!("GRANT {right} ON *.* TO {grantee}");
        Failure::new(Code::LogUnusable, format!("the user may not {what}")).fix(fix)
    };
    let mariadb = session.facts.mariadb;
    let monitor = match mariadb {
        true => "BINLOG MONITOR",
        false => "REPLICATION CLIENT",
    };
    match log::status(session).await {
        Ok(None) => return Ok(Some(log::off().failure)),
        Ok(Some(status)) if status.filtered => {
            return Ok(Some(failure(
                "the server leaves databases out of its binary log (binlog-do-db or \
                 binlog-ignore-db)",
                "start it without these options",
            )));
        }
        Ok(Some(_)) => {}
        Err(failed) if may_not(&failed) => {
            return Ok(Some(grant(monitor, "ask for the log's position")));
        }
        Err(failed) => return Err(failed.into()),
    }
    for (sql, right, what) in [
        ("SHOW BINARY LOGS", monitor, "list the log's files"),
        (
            "SELECT COUNT(*) FROM information_schema.innodb_trx",
            "PROCESS",
            "list open transactions",
        ),
        (
            "XA RECOVER",
            "XA_RECOVER_ADMIN",
            "list prepared transactions",
        ),
    ] {
        match session.rows(sql).await {
            Ok(_) => {}
            // MySQL says that it had a resource manager's error.
            Err(failed) if may_not(&failed) || failed.number == 1401 => {
                return Ok(Some(grant(right, what)));
            }
            Err(failed) => return Err(failed.into()),
        }
    }
    // Trying it is the only question both answer the same way.
    match super::secure::try_stream(host).await {
        Ok(()) => Ok(None),
        // Asked for its log, a server says to who may not that it doesn't know them at all.
        Err(error) if [Code::Privileges, Code::AccessDenied].contains(&error.failure.code) => {
            Ok(Some(grant("REPLICATION SLAVE", "read the log")))
        }
        Err(error) => Err(error),
    }
}

/// The user of the session, as GRANT writes it.
pub async fn grantee(session: &mut Session) -> Asked<String> {
    let user = session.cell("SELECT CURRENT_USER()").await?;
    let user = user.unwrap_or_default();
    Ok(match user.rsplit_once('@') {
        Some((user, from)) => format!("{}@{}", quoted(user), quoted(from)),
        None => quoted(&user),
    })
}

/// As people write it.
fn quoted(words: &str) -> String {
    format!("'{}'", words.replace('\'', "''"))
}

fn may_not(failed: &Failed) -> bool {
    failed.error.failure.code == Code::Privileges
}

/// What of the tables isn't in the log.
pub async fn of_tables(
    session: &mut Session,
    host: &Host,
    tables: &[TableSchema],
) -> Result<Option<Failure>> {
    let sql = format!(
        "SELECT table_name, engine, table_type FROM information_schema.tables WHERE \
         table_schema = {}",
        text(&host.database)
    );
    for row in session.rows(&sql).await? {
        let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        let (name, engine) = (cell(0), cell(1));
        if !tables.iter().any(|table| table.name == name) {
            continue;
        }
        if !engine.eq_ignore_ascii_case("InnoDB") {
            return Ok(Some(failure(
                format!("table {name} is {engine}, whose changes have no transactions"),
                format!("ALTER TABLE {} ENGINE = InnoDB", ident(&name)),
            )));
        }
        if cell(2) == "SYSTEM VERSIONED" {
            return Ok(Some(failure(
                format!("table {name} is system-versioned, and the log holds its history too"),
                format!("exclude it: -x {name}"),
            )));
        }
    }
    cascades(session, tables).await
}

/// Rows of a child that the storage engine changes by itself are in no log.
async fn cascades(session: &mut Session, tables: &[TableSchema]) -> Result<Option<Failure>> {
    // Since 9.6 MySQL does it above the storage engine, and logs it.
    let native = global(session, "innodb_native_foreign_keys").await?;
    if native.is_some_and(|native| native == "OFF") {
        return Ok(None);
    }
    let acts = |rule: &str| {
        let rule = rule.to_ascii_uppercase();
        ["CASCADE", "SET NULL", "SET DEFAULT"].contains(&rule.as_str())
    };
    for table in tables {
        for key in &table.foreign_keys {
            let rule = match (acts(&key.on_delete), acts(&key.on_update)) {
                (true, _) => format!("ON DELETE {}", key.on_delete),
                (false, true) => format!("ON UPDATE {}", key.on_update),
                (false, false) => continue,
            };
            let what = format!(
                "foreign key {} of {} has {rule}: the server changes rows of {} without logging it",
                key.name, table.name, table.name
            );
            let columns = |names: &[String]| {
                let quoted: Vec<String> = names.iter().map(|name| ident(name)).collect();
                quoted.join(", ")
            };
            let fix = format!(
                "ALTER TABLE {0} DROP FOREIGN KEY {1}, ADD FOREIGN KEY ({2}) REFERENCES {3} ({4})",
                ident(&table.name),
                ident(&key.name),
                columns(&key.columns),
                ident(&key.references_table),
                columns(&key.references_columns),
            );
            let other = format!("-- or follow without it: -x {}", table.name);
            return Ok(Some(failure(what, fix).fix(other)));
        }
    }
    Ok(None)
}
