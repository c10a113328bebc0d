//! Between MariaDB and MySQL: one engine, so that values travel in their own form, but types,
//! collations and clauses that one of them lacks. A table is made anew from its columns; what can't
//! be said in the other's language is a note.

use super::Mapping;
use crate::schema::{
    CanonicalType, Column, EndpointFacts, Engine, Index, IndexColumn, TableSchema,
};

/// The longest DECIMAL fraction of MySQL; MariaDB has 38 digits.
const MYSQL_SCALE_MAX: u16 = 30;
/// What follows the columns in a definition, or stands within one, and isn't made again.
const CLAUSES: [(&str, &str); 5] = [
    (" CHECK (", "CHECK constraints"),
    ("INVISIBLE", "the invisibility of columns"),
    ("PERIOD FOR ", "periods"),
    (" SRID ", "the SRIDs of columns"),
    (" COLUMN_FORMAT ", "column formats"),
];

fn is_mariadb(facts: &EndpointFacts) -> bool {
    facts.version.contains("MariaDB")
}

/// Whether one end is MariaDB and the other MySQL.
pub fn differs(source: &EndpointFacts, target: &EndpointFacts) -> bool {
    let family = source.engine == Engine::Mysql && target.engine == Engine::Mysql;
    family && is_mariadb(source) != is_mariadb(target)
}

/// Puts the tables into the target's language; nothing if both ends speak one.
pub(super) fn translate(
    tables: &mut [TableSchema],
    source: &EndpointFacts,
    target: &EndpointFacts,
    mapping: &mut Mapping,
) {
    if !differs(source, target) {
        return;
    }
    let to_mariadb = is_mariadb(target);
    for table in tables {
        left_out(table, mapping);
        keep_prefix(table, mapping);
        table.native_ddl = None;
        table.native_options = options(table, to_mariadb, target);
        let name = table.full_name();
        if !to_mariadb && table.columns.iter().any(is_row_time) {
            mapping.tables.push(format!(
                "{name} shows the times of its rows' versions, which MySQL doesn't keep"
            ));
        }
        for column in &mut table.columns {
            match to_mariadb {
                true => to_mariadb_type(column, target),
                false => to_mysql_type(column),
            }
            if column.charset.as_deref() == Some("gb18030") && to_mariadb {
                mapping.types.push(format!(
                    "{name}.{} has the character set gb18030, which MariaDB doesn't know",
                    column.name
                ));
            }
            if let Some(collation) = &column.collation {
                let other = collation_of(collation, to_mariadb, target);
                if other != *collation {
                    mapping.notes.push(format!(
                        "{name}.{}: the collation {collation} becomes {other}, which may order or \
                         equate some texts differently",
                        column.name
                    ));
                    column.collation = Some(other);
                }
            }
        }
        let kept = |index: &Index| is_known(index, to_mariadb);
        for index in table.indexes.iter().filter(|index| !kept(index)) {
            mapping.notes.push(format!(
                "{name}: the index {} is of a kind the target doesn't have: it is left out",
                index.name
            ));
        }
        table.indexes.retain(kept);
        for index in &mut table.indexes {
            let plain = |word: &str| word.starts_with("FULLTEXT") || word.starts_with("SPATIAL");
            if !index.native.as_deref().is_some_and(plain) {
                index.native = None;
            }
        }
    }
}

/// A primary key over the beginnings of texts can only be said by the definition: without it, it
/// becomes a unique key.
fn keep_prefix(table: &mut TableSchema, mapping: &mut Mapping) {
    let body = table.native_ddl.as_deref().unwrap_or_default();
    let line = body
        .lines()
        .find_map(|line| line.trim_start().strip_prefix("PRIMARY KEY ("));
    let Some(mut rest) = line else { return };
    let mut columns = Vec::new();
    for name in &table.primary_key {
        let quoted = format!("`{}`", name.replace('`', "``"));
        let Some(after) = rest.trim_start_matches(',').strip_prefix(quoted.as_str()) else {
            return;
        };
        let length = after.strip_prefix('(').and_then(|a| a.split_once(')'));
        columns.push(IndexColumn {
            name: name.clone(),
            prefix: length.and_then(|(digits, _)| digits.parse().ok()),
            descending: false,
        });
        rest = length.map_or(after, |(_, after)| after);
    }
    if columns.iter().all(|column| column.prefix.is_none()) {
        return;
    }
    mapping.notes.push(format!(
        "{}: the primary key, over the beginnings of texts, becomes a unique key",
        table.full_name()
    ));
    table.primary_key.clear();
    table.indexes.push(Index {
        name: "primary_prefix".to_owned(),
        unique: true,
        columns,
        native: None,
    });
}

