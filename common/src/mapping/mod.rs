//! From the source's types to the target's. What can't be mapped exactly is an error that lists
//! everything at once; what is left out without changing a value is a note.

mod to_mysql;
mod to_sqlite;

#[cfg(test)]
mod tests;

use crate::code::{Code, Failure};
use crate::fidelity::ColumnVerdict;
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

/// The target's schema of each source table (as the job's rules shaped it). One engine on both
/// ends keeps everything as it is.
pub fn map_tables(
    sources: &[&TableSchema],
    source: &EndpointFacts,
    target: &EndpointFacts,
    _spec: &JobSpec,
) -> Result<Mapped, Failure> {
    let mut mapping = Mapping::default();
    let tables = match (source.engine, target.engine) {
        (Engine::Sqlite, Engine::Sqlite) => keep(sources),
        (Engine::Mysql, Engine::Mysql) => {
            sources
                .iter()
                .for_each(|table| mapping.refuse_unknown(table));
            keep(sources)
        }
        (Engine::Sqlite, Engine::Mysql) => to_mysql::map(sources, target, &mut mapping),
        (Engine::Mysql, Engine::Sqlite) => to_sqlite::map(sources, &mut mapping),
        (Engine::Postgres, Engine::Postgres) => keep(sources),
        (Engine::Postgres, _) | (_, Engine::Postgres) => {
            return Err(Failure::new(
                Code::NotBuilt,
                "PostgreSQL to or from another engine",
            ));
        }
    };
    mapping.finish(tables)
}

fn keep(sources: &[&TableSchema]) -> Vec<TableSchema> {
    sources.iter().map(|table| (*table).clone()).collect()
}

/// What was found on the way.
#[derive(Default)]
struct Mapping {
    /// Columns without an exact type, and tables that can't be made.
    types: Vec<String>,
    tables: Vec<String>,
    notes: Vec<String>,
}

impl Mapping {
    fn finish(self, tables: Vec<TableSchema>) -> Result<Mapped, Failure> {
        let code = match (self.types.is_empty(), self.tables.is_empty()) {
            (true, true) => {
                return Ok(Mapped {
                    tables: tables
                        .into_iter()
                        .map(|table| (table, Vec::new()))
                        .collect(),
                    notes: self.notes,
                });
            }
            (false, _) => Code::UnsupportedType,
            (true, false) => Code::UnsupportedTable,
        };
        let problems: Vec<String> = self.types.into_iter().chain(self.tables).collect();
        Err(Failure::new(code, problems.join("; ")))
    }

    /// MySQL has no dynamic cells: there, `Any` is a type that isn't moved yet.
    fn refuse_unknown(&mut self, table: &TableSchema) {
        for column in table.copied_columns() {
            if column.canonical == CanonicalType::Any {
                self.types.push(format!(
                    "{}.{} has the type {}",
                    table.name, column.name, column.native_type
                ));
            }
        }
    }

    fn refuse_generated(&mut self, table: &TableSchema) {
        for column in &table.columns {
            if column.generated.is_some() {
                self.tables.push(format!(
                    "{}.{} is a generated column, whose expression the other engine may not know",
                    table.name, column.name
                ));
            }
        }
    }
}
