//! To MySQL and MariaDB, from any other engine. Text gets a collation that keeps every two different
//! texts different; SQLite's integers get all 64 bits, whatever the declared type, because SQLite
//! lets every integer column hold them.

use std::collections::BTreeSet;

use super::{Ends, Mapping, keys, names};
use crate::schema::{
    CanonicalType, Column, ColumnDefault, Engine, Index, IndexColumn, TableSchema,
};

/// Bytes of one InnoDB key, and of a character of utf8mb4.
const KEY_BYTES_MAX: u32 = 3_072;
const CHAR_BYTES: u32 = 4;
/// The longest VARCHAR that leaves room for others in a row of 65,535 bytes; longer ones are TEXT.
const VARCHAR_MAX: u32 = 4_096;
/// A row's limit is 65,535, of which some is for lengths and NULL flags.
const ROW_BYTES_MAX: u32 = 60_000;
/// MySQL's limits for the values of an ENUM, and for its number of values within a row's header.
const ENUM_CHARS_MAX: usize = 255;
const ENUM_VALUES_MAX: usize = 3_000;
/// The largest DECIMAL.
const DECIMAL_DIGITS: u16 = 65;
const DECIMAL_SCALE: u16 = 30;

/// Keys, defaults and collations of the tables whose columns are made.
pub(super) fn finish(
    sources: &[&TableSchema],
    tables: &mut [TableSchema],
    ends: &Ends<'_>,
    mapping: &mut Mapping,
) {
    let collation = match ends.is_mariadb() {
        true => "utf8mb4_nopad_bin",
        false => "utf8mb4_0900_bin",
    };
    for (source, table) in sources.iter().zip(tables.iter_mut()) {
        map_indexes(source, table, mapping);
        keys::not_null_keys(source, table, mapping);
        for column in &mut table.columns {
            // SQLite numbers the rows of such a table by itself, AUTOINCREMENT or not.
            column.auto_increment |= keys::is_rowid(source, &column.name);
        }
        counting(table, mapping);
        for column in &mut table.columns {
            set_charset(column, collation);
            keys::map_default(&source.name, column, Engine::Mysql, mapping);
        }
        fit_row(source, sources, table);
        prefix_long_columns(table);
        keys::note_collations(source, table, ends.from, mapping);
    }
    keys::map_foreign_keys(tables, Engine::Mysql, mapping);
    name_foreign_keys(tables);
}

/// The charset and collation of whatever is text there.
fn set_charset(column: &mut Column, collation: &str) {
    let native = column.native_type.to_ascii_lowercase();
    let word = native.split('(').next().unwrap_or_default().trim();
    let texts = [
        "char",
        "varchar",
        "tinytext",
        "text",
        "mediumtext",
        "longtext",
        "enum",
        "set",
    ];
    if !texts.contains(&word) {
        return;
    }
    let (charset, collation) = match &column.canonical {
        CanonicalType::Uuid | CanonicalType::Inet => ("ascii", "ascii_bin"),
        _ => ("utf8mb4", collation),
    };
    let own = column.collation.get_or_insert_with(|| collation.to_owned());
    // A cast may name its own collation, and with it its charset.
    let of_collation = own.split('_').next().unwrap_or_default();
    column.charset = Some(match of_collation {
        "" | "binary" => charset.to_owned(),
        named => named.to_owned(),
    });
}

/// One whole number counts up, and only at the beginning of a key.
fn counting(table: &mut TableSchema, mapping: &mut Mapping) {
    let mut first: BTreeSet<String> = table.primary_key.first().cloned().into_iter().collect();
    let parts = table
        .indexes
        .iter()
        .filter_map(|index| index.columns.first());
    first.extend(parts.map(|part| part.name.clone()));
    let mut counts = 0;
    for column in table
        .columns
        .iter_mut()
        .filter(|column| column.auto_increment)
    {
        let int = matches!(column.canonical, CanonicalType::Int { .. });
        if int && first.contains(&column.name) && counts == 0 {
            counts += 1;
            if matches!(column.default, Some(ColumnDefault::Expression(_))) {
                column.default = None;
            }
            continue;
        }
        column.auto_increment = false;
        mapping.notes.push(format!(
            "{}.{} doesn't count up by itself in the target: MySQL wants one whole number at the \
             beginning of a key",
            table.name, column.name
        ));
    }
}

/// Names of foreign keys are one space in a database of MySQL; elsewhere each table has its own.
fn name_foreign_keys(tables: &mut [TableSchema]) {
    let mut seen = BTreeSet::new();
    for table in tables {
        let name = table.name.clone();
        for (place, key) in table.foreign_keys.iter_mut().enumerate() {
            let wanted = key.name.to_lowercase();
            if !wanted.is_empty() && !seen.insert((table.schema.clone(), wanted)) {
                let short: String = name.chars().take(50).collect();
                key.name = format!("{short}_fk{}", place + 1);
                seen.insert((table.schema.clone(), key.name.to_lowercase()));
            }
        }
    }
}

