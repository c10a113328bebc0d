//! The catalogue's queries about tables. Names relative to the search path come from the server's
//! own `reg…` types; a row of each answer is one JSON object.

use serde::de::DeserializeOwned;

use super::session::Session;
use crate::connector::{Error, Result};
use common::code::Code;
use common::limits;

/// Asks and reads each row as a `T` by its columns' names.
pub async fn ask<T: DeserializeOwned>(session: &mut Session, sql: &str) -> Result<Vec<T>> {
    let sql = format!("SELECT pg_catalog.row_to_json(answer)::text FROM ({sql}) AS answer");
    let rows = session
        .rows_within(&sql, limits::CATALOG_DEADLINE_MS)
        .await?;
    let mut read = Vec::with_capacity(rows.len());
    for row in rows {
        let json = row.into_iter().next().flatten().unwrap_or_default();
        let item = serde_json::from_str(&json).map_err(|error| {
            let what = format!("an answer of the catalogue is not as expected: {error}");
            Error::permanent(Code::Internal, what)
        })?;
        read.push(item);
    }
    Ok(read)
}

/// Which schemas are looked at, as a condition on `n.nspname`.
pub const SCHEMAS: &str = "n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND \
     n.nspname <> 'sterna'";

/// A condition: `oid` of the catalogue table `class` isn't made by an extension.
pub fn own(class: &str, oid: &str) -> String {
    format!(
        "NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = '{class}'::regclass AND e.objid = \
         {oid} AND e.deptype = 'e')"
    )
}

/// `WITH (…)`'s inside for an array of options; NULL when there are none.
pub fn options(array: &str, prefix: &str) -> String {
    format!(
        "(SELECT string_agg(format('{prefix}%I=%L', o.option_name, o.option_value), ', ') FROM \
         pg_options_to_table({array}) o)"
    )
}

/// The names of the columns with the numbers in `array`, of relation `relation`.
fn names(array: &str, relation: &str) -> String {
    format!(
        "(SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest({array}) WITH ORDINALITY \
         AS k(number, n) JOIN pg_attribute a ON a.attrelid = {relation} AND a.attnum = k.number)"
    )
}

/// Every ordinary and partitioned table.
pub fn relations() -> String {
    format!(
        "SELECT c.oid::int8, n.nspname AS schema, c.relname AS name, c.oid::regclass::text AS sql, \
         c.relkind = 'p' AS root, c.relispartition AS partition, c.relpersistence = 'u' AS \
         unlogged, greatest(c.reltuples, 0)::int8 AS rows, \
         CASE c.relkind WHEN 'r' THEN pg_table_size(c.oid) ELSE (SELECT \
         coalesce(sum(pg_table_size(p.relid)), 0)::int8 FROM pg_partition_tree(c.oid) p WHERE \
         p.isleaf AND p.relid <> c.oid) END AS bytes, \
         CASE c.relkind WHEN 'p' THEN (SELECT coalesce(sum(greatest(l.reltuples, 0)), 0)::int8 \
         FROM pg_partition_tree(c.oid) p JOIN pg_class l ON l.oid = p.relid WHERE p.isleaf) \
         ELSE 0 END AS leaf_rows, \
         c.relreplident AS identity, CASE WHEN am.amname <> 'heap' THEN am.amname END AS method, \
         CASE c.relkind WHEN 'p' THEN pg_get_partkeydef(c.oid) END AS key, \
         pg_get_expr(c.relpartbound, c.oid) AS bound, \
         coalesce((SELECT array_agg(i.inhparent::int8 ORDER BY i.inhseqno) FROM pg_inherits i \
         WHERE i.inhrelid = c.oid), '{{}}') AS parents, \
         CASE WHEN c.reloftype <> 0 THEN format_type(c.reloftype, NULL) END AS of_type, \
         concat_ws(', ', {}, {}) AS options, obj_description(c.oid, 'pg_class') AS comment \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_am am ON am.oid = c.relam LEFT JOIN pg_class t ON t.oid = c.reltoastrelid \
         WHERE c.relkind IN ('r', 'p') AND {SCHEMAS} AND c.relname NOT IN ('sterna_fence', \
         'sterna_ledger', 'sterna_follow') AND {} ORDER BY n.nspname <> current_schema(), n.nspname, c.relname",
        options("c.reloptions", ""),
        options("t.reloptions", "toast."),
        own("pg_class", "c.oid")
    )
}

