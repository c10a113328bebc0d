//! The mapping's decisions, one by one.

mod casts;
mod pairs;
mod properties;
mod schemas;

use crate::code::{Code, Failure};
use crate::job::{Endpoint, JobSpec};
use crate::schema::{
    CanonicalType, Column, ColumnDefault, EndpointFacts, Engine, ForeignKey, Index, IndexColumn,
    TableSchema,
};

fn facts(engine: Engine, version: &str) -> EndpointFacts {
    EndpointFacts {
        engine,
        version: version.into(),
        durable_prepare: engine == Engine::Mysql,
        writers_max: 1,
    }
}

/// A job between two engines, with nothing special.
fn job(source: Engine, target: Engine) -> JobSpec {
    let end = |engine: Engine| Endpoint {
        url: match engine {
            Engine::Sqlite => "sqlite:x".into(),
            Engine::Mysql => "mysql://u@h/shop".into(),
            Engine::Postgres => "postgres://u@h/shop".into(),
        },
        password: None,
    };
    JobSpec::new("j", end(source), end(target))
}

fn version(engine: Engine) -> &'static str {
    match engine {
        Engine::Sqlite => "3.51",
        Engine::Mysql => "10.11.19-MariaDB",
        Engine::Postgres => "15.20",
    }
}

/// Maps with a job that has more to say.
fn map_with(
    sources: &[&TableSchema],
    source: Engine,
    target: Engine,
    with: impl FnOnce(&mut JobSpec),
) -> Result<super::Mapped, Failure> {
    let mut spec = job(source, target);
    with(&mut spec);
    let ends = (
        facts(source, version(source)),
        facts(target, version(target)),
    );
    super::map_tables(sources, &ends.0, &ends.1, &spec)
}

fn map_tables(
    sources: &[&TableSchema],
    source: &EndpointFacts,
    target: &EndpointFacts,
) -> Result<(Vec<TableSchema>, Vec<String>), Failure> {
    let spec = job(source.engine, target.engine);
    let mapped = super::map_tables(sources, source, target, &spec)?;
    let tables = mapped.tables.into_iter().map(|(table, _)| table);
    Ok((tables.collect(), mapped.notes))
}

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

fn table(name: &str, columns: Vec<Column>, primary_key: &[&str]) -> TableSchema {
    TableSchema {
        schema: None,
        member: None,
        name: name.into(),
        columns,
        primary_key: primary_key.iter().map(|name| (*name).to_owned()).collect(),
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        auto_increment: None,
        native_options: String::new(),
        native_ddl: None,
        native_key: None,
        rows_estimate: 0,
        bytes_estimate: 0,
    }
}

fn index(name: &str, unique: bool, columns: &[&str]) -> Index {
    let columns = columns.iter().map(|name| IndexColumn {
        name: (*name).to_owned(),
        prefix: None,
        descending: false,
    });
    Index {
        name: name.into(),
        unique,
        columns: columns.collect(),
        native: None,
    }
}

const INT: CanonicalType = CanonicalType::Int {
    bits: 64,
    unsigned: false,
};
const TEXT: CanonicalType = CanonicalType::Text { max_chars: None };

fn to_mysql(tables: &[&TableSchema]) -> (Vec<TableSchema>, Vec<String>) {
    let source = facts(Engine::Sqlite, "3.51");
    let target = facts(Engine::Mysql, "10.11.19-MariaDB");
    map_tables(tables, &source, &target).expect("mappable")
}

fn natives(table: &TableSchema) -> Vec<&str> {
    let columns = table.columns.iter();
    columns.map(|column| column.native_type.as_str()).collect()
}

#[test]
fn one_engine_keeps_everything() {
    let source = table("t", vec![column("a", "whatever", CanonicalType::Any)], &[]);
    let sqlite = facts(Engine::Sqlite, "3.51");
    let mapped = map_tables(&[&source], &sqlite, &sqlite);
    assert_eq!(mapped, Ok((vec![source], Vec::new())));
}

