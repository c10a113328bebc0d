//! Transforms: what rules do to rows.

mod guards;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::job::SecretRef;
use crate::partition::Split;
use crate::rules::{ColumnRule, ComputedColumn, Mask, TableRule, Trim};
use crate::schema::TableSchema;

fn column(name: &str, canonical: CanonicalType) -> Column {
    Column {
        name: name.to_owned(),
        native_type: "TEXT".to_owned(),
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

const INT: CanonicalType = CanonicalType::Int {
    bits: 64,
    unsigned: false,
};
const TEXT: CanonicalType = CanonicalType::Text { max_chars: None };

fn schema(columns: &[(&str, CanonicalType)]) -> TableSchema {
    let made = columns.iter().map(|(name, ty)| column(name, ty.clone()));
    TableSchema {
        name: "t".to_owned(),
        schema: None,
        member: None,
        columns: made.collect(),
        primary_key: vec![columns[0].0.to_owned()],
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

/// A table whose rule has already given it the columns `rows`.
fn plan(source: TableSchema, rows: TableSchema, rule: TableRule) -> TablePlan {
    TablePlan {
        source,
        shaped: Some(rows.clone()),
        target: rows,
        form: CellForm::Canonical,
        split: Split::Whole,
        columns: Vec::new(),
        rule: Some(rule),
    }
}

/// `|` parts cells, `~` is NULL.
fn batch(columns: usize, rows: &[&str]) -> RowBatch {
    let mut batch = RowBatch::new(columns);
    for row in rows {
        for cell in row.split('|') {
            match cell {
                "~" => batch.push_null(),
                cell => batch.push(cell.as_bytes()),
            }
        }
    }
    batch
}

fn rows(batch: &RowBatch) -> Vec<String> {
    let cells: Vec<String> = batch
        .cells()
        .map(|cell| cell.map_or("~".to_owned(), |c| String::from_utf8_lossy(c).into_owned()))
        .collect();
    cells
        .chunks(batch.columns())
        .map(|row| row.join("|"))
        .collect()
}

fn rule(columns: Vec<ColumnRule>) -> TableRule {
    TableRule {
        table: "t".to_owned(),
        columns,
        ..TableRule::default()
    }
}

fn change(name: &str) -> ColumnRule {
    ColumnRule {
        column: name.to_owned(),
        ..ColumnRule::default()
    }
}

fn compiled(plan: &TablePlan) -> Transform {
    let salts = BTreeMap::from([("mail".to_owned(), b"pepper".to_vec())]);
    let transform = Transform::compile(plan, &salts).expect("it compiles");
    transform.expect("it does something")
}

#[test]
fn a_rule_of_every_kind() {
    let source = schema(&[
        ("id", INT),
        ("name", TEXT),
        ("mail", TEXT),
        ("secret", TEXT),
    ]);
    let shaped = schema(&[
        ("id", INT),
        ("title", TEXT),
        ("mail", TEXT),
        ("upper", TEXT),
    ]);
    let rules = vec![
        ColumnRule {
            rename: Some("title".to_owned()),
            trim: Some(Trim::Both),
            null_if: vec![String::new(), "n/a".to_owned()],
            ..change("name")
        },
        ColumnRule {
            mask: Some(Mask::Hash {
                salt: SecretRef::Env("SALT".to_owned()),
            }),
            ..change("mail")
        },
        ColumnRule {
            drop: true,
            ..change("secret")
        },
    ];
    let rule = TableRule {
        filter: Some("id > 1 && secret != null".to_owned()),
        computed: vec![ComputedColumn {
            column: "upper".to_owned(),
            ty: "text".to_owned(),
            expression: "secret.upperAscii() + string(id)".to_owned(),
        }],
        ..rule(rules)
    };
    let mut transform = compiled(&plan(source, shaped, rule));
    let read = batch(4, &["1|a|m|s", "2| b |m|s", "3|n/a|~|x", "4|  |m|~"]);
    let written = rows(&transform.apply(read).expect("it applies"));
    // printf m | openssl dgst -sha256 -hmac pepper
    let hash = "dc1f2370e31d2b20190f93ccae8f3cafe7184d8c23796e9a73723840483aeeea";
    assert_eq!(written, [format!("2|b|{hash}|S2"), "3|~|~|X3".to_owned()]);
    assert_eq!(transform.left_out(), 2);
    assert!(!format!("{transform:?}").contains("pepper"));
}

#[test]
fn the_hash_is_the_one_everybody_else_computes() {
    let rule = rule(vec![ColumnRule {
        mask: Some(Mask::Hash {
            salt: SecretRef::Env("SALT".to_owned()),
        }),
        ..change("mail")
    }]);
    let source = schema(&[("mail", TEXT)]);
    let plan = plan(source.clone(), source, rule);
    // RFC 4231, test case 2.
    let salts = BTreeMap::from([("mail".to_owned(), b"Jefe".to_vec())]);
    let mut transform = Transform::compile(&plan, &salts)
        .expect("compiles")
        .expect("does something");
    let out = transform.apply(batch(1, &["what do ya want for nothing?"]));
    let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
    assert_eq!(rows(&out.expect("applies")), [expected]);
    let missing = Transform::compile(&plan, &BTreeMap::new()).expect_err("no salt");
    assert!(missing.what.contains("salt"), "{missing}");
}

#[test]
fn equal_decimals_have_one_hash() {
    let rule = rule(vec![ColumnRule {
        mask: Some(Mask::Hash {
            salt: SecretRef::Env("SALT".to_owned()),
        }),
        ..change("mail")
    }]);
    let decimal = CanonicalType::Decimal {
        precision: 10,
        scale: 2,
    };
    let mut transform = compiled(&plan(
        schema(&[("mail", decimal)]),
        schema(&[("mail", TEXT)]),
        rule,
    ));
    let out = rows(
        &transform
            .apply(batch(1, &["1.50", "1.5"]))
            .expect("applies"),
    );
    assert_eq!(out[0], out[1]);
}

#[test]
fn nothing_to_do_is_no_transform() {
    let source = schema(&[("id", INT), ("name", TEXT)]);
    let renamed = schema(&[("id", INT), ("title", TEXT)]);
    let only_names = rule(vec![ColumnRule {
        rename: Some("title".to_owned()),
        ..change("name")
    }]);
    let plan = plan(source, renamed, only_names);
    assert!(
        Transform::compile(&plan, &BTreeMap::new())
            .expect("fine")
            .is_none()
    );
}

#[test]
fn expressions_that_fail_stop_by_name_and_show_no_value() {
    let source = schema(&[("id", INT), ("age", INT)]);
    let filter = |text: &str| TableRule {
        filter: Some(text.to_owned()),
        ..rule(Vec::new())
    };
    for (text, row, wanted) in [
        ("age > 18", "7|~", "test for NULL first"),
        ("id / age == 1", "7|0", "division by zero"),
        (
            "int(string(age) + 'x') == 1",
            "7|4711",
            "can't take the value",
        ),
    ] {
        let mut transform = compiled(&plan(source.clone(), source.clone(), filter(text)));
        let failure = transform.apply(batch(2, &[row])).expect_err(text);
        assert_eq!(failure.code, Code::RuleFailed);
        assert!(failure.what.contains(wanted), "{failure}");
        assert!(failure.what.contains("row id = \"7\""), "{failure}");
        assert!(!failure.what.contains("4711"), "{failure}");
    }
    for (text, wanted) in [
        ("agee > 18", "did you mean age?"),
        ("age >", "at 1:"),
        ("age > 'x'", "doesn't take (int, string)"),
        ("upper(string(age)) == ''", "there is no function upper"),
        ("row[\"agee\"] == 1", "did you mean age?"),
        ("[1, 2].exists(x, x == y)", "there is no column y"),
    ] {
        let error = Expression::compile(text, &source).expect_err(text);
        assert!(error.contains(wanted), "{text}: {error}");
    }
    for fine in [
        "row[\"age\"] == 1",
        "row.age == 1",
        "[1, 2].exists(x, x == age)",
        "age in [1, 2]",
    ] {
        Expression::compile(fine, &source).expect(fine);
    }
}

#[test]
fn computed_values_are_written_in_their_type() {
    let source = schema(&[
        ("id", INT),
        (
            "price",
            CanonicalType::Decimal {
                precision: 10,
                scale: 2,
            },
        ),
    ]);
    for (ty, expression, wanted) in [
        ("decimal(10,2)", "price * 1.5", Ok("1.88")),
        ("integer", "id * 2", Ok("14")),
        ("integer", "price", Err("gives a float")),
        ("text", "'n' + string(id)", Ok("n7")),
        ("text", "null", Ok("~")),
        ("boolean", "id > 5", Ok("1")),
        ("double", "price > 1.0 ? 0.5 : 2.0", Ok("0.5")),
        ("decimal(3,2)", "id * 1000", Err("more digits")),
        ("date", "'2024-01-02'", Ok("2024-01-02")),
    ] {
        let canonical = crate::mapping::canonical_of(crate::schema::Engine::Sqlite, ty);
        let shaped = schema(&[("c", canonical.expect(ty))]);
        let rule = TableRule {
            computed: vec![ComputedColumn {
                column: "c".to_owned(),
                ty: ty.to_owned(),
                expression: expression.to_owned(),
            }],
            ..rule(Vec::new())
        };
        let mut transform = compiled(&plan(source.clone(), shaped, rule));
        match (transform.apply(batch(2, &["7|1.25"])), wanted) {
            (Ok(out), Ok(wanted)) => assert_eq!(rows(&out), [wanted], "{expression}"),
            (Err(failure), Err(wanted)) => assert!(failure.what.contains(wanted), "{failure}"),
            (other, _) => panic!("{expression} as {ty}: {other:?}"),
        }
    }
}

proptest! {
    /// A rule that keeps everything keeps everything.
    #[test]
    fn the_identity_is_the_identity(cells in proptest::collection::vec(
        proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20)), 0..60)) {
        let source = schema(&[("a", TEXT), ("b", TEXT), ("c", TEXT)]);
        let rule = TableRule { filter: Some("true".to_owned()), ..rule(Vec::new()) };
        let mut transform = compiled(&plan(source.clone(), source, rule));
        let mut given = RowBatch::new(3);
        let whole = cells.len() / 3 * 3;
        for cell in &cells[..whole] {
            match cell {
                Some(cell) => given.push(cell),
                None => given.push_null(),
            }
        }
        let out = transform.apply(given).expect("it applies");
        let back: Vec<Option<Vec<u8>>> = out.cells().map(|c| c.map(<[u8]>::to_vec)).collect();
        prop_assert_eq!(&back[..], &cells[..whole]);
    }

    /// Whatever is written as an expression, it is an error or it works: never a panic.
    #[test]
    fn no_text_breaks_the_reader_of_expressions(text in "[a-z0-9 ()\\[\\]{}.,:?!<>=&|+*/%'\"\\\\-]{0,40}") {
        let source = schema(&[("a", TEXT), ("b", INT)]);
        if let Ok(expression) = Expression::compile(&text, &source) {
            let _ = expression.eval(&[Some(b"x"), Some(b"1")]);
        }
    }
}
