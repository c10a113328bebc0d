//! A cell of the stream as the reader gives it: the text of the type's output function (the session
//! is pinned as the reader's is) with COPY's escapes in native form, converted as
//! [`types::select`](super::super::types::select) has the server do it in canonical form.

use common::code::Code;
use common::limits;
use common::schema::{CanonicalType, CellForm, Column};
use common::value::RowBatch;

use super::super::copytext::{Field, decode_cell};
use super::super::types::{self, Kind, Shape};
use crate::connector::{Error, Result};

/// What is done to a cell's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Render {
    /// COPY's escapes.
    Escaped,
    Plain,
    /// `::bool::int4`.
    Bool,
    /// `char(n)` as text: without what pads it.
    Unpadded,
    /// `\x…` to bytes.
    Hex,
    /// Ones and zeros to a number.
    Bits,
    /// `::numeric` of a money that was printed with two digits, with so many.
    Money(u8),
    /// `AT TIME ZONE 'UTC'`, of what was printed in that zone.
    Zoned,
    /// `real` as a double.
    Widened,
    /// `lpad(…, 4, '0')`.
    Year,
}

/// How `column`'s cells become those of the reader. `base` is its type's name without domains, of
/// PostgreSQL's own types; `money_digits` is what the database prints behind a money's point.
pub fn render(
    column: &Column,
    canonical: &CanonicalType,
    form: CellForm,
    base: Option<&str>,
    money_digits: u8,
) -> std::result::Result<Render, &'static str> {
    use CanonicalType as C;
    if form == CellForm::Native {
        return Ok(Render::Escaped);
    }
    let base = base.unwrap_or_default();
    let kind = types::kind(&column.native_type);
    Ok(match (canonical, kind) {
        (C::Bool, Kind::Boolean | Kind::Other) => Render::Bool,
        (C::Text { .. }, Kind::Other) => match base {
            "bpchar" => Render::Unpadded,
            // Its text has the declaration that its output function leaves out.
            "xml" if column.native_type != "xml" => return Err("a domain over xml"),
            "_money" => return Err("an array of money"),
            _ => Render::Plain,
        },
        (C::Bytes { .. }, Kind::Other) if base != "bytea" => return Err("not bytes"),
        (C::Numeric, Kind::Money | Kind::Other) => match base {
            "money" => Render::Money(money_digits),
            "numeric" => Render::Plain,
            _ => return Err("not a number"),
        },
        (C::Timestamp { .. }, Kind::TimestampTz | Kind::Other)
        | (C::DateTime { .. }, Kind::TimestampTz) => match base {
            "timestamptz" => Render::Zoned,
            "timestamp" => Render::Plain,
            _ => return Err("not a time"),
        },
        (C::Float32, Kind::Plain) if base == "float4" => Render::Widened,
        (C::Float32, Kind::Plain) if base != "float8" => return Err("not a float"),
        (C::Year, Kind::Integer) => Render::Year,
        _ => match types::shape(column, canonical, form) {
            Shape::Escaped => Render::Escaped,
            Shape::Text => Render::Plain,
            Shape::Hex => Render::Hex,
            Shape::Bits(_) => Render::Bits,
        },
    })
}

/// Appends the cell whose text is `text` to `batch`.
pub fn push(
    table: &str,
    column: &str,
    render: Render,
    text: &[u8],
    batch: &mut RowBatch,
) -> Result<()> {
    let wrong = |reason: &str| {
        let what = format!("{table}.{column}: {reason}");
        Error::permanent(Code::Internal, what)
    };
    // Escapes double it at most.
    if text.len() > limits::CELL_BYTES_MAX / 2 && render != Render::Hex {
        let what = format!("{table}.{column} holds {} bytes", text.len());
        return Err(Error::permanent(Code::UnsupportedType, what));
    }
    match render {
        Render::Escaped => batch.push_with(|out| escape(text, out)),
        Render::Plain => batch.push(text),
        Render::Bool => batch.push(match text {
            b"t" => b"1",
            b"f" => b"0",
            _ => return Err(wrong("neither true nor false")),
        }),
        Render::Unpadded => batch.push(trimmed(text)),
        Render::Hex | Render::Bits => {
            let shape = match render {
                Render::Hex => Shape::Hex,
                _ => Shape::Bits(0),
            };
            decode_cell(shape, text, batch).map_err(wrong)?;
        }
        Render::Money(digits) => {
            let number = money(text, digits).ok_or_else(|| wrong("no money"))?;
            batch.push(number.as_bytes());
        }
        Render::Zoned => batch.push_with(|out| unzoned(text, out)),
        Render::Widened => {
            let float: Option<f32> = std::str::from_utf8(text).ok().and_then(|t| t.parse().ok());
            let float = float.ok_or_else(|| wrong("no float"))?;
            batch.push(double(f64::from(float)).as_bytes());
        }
        Render::Year => batch.push_with(|out| {
            out.resize(out.len() + 4usize.saturating_sub(text.len()), b'0');
            out.extend_from_slice(&text[..text.len().min(4)]);
        }),
    }
    Ok(())
}