#[test]
fn sqlite_types_become_mysql_types() {
    let decimal = CanonicalType::Decimal {
        precision: 10,
        scale: 2,
    };
    let columns = vec![
        column("id", "INTEGER", INT),
        column("flag", "BOOLEAN", CanonicalType::Bool),
        column(
            "n",
            "NVARCHAR(160)",
            CanonicalType::Text {
                max_chars: Some(160),
            },
        ),
        column("t", "TEXT", TEXT),
        column("price", "NUMERIC(10,2)", decimal),
        column("at", "DATETIME", CanonicalType::DateTime { fraction: 6 }),
        column("b", "BLOB", CanonicalType::Bytes { max_len: None }),
        column("r", "REAL", CanonicalType::Float64),
    ];
    let mut source = table("track", columns, &["id"]);
    source.indexes = vec![index("by_text", false, &["t", "n"])];
    let (mapped, notes) = to_mysql(&[&source]);
    assert_eq!(notes, Vec::<String>::new());
    assert_eq!(
        natives(&mapped[0]),
        [
            "BIGINT",
            "TINYINT(1)",
            "VARCHAR(160)",
            "LONGTEXT",
            "DECIMAL(10,2)",
            "DATETIME(6)",
            "LONGBLOB",
            "DOUBLE"
        ]
    );
    let id = &mapped[0].columns[0];
    assert!(id.auto_increment && !id.nullable);
    let text = &mapped[0].columns[3];
    assert_eq!(text.collation.as_deref(), Some("utf8mb4_nopad_bin"));
    let prefixes: Vec<_> = mapped[0].indexes[0]
        .columns
        .iter()
        .map(|part| part.prefix)
        .collect();
    assert_eq!(prefixes, [Some(384), None]);
}

#[test]
fn texts_in_keys_fit_a_key() {
    let mut child = table("child", vec![column("p", "TEXT", TEXT)], &[]);
    child.foreign_keys.push(ForeignKey {
        references_schema: None,
        native: None,
        name: String::new(),
        columns: vec!["p".into()],
        references_table: "Parent".into(),
        references_columns: vec!["k".into()],
        on_delete: "NO ACTION".into(),
        on_update: "NO ACTION".into(),
    });
    let parent = table("parent", vec![column("k", "TEXT", TEXT)], &["k"]);
    let pair = vec![
        column("a", "TEXT", TEXT),
        column("b", "BLOB", CanonicalType::Bytes { max_len: None }),
    ];
    let composite = table("composite", pair, &["a", "b"]);
    let (mapped, _) = to_mysql(&[&child, &parent, &composite]);
    assert_eq!(natives(&mapped[0]), ["VARCHAR(768)"]);
    assert_eq!(natives(&mapped[1]), ["VARCHAR(768)"]);
    assert_eq!(natives(&mapped[2]), ["VARCHAR(384)", "VARBINARY(1536)"]);
}

#[test]
fn everything_that_cannot_be_mapped_is_named_at_once() {
    let columns = vec![
        column("x", "", CanonicalType::Any),
        column("n", "STUFF", CanonicalType::Any),
        column("", "INT", INT),
    ];
    let source = table("t", columns, &[]);
    let sqlite = facts(Engine::Sqlite, "3.51");
    let mysql = facts(Engine::Mysql, "8.4.1");
    let failure = map_tables(&[&source], &sqlite, &mysql).expect_err("two reasons");
    assert_eq!(failure.code, Code::UnsupportedType);
    for named in ["t.x", "t.n (STUFF)", "\"\" is no name"] {
        assert!(failure.what.contains(named), "{named}: {}", failure.what);
    }
}

#[test]
fn defaults_and_indexes_that_are_left_out_are_noted() {
    let mut text = column("s", "TEXT", TEXT);
    text.default = Some(ColumnDefault::Expression("1+2".into()));
    let mut at = column("at", "DATETIME", CanonicalType::DateTime { fraction: 6 });
    at.default = Some(ColumnDefault::CurrentTimestamp {
        fraction: 0,
        on_update: false,
    });
    let mut source = table("t", vec![text, at], &[]);
    let mut partial = index("part", true, &[]);
    partial.native = Some("CREATE UNIQUE INDEX part ON t(s) WHERE s > ''".into());
    source.indexes = vec![partial, index("sqlite_autoindex_t_1", true, &["s"])];
    let (mapped, notes) = to_mysql(&[&source]);
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert_eq!(mapped[0].columns[0].default, None);
    assert_eq!(
        mapped[0].columns[1].default,
        Some(ColumnDefault::CurrentTimestamp {
            fraction: 6,
            on_update: false
        })
    );
    let names: Vec<_> = mapped[0]
        .indexes
        .iter()
        .map(|index| index.name.as_str())
        .collect();
    assert_eq!(names, ["unique_1"]);
}

