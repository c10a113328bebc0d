//! Guards: each finds the values the target can't hold, and no others.

use super::*;
use crate::fidelity::{ColumnVerdict, Loss, PossibleLoss, Verdict};

fn guarded(loss: Loss, accepted: bool, source: CanonicalType, target: CanonicalType) -> TablePlan {
    let mut plan = plan(
        schema(&[("v", source.clone())]),
        schema(&[("v", source)]),
        rule(vec![]),
    );
    plan.rule = None;
    plan.shaped = None;
    plan.target = schema(&[("v", target)]);
    plan.columns = vec![ColumnVerdict {
        column: "v".to_owned(),
        from: String::new(),
        to: String::new(),
        verdict: Verdict::Guarded,
        losses: vec![PossibleLoss { loss, accepted }],
        why: String::new(),
    }];
    plan
}

#[test]
fn each_guard_finds_its_values_and_no_others() {
    let date = CanonicalType::Date;
    let double = CanonicalType::Float64;
    let decimal = |precision, scale| CanonicalType::Decimal { precision, scale };
    let int = |bits, unsigned| CanonicalType::Int { bits, unsigned };
    let members = CanonicalType::Enum {
        values: vec!["a".to_owned(), "b".to_owned()],
    };
    let short = CanonicalType::Text { max_chars: Some(2) };
    type Case<'a> = (
        Loss,
        CanonicalType,
        CanonicalType,
        &'a [&'a str],
        &'a [(&'a str, &'a str)],
    );
    let cases: &[Case<'_>] = &[
        (
            Loss::ZeroDate,
            date.clone(),
            date.clone(),
            &["2024-02-29", "0001-01-01"],
            &[
                ("0000-00-00", "~"),
                ("2024-00-01", "~"),
                ("2023-02-29", "~"),
                ("2024-13-01", "~"),
            ],
        ),
        (
            Loss::DateRange,
            date.clone(),
            date.clone(),
            &["0001-01-01", "9999-12-31"],
            &[
                ("10000-01-01", "~"),
                ("0044-03-15 BC", "~"),
                ("infinity", "~"),
                ("-infinity", "~"),
            ],
        ),
        (
            Loss::NulInText,
            TEXT,
            TEXT,
            &["abc", ""],
            &[("a\0b", "ab"), ("\0", "")],
        ),
        (
            Loss::NotANumber,
            double.clone(),
            double.clone(),
            &["0", "1e300"],
            &[("NaN", "~"), ("Infinity", "~"), ("-Infinity", "~")],
        ),
        (
            Loss::NegativeZero,
            double.clone(),
            double.clone(),
            &["0", "-1", "-0.1"],
            &[("-0", "0"), ("-0.0", "0"), ("-0e0", "0")],
        ),
        (
            Loss::NumberRange,
            CanonicalType::Numeric,
            decimal(5, 2),
            &["999.99", "-1.500", "NaN"],
            &[
                ("1.005", "1.01"),
                ("-1.005", "-1.01"),
                ("9.999", "10.00"),
                ("0.001", "0.00"),
            ],
        ),
        (
            Loss::NumberRange,
            double,
            decimal(5, 2),
            &["1e2", "2.5e-1"],
            &[("1e-3", "0.00")],
        ),
        (
            Loss::NumberRange,
            INT,
            int(16, false),
            &["-32768", "32767"],
            &[],
        ),
        (
            Loss::TextLength,
            TEXT,
            short,
            &["ab", "äö", ""],
            &[("abc", "ab"), ("äöü", "äö")],
        ),
        (
            Loss::NotAMember,
            TEXT,
            members,
            &["a", "b"],
            &[("c", "~"), ("", "~")],
        ),
    ];
    for (loss, source, target, fit, unfit) in cases {
        let made = |accepted| compiled(&guarded(*loss, accepted, source.clone(), target.clone()));
        for value in *fit {
            let out = made(false).apply(batch(1, &[value])).expect("it fits");
            assert_eq!(rows(&out), [*value], "{loss}");
        }
        for (value, becomes) in *unfit {
            let failure = made(false).apply(batch(1, &[value])).expect_err(value);
            assert_eq!(failure.code, Code::NotRepresentable, "{loss} {value}");
            assert!(failure.what.contains("t.v holds the value"), "{failure}");
            let fix = format!("--accept {loss}:t.v");
            assert!(failure.fixes[0].starts_with(&fix), "{:?}", failure.fixes);
            let out = made(true).apply(batch(1, &[value])).expect("accepted");
            assert_eq!(rows(&out), [*becomes], "{loss} {value}");
        }
    }
    // Too large is too large, accepted or not.
    for (target, value) in [
        (decimal(5, 2), "1000"),
        (int(16, false), "32768"),
        (int(64, true), "-1"),
    ] {
        let plan = guarded(Loss::NumberRange, true, CanonicalType::Numeric, target);
        compiled(&plan).apply(batch(1, &[value])).expect_err(value);
    }
    let plan = guarded(Loss::InvalidText, true, TEXT, TEXT);
    let mut bad = RowBatch::new(1);
    bad.push(b"a\xffb");
    assert_eq!(
        rows(&compiled(&plan).apply(bad).expect("accepted")),
        ["a\u{fffd}b"]
    );
}

