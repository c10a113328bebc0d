//! Hard values there and back, in both forms.

use common::code::Code;
use common::schema::{CanonicalType, CellForm, Column, Member};
use common::value::RowBatch;
use worker::connector::{Connector, ReadRequest};

use crate::support::{
    books, column, connector, copy, database, digest, job, plan, server, table, text, txn,
};

const TYPES: &str = r#"
CREATE TYPE mood AS ENUM ('sad', 'o''k', 'a	b');
CREATE TYPE pair AS (a int, b text);
CREATE DOMAIN short AS varchar(5);
CREATE DOMAIN flag AS boolean;
CREATE DOMAIN blob AS bytea;
CREATE DOMAIN padded AS char(4);
CREATE TABLE hard (id int PRIMARY KEY, b boolean, f flag, t text, c char(6), p padded, v short,
  by bytea, bd blob, n numeric, nd numeric(20,5), f4 real, f8 double precision, d date,
  ts timestamp, tz timestamptz, ti time, tt timetz, iv interval, bi bit(12), b64 bit(64),
  vb varbit, m money, j json, jb jsonb, u uuid, ip inet, ci cidr, md mood, ar text[], pa pair,
  rg int4range, x xml, o oid, ch "char", nm name, cl regclass);
"#;

const ROWS: &str = r#"
SET TimeZone = 'Asia/Kathmandu';
INSERT INTO hard VALUES
(1, true, false, E'tab\tnl\ncr\rbs\\N \\. \b\v', 'ab', 'x', 'abcde', '\x00ff5c0a09', '\x', 'NaN',
 123456789012345.12345, 1.1, 0.1, '2024-02-29', '2024-01-01 00:00:00.123456',
 '2024-06-01 12:00:00+05:45', '24:00:00', '12:00:00+13', '1 year 2 mons -3 days 04:05:06.789',
 B'101010101010', B'1111111111111111111111111111111111111111111111111111111111111111',
 B'10', 1234.56, '{"b":1, "a":  2}', '{"b":1, "a":2}', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11',
 '10.0.0.1', '10.0.0.0/8', 'a	b', ARRAY['x,"y', NULL, 'null'], ROW(1, E'q"\\\n'), '[1,5)',
 '<a>&amp;</a>', 4294967295, 'z', 'a name', 'hard'),
(2, false, true, '', '', '', '', '', '\xdeadbeef', 'Infinity', -0.00001, 'NaN', '-Infinity',
 '0044-03-15 BC', 'infinity', '-infinity', '00:00:00.000001', '00:00:00-15:59', '-1 mon',
 B'000000000000', B'1000000000000000000000000000000000000000000000000000000000000000', B'',
 -0.01, '1', 'null', '00000000-0000-0000-0000-000000000000', '::1/64', '::/0', 'o''k', '{}',
 ROW(NULL, ''), 'empty', '', 0, '', '', '-'),
(3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
 NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
 NULL, NULL, NULL, NULL, NULL),
