//! Defaults, indexes and foreign keys on the way to another engine: what the target can't have is
//! left out with a note, because it concerns rows that are yet to come or how fast they are found.

use super::{Mapping, names};
use crate::schema::{CanonicalType, Column, ColumnDefault, Engine, ForeignKey, TableSchema};

/// MySQL's limit for the comment of a column.
const COMMENT_CHARS_MAX: usize = 1_024;

/// Whether the column is an SQLite table's rowid under another name.
pub fn is_rowid(table: &TableSchema, name: &str) -> bool {
    let declared = |column: &Column| column.native_type.eq_ignore_ascii_case("INTEGER");
    matches!(table.primary_key.as_slice(), [key] if key == name)
        && !table.native_options.contains("WITHOUT ROWID")
        && table.column(name).is_some_and(declared)
}

/// Whether a unique key or the primary key has the column.
pub fn is_unique(table: &TableSchema, name: &str) -> bool {
    let mut unique = table.indexes.iter().filter(|index| index.unique);
    table.primary_key.iter().any(|key| key == name)
        || unique.any(|index| index.columns.iter().any(|part| part.name == name))
}

/// Whether a cast gave the column a comparison that takes different values for equal.
pub fn is_tighter(target: &Column) -> bool {
    let native = target.native_type.to_ascii_lowercase();
    let collation = target.collation.as_deref();
    native.contains("citext")
        || native.contains("collate nocase")
        || native.contains("collate rtrim")
        || collation.is_some_and(|collation| !is_binary(collation))
}

fn is_binary(collation: &str) -> bool {
    let lower = collation.to_ascii_lowercase();
    lower == "binary" || lower.ends_with("nopad_bin") || lower.ends_with("0900_bin")
}

/// Columns of a primary key hold no NULL but in SQLite.
pub fn not_null_keys(source: &TableSchema, table: &mut TableSchema, mapping: &mut Mapping) {
    for column in &mut table.columns {
        let in_key = table.primary_key.contains(&column.name);
        if in_key && column.nullable && !is_rowid(source, &column.name) {
            mapping.notes.push(format!(
                "{}.{}: in the target no part of the primary key is NULL; a row with one stops the job",
                source.name, column.name
            ));
        }
        column.nullable &= !in_key;
    }
}

/// A default that the target would refuse, or read in another way, is left out.
pub fn map_default(table: &str, column: &mut Column, to: Engine, mapping: &mut Mapping) {
    if to == Engine::Mysql && column.comment.chars().count() > COMMENT_CHARS_MAX {
        column.comment = column.comment.chars().take(COMMENT_CHARS_MAX).collect();
        let what = format!(
            "{table}.{}: the comment is cut to 1,024 characters",
            column.name
        );
        mapping.notes.push(what);
    }
    let auto = column.auto_increment;
    let canonical = column.canonical.clone();
    let Some(default) = &mut column.default else {
        return;
    };
    let kept = match default {
        ColumnDefault::Literal(_) if auto => false,
        ColumnDefault::Literal(text) => is_value(text, &canonical, to),
        ColumnDefault::CurrentTimestamp {
            fraction,
            on_update,
        } => {
            if *on_update && to != Engine::Mysql {
                *on_update = false;
                let what = format!(
                    "{table}.{}: ON UPDATE CURRENT_TIMESTAMP is left out",
                    column.name
                );
                mapping.notes.push(what);
            }
            match &canonical {
                CanonicalType::DateTime { fraction: wanted }
                | CanonicalType::Timestamp { fraction: wanted } => {
                    *fraction = *wanted;
                    true
                }
                _ => to == Engine::Sqlite,
            }
        }
        ColumnDefault::Expression(_) => false,
    };
    if !kept {
        let shown = match &column.default {
            Some(ColumnDefault::Expression(text) | ColumnDefault::Literal(text)) => text.as_str(),
            _ => "CURRENT_TIMESTAMP",
        };
        let what = format!("{table}.{}: the default {shown} is left out", column.name);
        mapping.notes.push(what);
        column.default = None;
    }
}

/// Whether a default's text is a value of the type.
fn is_value(text: &str, canonical: &CanonicalType, to: Engine) -> bool {
    match canonical {
        CanonicalType::Bool => matches!(text, "0" | "1"),
        CanonicalType::Int { .. }
        | CanonicalType::Decimal { .. }
        | CanonicalType::Numeric
        | CanonicalType::Float32
        | CanonicalType::Float64
        | CanonicalType::Year
        | CanonicalType::Bit { .. } => text.parse::<f64>().is_ok_and(f64::is_finite),
        CanonicalType::Date | CanonicalType::DateTime { .. } | CanonicalType::Timestamp { .. } => {
            to == Engine::Sqlite || is_date(text)
        }
        CanonicalType::Enum { values } => values.iter().any(|value| value == text),
        CanonicalType::Text { .. } => to != Engine::Postgres || !text.contains('\0'),
        _ => true,
    }
}

/// `YYYY-MM-DD…` of a day that every engine knows.
fn is_date(text: &str) -> bool {
    let number = |from: usize, until: usize| text.get(from..until)?.parse::<u32>().ok();
    let (year, month, day) = (number(0, 4), number(5, 7), number(8, 10));
    year.is_some_and(|year| year > 0)
        && month.is_some_and(|month| (1..=12).contains(&month))
        && day.is_some_and(|day| (1..=28).contains(&day))
}

