//! To PostgreSQL, from any other engine. Names of types are PostgreSQL's own; whole numbers without
//! sign take the next larger type, and what has no type of its own is text that holds every value.

use std::collections::BTreeMap;

use super::{Ends, Mapping, keys, names};
use crate::schema::{CanonicalType, Column, ColumnDefault, Engine, Index, TableSchema};

/// PostgreSQL's limit for `varchar(n)`.
const VARCHAR_MAX: u32 = 10_485_760;
/// Characters of a column that surely fit an entry of a B-tree (2,704 bytes).
const KEY_CHARS_MAX: u32 = 600;

/// The type of a column; None = there is none.
pub(super) fn column(ends: &Ends<'_>, column: &Column) -> Option<(CanonicalType, String)> {
    let int = |bits| CanonicalType::Int {
        bits,
        unsigned: false,
    };
    let fraction = |name: &str, fraction: u8| match fraction {
        6.. => name.to_owned(),
        fraction => format!("{name}({fraction})"),
    };
    let same = column.canonical.clone();
    Some(match &column.canonical {
        CanonicalType::Bool => (same, "boolean".into()),
        // Whatever it is called, a column of SQLite holds 64 bits.
        CanonicalType::Int { .. } if ends.from == Engine::Sqlite => (int(64), "bigint".into()),
        CanonicalType::Int { bits, unsigned } => match (bits, unsigned) {
            (..=8, _) | (9..=16, false) => (int(16), "smallint".into()),
            (9..=16, true) | (17..=24, _) | (25..=32, false) => (int(32), "integer".into()),
            (25..=32, true) | (33.., false) => (int(64), "bigint".into()),
            (33.., true) => {
                let canonical = CanonicalType::Decimal {
                    precision: 20,
                    scale: 0,
                };
                (canonical, "numeric(20,0)".into())
            }
        },
        CanonicalType::Decimal { precision, scale } => match (1..=1000).contains(precision) {
            true => (same, format!("numeric({precision},{scale})")),
            false => (CanonicalType::Numeric, "numeric".into()),
        },
        CanonicalType::Numeric => (same, "numeric".into()),
        CanonicalType::Float32 => (same, "real".into()),
        CanonicalType::Float64 => (same, "double precision".into()),
        CanonicalType::Text { max_chars } => match max_chars {
            Some(max) if (1..=VARCHAR_MAX).contains(max) => (same, format!("varchar({max})")),
            _ => (CanonicalType::Text { max_chars: None }, "text".into()),
        },
        CanonicalType::Bytes { .. } => (CanonicalType::Bytes { max_len: None }, "bytea".into()),
        CanonicalType::Date => (same, "date".into()),
        CanonicalType::Time { fraction: f } => (same, fraction("interval", *f)),
        CanonicalType::DateTime { fraction: f } => (same, fraction("timestamp", *f)),
        CanonicalType::Timestamp { fraction: f } => (same, fraction("timestamptz", *f)),
        CanonicalType::Year => (int(16), "smallint".into()),
        // Not jsonb: it reorders keys and drops white space.
        CanonicalType::Json => (same, "json".into()),
        CanonicalType::Uuid => (same, "uuid".into()),
        CanonicalType::Inet => (same, "inet".into()),
        // The list stays in the canonical type: the table's definition makes a CHECK of it.
        CanonicalType::Enum { .. } | CanonicalType::Set { .. } => (same, "text".into()),
        CanonicalType::Bit { width } => (same, format!("bit({width})")),
        CanonicalType::Any => return None,
    })
}

/// Keys, defaults and names of the tables whose columns are made.
pub(super) fn finish(
    sources: &[&TableSchema],
    tables: &mut [TableSchema],
    ends: &Ends<'_>,
    mapping: &mut Mapping,
) {
    for (source, table) in sources.iter().zip(tables.iter_mut()) {
        keys::not_null_keys(source, table, mapping);
        for column in &mut table.columns {
            column.auto_increment |= keys::is_rowid(source, &column.name);
            counting(&source.name, column, mapping);
            keys::map_default(&source.name, column, Engine::Postgres, mapping);
        }
        keys::note_collations(source, table, ends.from, mapping);
        keys::drop_special_indexes(source, table, Engine::Postgres, mapping);
        drop_long_prefixes(source, table, mapping);
    }
    name_indexes(tables, mapping);
    keys::map_foreign_keys(tables, Engine::Postgres, mapping);
}

/// Only whole numbers count up by themselves.
fn counting(table: &str, column: &mut Column, mapping: &mut Mapping) {
    let counts = matches!(
        column.canonical,
        CanonicalType::Int {
            unsigned: false,
            ..
        }
    );
    if column.auto_increment && !counts {
        column.auto_increment = false;
        mapping.notes.push(format!(
            "{table}.{} ({}) doesn't count up by itself in the target; with a cast to bigint it does",
            column.name, column.native_type
        ));
    }
    if column.auto_increment && matches!(column.default, Some(ColumnDefault::Expression(_))) {
        column.default = None;
    }
}

/// PostgreSQL has no prefix keys: a key on the whole column takes its place where that fits.
fn drop_long_prefixes(source: &TableSchema, table: &mut TableSchema, mapping: &mut Mapping) {
    let fits = |name: &str| match source.column(name).map(|column| &column.canonical) {
        Some(CanonicalType::Text { max_chars: length })
        | Some(CanonicalType::Bytes { max_len: length }) => {
            length.is_some_and(|length| length <= KEY_CHARS_MAX)
        }
        _ => true,
    };
    table.indexes.retain(|index| {
        let prefixed = index.columns.iter().filter(|part| part.prefix.is_some());
        let kept = { prefixed }.all(|part| fits(&part.name));
        if !kept {
            mapping.notes.push(format!(
                "index {} of {} is not made: it is about the beginning of long values, which \
                 PostgreSQL's keys can't hold whole",
                index.name, source.name
            ));
        }
        kept
    });
    keys::drop_prefixes(source, table, mapping);
}

/// Indexes and tables of a schema share one space of names; elsewhere each table has its own.
fn name_indexes(tables: &mut [TableSchema], mapping: &mut Mapping) {
    let mut uses: BTreeMap<(Option<String>, String), u32> = BTreeMap::new();
    for table in tables.iter() {
        let own = [table.name.clone(), format!("{}_pkey", table.name)];
        let indexes = table.indexes.iter().map(|index| index.name.clone());
        for name in own.into_iter().chain(indexes) {
            *uses.entry((table.schema.clone(), name)).or_default() += 1;
        }
    }
    for table in tables.iter_mut() {
        let (schema, name) = (table.schema.clone(), table.name.clone());
        for (place, index) in table.indexes.iter_mut().enumerate() {
            let shared = uses.get(&(schema.clone(), index.name.clone()));
            rename(index, place, &name, shared.is_some_and(|uses| *uses > 1));
        }
        for index in &mut table.indexes {
            names::shorten(&mut index.name, Engine::Postgres, "index", &name, mapping);
        }
    }
}

fn rename(index: &mut Index, place: usize, table: &str, shared: bool) {
    if index.name.is_empty() || index.name.starts_with("sqlite_autoindex_") {
        index.name = format!("{table}_unique_{}", place + 1);
    } else if shared {
        index.name = format!("{table}_{}", index.name);
    }
}
