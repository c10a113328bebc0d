//! Additive changes of a table's definition, as its source has them now: a new table, a new column,
//! a wider type. Looks at what is there and does the rest, so a second run ends the same.

use common::code::Code;
use common::job::TargetMode;
use common::plan::TablePlan;
use common::schema::{Column, ColumnDefault};

use crate::connector::postgres::define::{self, Made, Target, bare};
use crate::connector::postgres::quote::{ident, text};
use crate::connector::postgres::{ddl, inspect_tables};
use crate::connector::{Error, Result};

/// See [`crate::connector::TargetApplier::alter`].
pub async fn run(at: &mut Target, plan: &TablePlan, tables: &[TablePlan]) -> Result<()> {
    let table = &plan.target;
    let name = ddl::name(table, &at.schema);
    let there = format!("SELECT to_regclass({})::text", text(&name));
    if at.session.cell(&there).await?.is_none() {
        if let Some(schema) = &table.schema {
            let sql = format!("CREATE SCHEMA IF NOT EXISTS {}", ident(schema));
            at.change(&sql).await?;
        }
        if let Made::Later(error) = define::create_table(at, plan, TargetMode::Append).await? {
            return Err(error);
        }
        define::index(at, plan, tables).await?;
        return define::foreign_keys(at, plan).await;
    }
    let there = inspect_tables::columns_of(&mut at.session, &name).await?;
    let mut changes = Vec::new();
    for column in &table.columns {
        match there.iter().find(|found| found.name == column.name) {
            None => {
                refuse_unknown(column, plan)?;
                changes.push(format!("ADD COLUMN {}", ddl::column_item(column)));
            }
            Some(found) if bare(&found.r#type) != bare(&column.native_type) => {
                let (name, r#type) = (ident(&column.name), &column.native_type);
                changes.push(format!("ALTER COLUMN {name} TYPE {type}"));
            }
            Some(_) => {}
        }
    }
    if changes.is_empty() {
        return Ok(());
    }
    let alter = format!("ALTER TABLE {name} {}", changes.join(", "));
    let altered = at.change(&alter).await;
    Ok(altered.map_err(|failed| failed.about(&format!("table {}", table.full_name())))?)
}

/// What the rows that are there hold in the new column at the source must be known here.
fn refuse_unknown(column: &Column, plan: &TablePlan) -> Result<()> {
    let moment = match &column.default {
        Some(ColumnDefault::CurrentTimestamp { .. }) => true,
        Some(ColumnDefault::Expression(expression)) => !is_constant(expression),
        Some(ColumnDefault::Literal(_)) | None => false,
    };
    if column.generated.is_some() || !(moment || column.auto_increment) {
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

/// No function is called in it.
fn is_constant(expression: &str) -> bool {
    let outside: String = expression.split('\'').step_by(2).collect();
    let upper = outside.to_ascii_uppercase();
    let moments = ["CURRENT", "LOCALTIME", "SESSION_USER", "USER"];
    let is_call = |(at, _): (usize, &str)| {
        let before = outside[..at].chars().next_back();
        before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '"')
    };
    let typmod = |(at, _): &(usize, &str)| outside[..*at].contains("::");
    !outside
        .match_indices('(')
        .any(|call| is_call(call) && !typmod(&call))
        && !moments.iter().any(|word| upper.contains(word))
}

#[cfg(test)]
mod tests {
    use super::is_constant;

    #[test]
    fn a_function_in_a_default_is_seen() {
        for (expression, constant) in [
            ("'now()'::text", true),
            ("(5)::smallint", true),
            ("'1'::character varying(3)", true),
            ("ARRAY[1, 2]", true),
            ("now()", false),
            ("nextval('s'::regclass)", false),
            ("CURRENT_TIMESTAMP", false),
        ] {
            assert_eq!(is_constant(expression), constant, "{expression}");
        }
    }
}
