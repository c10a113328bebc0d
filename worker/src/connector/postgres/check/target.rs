//! Checks of a target: whether it can be written to as the job has to, and what others do there.

use common::check::Check;
use common::code::Code;
use common::job::{Purpose, TargetMode};

use super::super::quote::{ident, qualified, text};
use super::{Asker, listed, with_fixes};
use crate::connector::Result;

/// Prepared transactions that a job of a few workers has at a time.
const PREPARED_MIN: i64 = 8;
/// A name nobody has: what is made under it never outlives its transaction.
const PROBE: &str = "sterna_check_probe";

pub async fn run(ask: &mut Asker<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    let answer = read_only(ask).await;
    checks.push(ask.settled("read-only", answer).await);
    let answer = privileges(ask).await;
    checks.push(ask.settled("privileges", answer).await);
    let answer = existing(ask).await;
    checks.push(ask.settled("existing-tables", answer).await);
    let answer = replication_role(ask).await;
    checks.push(ask.settled("replication-role", answer).await);
    let answer = two_phase(ask).await;
    checks.push(ask.settled("two-phase", answer).await);
    let answer = triggers(ask).await;
    checks.push(ask.settled("triggers", answer).await);
    let answer = foreign_writers(ask).await;
    checks.push(ask.settled("foreign-writers", answer).await);
    let answer = durability(ask).await;
    checks.push(ask.settled("durability", answer).await);
    let answer = space(ask).await;
    checks.push(ask.settled("space", answer).await);
    checks
}

async fn read_only(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "read-only";
    if !ask.writes() {
        return Ok(ask.passed(name, "the job doesn't write"));
    }
    if ask.session.facts.in_recovery {
        return Ok(ask
            .failed(name, Code::TargetReadOnly, "the server is a standby")
            .means("nothing can be written to a standby")
            .fix("name the primary in the URL, or make this one a primary: SELECT pg_promote()"));
    }
    if ask.setting("default_transaction_read_only").await? != "on" {
        return Ok(ask.passed(name, "the server is a primary that can be written to"));
    }
    // Whoever runs the fix may be under the same setting.
    let mut fixes = vec!["SET default_transaction_read_only = off".to_owned()];
    let sql = "SELECT 'ALTER ' || CASE WHEN s.setrole = 0 THEN format('DATABASE %I', d.datname) \
         WHEN s.setdatabase = 0 THEN format('ROLE %I', r.rolname) ELSE format('ROLE %I IN DATABASE \
         %I', r.rolname, d.datname) END || ' RESET default_transaction_read_only' FROM \
         pg_catalog.pg_db_role_setting s LEFT JOIN pg_catalog.pg_database d ON d.oid = \
         s.setdatabase LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole WHERE EXISTS (SELECT \
         FROM unnest(s.setconfig) c WHERE c ~ '^default_transaction_read_only=') AND (s.setdatabase \
         = 0 OR d.datname = current_database()) AND (s.setrole = 0 OR r.rolname = current_user)";
    let own: Vec<String> = ask.texts(sql).await?.into_iter().flatten().collect();
    match own.is_empty() {
        false => fixes.extend(own),
        true => fixes.extend([
            "ALTER SYSTEM SET default_transaction_read_only = off".to_owned(),
            "SELECT pg_reload_conf()".to_owned(),
        ]),
    }
    let found = "default_transaction_read_only is on";
    let check = ask
        .failed(name, Code::TargetReadOnly, found)
        .means("somebody wants nothing to be written there, and the job respects it");
    Ok(with_fixes(check, fixes))
}

