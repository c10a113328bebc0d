//! A MySQL table in an SQLite file: the table Sterna makes for it, and every canonical text back as
//! it came.

mod sqlite_support;

use common::code::Code;
use common::digest::{Digest, RowHasher};
use common::plan::{Loaded, TablePlan};
use common::schema::{
    CanonicalType, Catalog, CellForm, Column, ColumnDefault, EndpointFacts, Engine, ForeignKey,
    Index, IndexColumn, InspectedTable, KeySample, TableSchema,
};
use common::task::TaskKind;
use common::value::{DigestColumn, RowBatch};
use sqlite_support::*;
use worker::connector::{Connector, ReadRequest};

fn column(name: &str, native: &str, canonical: CanonicalType) -> Column {
    Column {
        name: name.into(),
        native_type: native.into(),
        canonical,
        nullable: true,
        default: None,
        auto_increment: false,
        charset: None,
        collation: None,
        generated: None,
        comment: String::new(),
    }
}

fn facts(engine: Engine) -> EndpointFacts {
    EndpointFacts {
        engine,
        version: "10.11.19-MariaDB".into(),
        durable_prepare: false,
        writers_max: 1,
    }
}

fn int(bits: u8, unsigned: bool) -> CanonicalType {
    CanonicalType::Int { bits, unsigned }
}

