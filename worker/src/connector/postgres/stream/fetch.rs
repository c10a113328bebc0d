//! Rows by their keys, as the reader gives them.

use common::code::Code;
use common::plan::TablePlan;
use common::schema::{CellForm, Column};
use common::value::RowBatch;

use super::super::quote::idents;
use super::super::reader::Reader;
use super::super::session::{Host, Purpose};
use super::super::types::{self, Kind};
use super::cell::{self, Render};
use super::table::source_key;
use crate::connector::{Error, FetchRequest, ReadRequest, Result, Role, SourceReader};

/// Keys of one statement.
const KEYS_MAX: usize = 500;

/// See [`crate::connector::Connector::fetch`].
pub async fn fetch(host: &Host, request: FetchRequest) -> Result<RowBatch> {
    let plan = &request.table;
    let key = source_key(plan);
    let columns: Vec<&Column> = key
        .iter()
        .filter_map(|name| plan.source.column(name))
        .collect();
    if columns.is_empty() || request.keys.columns() != columns.len() {
        let what = format!(
            "table {}: rows can't be asked for by key",
            plan.source.full_name()
        );
        return Err(Error::permanent(Code::Internal, what));
    }
    let renders: Result<Vec<Render>> = columns.iter().map(|column| render(plan, column)).collect();
    let renders = renders?;
    let mut literals = Vec::with_capacity(request.keys.rows());
    let mut cells = request.keys.cells();
    for _ in 0..request.keys.rows() {
        let row: Vec<String> = columns
            .iter()
            .zip(&renders)
            .filter_map(|(column, render)| {
                let cell = cells.next()?.unwrap_or_default();
                Some(cell::literal(
                    *render,
                    types::bit_width(&column.native_type),
                    cell,
                ))
            })
            .collect();
        literals.push(format!("({})", row.join(", ")));
    }
    let conditions = literals.chunks(KEYS_MAX).map(|keys| {
        let names = idents(key.iter().map(String::as_str));
        format!("({names}) IN ({})", keys.join(", "))
    });
    let read = ReadRequest::source(plan, Vec::new(), Vec::new());
    let session = host.open(Role::Source, Purpose::Read).await?;
    let mut reader = Reader::of_rows(session, host, &read, conditions.collect());
    let mut rows = RowBatch::new(plan.source.copied_columns().count());
    while let Some(batch) = reader.next().await? {
        for cell in batch.cells() {
            match cell {
                Some(cell) => rows.push(cell),
                None => rows.push_null(),
            }
        }
    }
    Ok(rows)
}

/// How the key's cells were rendered, as far as it can be told without its types' bases: what a
/// literal of the column's own type is made of.
fn render(plan: &TablePlan, column: &Column) -> Result<Render> {
    use common::schema::CanonicalType as C;
    if plan.form == CellForm::Native {
        return Ok(Render::Escaped);
    }
    let kind = types::kind(&column.native_type);
    Ok(match (&column.canonical, kind) {
        (C::Bytes { .. }, _) => Render::Hex,
        (C::Bit { .. }, _) => Render::Bits,
        (C::Timestamp { .. }, Kind::TimestampTz) => Render::Zoned,
        (C::Numeric, Kind::Money) => Render::Money(2),
        _ => Render::Plain,
    })
}