/// The source may take texts for equal that the target tells apart.
pub fn note_collations(
    source: &TableSchema,
    table: &TableSchema,
    from: Engine,
    mapping: &mut Mapping,
) {
    let collation = |column: &Column| column.collation.clone().unwrap_or_default().to_lowercase();
    let folds = |column: &&Column| {
        let collation = collation(column);
        let native = column.native_type.to_ascii_lowercase();
        collation.ends_with("_ci")
            || collation.ends_with("_ai")
            || collation == "nocase"
            || native.ends_with("citext")
    };
    // MySQL's older collations take no account of blanks at the end, `_bin` ones neither.
    let pads = |column: &&Column| {
        let collation = collation(column);
        from == Engine::Mysql
            && collation.contains('_')
            && !collation.contains("nopad")
            && !collation.contains("0900")
    };
    if source.columns.iter().any(|column| folds(&column)) {
        mapping.notes.push(format!(
            "{}: text is compared byte by byte in the target, not without case as in the source",
            source.name
        ));
    }
    let keyed = source
        .columns
        .iter()
        .filter(|column| is_unique(table, &column.name));
    let looser: Vec<&str> = keyed
        .filter(|column| folds(column) || pads(column))
        .map(|column| column.name.as_str())
        .collect();
    if !looser.is_empty() {
        mapping.notes.push(format!(
            "{}: its unique keys on {} allow texts that were equal in the source (by case, accents \
             or blanks at the end)",
            source.name,
            looser.join(", ")
        ));
    }
}

/// Indexes that the columns don't say everything of.
pub fn drop_special_indexes(
    source: &TableSchema,
    table: &mut TableSchema,
    to: Engine,
    mapping: &mut Mapping,
) {
    table.indexes.retain(|index| {
        let native = index.native.as_deref().unwrap_or_default();
        let upper = native.to_ascii_uppercase();
        // The connectors give no columns where those don't say everything.
        let special = upper.starts_with("FULLTEXT") || upper.starts_with("SPATIAL");
        let kept = !index.columns.is_empty() && !special;
        if !kept {
            mapping.notes.push(format!(
                "index {} of {} is not made: it is partial, on an expression or of a kind that {} \
                 doesn't have",
                index.name,
                source.name,
                to.title()
            ));
        }
        kept
    });
    for index in &mut table.indexes {
        index.native = None;
    }
}

/// Keys on the beginning of values become keys on whole ones.
pub fn drop_prefixes(source: &TableSchema, table: &mut TableSchema, mapping: &mut Mapping) {
    for index in &mut table.indexes {
        let prefixed = index.columns.iter().any(|part| part.prefix.is_some());
        if prefixed && index.unique {
            mapping.notes.push(format!(
                "the unique index {} of {} is about whole values in the target, not their beginning",
                index.name, source.name
            ));
        }
        for part in &mut index.columns {
            part.prefix = None;
        }
    }
}

/// Foreign keys as the target can have them. Schemas and tables are the target's already.
pub fn map_foreign_keys(tables: &mut [TableSchema], to: Engine, mapping: &mut Mapping) {
    let all = tables.to_vec();
    for table in tables.iter_mut() {
        let mut keys = std::mem::take(&mut table.foreign_keys);
        let nullable = |name: &String| table.column(name).is_none_or(|column| column.nullable);
        for (place, key) in keys.iter_mut().enumerate() {
            if key.name.is_empty() && to == Engine::Postgres {
                key.name = format!("{}_fkey{}", table.name, place + 1);
            }
            names::shorten(&mut key.name, to, "foreign key", &table.name, mapping);
            if let Some(native) = key.native.take()
                && is_deferred(&native)
            {
                mapping.notes.push(format!(
                    "the foreign key {} of {} is checked at once in the target",
                    key.name, table.name
                ));
            }
            let can_be_null = key.columns.iter().all(nullable);
            for (event, action) in [
                ("DELETE", &mut key.on_delete),
                ("UPDATE", &mut key.on_update),
            ] {
                let unknown = *action == "SET DEFAULT" || (*action == "SET NULL" && !can_be_null);
                if to == Engine::Mysql && unknown {
                    mapping.notes.push(format!(
                        "the foreign key {} of {}: ON {event} {action} becomes NO ACTION",
                        key.name, table.name
                    ));
                    *action = "NO ACTION".into();
                }
            }
        }
        keys.retain_mut(|key| {
            let Some(parent) = all.iter().find(|parent| refers(key, parent)) else {
                return true;
            };
            as_called(key, parent);
            let kept = to != Engine::Postgres || has_unique(parent, &key.references_columns);
            if !kept {
                mapping.notes.push(format!(
                    "the foreign key {} of {} is not made: {} has no unique key on {}",
                    key.name,
                    table.name,
                    parent.name,
                    key.references_columns.join(", ")
                ));
            }
            kept
        });
        table.foreign_keys = keys;
    }
}

fn is_deferred(native: &str) -> bool {
    let upper = native.to_ascii_uppercase();
    upper.contains("INITIALLY DEFERRED")
}

fn refers(key: &ForeignKey, table: &TableSchema) -> bool {
    key.references_schema == table.schema && key.references_table.eq_ignore_ascii_case(&table.name)
}

/// SQLite finds names without case.
fn as_called(key: &mut ForeignKey, parent: &TableSchema) {
    key.references_table.clone_from(&parent.name);
    for name in &mut key.references_columns {
        let mut columns = parent.columns.iter();
        if let Some(column) = columns.find(|column| column.name.eq_ignore_ascii_case(name)) {
            name.clone_from(&column.name);
        }
    }
}

fn has_unique(parent: &TableSchema, columns: &[String]) -> bool {
    let wanted = sorted(columns.iter().map(String::as_str));
    let primary = sorted(parent.primary_key.iter().map(String::as_str));
    let mut unique = parent.indexes.iter().filter(|index| index.unique);
    columns.is_empty()
        || wanted == primary
        || unique.any(|index| sorted(index.columns.iter().map(|part| part.name.as_str())) == wanted)
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names
}
