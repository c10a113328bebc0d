//! What a database holds besides its tables, with the statements that make it. Read at the source
//! to be carried, and at the target to know what is there.

use std::collections::BTreeSet;

use common::schema::{ObjectStage, SchemaObject};
use serde::Deserialize;

use super::inspect_sql::{SCHEMAS, ask, own};
use super::objects_after;
use super::objects_sql::{self, PLAIN};
use super::quote::text;
use super::session::Session;
use crate::connector::Result;

/// Names of one kind that are shown.
const NAMES_SHOWN_MAX: i64 = 10;

#[derive(Debug, Deserialize)]
struct ObjectRow {
    kind: String,
    name: String,
    relation: Option<u32>,
    own: Option<u32>,
    at: Option<u32>,
    needs: Option<Vec<u32>>,
    statements: Vec<String>,
    undo: Vec<String>,
}

/// An object with the relations it is about.
#[derive(Debug)]
pub struct Found {
    pub object: SchemaObject,
    /// The table or view it belongs to.
    relation: Option<u32>,
    /// The view it is.
    own: Option<u32>,
    /// What the view reads.
    needs: Vec<u32>,
    /// Grows with the time it was made.
    at: u32,
}

#[derive(Debug, Deserialize)]
struct SequenceRow {
    name: String,
    relation: Option<u32>,
    identity: bool,
}

#[derive(Debug, Deserialize)]
struct ValueRow {
    last_value: i64,
    is_called: bool,
}

#[derive(Debug, Deserialize)]
struct NoteRow {
    kind: String,
    count: u64,
    names: String,
}

/// All objects, in an order that mostly works; a few attempts find the rest of it.
pub async fn read(session: &mut Session) -> Result<Vec<Found>> {
    let mut found = Vec::new();
    for group in objects_sql::before_tables() {
        let mut made = Vec::new();
        for sql in group {
            read_into(&mut made, session, &sql, ObjectStage::BeforeTables).await?;
        }
        made.sort_by_key(|found| found.at);
        found.append(&mut made);
    }
    values(&mut found, session).await?;
    for sql in objects_after::after_data() {
        read_into(&mut found, session, &sql, ObjectStage::AfterData).await?;
    }
    Ok(found)
}

/// The sequences' values as they are now, as [`read`] gives them.
pub async fn current_values(session: &mut Session) -> Result<Vec<SchemaObject>> {
    let mut found = Vec::new();
    values(&mut found, session).await?;
    Ok(found.into_iter().map(|found| found.object).collect())
}

async fn read_into(
    found: &mut Vec<Found>,
    session: &mut Session,
    sql: &str,
    stage: ObjectStage,
) -> Result<()> {
    let rows: Vec<ObjectRow> = ask(session, sql).await?;
    found.extend(rows.into_iter().map(|row| Found {
        object: SchemaObject {
            kind: row.kind,
            name: row.name,
            stage,
            statements: row.statements,
            undo: row.undo,
        },
        relation: row.relation,
        own: row.own,
        needs: row.needs.unwrap_or_default(),
        at: row.at.unwrap_or(0),
    }));
    Ok(())
}

/// The value of every sequence, identity columns' too.
async fn values(found: &mut Vec<Found>, session: &mut Session) -> Result<()> {
    let sql = format!(
        "SELECT c.oid::regclass::text AS name, d.refobjid::int8 AS relation, coalesce(d.deptype = \
         'i', false) AS identity FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND \
         d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') \
         WHERE c.relkind = 'S' AND {SCHEMAS} AND {} ORDER BY c.oid",
        own("pg_class", "c.oid")
    );
    let sequences: Vec<SequenceRow> = ask(session, &sql).await?;
    for some in sequences.chunks(100) {
        let each = some.iter().enumerate();
        let each = each.map(|(at, sequence)| {
            let name = &sequence.name;
            format!("SELECT {at} AS at, last_value, is_called FROM {name}")
        });
        let union: Vec<String> = each.collect();
        let sql = format!("{} ORDER BY at", union.join(" UNION ALL "));
        let rows: Vec<ValueRow> = ask(session, &sql).await?;
        let both = some.iter().zip(rows);
        found.extend(both.map(|(sequence, value)| value_of(sequence, &value)));
    }
    Ok(())
}

fn value_of(sequence: &SequenceRow, value: &ValueRow) -> Found {
    let name = text(&sequence.name);
    let set = format!("{}, {}", value.last_value, value.is_called);
    // A table that isn't made as it was may have another sequence: the index task sets that one.
    let statement = match sequence.identity {
        true => format!(
            "SELECT pg_catalog.setval(s, {set}) FROM pg_catalog.to_regclass({name}) AS s WHERE s \
             IS NOT NULL"
        ),
        false => format!("SELECT pg_catalog.setval({name}, {set})"),
    };
    Found {
        object: SchemaObject {
            kind: "value of sequence".to_owned(),
            name: sequence.name.clone(),
            stage: ObjectStage::AfterData,
            statements: vec![statement],
            undo: Vec::new(),
        },
        // A sequence that isn't an identity's is made whether or not its table is.
        relation: sequence.relation.filter(|_| sequence.identity),
        own: None,
        needs: Vec::new(),
        at: 0,
    }
}

