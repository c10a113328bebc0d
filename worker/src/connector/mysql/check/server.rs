//! Checks of either end: what kind of server it is, and what others do there.

use common::check::{Check, End};
use common::code::Code;

use super::super::quote::{ident, text};
use super::{Asker, cell, listed, may_not, with_fixes};
use crate::connector::Result;

/// The oldest that the tests of Sterna run on, and their words for it.
const OLDEST_MARIADB: (u32, u32) = (10, 6);
const OLDEST_MYSQL: (u32, u32) = (8, 0);
/// Sessions that a few workers have at a time.
const SESSIONS_MIN: i64 = 20;
const LONG_SECONDS: u32 = 300;
/// Rows longer than that can't be carried; a server's default is 16 or 64 MiB.
const PACKET_MIN: u64 = 64 << 20;
const PACKET_MAX: u64 = 1 << 30;
const MANY_CONNECTIONS: i64 = 50;

pub async fn run(ask: &mut Asker<'_>) -> Vec<Check> {
    let mut checks = vec![version(ask)];
    let answer = charset(ask).await;
    checks.push(ask.settled("charset", answer).await);
    let answer = sql_mode(ask).await;
    checks.push(ask.settled("sql-mode", answer).await);
    let answer = time_zone(ask).await;
    checks.push(ask.settled("time-zone", answer).await);
    let answer = connections(ask).await;
    checks.push(ask.settled("connections", answer).await);
    checks.push(max_allowed_packet(ask));
    let answer = prepared_transactions(ask).await;
    checks.push(ask.settled("prepared-transactions", answer).await);
    let answer = long_transactions(ask).await;
    checks.push(ask.settled("long-transactions", answer).await);
    checks
}

fn version(ask: &Asker<'_>) -> Check {
    let facts = &ask.session.facts;
    let (oldest, title) = match facts.mariadb {
        true => (OLDEST_MARIADB, "MariaDB"),
        false => (OLDEST_MYSQL, "MySQL"),
    };
    // Old replicas prefix theirs with 5.5.5.
    let plain = facts.version.trim_start_matches("5.5.5-");
    let mut numbers = plain.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    let found = format!("{title} {plain}");
    if (number(), number()) >= oldest {
        return ask.passed("version", found);
    }
    let check = ask.warning("version", Code::CheckFound, found);
    check
        .means("nobody has tried Sterna with so old a server")
        .fix(format!("-- use {title} {}.{} or newer", oldest.0, oldest.1))
}

/// What a table gets that doesn't say otherwise; the job's tables always say.
async fn charset(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "charset";
    let sql = "SELECT default_character_set_name, default_collation_name FROM \
               information_schema.schemata WHERE schema_name = DATABASE()";
    let row = ask.line(sql).await?;
    let (charset, collation) = (cell(&row, 0).to_owned(), cell(&row, 1));
    let found = format!("the database's default is {charset}, {collation}");
    if ask.end == End::Source || charset == "utf8mb4" {
        return Ok(ask.passed(name, found));
    }
    let database = ident(&ask.host.database);
    Ok(ask
        .warning(name, Code::CheckFound, found)
        .means(
            "tables that are made here later can't hold every character; the job's say what \
             they hold",
        )
        .fix(format!("ALTER DATABASE {database} CHARACTER SET utf8mb4")))
}

async fn sql_mode(ask: &mut Asker<'_>) -> Result<Check> {
    let row = ask.line("SELECT @@GLOBAL.sql_mode").await?;
    let mode = match cell(&row, 0) {
        "" => "none",
        mode => mode,
    };
    let found = format!("{mode}; every session of a job sets its own, which is strict");
    Ok(ask.passed("sql-mode", found))
}

async fn time_zone(ask: &mut Asker<'_>) -> Result<Check> {
    let row = ask
        .line("SELECT @@GLOBAL.time_zone, @@system_time_zone")
        .await?;
    let (zone, system) = (cell(&row, 0), cell(&row, 1));
    let found = format!("{zone} (the system's is {system}); every session of a job is in UTC");
    Ok(ask.passed("time-zone", found))
}

