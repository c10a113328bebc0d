//! A table's indexes and foreign keys, by what they are over, not by their names.

use super::Measure;
use super::text::{plain, same_name, same_names};
use crate::schema::{Engine, ForeignKey, Index, TableSchema};
use crate::verify::SchemaDifference;

pub fn compare(
    measure: Measure<'_>,
    wanted: &TableSchema,
    other: &TableSchema,
    found: &mut Vec<SchemaDifference>,
) {
    for index in &wanted.indexes {
        let there = other.indexes.iter().find(|known| known.name == index.name);
        if serves(measure, other, index) {
            continue;
        }
        let there = there.map(said);
        found.push(measure.differs("index", &index.name, Some(said(index)), there));
    }
    // Another engine makes indexes of its own.
    let extra = other.indexes.iter().filter(|_| measure.alike);
    for index in extra {
        let known = wanted.indexes.iter().any(|known| known.name == index.name);
        if !known && !serves(measure, wanted, index) && !of_foreign_key(measure, other, index) {
            found.push(measure.differs("index", &index.name, None, Some(said(index))));
        }
    }
    foreign_keys(measure, wanted, other, found);
}

/// Whether the table has an index that does what `index` does. Between engines a primary key over
/// the same columns serves as well, and so does a unique index for a plain one.
fn serves(measure: Measure<'_>, table: &TableSchema, index: &Index) -> bool {
    if measure.alike {
        return table
            .indexes
            .iter()
            .any(|known| same_index(measure.engine, known, index));
    }
    if index.native.is_some() {
        // It isn't carried to another engine.
        return true;
    }
    let columns = names(index);
    let does = |known: &Index| {
        (known.unique || !index.unique) && same_names(measure.engine, &names(known), &columns)
    };
    table.indexes.iter().any(does) || same_names(measure.engine, &table.primary_key, &columns)
}

fn same_index(engine: Engine, one: &Index, two: &Index) -> bool {
    let native = |index: &Index| {
        let text = index.native.as_deref().map(plain)?;
        // Its own name is no difference.
        Some(text.replace(&index.name, ""))
    };
    let parts = |index: &Index| -> Vec<(Option<u32>, bool)> {
        let columns = index.columns.iter();
        columns
            .map(|column| (column.prefix, column.descending))
            .collect()
    };
    one.unique == two.unique
        && same_names(engine, &names(one), &names(two))
        && parts(one) == parts(two)
        && native(one) == native(two)
}

/// InnoDB makes an index for a foreign key that has none.
fn of_foreign_key(measure: Measure<'_>, table: &TableSchema, index: &Index) -> bool {
    let mut keys = table.foreign_keys.iter();
    measure.engine == Engine::Mysql
        && keys.any(|key| same_names(measure.engine, &key.columns, &names(index)))
}

fn foreign_keys(
    measure: Measure<'_>,
    wanted: &TableSchema,
    other: &TableSchema,
    found: &mut Vec<SchemaDifference>,
) {
    let over = |one: &ForeignKey, two: &ForeignKey| {
        same_names(measure.engine, &one.columns, &two.columns)
            && same_name(measure.engine, &one.references_table, &two.references_table)
            && same_names(
                measure.engine,
                &one.references_columns,
                &two.references_columns,
            )
    };
    let same = |one: &ForeignKey, two: &ForeignKey| {
        over(one, two) && actions(measure.engine, one) == actions(measure.engine, two)
    };
    for key in &wanted.foreign_keys {
        if other.foreign_keys.iter().any(|known| same(known, key)) {
            continue;
        }
        let there = other.foreign_keys.iter().find(|known| over(known, key));
        let (expected, there) = (Some(said_key(key)), there.map(said_key));
        found.push(measure.differs("foreign_key", &key.name, expected, there));
    }
    // A key that points out of the job is left out of the plan.
    let points_in = |key: &&ForeignKey| {
        let mut tables = measure.tables.iter().map(|table| &table.target.name);
        tables.any(|table| same_name(measure.engine, table, &key.references_table))
    };
    for key in other.foreign_keys.iter().filter(points_in) {
        if !wanted.foreign_keys.iter().any(|known| over(known, key)) {
            found.push(measure.differs("foreign_key", &key.name, None, Some(said_key(key))));
        }
    }
}

/// To InnoDB, RESTRICT and NO ACTION are one.
fn actions(engine: Engine, key: &ForeignKey) -> [String; 2] {
    [&key.on_delete, &key.on_update].map(|action| match action.to_ascii_uppercase().as_str() {
        "" => "NO ACTION".to_owned(),
        "RESTRICT" if engine == Engine::Mysql => "NO ACTION".to_owned(),
        action => action.to_owned(),
    })
}

fn names(index: &Index) -> Vec<String> {
    let columns = index.columns.iter();
    columns.map(|column| column.name.clone()).collect()
}

fn said(index: &Index) -> String {
    if let Some(native) = &index.native {
        return native.clone();
    }
    let unique = if index.unique { "unique " } else { "" };
    let columns = index.columns.iter().map(|column| {
        let prefix = column.prefix.map(|prefix| format!("({prefix})"));
        let descending = if column.descending { " DESC" } else { "" };
        format!("{}{}{descending}", column.name, prefix.unwrap_or_default())
    });
    format!("{unique}({})", columns.collect::<Vec<_>>().join(", "))
}

fn said_key(key: &ForeignKey) -> String {
    format!(
        "({}) -> {} ({}) ON DELETE {} ON UPDATE {}",
        key.columns.join(", "),
        key.references_table,
        key.references_columns.join(", "),
        key.on_delete,
        key.on_update
    )
}
