//! How a column's cells are selected and stored, between COPY's text and the canonical one.
//!
//! In native form a cell is the text COPY gives, escapes and all, and goes back unchanged. In
//! canonical form the SELECT list converts where SQL can, and what is left is a [`Shape`].

use common::schema::{CanonicalType, CellForm, Column};

use super::quote::ident;

/// Everything that decides how a value is printed.
pub const VALUES_PINNED: &str = "SET standard_conforming_strings = on; SET search_path = \
     pg_catalog; SET client_encoding = 'UTF8'; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'; \
     SET IntervalStyle = 'postgres'; SET extra_float_digits = 3; SET bytea_output = 'hex'; \
     SET xmloption = content; SET lc_monetary = 'C'; SET array_nulls = on; SET row_security = off";

/// What a column is on this server, by its type as DDL spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    Integer,
    Text,
    Bytea,
    Bit,
    Money,
    Timestamp,
    TimestampTz,
    /// Prints as it is canonically: numbers, dates, uuid, json, …
    Plain,
    /// Not one of the above by its spelling: a domain, an enum, any type of the user's.
    Other,
}

/// See [`Kind`].
pub fn kind(native_type: &str) -> Kind {
    let lower = native_type.trim().to_ascii_lowercase();
    let lower = lower.strip_prefix("pg_catalog.").unwrap_or(&lower);
    if lower.ends_with(']') {
        return Kind::Other;
    }
    let word: String = lower
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric())
        .collect();
    let rest = &lower[word.len()..];
    let zone = rest.contains("with time zone");
    match word.as_str() {
        "boolean" | "bool" => Kind::Boolean,
        "smallint" | "integer" | "bigint" | "int" | "int2" | "int4" | "int8" => Kind::Integer,
        "text" | "varchar" => Kind::Text,
        "character" if rest.trim_start().starts_with("varying") => Kind::Text,
        "bytea" => Kind::Bytea,
        "bit" if !rest.trim_start().starts_with("varying") => Kind::Bit,
        "money" => Kind::Money,
        "timestamptz" => Kind::TimestampTz,
        "timestamp" if zone => Kind::TimestampTz,
        "timestamp" => Kind::Timestamp,
        "numeric" | "decimal" | "real" | "double" | "float4" | "float8" | "date" | "time"
        | "interval" | "uuid" | "json" | "jsonb" | "inet" | "cidr" | "oid" => Kind::Plain,
        _ => Kind::Other,
    }
}

/// What is left to do to a cell besides COPY's escapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Native form: not even the escapes are undone.
    Escaped,
    Text,
    /// Canonical bytes are `\x…` here.
    Hex,
    /// A canonical number is this many bits here.
    Bits(usize),
}

/// The shape of `column`'s cells when they are `canonical` to the outside.
pub fn shape(column: &Column, canonical: &CanonicalType, form: CellForm) -> Shape {
    if form == CellForm::Native {
        return Shape::Escaped;
    }
    match (kind(&column.native_type), canonical) {
        (Kind::Bytea, _) | (Kind::Other, CanonicalType::Bytes { .. }) => Shape::Hex,
        (Kind::Bit | Kind::Other, CanonicalType::Bit { width }) => {
            Shape::Bits(bit_width(&column.native_type).unwrap_or(usize::from(*width)))
        }
        _ => Shape::Text,
    }
}

/// n of `bit(n)`; `bit` alone is one.
pub fn bit_width(native_type: &str) -> Option<usize> {
    if kind(native_type) != Kind::Bit {
        return None;
    }
    match native_type.split_once('(') {
        None => Some(1),
        Some((_, rest)) => rest.trim_end_matches(')').trim().parse().ok(),
    }
}

/// The expression that selects `column` of this server.
pub fn select(column: &Column, canonical: &CanonicalType, form: CellForm) -> String {
    let name = ident(&column.name);
    if form == CellForm::Native {
        return name;
    }
    let kind = kind(&column.native_type);
    let zoned = format!("({name}::timestamptz AT TIME ZONE 'UTC')");
    match (canonical, kind) {
        (CanonicalType::Bool, Kind::Boolean | Kind::Other) => format!("{name}::bool::int4"),
        // Its text would have the declaration, with an encoding that this one isn't.
        (CanonicalType::Text { .. }, Kind::Other) if column.native_type == "xml" => name,
        // `char(n)` is padded where it is shown, not as text; arrays and all the rest are the same.
        (CanonicalType::Text { .. }, Kind::Other) => format!("{name}::text"),
        (CanonicalType::Bytes { .. }, Kind::Other) => format!("{name}::bytea"),
        (CanonicalType::Numeric, Kind::Money | Kind::Other) => format!("{name}::numeric"),
        (CanonicalType::Timestamp { .. }, Kind::TimestampTz | Kind::Other)
        | (CanonicalType::DateTime { .. }, Kind::TimestampTz) => zoned,
        // A real's few digits, read as a double by another engine, may exceed its largest float.
        (CanonicalType::Float32, Kind::Plain) => format!("{name}::float8"),
        (CanonicalType::Year, Kind::Integer) => format!("lpad({name}::text, 4, '0')"),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_from_every_spelling() {
        for (spelling, expected) in [
            ("timestamp(3) with time zone", Kind::TimestampTz),
            ("timestamp without time zone", Kind::Timestamp),
            ("character varying(10)", Kind::Text),
            ("character(3)", Kind::Other),
            ("bpchar", Kind::Other),
            ("bit varying(8)", Kind::Other),
            ("bit(8)", Kind::Bit),
            ("integer[]", Kind::Other),
            ("\"Odd\".\"boolean\"", Kind::Other),
            ("\"char\"", Kind::Other),
            ("double precision", Kind::Plain),
        ] {
            assert_eq!(kind(spelling), expected, "{spelling}");
        }
        assert_eq!(
            (bit_width("bit"), bit_width("bit(12)"), bit_width("d")),
            (Some(1), Some(12), None)
        );
    }
}
