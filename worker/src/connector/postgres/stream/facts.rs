//! Whether a server's log can be followed for some tables: what is in the way, and the statements
//! that change it. Changes nothing.

use common::code::{Code, Failure};
use common::plan::TablePlan;
use common::schema::{CellForm, Member, TableSchema};
use serde::Deserialize;

use super::super::inspect_sql::ask;
use super::super::quote::{ident, text};
use super::super::session::{Host, Session};
use super::feed;
use crate::connector::Result;

/// Tables that a message names one by one.
const NAMED_MAX: usize = 10;
/// Tables that one statement asks about.
const CHUNK: usize = 500;

#[derive(Debug, Deserialize)]
struct Server {
    wal_level: String,
    may_replicate: bool,
    may_create: bool,
    user: String,
    slots: i64,
    slots_max: i64,
    senders: i64,
    senders_max: i64,
}

/// A table that holds rows itself.
#[derive(Debug, Deserialize)]
pub struct Relation {
    /// Which of the tables it is, or is a partition of.
    pub at: usize,
    /// As SQL.
    pub name: String,
    pub persistence: String,
    /// `relreplident`.
    replica_identity: String,
    pub owner: String,
    pub is_owner: bool,
    /// The columns of an old row of which the log has the key only.
    identity: Option<Vec<String>>,
}

/// All that is in the way, in one failure; None = nothing.
pub async fn in_the_way(
    session: &mut Session,
    host: &Host,
    tables: &[TableSchema],
) -> Result<Option<Failure>> {
    if host.link.needs_tls && !host.link.host.starts_with('/') {
        return Ok(Some(feed::no_tls()));
    }
    let mut found = Found::default();
    if session.facts.version_num < 140_000 {
        let version = &session.facts.version;
        found.add(format!("PostgreSQL {version} is older than 14"), None);
        return Ok(found.failure(host));
    }
    if session.facts.in_recovery {
        let fix = "name the primary in the URL".to_owned();
        found.add("the server is a standby".to_owned(), Some(fix));
        return Ok(found.failure(host));
    }
    server(session, host, &mut found).await?;
    for relation in relations(session, host, tables).await? {
        if let Some(table) = tables.get(relation.at) {
            check(table, &relation, &mut found);
        }
    }
    Ok(found.failure(host))
}

async fn server(session: &mut Session, host: &Host, found: &mut Found) -> Result<()> {
    let sql = "SELECT current_setting('wal_level') AS wal_level, r.rolsuper OR r.rolreplication OR \
         EXISTS (SELECT FROM pg_catalog.pg_roles x WHERE x.rolname = 'rds_replication' AND \
         pg_has_role(x.oid, 'MEMBER')) AS may_replicate, \
         has_database_privilege(current_database(), 'CREATE') AS may_create, \
         current_user::text AS user, (SELECT count(*) FROM pg_catalog.pg_replication_slots) AS \
         slots, current_setting('max_replication_slots')::int8 AS slots_max, (SELECT count(*) FROM \
         pg_catalog.pg_stat_replication) AS senders, current_setting('max_wal_senders')::int8 AS \
         senders_max FROM pg_catalog.pg_roles r WHERE r.rolname = current_user";
    let server: Vec<Server> = ask(session, sql).await?;
    let Some(server) = server.into_iter().next() else {
        return Ok(());
    };
    let user = ident(&server.user);
    if server.wal_level != "logical" {
        let fix = "ALTER SYSTEM SET wal_level = logical; -- then restart the server";
        let what = format!("wal_level is {}, not logical", server.wal_level);
        found.add(what, Some(fix.to_owned()));
    }
    if !server.may_replicate {
        let what = format!("{} has not the attribute REPLICATION", server.user);
        found.add(what, Some(format!("ALTER ROLE {user} REPLICATION")));
    }
    if !server.may_create {
        let database = ident(&host.database);
        let what = format!("{} may not create a publication", server.user);
        let fix = format!("GRANT CREATE ON DATABASE {database} TO {user}");
        found.add(what, Some(fix));
    }
    for (what, setting, used, max) in [
        (
            "slots",
            "max_replication_slots",
            server.slots,
            server.slots_max,
        ),
        (
            "senders",
            "max_wal_senders",
            server.senders,
            server.senders_max,
        ),
    ] {
        if used >= max {
            let fix = format!(
                "ALTER SYSTEM SET {setting} = {}; -- then restart the server",
                max + 5
            );
            let what = format!("all replication {what} are in use ({setting} is {max})");
            found.add(what, Some(fix));
        }
    }
    Ok(())
}

/// The relations that hold the rows of `tables`.
pub async fn relations(
    session: &mut Session,
    host: &Host,
    tables: &[TableSchema],
) -> Result<Vec<Relation>> {
    let mut all = Vec::new();
    for (chunk, some) in tables.chunks(CHUNK).enumerate() {
        for mut relation in relations_of(session, host, some).await? {
            relation.at += chunk * CHUNK;
            all.push(relation);
        }
    }
    Ok(all)
}

