//! Which canonical type a PostgreSQL type is, and which defaults mean the same everywhere.

use common::schema::{CanonicalType, ColumnDefault};

/// A column's type without its domains.
#[derive(Clone, Copy, Debug)]
pub struct RawType<'a> {
    /// `typname`.
    pub name: &'a str,
    /// `typtype`: b, c, e, r, m, p.
    pub kind: &'a str,
    /// It is PostgreSQL's own, not one of the same name in another schema.
    pub builtin: bool,
    pub typmod: i64,
}

/// Everything without a canonical type of its own travels as its text.
pub fn canonical(raw: &RawType<'_>, labels: Option<&Vec<String>>) -> CanonicalType {
    use CanonicalType as C;
    if raw.kind == "e" {
        let values = labels.cloned().unwrap_or_default();
        return C::Enum { values };
    }
    if !raw.builtin {
        return C::Text { max_chars: None };
    }
    let int = |bits| C::Int {
        bits,
        unsigned: false,
    };
    let fraction = u8::try_from(raw.typmod).unwrap_or(6);
    let length = u32::try_from(raw.typmod - 4).ok();
    match raw.name {
        "bool" => C::Bool,
        "int2" => int(16),
        "int4" => int(32),
        "int8" => int(64),
        "oid" => C::Int {
            bits: 32,
            unsigned: true,
        },
        "numeric" => numeric(raw.typmod),
        "money" => C::Numeric,
        "float4" => C::Float32,
        "float8" => C::Float64,
        "varchar" | "bpchar" => C::Text { max_chars: length },
        "name" => C::Text {
            max_chars: Some(63),
        },
        // A byte above 127 is printed as a backslash and three digits.
        "char" => C::Text { max_chars: Some(4) },
        "bytea" => C::Bytes { max_len: None },
        "date" => C::Date,
        "time" => C::Time { fraction },
        "timestamp" => C::DateTime { fraction },
        "timestamptz" => C::Timestamp { fraction },
        "uuid" => C::Uuid,
        "json" | "jsonb" => C::Json,
        "inet" | "cidr" => C::Inet,
        "bit" => match u8::try_from(raw.typmod) {
            Ok(width @ 1..=64) => C::Bit { width },
            _ => C::Text { max_chars: None },
        },
        _ => C::Text { max_chars: None },
    }
}

/// `numeric(p,s)`: the scale is signed since 15, in eleven bits.
fn numeric(typmod: i64) -> CanonicalType {
    let Ok(packed) = u32::try_from(typmod - 4) else {
        return CanonicalType::Numeric;
    };
    let precision = (packed >> 16) as u16;
    let scale = ((packed & 0x7ff) ^ 0x400) as i32 - 0x400;
    match u16::try_from(scale) {
        Ok(scale) if scale <= precision => CanonicalType::Decimal { precision, scale },
        _ => CanonicalType::Numeric,
    }
}

/// A default as `pg_get_expr` prints it.
pub fn default_of(expression: &str, canonical: &CanonicalType) -> ColumnDefault {
    use CanonicalType as C;
    if let (Some(fraction), C::DateTime { .. } | C::Timestamp { .. }) = (now(expression), canonical)
    {
        return ColumnDefault::CurrentTimestamp {
            fraction,
            on_update: false,
        };
    }
    let verbatim = || ColumnDefault::Expression(expression.to_owned());
    let literal = match (literal(expression), canonical) {
        (Some(text), C::Bool) => match text.as_str() {
            "true" | "t" => Some("1".to_owned()),
            "false" | "f" => Some("0".to_owned()),
            _ => None,
        },
        (Some(text), C::Timestamp { .. }) => text.strip_suffix("+00").map(str::to_owned),
        // Raw bytes, bits as a number, intervals: their text here isn't the canonical one.
        (Some(_), C::Bytes { .. } | C::Bit { .. } | C::Numeric) => None,
        (literal, _) => literal,
    };
    literal.map_or_else(verbatim, ColumnDefault::Literal)
}