/// A column and its canonical texts in two rows.
type Case = (Column, [&'static [u8]; 2]);

fn numbers() -> Vec<Case> {
    let decimal = |precision, scale| CanonicalType::Decimal { precision, scale };
    vec![
        (
            column("id", "bigint(20)", int(64, false)),
            [b"-9223372036854775808", b"9223372036854775807"],
        ),
        (
            column("u", "int(10) unsigned", int(32, true)),
            [b"0", b"4294967295"],
        ),
        (column("flag", "tinyint(1)", int(8, false)), [b"1", b"-128"]),
        (
            column("d15", "decimal(15,2)", decimal(15, 2)),
            [b"9999999999999.99", b"-0.10"],
        ),
        (
            column("d15s", "decimal(15,15)", decimal(15, 15)),
            [b"0.000000000000001", b"0.100000000000000"],
        ),
        (
            column("d30", "decimal(30,10)", decimal(30, 10)),
            [b"12345678901234567890.0123456789", b"1.5000000000"],
        ),
        (
            column("f", "float", CanonicalType::Float32),
            [b"0.1", b"3.4028235e38"],
        ),
        (
            column("r", "double", CanonicalType::Float64),
            [b"0.1", b"-5e-324"],
        ),
    ]
}

fn texts_and_times() -> Vec<Case> {
    let text = CanonicalType::Text { max_chars: None };
    let bytes = CanonicalType::Bytes { max_len: Some(16) };
    let set = CanonicalType::Set {
        values: vec!["a".into(), "b".into()],
    };
    let fraction = 6;
    vec![
        (
            column("t", "longtext", text),
            ["Ünïcöde 😀 \0 'x'".as_bytes(), b"007"],
        ),
        (
            column(
                "v",
                "varchar(9)",
                CanonicalType::Text { max_chars: Some(9) },
            ),
            [b"1e3", b""],
        ),
        (column("b", "varbinary(16)", bytes), [b"\x00\xff", b"123"]),
        (
            column("day", "date", CanonicalType::Date),
            [b"2024-02-29", b"0000-00-00"],
        ),
        (
            column("clock", "time(6)", CanonicalType::Time { fraction }),
            [b"-838:59:59.000000", b"10:00:00.120000"],
        ),
        (
            column("at", "datetime(6)", CanonicalType::DateTime { fraction }),
            [b"2024-02-29 23:59:59.000001", b"2024-01-01 00:00:00.000000"],
        ),
        (
            column("ts", "timestamp", CanonicalType::Timestamp { fraction: 0 }),
            [b"1970-01-01 00:00:01", b"2038-01-19 03:14:07"],
        ),
        (
            column("y", "year(4)", CanonicalType::Year),
            [b"2024", b"0000"],
        ),
        (
            column("j", "json", CanonicalType::Json),
            [b"{\"a\": 1.0}", b"1.0"],
        ),
        (
            column(
                "e",
                "enum('a')",
                CanonicalType::Enum {
                    values: vec!["1".into()],
                },
            ),
            [b"1", b""],
        ),
        (column("s", "set('a','b')", set), [b"a,b", b""]),
        (
            column("bits", "bit(12)", CanonicalType::Bit { width: 12 }),
            [b"4095", b"0"],
        ),
        (
            column("wide", "bit(64)", CanonicalType::Bit { width: 64 }),
            [b"18446744073709551615", b"0"],
        ),
    ]
}

fn source_table() -> (TableSchema, Vec<[&'static [u8]; 2]>) {
    let (mut columns, texts): (Vec<Column>, Vec<_>) =
        numbers().into_iter().chain(texts_and_times()).unzip();
    columns[0].nullable = false;
    columns[0].auto_increment = true;
    columns[1].default = Some(ColumnDefault::Literal("7".into()));
    columns[9].default = Some(ColumnDefault::Literal("it's".into()));
    columns[13].default = Some(ColumnDefault::CurrentTimestamp {
        fraction: 6,
        on_update: false,
    });
    let part = |name: &str, prefix| IndexColumn {
        name: name.into(),
        prefix,
        descending: false,
    };
    let index = |name: &str, unique, columns| Index {
        name: name.into(),
        unique,
        columns,
        native: None,
    };
    let table = TableSchema {
        schema: None,
        member: None,
        name: "every `type`".into(),
        columns,
        primary_key: vec!["id".into()],
        indexes: vec![
            index("by_v", false, vec![part("v", None), part("u", None)]),
            index("uniq", true, vec![part("t", Some(5))]),
        ],
        foreign_keys: vec![ForeignKey {
            references_schema: None,
            native: None,
            name: "self".into(),
            columns: vec!["u".into()],
            references_table: "every `type`".into(),
            references_columns: vec!["id".into()],
            on_delete: "SET NULL".into(),
            on_update: "NO ACTION".into(),
        }],
        auto_increment: Some(500),
        native_options: "ENGINE=InnoDB".into(),
        native_ddl: None,
        native_key: None,
        rows_estimate: 2,
        bytes_estimate: 500,
    };
    (table, texts)
}

/// Two rows of values and one of NULLs (the key aside).
fn batch(texts: &[[&'static [u8]; 2]]) -> RowBatch {
    let mut batch = RowBatch::new(texts.len());
    for row in 0..2 {
        texts.iter().for_each(|cells| batch.push(cells[row]));
    }
    batch.push(b"3");
    (1..texts.len()).for_each(|_| batch.push_null());
    batch
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mysql_type_comes_back_as_it_went() {
    let (_keep, _, to) = files();
    let (source, texts_of) = source_table();
    let target = connector(&to);
    let (mapped, loaded) = fill(&*target, &source, &texts_of).await;
    let request = ReadRequest {
        canonical: source.clone(),
        ..whole(&mapped, CellForm::Canonical)
    };
    let back: Digest = digest(&*target, request).await.expect("read back");
    assert_eq!(back, loaded.digest);
    // And once more by what the file's own catalogue says, as when it becomes a source.
    let inspected = inspect_for(&to, "mysql://u@h/d").await;
    check_catalogue(&inspected.tables[0], &source);
    let again = whole(&inspected.tables[0], CellForm::Canonical);
    assert_eq!(digest(&*target, again).await.expect("read").rows, 3);
    let sql = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1";
    assert_eq!(texts(&to, sql).await, ["by_v", "uniq"]);
}

/// The plan of a job from MySQL for one table.
fn planned(source: &TableSchema) -> TablePlan {
    let catalog = Catalog {
        source: facts(Engine::Mysql),
        target: facts(Engine::Sqlite),
        tables: vec![InspectedTable {
            schema: source.clone(),
            key: KeySample::default(),
        }],
        objects: Vec::new(),
        mark: None,
        log: None,
        there: None,
        notes: Vec::new(),
    };
    let plan = common::plan::plan(catalog, &any_spec(), 7, 1).expect("a plan");
    plan.tables.into_iter().next().expect("one table")
}

/// Create, one partition of three rows, indexes and foreign keys.
async fn fill(
    target: &dyn Connector,
    source: &TableSchema,
    texts_of: &[[&'static [u8]; 2]],
) -> (TableSchema, Loaded) {
    let plan = planned(source);
    let plans = std::slice::from_ref(&plan);
    let form = CellForm::Canonical;
    target
        .define(work(TaskKind::Create, 0, plans))
        .await
        .expect("created");

    let digest_columns: Vec<DigestColumn> = source
        .copied_columns()
        .map(|column| DigestColumn::new(&column.canonical, form))
        .collect();
    let mut loaded = Loaded::default();
    let rows = batch(texts_of);
    rows.digest_into(
        &digest_columns,
        &mut RowHasher::default(),
        &mut loaded.digest,
    );
    let mut writer = target
        .writer(txn(0, 1), plan.clone())
        .await
        .expect("a writer");
    writer.begin(None).await.expect("begun");
    writer.load(rows).await.expect("loaded");
    writer.prepare(loaded).await.expect("prepared");
    writer.commit().await.expect("committed");
    for kind in [
        TaskKind::Index {
            table: common::id::TableNo(0),
        },
        TaskKind::ForeignKeys {
            table: common::id::TableNo(0),
        },
    ] {
        let task = 1 + u32::from(matches!(kind, TaskKind::ForeignKeys { .. }));
        target
            .define(work(kind, task, plans))
            .await
            .expect("defined");
    }

    (plan.target, loaded)
}

fn check_catalogue(found: &TableSchema, source: &TableSchema) {
    assert!(found.columns[0].auto_increment && found.auto_increment == Some(i64::MAX as u64 + 1));
    assert_eq!(
        found.columns[9].default,
        Some(ColumnDefault::Literal("it's".into()))
    );
    assert_eq!(found.foreign_keys[0].on_delete, "SET NULL");
    let mapped_back = found.columns.iter().zip(&source.columns);
    for (found, source) in
        mapped_back.filter(|(_, source)| !matches!(source.name.as_str(), "id" | "e" | "s"))
    {
        let same = match (&found.canonical, &source.canonical) {
            // A declared type without digits stands for any fraction.
            (CanonicalType::Timestamp { .. }, CanonicalType::Timestamp { .. }) => true,
            (found, source) => found == source,
        };
        assert!(same, "{}: {:?}", found.name, found.canonical);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_beyond_63_bits_is_refused_by_name() {
    let (_keep, _, to) = files();
    let mut table = source_table().0;
    table.columns.truncate(2);
    table.columns[1].canonical = int(64, true);
    table.indexes.clear();
    table.foreign_keys.clear();
    table.columns[1].native_type = "bigint(20) unsigned".into();
    let mut plan = planned(&table);
    // An integer of SQLite's, whatever the plan would choose for so large numbers.
    plan.target.columns[1].native_type = "BIGINT UNSIGNED".into();
    let target = connector(&to);
    let create = work(TaskKind::Create, 0, std::slice::from_ref(&plan));
    target.define(create).await.expect("created");
    let mut writer = target.writer(txn(0, 1), plan).await.expect("a writer");
    writer.begin(None).await.expect("begun");
    let mut rows = RowBatch::new(2);
    rows.push(b"1");
    rows.push(b"18446744073709551615");
    let refused = writer.load(rows).await.expect_err("too large");
    assert_eq!(refused.failure.code, Code::NotRepresentable);
    assert!(refused.failure.what.contains("every `type`.u"), "{refused}");
}
