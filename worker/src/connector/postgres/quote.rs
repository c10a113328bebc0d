//! The one place where names and values become SQL for PostgreSQL.

/// A quoted identifier.
pub fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quoted identifiers with commas between.
pub fn idents<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(ident).collect::<Vec<_>>().join(", ")
}

/// A table (or anything else in a schema) with its schema.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// A text literal: the same value under any `standard_conforming_strings`. PostgreSQL's text has no
/// NUL; one is written so that the server refuses it.
pub fn text(value: &str) -> String {
    let doubled = value.replace('\'', "''");
    match doubled.contains(['\\', '\0']) {
        false => format!("'{doubled}'"),
        true => {
            let escaped = doubled.replace('\\', "\\\\").replace('\0', "\\000");
            format!(" E'{escaped}'")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_value_is_syntax() {
        assert_eq!(qualified("a\"b", "C d"), "\"a\"\"b\".\"C d\"");
        assert_eq!(text("it's"), "'it''s'");
        assert_eq!(text("a\\'b"), " E'a\\\\''b'");
        assert_eq!(text("\0"), " E'\\000'");
    }
}