fn now(expression: &str) -> Option<u8> {
    let lower = expression.to_ascii_lowercase();
    let digits = ["current_timestamp(", "localtimestamp("]
        .iter()
        .find_map(|start| lower.strip_prefix(start)?.strip_suffix(')'));
    match (lower.as_str(), digits) {
        ("now()" | "current_timestamp" | "localtimestamp", _) => Some(6),
        (_, Some(digits)) => digits.parse().ok(),
        _ => None,
    }
}

/// The value of `'…'::type`, a bare number, or a truth value; None = more than that.
fn literal(expression: &str) -> Option<String> {
    if matches!(expression, "true" | "false") {
        return Some(expression.to_owned());
    }
    let bare = expression.trim_start_matches('(').trim_end_matches(')');
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit() || c == '.');
    if bare.parse::<f64>().is_ok() && digits(bare.trim_start_matches('-')) {
        return Some(bare.to_owned());
    }
    let escaped = expression.strip_prefix("E'");
    let mut rest = escaped.or_else(|| expression.strip_prefix('\''))?.chars();
    let mut value = String::new();
    loop {
        match rest.next()? {
            '\\' if escaped.is_some() => value.push(rest.next()?),
            '\'' => match rest.next() {
                Some('\'') => value.push('\''),
                after => {
                    let cast: String = after.into_iter().chain(rest).collect();
                    return is_cast(&cast).then_some(value);
                }
            },
            other => value.push(other),
        }
    }
}

/// Nothing, or `::some type(1,2)`.
fn is_cast(text: &str) -> bool {
    let Some(name) = text.strip_prefix("::") else {
        return text.is_empty();
    };
    let plain = |c: char| c.is_alphanumeric() || " _\".,()[]".contains(c);
    name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: CanonicalType = CanonicalType::Text { max_chars: None };

    #[test]
    fn a_numeric_is_read_from_its_typmod() {
        let of = |p: i64, s: i64| ((p << 16) | (s & 0x7ff)) + 4;
        let decimal = |precision, scale| CanonicalType::Decimal { precision, scale };
        assert_eq!(numeric(of(1000, 500)), decimal(1000, 500));
        assert_eq!(numeric(of(20, 0)), decimal(20, 0));
        assert_eq!(numeric(of(5, -2)), CanonicalType::Numeric);
        assert_eq!(numeric(of(3, 5)), CanonicalType::Numeric);
        assert_eq!(numeric(-1), CanonicalType::Numeric);
    }

    #[test]
    fn only_plain_values_are_literals() {
        let literal = |text: &str| ColumnDefault::Literal(text.into());
        let expression = |text: &str| ColumnDefault::Expression(text.into());
        for (text, found) in [
            ("'it''s'::text", literal("it's")),
            ("E'a\\\\b'::character varying(3)", literal("a\\b")),
            (
                "'a'::text || 'b'::text",
                expression("'a'::text || 'b'::text"),
            ),
            ("lower('A'::text)", expression("lower('A'::text)")),
            ("5", literal("5")),
            ("'-5'::integer", literal("-5")),
            ("(-1.50)", literal("-1.50")),
        ] {
            assert_eq!(default_of(text, &TEXT), found, "{text}");
        }
        assert_eq!(default_of("true", &CanonicalType::Bool), literal("1"));
        let stamp = CanonicalType::Timestamp { fraction: 6 };
        let now = |fraction| ColumnDefault::CurrentTimestamp {
            fraction,
            on_update: false,
        };
        assert_eq!(default_of("now()", &stamp), now(6));
        assert_eq!(default_of("CURRENT_TIMESTAMP(3)", &stamp), now(3));
        assert_eq!(default_of("now()", &TEXT), expression("now()"));
        let date = "'2020-01-01 00:00:00+00'::timestamp with time zone";
        assert_eq!(default_of(date, &stamp), literal("2020-01-01 00:00:00"));
    }
}
