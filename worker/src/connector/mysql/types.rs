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

/// The canonical type; None = a type that isn't moved yet.
pub fn canonical(raw: &RawType) -> Option<CanonicalType> {
    let unsigned = raw.column_type.contains("unsigned");
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
        "tinyblob" | "blob" | "mediumblob" | "longblob" => CanonicalType::Bytes { max_len: None },
        "date" => CanonicalType::Date,
        "time" => CanonicalType::Time { fraction },
        "datetime" => CanonicalType::DateTime { fraction },
        "timestamp" => CanonicalType::Timestamp { fraction },
        "year" => CanonicalType::Year,
        "json" => CanonicalType::Json,
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
    Number,
    Float,
    Bit,
    Text,
    Json,
    Binary,
    Moment,
}

/// The kind of a native type as DDL spells it.
pub fn kind(native_type: &str) -> Kind {
    let lower = native_type.trim().to_ascii_lowercase();
    let word: String = lower
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric())
        .collect();
    match word.as_str() {
        "float" | "double" | "real" => Kind::Float,
        "bit" => Kind::Bit,
        "json" => Kind::Json,
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => {
            Kind::Text
        }
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Kind::Binary,
        "date" | "time" | "datetime" | "timestamp" | "year" => Kind::Moment,
        _ => Kind::Number,
    }
}

fn is_utf8(column: &Column) -> bool {
    match column.charset.as_deref() {
        None => true,
        Some(charset) => matches!(charset, "utf8mb4" | "utf8mb3" | "utf8" | "ascii"),
    }
}

/// The expression that selects `column` of this server.
pub fn select(column: &Column, form: CellForm) -> String {
    let name = ident(&column.name);
    match kind(&column.native_type) {
        // A FLOAT prints six digits; as a DOUBLE it prints all that are needed, and keeps -0.
        Kind::Float => format!("{name} * 1e0"),
        Kind::Bit => format!("CAST({name} AS UNSIGNED)"),
        Kind::Text if form == CellForm::Canonical && !is_utf8(column) => {
            format!("CONVERT({name} USING utf8mb4)")
        }
        // ZEROFILL pads what it prints.
        Kind::Number
            if form == CellForm::Canonical
                && column.native_type.to_ascii_lowercase().contains("zerofill")
                && matches!(column.canonical, CanonicalType::Int { .. }) =>
        {
            format!("CAST({name} AS UNSIGNED)")
        }
        _ => name,
    }
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
    match kind(&column.native_type) {
        Kind::Json => as_text,
        Kind::Bit => Store::Through("CAST(", " AS UNSIGNED)"),
        Kind::Text if form == CellForm::Canonical && !is_utf8(column) => as_text,
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
        assert_eq!(canonical(&raw("geometry", "geometry")), None);
        assert_eq!(canonical(&raw("uuid", "uuid")), None);
        assert_eq!(
            canonical(&raw("int", "int(10) unsigned")),
            Some(CanonicalType::Int {
                bits: 32,
                unsigned: true
            })
        );
        assert_eq!(kind("int(10) unsigned"), Kind::Number);
        assert_eq!(kind("DOUBLE PRECISION"), Kind::Float);
    }
}