async fn relations_of(
    session: &mut Session,
    host: &Host,
    tables: &[TableSchema],
) -> Result<Vec<Relation>> {
    let list: Vec<String> = tables
        .iter()
        .enumerate()
        .map(|(at, table)| {
            let schema = host.schema_of(table.schema.as_deref());
            format!("({at}, {}, {})", text(schema), text(&table.name))
        })
        .collect();
    // Rows are in the partitions: it is theirs that counts.
    let sql = format!(
        "SELECT v.at, format('%I.%I', n.nspname, c.relname) AS name, c.relpersistence::text AS \
         persistence, c.relreplident::text AS replica_identity, pg_get_userbyid(c.relowner)::text \
         AS owner, pg_has_role(c.relowner, 'USAGE') AS is_owner, (SELECT \
         array_agg(a.attname::text) FROM pg_index i JOIN pg_attribute a ON a.attrelid = \
         i.indrelid AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) AND \
         a.attgenerated = '' WHERE i.indrelid = c.oid AND i.indisvalid AND i.indimmediate AND CASE \
         c.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END) AS \
         identity FROM (VALUES {}) v(at, schema, name) JOIN pg_namespace t ON t.nspname = v.schema \
         JOIN pg_class r ON r.relnamespace = t.oid AND r.relname = v.name AND r.relkind IN ('r', \
         'p') CROSS JOIN LATERAL (SELECT r.oid AS oid WHERE r.relkind = 'r' UNION SELECT relid FROM \
         pg_partition_tree(r.oid) WHERE isleaf AND r.relkind = 'p') x JOIN pg_class c ON c.oid = \
         x.oid AND c.relkind = 'r' JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY v.at, \
         name",
        list.join(", ")
    );
    let mut relations: Vec<Relation> = ask(session, &sql).await?;
    let mut seen = std::collections::BTreeSet::new();
    // A partition comes with its root, and by itself if it is a table of the job.
    relations.retain(|relation| {
        let member = tables.get(relation.at).map(|table| table.member.as_ref());
        let by_root = member == Some(Some(&Member::Root));
        member.is_some() && seen.insert((relation.name.clone(), by_root))
    });
    Ok(relations)
}

fn check(table: &TableSchema, relation: &Relation, found: &mut Found) {
    let name = &relation.name;
    if relation.persistence != "p" {
        let fix = format!("ALTER TABLE {name} SET LOGGED; -- or exclude it");
        found.add(
            format!("{name} is unlogged: it is not in the log"),
            Some(fix),
        );
        return;
    }
    if !relation.is_owner {
        let what = format!(
            "{name} is {}'s: only an owner can publish it",
            relation.owner
        );
        let fix = format!("GRANT {} TO CURRENT_USER", ident(&relation.owner));
        found.add(what, Some(fix));
    }
    if let Some(lacks) = identity_lacks(table, relation) {
        let fix = format!("ALTER TABLE {name} REPLICA IDENTITY FULL");
        found.add(lacks, Some(fix));
    }
}

/// What the log's changes of it lack to say which row they are about; None = nothing.
pub fn identity_lacks(table: &TableSchema, relation: &Relation) -> Option<String> {
    if relation.replica_identity == "f" {
        return None;
    }
    let name = &relation.name;
    let key = key(table);
    let none = Vec::new();
    let identity = relation.identity.as_ref().unwrap_or(&none);
    if key.is_empty() || identity.is_empty() {
        return Some(format!(
            "{name} has no replica identity that is a key: once published, its own updates and \
             deletes would fail or not say which row they are about"
        ));
    }
    let holds = key.iter().all(|column| identity.contains(column));
    (!holds).then(|| {
        format!(
            "the replica identity of {name} ({}) does not hold its key ({})",
            identity.join(", "),
            key.join(", ")
        )
    })
}

/// What [`TablePlan::change_key`] says of a table without a rule.
fn key(table: &TableSchema) -> Vec<String> {
    let plan = TablePlan {
        source: table.clone(),
        shaped: None,
        target: table.clone(),
        form: CellForm::Native,
        split: common::partition::Split::Whole,
        columns: Vec::new(),
        rule: None,
    };
    plan.change_key()
}

#[derive(Debug, Default)]
struct Found {
    what: Vec<String>,
    fixes: Vec<String>,
}

impl Found {
    fn add(&mut self, what: String, fix: Option<String>) {
        self.what.push(what);
        self.fixes.extend(fix);
    }

    fn failure(mut self, host: &Host) -> Option<Failure> {
        if self.what.is_empty() {
            return None;
        }
        let more = self.what.len().saturating_sub(NAMED_MAX);
        self.what.truncate(NAMED_MAX);
        let mut what = format!("{}: {}", host.name, self.what.join("; "));
        if more > 0 {
            what.push_str(&format!("; and {more} more of the kind"));
        }
        let mut failure = Failure::new(Code::LogUnusable, what);
        failure.fixes = self.fixes;
        Some(failure)
    }
}
