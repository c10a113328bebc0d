//! Rules of the job file, through the real binary: what each kind does to rows, that the result is
//! proven like any other, and that bad rules are refused before anything is changed.

use sqlx::{Connection, Row};

use crate::harness::process::{Dir, Finished, Sterna};
use crate::harness::{dataset, leftovers, oracle, server};

const PEOPLE: &str = "
CREATE TABLE people (
  id INTEGER PRIMARY KEY, name TEXT NOT NULL, mail TEXT, note TEXT, age INTEGER, price DECIMAL(10,2));
CREATE INDEX by_mail ON people (mail);
CREATE INDEX by_note ON people (note);
CREATE TABLE visits (id INTEGER PRIMARY KEY, person INTEGER NOT NULL REFERENCES people (id));
INSERT INTO people VALUES
  (1, '  Ada ', 'ada@example.org', 'n/a', 36, 1.50),
  (2, 'Bob', 'bob@example.org', '', 17, 2.25),
  (3, 'Cleo', NULL, 'likes|pipes', 70, NULL),
  (4, 'Dan', 'ada@example.org', 'x', NULL, 100);
INSERT INTO visits VALUES (10, 1), (11, 3);";

/// printf MAIL | openssl dgst -sha256 -hmac pepper
const ADA: &str = "eddcbc0c0fa8cbf6d4cfd93ecdb9462505368148b51d85cd49b960068295db40";

const RULES: &str = r#"
[[table]]
name = "people"
rename = "persons"
filter = "age == null || age >= 18"
[[table.column]]
name = "id"
rename = "person_id"
[[table.column]]
name = "name"
trim = "both"
[[table.column]]
name = "mail"
mask = { hash = { salt = { file = "SALT_FILE" } } }
[[table.column]]
name = "note"
null_if = ["n/a", ""]
[[table.column]]
name = "age"
drop = true
[[table.computed]]
name = "label"
type = "varchar(40)"
expression = "name.trim().lowerAscii() + '-' + string(id)"
[[table.computed]]
name = "double_price"
type = "decimal(12,2)"
expression = "price == null ? null : price * 2.0"
"#;

/// A job file in the test's directory.
fn job(dir: &Dir, source: &str, target: &str, more: &str) -> String {
    let salt = dir.file("salt");
    std::fs::write(&salt, "pepper\n").expect("writable");
    let text = format!(
        "version = 1\nname = \"rules\"\n{}\n[source]\nurl = \"{source}\"\n[target]\nurl = \"{target}\"\n",
        "",
    ) + &more.replace("SALT_FILE", &salt);
    let file = dir.file("job.toml");
    std::fs::write(&file, text).expect("writable");
    file
}

fn clone(dir: &Dir, file: &str, state: &str) -> Sterna {
    let state = dir.file(state);
    Sterna::new(
        dir.path(),
        &["clone", "-f", file, "--state-dir", &state, "-o", "json"],
    )
}

async fn people(dir: &Dir) -> String {
    let path = dir.file("people.db");
    dataset::sqlite_exec(&path, PEOPLE).await;
    format!("sqlite:{path}")
}

/// A query's rows, cells joined by `|`, NULL as `~`.
async fn sqlite_rows(path: &str, sql: &str) -> Vec<String> {
    let mut conn = oracle::sqlite(path).await;
    let found = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
    let found = found.fetch_all(&mut conn).await.expect("rows");
    conn.close().await.expect("closed");
    let cell = |row: &sqlx::sqlite::SqliteRow, at| {
        let cell: Option<String> = row.try_get_unchecked(at).expect("text");
        cell.unwrap_or("~".to_owned())
    };
    let row = |row| {
        (0..sqlx::sqlite::SqliteRow::len(row))
            .map(|at| cell(row, at))
            .collect::<Vec<_>>()
    };
    found.iter().map(|found| row(found).join("|")).collect()
}

fn expected() -> Vec<String> {
    vec![
        format!("1|Ada|{ADA}|~|ada-1|3.00"),
        "3|Cleo|~|likes|pipes|cleo-3|~".to_owned(),
        format!("4|Dan|{ADA}|x|dan-4|200.00"),
    ]
}