/// Takes out what is about tables that aren't copied, directly or through views, and says so.
pub fn without(found: Vec<Found>, left_out: &[u32], notes: &mut Vec<String>) -> Vec<SchemaObject> {
    let mut gone: BTreeSet<u32> = left_out.iter().copied().collect();
    let touches = |item: &Found, gone: &BTreeSet<u32>| {
        let mut relations = item.relation.iter().chain(&item.needs);
        relations.any(|oid| gone.contains(oid))
    };
    // A view may read a view that comes later in the list.
    loop {
        let views = found.iter().filter(|item| touches(item, &gone));
        let more: Vec<u32> = views
            .filter_map(|item| item.own)
            .filter(|oid| !gone.contains(oid))
            .collect();
        if more.is_empty() {
            break;
        }
        gone.extend(more);
    }
    let mut kept = Vec::with_capacity(found.len());
    for item in found {
        if touches(&item, &gone) {
            let (kind, name) = (&item.object.kind, &item.object.name);
            notes.push(format!(
                "{kind} {name} is left out: it is about a table that is not copied"
            ));
        } else {
            kept.push(item.object);
        }
    }
    kept
}

/// One line for each kind of thing that is there and isn't carried.
pub async fn not_carried(session: &mut Session, notes: &mut Vec<String>) -> Result<()> {
    let kinds: Vec<NoteRow> = ask(session, &kinds_not_carried()).await?;
    for NoteRow { kind, count, names } in kinds {
        let more = match u64::try_from(NAMES_SHOWN_MAX) {
            Ok(shown) if count > shown => format!(" and {} more", count - shown),
            _ => String::new(),
        };
        notes.push(format!("not carried: {kind} {names}{more}"));
    }
    let objects = session
        .cell("SELECT count(*)::text FROM pg_largeobject_metadata")
        .await?;
    if let Some(count) = objects.filter(|count| count != "0") {
        notes.push(format!(
            "{count} large objects are not copied: columns that hold their numbers are, as numbers"
        ));
    }
    let roles = "SELECT string_agg(DISTINCT quote_ident(r.rolname), ', ') FROM pg_policy p JOIN \
                 pg_roles r ON r.oid = ANY (p.polroles)";
    if let Some(roles) = session.cell(roles).await? {
        notes.push(format!(
            "policies are about roles that must be at the target: {roles}"
        ));
    }
    notes.push(
        "roles, owners, privileges, tablespaces and settings of the database are not carried: what \
         is made belongs to the target's user"
            .to_owned(),
    );
    Ok(())
}

fn kinds_not_carried() -> String {
    let scoped = |kind: &str, class: &str, prefix: &str, rest: &str| {
        let own = own(class, "x.oid");
        format!(
            "SELECT '{kind}' AS kind, x.{prefix}name::text AS name FROM {class} x JOIN \
             pg_namespace n ON n.oid = x.{prefix}namespace WHERE {SCHEMAS} AND {own}{rest}"
        )
    };
    let aggregate = format!(
        " AND x.prokind = 'a' AND NOT EXISTS (SELECT FROM pg_aggregate g, pg_proc p WHERE \
         g.aggfnoid = x.oid AND p.oid = x.oid AND {PLAIN})"
    );
    let range = " AND x.typtype = 'r' AND EXISTS (SELECT FROM pg_range r WHERE r.rngtypid = x.oid \
                 AND r.rngcanonical <> 0)";
    let base = " AND x.typtype = 'b' AND x.typelem = 0";
    let mut queries = vec![
        scoped("foreign table", "pg_class", "rel", " AND x.relkind = 'f'"),
        scoped("base type", "pg_type", "typ", base),
        scoped(
            "range type with a canonical function",
            "pg_type",
            "typ",
            range,
        ),
        scoped("aggregate", "pg_proc", "pro", &aggregate),
        scoped("operator", "pg_operator", "opr", ""),
        scoped("operator class", "pg_opclass", "opc", ""),
        scoped("operator family", "pg_opfamily", "opf", ""),
        scoped("conversion", "pg_conversion", "con", ""),
        scoped("text search configuration", "pg_ts_config", "cfg", ""),
        scoped("text search dictionary", "pg_ts_dict", "dict", ""),
        scoped("text search parser", "pg_ts_parser", "prs", ""),
        scoped("text search template", "pg_ts_template", "tmpl", ""),
    ];
    queries.extend(global_kinds());
    format!(
        "SELECT kind, count(*) AS count, (array_to_string((array_agg(name ORDER BY name))\
         [1:{NAMES_SHOWN_MAX}], ', ')) AS names FROM ({}) AS things(kind, name) GROUP BY kind \
         ORDER BY kind",
        queries.join(" UNION ALL ")
    )
}

/// What belongs to no schema.
fn global_kinds() -> Vec<String> {
    let global = |kind: &str, class: &str, name: &str, rest: &str| {
        let own = own(class, "x.oid");
        format!(
            "SELECT '{kind}', {name} FROM {class} x WHERE x.oid >= 16384 AND {own}{rest} AND NOT EXISTS \
             (SELECT FROM pg_depend i WHERE i.classid = '{class}'::regclass AND i.objid = x.oid \
             AND i.deptype = 'i')"
        )
    };
    vec![
        global(
            "cast",
            "pg_cast",
            "format('(%s AS %s)', format_type(x.castsource, NULL), format_type(x.casttarget, NULL))",
            "",
        ),
        global("language", "pg_language", "x.lanname::text", ""),
        global(
            "foreign data wrapper",
            "pg_foreign_data_wrapper",
            "x.fdwname::text",
            "",
        ),
        global("foreign server", "pg_foreign_server", "x.srvname::text", ""),
        global("publication", "pg_publication", "x.pubname::text", ""),
        global(
            "subscription",
            "pg_subscription",
            "x.subname::text",
            " AND x.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())",
        ),
        global("event trigger", "pg_event_trigger", "x.evtname::text", ""),
        global("access method", "pg_am", "x.amname::text", ""),
        global(
            "transform",
            "pg_transform",
            "format_type(x.trftype, NULL)",
            "",
        ),
    ]
}
