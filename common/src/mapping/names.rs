//! Names in the target. Tables and columns are never renamed by themselves: a name the target
//! can't have, or takes for another's, is refused with the rule that mends it. Names of indexes
//! and constraints nobody's statements depend on: a long one is shortened the same way every time.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use super::{Ends, Mapping};
use crate::job::JobSpec;
use crate::naming::{self, Unmapped};
use crate::schema::{Engine, TableSchema};
use crate::shape;

/// MySQL's limit, in characters, and PostgreSQL's, in bytes.
const MYSQL_CHARS_MAX: usize = 64;
const POSTGRES_BYTES_MAX: usize = 63;
/// What a table of each engine may have.
const MYSQL_COLUMNS_MAX: usize = 1_017;
const POSTGRES_COLUMNS_MAX: usize = 1_600;
const SQLITE_COLUMNS_MAX: usize = 2_000;
/// PostgreSQL has columns of these names in every table.
const SYSTEM_COLUMNS: [&str; 6] = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/// Gives tables, and the keys that refer to them, their names and schemas in the target.
pub fn map_schemas(
    sources: &[&TableSchema],
    tables: &mut [TableSchema],
    ends: &Ends<'_>,
    spec: &JobSpec,
    mapping: &mut Mapping,
) {
    let default = naming::default_schema(&spec.source);
    let mut unmapped = BTreeSet::new();
    let mut known: BTreeSet<String> = default.into_iter().collect();
    let mut place = |schema: &Option<String>| {
        known.extend(schema.clone());
        match naming::schema_in_target(spec, schema.as_deref(), ends.from, ends.to) {
            Ok(schema) => schema,
            Err(Unmapped) => {
                unmapped.extend(schema.clone());
                schema.clone()
            }
        }
    };
    for (source, table) in sources.iter().zip(tables.iter_mut()) {
        for key in &mut table.foreign_keys {
            let refers = shape::referenced(key, source, sources);
            key.references_schema = match refers {
                Some(parent) => place(&parent.schema),
                None => place(&key.references_schema),
            };
            if let Some(parent) = refers {
                key.references_table = naming::target(spec, parent, ends.from, ends.to).name;
            }
        }
        table.schema = place(&table.schema);
        table.name = naming::target(spec, source, ends.from, ends.to).name;
    }
    for schema in &unmapped {
        mapping.tables.push(format!(
            "the schema {schema} has no place in {}",
            ends.to.title()
        ));
        let to = match ends.to {
            Engine::Mysql => "DATABASE",
            Engine::Sqlite => "main",
            Engine::Postgres => "SCHEMA",
        };
        mapping.fixes.insert(format!("--map-schema {schema}={to}"));
    }
    for (from, to) in &spec.schema_map {
        if !known.contains(from) {
            mapping.spec.push(format!(
                "--map-schema {from}={to}: no table of the job is in a schema {from}"
            ));
        }
        if ends.to == Engine::Sqlite && to != "main" {
            mapping.spec.push(format!(
                "--map-schema {from}={to}: an SQLite file has no schema but main"
            ));
        }
    }
}

/// Refuses what the target can't call or tell apart, and tables it can't hold.
pub fn refuse(tables: &[TableSchema], ends: &Ends<'_>, mapping: &mut Mapping) {
    let mut seen: BTreeMap<(Option<String>, String), &str> = BTreeMap::new();
    for table in tables {
        let folded = match ends.to {
            Engine::Sqlite => table.name.to_ascii_lowercase(),
            _ => table.name.clone(),
        };
        if let Some(other) = seen.insert((table.schema.clone(), folded), &table.name) {
            mapping.tables.push(format!(
                "{other} and {} are one name in {}",
                table.name,
                ends.to.title()
            ));
            fix_table(&table.full_name(), mapping);
        }
        if ends.from != ends.to || !fits(&table.name, ends.to) {
            refuse_table(table, ends, mapping);
        }
        refuse_columns(table, ends, mapping);
    }
}

fn refuse_table(table: &TableSchema, ends: &Ends<'_>, mapping: &mut Mapping) {
    if !fits(&table.name, ends.to) {
        mapping.tables.push(format!(
            "{:?} is no name for a table in {}",
            table.name,
            ends.to.title()
        ));
        fix_table(&table.full_name(), mapping);
    }
    let lower = table.name.to_ascii_lowercase();
    let reserved = lower.starts_with("sqlite_") || lower.starts_with("sterna_");
    if ends.to == Engine::Sqlite && reserved {
        let what = format!("{}: that name is reserved in the target", table.name);
        mapping.tables.push(what);
        fix_table(&table.full_name(), mapping);
    }
    let most = match ends.to {
        Engine::Mysql => MYSQL_COLUMNS_MAX,
        Engine::Postgres => POSTGRES_COLUMNS_MAX,
        Engine::Sqlite => SQLITE_COLUMNS_MAX,
    };
    if table.columns.len() > most {
        mapping.tables.push(format!(
            "{} has {} columns, a table of {} has {most} at most",
            table.full_name(),
            table.columns.len(),
            ends.to.title()
        ));
    }
}

