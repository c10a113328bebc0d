//! The catalogue's queries about what needs the data or would act on it: views, rules, triggers,
//! policies, …. They answer as those of `objects_sql` do.

use super::inspect_sql::{index_definition, options};
use super::objects_sql::{comment, namespaced, object, relative};

/// What needs the data or would act on it, in an order that mostly works.
pub fn after_data() -> Vec<String> {
    let mut queries = vec![views(), refreshes(), rules(), triggers()];
    queries.extend(row_security());
    queries.extend([statistics(), checks(), identities(), clustered()]);
    queries.extend(comments());
    queries
}

fn views() -> String {
    let name = "c.oid::regclass::text";
    let word = "CASE c.relkind WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'VIEW' END";
    let create = format!(
        "format('CREATE %s %s%s%s AS %s%s', {word}, {name}, CASE WHEN am.amname <> 'heap' THEN ' \
         USING ' || quote_ident(am.amname) ELSE '' END, ' WITH (' || {} || ')', E'\\n' || \
         rtrim(pg_get_viewdef(c.oid), ';'), CASE c.relkind WHEN 'm' THEN E'\\nWITH NO DATA' ELSE \
         '' END)",
        options("c.reloptions", "")
    );
    let comment = format!(
        "CASE WHEN obj_description(c.oid, 'pg_class') IS NOT NULL THEN format('COMMENT ON %s %s \
         IS %L', {word}, {name}, obj_description(c.oid, 'pg_class')) END"
    );
    let undo = format!("format('DROP %s IF EXISTS %s', {word}, {name})");
    let columns = format!(
        "(SELECT array_agg(x.sql ORDER BY a.attnum, x.n) FROM pg_attribute a LEFT JOIN pg_attrdef \
         d ON d.adrelid = a.attrelid AND d.adnum = a.attnum CROSS JOIN LATERAL (VALUES (1, CASE \
         WHEN d.oid IS NOT NULL THEN format('ALTER VIEW %s ALTER COLUMN %I SET DEFAULT %s', {name}, \
         a.attname, pg_get_expr(d.adbin, d.adrelid)) END), (2, CASE WHEN col_description(c.oid, \
         a.attnum) IS NOT NULL THEN format('COMMENT ON COLUMN %s.%I IS %L', {name}, a.attname, \
         col_description(c.oid, a.attnum)) END)) x(n, sql) WHERE a.attrelid = c.oid AND a.attnum > \
         0 AND x.sql IS NOT NULL)"
    );
    let indexes = format!(
        "(SELECT array_agg({} ORDER BY i.indexrelid) FROM pg_index i JOIN pg_class x ON x.oid = \
         i.indexrelid WHERE i.indrelid = c.oid)",
        index_definition("i", "x", "c", "n")
    );
    format!(
        "SELECT lower({word}) AS kind, {name} AS name, c.oid::int8 AS own, array_remove(ARRAY[\
         {create}, {comment}], NULL) || {columns} || {indexes} AS statements, ARRAY[{undo}] AS \
         undo, (SELECT array_agg(DISTINCT d.refobjid::int8) FROM pg_rewrite r JOIN pg_depend d ON \
         d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = \
         'pg_class'::regclass WHERE r.ev_class = c.oid AND d.refobjid <> c.oid) AS needs \
         FROM pg_class c LEFT JOIN pg_am am ON am.oid = c.relam {} AND c.relkind IN ('v', 'm') \
         ORDER BY c.oid",
        namespaced("pg_class", "c", "relnamespace")
    )
}

/// Materialised views that hold rows at the source.
fn refreshes() -> String {
    let name = "c.oid::regclass::text";
    let refresh = format!("'REFRESH MATERIALIZED VIEW ' || {name}");
    format!(
        "SELECT {} FROM pg_class c {} AND c.relkind = 'm' AND c.relispopulated ORDER BY c.oid",
        object(
            "'rows of materialized view'",
            name,
            "c.oid",
            &[&refresh],
            ""
        ),
        namespaced("pg_class", "c", "relnamespace")
    )
}

