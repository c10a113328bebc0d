//! Declared types to canonical types, and values to cells and back: SQLite's five storage classes
//! on one side, [`CanonicalType`]'s texts on the other. A value that has no exact cell is refused
//! with the reason; nothing is rounded, padded or guessed.

use common::schema::CanonicalType;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Decode, Row, TypeInfo, ValueRef};

use super::session::bind;

/// The canonical type of a declared one. SQLite lets a column hold anything, so this says what the
/// column is meant to hold; a value that isn't of that kind is an error when it is met.
pub fn canonical_type(declared: &str) -> CanonicalType {
    let (name, params, unsigned) = split(declared);
    let first = params.first().copied();
    let fraction = |default: u32| first.unwrap_or(default).min(6) as u8;
    let int = |bits| CanonicalType::Int { bits, unsigned };
    match name.as_str() {
        "BOOLEAN" | "BOOL" | "TINYINT" | "INT1" => int(8),
        "SMALLINT" | "INT2" => int(16),
        "MEDIUMINT" | "INT3" => int(24),
        "INT" | "INT4" => int(32),
        "INTEGER" | "BIGINT" | "INT8" | "LONG" => int(64),
        "DECIMAL" | "NUMERIC" | "DEC" | "FIXED" | "NUMBER" | "DECIMAL_TEXT" => match first {
            Some(precision) => CanonicalType::Decimal {
                precision: precision.min(u32::from(u16::MAX)) as u16,
                scale: params.get(1).copied().unwrap_or(0).min(255) as u16,
            },
            // Without a precision nothing says how much the other side must be able to hold.
            None => CanonicalType::Any,
        },
        "FLOAT4" => CanonicalType::Float32,
        "REAL" | "DOUBLE" | "DOUBLE PRECISION" | "FLOAT" | "FLOAT8" => CanonicalType::Float64,
        "CHAR" | "CHARACTER" | "VARCHAR" | "NCHAR" | "NVARCHAR" | "VARYING CHARACTER"
        | "NATIVE CHARACTER" | "CHARACTER VARYING" | "VARCHAR2" | "NVARCHAR2" => {
            CanonicalType::Text { max_chars: first }
        }
        "TEXT" | "CLOB" | "TINYTEXT" | "MEDIUMTEXT" | "LONGTEXT" | "NTEXT" => {
            CanonicalType::Text { max_chars: None }
        }
        "BLOB" | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB" => CanonicalType::Bytes { max_len: None },
        "BINARY" | "VARBINARY" => CanonicalType::Bytes { max_len: first },
        "DATE" => CanonicalType::Date,
        "DATETIME" => CanonicalType::DateTime {
            fraction: fraction(6),
        },
        "TIMESTAMP" => CanonicalType::Timestamp {
            fraction: fraction(6),
        },
        "TIME" => CanonicalType::Time {
            fraction: fraction(6),
        },
        "YEAR" => CanonicalType::Year,
        "JSON" | "JSON_TEXT" => CanonicalType::Json,
        "BIT" | "BIT_TEXT" => CanonicalType::Bit {
            width: first.unwrap_or(1).clamp(1, 64) as u8,
        },
        _ => CanonicalType::Any,
    }
}

/// `decimal ( 10, 2 ) unsigned` as (`DECIMAL`, [10, 2], true).
fn split(declared: &str) -> (String, Vec<u32>, bool) {
    let upper = declared.to_ascii_uppercase();
    let (head, rest) = match upper.split_once('(') {
        Some((head, rest)) => (head, rest),
        None => (upper.as_str(), ""),
    };
    let (params, tail) = rest.split_once(')').unwrap_or((rest, ""));
    let params = params
        .split(',')
        .filter_map(|param| param.trim().parse().ok())
        .collect();
    let mut words: Vec<&str> = head.split_whitespace().collect();
    let before = words.len();
    words.retain(|word| *word != "UNSIGNED" && *word != "SIGNED");
    let unsigned = tail.split_whitespace().any(|word| word == "UNSIGNED")
        || (before != words.len() && head.contains("UNSIGNED"));
    (words.join(" "), params, unsigned)
}

/// A value of one storage class, to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Real(f64),
    Text(String),
    /// Text that isn't UTF-8: SQLite holds such, the driver can only hand it over as bytes.
    RawText(Vec<u8>),
    Blob(Vec<u8>),
}

