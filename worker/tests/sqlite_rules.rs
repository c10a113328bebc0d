//! SQLite to SQLite under a rule: the table keeps every clause it had, under its new names; what
//! else the file holds is carried if its table is.

mod sqlite_support;

use common::plan::TablePlan;
use common::rules::{ColumnRule, TableRule};
use common::schema::{CanonicalType, CellForm, TableSchema};
use common::task::TaskKind;
use sqlite_support::*;
use worker::connector::Role;

const SHOP: &str = r#"
CREATE TABLE parent (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE CHECK (length(name) < 9), junk, UNIQUE (name));
CREATE TABLE child (id INTEGER PRIMARY KEY, p INT REFERENCES parent (id) ON DELETE CASCADE) STRICT;
CREATE INDEX by_name ON parent (name DESC);
CREATE TABLE other (a);
CREATE TRIGGER on_other AFTER INSERT ON other BEGIN SELECT 1; END;
CREATE TRIGGER on_child AFTER INSERT ON child BEGIN SELECT 1; END;
CREATE VIEW both AS SELECT * FROM parent;
INSERT INTO parent VALUES (1, 'a', x'00'), (2, 'b', 'text'), (3, 'c', 5);
INSERT INTO other (rowid, a) VALUES (7, 1), (-3, 2);
"#;

fn rule() -> TableRule {
    TableRule {
        table: "parent".into(),
        rename: Some("people".into()),
        columns: vec![
            ColumnRule {
                column: "name".into(),
                rename: Some("title".into()),
                null_if: vec!["x".into()],
                ..ColumnRule::default()
            },
            ColumnRule {
                column: "junk".into(),
                drop: true,
                ..ColumnRule::default()
            },
        ],
        ..TableRule::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_table_keeps_its_clauses() {
    let (_keep, from, to) = files();
    script(&from, SHOP).await;
    let mut job = spec(&from, &format!("sqlite:{}", to.display()));
    job.rules = vec![rule()];
    let source = connector(&from);
    let inspection = source.inspect(Role::Source, &job).await.expect("a source");
    let parent = { inspection.tables.iter() }.find(|table| table.name == "parent");
    let parent = parent.expect("it is there").clone();
    // Only what the rule is about has a type of its own; the rest stays SQLite's.
    let kinds: Vec<&CanonicalType> = { parent.columns.iter() }
        .map(|column| &column.canonical)
        .collect();
    let text = CanonicalType::Text { max_chars: None };
    assert_eq!(kinds, [&CanonicalType::Any, &text, &CanonicalType::Any]);
    let mut people: TableSchema = parent.clone();
    people.name = "people".into();
    people.columns[1].name = "title".into();
    people.columns.pop();
    people.native_ddl = None;
    people.indexes[0].columns[0].name = "title".into();
    let ruled = TablePlan {
        shaped: Some(people.clone()),
        rule: Some(rule()),
        ..plan(&parent, &people, CellForm::Canonical)
    };
    let child = { inspection.tables.iter() }.find(|table| table.name == "child");
    let child = child.expect("it is there");
    let plans = [plan(child, child, CellForm::Native), ruled];
    let target = connector(&to);
    let create = work(TaskKind::Create, 0, &plans);
    target.define(create).await.expect("created");
    let made = schema(&to).await.join("\n");
    for part in [
        "\"people\" (id INTEGER PRIMARY KEY, \"title\" TEXT COLLATE NOCASE CHECK",
        "UNIQUE (\"title\")",
        "REFERENCES \"people\" (id) ON DELETE CASCADE) STRICT",
    ] {
        assert!(made.contains(part), "{part}: {made}");
    }
    assert!(!made.contains("junk"), "{made}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rowids_and_triggers_go_with_their_tables() {
    let (_keep, from, to) = files();
    script(&from, SHOP).await;
    copy(&from, &to).await.expect("copied");
    let rowids = "SELECT rowid || '' FROM other ORDER BY rowid";
    assert_eq!(texts(&to, rowids).await, ["-3", "7"]);
    // A table that the job leaves out takes its triggers with it.
    let mut job = spec(&from, "sqlite:/t");
    job.exclude = vec!["other".into()];
    let inspected = connector(&from).inspect(Role::Source, &job).await;
    let inspected = inspected.expect("a source");
    let names: Vec<&str> = { inspected.objects.iter() }
        .map(|object| object.name.as_str())
        .collect();
    assert_eq!(names, ["both", "on_child on child"]);
    let said = |note: &String| note.contains("trigger on_other");
    assert!(inspected.notes.iter().any(said), "{:?}", inspected.notes);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_a_module_is_named_and_left() {
    let (_keep, from, to) = files();
    script(
        &from,
        "CREATE VIRTUAL TABLE found USING fts5(body); INSERT INTO found VALUES ('a word');
         CREATE TABLE t (a); INSERT INTO t VALUES (1);",
    )
    .await;
    let inspection = copy(&from, &to).await.expect("copied");
    assert_eq!(inspection.tables.len(), 1);
    let notes = inspection.notes.join("\n");
    assert!(
        notes.contains("virtual table found is not carried"),
        "{notes}"
    );
    assert!(notes.contains("found_content belongs to"), "{notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_in_utf16_is_copied_by_its_characters() {
    let (_keep, from, to) = files();
    script(
        &from,
        "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);
         INSERT INTO t VALUES (1, 'Ünïcöde 😀'), (2, char(0x10ffff));",
    )
    .await;
    let inspection = copy(&from, &to).await.expect("copied");
    assert!(inspection.notes.iter().any(|note| note.contains("UTF-16")));
    let sql = "SELECT v FROM t ORDER BY id";
    assert_eq!(texts(&to, sql).await, ["Ünïcöde 😀", "\u{10ffff}"]);
}