/// What of a definition is not made again, as a note.
fn left_out(table: &TableSchema, mapping: &mut Mapping) {
    let body = table.native_ddl.as_deref().unwrap_or_default();
    let mut lost: Vec<&str> = CLAUSES
        .iter()
        .filter(|(word, _)| body.lines().any(|line| unquoted(line).contains(word)))
        .map(|(_, what)| *what)
        .collect();
    if table.native_options.contains("PARTITION BY") {
        lost.push("partitions");
    }
    if table.native_options.contains("WITH SYSTEM VERSIONING") {
        lost.push("system versioning");
    }
    if !lost.is_empty() {
        mapping.notes.push(format!(
            "{}: between MariaDB and MySQL {} are not carried",
            table.full_name(),
            lost.join(", ")
        ));
    }
}

/// A line without its quoted names and texts.
fn unquoted(line: &str) -> String {
    let mut quote = None;
    let keep = |character: &char| {
        match (quote, *character) {
            (Some(open), c) if open == c => quote = None,
            (None, '`' | '\'') => quote = Some(*character),
            (None, _) => return true,
            _ => {}
        }
        false
    };
    line.chars().filter(keep).collect()
}

fn is_row_time(column: &Column) -> bool {
    let expression = column.generated.as_ref().map(|g| g.expression.as_str());
    expression.is_some_and(|e| matches!(e.to_ascii_uppercase().as_str(), "ROW START" | "ROW END"))
}

/// Character set, collation and comment; the rest of a table's options is each server's own.
fn options(table: &TableSchema, to_mariadb: bool, target: &EndpointFacts) -> String {
    let own = table.native_options.as_str();
    let comment_at = own.find(" COMMENT=").unwrap_or(own.len());
    let word = |key: &str| {
        let (_, rest) = own[..comment_at].split_once(key)?;
        rest.split_whitespace().next()
    };
    let mut options = "ENGINE=InnoDB".to_owned();
    if let Some(charset) = word("DEFAULT CHARSET=").filter(|charset| *charset != "gb18030") {
        options.push_str(&format!(" DEFAULT CHARSET={charset}"));
        if let Some(collation) = word("COLLATE=") {
            let collation = collation_of(collation, to_mariadb, target);
            options.push_str(&format!(" COLLATE={collation}"));
        }
    }
    let comment = own[comment_at..].strip_prefix(" COMMENT='");
    if let Some(length) = comment.and_then(literal_length) {
        options.push_str(&own[comment_at..comment_at + " COMMENT='".len() + length]);
    }
    options
}

/// Bytes up to and with the quote that ends a literal.
fn literal_length(inner: &str) -> Option<usize> {
    let mut bytes = inner.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'\'' if bytes.next_if(|(_, next)| *next == b'\'').is_none() => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn ascii(column: &mut Column, native: String) {
    column.native_type = native;
    column.charset = Some("ascii".into());
    column.collation = Some("ascii_bin".into());
}

fn to_mysql_type(column: &mut Column) {
    let lower = column.native_type.to_ascii_lowercase();
    match (&column.canonical, lower.as_str()) {
        (CanonicalType::Uuid, _) => ascii(column, "char(36)".into()),
        (CanonicalType::Inet, _) => ascii(column, "varchar(45)".into()),
        (CanonicalType::Decimal { precision, scale }, _) if *scale > MYSQL_SCALE_MAX => {
            let chars = precision + 3;
            ascii(column, format!("varchar({chars})"));
        }
        // `blob /*M!100301 COMPRESSED*/`
        (_, text) if text.contains(" /*m!") => {
            let end = text.find(" /*m!").unwrap_or(text.len());
            column.native_type.truncate(end);
        }
        _ => {}
    }
}

fn to_mariadb_type(column: &mut Column, target: &EndpointFacts) {
    let lower = column.native_type.to_ascii_lowercase();
    if lower == "json" {
        column.native_type = "longtext".into();
        column.charset = Some("utf8mb4".into());
        column.collation = Some("utf8mb4_bin".into());
    }
    if lower == "geomcollection" {
        column.native_type = "geometrycollection".into();
    }
    if lower.starts_with("vector") && !at_least(target, 11, 7) {
        column.native_type = "longblob".into();
    }
}

fn at_least(facts: &EndpointFacts, major: u32, minor: u32) -> bool {
    let mut numbers = facts.version.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|n| n.parse::<u32>().ok());
    (next().unwrap_or(0), next().unwrap_or(0)) >= (major, minor)
}

