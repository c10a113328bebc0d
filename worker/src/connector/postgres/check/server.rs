//! Checks of a server whichever end it is.

use common::check::{Check, End};
use common::code::Code;

use super::super::quote::ident;
use super::{Asker, listed, with_fixes};
use crate::connector::Result;

/// The oldest server whose catalogue is known.
const VERSION_MIN: u32 = 140_000;
/// A transaction that is open for longer is long.
const LONG_SECONDS: u32 = 60;
/// A session that says nothing for longer within its transaction may never say anything again.
const IDLE_SECONDS: u32 = 5;
/// Connections that a job of a few workers uses.
const CONNECTIONS_MIN: i64 = 12;

pub async fn run(ask: &mut Asker<'_>) -> Vec<Check> {
    let mut checks = vec![version(ask), encoding(ask)];
    let answer = collations(ask).await;
    checks.push(ask.settled("collations", answer).await);
    let answer = time_zone(ask).await;
    checks.push(ask.settled("time-zone", answer).await);
    let answer = timeouts(ask).await;
    checks.push(ask.settled("timeouts", answer).await);
    let answer = prepared_transactions(ask).await;
    checks.push(ask.settled("prepared-transactions", answer).await);
    let answer = long_transactions(ask).await;
    checks.push(ask.settled("long-transactions", answer).await);
    let answer = connections(ask).await;
    checks.push(ask.settled("connections", answer).await);
    checks
}

fn version(ask: &Asker<'_>) -> Check {
    let found = format!("PostgreSQL {}", ask.session.facts.version);
    match ask.session.facts.version_num >= VERSION_MIN {
        true => ask.passed("version", found),
        false => ask
            .failed("version", Code::NotBuilt, found)
            .means("the catalogue of servers older than 14 is not known")
            .fix("upgrade the server to PostgreSQL 14 or newer"),
    }
}

fn encoding(ask: &Asker<'_>) -> Check {
    let encoding = ask.session.facts.server_encoding.clone();
    let found = format!("server_encoding is {encoding}");
    match (encoding.as_str(), ask.end) {
        ("UTF8", _) => ask.passed("encoding", found),
        ("SQL_ASCII", End::Source) => ask
            .warning("encoding", Code::CheckFound, found)
            .means(
                "the server doesn't know what its bytes mean: they are copied as they are, and a \
                 value that is not UTF-8 stops the job at a target that asks for it",
            )
            .fix("dump the database and restore it into one with ENCODING 'UTF8'"),
        (_, End::Source) => ask.passed(
            "encoding",
            format!("{found}: the server converts to UTF8 whatever it sends"),
        ),
        _ => {
            let new = format!("{}_utf8", ask.host.database);
            let name = ident(&new);
            ask.warning("encoding", Code::CheckFound, found)
                .means("a character that this encoding hasn't stops the job at its row")
                .fix(format!(
                    "CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
                ))
                .fix(format!("-- then name {new} in the URL of the target"))
        }
    }
}

/// A collation whose library was replaced sorts otherwise than its indexes: rows are not found.
async fn collations(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "collations";
    let mut sql = "SELECT format('%I.%I', n.nspname, c.collname), c.collversion, \
         pg_collation_actual_version(c.oid), format('ALTER COLLATION %I.%I REFRESH VERSION', \
         n.nspname, c.collname) FROM pg_catalog.pg_collation c JOIN pg_catalog.pg_namespace n ON \
         n.oid = c.collnamespace WHERE c.collversion IS NOT NULL AND c.collversion <> \
         pg_collation_actual_version(c.oid) AND (n.nspname <> 'pg_catalog' OR EXISTS (SELECT FROM \
         pg_catalog.pg_attribute a WHERE a.attcollation = c.oid AND a.attrelid >= 16384))"
        .to_owned();
    if ask.session.facts.version_num >= 150_000 {
        sql.push_str(
            " UNION ALL SELECT format('database %I', datname), datcollversion, \
             pg_database_collation_actual_version(oid), format('ALTER DATABASE %I REFRESH \
             COLLATION VERSION', datname) FROM pg_catalog.pg_database WHERE datname = \
             current_database() AND datcollversion IS NOT NULL AND datcollversion <> \
             pg_database_collation_actual_version(oid)",
        );
    }
    let rows = ask.texts(&sql).await?;
    if rows.is_empty() {
        return Ok(ask.passed(
            name,
            "every collation has the version its indexes were made with",
        ));
    }
    let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    let other: Vec<String> = rows
        .iter()
        .map(|row| {
            let (made, now) = (cell(row, 1), cell(row, 2));
            format!(
                "{} was made with version {made}, is {now} now",
                cell(row, 0)
            )
        })
        .collect();
    let reindex = format!("REINDEX DATABASE {}", ident(&ask.host.database));
    let check = ask
        .warning(name, Code::CheckFound, listed(&other))
        .means("indexes on text may be in another order than the server now sorts: rows are not found, or twice")
        .fix(reindex);
    Ok(with_fixes(check, rows.iter().map(|row| cell(row, 3))))
}

