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

/// `fit` and `unfit` hold values separated by blanks; an unfit one with what it becomes: `a>b`.
fn finds(loss: Loss, source: &CanonicalType, target: &CanonicalType, fit: &str, unfit: &str) {
    let made = |accepted| compiled(&guarded(loss, accepted, source.clone(), target.clone()));
    for value in fit.split(' ') {
        let out = made(false).apply(batch(1, &[value])).expect("it fits");
        assert_eq!(rows(&out), [value], "{loss}");
    }
    for pair in unfit.split_terminator(' ') {
        let (value, becomes) = pair.split_once('>').expect("a pair");
        let failure = made(false).apply(batch(1, &[value])).expect_err(value);
        assert_eq!(failure.code, Code::NotRepresentable, "{loss} {value}");
        assert!(failure.what.contains("t.v holds the value"), "{failure}");
        let fix = format!("--accept {loss}:t.v");
        assert!(failure.fixes[0].starts_with(&fix), "{:?}", failure.fixes);
        let out = made(true).apply(batch(1, &[value])).expect("accepted");
        assert_eq!(rows(&out), [becomes], "{loss} {value}");
    }
}

const fn decimal(precision: u16, scale: u16) -> CanonicalType {
    CanonicalType::Decimal { precision, scale }
}

const fn int(bits: u8, unsigned: bool) -> CanonicalType {
    CanonicalType::Int { bits, unsigned }
}

#[test]
fn guards_of_dates_and_texts_find_their_values_and_no_others() {
    let date = CanonicalType::Date;
    let unfit = "0000-00-00>~ 2024-00-01>~ 2023-02-29>~ 2024-13-01>~ 1900-02-29>~";
    finds(Loss::ZeroDate, &date, &date, "2024-02-29 0001-01-01", unfit);
    let unfit = "10000-01-01>~ infinity>~ -infinity>~";
    finds(
        Loss::DateRange,
        &date,
        &date,
        "0001-01-01 9999-12-31",
        unfit,
    );
    let plan = guarded(Loss::DateRange, false, date.clone(), date);
    compiled(&plan)
        .apply(batch(1, &["0044-03-15 BC"]))
        .expect_err("long ago");
    finds(Loss::NulInText, &TEXT, &TEXT, "abc ", "a\0b>ab \0>");
    let short = CanonicalType::Text { max_chars: Some(2) };
    finds(Loss::TextLength, &TEXT, &short, "ab äö ", "abc>ab äöü>äö");
    let members = CanonicalType::Enum {
        values: vec!["a".to_owned(), "b".to_owned()],
    };
    finds(Loss::NotAMember, &TEXT, &members, "a b", "c>~ >~");
    let plan = guarded(Loss::InvalidText, true, TEXT, TEXT);
    let mut bad = RowBatch::new(1);
    bad.push(b"a\xffb");
    let out = compiled(&plan).apply(bad).expect("accepted");
    assert_eq!(rows(&out), ["a\u{fffd}b"]);
}

#[test]
fn guards_of_numbers_find_their_values_and_no_others() {
    let (double, numeric) = (CanonicalType::Float64, CanonicalType::Numeric);
    let unfit = "NaN>~ Infinity>~ -Infinity>~";
    finds(Loss::NotANumber, &double, &double, "0 1e300", unfit);
    finds(
        Loss::NegativeZero,
        &double,
        &double,
        "0 -1 -0.1",
        "-0>0 -0.0>0 -0e0>0",
    );
    let unfit = "1.005>1.01 -1.005>-1.01 9.999>10.00 0.001>0.00";
    finds(
        Loss::NumberRange,
        &numeric,
        &decimal(5, 2),
        "999.99 -1.500 NaN",
        unfit,
    );
    finds(
        Loss::NumberRange,
        &double,
        &decimal(5, 2),
        "1e2 2.5e-1",
        "1e-3>0.00",
    );
    let time = CanonicalType::Time { fraction: 6 };
    finds(
        Loss::NumberRange,
        &time,
        &time,
        "00:00:00 23:59:59.999999 24:00:00",
        "",
    );
    finds(
        Loss::NumberRange,
        &CanonicalType::Year,
        &CanonicalType::Year,
        "0 1901 2155",
        "",
    );
    finds(Loss::NumberRange, &INT, &int(16, false), "-32768 32767", "");
    // A decimal survives a float that spells it; a double doesn't survive a float that isn't it.
    finds(
        Loss::NumberRange,
        &numeric,
        &CanonicalType::Float32,
        "0.1 0.5",
        "0.123456789>0.12345679",
    );
    finds(
        Loss::NumberRange,
        &double,
        &CanonicalType::Float32,
        "0.5",
        "0.1>0.1",
    );
    let float = CanonicalType::Float32;
    finds(
        Loss::NumberRange,
        &float,
        &float,
        "0.1 0.10000000149011612",
        "",
    );
}

/// Too large is too large, accepted or not.
#[test]
fn what_no_rounding_helps_is_an_error_either_way() {
    for (target, value) in [
        (decimal(5, 2), "1000"),
        (int(16, false), "32768"),
        (int(64, true), "-1"),
        (CanonicalType::Bool, "2"),
        (CanonicalType::Float32, "1e39"),
        (CanonicalType::Year, "1900"),
        (CanonicalType::Time { fraction: 6 }, "24:00:01"),
        (CanonicalType::Time { fraction: 6 }, "-00:00:01"),
        (CanonicalType::Time { fraction: 6 }, "838:59:59"),
    ] {
        let plan = guarded(Loss::NumberRange, true, CanonicalType::Numeric, target);
        compiled(&plan).apply(batch(1, &[value])).expect_err(value);
    }
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
