//! SQLite to MySQL and MariaDB. Text gets a collation that keeps every two different texts
//! different, as SQLite's own comparison does; integers get all 64 bits, whatever the declared
//! type, because SQLite lets every integer column hold them.

use super::Mapping;
use crate::schema::{
    CanonicalType, Column, ColumnDefault, EndpointFacts, Index, IndexColumn, TableSchema,
};

/// Bytes of one InnoDB key, and of a character of utf8mb4.
const KEY_BYTES_MAX: u32 = 3_072;
const CHAR_BYTES: u32 = 4;
/// What a key column of fixed width takes at most.
const FIXED_BYTES: u32 = 9;
/// MySQL's limit for names.
const NAME_CHARS_MAX: usize = 64;
/// The longest VARCHAR that leaves room for others in a row of 65,535 bytes; longer ones are TEXT.
const VARCHAR_MAX: u32 = 4_096;
/// A row's limit is 65,535, of which some is for lengths and NULL flags.
const ROW_BYTES_MAX: u32 = 60_000;
const BITS_64: CanonicalType = CanonicalType::Int {
    bits: 64,
    unsigned: false,
};

pub(super) fn map(
    sources: &[&TableSchema],
    target: &EndpointFacts,
    mapping: &mut Mapping,
) -> Vec<TableSchema> {
    let collation = match target.version.contains("MariaDB") {
        true => "utf8mb4_nopad_bin",
        false => "utf8mb4_0900_bin",
    };
    sources
        .iter()
        .map(|source| {
            mapping.refuse_generated(source);
            refuse_names(source, mapping);
            let mut table = (*source).clone();
            table.native_ddl = None;
            table.native_options = String::new();
            map_indexes(&mut table, mapping);
            for column in &mut table.columns {
                let chars = key_chars(source, sources, &column.name);
                map_column(source, column, chars, mapping);
                if matches!(column.canonical, CanonicalType::Text { .. }) {
                    column.charset = Some("utf8mb4".into());
                    column.collation = Some(collation.into());
                }
                map_default(&source.name, column, mapping);
            }
            fit_row(source, sources, &mut table);
            prefix_long_columns(&mut table);
            table
        })
        .collect()
}

fn refuse_names(table: &TableSchema, mapping: &mut Mapping) {
    let fits = |name: &str| {
        !name.is_empty() && name.chars().count() <= NAME_CHARS_MAX && !name.ends_with(' ')
    };
    if !fits(&table.name) {
        let what = format!("{:?} is no name for a table in MySQL", table.name);
        mapping.tables.push(what);
    }
    for column in &table.columns {
        if !fits(&column.name) {
            let what = format!(
                "{}: {:?} is no name for a column in MySQL",
                table.name, column.name
            );
            mapping.tables.push(what);
        }
    }
}

/// Characters a key column of `table` may have so that every key it is in fits; None = it is in
/// none whose columns must be whole.
fn key_chars(table: &TableSchema, all: &[&TableSchema], column: &str) -> Option<u32> {
    let mut keys: Vec<Vec<&str>> = vec![table.primary_key.iter().map(String::as_str).collect()];
    for index in table.indexes.iter().filter(|index| index.unique) {
        keys.push(
            index
                .columns
                .iter()
                .map(|column| column.name.as_str())
                .collect(),
        );
    }
    for key in &table.foreign_keys {
        keys.push(key.columns.iter().map(String::as_str).collect());
    }
    // What others refer to must be of one kind with what refers to it.
    for key in all.iter().flat_map(|table| &table.foreign_keys) {
        if key.references_table.eq_ignore_ascii_case(&table.name) {
            keys.push(key.references_columns.iter().map(String::as_str).collect());
        }
    }
    let is = |name: &&str| name.eq_ignore_ascii_case(column);
    keys.iter()
        .filter(|key| key.iter().any(&is))
        .map(|key| {
            let long = |name: &&&str| table.column(name).is_none_or(has_length);
            let long = key.iter().filter(long).count().max(1) as u32;
            let fixed = (key.len() as u32).saturating_sub(long) * FIXED_BYTES;
            KEY_BYTES_MAX.saturating_sub(fixed) / CHAR_BYTES / long
        })
        .min()
}

fn has_length(column: &Column) -> bool {
    matches!(
        column.canonical,
        CanonicalType::Text { .. } | CanonicalType::Bytes { .. } | CanonicalType::Json
    )
}