/// The columns of all relations, or of one.
pub fn columns(only: Option<&str>) -> String {
    let which = match only {
        Some(relation) => format!("a.attrelid = {relation}"),
        None => format!("c.relkind IN ('r', 'p') AND {SCHEMAS}"),
    };
    format!(
        "SELECT a.attrelid::int8 AS relation, a.attname AS name, format_type(a.atttypid, \
         a.atttypmod) AS type, a.attnotnull AS not_null, pg_get_expr(d.adbin, d.adrelid) AS \
         expression, a.attidentity AS identity, a.attgenerated AS generated, CASE WHEN \
         a.attcollation <> t.typcollation AND a.attcollation <> 0 THEN \
         a.attcollation::regcollation::text END AS collation, a.attislocal AS local, \
         col_description(a.attrelid, a.attnum) AS comment, CASE WHEN a.attstorage <> t.typstorage \
         THEN CASE a.attstorage WHEN 'p' THEN 'PLAIN' WHEN 'e' THEN 'EXTERNAL' WHEN 'm' THEN \
         'MAIN' ELSE 'EXTENDED' END END AS storage, CASE a.attcompression WHEN 'p' THEN 'pglz' \
         WHEN 'l' THEN 'lz4' END AS compression, nullif(a.attstattarget, -1)::int8 AS statistics, \
         {} AS options, b.oid::int8 AS base, b.typname AS base_name, b.typtype AS base_type, \
         b.typnamespace = 'pg_catalog'::regnamespace AS builtin, coalesce(bases.typmod, \
         a.atttypmod)::int8 AS typmod, s.seqrelid::int8 AS sequence, \
         s.seqrelid::regclass::text AS sequence_sql, s.seqstart::text AS seq_start, \
         s.seqincrement::text AS seq_increment, s.seqmin::text AS seq_min, s.seqmax::text AS \
         seq_max, s.seqcache::text AS seq_cache, s.seqcycle AS seq_cycle \
         FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid \
         LEFT JOIN (WITH RECURSIVE d AS (SELECT oid, typbasetype AS base, typtypmod AS typmod FROM \
         pg_type WHERE typtype = 'd' UNION ALL SELECT d.oid, u.typbasetype, u.typtypmod FROM d \
         JOIN pg_type u ON u.oid = d.base AND u.typtype = 'd') SELECT d.* FROM d JOIN pg_type u ON \
         u.oid = d.base AND u.typtype <> 'd') bases ON bases.oid = a.atttypid \
         JOIN pg_type b ON b.oid = coalesce(bases.base, a.atttypid) \
         LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         LEFT JOIN LATERAL (SELECT q.* FROM pg_depend o JOIN pg_sequence q ON q.seqrelid = o.objid \
         WHERE o.classid = 'pg_class'::regclass AND o.refclassid = 'pg_class'::regclass AND \
         o.refobjid = a.attrelid AND o.refobjsubid = a.attnum AND o.deptype IN ('a', 'i') \
         ORDER BY o.deptype DESC, q.seqrelid LIMIT 1) s ON true \
         WHERE {which} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum",
        options("a.attoptions", "")
    )
}

/// The labels of every enum type, in order.
pub const LABELS: &str = "SELECT enumtypid::int8 AS type, array_agg(enumlabel::text ORDER BY \
     enumsortorder) AS labels FROM pg_enum GROUP BY enumtypid";

