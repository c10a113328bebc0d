//! Types and verdicts between engines.

use super::*;
use crate::fidelity::Verdict;
use crate::mapping::{as_read, catalogue};
use crate::schema::Generated;

/// What becomes of a column alone in a table: type, verdict, codes of losses.
fn one(
    from: Engine,
    to: Engine,
    native: &str,
    canonical: CanonicalType,
) -> (String, Verdict, Vec<&'static str>) {
    let source = table("t", vec![column("c", native, canonical)], &[]);
    let mapped = map_with(&[&source], from, to, |_| {}).expect("mappable");
    let verdict = &mapped.tables[0].1[0];
    let codes = verdict.losses.iter().map(|loss| loss.loss.code());
    (verdict.to.clone(), verdict.verdict, codes.collect())
}

#[test]
fn mysql_types_become_postgres_types() {
    let int = |bits, unsigned| CanonicalType::Int { bits, unsigned };
    let cases = [
        (
            "tinyint(1)",
            int(8, false),
            "smallint",
            Verdict::Widened,
            "",
        ),
        ("smallint", int(16, false), "smallint", Verdict::Exact, ""),
        (
            "smallint unsigned",
            int(16, true),
            "integer",
            Verdict::Widened,
            "",
        ),
        (
            "int unsigned",
            int(32, true),
            "bigint",
            Verdict::Widened,
            "",
        ),
        (
            "bigint unsigned",
            int(64, true),
            "numeric(20,0)",
            Verdict::Widened,
            "",
        ),
    ];
    for (native, canonical, to, verdict, codes) in cases {
        let found = one(Engine::Mysql, Engine::Postgres, native, canonical);
        assert_eq!(found.0, to, "{native}");
        assert_eq!(
            (found.1, found.2.join(" ")),
            (verdict, codes.to_owned()),
            "{native}"
        );
    }
}

#[test]
fn mysql_texts_and_dates_become_postgres_types() {
    let list = CanonicalType::Enum {
        values: vec!["a".into(), "b".into()],
    };
    let cases = [
        (
            "double",
            CanonicalType::Float64,
            "double precision",
            Verdict::Exact,
            "",
        ),
        ("longtext", TEXT, "text", Verdict::Guarded, "nul-in-text"),
        (
            "date",
            CanonicalType::Date,
            "date",
            Verdict::Guarded,
            "zero-date",
        ),
        (
            "time",
            CanonicalType::Time { fraction: 0 },
            "interval(0)",
            Verdict::Widened,
            "",
        ),
        (
            "timestamp(3)",
            CanonicalType::Timestamp { fraction: 3 },
            "timestamptz(3)",
            Verdict::Guarded,
            "zero-date",
        ),
        (
            "enum('a','b')",
            list,
            "text",
            Verdict::Guarded,
            "not-a-member",
        ),
        ("json", CanonicalType::Json, "json", Verdict::Exact, ""),
        (
            "geometry",
            CanonicalType::Bytes { max_len: None },
            "bytea",
            Verdict::Widened,
            "",
        ),
        (
            "year",
            CanonicalType::Year,
            "smallint",
            Verdict::Widened,
            "",
        ),
    ];
    for (native, canonical, to, verdict, codes) in cases {
        let found = one(Engine::Mysql, Engine::Postgres, native, canonical);
        assert_eq!(found.0, to, "{native}");
        assert_eq!(
            (found.1, found.2.join(" ")),
            (verdict, codes.to_owned()),
            "{native}"
        );
    }
}

