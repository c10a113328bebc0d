//! MySQL's types: what they are between engines, how a cell is selected so that nothing of it is
//! lost, and how it is loaded so that the server changes nothing.

use common::schema::{CanonicalType, CellForm, Column};

use super::quote::ident;

/// The facts of information_schema.COLUMNS that decide the canonical type.
#[derive(Clone, Debug, Default)]
pub struct RawType {
    /// `int`, `varchar`, …
    pub data_type: String,
    /// `int(10) unsigned`, `enum('a','b')`, …
    pub column_type: String,
    pub precision: Option<u64>,
    pub scale: Option<u64>,
    pub fraction: Option<u64>,
    pub characters: Option<u64>,
}

/// The canonical type; None = a type that isn't known.
pub fn canonical(raw: &RawType) -> Option<CanonicalType> {
    let unsigned = raw.column_type.contains("unsigned") || raw.column_type.contains("zerofill");
    let int = |bits| CanonicalType::Int { bits, unsigned };
    let fraction = raw.fraction.unwrap_or(0) as u8;
    let length = raw.characters.and_then(|n| u32::try_from(n).ok());
    Some(match raw.data_type.as_str() {
        "tinyint" => int(8),
        "smallint" => int(16),
        "mediumint" => int(24),
        "int" => int(32),
        "bigint" => int(64),
        "decimal" => CanonicalType::Decimal {
            precision: raw.precision? as u16,
            scale: raw.scale? as u16,
        },
        "float" => CanonicalType::Float32,
        "double" => CanonicalType::Float64,
        "char" | "varchar" => CanonicalType::Text { max_chars: length },
        "tinytext" | "text" | "mediumtext" | "longtext" => CanonicalType::Text { max_chars: None },
        "binary" | "varbinary" => CanonicalType::Bytes { max_len: length },
        "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => {
            CanonicalType::Bytes { max_len: None }
        }
        word if is_spatial(word) => CanonicalType::Bytes { max_len: None },
        "date" => CanonicalType::Date,
        "time" => CanonicalType::Time { fraction },
        "datetime" => CanonicalType::DateTime { fraction },
        "timestamp" => CanonicalType::Timestamp { fraction },
        "year" => CanonicalType::Year,
        "json" => CanonicalType::Json,
        "uuid" => CanonicalType::Uuid,
        "inet4" | "inet6" => CanonicalType::Inet,
        "enum" => CanonicalType::Enum {
            values: members(&raw.column_type),
        },
        "set" => CanonicalType::Set {
            values: members(&raw.column_type),
        },
        "bit" => CanonicalType::Bit {
            width: raw.precision? as u8,
        },
        _ => return None,
    })
}

fn is_spatial(word: &str) -> bool {
    matches!(
        word,
        "geometry"
            | "point"
            | "linestring"
            | "polygon"
            | "multipoint"
            | "multilinestring"
            | "multipolygon"
            | "geometrycollection"
            | "geomcollection"
    )
}

/// The texts of `enum('a','it''s')`.
fn members(column_type: &str) -> Vec<String> {
    let inner = column_type
        .split_once('(')
        .map_or("", |(_, rest)| rest.trim_end_matches(')'));
    let mut members = Vec::new();
    let mut current: Option<String> = None;
    let mut characters = inner.chars().peekable();
    while let Some(character) = characters.next() {
        match (&mut current, character) {
            (None, '\'') => current = Some(String::new()),
            (None, _) => {}
            (Some(member), '\'') if characters.peek() == Some(&'\'') => {
                characters.next();
                member.push('\'');
            }
            (Some(_), '\'') => members.extend(current.take()),
            (Some(member), '\\') => match characters.next() {
                Some('n') => member.push('\n'),
                Some('r') => member.push('\r'),
                Some('0') => member.push('\0'),
                Some(other) => member.push(other),
                None => {}
            },
            (Some(member), other) => member.push(other),
        }
    }
    members
}

/// What kind of column it is on this server, by its native type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Integer,
    Number,
    Float,
    Bit,
    Text,
    /// ENUM and SET.
    Member,
    Json,
    /// Bytes, also those of geometries and vectors.
    Binary,
    Moment,
    /// MariaDB's UUID and INET types: bytes given to them are taken for their inner form.
    Address,
}