(4, true, true, E'\u00e9\U0001F600\\N', 'é  ', '\N', '\N', '\x5c4e', '\x5c2e',
 0.1234567890123456789012345678901234567890, 99999, '1e-45', '5e-324', 'infinity',
 '294276-12-31 23:59:59.999999', '4713-01-01 00:00:00+00 BC', '23:59:59.999999', '00:00+00',
 '178000000 years', B'000000000001', 0::bit(64), B'1', 0, '"\u0000"', '"\\"',
 'ffffffff-ffff-ffff-ffff-ffffffffffff', '192.168.0.1/24', 'ff::/16', 'sad', '{{1,2},{3,4}}',
 ROW(-1, NULL), '(,)', 'text only', 1, '\', 'ü', 'pg_class');
UPDATE hard SET f8 = '-0', f4 = '-0', n = 1e100, iv = '-838:59:59.5' WHERE id = 2;
"#;

fn decimal() -> CanonicalType {
    CanonicalType::Decimal {
        precision: 20,
        scale: 5,
    }
}

fn columns() -> Vec<Column> {
    let int = |bits, unsigned| CanonicalType::Int { bits, unsigned };
    let (bytes, fraction) = (CanonicalType::Bytes { max_len: None }, 6);
    let values = vec!["sad".to_owned(), "o'k".to_owned(), "a\tb".to_owned()];
    let bit = |width| CanonicalType::Bit { width };
    [
        ("id", "integer", int(32, false)),
        ("b", "boolean", CanonicalType::Bool),
        ("f", "public.flag", CanonicalType::Bool),
        ("t", "text", text()),
        ("c", "character(6)", text()),
        ("p", "public.padded", text()),
        ("v", "public.short", text()),
        ("by", "bytea", bytes.clone()),
        ("bd", "public.blob", bytes),
        ("n", "numeric", CanonicalType::Numeric),
        ("nd", "numeric(20,5)", decimal()),
        ("f4", "real", CanonicalType::Float32),
        ("f8", "double precision", CanonicalType::Float64),
        ("d", "date", CanonicalType::Date),
        (
            "ts",
            "timestamp without time zone",
            CanonicalType::DateTime { fraction },
        ),
        (
            "tz",
            "timestamp with time zone",
            CanonicalType::Timestamp { fraction },
        ),
        (
            "ti",
            "time without time zone",
            CanonicalType::Time { fraction },
        ),
        ("tt", "time with time zone", text()),
        ("iv", "interval", text()),
        ("bi", "bit(12)", bit(12)),
        ("b64", "bit(64)", bit(64)),
        ("vb", "bit varying", text()),
        ("m", "money", CanonicalType::Numeric),
        ("j", "json", CanonicalType::Json),
        ("jb", "jsonb", CanonicalType::Json),
        ("u", "uuid", CanonicalType::Uuid),
        ("ip", "inet", CanonicalType::Inet),
        ("ci", "cidr", CanonicalType::Inet),
        ("md", "public.mood", CanonicalType::Enum { values }),
        ("ar", "text[]", text()),
        ("pa", "public.pair", text()),
        ("rg", "int4range", text()),
        ("x", "xml", text()),
        ("o", "oid", int(32, true)),
        ("ch", "\"char\"", text()),
        ("nm", "name", text()),
        ("cl", "regclass", text()),
    ]
    .into_iter()
    .map(|(name, native, canonical)| column(name, native, canonical))
    .collect()
}

#[tokio::test]
async fn hard_values_come_back_in_both_forms() {
    let server = server();
    let source = database(server, "rt_s");
    server.sql("rt_s", TYPES);
    server.sql("rt_s", ROWS);
    let shown = "SELECT md5(string_agg(hard::text, E'\\n' ORDER BY id)), count(*) FROM hard";
    let expected = server.sql("rt_s", shown);
    assert!(expected.ends_with("|4"), "{expected}");
    for form in [CellForm::Native, CellForm::Canonical] {
        let name = format!("rt_{form:?}").to_lowercase();
        let target = database(server, &name);
        server.sql(&name, TYPES);
        let job = job();
        books(server, &name, &job);
        let plan = plan(&table("hard", columns()), form);
        let loaded = copy(&source, &target, &plan, txn(&job, 0, 1)).await;
        assert_eq!(server.sql(&name, shown), expected, "{form:?}");
        let read = digest(&target, ReadRequest::target(&plan)).await;
        assert_eq!(read, loaded.digest, "{form:?}");
    }
}

#[tokio::test]
async fn canonical_cells_are_as_documented() {
    let server = server();
    let source = database(server, "canon");
    server.sql("canon", TYPES);
    server.sql("canon", ROWS);
    let wanted = [
        "b", "f", "c", "p", "by", "tz", "bi", "b64", "m", "d", "n", "f8", "ip",
    ];
    let mut all = columns();
    all.retain(|column| wanted.contains(&column.name.as_str()));
    let plan = plan(&table("hard", all), CellForm::Canonical);
    let request = ReadRequest::source(&plan, vec!["id".into()], Vec::new());
    let mut reader = source.read(request).await.expect("opened");
    let batch = reader.next().await.expect("read").expect("rows");
    assert!(reader.next().await.expect("read").is_none());
    let cells: Vec<Vec<u8>> = batch
        .cells()
        .map(|cell| cell.unwrap_or(b"NULL").to_vec())
        .collect();
    let row = |at: usize| -> Vec<String> {
        let cells = &cells[at * wanted.len()..(at + 1) * wanted.len()];
        cells
            .iter()
            .map(|cell| String::from_utf8_lossy(cell).into_owned())
            .collect()
    };
    let first = row(0);
    assert_eq!(&first[..4], ["1", "0", "ab", "x"]);
    assert_eq!(cells[4], b"\x00\xff\x5c\x0a\x09");
    assert_eq!(
        &first[5..],
        [
            "NaN",
            "0.1",
            "2024-02-29",
            "2024-06-01 06:15:00",
            "2730",
            "18446744073709551615",
            "1234.56",
            "10.0.0.1"
        ]
    );
    // The second was updated: it comes last.
    let last = row(3);
    assert_eq!(last[6], "-0");
    assert_eq!(last[7..9], ["0044-03-15 BC", "-infinity"]);
    assert_eq!(last[10], "9223372036854775808");
}

#[tokio::test]
async fn a_table_without_columns_keeps_its_rows() {
    let server = server();
    let (source, target) = (database(server, "bare_s"), database(server, "bare_t"));
    let job = job();
    books(server, "bare_t", &job);
    server.sql(
        "bare_s",
        "CREATE TABLE t (); INSERT INTO t DEFAULT VALUES; INSERT INTO t DEFAULT VALUES",
    );
    server.sql("bare_t", "CREATE TABLE t ()");
    for (partition, form) in [(0, CellForm::Native), (1, CellForm::Canonical)] {
        let plan = plan(&table("t", Vec::new()), form);
        let loaded = copy(&source, &target, &plan, txn(&job, partition, 1)).await;
        assert_eq!(loaded.digest.rows, 2);
    }
    assert_eq!(server.sql("bare_t", "SELECT count(*) FROM t"), "4");
}

#[tokio::test]
async fn fifty_megabytes_in_a_cell() {
    let server = server();
    let (source, target) = (database(server, "big_s"), database(server, "big_t"));
    let job = job();
    books(server, "big_t", &job);
    let make = "CREATE TABLE t (id int PRIMARY KEY, t text, b bytea)";
    server.sql("big_t", make);
    server.sql("big_s", make);
    server.sql(
        "big_s",
        "INSERT INTO t SELECT 1, repeat(E'0123\\t\\\\\\n89', 5000000), \
         decode(repeat('00ff5c0a', 12500000), 'hex')",
    );
    let columns = vec![
        column(
            "id",
            "integer",
            CanonicalType::Int {
                bits: 32,
                unsigned: false,
            },
        ),
        column("t", "text", text()),
        column("b", "bytea", CanonicalType::Bytes { max_len: None }),
    ];
    let shown = "SELECT md5(t), md5(b), length(t), length(b) FROM t";
    let expected = server.sql("big_s", shown);
    assert!(expected.ends_with("|45000000|50000000"), "{expected}");
    for (partition, form) in [(0, CellForm::Native), (1, CellForm::Canonical)] {
        let plan = plan(&table("t", columns.clone()), form);
        copy(&source, &target, &plan, txn(&job, partition, 1)).await;
        assert_eq!(server.sql("big_t", shown), expected, "{form:?}");
        server.sql("big_t", "TRUNCATE t");
    }
}

#[tokio::test]
async fn a_value_that_does_not_fit_names_table_and_column() {
    let server = server();
    let target = database(server, "fit");
    let job = job();
    books(server, "fit", &job);
    server.sql(
        "fit",
        "CREATE TABLE t (i smallint, v varchar(3), u int UNIQUE)",
    );
    let columns = ["i", "v", "u"].map(|name| column(name, "text", text()));
    let plan = plan(&table("t", columns.to_vec()), CellForm::Canonical);
    let cases: [([&[u8]; 3], Code, &str); 5] = [
        ([b"70000", b"", b"1"], Code::NotRepresentable, "column i"),
        ([b"1", b"long", b"1"], Code::NotRepresentable, "table t"),
        ([b"x", b"", b"1"], Code::NotRepresentable, "column i"),
        ([b"1", b"a\0b", b"1"], Code::NotRepresentable, "t.v:"),
        ([b"1", b"\xff", b"1"], Code::NotRepresentable, "COPY t"),
    ];
    for (epoch, (cells, code, words)) in (1..).zip(cases) {
        let writer = target.writer(txn(&job, 0, epoch), plan.clone());
        let mut writer = writer.await.expect("opened");
        writer.begin(None).await.expect("begun");
        let mut batch = RowBatch::new(3);
        for cell in cells {
            batch.push(cell);
        }
        let error = writer.load(batch).await.expect_err("refused");
        assert_eq!(error.failure.code, code, "{error}");
        assert!(error.failure.what.contains(words), "{error}");
        writer.rollback().await.expect("rolled back");
    }
    assert_eq!(server.sql("fit", "SELECT count(*) FROM t"), "0");
}

#[tokio::test]
async fn a_family_is_read_by_leaf_natively_and_by_root_canonically() {
    let server = server();
    let source = database(server, "family");
    server.sql(
        "family",
        "CREATE TABLE r (id int) PARTITION BY RANGE (id);
         CREATE TABLE r1 PARTITION OF r FOR VALUES FROM (0) TO (10);
         CREATE TABLE r2 PARTITION OF r DEFAULT;
         INSERT INTO r SELECT generate_series(1, 20);
         CREATE TABLE p (id int); CREATE TABLE c () INHERITS (p);
         INSERT INTO p VALUES (1); INSERT INTO c VALUES (2), (3)",
    );
    let columns = vec![column("id", "integer", text())];
    for (name, member, form, rows) in [
        ("r", Some(Member::Root), CellForm::Native, 0),
        ("r", Some(Member::Root), CellForm::Canonical, 20),
        ("r1", Some(Member::Leaf), CellForm::Native, 9),
        ("p", None, CellForm::Native, 1),
        ("p", None, CellForm::Canonical, 1),
    ] {
        let mut schema = table(name, columns.clone());
        schema.member = member;
        let request = ReadRequest::source(&plan(&schema, form), Vec::new(), Vec::new());
        assert_eq!(digest(&source, request).await.rows, rows, "{name} {form:?}");
    }
}

#[tokio::test]
async fn a_reader_dropped_half_way_leaves_no_session() {
    let server = server();
    let source = database(server, "dropped");
    server.sql(
        "dropped",
        "CREATE TABLE t AS SELECT g AS id, repeat('x', 1000) AS x FROM generate_series(1, 50000) g",
    );
    let columns = vec![column("id", "integer", text()), column("x", "text", text())];
    let plan = plan(&table("t", columns), CellForm::Native);
    let request = ReadRequest::source(&plan, Vec::new(), Vec::new());
    let mut reader = source.read(request).await.expect("opened");
    let batch = reader.next().await.expect("read").expect("rows");
    assert!(batch.bytes() < 2 << 20, "{} bytes", batch.bytes());
    drop(reader);
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(20));
    for _ in 0..1_000 {
        ticks.tick().await;
        let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sterna' \
                    AND datname = 'dropped'";
        if server.sql("postgres", left) == "0" {
            return;
        }
    }
    panic!("the session is still there");
}

#[tokio::test]
async fn bytes_of_no_encoding_travel_as_they_are() {
    let server = server();
    for name in ["ascii_s", "ascii_t"] {
        server.sql(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"),
        );
        server.sql(name, "CREATE TABLE t (c text)");
    }
    server.sql(
        "ascii_s",
        "SET client_encoding = 'SQL_ASCII'; INSERT INTO t VALUES (E'\\xff\\t\\xe9')",
    );
    let [source, target] = ["ascii_s", "ascii_t"].map(|name| connector(&server.url(name)));
    let job = job();
    books(server, "ascii_t", &job);
    let plan = plan(
        &table("t", vec![column("c", "text", text())]),
        CellForm::Native,
    );
    copy(&source, &target, &plan, txn(&job, 0, 1)).await;
    let shown = "SELECT encode(c::bytea, 'hex') FROM t";
    assert_eq!(server.sql("ascii_t", shown), "ff09e9");
}
