//! From the source's types to the target's, with a verdict for every column. What has no type in
//! the target, what would change values without leave and what can't be made are one error that
//! lists everything at once; what is left out without changing a value is a note.
//!
//! Decides by canonical types, so that each `to_…` takes every source. Knows no SQL.

mod accept;
mod cast;
pub mod catalogue;
mod keys;
mod mysql_family;
mod names;
pub mod page;
mod range;
mod spelling;
mod to_mysql;
mod to_postgres;
mod to_sqlite;
mod verdict;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

pub use self::cast::{Origin, cast_of, origin};
pub use self::mysql_family::differs as other_flavour;
pub use self::spelling::canonical as canonical_of;
use crate::code::{Code, Failure};
use crate::fidelity::{ColumnVerdict, Verdict};
use crate::job::JobSpec;
use crate::schema::{CanonicalType, EndpointFacts, Engine, TableSchema};

/// What [`map_tables`] made.
#[derive(Debug, Default)]
pub struct Mapped {
    /// For each source table the target's, copied columns in the same order, and their verdicts.
    pub tables: Vec<(TableSchema, Vec<ColumnVerdict>)>,
    /// What is left out without changing a value.
    pub notes: Vec<String>,
}

/// The two ends, as far as types depend on them.
#[derive(Clone, Copy, Debug)]
struct Ends<'a> {
    from: Engine,
    to: Engine,
    /// The target's version, as it says it.
    version: &'a str,
}

impl Ends<'_> {
    fn is_mariadb(&self) -> bool {
        self.to == Engine::Mysql && self.version.contains("MariaDB")
    }
}

/// The target's schema of each source table (as the job's rules shaped it, see [`as_read`]). One
/// engine on both ends keeps everything but what a rule or cast of the job changes.
pub fn map_tables(
    sources: &[&TableSchema],
    source: &EndpointFacts,
    target: &EndpointFacts,
    spec: &JobSpec,
) -> Result<Mapped, Failure> {
    let ends = Ends {
        from: source.engine,
        to: target.engine,
        version: &target.version,
    };
    let mut mapping = Mapping::default();
    mapping.check_casts(spec);
    let tables: Vec<TableSchema> = match ends.from == ends.to {
        true => {
            let mut kept: Vec<TableSchema> = sources
                .iter()
                .map(|table| same_engine(table, spec, &mut mapping))
                .collect();
            names::map_schemas(sources, &mut kept, &ends, spec, &mut mapping);
            mysql_family::translate(&mut kept, source, target, &mut mapping);
            kept
        }
        false => {
            let mut mapped = sources
                .iter()
                .map(|source| new_columns(source, sources, &ends, spec, &mut mapping))
                .collect::<Vec<_>>();
            names::map_schemas(sources, &mut mapped, &ends, spec, &mut mapping);
            match ends.to {
                Engine::Mysql => to_mysql::finish(sources, &mut mapped, &ends, &mut mapping),
                Engine::Sqlite => to_sqlite::finish(sources, &mut mapped, &ends, &mut mapping),
                Engine::Postgres => to_postgres::finish(sources, &mut mapped, &ends, &mut mapping),
            }
            mapped
        }
    };
    names::refuse(&tables, &ends, &mut mapping);
    let mut verdicts = Vec::new();
    let mut wanted = accept::Accepted::new(spec);
    for (from, to) in sources.iter().zip(&tables) {
        verdicts.push(verdict::of_table(
            &ends,
            spec,
            from,
            to,
            &mut wanted,
            &mut mapping,
        ));
    }
    mapping.spec.extend(wanted.unused());
    mapping.finish(tables.into_iter().zip(verdicts).collect())
}

/// The table as rows are read when its form is canonical: to another engine a generated column is
/// an ordinary one whose values are copied; a dynamic column takes the type of its cast. Returns
/// notes. `table` is the source's own, before rules.
pub fn as_read(table: &mut TableSchema, spec: &JobSpec, from: Engine, to: Engine) -> Vec<String> {
    let mut notes = Vec::new();
    let name = table.full_name();
    let rule = spec.rules.iter().find(|rule| rule.table == name);
    for column in &mut table.columns {
        if from != to && column.generated.take().is_some() {
            column.default = None;
            notes.push(format!(
                "{name}.{} is an ordinary column in the target: the values it has are copied, its \
                 expression isn't",
                column.name
            ));
        }
        let cast = cast::for_column(spec, rule, &column.name, &column.native_type);
        if let (CanonicalType::Any, Some(cast)) = (&column.canonical, cast)
            && let Some(meant) = spelling::canonical(to, cast)
        {
            column.canonical = meant;
        }
    }
    notes
}

