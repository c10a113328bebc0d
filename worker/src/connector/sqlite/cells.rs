//! Values and cells: SQLite's five storage classes on one side, [`CanonicalType`]'s texts on the
//! other. A value that has no exact cell is refused with the reason; nothing is rounded, padded or
//! guessed.

use common::schema::CanonicalType;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Decode, Row, TypeInfo, ValueRef};

use super::session::bind;
use super::shapes;
use super::types::Affinity;

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

impl Value {
    /// As `typeof` says it.
    pub fn class(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Int(_) => "integer",
            Value::Real(_) => "real",
            Value::Text(_) | Value::RawText(_) => "text",
            Value::Blob(_) => "blob",
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

    /// As a sentence about the value has it.
    pub fn class(&self) -> &'static str {
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

/// Appends the canonical text of a value, which isn't NULL, from a column of `affinity`.
pub fn write_canonical(
    canonical: &CanonicalType,
    affinity: Affinity,
    stored: Stored<'_>,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    use CanonicalType as T;
    let wrong = || Err(format!("holds {}{}", stored.class(), excerpt(stored)));
    match (canonical, stored) {
        (T::Any, _) => write_any(stored, out),
        (T::Bytes { .. }, Stored::Blob(blob)) => out.extend_from_slice(blob),
        (_, Stored::Int(int)) if takes_int(canonical, int) => {
            let text = match canonical {
                T::Year => format!("{int:04}"),
                _ => int.to_string(),
            };
            out.extend_from_slice(text.as_bytes());
        }
        (T::Decimal { .. } | T::Numeric, Stored::Real(real)) if real.is_finite() => {
            out.extend_from_slice(format!("{real}").as_bytes());
        }
        (T::Float32 | T::Float64 | T::Numeric, Stored::Real(real)) => {
            out.extend_from_slice(float_text(real).as_bytes());
        }
        (T::Json, Stored::Real(real)) if real.is_finite() => {
            out.extend_from_slice(float_text(real).as_bytes());
        }
        // There, the number's text would have become the number: it is exact.
        (T::Text { .. }, Stored::Int(int)) if affinity.is_numeric() => {
            out.extend_from_slice(int.to_string().as_bytes());
        }
        (T::Text { .. }, Stored::Real(real)) if affinity.is_numeric() && real.is_finite() => {
            out.extend_from_slice(float_text(real).as_bytes());
        }
        (_, Stored::Text(text)) if shapes::text_fits(canonical, text) => {
            out.extend_from_slice(text);
        }
        _ => return wrong(),
    }
    Ok(())
}

fn takes_int(canonical: &CanonicalType, int: i64) -> bool {
    use CanonicalType as T;
    match canonical {
        T::Bool => matches!(int, 0 | 1),
        T::Year => (0..=9999).contains(&int),
        T::Bit { .. } => int >= 0,
        // Beyond 2^53 a double doesn't hold every integer.
        T::Float32 | T::Float64 => int.unsigned_abs() <= 1 << 53,
        T::Int { .. } | T::Decimal { .. } | T::Numeric | T::Json => true,
        _ => false,
    }
}

/// As PostgreSQL spells what isn't finite.
fn float_text(real: f64) -> String {
    match real.is_infinite() {
        true if real < 0.0 => "-Infinity".to_owned(),
        true => "Infinity".to_owned(),
        false => format!("{real:?}"),
    }
}

/// What SQLite's own conversion to a type is, around a quoted column.
pub fn cast(canonical: &CanonicalType, column: &str) -> Option<String> {
    use CanonicalType as T;
    let class = match canonical {
        T::Any => return None,
        T::Bool => return Some(format!("CAST({column} AS INTEGER) <> 0")),
        T::Date => return Some(format!("date({column})")),
        T::Time { .. } => return Some(format!("time({column})")),
        T::DateTime { .. } | T::Timestamp { .. } => return Some(format!("datetime({column})")),
        T::Int { .. } | T::Year | T::Bit { .. } => "INTEGER",
        T::Decimal { .. } | T::Numeric => "NUMERIC",
        T::Float32 | T::Float64 => "REAL",
        T::Bytes { .. } => "BLOB",
        T::Text { .. } | T::Json | T::Uuid | T::Inet | T::Enum { .. } | T::Set { .. } => "TEXT",
    };
    Some(format!("CAST({column} AS {class})"))
}

/// The beginning of a small value, to find it by.
pub fn excerpt(stored: Stored<'_>) -> String {
    match stored {
        Stored::Int(int) => format!(" ({int})"),
        Stored::Real(real) => format!(" ({real:?})"),
        Stored::Text(text) => {
            let text: String = String::from_utf8_lossy(text).chars().take(32).collect();
            format!(" ({text:?})")
        }
        Stored::Blob(blob) => {
            let shown = blob.iter().take(16).map(|byte| format!("{byte:02x}"));
            let more = if blob.len() > 16 { "…" } else { "" };
            format!(" (x'{}{more}')", shown.collect::<String>())
        }
        Stored::Null => String::new(),
    }
}

/// A value that is to be found, as an error has it.
pub fn excerpt_value(value: &Value) -> String {
    let text = match value {
        Value::Null => return "NULL".to_owned(),
        Value::Int(int) => excerpt(Stored::Int(*int)),
        Value::Real(real) => excerpt(Stored::Real(*real)),
        Value::Text(text) => excerpt(Stored::Text(text.as_bytes())),
        Value::RawText(bytes) => excerpt(Stored::Text(bytes)),
        Value::Blob(bytes) => excerpt(Stored::Blob(bytes)),
    };
    text.trim_matches([' ', '(', ')']).to_owned()
}

/// The value to write for a canonical text, in a column of `affinity` that was made for `canonical`.
pub fn read_canonical(
    canonical: &CanonicalType,
    affinity: Affinity,
    cell: &[u8],
) -> Result<Value, String> {
    use CanonicalType as T;
    match canonical {
        T::Any => read_any(cell),
        T::Bytes { .. } => Ok(Value::Blob(cell.to_owned())),
        T::Time { .. } | T::DateTime { .. } | T::Timestamp { .. } => {
            Ok(Value::text(shapes::strip_fraction(cell)))
        }
        T::Float32 | T::Float64 => read_float(canonical, cell),
        // A column that keeps every digit.
        _ if affinity == Affinity::Text => Ok(Value::text(cell)),
        T::Bool | T::Int { .. } | T::Year | T::Bit { .. } => Ok(Value::Int(parse(cell)?)),
        T::Decimal { .. } => read_number(cell),
        T::Numeric if matches!(cell, b"NaN") => Ok(Value::text(cell)),
        T::Numeric if cell.ends_with(b"Infinity") => Ok(Value::Real(parse(cell)?)),
        T::Numeric => read_number(cell),
        _ if affinity.is_numeric() => read_other(cell),
        _ => Ok(Value::text(cell)),
    }
}

/// SQLite keeps NaN as NULL and drops the sign of zero. The first becomes text, as which it stays.
fn read_float(canonical: &CanonicalType, cell: &[u8]) -> Result<Value, String> {
    let real: f64 = match canonical {
        // The single's exact value, so that its bits come back.
        CanonicalType::Float32 => f64::from(parse::<f32>(cell)?),
        _ => parse(cell)?,
    };
    match real {
        _ if real.is_nan() => Ok(Value::Text("NaN".into())),
        _ if real == 0.0 && real.is_sign_negative() => {
            Err("-0 is kept without its sign by SQLite".to_owned())
        }
        _ => Ok(Value::Real(real)),
    }
}

/// A number for a column in which SQLite makes an integer or a double of it.
fn read_number(cell: &[u8]) -> Result<Value, String> {
    if let Ok(int) = parse::<i64>(cell) {
        return Ok(Value::Int(int));
    }
    let real: f64 = parse(cell)?;
    let exact = real.is_finite() && shapes::same_number(cell, format!("{real}").as_bytes());
    match exact {
        true => Ok(Value::Real(real)),
        false => Err(doubt(cell, "has more digits than a double holds")),
    }
}

/// A text for a column in which SQLite makes a number of what looks like one.
fn read_other(cell: &[u8]) -> Result<Value, String> {
    let text = std::str::from_utf8(cell).unwrap_or_default();
    let Ok(real) = text.trim().parse::<f64>() else {
        return Ok(Value::text(cell));
    };
    let kept = match text.parse::<i64>() {
        Ok(int) => int.to_string() == text,
        Err(_) => text.eq_ignore_ascii_case("nan") || float_text(real) == text,
    };
    let letters = text.trim_start_matches(['-', '+']);
    let word = letters.starts_with(|c: char| c.is_ascii_alphabetic());
    match kept || word {
        true => Ok(Value::text(cell)),
        false => Err(doubt(cell, "would become a number in that column")),
    }
}

fn doubt(cell: &[u8], why: &str) -> String {
    let shown: String = String::from_utf8_lossy(cell).chars().take(40).collect();
    format!("{shown:?} {why}")
}

fn parse<T: std::str::FromStr>(cell: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(cell).map_err(|_| "a number in bytes".to_owned())?;
    text.parse().map_err(|_| doubt(cell, "doesn't fit"))
}

#[cfg(test)]
#[path = "cells_tests.rs"]
mod tests;