/// Makes a table as the job would, and rolls it back.
async fn privileges(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "privileges";
    if !ask.writes() || ask.session.facts.in_recovery {
        return Ok(ask.passed(name, "nothing is made here"));
    }
    let schema = ask.host.schema.clone();
    let there = format!(
        "SELECT 'true' FROM pg_catalog.pg_namespace WHERE nspname = {}",
        text(&schema)
    );
    let there = ask.line(&there).await?.is(0);
    let make = match there {
        true => format!("CREATE TABLE {} (x int)", qualified(&schema, PROBE)),
        false => format!("CREATE SCHEMA {}", ident(&schema)),
    };
    ask.session.run("BEGIN").await?;
    let made = ask.session.run(&make).await;
    ask.session.run("ROLLBACK").await?;
    let failed = match made {
        Ok(_) => {
            let found = format!("tables can be made in schema {schema} (tried and rolled back)");
            return Ok(ask.passed(name, found));
        }
        Err(failed) => failed,
    };
    if failed.error.failure.code != Code::Privileges {
        return Err(failed.into());
    }
    let user = ident(&ask.host.link.user);
    let fix = match there {
        true => format!("GRANT CREATE, USAGE ON SCHEMA {} TO {user}", ident(&schema)),
        false => format!(
            "GRANT CREATE ON DATABASE {} TO {user}",
            ident(&ask.host.database)
        ),
    };
    Ok(ask
        .failed(name, Code::Privileges, failed.error.failure.what)
        .means("the job makes its tables there")
        .fix(fix))
}

/// Tables of the job's that are there already: whether the job may do with them what it says.
async fn existing(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "existing-tables";
    let Some((need, says, rights)) = wanted(ask) else {
        return Ok(ask.passed(name, "none is to be touched"));
    };
    let Some(list) = names(ask) else {
        return Ok(ask.passed(name, "none is to be touched"));
    };
    let sql = format!(
        "SELECT c.oid::regclass::text, pg_get_userbyid(c.relowner)::text FROM pg_catalog.pg_class c \
         WHERE c.oid = ANY (ARRAY(SELECT to_regclass(n) FROM unnest({list}) n)) AND NOT ({need}) \
         ORDER BY 1"
    );
    let rows = ask.texts(&sql).await?;
    if rows.is_empty() {
        return Ok(ask.passed(name, format!("the job may {says} those that are there")));
    }
    let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    let user = ident(&ask.host.link.user);
    let mut fixes = Vec::new();
    for row in &rows {
        fixes.push(match rights {
            "" => format!("ALTER TABLE {} OWNER TO {user}", cell(row, 0)),
            some => format!("GRANT {some} ON {} TO {user}", cell(row, 0)),
        });
    }
    let tables: Vec<String> = rows
        .iter()
        .map(|row| format!("{} of {}", cell(row, 0), cell(row, 1)))
        .collect();
    let found = format!("{user} may not {says} {}", listed(&tables));
    let check = ask
        .failed(name, Code::Privileges, found)
        .means("the job does that to every one of these tables");
    Ok(with_fixes(check, fixes))
}

/// What the job does to tables that are there: the right as a condition, in words, and the
/// privileges that give it (none = only an owner has it). None = it touches none.
fn wanted(ask: &Asker<'_>) -> Option<(&'static str, &'static str, &'static str)> {
    let read = "has_table_privilege(c.oid, 'SELECT')";
    match (&ask.request.spec.purpose, ask.request.spec.target_mode) {
        (Purpose::Verify(_), _) => Some((read, "read", "SELECT")),
        (Purpose::Repair(_), _) if !ask.writes() => Some((read, "read", "SELECT")),
        (Purpose::Repair(_), _) => Some((
            "has_table_privilege(c.oid, 'SELECT') AND has_table_privilege(c.oid, 'INSERT') AND \
             has_table_privilege(c.oid, 'UPDATE') AND has_table_privilege(c.oid, 'DELETE')",
            "mend",
            "SELECT, INSERT, UPDATE, DELETE",
        )),
        (Purpose::Migrate, TargetMode::RequireEmpty) => None,
        (Purpose::Migrate, TargetMode::Append) => Some((
            "has_table_privilege(c.oid, 'INSERT') AND has_table_privilege(c.oid, 'SELECT')",
            "add rows to",
            "INSERT, SELECT",
        )),
        (Purpose::Migrate, TargetMode::Truncate) => Some((
            "pg_has_role(c.relowner, 'USAGE') OR (has_table_privilege(c.oid, 'TRUNCATE') AND \
             has_table_privilege(c.oid, 'INSERT'))",
            "empty and fill",
            "",
        )),
        // Who owns the schema may drop what is in it.
        (Purpose::Migrate, TargetMode::Recreate) => Some((
            "pg_has_role(c.relowner, 'USAGE') OR EXISTS (SELECT FROM pg_catalog.pg_namespace n \
             WHERE n.oid = c.relnamespace AND pg_has_role(n.nspowner, 'USAGE'))",
            "drop",
            "",
        )),
    }
}