/// The kind of a native type as DDL spells it.
pub fn kind(native_type: &str) -> Kind {
    let lower = native_type.trim().to_ascii_lowercase();
    let word: String = lower
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric())
        .collect();
    match word.as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "integer" | "bigint" | "bool"
        | "boolean" | "serial" => Kind::Integer,
        "float" | "double" | "real" => Kind::Float,
        "bit" => Kind::Bit,
        "json" => Kind::Json,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" => Kind::Text,
        "enum" | "set" => Kind::Member,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "vector" => {
            Kind::Binary
        }
        word if is_spatial(word) => Kind::Binary,
        "date" | "time" | "datetime" | "timestamp" | "year" => Kind::Moment,
        "uuid" | "inet4" | "inet6" => Kind::Address,
        _ => Kind::Number,
    }
}

/// The character set of a text column, if its texts must be converted to be UTF-8.
pub fn foreign_charset(column: &Column) -> Option<&str> {
    let text = matches!(kind(&column.native_type), Kind::Text | Kind::Member);
    let charset = column.charset.as_deref().filter(|_| text)?;
    // Not ascii: its columns take any byte that isn't converted (MariaDB, measured).
    let utf8 = matches!(charset, "utf8mb4" | "utf8mb3" | "utf8" | "binary");
    (!utf8).then_some(charset)
}

/// The expression that selects `column` of this server.
pub fn select(column: &Column, form: CellForm) -> String {
    let name = ident(&column.name);
    let canonical = form == CellForm::Canonical;
    match kind(&column.native_type) {
        // A FLOAT prints six digits; as a DOUBLE it prints all that are needed, and keeps -0.
        Kind::Float => format!("{name} * 1e0"),
        Kind::Bit => format!("CAST({name} AS UNSIGNED)"),
        // The text can't tell a value that is no member from an empty member, nor sets of empty
        // members; the number can.
        Kind::Member if !canonical => format!("CAST({name} AS UNSIGNED)"),
        Kind::Text | Kind::Member if canonical => match foreign_charset(column) {
            Some(charset) => as_utf8(&name, charset),
            None => name,
        },
        // ZEROFILL pads what it prints.
        Kind::Integer if canonical && is_zerofill(column) => format!("CAST({name} AS UNSIGNED)"),
        _ => name,
    }
}

/// Text as UTF-8. The servers turn what they can't convert into question marks without a word:
/// text that doesn't convert back to its own bytes gets a byte that UTF-8 doesn't know, by which
/// the reader finds it.
fn as_utf8(name: &str, charset: &str) -> String {
    let utf8 = format!("CONVERT({name} USING utf8mb4)");
    format!(
        "IF(CAST(CONVERT({utf8} USING {charset}) AS BINARY) <=> CAST({name} AS BINARY), \
         CAST({utf8} AS BINARY), CONCAT(CAST({name} AS BINARY), X'FF'))"
    )
}

fn is_zerofill(column: &Column) -> bool {
    column.native_type.to_ascii_lowercase().contains("zerofill")
}

/// How `column` of this server gets its cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// The bytes as they are.
    Direct,
    /// An expression over the bytes: what stands before and after them.
    Through(&'static str, &'static str),
}

/// See [`Store`].
pub fn store(column: &Column, form: CellForm) -> Store {
    let as_text = Store::Through("CONVERT(", " USING utf8mb4)");
    let as_number = Store::Through("CAST(", " AS UNSIGNED)");
    match kind(&column.native_type) {
        Kind::Json | Kind::Address => as_text,
        Kind::Bit => as_number,
        Kind::Member if form == CellForm::Native => as_number,
        Kind::Text | Kind::Member
            if form == CellForm::Canonical && foreign_charset(column).is_some() =>
        {
            as_text
        }
        _ => Store::Direct,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_an_enum_are_unquoted() {
        assert_eq!(
            members("enum('a','it''s','b\\\\c',',','')"),
            ["a", "it's", "b\\c", ",", ""]
        );
    }

    #[test]
    fn what_is_not_known_has_no_type() {
        let raw = |data_type: &str, column_type: &str| RawType {
            data_type: data_type.into(),
            column_type: column_type.into(),
            ..RawType::default()
        };
        assert_eq!(canonical(&raw("row", "row")), None);
        assert_eq!(canonical(&raw("uuid", "uuid")), Some(CanonicalType::Uuid));
        assert_eq!(
            canonical(&raw("int", "int(10) unsigned")),
            Some(CanonicalType::Int {
                bits: 32,
                unsigned: true
            })
        );
        assert_eq!(kind("int(10) unsigned"), Kind::Integer);
        assert_eq!(kind("DOUBLE PRECISION"), Kind::Float);
    }
}