#[test]
fn mysql_types_keep_their_names_where_sqlite_keeps_their_values() {
    let decimal = |precision, scale| CanonicalType::Decimal { precision, scale };
    let int = |bits, unsigned| CanonicalType::Int { bits, unsigned };
    let cases = [
        ("int(10) unsigned", int(32, true), "INT UNSIGNED"),
        ("tinyint(1)", int(8, false), "TINYINT"),
        ("decimal(10,2)", decimal(10, 2), "DECIMAL(10,2)"),
        ("decimal(30,10)", decimal(30, 10), "DECIMAL_TEXT(30,10)"),
        ("float", CanonicalType::Float32, "FLOAT4"),
        (
            "varchar(40)",
            CanonicalType::Text {
                max_chars: Some(40),
            },
            "VARCHAR(40)",
        ),
        ("longtext", TEXT, "TEXT"),
        (
            "datetime(3)",
            CanonicalType::DateTime { fraction: 3 },
            "DATETIME(3)",
        ),
        (
            "timestamp",
            CanonicalType::Timestamp { fraction: 0 },
            "TIMESTAMP",
        ),
        ("json", CanonicalType::Json, "JSON_TEXT"),
        ("bit(64)", CanonicalType::Bit { width: 64 }, "BIT_TEXT(64)"),
        (
            "enum('a')",
            CanonicalType::Enum {
                values: vec!["a".into()],
            },
            "TEXT",
        ),
    ];
    let columns = (0..)
        .zip(&cases)
        .map(|(i, (native, canonical, _))| column(&format!("c{i}"), native, canonical.clone()));
    let source = table("t", columns.collect(), &[]);
    let mut keyed = table("k", vec![column("id", "bigint(20)", INT)], &["id"]);
    keyed.columns[0].auto_increment = true;
    keyed.indexes = vec![index("same", false, &["id"])];
    let mut other = keyed.clone();
    other.name = "k2".into();
    let mysql = facts(Engine::Mysql, "10.11.19-MariaDB");
    let sqlite = facts(Engine::Sqlite, "3.51");
    let (mapped, _) = map_tables(&[&source, &keyed, &other], &mysql, &sqlite).expect("mappable");
    let expected: Vec<&str> = cases.iter().map(|case| case.2).collect();
    assert_eq!(natives(&mapped[0]), expected);
    assert_eq!(natives(&mapped[1]), ["INTEGER"]);
    assert!(mapped[1].columns[0].auto_increment);
    assert_eq!(mapped[1].indexes[0].name, "k_same");
    assert_eq!(mapped[2].indexes[0].name, "k2_same");
}

#[test]
fn names_that_sqlite_folds_into_one_are_refused() {
    let (upper, lower) = (
        table("A", vec![column("x", "int", INT)], &[]),
        table("a", vec![column("x", "int", INT)], &[]),
    );
    let mysql = facts(Engine::Mysql, "8.4.1");
    let sqlite = facts(Engine::Sqlite, "3.51");
    let failure = map_tables(&[&upper, &lower], &mysql, &sqlite).expect_err("one name");
    assert_eq!(failure.code, Code::UnsupportedTable);
}

#[test]
fn declared_lengths_beyond_a_row_become_texts() {
    let wide = CanonicalType::Text {
        max_chars: Some(4000),
    };
    let names = ["a", "b", "c", "d", "e"];
    let columns = names.map(|name| column(name, "VARCHAR(4000)", wide.clone()));
    let source = table("t", columns.into(), &[]);
    let (mapped, _) = to_mysql(&[&source]);
    let kept = natives(&mapped[0]);
    assert_eq!(
        kept.iter().filter(|native| **native == "LONGTEXT").count(),
        2
    );
}
