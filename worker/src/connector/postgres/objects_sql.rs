//! The catalogue's queries about what tables may need: types, sequences, functions, …. Each answers with `kind`, `name`, `relation`
//! (the table it belongs to), `own` (its own relation), `needs` (relations it reads), `statements`
//! and `undo`. The statements are written by the server, so that its own quoting and its own
//! printing of expressions are used throughout.

use super::inspect_sql::{SCHEMAS, own};

/// Without the schema where that is the default one.
pub fn relative(text: &str, start: &str, schema: &str) -> String {
    let prefix = format!("'{start}' || quote_ident({schema}) || '.'");
    format!(
        "CASE WHEN {schema} = current_schema() AND starts_with({text}, {prefix}) THEN '{start}' || \
         substr({text}, length({prefix}) + 1) ELSE {text} END"
    )
}

/// COMMENT ON, or NULL.
pub fn comment(on: &str, name: &str, description: &str) -> String {
    format!(
        "CASE WHEN {description} IS NOT NULL THEN format('COMMENT ON {on} %s IS %L', {name}, \
         {description}) END"
    )
}

/// One query of the usual form.
pub fn object(kind: &str, name: &str, relation: &str, statements: &[&str], undo: &str) -> String {
    let statements = statements.join(", ");
    let undo = match undo {
        "" => "'{}'::text[]".to_owned(),
        undo => format!("ARRAY[{undo}]"),
    };
    format!(
        "{kind} AS kind, {name} AS name, {relation}::int8 AS relation, array_remove(ARRAY[\
         {statements}]::text[], NULL) AS statements, {undo} AS undo"
    )
}

pub fn namespaced(class: &str, alias: &str, namespace: &str) -> String {
    let own = own(class, &format!("{alias}.oid"));
    format!("JOIN pg_namespace n ON n.oid = {alias}.{namespace} WHERE {SCHEMAS} AND {own}")
}

/// What tables may need: group after group, within each by `at`, which is the order in which the
/// source made them.
pub fn before_tables() -> Vec<Vec<String>> {
    let mut made = types();
    made.extend([domains(), sequences(), functions(), aggregates()]);
    vec![
        vec![schemas()],
        vec![extensions()],
        vec![collations()],
        made,
    ]
}

fn schemas() -> String {
    let name = "quote_ident(n.nspname)";
    let create = format!("'CREATE SCHEMA IF NOT EXISTS ' || {name}");
    let comment = comment("SCHEMA", name, "obj_description(n.oid, 'pg_namespace')");
    format!(
        "SELECT {}, n.oid::int8 AS at FROM pg_namespace n WHERE {SCHEMAS} AND n.nspname <> 'public' AND n.nspname <> \
         current_schema() AND {} ORDER BY n.oid",
        object("'schema'", name, "NULL", &[&create, &comment], ""),
        own("pg_namespace", "n.oid")
    )
}

fn extensions() -> String {
    let create = "'CREATE EXTENSION IF NOT EXISTS ' || quote_ident(x.extname) || CASE WHEN \
         n.nspname = current_schema() OR n.nspname = 'pg_catalog' THEN '' ELSE ' WITH SCHEMA ' || \
         quote_ident(n.nspname) END";
    format!(
        "SELECT {}, x.oid::int8 AS at FROM pg_extension x JOIN pg_namespace n ON n.oid = x.extnamespace WHERE \
         x.extname <> 'plpgsql' ORDER BY x.oid",
        object("'extension'", "x.extname::text", "NULL", &[create], "")
    )
}

fn collations() -> String {
    let name = "c.oid::regcollation::text";
    let locale = "coalesce(to_jsonb(c) ->> 'colllocale', to_jsonb(c) ->> 'colliculocale', \
                  c.collcollate)";
    let create = format!(
        "format('CREATE COLLATION %s (provider = %s, %s, deterministic = %s%s)', {name}, CASE \
         c.collprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END, CASE WHEN \
         c.collprovider = 'c' AND c.collcollate <> c.collctype THEN format('lc_collate = %L, \
         lc_ctype = %L', c.collcollate, c.collctype) ELSE format('locale = %L', {locale}) END, \
         c.collisdeterministic::text, ', rules = ' || quote_literal(to_jsonb(c) ->> \
         'collicurules'))"
    );
    let comment = comment("COLLATION", name, "obj_description(c.oid, 'pg_collation')");
    let undo = format!("'DROP COLLATION IF EXISTS ' || {name}");
    format!(
        "SELECT {}, c.oid::int8 AS at FROM pg_collation c {} ORDER BY c.oid",
        object("'collation'", name, "NULL", &[&create, &comment], &undo),
        namespaced("pg_collation", "c", "collnamespace")
    )
}