#[test]
fn null_for_a_column_that_takes_none_is_an_error_although_it_was_accepted() {
    let mut plan = guarded(
        Loss::ZeroDate,
        true,
        CanonicalType::Date,
        CanonicalType::Date,
    );
    plan.target.columns[0].nullable = false;
    let failure = compiled(&plan)
        .apply(batch(1, &["0000-00-00"]))
        .expect_err("not null");
    assert_eq!(failure.code, Code::NotRepresentable);
    assert!(failure.what.contains("takes no NULL"), "{failure}");
}

#[test]
fn long_and_masked_values_are_not_shown_whole() {
    let plan = guarded(Loss::NulInText, false, TEXT, TEXT);
    let long = format!("{}\0", "x".repeat(500));
    let failure = compiled(&plan)
        .apply(batch(1, &[&long]))
        .expect_err("unfit");
    assert!(failure.what.len() < 250, "{failure}");
    let mut plan = guarded(
        Loss::TextLength,
        false,
        TEXT,
        CanonicalType::Text { max_chars: Some(2) },
    );
    plan.rule = Some(rule(vec![ColumnRule {
        mask: Some(Mask::Redact {
            with: "hidden".to_owned(),
        }),
        ..change("v")
    }]));
    let failure = compiled(&plan)
        .apply(batch(1, &["swordfish"]))
        .expect_err("unfit");
    assert!(
        !failure.what.contains("swordfish") && failure.what.contains("masked"),
        "{failure}"
    );
}

proptest! {
    /// DECIMAL(p,s) holds exactly the numbers of at most p-s and s digits; rounding ends in it.
    #[test]
    fn decimals_are_judged_by_their_digits(number in "-?[0-9]{1,8}(\\.[0-9]{1,6})?") {
        let target = CanonicalType::Decimal { precision: 7, scale: 3 };
        let scaled: i128 = {
            let (before, after) = number.split_once('.').unwrap_or((&number, ""));
            format!("{before}{after:0<6}").parse().expect("digits")
        };
        let fits = scaled % 1000 == 0 && (scaled / 1000).abs() < 10_000_000;
        let plan = |accepted| guarded(Loss::NumberRange, accepted, CanonicalType::Numeric, target.clone());
        let strict = compiled(&plan(false)).apply(batch(1, &[&number]));
        prop_assert_eq!(strict.is_ok(), fits);
        let half = if scaled < 0 { -500 } else { 500 };
        let rounded = (scaled + half) / 1000;
        match compiled(&plan(true)).apply(batch(1, &[&number])) {
            Err(_) => prop_assert!(rounded.abs() >= 10_000_000),
            Ok(out) if fits => prop_assert_eq!(rows(&out), [number]),
            Ok(out) => {
                let text = rows(&out).remove(0).replace('.', "");
                prop_assert_eq!(text.parse::<i128>().expect("digits"), rounded);
            }
        }
    }
}
