//! The target's part of DDL seen at the source: a new table, a new column.

use common::code::Code;
use common::plan::TablePlan;

use crate::connector::sqlite::ddl::{column_clause, create_table};
use crate::connector::sqlite::forms::is_hidden_rowid;
use crate::connector::sqlite::session::{Session, args, cell, quote};
use crate::connector::{Error, Result};

/// Brings a table to what its source has become: makes it, or adds columns. Repeatable, inside the
/// open transaction.
pub async fn alter(
    session: &mut Session,
    before: Option<&TablePlan>,
    plan: &TablePlan,
) -> Result<()> {
    let table = &plan.target;
    let sql = "SELECT name FROM pragma_table_xinfo(?)";
    let mut there = Vec::new();
    for row in session.rows(sql, args([&table.name])).await? {
        there.push(cell::<String>(&row, 0)?);
    }
    if there.is_empty() {
        if before.is_some() {
            let what = format!("the target has no table {}", table.name);
            return Err(Error::permanent(Code::TargetDiffers, what));
        }
        return session
            .run_once(&create_table(table), args([]))
            .await
            .map(drop);
    }
    for column in table.copied_columns() {
        let known = there
            .iter()
            .any(|name| name.eq_ignore_ascii_case(&column.name));
        if known || is_hidden_rowid(column) {
            continue;
        }
        let sql = format!(
            "ALTER TABLE {} ADD COLUMN {}",
            quote(&table.name),
            column_clause(column, false)
        );
        session.run_once(&sql, args([])).await?;
    }
    Ok(())
}
