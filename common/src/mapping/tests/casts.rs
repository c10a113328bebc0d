//! Casts and acceptances.

use super::*;
use crate::fidelity::{Acceptance, Loss, Verdict};
use crate::mapping::as_read;
use crate::rules::{ColumnRule, ComputedColumn, TableRule, TypeCast};

fn cast(from: &str, to: &str) -> TypeCast {
    TypeCast {
        from: from.into(),
        to: to.into(),
    }
}

fn accept(loss: Loss, column: &str) -> Acceptance {
    Acceptance {
        loss,
        column: column.into(),
    }
}

fn int(bits: u8, unsigned: bool) -> CanonicalType {
    CanonicalType::Int { bits, unsigned }
}

#[test]
fn casts_have_the_verdict_of_their_type() {
    let text = |max_chars| CanonicalType::Text { max_chars };
    let cases = [
        (
            "TINYINT(1)",
            int(8, false),
            "boolean",
            Verdict::Guarded,
            "number-range",
        ),
        (
            "bigint unsigned",
            int(64, true),
            "bigint",
            Verdict::Guarded,
            "number-range",
        ),
        (
            "text",
            TEXT,
            "varchar(20)",
            Verdict::Guarded,
            "nul-in-text text-length",
        ),
        (
            "time",
            CanonicalType::Time { fraction: 0 },
            "time",
            Verdict::Guarded,
            "number-range",
        ),
        ("json", CanonicalType::Json, "jsonb", Verdict::Widened, ""),
        ("int", int(32, false), "text", Verdict::Widened, ""),
        (
            "varchar(9)",
            text(Some(9)),
            "text",
            Verdict::Guarded,
            "nul-in-text",
        ),
        (
            "enum('a')",
            CanonicalType::Enum {
                values: vec!["a".into()],
            },
            "text",
            Verdict::Widened,
            "",
        ),
    ];
    for (native, canonical, to, verdict, codes) in cases {
        let source = table("t", vec![column("c", native, canonical)], &[]);
        let casts = vec![cast(&native.to_lowercase(), to)];
        let mapped = map_with(&[&source], Engine::Mysql, Engine::Postgres, |spec| {
            spec.casts = casts
        });
        let mapped = mapped.unwrap_or_else(|failure| panic!("{native}: {failure}"));
        let found = &mapped.tables[0].1[0];
        let lost: Vec<&str> = found.losses.iter().map(|loss| loss.loss.code()).collect();
        assert_eq!(
            (found.verdict, lost.join(" ")),
            (verdict, codes.to_owned()),
            "{native}"
        );
        assert_eq!(found.to, to);
    }
}

#[test]
fn a_cast_that_changes_values_wants_to_be_accepted() {
    let columns = vec![
        column("price", "double", CanonicalType::Float64),
        column("shape", "geometry", CanonicalType::Bytes { max_len: None }),
    ];
    let source = table("t", columns, &[]);
    let casts = vec![
        cast("double", "numeric(10,2)"),
        cast("geom*", "geometry(Point,4326)"),
    ];
    let map = |accepted: Vec<Acceptance>| {
        map_with(&[&source], Engine::Mysql, Engine::Postgres, |spec| {
            spec.casts.clone_from(&casts);
            spec.accept = accepted;
        })
    };
    let failure = map(Vec::new()).expect_err("two losses");
    assert_eq!(failure.code, Code::LossNotAccepted);
    assert!(
        failure.what.contains("t.price") && failure.what.contains("t.shape"),
        "{failure}"
    );
    assert_eq!(
        failure.fixes,
        ["--accept type-cast:t.price", "--accept type-cast:t.shape"]
    );
    let failure = map(vec![accept(Loss::TypeCast, "t.price")]).expect_err("one loss");
    assert_eq!(failure.fixes, ["--accept type-cast:t.shape"]);
    let mapped = map(vec![accept(Loss::TypeCast, "shop.t.*")]).expect("both accepted");
    for column in &mapped.tables[0].1 {
        assert!(column.verdict == Verdict::Lossy && column.losses[0].accepted);
    }
}

#[test]
fn what_can_not_be_cast_is_refused() {
    let columns = vec![
        column("b", "blob", CanonicalType::Bytes { max_len: None }),
        column("u", "uuid", CanonicalType::Uuid),
        column("x", "text", TEXT),
    ];
    let source = table("t", columns, &[]);
    let casts = vec![
        cast("blob", "date"),
        cast("uuid", "integer"),
        cast("text", "int; drop table t"),
    ];
    let failure = map_with(&[&source], Engine::Mysql, Engine::Postgres, |spec| {
        spec.casts = casts
    });
    let failure = failure.expect_err("impossible");
    assert_eq!(failure.code, Code::UnsupportedType);
    for named in ["t.b (blob) can't become date", "t.u (uuid)", "t.x"] {
        assert!(failure.what.contains(named), "{named}: {failure}");
    }
}