/// Enums, composite types and ranges.
fn types() -> Vec<String> {
    let name = "format_type(t.oid, NULL)";
    let comment = comment("TYPE", name, "obj_description(t.oid, 'pg_type')");
    let undo = format!("'DROP TYPE IF EXISTS ' || {name}");
    let labels = format!(
        "format('CREATE TYPE %s AS ENUM (%s)', {name}, (SELECT string_agg(quote_literal(\
         e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid))"
    );
    let fields = format!(
        "format('CREATE TYPE %s AS (%s)', {name}, (SELECT string_agg(format('%I %s', a.attname, \
         format_type(a.atttypid, a.atttypmod)) || CASE WHEN a.attcollation <> u.typcollation AND \
         a.attcollation <> 0 THEN ' COLLATE ' || a.attcollation::regcollation ELSE '' END, ', ' \
         ORDER BY a.attnum) FROM pg_attribute a JOIN pg_type u ON u.oid = a.atttypid WHERE \
         a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped))"
    );
    let range = format!(
        "format('CREATE TYPE %s AS RANGE (%s)', {name}, concat_ws(', ', 'subtype = ' || \
         format_type(r.rngsubtype, NULL), CASE WHEN NOT o.opcdefault THEN format('subtype_opclass \
         = %I.%I', oc.nspname, o.opcname) END, CASE WHEN r.rngcollation <> 0 AND r.rngcollation <> \
         u.typcollation THEN 'collation = ' || r.rngcollation::regcollation END, CASE WHEN \
         r.rngsubdiff <> 0 THEN 'subtype_diff = ' || r.rngsubdiff::regproc END, \
         'multirange_type_name = ' || format_type(r.rngmultitypid, NULL)))"
    );
    let condition = namespaced("pg_type", "t", "typnamespace");
    let of = |create: &str, from: &str, which: &str| {
        format!(
            "SELECT {}, t.oid::int8 AS at FROM pg_type t {from} {condition} AND {which} ORDER BY t.oid",
            object("'type'", name, "NULL", &[create, &comment], &undo)
        )
    };
    vec![
        of(&labels, "", "t.typtype = 'e'"),
        of(
            &fields,
            "JOIN pg_class c ON c.oid = t.typrelid AND c.relkind = 'c'",
            "t.typtype = 'c'",
        ),
        of(
            &range,
            "JOIN pg_range r ON r.rngtypid = t.oid JOIN pg_type u ON u.oid = r.rngsubtype JOIN \
             pg_opclass o ON o.oid = r.rngsubopc JOIN pg_namespace oc ON oc.oid = o.opcnamespace",
            "t.typtype = 'r' AND r.rngcanonical = 0",
        ),
    ]
}

fn domains() -> String {
    let name = "format_type(t.oid, NULL)";
    let create = format!(
        "concat_ws(' ', 'CREATE DOMAIN ' || {name}, 'AS ' || format_type(t.typbasetype, \
         t.typtypmod), CASE WHEN t.typcollation <> u.typcollation AND t.typcollation <> 0 THEN \
         'COLLATE ' || t.typcollation::regcollation END, 'DEFAULT ' || pg_get_expr(\
         t.typdefaultbin, 0), CASE WHEN t.typnotnull THEN 'NOT NULL' END, (SELECT string_agg(\
         format('CONSTRAINT %I %s', k.conname, pg_get_constraintdef(k.oid)), ' ' ORDER BY \
         k.conname) FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c' AND \
         k.convalidated))"
    );
    let comment = comment("DOMAIN", name, "obj_description(t.oid, 'pg_type')");
    let undo = format!("'DROP DOMAIN IF EXISTS ' || {name}");
    format!(
        "SELECT {}, t.oid::int8 AS at FROM pg_type t JOIN pg_type u ON u.oid = t.typbasetype {} AND t.typtype = 'd' \
         ORDER BY t.oid",
        object("'domain'", name, "NULL", &[&create, &comment], &undo),
        namespaced("pg_type", "t", "typnamespace")
    )
}