fn verified(finished: &Finished, rows: u64) {
    let report = finished.json();
    assert_eq!(report["verified"], true, "{report}");
    let tables = report["tables"].as_array().expect("tables");
    let people = tables.iter().find(|table| {
        let name = table["name"].as_str().unwrap_or_default();
        name == "people" || name == "persons"
    });
    let people = people.expect("the table is in the report");
    assert_eq!(people["rows_copied"], rows, "rows written: {report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_rule_from_sqlite_to_sqlite_and_again_the_same() {
    let dir = Dir::new();
    let source = people(&dir).await;
    let query = "SELECT cast(person_id as text), name, mail, note, label, \
                 printf('%.2f', double_price) FROM persons ORDER BY 1";
    let query = query.replace(
        "printf('%.2f', double_price)",
        "iif(double_price is null, null, printf('%.2f', double_price))",
    );
    let mut contents = Vec::new();
    for state in ["one", "two"] {
        let path = dir.file(&format!("{state}.db"));
        let file = job(&dir, &source, &format!("sqlite:{path}"), RULES);
        let finished = clone(&dir, &file, state).ok().await;
        verified(&finished, 3);
        leftovers::none_in_sqlite(&path).await;
        contents.push(sqlite_rows(&path, &query).await);
        // Keys follow what was renamed; what nobody renamed is there as it was.
        let foreign = "SELECT \"table\", \"to\" FROM pragma_foreign_key_list('visits')";
        assert_eq!(sqlite_rows(&path, foreign).await, ["persons|person_id"]);
        let index = "SELECT name FROM pragma_index_info('by_mail')";
        assert_eq!(sqlite_rows(&path, index).await, ["mail"]);
        assert_eq!(
            sqlite_rows(&path, "SELECT cast(count(*) as text) FROM visits").await,
            ["2"]
        );
        let everything = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!everything.contains("pepper"), "{everything}");
    }
    assert_eq!(contents[0], expected());
    assert_eq!(contents[0], contents[1], "the same job gives the same rows");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_rule_from_sqlite_to_mariadb() {
    let server = server::lend().await;
    let dir = Dir::new();
    let source = people(&dir).await;
    let target = server.create("copy").await;
    let file = job(&dir, &source, &target, RULES);
    verified(&clone(&dir, &file, "state").ok().await, 3);
    let mut conn = server.connect("copy").await;
    let sql = "SELECT concat_ws('|', person_id, name, ifnull(mail, '~'), ifnull(note, '~'), label, \
               ifnull(double_price, '~')) FROM persons ORDER BY person_id";
    let found: Vec<String> = mysql_async::prelude::Queryable::query(&mut conn, sql)
        .await
        .expect("rows");
    assert_eq!(found, expected());
    let sql = "SELECT concat(referenced_table_name, '.', referenced_column_name) \
               FROM information_schema.key_column_usage \
               WHERE table_schema = 'copy' AND referenced_table_name IS NOT NULL";
    let found: Vec<String> = mysql_async::prelude::Queryable::query(&mut conn, sql)
        .await
        .expect("rows");
    assert_eq!(found, ["persons.person_id"]);
    conn.disconnect().await.expect("closed");
    leftovers::none_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_mariadb_to_mariadb_types_stay_and_rules_apply() {
    let server = server::lend().await;
    let dir = Dir::new();
    let source = server.create("shop").await;
    let target = server.create("copy").await;
    let statements = [
        "CREATE TABLE t (id BIGINT UNSIGNED PRIMARY KEY, d DATETIME(3), kind ENUM('a','b'), \
         secret VARCHAR(20) NOT NULL, UNIQUE KEY by_secret (secret))",
        "INSERT INTO t VALUES (18446744073709551615, '2024-01-02 03:04:05.678', 'b', 's1'), \
         (2, NULL, 'a', 's2')",
    ];
    server.exec("shop", &statements).await;
    let rules = "[[table]]\nname = \"t\"\nfilter = \"id > 5u\"\n[[table.column]]\nname = \"secret\"\n\
                 mask = { hash = { salt = { env = \"RULES_SALT\" } } }\n";
    let file = job(&dir, &source, &target, rules);
    let finished = clone(&dir, &file, "state")
        .env("RULES_SALT", "pepper")
        .ok()
        .await;
    assert_eq!(finished.json()["verified"], true);
    let mut conn = server.connect("copy").await;
    let sql = "SELECT concat_ws('|', id, d, kind, length(secret)) FROM t";
    let found: Vec<String> = mysql_async::prelude::Queryable::query(&mut conn, sql)
        .await
        .expect("rows");
    assert_eq!(found, ["18446744073709551615|2024-01-02 03:04:05.678|b|64"]);
    conn.disconnect().await.expect("closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_that_takes_every_row_of_a_large_table_leaves_an_empty_one() {
    let dir = Dir::new();
    let source = dataset::numbers_sqlite(&dir.file("numbers.db"), 50_000).await;
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' LIMIT 1";
    let table = sqlite_rows(&dir.file("numbers.db"), tables).await.remove(0);
    let path = dir.file("copy.db");
    let rules = format!("[[table]]\nname = \"{table}\"\nfilter = \"1 > 2\"\n");
    let file = job(&dir, &source, &format!("sqlite:{path}"), &rules);
    let finished = clone(&dir, &file, "state").ok().await;
    assert_eq!(finished.json()["verified"], true);
    let count = format!("SELECT cast(count(*) as text) FROM \"{table}\"");
    assert_eq!(sqlite_rows(&path, &count).await, ["0"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_that_dont_fit_are_all_named_and_nothing_is_changed() {
    let dir = Dir::new();
    let source = people(&dir).await;
    let path = dir.file("copy.db");
    let rules = "[[table]]\nname = \"people\"\nfilter = \"agee > 18\"\n[[table.column]]\n\
                 name = \"mial\"\ndrop = true\n[[table.column]]\nname = \"name\"\nrename = \"note\"\n\
                 [[table]]\nname = \"visit\"\nfilter = \"id >\"\n";
    let file = job(&dir, &source, &format!("sqlite:{path}"), rules);
    let finished = clone(&dir, &file, "state").run().await;
    assert_eq!(finished.code, 8, "{finished}");
    for part in [
        "ST2010",
        "agee",
        "mial",
        "2 columns are called note",
        "visits",
    ] {
        assert!(finished.stderr.contains(part), "{part}: {finished}");
    }
    assert!(!std::path::Path::new(&path).exists(), "the target was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_at_a_row_stops_the_job_and_names_the_row_but_no_masked_value() {
    let dir = Dir::new();
    let source = people(&dir).await;
    for (state, rules, code, parts) in [
        (
            "filter",
            "[[table]]\nname = \"people\"\nfilter = \"age >= 18\"\n",
            "ST4003",
            ["people: filter", "test for NULL first"],
        ),
        (
            "computed",
            "[[table]]\nname = \"people\"\n[[table.column]]\nname = \"mail\"\nmask = { redact = \"x\" }\n\
             [[table.computed]]\nname = \"n\"\ntype = \"integer\"\nexpression = \"mail == null ? 0 : int(mail)\"\n",
            "ST4003",
            ["people.n", "int() can't take the value"],
        ),
    ] {
        let path = dir.file(&format!("{state}.db"));
        let file = job(&dir, &source, &format!("sqlite:{path}"), rules);
        let finished = clone(&dir, &file, state).run().await;
        assert_eq!(finished.code, 1, "{finished}");
        for part in [code].iter().chain(&parts) {
            assert!(finished.stderr.contains(part), "{part}: {finished}");
        }
        assert!(!finished.stderr.contains("ada@"), "{finished}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_salt_that_is_not_there_is_found_before_anything_is_changed() {
    let dir = Dir::new();
    let source = people(&dir).await;
    let path = dir.file("copy.db");
    let rules = "[[table]]\nname = \"people\"\n[[table.column]]\nname = \"mail\"\n\
                 mask = { hash = { salt = { env = \"NO_SUCH_SALT\" } } }\n";
    let file = job(&dir, &source, &format!("sqlite:{path}"), rules);
    let finished = clone(&dir, &file, "state").run().await;
    assert_eq!(finished.code, 4, "{finished}");
    assert!(finished.stderr.contains("NO_SUCH_SALT"), "{finished}");
    assert!(!std::path::Path::new(&path).exists(), "the target was made");
}