async fn connections(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "connections";
    let row = ask.line("SELECT @@GLOBAL.max_connections").await?;
    let most: i64 = cell(&row, 0).parse().unwrap_or(0);
    let row = ask
        .line("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
        .await?;
    let open: i64 = cell(&row, 1).parse().unwrap_or(0);
    let found = format!("{open} of {most} are in use");
    if most - open >= SESSIONS_MIN {
        return Ok(ask.passed(name, found));
    }
    let more = open + MANY_CONNECTIONS;
    Ok(ask
        .warning(name, Code::CheckFound, found)
        .means("workers take a few for each partition at work; without them they wait and retry")
        .fix(format!("SET GLOBAL max_connections = {more}")))
}

fn max_allowed_packet(ask: &Asker<'_>) -> Check {
    let name = "max-allowed-packet";
    let packet = ask.session.facts.max_allowed_packet as u64;
    let found = format!("{} MiB", packet >> 20);
    // A declared length in bytes, as far as one is declared.
    let tables = ask.request.tables.iter();
    let long = |native: &str| {
        let native = native.to_ascii_lowercase();
        ["long", "medium", "json", "text", "bytea", "blob", "xml"]
            .iter()
            .any(|word| native.contains(word))
    };
    let has_long = tables
        .flat_map(|table| &table.columns)
        .any(|column| long(&column.native_type));
    if packet >= PACKET_MIN || !has_long {
        return ask.passed(name, found);
    }
    ask.warning(name, Code::CheckFound, found)
        .means("a row that is longer can't be carried: the job would stop at it")
        .fix(format!("SET GLOBAL max_allowed_packet = {PACKET_MAX}"))
}

async fn prepared_transactions(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "prepared-transactions";
    let sql = match ask.session.facts.mariadb {
        true => "XA RECOVER FORMAT='SQL'",
        false => "XA RECOVER CONVERT XID",
    };
    let rows = match ask.texts(sql).await {
        Ok(rows) => rows,
        // MySQL says that it had a resource manager's error. What needs the right says so itself.
        Err(failed) if may_not(&failed) || failed.number == 1401 => {
            let found = "the user may not ask for them";
            return Ok(ask.passed(name, found));
        }
        Err(failed) => return Err(failed.into()),
    };
    let xids: Vec<String> = match ask.session.facts.mariadb {
        true => rows.iter().map(|row| cell(row, 3).to_owned()).collect(),
        false => rows.iter().filter_map(|row| xid(row)).collect(),
    };
    if xids.is_empty() {
        return Ok(ask.passed(name, "no transaction is prepared"));
    }
    let fixes = xids.iter().map(|xid| match is_ours(xid) {
        true => format!("-- {xid}: `sterna operator txn list` says whose it is"),
        false => format!("XA ROLLBACK {xid}"),
    });
    let check = ask
        .warning(name, Code::OpenTransaction, listed(&xids))
        .means(
            "a prepared transaction holds its locks until somebody ends it, whatever restarts: a \
             job that needs them waits and fails; one at the source isn't copied before it ends. \
             Commit it where that is right: XA COMMIT",
        );
    Ok(with_fixes(check, fixes.collect::<Vec<_>>()))
}

/// `X'gtrid',X'bqual',format` of a row whose data are hexadecimal.
fn xid(row: &[String]) -> Option<String> {
    let length: usize = cell(row, 1).parse().ok()?;
    let data = cell(row, 3).trim_start_matches("0x");
    let (gtrid, bqual) = data.split_at_checked(length * 2)?;
    Some(format!("X'{gtrid}',X'{bqual}',{}", cell(row, 0)))
}

/// Ours begin with `sterna/`.
fn is_ours(xid: &str) -> bool {
    xid.to_ascii_lowercase().contains("737465726e612f") || xid.contains("sterna/")
}

async fn long_transactions(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "long-transactions";
    let sql = format!(
        "SELECT trx_mysql_thread_id, trx_started FROM information_schema.innodb_trx WHERE \
         trx_mysql_thread_id NOT IN (0, CONNECTION_ID()) AND \
         trx_started < NOW() - INTERVAL {LONG_SECONDS} SECOND ORDER BY trx_started"
    );
    // In the server's own time, as both times are.
    ask.session.run("SET time_zone = 'SYSTEM'").await?;
    let rows = ask.texts(&sql).await;
    ask.session.run("SET time_zone = '+00:00'").await?;
    let rows = match rows {
        Ok(rows) => rows,
        Err(failed) if may_not(&failed) => {
            let found = "the user may not ask for them (PROCESS)";
            return Ok(ask.passed(name, found));
        }
        Err(failed) => return Err(failed.into()),
    };
    if rows.is_empty() {
        return Ok(ask.passed(name, "none is older than five minutes"));
    }
    let said = rows
        .iter()
        .map(|row| format!("session {} since {}", cell(row, 0), cell(row, 1)));
    let fixes = rows.iter().map(|row| format!("KILL {}", cell(row, 0)));
    let check = ask
        .warning(
            name,
            Code::OpenTransaction,
            listed(&said.collect::<Vec<_>>()),
        )
        .means(
            "its locks keep tables from being made or changed; following waits until it has \
             ended, and gives up by name",
        );
    Ok(with_fixes(check, fixes.collect::<Vec<_>>()))
}

/// A name as a value, for the other files.
pub fn of_database(ask: &Asker<'_>) -> String {
    text(&ask.host.database)
}
