//! Checks of a source that is to be followed: its log, its slots, and what of the tables isn't in
//! the log. The job finds the same out in `stream::facts`, all in one failure.

use common::check::Check;
use common::code::Code;

use super::super::quote::{ident, text};
use super::super::stream::facts;
use super::{Asker, Need, listed, with_fixes};
use crate::connector::Result;

/// WAL that a slot may hold back at the least.
const KEEP_MIN_MB: i64 = 1024;
/// Slots and senders a job uses.
const SLOTS_MIN: i64 = 1;

pub async fn run(ask: &mut Asker<'_>) -> Vec<Check> {
    let mut checks = Vec::new();
    // A standby's own log isn't read, and `read-only` has said so; most can't be asked of it.
    if ask.need() == Need::Nothing || ask.session.facts.in_recovery {
        let found = match ask.session.facts.in_recovery {
            true => "a standby is not followed",
            false => "the job doesn't read the log",
        };
        let names = ["log", "log-slots", "log-retention", "log-privileges"];
        let names = names.into_iter().chain(["storage", "keyless-tables"]);
        return names.map(|name| ask.passed(name, found)).collect();
    }
    let answer = level(ask).await;
    checks.push(ask.settled("log", answer).await);
    let answer = slots(ask).await;
    checks.push(ask.settled("log-slots", answer).await);
    let answer = retention(ask).await;
    checks.push(ask.settled("log-retention", answer).await);
    let answer = privileges(ask).await;
    checks.push(ask.settled("log-privileges", answer).await);
    let answer = storage(ask).await;
    checks.push(ask.settled("storage", answer).await);
    let answer = keyless_tables(ask).await;
    checks.push(ask.settled("keyless-tables", answer).await);
    checks
}

async fn level(ask: &mut Asker<'_>) -> Result<Check> {
    let level = ask.setting("wal_level").await?;
    let found = format!("wal_level is {level}");
    Ok(match level.as_str() {
        "logical" => ask.passed("log", found),
        _ => ask
            .unfollowable("log", found, "changes are not in the log as rows")
            .fix("ALTER SYSTEM SET wal_level = logical; -- then restart the server"),
    })
}

async fn slots(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "log-slots";
    let sql = "SELECT (SELECT count(*) FROM pg_catalog.pg_replication_slots)::text, \
         current_setting('max_replication_slots'), (SELECT count(*) FROM \
         pg_catalog.pg_stat_replication)::text, current_setting('max_wal_senders')";
    let line = ask.line(sql).await?;
    let mut found = Vec::new();
    let mut fixes = Vec::new();
    for (at, setting) in [(0, "max_replication_slots"), (2, "max_wal_senders")] {
        let (used, max) = (line.number(at), line.number(at + 1));
        if used + SLOTS_MIN > max {
            found.push(format!("all {max} of {setting} are in use"));
            let more = max + 5;
            fixes.push(format!(
                "ALTER SYSTEM SET {setting} = {more}; -- then restart the server"
            ));
        }
    }
    if found.is_empty() {
        let (slots, senders) = (
            line.number(1) - line.number(0),
            line.number(3) - line.number(2),
        );
        let found = format!("{slots} slots and {senders} senders are free");
        return Ok(ask.passed(name, found));
    }
    let check = ask.unfollowable(name, found.join("; "), "the log is read through a slot");
    Ok(with_fixes(check, fixes))
}

/// Slots that nobody reads hold the log back for ever; a limit takes it away from those who do.
async fn retention(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "log-retention";
    let sql = "SELECT slot_name::text, pg_size_pretty(pg_wal_lsn_diff(pg_current_wal_lsn(), \
         restart_lsn)) FROM pg_catalog.pg_replication_slots WHERE NOT active AND NOT temporary AND \
         restart_lsn IS NOT NULL AND slot_name !~ '^sterna_' ORDER BY 1";
    let idle = ask.texts(sql).await?;
    let keep = ask.setting("max_slot_wal_keep_size").await?;
    let keep_mb: i64 = keep.parse().unwrap_or(-1);
    let mut found = Vec::new();
    let mut fixes = Vec::new();
    let mut means = Vec::new();
    for slot in &idle {
        let (slot, held) = (
            slot.first().map_or("", String::as_str),
            slot.get(1).map_or("", String::as_str),
        );
        found.push(format!(
            "slot {slot} is not read and holds {held} of the log"
        ));
        fixes.push(format!(
            "SELECT pg_drop_replication_slot({})",
            text(slot).trim_start()
        ));
    }
    if !idle.is_empty() {
        means.push("a slot that nobody reads fills the disk of the source");
    }
    let bytes: u64 = ask
        .request
        .tables
        .iter()
        .map(|table| table.bytes_estimate)
        .sum();
    let wanted_mb = KEEP_MIN_MB.max(i64::try_from(bytes >> 22).unwrap_or(KEEP_MIN_MB));
    if (0..wanted_mb).contains(&keep_mb) {
        found.push(format!("max_slot_wal_keep_size is {keep_mb} MB"));
        means.push(
            "when so much was written while the job copies, the server takes the log away from \
             it, and all is to be copied again",
        );
        fixes.push(format!(
            "ALTER SYSTEM SET max_slot_wal_keep_size = '{wanted_mb}MB'"
        ));
        fixes.push("SELECT pg_reload_conf()".to_owned());
    }
    if found.is_empty() {
        let found = match keep_mb {
            -1 => "a slot keeps the log as long as it has to".to_owned(),
            some => format!("max_slot_wal_keep_size is {some} MB"),
        };
        return Ok(ask.passed(name, found));
    }
    let check = ask
        .warning(name, Code::LogLost, listed(&found))
        .means(means.join("; "));
    Ok(with_fixes(check, fixes))
}