/// Everything stays, but for casts. A table with a rule or a cast is made from its columns.
fn same_engine(source: &TableSchema, spec: &JobSpec, mapping: &mut Mapping) -> TableSchema {
    let mut table = source.clone();
    let origin = origin(spec, source);
    let mut changed = origin.rule.is_some();
    for column in &mut table.columns {
        if let Some(cast) = cast_of(spec, &origin, column) {
            cast::apply(column, cast, spec.target.engine(), mapping, source);
            changed = true;
        }
    }
    if changed {
        table.native_ddl = None;
        if source.member.is_some() {
            mapping.tables.push(format!(
                "{}: a partitioned table is kept as it is on the same engine, without rules or casts",
                source.full_name()
            ));
        }
    }
    table
}

/// The columns in the target's types; keys, defaults and the like still as at the source.
fn new_columns(
    source: &TableSchema,
    all: &[&TableSchema],
    ends: &Ends<'_>,
    spec: &JobSpec,
    mapping: &mut Mapping,
) -> TableSchema {
    let origin = origin(spec, source);
    let mut table = source.clone();
    table.native_ddl = None;
    table.native_options = String::new();
    table.member = None;
    for column in &mut table.columns {
        // A generated column that wasn't made ordinary before has no values to copy.
        column.generated = None;
        column.charset = None;
        column.collation = None;
        if let Some(cast) = cast_of(spec, &origin, column) {
            cast::apply(column, cast, Some(ends.to), mapping, source);
            continue;
        }
        let made = match ends.to {
            Engine::Mysql => to_mysql::column(ends, source, all, column),
            Engine::Sqlite => to_sqlite::column(source, column),
            Engine::Postgres => to_postgres::column(ends, column),
        };
        match made {
            Some((canonical, native)) => {
                column.canonical = canonical;
                column.native_type = native;
            }
            None => mapping.no_type(source, column, ends.to),
        }
    }
    table
}

/// What was found on the way.
#[derive(Default)]
struct Mapping {
    /// Columns without a type in the target, and casts that can't be.
    types: Vec<String>,
    /// Tables that can't be made, and names.
    tables: Vec<String>,
    /// Losses that aren't accepted.
    losses: Vec<String>,
    /// What the job asks for in vain.
    spec: Vec<String>,
    fixes: BTreeSet<String>,
    notes: Vec<String>,
}

impl Mapping {
    fn finish(self, tables: Vec<(TableSchema, Vec<ColumnVerdict>)>) -> Result<Mapped, Failure> {
        let found = [
            (Code::UnsupportedType, self.types),
            (Code::UnsupportedTable, self.tables),
            (Code::LossNotAccepted, self.losses),
            (Code::RuleInvalid, self.spec),
        ];
        let Some(first) = found.iter().find(|(_, problems)| !problems.is_empty()) else {
            let notes = self.notes;
            return Ok(Mapped { tables, notes });
        };
        let code = first.0;
        let problems: Vec<String> = found.into_iter().flat_map(|(_, found)| found).collect();
        let failure = Failure::new(code, problems.join("; "));
        Err(self.fixes.into_iter().fold(failure, Failure::fix))
    }

    fn no_type(&mut self, table: &TableSchema, column: &crate::schema::Column, to: Engine) {
        let name = format!("{}.{}", table.full_name(), column.name);
        self.types.push(format!(
            "{name} ({}) has no exact type in {}",
            match column.native_type.as_str() {
                "" => "no declared type",
                declared => declared,
            },
            to.title()
        ));
        self.fixes.insert(format!(
            "give {name} a type with `cast` in the job file, drop the column there, or exclude the table with -x"
        ));
    }

    /// Patterns of casts are checked once, not per column.
    fn check_casts(&mut self, spec: &JobSpec) {
        for cast in &spec.casts {
            if let Err(error) = globset::Glob::new(&cast.from) {
                let what = format!("the cast of {:?} is not a pattern: {error}", cast.from);
                self.spec.push(what);
            }
        }
    }
}

/// Whether every column keeps its values without a guard.
pub fn is_exact(columns: &[ColumnVerdict]) -> bool {
    let kept = |column: &ColumnVerdict| column.verdict <= Verdict::Widened;
    columns.iter().all(kept)
}
