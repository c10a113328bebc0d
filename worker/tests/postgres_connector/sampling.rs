//! Bounds cut a table without a gap, whatever the order of its key.

use common::partition::Split;
use common::schema::{CellForm, KeyRange, KeySample};
use worker::connector::{Connector, ReadRequest};

use crate::support::{column, database, digest, plan, server, table, text};

const TABLES: &str = r#"
CREATE COLLATION ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE COLLATION de (provider = icu, locale = 'de');
CREATE TYPE mood AS ENUM ('z', 'y', 'x');
CREATE TABLE k_int (k int PRIMARY KEY, x text);
INSERT INTO k_int SELECT (g * 7919) % 100003, 'x' FROM generate_series(1, 20000) g;
CREATE TABLE k_icu (k text COLLATE de PRIMARY KEY, x text);
INSERT INTO k_icu SELECT (ARRAY['ä','A','a','Z','_','ß','é',E'\\','''','"'])[1 + g % 10] || md5(g::text), 'x'
  FROM generate_series(1, 20000) g;
CREATE TABLE k_c (k text COLLATE "C" PRIMARY KEY, x text);
INSERT INTO k_c SELECT * FROM k_icu;
CREATE TABLE k_ci (k text COLLATE ci PRIMARY KEY, x text);
INSERT INTO k_ci SELECT CASE g % 2 WHEN 0 THEN upper(md5(g::text)) ELSE md5(g::text) END, 'x'
  FROM generate_series(1, 20000) g;
CREATE TABLE k_float (k float8 PRIMARY KEY, x text);
INSERT INTO k_float SELECT g / 7.0, 'x' FROM generate_series(-10000, 9990) g;
INSERT INTO k_float VALUES ('NaN', 'x'), ('Infinity', 'x'), ('-Infinity', 'x');
CREATE TABLE k_numeric (k numeric PRIMARY KEY, x text);
INSERT INTO k_numeric SELECT k::numeric, x FROM k_float;
CREATE TABLE k_date (k date PRIMARY KEY, x text);
INSERT INTO k_date SELECT '2000-01-01 BC'::date + g * 100, 'x' FROM generate_series(1, 20000) g;
INSERT INTO k_date VALUES ('infinity', 'x'), ('-infinity', 'x');
CREATE TABLE k_pair (a mood, k uuid, x text, PRIMARY KEY (a, k));
INSERT INTO k_pair SELECT (ARRAY['x','y','z'])[1 + g % 3]::mood, md5(g::text)::uuid, 'x'
  FROM generate_series(1, 20000) g;
CREATE TABLE k_char (k char(40) PRIMARY KEY, x text);
INSERT INTO k_char SELECT md5(g::text), 'x' FROM generate_series(1, 20000) g;
CREATE TABLE k_array (k int[] PRIMARY KEY, x text);
INSERT INTO k_array SELECT ARRAY[g % 10, g], 'x' FROM generate_series(1, 20000) g;
CREATE TABLE k_bytea (k bytea NOT NULL UNIQUE, x text);
INSERT INTO k_bytea SELECT decode(md5(g::text), 'hex'), 'x' FROM generate_series(1, 20000) g;
CREATE TABLE n_null (k int UNIQUE, x text);
CREATE TABLE n_part (k int NOT NULL, x text);
CREATE UNIQUE INDEX ON n_part (k) WHERE x = 'x';
CREATE UNIQUE INDEX ON n_part (abs(k));
CREATE TABLE n_defer (k int NOT NULL UNIQUE DEFERRABLE, x text);
CREATE TABLE n_money (k money PRIMARY KEY, x text);
"#;

/// The ranges between the bounds, first and last unbounded.
fn ranges(key: &KeySample) -> Vec<KeyRange> {
    let mut from = None;
    let mut ranges = Vec::new();
    for bound in key.bounds.iter().cloned().map(Some).chain([None]) {
        ranges.push(KeyRange {
            from: from.clone(),
            until: bound.clone(),
        });
        from = bound;
    }
    ranges
}

#[tokio::test]
async fn bounds_are_free_of_gaps_in_every_order() {
    let server = server();
    let source = database(server, "samples");
    server.sql("samples", TABLES);
    for name in [
        "k_int",
        "k_icu",
        "k_c",
        "k_ci",
        "k_float",
        "k_numeric",
        "k_date",
        "k_pair",
        "k_char",
        "k_array",
        "k_bytea",
    ] {
        let mut schema = table(name, vec![column("k", "text", text())]);
        schema.rows_estimate = 20_000;
        let found = source.sample(schema.clone(), 8).await.expect("sampled");
        let key = found.key;
        assert_eq!(key.bounds.len(), 7, "{name}: {key:?}");
        let plan = plan(&schema, CellForm::Native);
        assert_eq!(plan.split, Split::Whole);
        let request = |ranges| ReadRequest::source(&plan, key.columns.clone(), ranges);
        let whole = digest(&source, request(Vec::new())).await;
        let all = digest(&source, request(ranges(&key))).await;
        assert_eq!(all, whole, "{name}");
        for range in ranges(&key) {
            let rows = digest(&source, request(vec![range])).await.rows;
            assert!((1_000..6_000).contains(&rows), "{name}: a bucket of {rows}");
        }
    }
}

#[tokio::test]
async fn a_key_that_orders_nothing_is_none() {
    let server = server();
    let source = database(server, "no_samples");
    server.sql("no_samples", TABLES);
    for name in ["n_null", "n_part", "n_defer", "n_money"] {
        let schema = table(name, vec![column("k", "text", text())]);
        let found = source.sample(schema, 8).await.expect("sampled");
        assert!(found.key.columns.is_empty(), "{name}: {:?}", found.key);
    }
}

#[tokio::test]
async fn a_mark_moves_with_a_write_and_not_without() {
    let server = server();
    let source = database(server, "marks");
    server.sql("marks", "CREATE TABLE t (i int); CHECKPOINT");
    let mark = async || source.mark().await.expect("asked").expect("a mark");
    let mut before = mark().await;
    // The server is shared: other tests and background work move it too.
    let mut still = false;
    for _ in 0..10_000 {
        let again = mark().await;
        still = again == before;
        before = again;
        if still {
            break;
        }
    }
    assert!(still);
    server.sql("marks", "INSERT INTO t VALUES (1)");
    assert_ne!(mark().await, before);
}