async fn privileges(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "log-privileges";
    let sql = "SELECT (r.rolsuper OR r.rolreplication OR EXISTS (SELECT FROM pg_catalog.pg_roles x \
         WHERE x.rolname = 'rds_replication' AND pg_has_role(x.oid, 'MEMBER')))::text, \
         has_database_privilege(current_database(), 'CREATE')::text, r.rolname::text FROM \
         pg_catalog.pg_roles r WHERE r.rolname = current_user";
    let line = ask.line(sql).await?;
    let user = ident(line.text(2));
    let mut found = Vec::new();
    let mut fixes = Vec::new();
    if !line.is(0) {
        found.push(format!("{user} has not the attribute REPLICATION"));
        fixes.push(format!("ALTER ROLE {user} REPLICATION"));
    }
    if !line.is(1) {
        let database = ident(&ask.host.database);
        found.push(format!("{user} may not create a publication in {database}"));
        fixes.push(format!("GRANT CREATE ON DATABASE {database} TO {user}"));
    }
    let (host, tables) = (ask.host, &ask.request.tables);
    for relation in facts::relations(&mut ask.session, host, tables).await? {
        if relation.is_owner {
            continue;
        }
        let owner = ident(&relation.owner);
        found.push(format!("{} is {owner}'s", relation.name));
        let fix = format!("GRANT {owner} TO {user}");
        if !fixes.contains(&fix) {
            fixes.push(fix);
        }
    }
    if found.is_empty() {
        let found = "slot and publication may be made by this role";
        return Ok(ask.passed(name, found));
    }
    let why =
        "a slot needs REPLICATION, a publication CREATE on the database and the tables' owner";
    let check = ask.unfollowable(name, listed(&found), why);
    Ok(with_fixes(check, fixes))
}

async fn storage(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "storage";
    let (host, tables) = (ask.host, &ask.request.tables);
    let relations = facts::relations(&mut ask.session, host, tables).await?;
    let unlogged = relations.iter().filter(|one| one.persistence != "p");
    let unlogged: Vec<String> = unlogged.map(|one| one.name.clone()).collect();
    if unlogged.is_empty() {
        return Ok(ask.passed(name, "every table is in the log"));
    }
    let found = format!("unlogged: {}", listed(&unlogged));
    let check = ask.unfollowable(name, found, "changes of unlogged tables are not in the log");
    let fixes = unlogged
        .iter()
        .map(|table| format!("ALTER TABLE {table} SET LOGGED"));
    Ok(with_fixes(check, fixes))
}

/// What a change says about the row it is about: the key, if the replica identity is one.
async fn keyless_tables(ask: &mut Asker<'_>) -> Result<Check> {
    let name = "keyless-tables";
    let (host, tables) = (ask.host, &ask.request.tables);
    let mut found = Vec::new();
    let mut fixes = Vec::new();
    for relation in facts::relations(&mut ask.session, host, tables).await? {
        let Some(table) = tables.get(relation.at) else {
            continue;
        };
        // The log has nothing of an unlogged one whatever its identity: `storage` says so.
        if relation.persistence == "p"
            && let Some(lacks) = facts::identity_lacks(table, &relation)
        {
            found.push(lacks);
            fixes.push(format!(
                "ALTER TABLE {} REPLICA IDENTITY FULL",
                relation.name
            ));
        }
    }
    if !found.is_empty() {
        let why = "a change in the log must say which row it is about";
        let check = ask.unfollowable(name, listed(&found), why);
        return Ok(with_fixes(check, fixes));
    }
    let keyless = tables.iter().filter(|table| table.primary_key.is_empty());
    let found = match keyless.count() {
        0 => "every table has a key that the log names rows by".to_owned(),
        some => format!("{some} tables without a primary key have a replica identity that will do"),
    };
    Ok(ask.passed(name, found))
}
