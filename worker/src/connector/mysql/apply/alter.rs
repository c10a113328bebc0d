//! Additive changes of a table's definition, as its source has them now: a new table, a new column,
//! a wider type. Looks at what is there and does the rest, so a second run ends the same.

use common::code::Code;
use common::job::TargetMode;
use common::plan::TablePlan;
use common::schema::{Column, ColumnDefault};

use crate::connector::mysql::define::{self, Target, about, bare};
use crate::connector::mysql::quote::{database_of, ident, table_name};
use crate::connector::mysql::{columns, ddl, definition, inspect};
use crate::connector::{Error, Occupied, Result};

/// See [`crate::connector::TargetApplier::alter`].
pub async fn run(
    at: &mut Target,
    database: &str,
    before: Option<&TablePlan>,
    plan: &TablePlan,
) -> Result<()> {
    let table = &plan.target;
    inspect::refuse_unsupported(table)?;
    let home = database_of(database, table);
    let found = define::occupied(&mut at.session, home, &table.name).await?;
    if before.is_none() || found == Occupied::Absent {
        if home != database {
            at.change(&ddl::create_database(home)).await?;
        }
        define::create(at, database, plan, TargetMode::Append).await?;
        define::index(at, database, table).await?;
        return define::foreign_keys(at, database, table).await;
    }
    let there = columns::columns_of(&mut at.session, home, &table.name).await?;
    let mut changes = Vec::new();
    let mut place = "FIRST".to_owned();
    for column in &table.columns {
        let text = text_of(column, plan);
        match there.iter().find(|found| found.name == column.name) {
            None => {
                refuse_unknown(column, plan)?;
                changes.push(format!("ADD COLUMN {text} {place}"));
            }
            Some(found) if bare(&found.native_type) != bare(&column.native_type) => {
                changes.push(format!("MODIFY COLUMN {text}"));
            }
            Some(_) => {}
        }
        place = format!("AFTER {}", ident(&column.name));
    }
    if changes.is_empty() {
        return Ok(());
    }
    let name = table_name(database, table);
    let alter = format!("ALTER TABLE {name} {}", changes.join(", "));
    let altered = at.change(&alter).await;
    altered.map_err(|failed| about(failed, table))
}

/// The column's definition: the server's own text of it where there is one.
fn text_of(column: &Column, plan: &TablePlan) -> String {
    let start = format!("  {} ", ident(&column.name));
    let native = plan.target.native_ddl.as_deref().unwrap_or_default();
    let line = definition::lines(native)
        .into_iter()
        .find(|line| line.starts_with(&start));
    match line {
        Some(line) => line.trim().trim_end_matches(',').to_owned(),
        None => ddl::column(column),
    }
}

/// What the rows that are there hold in the new column at the source must be known here.
fn refuse_unknown(column: &Column, plan: &TablePlan) -> Result<()> {
    let moment = matches!(
        column.default,
        Some(ColumnDefault::CurrentTimestamp { .. } | ColumnDefault::Expression(_))
    );
    let unknown = column.generated.is_none() && (column.auto_increment || moment);
    if !unknown {
        return Ok(());
    }
    let what = format!(
        "{}.{}: what a new column holds in the rows that were there is known at the source only \
         (its default isn't a plain value)",
        plan.target.full_name(),
        column.name
    );
    Err(Error::permanent(Code::NotBuilt, what))
}
