//! Reads SHOW CREATE TABLE.
//!
//! Between two MySQL servers the server's own lines are kept: nothing a column can have is lost
//! that way, known to us or not. Secondary indexes and foreign keys are taken out of them, they
//! come after the data.

use common::schema::{CanonicalType, Index, IndexColumn, TableSchema};

use super::quote::ident;

/// Reads SHOW CREATE TABLE into `table`: primary key, indexes, options, and the body of a CREATE
/// TABLE with the primary key only.
pub fn read_create(create: &str, table: &mut TableSchema) {
    let mut kept: Vec<String> = Vec::new();
    let mut lines = lines(create).into_iter().skip(1);
    let mut options: Vec<&str> = Vec::new();
    let mut index_lines: Vec<String> = Vec::new();
    for line in lines.by_ref() {
        if let Some(rest) = line.strip_prefix(')') {
            options.push(rest.trim_start());
            break;
        }
        let item = line.trim_start().trim_end_matches(',');
        if let Some(rest) = item.strip_prefix("PRIMARY KEY ") {
            table.primary_key = parts(rest).into_iter().map(|part| part.name).collect();
            kept.push(item.to_owned());
        } else if is_index(item) {
            index_lines.push(item.to_owned());
        } else if !is_foreign_key(item) {
            kept.push(item.to_owned());
        }
    }
    options.extend(lines.filter(|line| !line.is_empty()));
    table.indexes = index_lines.iter().filter_map(|line| index(line)).collect();
    // An auto-increment column must have a key from the start.
    let auto = table.columns.iter().find(|column| column.auto_increment);
    if let Some(auto) = auto.filter(|auto| table.primary_key.first() != Some(&auto.name)) {
        let wanted = format!("({}", ident(&auto.name));
        let key = index_lines.iter().find(|line| line.contains(&wanted));
        // MyISAM can do without: it may count within the columns before.
        kept.push(match key {
            Some(key) => key.clone(),
            None => format!("KEY ({})", ident(&auto.name)),
        });
    }
    find_json(&kept, table);
    table.native_ddl = Some(format!("(\n  {}\n)", kept.join(",\n  ")));
    table.native_options = without_auto_increment(&options.join("\n"));
}