fn refuse_columns(table: &TableSchema, ends: &Ends<'_>, mapping: &mut Mapping) {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let shown = table.full_name();
    for column in &table.columns {
        let folded = match ends.to {
            Engine::Postgres => column.name.clone(),
            Engine::Mysql => column.name.to_lowercase(),
            Engine::Sqlite => column.name.to_ascii_lowercase(),
        };
        let title = ends.to.title();
        let what = if let Some(other) = seen.insert(folded, &column.name) {
            format!(
                "{shown}: {other} and {} are one name in {title}",
                column.name
            )
        } else if ends.from == ends.to {
            continue;
        } else if !fits(&column.name, ends.to) {
            format!(
                "{shown}: {:?} is no name for a column in {title}",
                column.name
            )
        } else if ends.to == Engine::Postgres && SYSTEM_COLUMNS.contains(&column.name.as_str()) {
            format!(
                "{shown}.{}: {title} has a system column of that name",
                column.name
            )
        } else {
            continue;
        };
        mapping.tables.push(what);
        mapping.fixes.insert(format!(
            "a rule for {shown} in the job file with `rename` for the column {:?}",
            column.name
        ));
    }
}

fn fix_table(table: &str, mapping: &mut Mapping) {
    let fix = format!("a rule for {table} in the job file with `rename`, or exclude it with -x");
    mapping.fixes.insert(fix);
}

/// Whether the engine can call something so.
fn fits(name: &str, engine: Engine) -> bool {
    match engine {
        Engine::Sqlite => !name.contains('\0'),
        Engine::Postgres => {
            !name.is_empty() && name.len() <= POSTGRES_BYTES_MAX && !name.contains('\0')
        }
        Engine::Mysql => {
            // Identifiers are utf8mb3 there: nothing beyond the basic plane.
            let known = |c: char| c != '\0' && u32::from(c) <= 0xFFFF;
            !name.is_empty()
                && name.chars().count() <= MYSQL_CHARS_MAX
                && !name.ends_with(' ')
                && name.chars().all(known)
        }
    }
}

/// Shortens the name of an index or constraint that the engine can't have: its beginning and a
/// fingerprint of the whole.
pub fn shorten(name: &mut String, engine: Engine, kind: &str, table: &str, mapping: &mut Mapping) {
    if name.is_empty() || fits(name, engine) {
        return;
    }
    let suffix = format!("_{:08x}", xxh3_64(name.as_bytes()) as u32);
    let mut short = String::new();
    for character in name.chars() {
        let known =
            character != '\0' && (engine != Engine::Mysql || u32::from(character) <= 0xFFFF);
        let character = if known { character } else { '_' };
        let room = match engine {
            Engine::Mysql => short.chars().count() + 1 + suffix.len() <= MYSQL_CHARS_MAX,
            _ => short.len() + character.len_utf8() + suffix.len() <= POSTGRES_BYTES_MAX,
        };
        if !room {
            break;
        }
        short.push(character);
    }
    short.push_str(&suffix);
    mapping
        .notes
        .push(format!("{kind} {name} of {table} is called {short}"));
    *name = short;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_shortened_the_same_way_every_time() {
        let mut mapping = Mapping::default();
        let mut names: Vec<String> = ["a", "b"].map(|end| "ü".repeat(40) + end).into();
        for name in &mut names {
            shorten(name, Engine::Postgres, "index", "t", &mut mapping);
            assert!(
                name.len() <= POSTGRES_BYTES_MAX && name.starts_with("üü"),
                "{name}"
            );
        }
        assert_ne!(names[0], names[1]);
        let mut again = "ü".repeat(40) + "a";
        shorten(&mut again, Engine::Postgres, "index", "t", &mut mapping);
        assert_eq!(again, names[0]);
        let mut short = "x".repeat(63);
        shorten(&mut short, Engine::Postgres, "index", "t", &mut mapping);
        assert_eq!(short, "x".repeat(63));
        assert_eq!(mapping.notes.len(), 3);
    }

    #[test]
    fn names_an_engine_can_not_have() {
        for (name, engine, can) in [
            ("select", Engine::Postgres, true),
            ("a\"b`c'; --", Engine::Mysql, true),
            ("日本語", Engine::Mysql, true),
            ("😀", Engine::Mysql, false),
            ("😀", Engine::Postgres, true),
            ("a ", Engine::Mysql, false),
            ("a ", Engine::Postgres, true),
            ("", Engine::Postgres, false),
            ("", Engine::Sqlite, true),
        ] {
            assert_eq!(fits(name, engine), can, "{name:?} in {engine:?}");
        }
        assert!(!fits(&"x".repeat(64), Engine::Postgres) && fits(&"x".repeat(64), Engine::Mysql));
    }
}