/// As COPY prints it.
fn escape(mut rest: &[u8], out: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, b'\\' | 8..=13);
    while let Some(at) = rest.iter().position(special) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(match rest[at] {
            8 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            11 => b'v',
            12 => b'f',
            b'\r' => b'r',
            other => other,
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

fn trimmed(text: &[u8]) -> &[u8] {
    let end = text.iter().rposition(|byte| *byte != b' ');
    &text[..end.map_or(0, |last| last + 1)]
}

/// `2024-01-01 00:00:00+00 BC` without the zone; `infinity` has none.
fn unzoned(text: &[u8], out: &mut Vec<u8>) {
    match text.windows(3).rposition(|part| part == b"+00") {
        Some(at) => {
            out.extend_from_slice(&text[..at]);
            out.extend_from_slice(&text[at + 3..]);
        }
        None => out.extend_from_slice(text),
    }
}

/// `-$1,234.50` as the number it is in a database whose money has `digits` digits.
fn money(text: &[u8], digits: u8) -> Option<String> {
    let negative = text.first() == Some(&b'-');
    let number: String = text
        .iter()
        .filter(|byte| byte.is_ascii_digit())
        .map(|byte| char::from(*byte))
        .collect();
    let units: i128 = number.parse().ok()?;
    let sign = if negative { "-" } else { "" };
    let digits = usize::from(digits);
    if digits == 0 {
        return Some(format!("{sign}{units}"));
    }
    let padded = format!("{units:0width$}", width = digits + 1);
    let (whole, fraction) = padded.split_at(padded.len() - digits);
    Some(format!("{sign}{whole}.{fraction}"))
}

/// A double as the server prints it with `extra_float_digits` above 0: the fewest digits that tell
/// it from any other, an exponent where it is below -4 or above 14.
fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    match exponent {
        -4..=14 => format!("{value}"),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.unsigned_abs())
        }
    }
}

/// The text of a cell of the reader (or of a row of the stream) as a literal of its column.
pub fn literal(render: Render, width: Option<usize>, cell: &[u8]) -> String {
    let text = |bytes: &[u8]| super::super::quote::text(&String::from_utf8_lossy(bytes));
    match render {
        Render::Escaped => {
            let mut batch = RowBatch::new(1);
            let field = Field {
                name: String::new(),
                shape: Shape::Text,
            };
            let decoded = decode_cell(field.shape, cell, &mut batch);
            let cell = batch.cells().next().flatten();
            text(cell.filter(|_| decoded.is_ok()).unwrap_or_default())
        }
        Render::Hex => {
            let digits: String = cell.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("'\\x{digits}'")
        }
        Render::Bits => {
            let number: u64 = String::from_utf8_lossy(cell).parse().unwrap_or(0);
            format!("B'{number:0width$b}'", width = width.unwrap_or(1))
        }
        Render::Zoned => format!("{}::timestamp AT TIME ZONE 'UTC'", text(cell)),
        Render::Money(_) => format!("{}::numeric::money", text(cell)),
        _ => text(cell),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(render: Render, text: &[u8]) -> Vec<u8> {
        let mut batch = RowBatch::new(1);
        push("t", "c", render, text, &mut batch).expect("a cell");
        let cell = batch.cells().next().flatten().expect("one");
        cell.to_vec()
    }

    #[test]
    fn escapes_are_those_of_copy() {
        let escaped = pushed(Render::Escaped, b"a\x08\t\n\x0b\x0c\r\\N\x01\x7f\xff");
        assert_eq!(escaped, b"a\\b\\t\\n\\v\\f\\r\\\\N\x01\x7f\xff");
    }

    #[test]
    fn doubles_are_printed_as_the_server_does() {
        for (value, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (f64::from(0.1f32), "0.10000000149011612"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (f64::from(f32::MAX), "3.4028234663852886e+38"),
            (f64::from(1e-45f32), "1.401298464324817e-45"),
            (f64::NEG_INFINITY, "-Infinity"),
        ] {
            assert_eq!(double(value), expected);
        }
    }

    #[test]
    fn money_has_the_digits_of_its_database() {
        let big = money(b"-$92,233,720,368,547,758.08", 2);
        assert_eq!(big.as_deref(), Some("-92233720368547758.08"));
        assert_eq!(money(b"$0.05", 2).as_deref(), Some("0.05"));
        assert_eq!(money(b"$0.05", 0).as_deref(), Some("5"));
        assert_eq!(money(b"$12.34", 3).as_deref(), Some("1.234"));
    }

    #[test]
    fn zones_and_padding_go() {
        let zoned = pushed(Render::Zoned, b"4713-01-01 00:00:00.5+00 BC");
        assert_eq!(zoned, b"4713-01-01 00:00:00.5 BC");
        assert_eq!(pushed(Render::Zoned, b"-infinity"), b"-infinity");
        assert_eq!(pushed(Render::Unpadded, b" a  "), b" a");
        assert_eq!(pushed(Render::Unpadded, b"   "), b"");
        assert_eq!(pushed(Render::Year, b"79"), b"0079");
        assert_eq!(pushed(Render::Hex, b"\\x00ff"), [0, 255]);
        assert_eq!(pushed(Render::Bits, b"0101"), b"5");
    }
}
