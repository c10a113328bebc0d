//! Keys, indexes and foreign keys after a rule: those that name a renamed column follow it, those
//! that can't are left out, and a note says so.

use super::{Shaping, rule_of};
use crate::job::JobSpec;
use crate::rules::{ColumnRule, Mask, TableRule};
use crate::schema::{Engine, ForeignKey, TableSchema};

/// Whether `name` stands as a word of its own in a statement, without case.
pub fn mentions(text: &str, name: &str) -> bool {
    let (text, name) = (text.to_lowercase(), name.to_lowercase());
    if name.is_empty() {
        return false;
    }
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    text.match_indices(&name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + name.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

/// The primary key and the indexes of a table.
pub fn keys(rule: &TableRule, table: &mut TableSchema, engine: Engine, notes: &mut Vec<String>) {
    let full_name = table.full_name();
    let dropped = |name: &String| rule.of(name).is_some_and(|change| change.drop);
    if let Some(column) = table.primary_key.iter().find(|name| dropped(name)) {
        notes.push(format!(
            "{full_name}: the primary key is left out, because its column {column} is"
        ));
        table.primary_key.clear();
        if engine == Engine::Sqlite {
            // A table without a key can't be WITHOUT ROWID.
            table.native_options.clear();
        }
    }
    for name in &mut table.primary_key {
        rename(rule, name);
    }
    let all: Vec<String> = table.columns.iter().map(|c| c.name.clone()).collect();
    table.indexes.retain_mut(|index| {
        if let Some(column) = index.columns.iter().find(|column| dropped(&column.name)) {
            notes.push(format!(
                "{full_name}: the index {} is left out, because its column {} is",
                index.name, column.name
            ));
            return false;
        }
        if let Some(native) = &index.native {
            let renamed_table = rule.rename.is_some() && engine != Engine::Mysql;
            let mut named = all.iter().filter(|name| mentions(native, name));
            if renamed_table || named.any(|name| rule.of(name).is_some_and(changes_name_or_type)) {
                if engine != Engine::Sqlite || !is_plain(native) {
                    notes.push(format!(
                    "{full_name}: the index {} is left out: its own definition ({native}) names \
                     what the rule changes",
                    index.name
                ));
                    return false;
                }
                index.native = None;
            }
        }
        for column in &mut index.columns {
            if rule
                .of(&column.name)
                .is_some_and(|change| change.mask.is_some())
            {
                column.prefix = None;
            }
            rename(rule, &mut column.name);
        }
        true
    });
}

/// Whether SQLite's own definition of an index says no more than its columns: no expression,
/// condition or collation. A name with parentheses in it counts as an expression.
fn is_plain(native: &str) -> bool {
    let once = |c| native.matches(c).count() == 1;
    let more = ["WHERE", "COLLATE"]
        .iter()
        .any(|word| mentions(native, word));
    once('(') && once(')') && native.trim_end().ends_with(')') && !more
}

fn changes_name_or_type(change: &ColumnRule) -> bool {
    change.drop || change.rename.is_some() || change.mask.is_some() || change.cast.is_some()
}

fn rename(rule: &TableRule, name: &mut String) {
    if let Some(change) = rule.of(name) {
        *name = change.name().to_owned();
    }
}

/// The table a foreign key refers to; some engines compare names without case.
pub fn referenced<'a>(
    key: &ForeignKey,
    owner: &TableSchema,
    tables: &[&'a TableSchema],
) -> Option<&'a TableSchema> {
    let schema = |table: &TableSchema| {
        table.schema == key.references_schema
            || (key.references_schema.is_none() && table.schema == owner.schema)
    };
    let exact = |table: &&&TableSchema| table.name == key.references_table && schema(table);
    let loose = |table: &&&TableSchema| {
        table.name.eq_ignore_ascii_case(&key.references_table) && schema(table)
    };
    let found = tables.iter().find(exact);
    found.or_else(|| tables.iter().find(loose)).copied()
}

/// Foreign keys follow the columns on both of their ends.
pub fn foreign_keys(
    sources: &[&TableSchema],
    spec: &JobSpec,
    engine: Engine,
    shaping: &mut Shaping,
) {
    let none = TableRule::default();
    for (source, shaped) in sources.iter().zip(&mut shaping.tables) {
        let own = rule_of(spec, source).unwrap_or(&none);
        let mut touched = false;
        shaped.schema.foreign_keys.retain_mut(|key| {
            let to = referenced(key, source, sources);
            let other = to.and_then(|to| rule_of(spec, to)).unwrap_or(&none);
            if let Some(why) = in_the_way(own, other, key) {
                shaping.notes.push(format!(
                    "{}: the foreign key {} is left out: {why}",
                    source.full_name(),
                    key.name
                ));
                touched = true;
                return false;
            }
            let before = key.clone();
            for name in &mut key.columns {
                rename(own, name);
            }
            for name in &mut key.references_columns {
                rename(other, name);
            }
            if let Some(name) = &other.rename {
                key.references_table.clone_from(name);
            }
            if *key != before || own.rename.is_some() {
                touched = true;
                if key.native.take().is_some() {
                    shaping.notes.push(format!(
                        "{}: the foreign key {} is made anew from its columns, without clauses of \
                         its own engine",
                        source.full_name(),
                        key.name
                    ));
                }
            }
            true
        });
        // SQLite's own definition of a table holds its foreign keys.
        if touched && engine == Engine::Sqlite && shaped.schema.native_ddl.take().is_some() {
            shaping.notes.push(format!(
                "{}: the table is made from its columns, because its foreign keys change; other \
                 constraints of its own definition are left out",
                source.full_name()
            ));
        }
    }
}

/// Why a foreign key can't be kept.
fn in_the_way(own: &TableRule, other: &TableRule, key: &ForeignKey) -> Option<String> {
    for (name, to) in key.columns.iter().zip(&key.references_columns) {
        let (change, change_to) = (own.of(name), other.of(to));
        for (change, name) in [(change, name), (change_to, to)] {
            if change.is_some_and(|change| change.drop) {
                return Some(format!("the column {name} is left out"));
            }
        }
        if values(change) != values(change_to) {
            return Some(format!(
                "the values of {name} and {to} are changed in different ways"
            ));
        }
    }
    None
}

/// What makes a difference to a column's values.
fn values(change: Option<&ColumnRule>) -> (Option<crate::rules::Trim>, Option<&Mask>) {
    match change {
        // A value that becomes NULL refers to nothing: no conflict.
        Some(change) => (change.trim, change.mask.as_ref()),
        None => (None, None),
    }
}
