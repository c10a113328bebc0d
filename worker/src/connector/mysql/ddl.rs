//! Text of table definitions: reading SHOW CREATE TABLE, writing CREATE and ALTER.
//!
//! Between two MySQL servers the server's own lines are kept: nothing a column can have is lost
//! that way, known to us or not. Secondary indexes and foreign keys are taken out of them, they
//! come after the data.

use common::schema::{
    CellForm, Column, ColumnDefault, ForeignKey, Index, IndexColumn, TableSchema,
};

use super::quote::{ident, idents, text};
use super::types::{Kind, kind};

/// Reads SHOW CREATE TABLE into `table`: primary key, indexes, options, and the body of a CREATE
/// TABLE with the primary key only.
pub fn read_create(create: &str, table: &mut TableSchema) {
    let mut kept: Vec<String> = Vec::new();
    let mut lines = create.lines().skip(1);
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
    options.extend(lines);
    table.indexes = index_lines.iter().filter_map(|line| index(line)).collect();
    // An auto-increment column must have a key from the start.
    let auto = table.columns.iter().find(|column| column.auto_increment);
    if let Some(auto) = auto.filter(|auto| table.primary_key.first() != Some(&auto.name)) {
        let wanted = format!("({}", ident(&auto.name));
        kept.extend(
            index_lines
                .iter()
                .find(|line| line.contains(&wanted))
                .cloned(),
        );
    }
    table.native_ddl = Some(format!("(\n  {}\n)", kept.join(",\n  ")));
    table.native_options = without_auto_increment(&options.join("\n"));
}

fn is_index(item: &str) -> bool {
    ["KEY ", "UNIQUE KEY ", "FULLTEXT KEY ", "SPATIAL KEY "]
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

/// Options of a table whose own engine isn't InnoDB.
pub fn innodb_options(collation: &str, comment: &str) -> String {
    let charset = collation.split('_').next().unwrap_or_default();
    let mut options = "ENGINE=InnoDB".to_owned();
    if !charset.is_empty() {
        options.push_str(&format!(" DEFAULT CHARSET={charset} COLLATE={collation}"));
    }
    if !comment.is_empty() {
        options.push_str(&format!(" COMMENT={}", quoted_text(comment)));
    }
    options
}

/// CREATE TABLE with the primary key only.
pub fn create(database: &str, table: &TableSchema, form: CellForm) -> String {
    let name = format!("{}.{}", ident(database), ident(&table.name));
    let options = match table.native_options.as_str() {
        "" => "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
        options => options,
    };
    if let (CellForm::Native, Some(body)) = (form, &table.native_ddl) {
        return format!("CREATE TABLE {name} {body} {options}");
    }
    let mut items: Vec<String> = table.columns.iter().map(column).collect();
    if !table.primary_key.is_empty() {
        let key = idents(table.primary_key.iter().map(String::as_str));
        items.push(format!("PRIMARY KEY ({key})"));
    }
    let auto = table.columns.iter().find(|column| column.auto_increment);
    if let Some(auto) = auto.filter(|auto| table.primary_key.first() != Some(&auto.name)) {
        let first = |index: &&Index| index.columns.first().is_some_and(|c| c.name == auto.name);
        items.extend(table.indexes.iter().find(first).map(index_item));
    }
    let engine = match options.contains("ENGINE=") {
        true => "",
        false => "ENGINE=InnoDB ",
    };
    format!(
        "CREATE TABLE {name} (\n  {}\n) {engine}{options}",
        items.join(",\n  ")
    )
}

fn column(column: &Column) -> String {
    let mut sql = format!("{} {}", ident(&column.name), column.native_type);
    if let Some(charset) = &column.charset {
        sql.push_str(&format!(" CHARACTER SET {charset}"));
    }
    if let Some(collation) = &column.collation {
        sql.push_str(&format!(" COLLATE {collation}"));
    }
    if let Some(generated) = &column.generated {
        let kind = if generated.stored {
            "STORED"
        } else {
            "VIRTUAL"
        };
        sql.push_str(&format!(
            " GENERATED ALWAYS AS ({}) {kind}",
            generated.expression
        ));
    } else {
        sql.push_str(if column.nullable {
            " NULL"
        } else {
            " NOT NULL"
        });
        if let Some(value) = &column.default {
            sql.push_str(" DEFAULT ");
            sql.push_str(&default(value, &column.native_type));
        }
        if column.auto_increment {
            sql.push_str(" AUTO_INCREMENT");
        }
    }
    if !column.comment.is_empty() {
        sql.push_str(&format!(" COMMENT {}", quoted_text(&column.comment)));
    }
    sql
}

fn default(value: &ColumnDefault, native_type: &str) -> String {
    match value {
        ColumnDefault::CurrentTimestamp {
            fraction,
            on_update,
        } => {
            let now = match fraction {
                0 => "CURRENT_TIMESTAMP".to_owned(),
                digits => format!("CURRENT_TIMESTAMP({digits})"),
            };
            match on_update {
                true => format!("{now} ON UPDATE {now}"),
                false => now,
            }
        }
        ColumnDefault::Expression(expression) => format!("({expression})"),
        ColumnDefault::Literal(literal) => {
            let lower = native_type.to_ascii_lowercase();
            let long = ["text", "blob", "json"].iter().any(|t| lower.contains(t));
            match kind(native_type) {
                // MySQL takes a default of these as an expression only.
                _ if long => format!("({})", text(literal)),
                Kind::Bit => literal.clone(),
                _ => quoted_text(literal),
            }
        }
    }
}

/// A text literal where the grammar takes no introducer (comments, plain defaults). Sessions have
/// utf8mb4 and backslash escapes pinned.
fn quoted_text(value: &str) -> String {
    let mut literal = String::with_capacity(value.len() + 2);
    literal.push('\'');
    for character in value.chars() {
        match character {
            '\'' => literal.push_str("''"),
            '\\' => literal.push_str("\\\\"),
            '\0' => literal.push_str("\\0"),
            other => literal.push(other),
        }
    }
    literal.push('\'');
    literal
}

/// An index as it stands in CREATE TABLE, or after ADD.
pub fn index_item(index: &Index) -> String {
    if let Some(native) = &index.native {
        return native.clone();
    }
    let columns: Vec<String> = index
        .columns
        .iter()
        .map(|column| {
            let prefix = column.prefix.map(|n| format!("({n})")).unwrap_or_default();
            let order = if column.descending { " DESC" } else { "" };
            format!("{}{prefix}{order}", ident(&column.name))
        })
        .collect();
    let unique = if index.unique { "UNIQUE " } else { "" };
    format!(
        "{unique}KEY {} ({})",
        ident(&index.name),
        columns.join(", ")
    )
}

/// A foreign key after ADD, under `name`.
pub fn foreign_key_item(database: &str, name: &str, key: &ForeignKey) -> String {
    let references = match key.references_columns.is_empty() {
        true => String::new(),
        false => format!(
            " ({})",
            idents(key.references_columns.iter().map(String::as_str))
        ),
    };
    let mut item = format!(
        "CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {}.{}{references}",
        ident(name),
        idents(key.columns.iter().map(String::as_str)),
        ident(database),
        ident(&key.references_table)
    );
    for (event, rule) in [("DELETE", &key.on_delete), ("UPDATE", &key.on_update)] {
        // The default; written out, the server would show it.
        if !rule.is_empty() && rule != "NO ACTION" {
            item.push_str(&format!(" ON {event} {rule}"));
        }
    }
    item
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::schema::CanonicalType;

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
            rows_estimate: 0,
            bytes_estimate: 0,
        }
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