#[test]
fn rules_name_columns_of_the_source() {
    let columns = vec![
        column("total", "double", CanonicalType::Float64),
        column("twice", "sum", INT),
    ];
    let shaped = table("orders", columns, &[]);
    let rule = TableRule {
        table: "orders".into(),
        rename: Some("sales".into()),
        columns: vec![ColumnRule {
            column: "price".into(),
            rename: Some("total".into()),
            cast: Some("DECIMAL(10,2)".into()),
            ..ColumnRule::default()
        }],
        computed: vec![ComputedColumn {
            column: "twice".into(),
            ty: "BIGINT".into(),
            expression: "id * 2".into(),
        }],
        ..TableRule::default()
    };
    let mapped = map_with(&[&shaped], Engine::Mysql, Engine::Mysql, |spec| {
        spec.rules = vec![rule];
        spec.accept = vec![accept(Loss::TypeCast, "orders.price")];
    });
    let (target, verdicts) = mapped.expect("accepted").tables.remove(0);
    assert_eq!(target.name, "sales");
    assert_eq!(natives(&target), ["DECIMAL(10,2)", "BIGINT"]);
    assert_eq!(verdicts[0].column, "total");
    assert_eq!(verdicts[0].verdict, Verdict::Lossy);
    assert_eq!(
        (verdicts[1].from.as_str(), verdicts[1].verdict),
        ("id * 2", Verdict::Exact)
    );
}

#[test]
fn acceptances_that_concern_nothing_are_named() {
    let columns = vec![
        column("d", "date", CanonicalType::Date),
        column("s", "text", TEXT),
    ];
    let source = table("t", columns, &[]);
    let map = |accepted: Vec<Acceptance>| {
        map_with(&[&source], Engine::Mysql, Engine::Postgres, |spec| {
            spec.accept = accepted
        })
    };
    let failure = map(vec![
        accept(Loss::ZeroDate, "t.nope"),
        accept(Loss::ZeroDate, "t.s"),
        accept(Loss::ZeroDate, "t.d"),
        accept(Loss::NotANumber, "*"),
    ]);
    let failure = failure.expect_err("two in vain");
    assert!(
        failure.what.contains("zero-date:t.nope fits no column"),
        "{failure}"
    );
    assert!(failure.what.contains("zero-date:t.s: "), "{failure}");
    assert!(
        !failure.what.contains("t.d") && !failure.what.contains('*'),
        "{failure}"
    );
    let mapped = map(vec![
        accept(Loss::ZeroDate, "shop.t.?"),
        accept(Loss::NulInText, "*"),
    ]);
    let verdicts = mapped.expect("both concern something").tables.remove(0).1;
    assert!(verdicts.iter().all(|column| column.losses[0].accepted));
}

#[test]
fn a_dynamic_column_takes_the_type_of_its_cast() {
    let mut source = table("t", vec![column("x", "", CanonicalType::Any)], &[]);
    let mut spec = job(Engine::Sqlite, Engine::Postgres);
    spec.casts = vec![cast("", "bigint")];
    as_read(&mut source, &spec, Engine::Sqlite, Engine::Postgres);
    assert_eq!(source.columns[0].canonical, INT);
    let mapped = map_with(&[&source], Engine::Sqlite, Engine::Postgres, |own| {
        own.casts = spec.casts
    });
    let (target, verdicts) = mapped.expect("mappable").tables.remove(0);
    assert_eq!(natives(&target), ["bigint"]);
    assert_eq!(verdicts[0].losses[0].loss, Loss::StorageClass);
}

#[test]
fn a_tighter_collation_is_guarded_in_a_unique_key() {
    let name = CanonicalType::Text {
        max_chars: Some(20),
    };
    let columns = vec![
        column("a", "varchar(20)", name.clone()),
        column("b", "varchar(20)", name),
    ];
    let source = table("t", columns, &["a"]);
    let casts = vec![cast("varchar*", "varchar(20) COLLATE utf8mb4_general_ci")];
    let mapped = map_with(&[&source], Engine::Postgres, Engine::Mysql, |spec| {
        spec.casts = casts
    });
    let (target, verdicts) = mapped.expect("mappable").tables.remove(0);
    assert_eq!(target.columns[0].native_type, "varchar(20)");
    assert_eq!(
        target.columns[0].collation.as_deref(),
        Some("utf8mb4_general_ci")
    );
    assert_eq!(verdicts[0].losses[0].loss, Loss::RowIdentity);
    assert_eq!(verdicts[1].verdict, Verdict::Exact);
}