async fn time_zone(ask: &mut Asker<'_>) -> Result<Check> {
    let zone = ask.setting("TimeZone").await?;
    let found = format!("TimeZone is {zone}; every session of a job is in UTC");
    Ok(ask.passed("time-zone", found))
}

/// What the role or the database sets is overruled in every session: said, so that nobody wonders.
async fn timeouts(ask: &mut Asker<'_>) -> Result<Check> {
    let sql = "SELECT name || ' = ' || reset_val FROM pg_catalog.pg_settings WHERE name IN \
         ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', \
         'idle_session_timeout', 'transaction_timeout') AND reset_val <> '0' ORDER BY 1";
    let set: Vec<String> = ask.texts(sql).await?.into_iter().flatten().collect();
    let found = match set.is_empty() {
        true => "no timeout is set for this role".to_owned(),
        false => format!("{}; overruled in every session of a job", set.join(", ")),
    };
    Ok(ask.passed("timeouts", found))
}

async fn prepared_transactions(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "prepared-transactions";
    let sql = "SELECT gid, database::text, owner::text, date_trunc('second', prepared)::text, \
         (database = current_database())::text, 'ROLLBACK PREPARED ' || quote_literal(gid) FROM \
         pg_catalog.pg_prepared_xacts ORDER BY prepared";
    let rows = ask.texts(sql).await?;
    let mut found = Vec::new();
    let mut fixes = Vec::new();
    for row in &rows {
        let cell = |at: usize| row.get(at).map_or("", String::as_str);
        let (gid, here) = (cell(0), cell(4) == "true");
        // In another database it keeps nobody here from anything, but for the making of a slot.
        if !here && ask.end == End::Target {
            continue;
        }
        let (database, owner, since) = (cell(1), cell(2), cell(3));
        found.push(format!("{gid} of {owner} in {database} since {since}"));
        fixes.push(match (gid.starts_with("sterna/"), here) {
            (true, _) => format!("-- {gid}: `sterna operator txn list` says whose it is"),
            (false, true) => cell(5).to_owned(),
            (false, false) => format!("{}; -- in database {database}", cell(5)),
        });
    }
    if found.is_empty() {
        return Ok(ask.passed(name, "no transaction is prepared"));
    }
    let means = match ask.end {
        End::Target => {
            "a prepared transaction holds its locks until somebody ends it, whatever \
                        restarts: a job that needs them waits and fails"
        }
        _ => {
            "a prepared transaction keeps a slot from being made, so the job can't follow until \
              somebody ends it; what it did isn't copied"
        }
    };
    let check = ask
        .warning(name, Code::OpenTransaction, listed(&found))
        .means(format!(
            "{means}. Commit it where that is right: COMMIT PREPARED"
        ));
    Ok(with_fixes(check, fixes))
}