/// Primary keys, checks and foreign keys of all tables.
pub fn constraints() -> String {
    format!(
        "SELECT c.conrelid::int8 AS relation, c.conname AS name, c.contype AS type, \
         pg_get_constraintdef(c.oid) AS definition, c.convalidated AS valid, c.conislocal AS \
         local, {} AS columns, rn.nspname AS references_schema, r.relname AS references_table, \
         {} AS references_columns, c.confdeltype AS on_delete, c.confupdtype AS on_update, \
         {} AS options \
         FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid \
         JOIN pg_namespace n ON n.oid = t.relnamespace \
         LEFT JOIN pg_class r ON r.oid = c.confrelid \
         LEFT JOIN pg_namespace rn ON rn.oid = r.relnamespace \
         LEFT JOIN pg_class i ON i.oid = c.conindid AND c.contype = 'p' \
         WHERE c.contype IN ('p', 'c', 'f') AND (c.contype <> 'f' OR c.conparentid = 0) AND \
         t.relkind IN ('r', 'p') AND {SCHEMAS} ORDER BY c.conrelid, c.conname",
        names("c.conkey", "c.conrelid"),
        names("c.confkey", "c.confrelid"),
        options("i.reloptions", "")
    )
}

/// CREATE INDEX as the server prints it, with the table's name relative to the search path. `i`,
/// `x`, `t`, `n` are the rows of pg_index, of the index, of its table and of the table's schema.
pub fn index_definition(i: &str, x: &str, t: &str, n: &str) -> String {
    let definition = format!("pg_get_indexdef({i}.indexrelid)");
    let start = format!(
        "format('CREATE %sINDEX %I ON %s', CASE WHEN {i}.indisunique THEN 'UNIQUE ' ELSE '' END, \
         {x}.relname, CASE WHEN {t}.relkind = 'p' THEN 'ONLY ' ELSE '' END)"
    );
    let whole = format!("{start} || format('%I.%I ', {n}.nspname, {t}.relname)");
    format!(
        "CASE WHEN starts_with({definition}, {whole}) THEN {start} || {t}.oid::regclass || ' ' || \
         substr({definition}, length({whole}) + 1) ELSE {definition} END"
    )
}

/// Every index but those of primary keys. `columns` only when they say everything.
pub fn indexes() -> String {
    format!(
        "SELECT i.indrelid::int8 AS relation, ic.relname AS name, ic.oid::regclass::text AS sql, \
         i.indisunique OR i.indisexclusion AS unique, i.indisvalid OR t.relkind = 'p' AS valid, \
         {} AS definition, \
         CASE WHEN k.oid IS NOT NULL THEN format('ALTER TABLE ONLY %s ADD CONSTRAINT %I %s', \
         t.oid::regclass, k.conname, pg_get_constraintdef(k.oid)) END AS constraint, \
         {} AS options, (SELECT h.inhparent::regclass::text FROM pg_inherits h WHERE h.inhrelid = \
         i.indexrelid) AS parent, \
         CASE WHEN am.amname = 'btree' AND i.indpred IS NULL AND i.indexprs IS NULL AND \
         i.indnatts = i.indnkeyatts AND ic.reloptions IS NULL AND NOT \
         coalesce(k.condeferrable, false) AND \
         NOT coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false) AND NOT EXISTS \
         (SELECT FROM generate_series(0, i.indnatts - 1) g JOIN pg_attribute a ON a.attrelid = \
         i.indrelid AND a.attnum = i.indkey[g] JOIN pg_opclass o ON o.oid = i.indclass[g] WHERE \
         NOT o.opcdefault OR i.indoption[g] NOT IN (0, 3) OR i.indcollation[g] <> a.attcollation) \
         THEN (SELECT json_agg(json_build_object('name', a.attname, 'descending', i.indoption[g] = \
         3) ORDER BY g) FROM generate_series(0, i.indnatts - 1) g JOIN pg_attribute a ON \
         a.attrelid = i.indrelid AND a.attnum = i.indkey[g]) END AS columns \
         FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid JOIN pg_class t ON t.oid = \
         i.indrelid JOIN pg_namespace n ON n.oid = t.relnamespace JOIN pg_am am ON am.oid = \
         ic.relam LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('u', \
         'x') AND k.conrelid = i.indrelid \
         WHERE NOT i.indisprimary AND t.relkind IN ('r', 'p') AND {SCHEMAS} \
         ORDER BY i.indrelid, k.oid IS NULL, ic.oid",
        index_definition("i", "ic", "t", "n"),
        options("CASE WHEN k.oid IS NOT NULL THEN ic.reloptions END", "")
    )
}