#[test]
fn postgres_types_become_mysql_types() {
    let mood = CanonicalType::Enum {
        values: vec!["it's".into(), "b\\c".into()],
    };
    let blank = CanonicalType::Enum {
        values: vec!["a ".into()],
    };
    let dated = CanonicalType::Timestamp { fraction: 6 };
    let cases = [
        (
            "boolean",
            CanonicalType::Bool,
            "TINYINT(1)",
            Verdict::Widened,
            "",
        ),
        (
            "numeric",
            CanonicalType::Numeric,
            "DECIMAL(65,30)",
            Verdict::Guarded,
            "not-a-number number-range",
        ),
        (
            "uuid",
            CanonicalType::Uuid,
            "CHAR(36)",
            Verdict::Widened,
            "",
        ),
        (
            "inet",
            CanonicalType::Inet,
            "VARCHAR(49)",
            Verdict::Widened,
            "",
        ),
        ("integer[]", TEXT, "LONGTEXT", Verdict::Widened, ""),
        ("text", TEXT, "LONGTEXT", Verdict::Exact, ""),
        ("mood", mood, "ENUM('it''s','b\\\\c')", Verdict::Exact, ""),
        ("padded", blank, "LONGTEXT", Verdict::Widened, ""),
        (
            "real",
            CanonicalType::Float32,
            "FLOAT",
            Verdict::Guarded,
            "not-a-number negative-zero",
        ),
        (
            "timestamp with time zone",
            dated,
            "DATETIME(6)",
            Verdict::Guarded,
            "date-range",
        ),
    ];
    for (native, canonical, to, verdict, codes) in cases {
        let found = one(Engine::Postgres, Engine::Mysql, native, canonical);
        assert_eq!(found.0, to, "{native}");
        assert_eq!(
            (found.1, found.2.join(" ")),
            (verdict, codes.to_owned()),
            "{native}"
        );
    }
}

#[test]
fn mysql_of_oracle_has_no_uuid_and_keeps_the_sign_of_zero() {
    let columns = vec![
        column("u", "uuid", CanonicalType::Uuid),
        column("f", "real", CanonicalType::Float32),
    ];
    let source = table("t", columns, &[]);
    let ends = (facts(Engine::Postgres, "15"), facts(Engine::Mysql, "9.7.0"));
    let spec = job(Engine::Postgres, Engine::Mysql);
    let mapped = crate::mapping::map_tables(&[&source], &ends.0, &ends.1, &spec).expect("mappable");
    let (target, verdicts) = &mapped.tables[0];
    assert_eq!(natives(target), ["CHAR(36)", "FLOAT"]);
    assert_eq!(target.columns[0].charset.as_deref(), Some("ascii"));
    assert_eq!(verdicts[1].losses.len(), 1);
}

#[test]
fn a_rowid_and_a_strict_table_hold_one_kind_of_value() {
    let columns = vec![column("id", "INTEGER", INT), column("n", "INTEGER", INT)];
    let mut source = table("t", columns, &["id"]);
    let codes = |source: &TableSchema| -> Vec<usize> {
        let mapped = map_with(&[source], Engine::Sqlite, Engine::Postgres, |_| {});
        let verdicts = mapped.expect("mappable").tables.remove(0).1;
        verdicts.iter().map(|column| column.losses.len()).collect()
    };
    assert_eq!(codes(&source), [0, 1]);
    source.native_options = "STRICT".into();
    assert_eq!(codes(&source), [0, 0]);
}

#[test]
fn one_engine_is_exact_throughout() {
    for engine in [Engine::Sqlite, Engine::Mysql, Engine::Postgres] {
        for entry in catalogue::of(engine) {
            let (native, verdict, losses) =
                one(engine, engine, entry.native, entry.canonical.clone());
            assert_eq!(native, entry.native);
            assert_eq!((verdict, losses.len()), (Verdict::Exact, 0), "{native}");
        }
    }
}

#[test]
fn every_type_has_a_way_to_every_other_engine() {
    for from in [Engine::Sqlite, Engine::Mysql, Engine::Postgres] {
        for to in [Engine::Sqlite, Engine::Mysql, Engine::Postgres] {
            let known = catalogue::of(from).into_iter();
            for entry in known.filter(|entry| entry.canonical != CanonicalType::Any || from == to) {
                let (_, verdict, losses) = one(from, to, entry.native, entry.canonical.clone());
                assert_ne!(verdict, Verdict::Lossy, "{}", entry.native);
                assert_eq!(verdict == Verdict::Guarded, !losses.is_empty());
            }
        }
    }
}