/// The lines of a definition; a name or a text may hold line breaks of its own.
pub fn lines(definition: &str) -> Vec<&str> {
    let mut lines = Vec::new();
    let (mut start, mut inside, mut escaped) = (0, None, false);
    for (at, character) in definition.char_indices() {
        match (inside, character) {
            // What follows a backslash within a text is part of it; a doubled quote ends one text
            // and begins another, which makes no difference here.
            (Some('\''), _) if escaped => escaped = false,
            (Some('\''), '\\') => escaped = true,
            (Some(quote), _) if quote == character => inside = None,
            (Some(_), _) => {}
            (None, '`' | '\'') => inside = Some(character),
            (None, '\n') => {
                lines.push(&definition[start..at]);
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    lines.push(&definition[start..]);
    lines
}

/// MariaDB's JSON is a LONGTEXT with a check, of which only this definition tells.
fn find_json(items: &[String], table: &mut TableSchema) {
    for column in &mut table.columns {
        let name = ident(&column.name);
        let check = format!(" CHECK (json_valid({name}))");
        let is_json = |item: &&String| item.starts_with(&name) && item.contains(&check);
        let is_text = column.native_type.eq_ignore_ascii_case("longtext");
        if is_text && items.iter().any(|item| is_json(&item)) {
            column.canonical = CanonicalType::Json;
        }
    }
}

fn is_index(item: &str) -> bool {
    [
        "KEY ",
        "UNIQUE KEY ",
        "FULLTEXT KEY ",
        "SPATIAL KEY ",
        "VECTOR KEY ",
    ]
    .iter()
    .any(|start| item.starts_with(start))
}

fn is_foreign_key(item: &str) -> bool {
    item.starts_with("FOREIGN KEY ")
        || (item.starts_with("CONSTRAINT ") && {
            let (_, rest) = quoted(item).unwrap_or_default();
            rest.trim_start().starts_with("FOREIGN KEY ")
        })
}

/// The first quoted name of `item` and what follows it.
fn quoted(item: &str) -> Option<(String, &str)> {
    let start = item.find('`')? + 1;
    let mut name = String::new();
    let mut characters = item[start..].char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character != '`' {
            name.push(character);
            continue;
        }
        if characters.next_if(|(_, next)| *next == '`').is_none() {
            return Some((name, &item[start + at + 1..]));
        }
        name.push('`');
    }
    None
}

/// The columns in `(…)`; empty if any part is an expression.
fn parts(list: &str) -> Vec<IndexColumn> {
    read_parts(list).map(|(parts, _)| parts).unwrap_or_default()
}

/// The columns in `(…)` and what follows the closing parenthesis; None if a part is an expression.
fn read_parts(list: &str) -> Option<(Vec<IndexColumn>, &str)> {
    let mut rest = list.trim_start().strip_prefix('(')?;
    let mut parts = Vec::new();
    loop {
        if !rest.starts_with('`') {
            return None;
        }
        let (name, mut after) = quoted(rest)?;
        let mut prefix = None;
        if let Some(length) = after.strip_prefix('(') {
            let (digits, tail) = length.split_once(')')?;
            prefix = digits.parse().ok();
            after = tail;
        }
        let descending = after.starts_with(" DESC");
        after = after.strip_prefix(" DESC").unwrap_or(after);
        parts.push(IndexColumn {
            name,
            prefix,
            descending,
        });
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Some((parts, after.strip_prefix(')')?)),
        }
    }
}

/// Reads a `KEY` line; what the columns don't say is kept as it is.
fn index(line: &str) -> Option<Index> {
    let (name, rest) = quoted(line)?;
    let plain = line.starts_with("KEY ") || line.starts_with("UNIQUE KEY ");
    let read = read_parts(rest).filter(|_| plain);
    let bare = |after: &str| matches!(after.trim(), "" | "USING BTREE");
    let (columns, native) = match read {
        Some((columns, after)) if bare(after) => (columns, None),
        Some((columns, _)) => (columns, Some(line.to_owned())),
        None => (parts(rest), Some(line.to_owned())),
    };
    Some(Index {
        name,
        unique: line.starts_with("UNIQUE "),
        columns,
        native,
    })
}

fn without_auto_increment(options: &str) -> String {
    let key = "AUTO_INCREMENT=";
    let end = options.find(" COMMENT=").unwrap_or(options.len());
    let Some(start) = options[..end].find(key) else {
        return options.to_owned();
    };
    let after = options[start + key.len()..].trim_start_matches(|c: char| c.is_ascii_digit());
    format!("{}{}", &options[..start], after.trim_start())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connector::mysql::ddl::index_item;
    use common::schema::Column;

    fn table(columns: &[(&str, bool)]) -> TableSchema {
        let column = |(name, auto): &(&str, bool)| Column {
            name: (*name).into(),
            native_type: "int".into(),
            canonical: CanonicalType::Any,
            nullable: false,
            default: None,
            auto_increment: *auto,
            charset: None,
            collation: None,
            generated: None,
            comment: String::new(),
        };
        TableSchema {
            schema: None,
            member: None,
            name: "t".into(),
            columns: columns.iter().map(column).collect(),
            primary_key: vec![],
            indexes: vec![],
            foreign_keys: vec![],
            auto_increment: None,
            native_options: String::new(),
            native_ddl: None,
            native_key: None,
            rows_estimate: 0,
            bytes_estimate: 0,
        }
    }

    #[test]
    fn line_breaks_within_names_and_texts_end_no_line() {
        let body = "a `x\n'y` int,\nb text DEFAULT 'it''s\\'\n`'\n)";
        assert_eq!(
            lines(body),
            ["a `x\n'y` int,", "b text DEFAULT 'it''s\\'\n`'", ")"]
        );
    }

    #[test]
    fn a_definition_is_taken_apart() {
        let mut t = table(&[("a", false), ("x`y", true)]);
        read_create(
            "CREATE TABLE `t` (\n  `a` int(11) NOT NULL COMMENT 'KEY, `k`',\n  `x``y` int,\n  \
             PRIMARY KEY (`a`,`x``y`),\n  UNIQUE KEY `u` (`x``y`(3) DESC,`a`) USING BTREE,\n  \
             KEY `c` (`a`) COMMENT 'hm',\n  FULLTEXT KEY `f` (`a`),\n  \
             CONSTRAINT `fk` FOREIGN KEY (`a`) REFERENCES `p` (`a`),\n  \
             CONSTRAINT `ck` CHECK (`a` > 0)\n) ENGINE=InnoDB AUTO_INCREMENT=7 \
             DEFAULT CHARSET=latin1 COMMENT='AUTO_INCREMENT=8'",
            &mut t,
        );
        assert_eq!(t.primary_key, ["a", "x`y"]);
        assert_eq!(
            t.native_options,
            "ENGINE=InnoDB DEFAULT CHARSET=latin1 COMMENT='AUTO_INCREMENT=8'"
        );
        let body = t.native_ddl.clone().expect("read");
        assert!(
            body.contains("CHECK (`a` > 0)") && !body.contains("FOREIGN"),
            "{body}"
        );
        assert!(
            body.contains("UNIQUE KEY `u`") && !body.contains("FULLTEXT"),
            "{body}"
        );
        let natives: Vec<bool> = t.indexes.iter().map(|i| i.native.is_some()).collect();
        assert_eq!(natives, [false, true, true]);
        let first = &t.indexes[0];
        assert!(first.unique && first.columns[0].prefix == Some(3) && first.columns[0].descending);
        assert_eq!(index_item(first), "UNIQUE KEY `u` (`x``y`(3) DESC, `a`)");
    }
}