fn map_column(
    table: &TableSchema,
    column: &mut Column,
    key_chars: Option<u32>,
    mapping: &mut Mapping,
) {
    let is_bool = column.native_type.to_ascii_uppercase().starts_with("BOOL");
    let (canonical, native) = match column.canonical.clone() {
        CanonicalType::Int { .. } if is_bool => (column.canonical.clone(), "TINYINT(1)".into()),
        CanonicalType::Int { .. } => (BITS_64, "BIGINT".into()),
        CanonicalType::Decimal { precision, scale }
            if (1..=65).contains(&precision) && scale <= 30.min(precision) =>
        {
            (
                column.canonical.clone(),
                format!("DECIMAL({precision},{scale})"),
            )
        }
        CanonicalType::Float32 => (column.canonical.clone(), "FLOAT".into()),
        CanonicalType::Float64 => (column.canonical.clone(), "DOUBLE".into()),
        CanonicalType::Text { max_chars } => text(max_chars, key_chars),
        CanonicalType::Bytes { max_len } => bytes(max_len, key_chars.map(|n| n * CHAR_BYTES)),
        CanonicalType::Date => (CanonicalType::Date, "DATE".into()),
        CanonicalType::Time { fraction } => (column.canonical.clone(), format!("TIME({fraction})")),
        // Not TIMESTAMP: it ends in 2038, and a session's time zone would matter.
        CanonicalType::DateTime { fraction } | CanonicalType::Timestamp { fraction } => (
            CanonicalType::DateTime { fraction },
            format!("DATETIME({fraction})"),
        ),
        CanonicalType::Year => (CanonicalType::Year, "YEAR".into()),
        // MySQL's JSON reorders keys and rounds numbers; the document is kept as it is.
        CanonicalType::Json => text(None, key_chars),
        CanonicalType::Bit { width } => (column.canonical.clone(), format!("BIT({width})")),
        CanonicalType::Decimal { .. }
        | CanonicalType::Bool
        | CanonicalType::Numeric
        | CanonicalType::Uuid
        | CanonicalType::Inet
        | CanonicalType::Enum { .. }
        | CanonicalType::Set { .. }
        | CanonicalType::Any => {
            mapping.types.push(format!(
                "{}.{} ({}) has no exact type in MySQL",
                table.name,
                column.name,
                match column.native_type.as_str() {
                    "" => "no declared type",
                    declared => declared,
                }
            ));
            return;
        }
    };
    column.canonical = canonical;
    column.native_type = native;
    let in_key = table.primary_key.contains(&column.name);
    column.nullable &= !in_key;
    // SQLite numbers the rows of such a table by itself, AUTOINCREMENT or not.
    column.auto_increment |= in_key && is_rowid(table, &column.name);
}

/// Whether the column is the table's rowid under another name.
fn is_rowid(table: &TableSchema, name: &str) -> bool {
    let declared = |column: &Column| column.native_type.eq_ignore_ascii_case("INTEGER");
    table.primary_key.len() == 1
        && !table.native_options.contains("WITHOUT ROWID")
        && table.column(name).is_some_and(declared)
}

fn text(max: Option<u32>, key_chars: Option<u32>) -> (CanonicalType, String) {
    let max = match (max, key_chars) {
        (Some(max), Some(key)) => Some(max.min(key)),
        (Some(max), None) => Some(max).filter(|max| *max <= VARCHAR_MAX),
        (None, key) => key,
    };
    let native = match max {
        Some(max) => format!("VARCHAR({max})"),
        None => "LONGTEXT".into(),
    };
    (CanonicalType::Text { max_chars: max }, native)
}

fn bytes(max: Option<u32>, key_bytes: Option<u32>) -> (CanonicalType, String) {
    let max = match (max, key_bytes) {
        (Some(max), Some(key)) => Some(max.min(key)),
        (Some(max), None) => Some(max).filter(|max| *max <= VARCHAR_MAX),
        (None, key) => key,
    };
    let native = match max {
        Some(max) => format!("VARBINARY({max})"),
        None => "LONGBLOB".into(),
    };
    (CanonicalType::Bytes { max_len: max }, native)
}

/// Declared lengths that together are more than a row may have make the longest columns TEXT; those
/// in keys stay.
fn fit_row(source: &TableSchema, all: &[&TableSchema], table: &mut TableSchema) {
    let length = |column: &Column| match column.canonical {
        CanonicalType::Text { max_chars } => max_chars.unwrap_or(0) * CHAR_BYTES,
        CanonicalType::Bytes { max_len } => max_len.unwrap_or(0),
        _ => FIXED_BYTES,
    };
    while table.columns.iter().map(length).sum::<u32>() > ROW_BYTES_MAX {
        let free = table
            .columns
            .iter_mut()
            .filter(|column| has_length(column) && length(column) > 0)
            .filter(|column| key_chars(source, all, &column.name).is_none())
            .max_by_key(|column| length(column));
        let Some(column) = free else {
            return;
        };
        let (canonical, native) = match column.canonical {
            CanonicalType::Bytes { .. } => bytes(None, None),
            _ => text(None, None),
        };
        column.canonical = canonical;
        column.native_type = native;
    }
}

