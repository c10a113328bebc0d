//! Ranges partition exactly, whatever the key; estimates and samples cost no pass over a rowid.

mod sqlite_support;

use common::digest::Digest;
use common::partition::Split;
use common::schema::CellForm;
use sqlite_support::*;
use worker::connector::{ReadRequest, Role};

const TABLES: &str = r#"
CREATE TABLE n (i INTEGER PRIMARY KEY);
WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i < 2999) INSERT INTO n SELECT i FROM c;
CREATE TABLE dense (id INTEGER PRIMARY KEY, v);
INSERT INTO dense SELECT i, 'row ' || i FROM n;
CREATE TABLE gaps (id INTEGER PRIMARY KEY, v);
INSERT INTO gaps SELECT CASE i % 3 WHEN 0 THEN i WHEN 1 THEN i * 1000000000 ELSE -i END, i FROM n WHERE i > 0;
INSERT INTO gaps VALUES (9223372036854775807, 'max'), (-9223372036854775808, 'min');
CREATE TABLE rowids (v);
INSERT INTO rowids (rowid, v) SELECT i * 7, i FROM n;
CREATE TABLE shadow (rowid TEXT, oid INT, v);
INSERT INTO shadow SELECT 'r', 1, i FROM n;
CREATE TABLE texts (k TEXT COLLATE NOCASE PRIMARY KEY, v) WITHOUT ROWID;
INSERT INTO texts SELECT CASE i % 2 WHEN 0 THEN 'K' ELSE 'k' END || printf('%05d', i), i FROM n;
CREATE TABLE mixed (k PRIMARY KEY, v) WITHOUT ROWID;
INSERT INTO mixed SELECT CASE i % 4 WHEN 0 THEN i WHEN 1 THEN '' || i WHEN 2 THEN CAST('' || i AS BLOB) ELSE i + 0.5 END, i FROM n;
CREATE TABLE pairs (a INTEGER, b TEXT, v, PRIMARY KEY (b DESC, a)) WITHOUT ROWID;
INSERT INTO pairs SELECT i % 50, 'b' || (i / 50), i FROM n;
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_row_is_in_exactly_one_range() {
    let (_keep, from, _) = files();
    script(&from, TABLES).await;
    let source = connector(&from);
    for table in source
        .inspect(Role::Source, &any_spec())
        .await
        .expect("a source")
        .tables
    {
        let whole_table = digest(&*source, whole(&table, CellForm::Native))
            .await
            .expect("read");
        let rows: u64 = texts(&from, &format!("SELECT count(*) || '' FROM {}", table.name)).await
            [0]
        .parse()
        .expect("a number");
        assert_eq!(
            (whole_table.rows, table.rows_estimate),
            (rows, rows),
            "{}",
            table.name
        );
        let sampled = source.sample(table.clone(), 20).await.expect("sampled");
        assert!(
            sampled.key.bounds.len() >= 15,
            "{}: {:?}",
            table.name,
            sampled.key.bounds.len()
        );
        let split = Split::Bucketed {
            n: 6,
            seed: 42,
            columns: sampled.key.columns.clone(),
            bounds: sampled.key.bounds.clone().into_iter().collect(),
        };
        let mut sum = Digest::default();
        let mut largest = 0;
        for (_, buckets) in split.classes(1) {
            let request = ReadRequest {
                key: sampled.key.columns.clone(),
                ranges: buckets.iter().map(|bucket| split.range(*bucket)).collect(),
                ..whole(&table, CellForm::Native)
            };
            let part = digest(&*source, request).await.expect("read");
            largest = largest.max(part.rows);
            sum += part;
        }
        assert_eq!(sum, whole_table, "{}", table.name);
        assert!(largest < rows, "{}: all in one partition", table.name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_cannot_be_cut_is_whole() {
    let (_keep, from, _) = files();
    script(
        &from,
        "CREATE TABLE one (id INTEGER PRIMARY KEY); INSERT INTO one VALUES (5); CREATE TABLE none (a);
         CREATE TABLE hidden (rowid, oid, _rowid_);",
    )
    .await;
    let source = connector(&from);
    for table in source
        .inspect(Role::Source, &any_spec())
        .await
        .expect("a source")
        .tables
    {
        let sampled = source.sample(table, 8).await.expect("sampled");
        assert!(sampled.key.columns.is_empty() && sampled.key.bounds.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_is_dropped_half_way_lets_go_of_the_file() {
    let (_keep, from, _) = files();
    script(&from, TABLES).await;
    script(
        &from,
        "CREATE TABLE wide (id INTEGER PRIMARY KEY, b); INSERT INTO wide SELECT i, zeroblob(4000) FROM n;",
    )
    .await;
    let source = connector(&from);
    let tables = source
        .inspect(Role::Source, &any_spec())
        .await
        .expect("a source")
        .tables;
    let wide = tables
        .iter()
        .find(|table| table.name == "wide")
        .expect("there");
    let mut reader = source
        .read(whole(wide, CellForm::Native))
        .await
        .expect("read");
    assert!(reader.next().await.expect("read").is_some());
    drop(reader);
    // A reader that still held its lock would make this fail.
    script(&from, "PRAGMA busy_timeout = 10000; DELETE FROM wide;").await;
}