fn rules() -> String {
    let name = "format('%I on %s', r.rulename, c.oid::regclass)";
    let create = "rtrim(pg_get_ruledef(r.oid, true), ';')";
    let enabled = "CASE WHEN r.ev_enabled <> 'O' THEN format('ALTER TABLE %s %s RULE %I', \
         c.oid::regclass, CASE r.ev_enabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' \
         ELSE 'ENABLE REPLICA' END, r.rulename) END";
    let comment = comment(
        "RULE",
        "format('%I ON %s', r.rulename, c.oid::regclass)",
        "obj_description(r.oid, 'pg_rewrite')",
    );
    let undo = "format('DROP RULE IF EXISTS %I ON %s', r.rulename, c.oid::regclass)";
    format!(
        "SELECT {} FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class {} AND r.rulename <> \
         '_RETURN' ORDER BY r.oid",
        object("'rule'", name, "c.oid", &[create, enabled, &comment], undo),
        namespaced("pg_class", "c", "relnamespace")
    )
}

fn triggers() -> String {
    let name = "format('%I on %s', g.tgname, c.oid::regclass)";
    let create = "pg_get_triggerdef(g.oid, true)";
    let enabled = "CASE WHEN g.tgenabled <> 'O' THEN format('ALTER TABLE %s %s TRIGGER %I', \
         c.oid::regclass, CASE g.tgenabled WHEN 'D' THEN 'DISABLE' WHEN 'A' THEN 'ENABLE ALWAYS' \
         ELSE 'ENABLE REPLICA' END, g.tgname) END";
    let comment = comment(
        "TRIGGER",
        "format('%I ON %s', g.tgname, c.oid::regclass)",
        "obj_description(g.oid, 'pg_trigger')",
    );
    let undo = "format('DROP TRIGGER IF EXISTS %I ON %s', g.tgname, c.oid::regclass)";
    format!(
        "SELECT {} FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid {} AND NOT \
         g.tgisinternal AND g.tgparentid = 0 ORDER BY g.oid",
        object(
            "'trigger'",
            name,
            "c.oid",
            &[create, enabled, &comment],
            undo
        ),
        namespaced("pg_class", "c", "relnamespace")
    )
}

fn row_security() -> Vec<String> {
    let name = "format('%I on %s', p.polname, c.oid::regclass)";
    let create = "format('CREATE POLICY %I ON %s AS %s FOR %s TO %s%s%s', p.polname, \
         c.oid::regclass, CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END, CASE \
         p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' \
         THEN 'DELETE' ELSE 'ALL' END, (SELECT string_agg(CASE WHEN o = 0 THEN 'PUBLIC' ELSE \
         quote_ident(pg_get_userbyid(o)) END, ', ') FROM unnest(p.polroles) o), ' USING (' || \
         pg_get_expr(p.polqual, p.polrelid) || ')', ' WITH CHECK (' || pg_get_expr(\
         p.polwithcheck, p.polrelid) || ')')";
    let comment = comment(
        "POLICY",
        "format('%I ON %s', p.polname, c.oid::regclass)",
        "obj_description(p.oid, 'pg_policy')",
    );
    let undo = "format('DROP POLICY IF EXISTS %I ON %s', p.polname, c.oid::regclass)";
    let enable = "CASE WHEN c.relrowsecurity THEN format('ALTER TABLE %s ENABLE ROW LEVEL \
                  SECURITY', c.oid::regclass) END";
    let force = "CASE WHEN c.relforcerowsecurity THEN format('ALTER TABLE %s FORCE ROW LEVEL \
                 SECURITY', c.oid::regclass) END";
    let condition = namespaced("pg_class", "c", "relnamespace");
    vec![
        format!(
            "SELECT {} FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid {condition} ORDER \
             BY p.oid",
            object("'policy'", name, "c.oid", &[create, &comment], undo)
        ),
        format!(
            "SELECT {} FROM pg_class c {condition} AND c.relkind IN ('r', 'p') AND \
             (c.relrowsecurity OR c.relforcerowsecurity) ORDER BY c.oid",
            object(
                "'row level security of'",
                "c.oid::regclass::text",
                "c.oid",
                &[enable, force],
                ""
            )
        ),
    ]
}

