//! To SQLite, from any other engine. A declared type keeps the name it had, so that the way back
//! finds it, as long as SQLite's affinity for that name changes no value; the exceptions are TEXT.

use std::collections::BTreeMap;

use super::{Ends, Mapping, keys};
use crate::schema::{CanonicalType, Column, Engine, TableSchema};

/// Significant digits a double holds without loss; a wider decimal is kept as text.
const DOUBLE_DIGITS: u16 = 15;
/// Beyond that MySQL itself would not call it VARCHAR (utf8mb4).
const VARCHAR_MAX: u32 = 16_383;

/// Keys, defaults and names of the tables whose columns are made.
pub(super) fn finish(
    sources: &[&TableSchema],
    tables: &mut [TableSchema],
    ends: &Ends<'_>,
    mapping: &mut Mapping,
) {
    let mut uses: BTreeMap<String, u32> = BTreeMap::new();
    for index in sources.iter().flat_map(|table| &table.indexes) {
        *uses.entry(index.name.to_lowercase()).or_default() += 1;
    }
    // SQLite keeps indexes and tables in one space of names.
    for table in sources {
        *uses.entry(table.name.to_lowercase()).or_default() += 1;
    }
    for (source, table) in sources.iter().zip(tables.iter_mut()) {
        let rowid_key = rowid_key(source).map(|column| column.name.clone());
        for column in &mut table.columns {
            counting(&source.name, column, rowid_key.as_deref(), mapping);
            keys::map_default(&source.name, column, Engine::Sqlite, mapping);
        }
        keys::drop_special_indexes(source, table, Engine::Sqlite, mapping);
        keys::drop_prefixes(source, table, mapping);
        for index in &mut table.indexes {
            let uses = uses.get(&index.name.to_lowercase());
            if uses.is_some_and(|uses| *uses > 1) {
                index.name = format!("{}_{}", source.name, index.name);
            }
        }
        keys::note_collations(source, table, ends.from, mapping);
    }
    keys::map_foreign_keys(tables, Engine::Sqlite, mapping);
}

/// The column that becomes `INTEGER PRIMARY KEY`: the rowid itself.
fn rowid_key(table: &TableSchema) -> Option<&Column> {
    let [key] = table.primary_key.as_slice() else {
        return None;
    };
    // A number without sign may be larger than any rowid.
    let integer = |column: &&Column| matches!(column.canonical, CanonicalType::Int { .. });
    table.column(key).filter(integer)
}

fn counting(table: &str, column: &mut Column, rowid_key: Option<&str>, mapping: &mut Mapping) {
    if column.auto_increment && rowid_key != Some(&column.name) {
        column.auto_increment = false;
        mapping.notes.push(format!(
            "{table}.{} doesn't count up by itself in the target: it isn't the whole primary key",
            column.name
        ));
    }
    if column.auto_increment {
        // nextval() of a sequence that isn't carried.
        column.default = None;
    }
}

/// The type of a column; None = there is none.
pub(super) fn column(table: &TableSchema, column: &Column) -> Option<(CanonicalType, String)> {
    let is_rowid = rowid_key(table).is_some_and(|key| key.name == column.name);
    let canonical = match &column.canonical {
        CanonicalType::Int { bits: 64, .. } if is_rowid => CanonicalType::Int {
            bits: 64,
            unsigned: false,
        },
        other => other.clone(),
    };
    Some((canonical, declared(column, is_rowid)?))
}

fn declared(column: &Column, rowid_key: bool) -> Option<String> {
    let with_fraction = |name: &str, fraction: u8| match fraction {
        0 => name.to_owned(),
        fraction => format!("{name}({fraction})"),
    };
    Some(match &column.canonical {
        CanonicalType::Bool => "BOOLEAN".into(),
        CanonicalType::Int { .. } if rowid_key => "INTEGER".into(),
        // SQLite's own end at 63 bits.
        CanonicalType::Int {
            bits: 64,
            unsigned: true,
        } => "DECIMAL_TEXT(20,0)".into(),
        CanonicalType::Int { bits, unsigned } => {
            let name = match bits {
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
        CanonicalType::Numeric => "NUMERIC_TEXT".into(),
        CanonicalType::Uuid => "UUID_TEXT".into(),
        CanonicalType::Inet => "INET_TEXT".into(),
        CanonicalType::Enum { .. } | CanonicalType::Set { .. } => "TEXT".into(),
        CanonicalType::Bit { width } if *width < 64 => format!("BIT({width})"),
        CanonicalType::Bit { width } => format!("BIT_TEXT({width})"),
        CanonicalType::Any => return None,
    })
}