impl Value {
    fn text(bytes: &[u8]) -> Value {
        match std::str::from_utf8(bytes) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::RawText(bytes.to_owned()),
        }
    }

    /// Adds it to a statement's parameters.
    pub fn bind(self, arguments: &mut SqliteArguments) {
        match self {
            Value::Null => bind(arguments, None::<i64>),
            Value::Int(int) => bind(arguments, int),
            Value::Real(real) => bind(arguments, real),
            Value::Text(text) => bind(arguments, text),
            Value::RawText(bytes) | Value::Blob(bytes) => bind(arguments, bytes),
        }
    }
}

/// A value as SQLite hands it out.
#[derive(Clone, Copy, Debug)]
pub enum Stored<'r> {
    Null,
    Int(i64),
    Real(f64),
    /// In UTF-8 as far as it is valid at all.
    Text(&'r [u8]),
    Blob(&'r [u8]),
}

impl<'r> Stored<'r> {
    /// Column `index` of `row`.
    pub fn of(row: &'r SqliteRow, index: usize) -> Result<Stored<'r>, String> {
        let value = row.try_get_raw(index).map_err(|error| error.to_string())?;
        if value.is_null() {
            return Ok(Stored::Null);
        }
        let class = value.type_info();
        let class = class.name();
        let told = |error: sqlx::error::BoxDynError| error.to_string();
        match class {
            "INTEGER" => <i64 as Decode<sqlx::Sqlite>>::decode(value)
                .map(Stored::Int)
                .map_err(told),
            "REAL" => <f64 as Decode<sqlx::Sqlite>>::decode(value)
                .map(Stored::Real)
                .map_err(told),
            "TEXT" => <&[u8] as Decode<sqlx::Sqlite>>::decode(value)
                .map(Stored::Text)
                .map_err(told),
            "BLOB" => <&[u8] as Decode<sqlx::Sqlite>>::decode(value)
                .map(Stored::Blob)
                .map_err(told),
            other => Err(format!("storage class {other}")),
        }
    }

    fn class(&self) -> &'static str {
        match self {
            Stored::Null => "NULL",
            Stored::Int(_) => "an INTEGER",
            Stored::Real(_) => "a REAL",
            Stored::Text(_) => "a TEXT",
            Stored::Blob(_) => "a BLOB",
        }
    }
}

/// Appends the cell of [`CanonicalType::Any`]; the value isn't NULL.
pub fn write_any(stored: Stored<'_>, out: &mut Vec<u8>) {
    match stored {
        Stored::Null => debug_assert!(false, "NULL has no cell"),
        Stored::Int(int) => out.extend_from_slice(format!("i{int}").as_bytes()),
        Stored::Real(real) => {
            out.push(b'r');
            out.extend_from_slice(&real.to_bits().to_be_bytes());
        }
        Stored::Text(text) => {
            out.push(b't');
            out.extend_from_slice(text);
        }
        Stored::Blob(blob) => {
            out.push(b'b');
            out.extend_from_slice(blob);
        }
    }
}

/// Reads what [`write_any`] wrote.
pub fn read_any(cell: &[u8]) -> Result<Value, String> {
    let (class, payload) = cell.split_first().ok_or("a cell without storage class")?;
    match class {
        b'i' => Ok(Value::Int(parse(payload)?)),
        b'r' => {
            let bits = <[u8; 8]>::try_from(payload).map_err(|_| "a REAL has eight bytes")?;
            Ok(Value::Real(f64::from_bits(u64::from_be_bytes(bits))))
        }
        b't' => Ok(Value::text(payload)),
        b'b' => Ok(Value::Blob(payload.to_owned())),
        other => Err(format!("there is no storage class {other:#04x}")),
    }
}

/// Appends the canonical text of a value; it isn't NULL.
pub fn write_canonical(
    canonical: &CanonicalType,
    stored: Stored<'_>,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let wrong = || Err(format!("holds {}{}", stored.class(), excerpt(stored)));
    match (canonical, stored) {
        (CanonicalType::Any, _) => write_any(stored, out),
        (CanonicalType::Year, Stored::Int(year)) if (0..=9999).contains(&year) => {
            out.extend_from_slice(format!("{year:04}").as_bytes());
        }
        (CanonicalType::Bit { .. }, Stored::Int(int)) if int < 0 => return wrong(),
        (
            CanonicalType::Int { .. }
            | CanonicalType::Bit { .. }
            | CanonicalType::Decimal { .. }
            | CanonicalType::Json,
            Stored::Int(int),
        ) => out.extend_from_slice(int.to_string().as_bytes()),
        // Beyond 2^53 a double doesn't hold every integer.
        (CanonicalType::Float32 | CanonicalType::Float64, Stored::Int(int))
            if int.unsigned_abs() <= 1 << 53 =>
        {
            out.extend_from_slice(int.to_string().as_bytes());
        }
        (CanonicalType::Decimal { .. }, Stored::Real(real)) if real.is_finite() => {
            out.extend_from_slice(format!("{real}").as_bytes());
        }
        (CanonicalType::Float32 | CanonicalType::Float64, Stored::Real(real))
            if real.is_finite() =>
        {
            out.extend_from_slice(format!("{real:?}").as_bytes());
        }
        (CanonicalType::Json, Stored::Real(real)) if real.is_finite() => {
            out.extend_from_slice(format!("{real:?}").as_bytes());
        }
        (CanonicalType::Bytes { .. }, Stored::Blob(blob)) => out.extend_from_slice(blob),
        (_, Stored::Text(text)) if text_fits(canonical, text) => out.extend_from_slice(text),
        _ => return wrong(),
    }
    Ok(())
}

/// Whether a TEXT is the canonical text of the type.
fn text_fits(canonical: &CanonicalType, text: &[u8]) -> bool {
    match canonical {
        CanonicalType::Text { .. }
        | CanonicalType::Json
        | CanonicalType::Enum { .. }
        | CanonicalType::Set { .. } => std::str::from_utf8(text).is_ok(),
        CanonicalType::Decimal { .. } => is_decimal(text),
        CanonicalType::Bit { .. } => !text.is_empty() && text.iter().all(u8::is_ascii_digit),
        CanonicalType::Date => shaped(text, b"dddd-dd-dd"),
        CanonicalType::DateTime { .. } | CanonicalType::Timestamp { .. } => {
            shaped(without_fraction(text), b"dddd-dd-dd dd:dd:dd")
        }
        CanonicalType::Time { .. } => {
            let whole = without_fraction(text);
            let whole = whole.strip_prefix(b"-").unwrap_or(whole);
            shaped(whole, b"dd:dd:dd") || shaped(whole, b"ddd:dd:dd")
        }
        _ => false,
    }
}

fn shaped(text: &[u8], shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.iter().zip(shape).all(|(byte, want)| match want {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

/// Cuts one to six digits of a second off; any other tail stays, and then doesn't fit.
fn without_fraction(text: &[u8]) -> &[u8] {
    match text.iter().position(|byte| *byte == b'.') {
        Some(dot) if (1..=6).contains(&(text.len() - dot - 1)) => {
            match text[dot + 1..].iter().all(u8::is_ascii_digit) {
                true => &text[..dot],
                false => text,
            }
        }
        _ => text,
    }
}

fn is_decimal(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let mut halves = digits.splitn(2, |byte| *byte == b'.');
    let whole = halves.next().unwrap_or_default();
    let fraction = halves.next();
    let all_digits = |half: &[u8]| !half.is_empty() && half.iter().all(u8::is_ascii_digit);
    all_digits(whole) && fraction.is_none_or(all_digits)
}

/// The beginning of a small value, to find it by.
fn excerpt(stored: Stored<'_>) -> String {
    match stored {
        Stored::Int(int) => format!(" ({int})"),
        Stored::Real(real) => format!(" ({real:?})"),
        Stored::Text(text) => {
            let text: String = String::from_utf8_lossy(text).chars().take(32).collect();
            format!(" ({text:?})")
        }
        Stored::Null | Stored::Blob(_) => String::new(),
    }
}

/// The largest precision a double carries without loss.
const DOUBLE_DIGITS: u16 = 15;

/// The value to write for a canonical text, in a column that was made for `canonical`.
pub fn read_canonical(canonical: &CanonicalType, cell: &[u8]) -> Result<Value, String> {
    match canonical {
        CanonicalType::Any => read_any(cell),
        CanonicalType::Int { .. } | CanonicalType::Year => Ok(Value::Int(parse(cell)?)),
        CanonicalType::Bit { width } if *width < 64 => Ok(Value::Int(parse(cell)?)),
        CanonicalType::Decimal { precision, .. } if *precision <= DOUBLE_DIGITS => {
            match parse::<i64>(cell) {
                Ok(int) => Ok(Value::Int(int)),
                Err(_) => Ok(Value::Real(parse(cell)?)),
            }
        }
        // The single's exact value, so that its bits come back.
        CanonicalType::Float32 => Ok(Value::Real(f64::from(parse::<f32>(cell)?))),
        CanonicalType::Float64 => Ok(Value::Real(parse(cell)?)),
        CanonicalType::Bytes { .. } => Ok(Value::Blob(cell.to_owned())),
        CanonicalType::Time { .. }
        | CanonicalType::DateTime { .. }
        | CanonicalType::Timestamp { .. } => Ok(Value::text(strip_fraction(cell))),
        _ => Ok(Value::text(cell)),
    }
}

fn strip_fraction(cell: &[u8]) -> &[u8] {
    if !cell.contains(&b'.') {
        return cell;
    }
    let kept = cell.iter().rposition(|byte| *byte != b'0');
    let cell = &cell[..kept.map_or(0, |last| last + 1)];
    cell.strip_suffix(b".").unwrap_or(cell)
}

fn parse<T: std::str::FromStr>(cell: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(cell).map_err(|_| "a number in bytes".to_owned())?;
    text.parse().map_err(|_| {
        format!(
            "{:?} doesn't fit",
            text.chars().take(40).collect::<String>()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical_text(declared: &str, stored: Stored<'_>) -> Result<String, String> {
        let mut out = Vec::new();
        write_canonical(&canonical_type(declared), stored, &mut out)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn declared_types_are_read() {
        let text = |max_chars| CanonicalType::Text { max_chars };
        let int = |bits, unsigned| CanonicalType::Int { bits, unsigned };
        let decimal = |precision, scale| CanonicalType::Decimal { precision, scale };
        for (declared, expected) in [
            ("INTEGER", int(64, false)),
            ("bigint unsigned", int(64, true)),
            ("INT(10) UNSIGNED", int(32, true)),
            ("BOOLEAN", int(8, false)),
            ("NVARCHAR(160)", text(Some(160))),
            ("varying  character (20)", text(Some(20))),
            ("TEXT", text(None)),
            ("NUMERIC(10,2)", decimal(10, 2)),
            ("DECIMAL_TEXT(30, 10)", decimal(30, 10)),
            ("DECIMAL(5)", decimal(5, 0)),
            ("NUMERIC", CanonicalType::Any),
            ("", CanonicalType::Any),
            ("FLOAT4", CanonicalType::Float32),
            ("Double Precision", CanonicalType::Float64),
            ("VARBINARY(16)", CanonicalType::Bytes { max_len: Some(16) }),
            ("DATETIME", CanonicalType::DateTime { fraction: 6 }),
            ("TIMESTAMP(3)", CanonicalType::Timestamp { fraction: 3 }),
            ("TIME(0)", CanonicalType::Time { fraction: 0 }),
            ("JSON_TEXT", CanonicalType::Json),
            ("BIT_TEXT(64)", CanonicalType::Bit { width: 64 }),
            ("BIT(12)", CanonicalType::Bit { width: 12 }),
        ] {
            assert_eq!(canonical_type(declared), expected, "{declared}");
        }
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
        let datetime =
            |text: &'static str| canonical_text("DATETIME", Stored::Text(text.as_bytes()));
        assert!(datetime("2009-01-01 00:00:00").is_ok());
        assert!(datetime("2009-01-01 00:00:00.123").is_ok());
        for odd in [
            "2009-01-01",
            "2009-01-01T00:00:00",
            "2009-01-01 00:00:00.",
            "now",
        ] {
            assert!(datetime(odd).is_err(), "{odd}");
        }
        assert_eq!(canonical_text("YEAR", Stored::Int(0)), Ok("0000".into()));
    }

    #[test]
    fn a_single_keeps_its_bits() {
        let Ok(Value::Real(wide)) = read_canonical(&CanonicalType::Float32, b"0.1") else {
            panic!("a number");
        };
        let back = canonical_text("FLOAT4", Stored::Real(wide)).expect("finite");
        assert_eq!(back.parse::<f32>().map(f32::to_bits), Ok(0.1f32.to_bits()));
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused() {
        let unsigned = CanonicalType::Int {
            bits: 64,
            unsigned: true,
        };
        assert!(read_canonical(&unsigned, b"18446744073709551615").is_err());
        assert_eq!(read_canonical(&unsigned, b"7"), Ok(Value::Int(7)));
        let wide = CanonicalType::Decimal {
            precision: 20,
            scale: 2,
        };
        assert_eq!(
            read_canonical(&wide, b"1.50"),
            Ok(Value::Text("1.50".into()))
        );
        let time = CanonicalType::Time { fraction: 6 };
        assert_eq!(
            read_canonical(&time, b"10:00:00.500000"),
            Ok(Value::Text("10:00:00.5".into()))
        );
    }
}