#[test]
fn generated_columns_are_ordinary_in_another_engine_only() {
    let mut sum = column("sum", "INT", INT);
    sum.generated = Some(Generated {
        expression: "a + b".into(),
        stored: false,
    });
    let source = table("t", vec![column("a", "INT", INT), sum], &[]);
    let spec = job(Engine::Mysql, Engine::Postgres);
    let mut same = source.clone();
    let notes = as_read(&mut same, &spec, Engine::Mysql, Engine::Mysql);
    assert_eq!((same, notes.len()), (source.clone(), 0));
    let mut other = source;
    let notes = as_read(&mut other, &spec, Engine::Mysql, Engine::Postgres);
    assert_eq!(other.copied_columns().count(), 2);
    assert!(notes[0].contains("t.sum"), "{notes:?}");
}

#[test]
fn keys_that_the_target_can_not_have_are_noted() {
    let mut long = column("long", "longtext", TEXT);
    long.collation = Some("utf8mb4_general_ci".into());
    let name = CanonicalType::Text {
        max_chars: Some(40),
    };
    let mut short = column("short", "varchar(40)", name);
    short.collation = Some("utf8mb4_general_ci".into());
    let mut source = table("t", vec![long, short], &[]);
    let mut by_prefix = index("by_prefix", false, &["long"]);
    by_prefix.columns[0].prefix = Some(10);
    let mut unique = index("uq", true, &["short"]);
    unique.columns[0].prefix = Some(5);
    let mut full = index("words", false, &["long"]);
    full.native = Some("FULLTEXT KEY `words` (`long`)".into());
    source.indexes = vec![by_prefix, unique, full];
    let mapped = map_with(&[&source], Engine::Mysql, Engine::Postgres, |_| {}).expect("mappable");
    let (target, _) = &mapped.tables[0];
    let names: Vec<&str> = target
        .indexes
        .iter()
        .map(|index| index.name.as_str())
        .collect();
    assert_eq!(names, ["uq"]);
    assert_eq!(target.indexes[0].columns[0].prefix, None);
    for said in [
        "by_prefix",
        "words",
        "whole values",
        "byte by byte",
        "unique keys on short",
    ] {
        assert!(
            mapped.notes.iter().any(|note| note.contains(said)),
            "{said}: {:?}",
            mapped.notes
        );
    }
}

#[test]
fn what_counts_up_does_so_where_it_can() {
    let mut id = column(
        "id",
        "bigint unsigned",
        CanonicalType::Int {
            bits: 64,
            unsigned: true,
        },
    );
    id.auto_increment = true;
    let source = table("t", vec![id.clone()], &["id"]);
    let mapped = map_with(&[&source], Engine::Mysql, Engine::Postgres, |_| {}).expect("mappable");
    assert!(!mapped.tables[0].0.columns[0].auto_increment);
    let said = |note: &String| note.contains("cast to bigint");
    assert!(mapped.notes.iter().any(said), "{:?}", mapped.notes);
    id.native_type = "integer".into();
    id.canonical = CanonicalType::Int {
        bits: 32,
        unsigned: false,
    };
    id.default = Some(ColumnDefault::Expression("nextval('t_id_seq')".into()));
    let source = table("t", vec![id], &["id"]);
    for to in [Engine::Mysql, Engine::Sqlite] {
        let mapped = map_with(&[&source], Engine::Postgres, to, |_| {}).expect("mappable");
        let id = &mapped.tables[0].0.columns[0];
        assert!(id.auto_increment && id.default.is_none());
    }
}

#[test]
fn a_number_without_sign_that_is_a_rowid_is_guarded() {
    let u64s = CanonicalType::Int {
        bits: 64,
        unsigned: true,
    };
    let columns = vec![
        column("id", "bigint unsigned", u64s.clone()),
        column("n", "bigint unsigned", u64s),
    ];
    let source = table("t", columns, &["id"]);
    let mapped = map_with(&[&source], Engine::Mysql, Engine::Sqlite, |_| {}).expect("mappable");
    let (target, verdicts) = &mapped.tables[0];
    assert_eq!(natives(target), ["INTEGER", "DECIMAL_TEXT(20,0)"]);
    assert_eq!(verdicts[0].verdict, Verdict::Guarded);
    assert_eq!(verdicts[1].verdict, Verdict::Widened);
}