/// The nearest collation the target has.
fn collation_of(collation: &str, to_mariadb: bool, target: &EndpointFacts) -> String {
    let Some((charset, rest)) = collation.split_once('_') else {
        return collation.to_owned();
    };
    let sensitivity = || {
        let all = ["as_cs", "as_ci", "ai_cs"];
        let found = all.iter().find(|s| rest.contains(**s));
        found.copied().unwrap_or("ai_ci")
    };
    let wide = charset == "utf8mb4";
    match to_mariadb {
        true if rest == "0900_bin" => "utf8mb4_nopad_bin".to_owned(),
        true if rest.contains("0900_") => match at_least(target, 10, 10) {
            true => format!("utf8mb4_uca1400_nopad_{}", sensitivity()),
            false => "utf8mb4_unicode_520_nopad_ci".to_owned(),
        },
        true => collation.to_owned(),
        false if rest == "nopad_bin" && wide => "utf8mb4_0900_bin".to_owned(),
        false if (rest.starts_with("uca1400") || rest.starts_with("unicode")) && wide => {
            match rest.contains("uca1400") || rest.contains("nopad") {
                true if sensitivity() == "ai_cs" => "utf8mb4_0900_as_cs".to_owned(),
                true => format!("utf8mb4_0900_{}", sensitivity()),
                false => collation.to_owned(),
            }
        }
        false if rest.starts_with("uca1400") => format!("{charset}_unicode_520_ci"),
        false if rest.contains("_w2") || rest.contains("mysql561") || rest.contains("myanmar") => {
            format!("{charset}_unicode_520_ci")
        }
        false => format!("{charset}_{}", rest.replace("nopad_", "")),
    }
}

/// Whether the target has such indexes: functional ones are MySQL's, those over periods MariaDB's.
fn is_known(index: &Index, to_mariadb: bool) -> bool {
    let native = index.native.as_deref().unwrap_or_default();
    let vector = native.starts_with("VECTOR");
    let parser = to_mariadb && native.contains("WITH PARSER");
    !(index.columns.is_empty() || vector || parser)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(version: &str) -> EndpointFacts {
        EndpointFacts {
            engine: Engine::Mysql,
            version: version.to_owned(),
            durable_prepare: true,
            writers_max: 1,
        }
    }

    #[test]
    fn collations_have_a_nearest_one() {
        let mysql = facts("9.1.0");
        let mariadb = facts("10.11.19-MariaDB");
        for (from, to) in [
            ("utf8mb4_nopad_bin", "utf8mb4_0900_bin"),
            ("utf8mb4_uca1400_ai_ci", "utf8mb4_0900_ai_ci"),
            ("utf8mb4_uca1400_nopad_as_cs", "utf8mb4_0900_as_cs"),
            ("utf8mb4_general_ci", "utf8mb4_general_ci"),
            ("utf8mb4_unicode_520_ci", "utf8mb4_unicode_520_ci"),
            ("latin1_swedish_nopad_ci", "latin1_swedish_ci"),
            ("utf8mb3_nopad_bin", "utf8mb3_bin"),
            ("utf8mb3_uca1400_ai_ci", "utf8mb3_unicode_520_ci"),
            ("binary", "binary"),
        ] {
            assert_eq!(collation_of(from, false, &mysql), to, "{from}");
        }
        for (from, to) in [
            ("utf8mb4_0900_bin", "utf8mb4_nopad_bin"),
            ("utf8mb4_0900_ai_ci", "utf8mb4_uca1400_nopad_ai_ci"),
            ("utf8mb4_de_pb_0900_as_cs", "utf8mb4_uca1400_nopad_as_cs"),
            ("latin1_bin", "latin1_bin"),
        ] {
            assert_eq!(collation_of(from, true, &mariadb), to, "{from}");
        }
        let old = facts("10.6.1-MariaDB");
        assert_eq!(
            collation_of("utf8mb4_0900_ai_ci", true, &old),
            "utf8mb4_unicode_520_nopad_ci"
        );
    }

    #[test]
    fn only_words_outside_of_quotes_count() {
        assert_eq!(
            unquoted("`a CHECK (` int COMMENT 'it''s INVISIBLE' x"),
            " int COMMENT  x"
        );
        assert_eq!(literal_length("it''s \\' x' ROW_FORMAT"), Some(11));
    }

    #[test]
    fn one_family_is_recognized() {
        assert!(differs(&facts("9.1"), &facts("10.11-MariaDB")));
        assert!(!differs(&facts("9.1"), &facts("8.0")));
    }
}
