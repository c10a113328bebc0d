//! Literals of each engine, as the tests write them; shares nothing with the product's quoting.

use super::lab::Kind;
use super::oracle::hex;

/// A character string of any content the engine's text can hold.
pub fn text(kind: Kind, text: &str) -> String {
    match kind {
        Kind::Sqlite if text.contains('\0') => {
            format!("CAST(X'{}' AS TEXT)", hex(text.as_bytes()))
        }
        Kind::Sqlite | Kind::Postgres => format!("'{}'", text.replace('\'', "''")),
        // As hex: then no rule about backslashes matters.
        Kind::Mariadb | Kind::Mysql9 if text.is_empty() => "''".to_owned(),
        Kind::Mariadb | Kind::Mysql9 => format!("_utf8mb4 X'{}'", hex(text.as_bytes())),
    }
}

pub fn bytes(kind: Kind, bytes: &[u8]) -> String {
    match kind {
        Kind::Postgres => format!("'\\x{}'::bytea", hex(bytes)),
        _ => format!("X'{}'", hex(bytes)),
    }
}

/// A name in the engine's quotes.
pub fn name(kind: Kind, name: &str) -> String {
    match kind.is_mysql() {
        true => format!("`{}`", name.replace('`', "``")),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}