async fn long_transactions(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "long-transactions";
    // What a role may not see of others' sessions is NULL.
    let sql = format!(
        "SELECT pid::text, usename::text, coalesce(state, ''), date_trunc('second', \
         xact_start)::text FROM pg_catalog.pg_stat_activity WHERE datname = current_database() AND \
         backend_type = 'client backend' AND pid <> pg_backend_pid() AND application_name <> \
         'sterna' AND xact_start IS NOT NULL AND (xact_start < clock_timestamp() - interval \
         '{LONG_SECONDS} s' OR state LIKE 'idle in transaction%' AND state_change < \
         clock_timestamp() - interval '{IDLE_SECONDS} s') ORDER BY xact_start"
    );
    let rows = ask.texts(&sql).await?;
    let hidden = "SELECT count(*)::text FROM pg_catalog.pg_stat_activity WHERE datname = \
                  current_database() AND backend_type IS NULL";
    let hidden = ask.line(hidden).await?.number(0);
    if rows.is_empty() {
        let found = match hidden {
            0 => format!("none is older than {LONG_SECONDS} s or idle"),
            some => format!(
                "none that this role may see; {some} sessions of other roles are hidden from it \
                 (GRANT pg_monitor shows them)"
            ),
        };
        return Ok(ask.passed(name, found));
    }
    let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    let found: Vec<String> = rows
        .iter()
        .map(|row| {
            let (pid, user, state, since) =
                (cell(row, 0), cell(row, 1), cell(row, 2), cell(row, 3));
            format!("session {pid} of {user} ({state}) since {since}")
        })
        .collect();
    let means = match ask.end {
        End::Target => {
            "what it has locked makes the job wait; it also keeps dead rows from being \
                        removed"
        }
        _ => {
            "a job that follows waits for every open transaction before it copies anything, and \
              gives up after some minutes"
        }
    };
    let check = ask
        .warning(name, Code::OpenTransaction, listed(&found))
        .means(means);
    let ends = rows
        .iter()
        .map(|row| format!("SELECT pg_terminate_backend({})", cell(row, 0)));
    Ok(with_fixes(check, ends))
}

async fn connections(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "connections";
    let sql = "SELECT (current_setting('max_connections')::int8 - CASE WHEN r.rolsuper THEN 0 ELSE \
         current_setting('superuser_reserved_connections')::int8 END - (SELECT count(*) FROM \
         pg_catalog.pg_stat_activity WHERE backend_type = 'client backend' OR backend_type IS \
         NULL))::text, CASE WHEN r.rolconnlimit >= 0 AND NOT r.rolsuper THEN r.rolconnlimit - \
         (SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE usesysid = r.oid) END::text, CASE \
         WHEN d.datconnlimit >= 0 AND NOT r.rolsuper THEN d.datconnlimit - (SELECT count(*) FROM \
         pg_catalog.pg_stat_activity WHERE datid = d.oid) END::text, r.rolname::text, \
         current_setting('max_connections') FROM pg_catalog.pg_roles r, pg_catalog.pg_database d \
         WHERE r.rolname = current_user AND d.datname = current_database()";
    let line = ask.line(sql).await?;
    let (role, database) = (ident(line.text(3)), ident(&ask.host.database));
    let max = line.number(4) + 50;
    let limits = [
        (
            0,
            "max_connections",
            format!("ALTER SYSTEM SET max_connections = {max}; -- then restart the server"),
        ),
        (
            1,
            "the role's CONNECTION LIMIT",
            format!("ALTER ROLE {role} CONNECTION LIMIT -1"),
        ),
        (
            2,
            "the database's CONNECTION LIMIT",
            format!("ALTER DATABASE {database} CONNECTION LIMIT -1"),
        ),
    ];
    let mut found = Vec::new();
    let mut fixes = Vec::new();
    for (at, what, fix) in limits {
        if !line.text(at).is_empty() && line.number(at) < CONNECTIONS_MIN {
            let left = line.number(at).max(0);
            found.push(format!("{what} leaves {left} connections beside this one"));
            fixes.push(fix);
        }
    }
    if found.is_empty() {
        let found = format!("{} of {} are free", line.text(0), line.text(4));
        return Ok(ask.passed(name, found));
    }
    let check = ask
        .warning(name, Code::CheckFound, found.join("; "))
        .means("each slot of a worker has a connection of its own, and one for the catalogue: choose fewer slots, or allow more connections");
    Ok(with_fixes(check, fixes))
}
