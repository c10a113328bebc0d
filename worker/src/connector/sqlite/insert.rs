//! Rows as INSERT statements: many rows in each, and no clause of the table's own that would drop or
//! replace one.

use common::code::Code;
use common::plan::TablePlan;
use common::schema::{CanonicalType, CellForm};
use common::value::RowBatch;
use sqlx::sqlite::SqliteArguments;

use super::cells::{Value, read_any, read_canonical};
use super::session::{Session, quote};
use super::types::Affinity;
use crate::connector::{Error, Result};

/// Parameters of one statement: few enough for SQLite's 32,766, many enough that the way to SQLite's
/// thread and back is shared by some hundred cells.
pub const PARAMETERS_MAX: usize = 2_048;

/// A column that is written.
struct Target {
    name: String,
    /// Of the rows as they travel.
    canonical: CanonicalType,
    affinity: Affinity,
}

/// How rows become INSERT statements.
pub struct Insert {
    table: String,
    head: String,
    columns: Vec<Target>,
    form: CellForm,
    /// Rows of the largest statement; smaller ones are halves of it.
    rows_max: usize,
}

impl Insert {
    pub fn new(table: &TablePlan) -> Insert {
        let rows = table.rows().copied_columns();
        let columns: Vec<Target> = table
            .target
            .copied_columns()
            .zip(rows)
            .map(|(column, row)| Target {
                name: column.name.clone(),
                canonical: row.canonical.clone(),
                affinity: Affinity::of(&column.native_type),
            })
            .collect();
        let names: Vec<String> = columns.iter().map(|column| quote(&column.name)).collect();
        // OR ABORT overrides a conflict clause of the table's own that would drop rows.
        let head = format!(
            "INSERT OR ABORT INTO {} ({}) VALUES ",
            quote(&table.target.name),
            names.join(", ")
        );
        let fitting = (PARAMETERS_MAX / columns.len().max(1)).max(1);
        Insert {
            table: table.target.name.clone(),
            head,
            form: table.form,
            rows_max: 1 << fitting.ilog2(),
            columns,
        }
    }

    /// The batch's rows as values, one after the other.
    pub fn values(&self, batch: &RowBatch) -> Result<Vec<Value>> {
        if batch.columns() != self.columns.len() {
            let what = format!(
                "{}: {} cells for {} columns",
                self.table,
                batch.columns(),
                self.columns.len()
            );
            return Err(Error::permanent(Code::Internal, what));
        }
        let cells = batch.cells().zip((0..self.columns.len()).cycle());
        cells.map(|(cell, place)| self.value(place, cell)).collect()
    }

    /// The value of a cell of copied column `place`.
    pub fn value(&self, place: usize, cell: Option<&[u8]>) -> Result<Value> {
        let column = &self.columns[place];
        let value = match (cell, self.form) {
            (None, _) => Ok(Value::Null),
            (Some(cell), CellForm::Native) => read_any(cell),
            (Some(cell), CellForm::Canonical) => {
                read_canonical(&column.canonical, column.affinity, cell)
            }
        };
        value.map_err(|reason| {
            let what = format!("{}.{}: {reason}", self.table, column.name);
            Error::permanent(Code::NotRepresentable, what)
        })
    }

    pub fn table(&self) -> &str {
        &self.table
    }

    /// The target's names of the copied columns.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    pub fn is_native(&self) -> bool {
        self.form == CellForm::Native
    }

    /// Inserts them. Returns how many rows SQLite says it took.
    pub async fn run(&self, session: &mut Session, values: Vec<Value>) -> Result<u64> {
        let width = self.columns.len();
        let raw = |value: &Value| matches!(value, Value::RawText(_));
        let mut odd = Vec::new();
        let mut plain = values;
        if plain.iter().any(raw) {
            let mut rest = Vec::with_capacity(plain.len());
            for row in plain.chunks(width) {
                match row.iter().any(raw) {
                    true => odd.push(row.to_vec()),
                    false => rest.extend_from_slice(row),
                }
            }
            plain = rest;
        }
        let mut inserted = 0;
        let mut left = plain.len() / width;
        let mut values = plain.into_iter();
        while left > 0 {
            let rows = self.rows_max.min(1 << left.ilog2());
            let mut arguments = SqliteArguments::default();
            for value in values.by_ref().take(rows * width) {
                value.bind(&mut arguments);
            }
            let marks = format!("({})", vec!["?"; width].join(","));
            let sql = format!("{}{}", self.head, vec![marks; rows].join(","));
            inserted += session.run(&sql, arguments).await?;
            left -= rows;
        }
        for row in odd {
            inserted += self.run_odd(session, row).await?;
        }
        Ok(inserted)
    }

    /// A row that holds text which isn't UTF-8: handed over as bytes, made text by SQLite.
    async fn run_odd(&self, session: &mut Session, row: Vec<Value>) -> Result<u64> {
        let mut arguments = SqliteArguments::default();
        let mut marks = Vec::with_capacity(row.len());
        for value in row {
            marks.push(match value {
                Value::RawText(_) => "CAST(? AS TEXT)",
                _ => "?",
            });
            value.bind(&mut arguments);
        }
        let sql = format!("{}({})", self.head, marks.join(","));
        session.run_once(&sql, arguments).await
    }
}
