//! Schema dumps by the engines' own tools: pg_dump -s, SHOW CREATE …, sqlite_schema. Says what
//! differs, object by object; what is allowed to differ is the caller's list, with reasons.

use std::collections::BTreeMap;
use std::process::Command;

use mysql_async::prelude::Queryable;
use sqlx::Row as _;

use super::lab::{Database, Kind, mysql};
use super::oracle::read_mysql::ticked;
use super::oracle::sqlite;
use super::postgres;

/// Each object's definition, by its kind and name.
pub type Dump = BTreeMap<String, String>;

/// A difference that is as it should be: the start of the object's key, and why.
pub type Allowed = (&'static str, &'static str);

/// Asserts that both have the same objects with the same definitions but for what is allowed.
pub async fn assert_same(source: &Database, target: &Database, allowed: &[Allowed]) {
    let (left, right) = (dump(source).await, dump(target).await);
    let mut found = Vec::new();
    let is_allowed = |key: &str| allowed.iter().any(|(start, _)| key.starts_with(start));
    for (key, definition) in &left {
        match right.get(key) {
            _ if is_allowed(key) => {}
            None => found.push(format!("{key}: missing at the target")),
            Some(other) if other != definition => {
                found.push(format!("{key}:\n{}", lines_that_differ(definition, other)));
            }
            Some(_) => {}
        }
    }
    let extra = right.keys().filter(|key| !left.contains_key(*key));
    let extra = extra.filter(|key| !is_allowed(key));
    found.extend(extra.map(|key| format!("{key}: only at the target")));
    let count = found.len();
    assert!(
        found.is_empty(),
        "{count} objects differ:\n{}",
        found.join("\n")
    );
    assert!(!left.is_empty(), "an empty dump proves nothing");
}

fn lines_that_differ(a: &str, b: &str) -> String {
    let (left, right): (Vec<&str>, Vec<&str>) = (a.lines().collect(), b.lines().collect());
    let only = |these: &[&str], those: &[&str], mark: char| {
        let lines = these.iter().filter(|line| !those.contains(line)).take(8);
        lines
            .map(|line| format!("    {mark} {line}"))
            .collect::<Vec<_>>()
    };
    let mut lines = only(&left, &right, '-');
    lines.extend(only(&right, &left, '+'));
    match lines.is_empty() {
        true => "    the same lines in another order".to_owned(),
        false => lines.join("\n"),
    }
}

pub async fn dump(database: &Database) -> Dump {
    match database.kind {
        Kind::Sqlite => of_sqlite(database).await,
        Kind::Mariadb | Kind::Mysql9 => of_mysql(database).await,
        Kind::Postgres => of_postgres(database).await,
    }
}

async fn of_sqlite(database: &Database) -> Dump {
    let mut conn = sqlite(&database.name).await;
    let query = "SELECT type || ' ' || name AS key, coalesce(sql, 'automatic on ' || tbl_name) AS sql \
                 FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'";
    let rows = sqlx::query(query)
        .fetch_all(&mut conn)
        .await
        .expect("a schema");
    rows.iter()
        .map(|row| (row.get("key"), row.get("sql")))
        .collect()
}

async fn of_mysql(database: &Database) -> Dump {
    let mut conn = mysql(&database.url).await;
    let objects: Vec<(String, String)> = conn
        .query(
            "SELECT CASE table_type WHEN 'VIEW' THEN 'VIEW' WHEN 'SEQUENCE' THEN 'SEQUENCE' \
             ELSE 'TABLE' END, table_name FROM information_schema.tables \
             WHERE table_schema = DATABASE() UNION ALL \
             SELECT 'TRIGGER', trigger_name FROM information_schema.triggers \
             WHERE trigger_schema = DATABASE() UNION ALL \
             SELECT routine_type, routine_name FROM information_schema.routines \
             WHERE routine_schema = DATABASE() UNION ALL \
             SELECT 'EVENT', event_name FROM information_schema.events \
             WHERE event_schema = DATABASE()",
        )
        .await
        .expect("a list");
    let mut dump = Dump::new();
    for (kind, name) in objects {
        let query = format!("SHOW CREATE {kind} {}", ticked(&name));
        let shown: Vec<mysql_async::Row> = conn.query(&query).await.unwrap_or_default();
        let Some(row) = shown.first() else {
            dump.insert(format!("{kind} {name}"), "can't be shown".to_owned());
            continue;
        };
        let column = if kind == "TRIGGER" || row.len() > 4 && kind != "VIEW" {
            2
        } else {
            1
        };
        let text: Option<String> = row.get(column);
        let text = text.unwrap_or_default();
        // MySQL repeats the character set of a column that was made with it in so many words; the
        // collation beside it says the same.
        let text = without_charset(&text);
        // A view names its database; the copy has another name.
        let text = text.replace(&format!("{}.", ticked(&database.name)), "");
        dump.insert(format!("{kind} {name}"), text);
    }
    let _ = conn.disconnect().await;
    dump
}

/// Leaves `CHARACTER SET x` out where `COLLATE x_…` follows.
fn without_charset(text: &str) -> String {
    let mut parts = text.split(" CHARACTER SET ");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (charset, rest) = part.split_once(' ').unwrap_or((part, ""));
        let collation = rest.strip_prefix("COLLATE ").unwrap_or_default();
        if collation.starts_with(charset) && !charset.is_empty() {
            whole.push(' ');
            whole.push_str(rest);
        } else {
            whole.push_str(" CHARACTER SET ");
            whole.push_str(part);
        }
    }
    whole
}

async fn of_postgres(database: &Database) -> Dump {
    let mut command = Command::new(postgres::bin().join("pg_dump"));
    let output = command
        .arg("-s")
        .arg(&database.url)
        .output()
        .expect("pg_dump runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "pg_dump: {said}");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut dump = Dump::new();
    for part in text.split("\n--\n-- Name: ").skip(1) {
        let (name, body) = part.split_once("\n--\n").unwrap_or((part, ""));
        let body: Vec<&str> = body
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with("\\unrestrict"))
            .filter(|line| !line.starts_with("SET default_") && !line.starts_with("-- PostgreSQL"))
            .collect();
        dump.insert(by_kind(name), body.join("\n"));
    }
    let mut conn = database.pg().await;
    let values = "SELECT format('VALUE of %I.%I', schemaname, sequencename) AS key, \
                  coalesce(last_value::text, 'none') AS value FROM pg_sequences";
    let rows = sqlx::query(values)
        .fetch_all(&mut conn)
        .await
        .expect("sequences");
    dump.extend(rows.iter().map(|row| (row.get("key"), row.get("value"))));
    dump
}

/// `t_num; Type: TABLE; Schema: torture; Owner: x` as `TABLE torture t_num`.
fn by_kind(header: &str) -> String {
    let (name, rest) = header.split_once("; Type: ").unwrap_or((header, ""));
    let (kind, rest) = rest.split_once("; Schema: ").unwrap_or((rest, ""));
    let schema = rest.split(';').next().unwrap_or_default();
    format!("{kind} {schema} {name}")
}