/// A default that MySQL would refuse, or read in another way, is left out with a note: it concerns
/// rows that are yet to come.
fn map_default(table: &str, column: &mut Column, mapping: &mut Mapping) {
    let Some(default) = &mut column.default else {
        return;
    };
    let kept = match default {
        ColumnDefault::Literal(_) if column.auto_increment => false,
        ColumnDefault::Literal(text) if is_number(&column.canonical) => text.parse::<f64>().is_ok(),
        ColumnDefault::Literal(_) => true,
        ColumnDefault::CurrentTimestamp { fraction, .. } => match column.canonical {
            CanonicalType::DateTime { fraction: wanted } => {
                *fraction = wanted;
                true
            }
            _ => false,
        },
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

fn is_number(canonical: &CanonicalType) -> bool {
    matches!(
        canonical,
        CanonicalType::Int { .. }
            | CanonicalType::Decimal { .. }
            | CanonicalType::Float32
            | CanonicalType::Float64
            | CanonicalType::Year
            | CanonicalType::Bit { .. }
    )
}

fn map_indexes(table: &mut TableSchema, mapping: &mut Mapping) {
    let name = table.name.clone();
    table.indexes.retain(|index| {
        let plain = !index.columns.is_empty();
        if !plain {
            mapping.notes.push(format!(
                "index {} of {name} is not made: MySQL has no partial or expression index like it",
                index.name
            ));
        }
        plain
    });
    for (place, index) in table.indexes.iter_mut().enumerate() {
        // The columns say everything, and SQLite's own statement means nothing to MySQL.
        index.native = None;
        let too_long = index.name.chars().count() > NAME_CHARS_MAX;
        if index.name.starts_with("sqlite_autoindex_") || too_long {
            index.name = format!("unique_{}", place + 1);
        }
    }
    for (place, key) in table.foreign_keys.iter_mut().enumerate() {
        if key.name.chars().count() > NAME_CHARS_MAX {
            let short: String = name.chars().take(NAME_CHARS_MAX - 8).collect();
            key.name = format!("{short}_fk{}", place + 1);
        }
    }
}

/// A secondary index on a column that is too long for a key takes its beginning.
fn prefix_long_columns(table: &mut TableSchema) {
    let columns = table.columns.clone();
    for index in &mut table.indexes {
        let lengths: Vec<Option<u32>> = index
            .columns
            .iter()
            .map(|part| key_bytes(&columns, part))
            .collect();
        let total: u32 = lengths
            .iter()
            .map(|bytes| bytes.unwrap_or(KEY_BYTES_MAX))
            .sum();
        if index.unique || (total <= KEY_BYTES_MAX && lengths.iter().all(Option::is_some)) {
            continue;
        }
        shorten(index, &columns);
    }
}

/// Bytes of a whole column in a key; None = it has no bound.
fn key_bytes(columns: &[Column], part: &IndexColumn) -> Option<u32> {
    let column = columns.iter().find(|column| column.name == part.name)?;
    match &column.canonical {
        CanonicalType::Text { max_chars } => Some((*max_chars)? * CHAR_BYTES),
        CanonicalType::Bytes { max_len } => *max_len,
        _ => Some(FIXED_BYTES),
    }
}

fn shorten(index: &mut Index, columns: &[Column]) {
    let long = |part: &&IndexColumn| {
        let column = columns.iter().find(|column| column.name == part.name);
        column.is_some_and(has_length)
    };
    let count = index.columns.iter().filter(long).count().max(1) as u32;
    let fixed = (index.columns.len() as u32 - count) * FIXED_BYTES;
    let share = KEY_BYTES_MAX.saturating_sub(fixed) / count;
    for part in &mut index.columns {
        let Some(column) = columns.iter().find(|column| column.name == part.name) else {
            continue;
        };
        part.prefix = match &column.canonical {
            CanonicalType::Text { max_chars } => {
                Some(share / CHAR_BYTES).filter(|chars| max_chars.is_none_or(|max| max > *chars))
            }
            CanonicalType::Bytes { max_len } => {
                Some(share).filter(|bytes| max_len.is_none_or(|max| max > *bytes))
            }
            _ => None,
        };
    }
}
