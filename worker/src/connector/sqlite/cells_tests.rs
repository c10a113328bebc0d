//! Values to cells and back.

use super::super::types::canonical_type;
use super::*;

fn canonical_text(declared: &str, stored: Stored<'_>) -> Result<String, String> {
    let mut out = Vec::new();
    let canonical = canonical_type(declared);
    write_canonical(&canonical, Affinity::of(declared), stored, &mut out)?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

#[test]
fn every_storage_class_survives_the_native_cell() {
    for (stored, value) in [
        (Stored::Int(i64::MIN), Value::Int(i64::MIN)),
        (Stored::Real(-0.0), Value::Real(-0.0)),
        (Stored::Real(f64::INFINITY), Value::Real(f64::INFINITY)),
        (Stored::Text(b"a\0b"), Value::Text("a\0b".into())),
        (Stored::Text(b"\xc3("), Value::RawText(b"\xc3(".to_vec())),
        (Stored::Blob(b""), Value::Blob(Vec::new())),
    ] {
        let mut cell = Vec::new();
        write_any(stored, &mut cell);
        let back = read_any(&cell).expect("just written");
        assert_eq!(back, value);
        if let (Value::Real(a), Value::Real(b)) = (back, value) {
            assert_eq!(a.to_bits(), b.to_bits());
        }
    }
}

#[test]
fn canonical_texts_are_exact_or_refused() {
    let decimal = |stored| canonical_text("DECIMAL(10,2)", stored);
    assert_eq!(decimal(Stored::Real(0.99)), Ok("0.99".into()));
    assert_eq!(decimal(Stored::Real(1e-7)), Ok("0.0000001".into()));
    assert_eq!(decimal(Stored::Int(5)), Ok("5".into()));
    assert!(decimal(Stored::Text(b"12,5")).is_err());
    assert!(decimal(Stored::Real(f64::NEG_INFINITY)).is_err());
    assert!(canonical_text("INTEGER", Stored::Real(1.5)).is_err());
    assert!(canonical_text("TEXT", Stored::Text(b"\xff")).is_err());
    assert!(canonical_text("BLOB", Stored::Text(b"text")).is_err());
    assert_eq!(canonical_text("YEAR", Stored::Int(0)), Ok("0000".into()));
    assert_eq!(canonical_text("BOOLEAN", Stored::Int(1)), Ok("1".into()));
    assert!(canonical_text("BOOLEAN", Stored::Int(2)).is_err());
    assert!(canonical_text("BOOLEAN", Stored::Text(b"1")).is_err());
    let infinite = canonical_text("REAL", Stored::Real(f64::NEG_INFINITY));
    assert_eq!(infinite, Ok("-Infinity".into()));
    assert_eq!(
        canonical_text("REAL", Stored::Text(b"NaN")),
        Ok("NaN".into())
    );
    assert!(canonical_text("JSON_TEXT", Stored::Text(b"{a}")).is_err());
    assert!(canonical_text("JSON_TEXT", Stored::Text(b"{\"a\":1}")).is_ok());
}

#[test]
fn moments_have_one_shape() {
    let datetime = |text: &'static str| canonical_text("DATETIME", Stored::Text(text.as_bytes()));
    for good in [
        "2009-01-01 00:00:00",
        "2009-01-01 00:00:00.123",
        "0044-03-15 12:00:00 BC",
        "12345-01-01 00:00:00",
        "infinity",
        "0000-00-00 00:00:00",
    ] {
        assert_eq!(datetime(good), Ok(good.to_owned()));
    }
    for odd in [
        "2009-01-01",
        "2009-01-01T00:00:00",
        "2009-01-01 00:00:00.",
        "2009-01-01 00:00:00.1234567",
        "2009-01-01 00:00:00Z",
        "2009-01-01 24:00:00",
        "2009-01-01 23:59:60",
        "2009-01-01 ",
        "now",
        "",
    ] {
        assert!(datetime(odd).is_err(), "{odd}");
    }
    let time = |text: &'static str| canonical_text("TIME", Stored::Text(text.as_bytes()));
    assert!(time("-838:59:59.5").is_ok() && time("24:00:00").is_ok());
    assert!(time("1:2:3").is_err() && time("now").is_err() && time("").is_err());
}

#[test]
fn a_single_keeps_its_bits() {
    let single = CanonicalType::Float32;
    let Ok(Value::Real(wide)) = read_canonical(&single, Affinity::Real, b"0.1") else {
        panic!("a number");
    };
    let back = canonical_text("FLOAT4", Stored::Real(wide)).expect("finite");
    assert_eq!(back.parse::<f32>().map(f32::to_bits), Ok(0.1f32.to_bits()));
    assert!(shapes::within(&single, back.as_bytes()).is_ok());
    assert!(shapes::within(&single, b"0.1").is_err());
}

#[test]
fn what_sqlite_would_drop_is_kept_as_text_or_refused() {
    let double = CanonicalType::Float64;
    let write = |cell: &[u8]| read_canonical(&double, Affinity::Real, cell);
    assert_eq!(write(b"NaN"), Ok(Value::Text("NaN".into())));
    assert_eq!(write(b"-Infinity"), Ok(Value::Real(f64::NEG_INFINITY)));
    assert!(write(b"-0").is_err() && write(b"-0.0").is_err());
    let text = CanonicalType::Text { max_chars: None };
    let numeric = |cell: &[u8]| read_canonical(&text, Affinity::Numeric, cell);
    assert!(numeric(b"007").is_err() && numeric(b"1e3").is_err() && numeric(b" 1").is_err());
    assert!(numeric(b"7").is_ok() && numeric(b"x").is_ok() && numeric(b"infinity").is_ok());
}

#[test]
fn numbers_that_do_not_fit_are_refused_or_kept_as_text() {
    let unsigned = CanonicalType::Int {
        bits: 64,
        unsigned: true,
    };
    let largest = b"18446744073709551615";
    assert!(read_canonical(&unsigned, Affinity::Integer, largest).is_err());
    assert_eq!(
        read_canonical(&unsigned, Affinity::Text, largest),
        Ok(Value::Text("18446744073709551615".into()))
    );
    assert_eq!(
        read_canonical(&unsigned, Affinity::Integer, b"7"),
        Ok(Value::Int(7))
    );
    let wide = CanonicalType::Decimal {
        precision: 20,
        scale: 2,
    };
    assert_eq!(
        read_canonical(&wide, Affinity::Text, b"1.50"),
        Ok(Value::Text("1.50".into()))
    );
    assert_eq!(
        read_canonical(&wide, Affinity::Numeric, b"1.50"),
        Ok(Value::Real(1.5))
    );
    assert!(read_canonical(&wide, Affinity::Numeric, b"123456789012345678.91").is_err());
    let time = CanonicalType::Time { fraction: 6 };
    assert_eq!(
        read_canonical(&time, Affinity::Numeric, b"10:00:00.500000"),
        Ok(Value::Text("10:00:00.5".into()))
    );
}

#[test]
fn bounds_are_those_of_the_type() {
    let check = |declared: &str, cell: &str| {
        shapes::within(&canonical_type(declared), cell.as_bytes()).is_ok()
    };
    assert!(check("VARCHAR(3)", "äöü") && !check("VARCHAR(3)", "abcd"));
    assert!(check("VARBINARY(2)", "ab") && !check("VARBINARY(2)", "abc"));
    assert!(check("DECIMAL(5,2)", "-999.990") && !check("DECIMAL(5,2)", "1.234"));
    assert!(!check("DECIMAL(5,2)", "1000") && check("DECIMAL(5,2)", "000999"));
    assert!(check("TINYINT", "-128") && !check("TINYINT UNSIGNED", "-1"));
    assert!(check("BIT(12)", "4095") && !check("BIT(12)", "4096"));
    assert!(check("DATETIME(3)", "2024-01-01 00:00:00.123000"));
    assert!(!check("DATETIME(3)", "2024-01-01 00:00:00.1234"));
}
