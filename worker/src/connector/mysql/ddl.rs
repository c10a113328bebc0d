//! Text of table definitions: CREATE and ALTER. Where a definition the server wrote is still about
//! the table's columns (see `definition`), its own lines are used.

use common::plan::{Plan, TablePlan};
use common::schema::{Column, ColumnDefault, ForeignKey, Index, ObjectStage, TableSchema};

use super::definition::lines;
use super::quote::{database_of, ident, idents, table_name};
use super::types::{Kind, kind};

/// Options of a table whose own engine isn't InnoDB: of its own ones, only partitions mean the same.
pub fn innodb_options(own: &str, collation: &str, comment: &str) -> String {
    let charset = collation.split('_').next().unwrap_or_default();
    let mut options = "ENGINE=InnoDB".to_owned();
    if !charset.is_empty() {
        options.push_str(&format!(" DEFAULT CHARSET={charset} COLLATE={collation}"));
    }
    if !comment.is_empty() {
        options.push_str(&format!(" COMMENT={}", quoted_text(comment)));
    }
    // Ours ends before the partitions, which are on lines of their own.
    let partitions = own
        .lines()
        .skip_while(|line| !line.trim_start().starts_with("PARTITION BY"));
    for line in partitions {
        let line = match line.split_once(" ENGINE = ") {
            Some((before, after)) => {
                let rest =
                    after.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
                format!("{before} ENGINE = InnoDB{rest}")
            }
            None => line.to_owned(),
        };
        options.push('\n');
        options.push_str(&line);
    }
    options
}

/// All statements of a plan on an empty target, in order.
pub fn all(database: &str, plan: &Plan) -> Vec<String> {
    let staged = |stage: ObjectStage| {
        let objects = plan.objects.iter().filter(move |o| o.stage == stage);
        objects.flat_map(|object| object.statements.iter().cloned())
    };
    let mut sql: Vec<String> = Vec::new();
    for table in &plan.tables {
        let name = database_of(database, &table.target);
        let create = create_database(name);
        if name != database && !sql.contains(&create) {
            sql.push(create);
        }
    }
    sql.extend(staged(ObjectStage::BeforeTables));
    sql.extend(
        plan.tables
            .iter()
            .map(|table| create(database, &table.target)),
    );
    let alter = |table: &TableSchema, what: &str| {
        format!("ALTER TABLE {} {what}", table_name(database, table))
    };
    for table in plan.tables.iter().map(|table| &table.target) {
        let made = table.native_ddl.as_deref().unwrap_or_default();
        let items = table.indexes.iter().map(index_item);
        let items = items.filter(|item| !made.contains(item.as_str()));
        let changes = index_changes(table, items.collect());
        sql.extend(changes.iter().map(|change| alter(table, change)));
    }
    for table in plan.tables.iter().map(|table| &table.target) {
        let keys = named_keys(table);
        let items: Vec<String> = keys
            .iter()
            .map(|(name, key)| format!("ADD {}", foreign_key_item(database, name, key)))
            .collect();
        if !items.is_empty() {
            sql.push(alter(table, &items.join(", ")));
        }
    }
    sql.extend(staged(ObjectStage::AfterData));
    sql
}

/// The database a plan's objects are made in: where all its tables go, else the URL's.
pub fn home<'a>(default: &'a str, tables: &'a [TablePlan]) -> &'a str {
    let mut names = tables
        .iter()
        .map(|table| database_of(default, &table.target));
    let first = names.next().unwrap_or(default);
    match names.all(|name| name == first) {
        true => first,
        false => default,
    }
}

/// A database for tables that don't go to the URL's.
pub fn create_database(name: &str) -> String {
    format!("CREATE DATABASE IF NOT EXISTS {}", ident(name))
}

/// What follows ALTER TABLE to add indexes, given as items, and to set the counter: everything in
/// one pass over the table, but for what the server builds one at a time.
pub fn index_changes(table: &TableSchema, items: Vec<String>) -> Vec<String> {
    let (alone, together): (Vec<String>, Vec<String>) = items
        .into_iter()
        .partition(|item| item.starts_with("FULLTEXT"));
    let together: Vec<String> = together.iter().map(|item| format!("ADD {item}")).collect();
    let mut changes = Vec::new();
    if !together.is_empty() {
        changes.push(together.join(", "));
    }
    changes.extend(alone.iter().map(|item| format!("ADD {item}")));
    let auto = table.columns.iter().any(|column| column.auto_increment);
    if let Some(next) = table.auto_increment.filter(|next| auto && *next > 1) {
        // A value below what the rows need is raised by the server.
        changes.push(format!("AUTO_INCREMENT = {next}"));
    }
    changes
}

/// A table's foreign keys, each with a name.
pub fn named_keys(table: &TableSchema) -> Vec<(String, &ForeignKey)> {
    let keys = table.foreign_keys.iter().enumerate();
    let named = keys.map(|(at, key)| match key.name.as_str() {
        "" => {
            let name = format!("fk_{at}_{}", table.name);
            (name.chars().take(64).collect(), key)
        }
        name => (name.to_owned(), key),
    });
    named.collect()
}

/// Whether a definition the server wrote is still about the table's columns: a rule may have
/// renamed, dropped, added or cast some since.
fn is_of(body: &str, table: &TableSchema) -> bool {
    let mut lines = lines(body)
        .into_iter()
        .filter(|line| line.starts_with("  `"));
    let all = table.columns.iter().all(|column| {
        let wanted = format!("  {} {}", ident(&column.name), column.native_type);
        lines.next().is_some_and(|line| {
            let start = line.get(..wanted.len()).unwrap_or_default();
            start.eq_ignore_ascii_case(&wanted)
        })
    });
    all && lines.next().is_none()
}

/// CREATE TABLE with the primary key only.
pub fn create(database: &str, table: &TableSchema) -> String {
    let name = table_name(database, table);
    let options = match table.native_options.as_str() {
        "" => "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
        options => options,
    };
    if let Some(body) = table.native_ddl.as_ref().filter(|body| is_of(body, table)) {
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

/// A column as it stands in CREATE TABLE, or after ADD.
pub fn column(column: &Column) -> String {
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
                // MySQL takes a default of these as an expression only. Without an introducer:
                // MariaDB 10.11 keeps `_utf8mb4'it's'` of one, and can't read it again.
                _ if long => format!("({})", quoted_text(literal)),
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
        ident(key.references_schema.as_deref().unwrap_or(database)),
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