fn statistics() -> String {
    let name = "CASE WHEN n.nspname = current_schema() THEN quote_ident(x.stxname) ELSE \
                format('%I.%I', n.nspname, x.stxname) END";
    let create = relative(
        "pg_get_statisticsobjdef(x.oid)",
        "CREATE STATISTICS ",
        "n.nspname",
    );
    let target = format!(
        "CASE WHEN x.stxstattarget >= 0 THEN format('ALTER STATISTICS %s SET STATISTICS %s', \
         {name}, x.stxstattarget) END"
    );
    let comment = comment(
        "STATISTICS",
        name,
        "obj_description(x.oid, 'pg_statistic_ext')",
    );
    let undo = format!("'DROP STATISTICS IF EXISTS ' || {name}");
    format!(
        "SELECT {} FROM pg_statistic_ext x {} ORDER BY x.oid",
        object(
            "'statistics'",
            name,
            "x.stxrelid",
            &[&create, &target, &comment],
            &undo
        ),
        namespaced("pg_statistic_ext", "x", "stxnamespace")
    )
}

/// Checks that existing rows need not pass.
fn checks() -> String {
    let name = "format('%I on %s', k.conname, c.oid::regclass)";
    let create = "format('ALTER TABLE %s ADD CONSTRAINT %I %s', c.oid::regclass, k.conname, \
                  pg_get_constraintdef(k.oid))";
    let undo = "format('ALTER TABLE %s DROP CONSTRAINT IF EXISTS %I', c.oid::regclass, k.conname)";
    let domain = "format('ALTER DOMAIN %s ADD CONSTRAINT %I %s', format_type(t.oid, NULL), \
                  k.conname, pg_get_constraintdef(k.oid))";
    let undo_domain = "format('ALTER DOMAIN %s DROP CONSTRAINT IF EXISTS %I', format_type(t.oid, \
                       NULL), k.conname)";
    format!(
        "SELECT {} FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid {} AND k.contype = \
         'c' AND NOT k.convalidated AND k.conislocal UNION ALL SELECT {} FROM pg_constraint k JOIN \
         pg_type t ON t.oid = k.contypid {} AND k.contype = 'c' AND NOT k.convalidated",
        object("'check'", name, "c.oid", &[create], undo),
        namespaced("pg_class", "c", "relnamespace"),
        object(
            "'check'",
            "format('%I on %s', k.conname, format_type(t.oid, NULL))",
            "NULL",
            &[domain],
            undo_domain
        ),
        namespaced("pg_type", "t", "typnamespace")
    )
}

/// Replica identities that need an index.
fn identities() -> String {
    let sql = "format('ALTER TABLE ONLY %s REPLICA IDENTITY USING INDEX %I', c.oid::regclass, \
               x.relname)";
    format!(
        "SELECT {} FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid \
         = i.indexrelid {} AND i.indisreplident AND c.relreplident = 'i' ORDER BY c.oid",
        object(
            "'replica identity of'",
            "c.oid::regclass::text",
            "c.oid",
            &[sql],
            ""
        ),
        namespaced("pg_class", "c", "relnamespace")
    )
}

/// Indexes by which CLUSTER orders.
fn clustered() -> String {
    let sql = "format('ALTER TABLE %s CLUSTER ON %I', c.oid::regclass, x.relname)";
    format!(
        "SELECT {} FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_class x ON x.oid \
         = i.indexrelid {} AND i.indisclustered AND c.relkind IN ('r', 'm') ORDER BY c.oid",
        object(
            "'cluster order of'",
            "c.oid::regclass::text",
            "c.oid",
            &[sql],
            ""
        ),
        namespaced("pg_class", "c", "relnamespace")
    )
}

/// Comments on what is made as a part of a table.
fn comments() -> Vec<String> {
    let index = comment(
        "INDEX",
        "x.oid::regclass",
        "obj_description(x.oid, 'pg_class')",
    );
    let constraint = comment(
        "CONSTRAINT",
        "format('%I ON %s', k.conname, c.oid::regclass)",
        "obj_description(k.oid, 'pg_constraint')",
    );
    let condition = namespaced("pg_class", "c", "relnamespace");
    vec![
        format!(
            "SELECT {} FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_class c ON \
             c.oid = i.indrelid {condition} AND obj_description(x.oid, 'pg_class') IS NOT NULL \
             ORDER BY x.oid",
            object(
                "'comment on index'",
                "x.oid::regclass::text",
                "c.oid",
                &[&index],
                ""
            )
        ),
        format!(
            "SELECT {} FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid {condition} AND \
             obj_description(k.oid, 'pg_constraint') IS NOT NULL ORDER BY k.oid",
            object(
                "'comment on constraint'",
                "format('%I on %s', k.conname, c.oid::regclass)",
                "c.oid",
                &[&constraint],
                ""
            )
        ),
    ]
}
