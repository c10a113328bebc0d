//! The one place where names and values become SQL for MySQL and MariaDB.
//!
//! Values are written in hex with an introducer: no byte of them is ever read as syntax, under any
//! character set or `sql_mode` (0x5C inside sjis and gbk characters has bitten others).

use std::fmt::Write;

use common::schema::TableSchema;

/// A quoted identifier.
pub fn ident(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Quoted identifiers with commas between.
pub fn idents<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(ident).collect::<Vec<_>>().join(", ")
}

/// The database a table is in: its own, else the endpoint's.
pub fn database_of<'a>(default: &'a str, table: &'a TableSchema) -> &'a str {
    table.schema.as_deref().unwrap_or(default)
}

/// A table's whole name, quoted.
pub fn table_name(default: &str, table: &TableSchema) -> String {
    format!(
        "{}.{}",
        ident(database_of(default, table)),
        ident(&table.name)
    )
}

/// A text literal.
pub fn text(value: &str) -> String {
    with_charset(value.as_bytes(), "utf8mb4")
}

/// A literal of bytes that are text in `charset` (or `binary`).
pub fn with_charset(bytes: &[u8], charset: &str) -> String {
    debug_assert!(
        charset
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_')
    );
    let mut literal = format!("_{charset} X'");
    hex(bytes, &mut literal);
    literal.push('\'');
    literal
}

/// A literal whose text form the server converts to the column's number, date or time. Anything
/// but printable ASCII is no such value: it is written as text, so that the server refuses it.
pub fn plain(bytes: &[u8]) -> String {
    let safe = |b: &u8| matches!(b, b' '..=b'~') && !matches!(b, b'\'' | b'\\');
    match std::str::from_utf8(bytes) {
        Ok(value) if bytes.iter().all(safe) => format!("'{value}'"),
        _ => format!("CONVERT({} USING utf8mb4)", with_charset(bytes, "binary")),
    }
}

/// Appends `bytes` as hex digits.
pub fn hex(bytes: &[u8], out: &mut String) {
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String can't fail.
        let _ = write!(out, "{byte:02X}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_value_is_syntax() {
        assert_eq!(ident("a`b"), "`a``b`");
        assert_eq!(text("a'"), "_utf8mb4 X'6127'");
        assert_eq!(plain(b"-1.5e3"), "'-1.5e3'");
        assert_eq!(
            plain(b"1'; DROP"),
            "CONVERT(_binary X'31273B2044524F50' USING utf8mb4)"
        );
        assert_eq!(plain(b"\\"), "CONVERT(_binary X'5C' USING utf8mb4)");
    }
}