/// What a column of fixed width takes of a key or row at most.
fn fixed_bytes(canonical: &CanonicalType) -> u32 {
    match canonical {
        CanonicalType::Decimal { .. } | CanonicalType::Numeric => 30,
        CanonicalType::Uuid => 36,
        CanonicalType::Inet => 51,
        _ => 9,
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
            let columns = key.iter().filter_map(|name| table.column(name));
            let fixed = columns
                .filter(|column| !has_length(column))
                .map(|column| fixed_bytes(&column.canonical))
                .sum::<u32>();
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

/// The type of a column; None = there is none.
pub(super) fn column(
    ends: &Ends<'_>,
    table: &TableSchema,
    all: &[&TableSchema],
    column: &Column,
) -> Option<(CanonicalType, String)> {
    let key_chars = key_chars(table, all, &column.name);
    let same = column.canonical.clone();
    Some(match column.canonical.clone() {
        CanonicalType::Bool => (same, "TINYINT(1)".into()),
        CanonicalType::Int { bits, unsigned } => int(ends, column, bits, unsigned),
        CanonicalType::Decimal { precision, scale }
            if (1..=DECIMAL_DIGITS).contains(&precision)
                && scale <= DECIMAL_SCALE.min(precision) =>
        {
            (same, format!("DECIMAL({precision},{scale})"))
        }
        CanonicalType::Decimal { .. } | CanonicalType::Numeric => {
            let canonical = CanonicalType::Decimal {
                precision: DECIMAL_DIGITS,
                scale: DECIMAL_SCALE,
            };
            (
                canonical,
                format!("DECIMAL({DECIMAL_DIGITS},{DECIMAL_SCALE})"),
            )
        }
        CanonicalType::Float32 => (same, "FLOAT".into()),
        CanonicalType::Float64 => (same, "DOUBLE".into()),
        CanonicalType::Text { max_chars } => text(max_chars, key_chars),
        CanonicalType::Bytes { max_len } => bytes(max_len, key_chars.map(|n| n * CHAR_BYTES)),
        CanonicalType::Date => (same, "DATE".into()),
        CanonicalType::Time { fraction } => (same, format!("TIME({fraction})")),
        // Not TIMESTAMP: it ends in 2038, and a session's time zone would matter.
        CanonicalType::DateTime { fraction } | CanonicalType::Timestamp { fraction } => (
            CanonicalType::DateTime { fraction },
            format!("DATETIME({fraction})"),
        ),
        CanonicalType::Year => (same, "YEAR".into()),
        // MySQL's JSON reorders keys and rounds numbers; the document is kept as it is.
        CanonicalType::Json => text(None, key_chars),
        CanonicalType::Bit { width } => (same, format!("BIT({width})")),
        // MariaDB has the type since 10.7.
        // Not MariaDB's UUID: it takes some values for others' swapped spelling, and refuses them.
        CanonicalType::Uuid => (same, "CHAR(36)".into()),
        CanonicalType::Inet => (same, "VARCHAR(49)".into()),
        CanonicalType::Enum { values } => match enumeration(&values) {
            Some(native) => (same, native),
            None => text(None, key_chars),
        },
        CanonicalType::Set { .. } => text(None, key_chars),
        CanonicalType::Any => return None,
    })
}

fn int(ends: &Ends<'_>, column: &Column, bits: u8, unsigned: bool) -> (CanonicalType, String) {
    if ends.from == Engine::Sqlite {
        let bits_64 = CanonicalType::Int {
            bits: 64,
            unsigned: false,
        };
        return (bits_64, "BIGINT".into());
    }
    let name = match bits {
        ..=8 => "TINYINT",
        9..=16 => "SMALLINT",
        17..=24 => "MEDIUMINT",
        25..=32 => "INT",
        33.. => "BIGINT",
    };
    let native = match unsigned {
        true => format!("{name} UNSIGNED"),
        false => name.to_owned(),
    };
    (column.canonical.clone(), native)
}

/// ENUM of these values; None = MySQL's can't tell them apart, or has no room for them.
fn enumeration(values: &[String]) -> Option<String> {
    let fits = |value: &String| {
        // MySQL cuts blanks off, and sees its own escapes.
        !value.ends_with(' ') && !value.contains('\0') && value.chars().count() <= ENUM_CHARS_MAX
    };
    let unique: BTreeSet<&String> = values.iter().collect();
    let possible = (1..=ENUM_VALUES_MAX).contains(&values.len())
        && unique.len() == values.len()
        && values.iter().all(fits);
    let quoted = |value: &String| format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"));
    let list: Vec<String> = values.iter().map(quoted).collect();
    possible.then(|| format!("ENUM({})", list.join(",")))
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
        ref other => fixed_bytes(other),
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

fn map_indexes(source: &TableSchema, table: &mut TableSchema, mapping: &mut Mapping) {
    keys::drop_special_indexes(source, table, Engine::Mysql, mapping);
    let mut seen = BTreeSet::from(["primary".to_owned()]);
    for (place, index) in table.indexes.iter_mut().enumerate() {
        if index.name.is_empty() || index.name.starts_with("sqlite_autoindex_") {
            index.name = format!("unique_{}", place + 1);
        }
        names::shorten(
            &mut index.name,
            Engine::Mysql,
            "index",
            &source.name,
            mapping,
        );
        if !seen.insert(index.name.to_lowercase()) {
            index.name = format!("index_{}", place + 1);
            seen.insert(index.name.clone());
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
        other => Some(fixed_bytes(other)),
    }
}

fn shorten(index: &mut Index, columns: &[Column]) {
    let long = |part: &&IndexColumn| {
        let column = columns.iter().find(|column| column.name == part.name);
        column.is_some_and(has_length)
    };
    let count = index.columns.iter().filter(long).count().max(1) as u32;
    let fixed = index
        .columns
        .iter()
        .filter(|part| !long(part))
        .filter_map(|part| key_bytes(columns, part))
        .sum::<u32>();
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