/// The job's tables as an array of text; None = there are none.
fn names(ask: &Asker<'_>) -> Option<String> {
    let tables = ask.request.tables.iter();
    let list: Vec<String> = tables.map(|table| text(&ask.sql_of(table))).collect();
    (!list.is_empty()).then(|| format!("ARRAY[{}]::text[]", list.join(", ")))
}

async fn replication_role(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "replication-role";
    if !ask.writes() {
        return Ok(ask.passed(name, "the job doesn't write"));
    }
    let tried = ask
        .session
        .run("SET session_replication_role = replica")
        .await;
    let failed = match tried {
        Ok(_) => {
            ask.session
                .run("SET session_replication_role = origin")
                .await?;
            let found = "session_replication_role can be set: triggers stay off while rows arrive";
            return Ok(ask.passed(name, found));
        }
        Err(failed) => failed,
    };
    if failed.error.failure.code != Code::Privileges {
        return Err(failed.into());
    }
    let user = ident(&ask.host.link.user);
    let fix = match ask.session.facts.version_num >= 150_000 {
        true => format!("GRANT SET ON PARAMETER session_replication_role TO {user}"),
        false => format!("ALTER ROLE {user} SUPERUSER"),
    };
    let found = format!("{user} may not set session_replication_role");
    Ok(ask
        .warning(name, Code::Privileges, found)
        .means(
            "triggers and foreign keys of tables that are there already act on the rows that \
             arrive; a job that follows stops at a table that has any",
        )
        .fix(fix))
}

async fn two_phase(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "two-phase";
    if !ask.writes() {
        return Ok(ask.passed(name, "the job doesn't write"));
    }
    let sql = "SELECT current_setting('max_prepared_transactions'), (SELECT count(*) FROM \
               pg_catalog.pg_prepared_xacts)::text";
    let line = ask.line(sql).await?;
    let (max, used) = (line.number(0), line.number(1));
    let found = match used {
        0 => format!("max_prepared_transactions is {max}"),
        some => format!("max_prepared_transactions is {max}, {some} of them in use"),
    };
    if max - used >= PREPARED_MIN {
        return Ok(ask.passed(name, found));
    }
    let means = match max {
        0 => {
            "a partition is held in an open transaction until its decision: if its worker dies \
              before, it is copied again"
        }
        _ => "so few partitions can be written at a time",
    };
    let more = (used + 64).max(64);
    Ok(ask
        .warning(name, Code::CheckFound, found)
        .means(means)
        .fix(format!(
            "ALTER SYSTEM SET max_prepared_transactions = {more}; -- then restart the server"
        )))
}

/// Event triggers act on the job's DDL; a table's own on rows, where they can't be turned off.
async fn triggers(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "triggers";
    let sql = "SELECT format('%I on %s', evtname, evtevent), format('ALTER EVENT TRIGGER %I \
               DISABLE', evtname) FROM pg_catalog.pg_event_trigger t WHERE evtenabled IN ('O', 'A') \
               AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.objid = t.oid AND \
               e.classid = 'pg_event_trigger'::regclass AND e.deptype = 'e')";
    let mut rows = ask.texts(sql).await?;
    if let Some(list) = names(ask) {
        // ALWAYS acts even where session_replication_role keeps the others off.
        let sql = format!(
            "SELECT format('%I of %s', g.tgname, g.tgrelid::regclass), format('ALTER TABLE %s \
             ENABLE TRIGGER %I', g.tgrelid::regclass, g.tgname) FROM pg_catalog.pg_trigger g WHERE \
             g.tgenabled IN ('A', 'R') AND NOT g.tgisinternal AND g.tgrelid = ANY (ARRAY(SELECT \
             to_regclass(n) FROM unnest({list}) n)) ORDER BY 1"
        );
        rows.extend(ask.texts(&sql).await?);
    }
    if rows.is_empty() || !ask.writes() {
        return Ok(ask.passed(name, "none would act on what the job does"));
    }
    let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    let found: Vec<String> = rows.iter().map(|row| cell(row, 0)).collect();
    let check = ask
        .warning(name, Code::CheckFound, listed(&found))
        .means("an event trigger acts on every table that the job makes, one that is ENABLE ALWAYS or REPLICA on every row: it may refuse or change it");
    Ok(with_fixes(check, rows.iter().map(|row| cell(row, 1))))
}

