//! MySQL to SQLite. A declared type keeps the name it had, so that the way back finds it, as long
//! as SQLite's affinity for that name changes no value; the exceptions end in `_TEXT`.

use std::collections::BTreeMap;

use super::Mapping;
use crate::schema::{CanonicalType, Column, ColumnDefault, TableSchema};

/// Significant digits a double holds without loss; a wider decimal is kept as text.
const DOUBLE_DIGITS: u16 = 15;
/// Beyond that MySQL itself would not call it VARCHAR (utf8mb4).
const VARCHAR_MAX: u32 = 16_383;

pub(super) fn map(sources: &[&TableSchema], mapping: &mut Mapping) -> Vec<TableSchema> {
    refuse_names(sources, mapping);
    let mut uses: BTreeMap<String, u32> = BTreeMap::new();
    for index in sources.iter().flat_map(|table| &table.indexes) {
        *uses.entry(index.name.to_lowercase()).or_default() += 1;
    }
    // SQLite keeps indexes and tables in one space of names.
    for table in sources {
        *uses.entry(table.name.to_lowercase()).or_default() += 1;
    }
    sources
        .iter()
        .map(|table| map_table(table, &uses, mapping))
        .collect()
}

/// SQLite folds the case of names, and keeps some for itself.
fn refuse_names(sources: &[&TableSchema], mapping: &mut Mapping) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    for table in sources {
        let lower = table.name.to_ascii_lowercase();
        if lower.starts_with("sqlite_") || lower.starts_with("sterna_") {
            let what = format!("{}: that name is reserved in the target", table.name);
            mapping.tables.push(what);
        }
        if let Some(other) = seen.insert(lower, &table.name) {
            let what = format!("{other} and {} are one name in SQLite", table.name);
            mapping.tables.push(what);
        }
    }
}

fn map_table(
    source: &TableSchema,
    uses: &BTreeMap<String, u32>,
    mapping: &mut Mapping,
) -> TableSchema {
    mapping.refuse_generated(source);
    let rowid_key = rowid_key(source);
    let mut table = source.clone();
    table.native_ddl = None;
    table.native_options = String::new();
    for column in &mut table.columns {
        let is_key = rowid_key.as_deref() == Some(&column.name);
        map_column(&source.name, column, is_key, mapping);
    }
    table.indexes.retain(|index| {
        // FULLTEXT, SPATIAL and expressions; other options of a key change no result.
        let native = index.native.as_deref().unwrap_or_default();
        let special = native.starts_with("FULLTEXT") || native.starts_with("SPATIAL");
        let plain = !index.columns.is_empty() && !special;
        if !plain {
            mapping.notes.push(format!(
                "index {} of {} is not made: SQLite has no such kind",
                index.name, source.name
            ));
        }
        plain
    });
    for index in &mut table.indexes {
        index.native = None;
        if uses
            .get(&index.name.to_lowercase())
            .is_some_and(|uses| *uses > 1)
        {
            index.name = format!("{}_{}", source.name, index.name);
        }
    }
    let folds = |column: &&Column| {
        let collation = column.collation.as_deref().unwrap_or_default();
        collation.ends_with("_ci") || collation.ends_with("_ai")
    };
    if source.columns.iter().any(|column| folds(&column)) {
        mapping.notes.push(format!(
            "{}: text is compared byte by byte in the target, not without case as in the source",
            source.name
        ));
    }
    table
}

/// The column that becomes `INTEGER PRIMARY KEY`: the rowid itself.
fn rowid_key(table: &TableSchema) -> Option<String> {
    let [key] = table.primary_key.as_slice() else {
        return None;
    };
    let integer = |column: &&Column| matches!(column.canonical, CanonicalType::Int { .. });
    table
        .column(key)
        .filter(integer)
        .map(|column| column.name.clone())
}

fn map_column(table: &str, column: &mut Column, rowid_key: bool, mapping: &mut Mapping) {
    match declared(column, rowid_key) {
        Some(declared) => column.native_type = declared,
        None => mapping.types.push(format!(
            "{table}.{} ({}) has no exact type in SQLite",
            column.name, column.native_type
        )),
    }
    column.charset = None;
    column.collation = None;
    if column.auto_increment && !rowid_key {
        column.auto_increment = false;
        mapping.notes.push(format!(
            "{table}.{} doesn't count up by itself in the target: it isn't the whole primary key",
            column.name
        ));
    }
    match &mut column.default {
        Some(ColumnDefault::Expression(expression)) => {
            mapping.notes.push(format!(
                "{table}.{}: the default {expression} is left out",
                column.name
            ));
            column.default = None;
        }
        Some(ColumnDefault::CurrentTimestamp { on_update, .. }) if *on_update => {
            *on_update = false;
            mapping.notes.push(format!(
                "{table}.{}: ON UPDATE CURRENT_TIMESTAMP is left out",
                column.name
            ));
        }
        _ => {}
    }
}

fn declared(column: &Column, rowid_key: bool) -> Option<String> {
    let with_fraction = |name: &str, fraction: u8| match fraction {
        0 => name.to_owned(),
        fraction => format!("{name}({fraction})"),
    };
    Some(match &column.canonical {
        CanonicalType::Int { .. } if rowid_key => "INTEGER".into(),
        CanonicalType::Int { bits, unsigned } => {
            let native = column.native_type.to_ascii_lowercase();
            let name = match bits {
                8 if native.starts_with("tinyint(1)") && !unsigned => "BOOLEAN",
                0..=8 => "TINYINT",
                9..=16 => "SMALLINT",
                17..=24 => "MEDIUMINT",
                25..=32 => "INT",
                _ => "BIGINT",
            };
            match unsigned {
                true => format!("{name} UNSIGNED"),
                false => name.into(),
            }
        }
        CanonicalType::Decimal { precision, scale } if *precision <= DOUBLE_DIGITS => {
            format!("DECIMAL({precision},{scale})")
        }
        CanonicalType::Decimal { precision, scale } => format!("DECIMAL_TEXT({precision},{scale})"),
        // Not FLOAT: in an SQLite file that is a double, and its values may need one.
        CanonicalType::Float32 => "FLOAT4".into(),
        CanonicalType::Float64 => "DOUBLE".into(),
        CanonicalType::Text { max_chars } => match max_chars {
            Some(max) if *max <= VARCHAR_MAX => format!("VARCHAR({max})"),
            _ => "TEXT".into(),
        },
        CanonicalType::Bytes { max_len } => match max_len {
            Some(max) if *max <= VARCHAR_MAX => format!("VARBINARY({max})"),
            _ => "BLOB".into(),
        },
        CanonicalType::Date => "DATE".into(),
        CanonicalType::Time { fraction } => with_fraction("TIME", *fraction),
        CanonicalType::DateTime { fraction } => with_fraction("DATETIME", *fraction),
        CanonicalType::Timestamp { fraction } => with_fraction("TIMESTAMP", *fraction),
        CanonicalType::Year => "YEAR".into(),
        CanonicalType::Json => "JSON_TEXT".into(),
        CanonicalType::Enum { .. } | CanonicalType::Set { .. } => "TEXT".into(),
        CanonicalType::Bit { width } if *width < 64 => format!("BIT({width})"),
        CanonicalType::Bit { width } => format!("BIT_TEXT({width})"),
        CanonicalType::Any
        | CanonicalType::Bool
        | CanonicalType::Numeric
        | CanonicalType::Uuid
        | CanonicalType::Inet => return None,
    })
}