/// All but those of identity columns, which come with their tables.
fn sequences() -> String {
    let name = "c.oid::regclass::text";
    let create = format!(
        "format('CREATE %sSEQUENCE %s AS %s START WITH %s INCREMENT BY %s MINVALUE %s MAXVALUE %s \
         CACHE %s%s', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, {name}, \
         format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, \
         s.seqcache, CASE WHEN s.seqcycle THEN ' CYCLE' ELSE '' END)"
    );
    let comment = comment("SEQUENCE", name, "obj_description(c.oid, 'pg_class')");
    let undo = format!("'DROP SEQUENCE IF EXISTS ' || {name}");
    format!(
        "SELECT {}, c.oid::int8 AS at FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid {} AND NOT EXISTS \
         (SELECT FROM pg_depend i WHERE i.classid = 'pg_class'::regclass AND i.objid = c.oid AND \
         i.deptype = 'i') ORDER BY c.oid",
        object("'sequence'", name, "NULL", &[&create, &comment], &undo),
        namespaced("pg_class", "c", "relnamespace")
    )
}

/// All but the constructors of range types, which come with their types.
fn functions() -> String {
    let name = "p.oid::regprocedure::text";
    let word = "CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END";
    let function = relative(
        "pg_get_functiondef(p.oid)",
        "CREATE OR REPLACE FUNCTION ",
        "n.nspname",
    );
    let procedure = relative(
        "pg_get_functiondef(p.oid)",
        "CREATE OR REPLACE PROCEDURE ",
        "n.nspname",
    );
    let create =
        format!("rtrim(CASE p.prokind WHEN 'p' THEN {procedure} ELSE {function} END, E'\\n')");
    let comment = format!(
        "CASE WHEN obj_description(p.oid, 'pg_proc') IS NOT NULL THEN format('COMMENT ON %s %s IS \
         %L', {word}, {name}, obj_description(p.oid, 'pg_proc')) END"
    );
    let undo = format!("format('DROP %s IF EXISTS %s', {word}, {name})");
    format!(
        "SELECT {}, p.oid::int8 AS at FROM pg_proc p {} AND p.prokind IN ('f', 'p', 'w') AND NOT EXISTS (SELECT \
         FROM pg_depend i WHERE i.classid = 'pg_proc'::regclass AND i.objid = p.oid AND i.deptype \
         = 'i') ORDER BY p.oid",
        object(
            "CASE p.prokind WHEN 'p' THEN 'procedure' ELSE 'function' END",
            name,
            "NULL",
            &[&create, &comment],
            &undo
        ),
        namespaced("pg_proc", "p", "pronamespace")
    )
}

/// Those with plain arguments; the others are in [`not_carried`].
fn aggregates() -> String {
    let full = "p.oid::regprocedure::text";
    let start =
        format!("CASE WHEN p.pronargs = 0 THEN replace({full}, '()', '(*)') ELSE {full} END");
    let proc = |word: &str, column: &str| {
        format!("CASE WHEN g.{column} <> 0 THEN '{word} = ' || g.{column}::regproc END")
    };
    let create = format!(
        "format('CREATE AGGREGATE %s (%s)', {start}, concat_ws(', ', 'SFUNC = ' || \
         g.aggtransfn::regproc, 'STYPE = ' || format_type(g.aggtranstype, NULL), CASE WHEN \
         g.aggtransspace <> 0 THEN 'SSPACE = ' || g.aggtransspace END, {}, CASE WHEN \
         g.aggfinalextra THEN 'FINALFUNC_EXTRA' END, CASE g.aggfinalmodify WHEN 's' THEN \
         'FINALFUNC_MODIFY = SHAREABLE' WHEN 'w' THEN 'FINALFUNC_MODIFY = READ_WRITE' END, {}, {}, \
         {}, 'INITCOND = ' || quote_literal(g.agginitval), CASE p.proparallel WHEN 's' THEN \
         'PARALLEL = SAFE' WHEN 'r' THEN 'PARALLEL = RESTRICTED' END))",
        proc("FINALFUNC", "aggfinalfn"),
        proc("COMBINEFUNC", "aggcombinefn"),
        proc("SERIALFUNC", "aggserialfn"),
        proc("DESERIALFUNC", "aggdeserialfn"),
    );
    let comment = comment("AGGREGATE", &start, "obj_description(p.oid, 'pg_proc')");
    let undo = format!("'DROP AGGREGATE IF EXISTS ' || {start}");
    format!(
        "SELECT {}, p.oid::int8 AS at FROM pg_proc p JOIN pg_aggregate g ON g.aggfnoid = p.oid {} AND {PLAIN} \
         ORDER BY p.oid",
        object("'aggregate'", full, "NULL", &[&create, &comment], &undo),
        namespaced("pg_proc", "p", "pronamespace")
    )
}

pub const PLAIN: &str =
    "g.aggkind = 'n' AND g.aggmtransfn = 0 AND g.aggsortop = 0 AND p.provariadic = 0";