/// Sessions that hold a writer's lock on an ordinary table.
async fn foreign_writers(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "foreign-writers";
    let sql = "SELECT a.pid::text, coalesce(a.usename::text, ''), \
         coalesce(nullif(a.application_name, ''), 'no name'), min(c.oid::regclass::text) FROM \
         pg_catalog.pg_locks l JOIN pg_catalog.pg_class c ON c.oid = l.relation AND c.relkind IN \
         ('r', 'p') AND c.oid >= 16384 JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid WHERE \
         l.locktype = 'relation' AND l.granted AND l.database = (SELECT oid FROM \
         pg_catalog.pg_database WHERE datname = current_database()) AND l.pid <> pg_backend_pid() \
         AND coalesce(a.application_name, '') <> 'sterna' AND coalesce(a.backend_type, 'client \
         backend') = 'client backend' AND l.mode IN ('RowExclusiveLock', \
         'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') GROUP BY 1, 2, 3 ORDER \
         BY 1";
    let rows = ask.texts(sql).await?;
    if rows.is_empty() {
        return Ok(ask.passed(name, "nobody else is writing now"));
    }
    let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
    let found: Vec<String> = rows
        .iter()
        .map(|row| {
            let (pid, user, app) = (cell(row, 0), cell(row, 1), cell(row, 2));
            format!("session {pid} of {user} ({app}) writes to {}", cell(row, 3))
        })
        .collect();
    let check = ask.warning(name, Code::CheckFound, listed(&found)).means(
        "rows that others write make the two ends differ, and their locks make the job wait",
    );
    let ends = rows
        .iter()
        .map(|row| format!("SELECT pg_terminate_backend({})", cell(row, 0)));
    Ok(with_fixes(check, ends))
}

async fn durability(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "durability";
    let mut off = Vec::new();
    for setting in ["fsync", "full_page_writes"] {
        if ask.setting(setting).await? == "off" {
            off.push(setting);
        }
    }
    if off.is_empty() || !ask.writes() {
        // synchronous_commit is pinned in every session that writes.
        return Ok(ask.passed(name, "what is committed survives a crash"));
    }
    let fixes = off
        .iter()
        .map(|setting| format!("ALTER SYSTEM SET {setting} = on"))
        .chain(["SELECT pg_reload_conf()".to_owned()]);
    let check = ask
        .warning(name, Code::CheckFound, format!("off: {}", off.join(", ")))
        .means(
            "after a crash of the machine the whole target may be damaged, whatever was committed",
        );
    Ok(with_fixes(check, fixes))
}

/// The server says what is used, never what is free.
async fn space(ask: &mut Asker<'_>) -> Result<Check> {
    let wanted: u64 = ask
        .request
        .tables
        .iter()
        .map(|table| table.bytes_estimate)
        .sum();
    let sql = "SELECT pg_size_pretty(pg_database_size(current_database()))";
    let used = ask.line(sql).await?.text(0).to_owned();
    let found = format!(
        "the database has {used} now; about {} MiB are to come, with as much again for WAL and \
         indexes. PostgreSQL can't tell how much is free: look at its data directory with df",
        wanted.div_ceil(1 << 20)
    );
    Ok(ask.passed("space", found))
}
