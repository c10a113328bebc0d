//! A table's columns: their presence, and what each is.

use super::Measure;
use super::text::{plain, same_name, same_type};
use crate::schema::{Column, ColumnDefault, Engine, TableSchema};
use crate::verify::SchemaDifference;

pub fn compare(
    measure: Measure<'_>,
    wanted: &TableSchema,
    other: &TableSchema,
    found: &mut Vec<SchemaDifference>,
) {
    let visible = |column: &&Column| !column.is_hidden_rowid();
    for column in wanted.columns.iter().filter(visible) {
        match named(measure.engine, other, &column.name) {
            Some(there) => of_column(measure, wanted, (column, there), found),
            None => {
                let expected = Some(column.native_type.clone());
                found.push(measure.differs("column", &column.name, expected, None));
            }
        }
    }
    for column in other.columns.iter().filter(visible) {
        if named(measure.engine, wanted, &column.name).is_none() {
            let there = Some(column.native_type.clone());
            found.push(measure.differs("column", &column.name, None, there));
        }
    }
}

fn named<'a>(engine: Engine, table: &'a TableSchema, name: &str) -> Option<&'a Column> {
    let mut columns = table.columns.iter();
    columns.find(|known| same_name(engine, &known.name, name))
}

fn of_column(
    measure: Measure<'_>,
    wanted: &TableSchema,
    (column, there): (&Column, &Column),
    found: &mut Vec<SchemaDifference>,
) {
    let mut differs = |kind: &str, expected: String, there: String| {
        let (expected, there) = (Some(expected), Some(there));
        found.push(measure.differs(kind, &column.name, expected, there));
    };
    if !same_type(measure, column, there) {
        let (one, two) = (&column.native_type, &there.native_type);
        differs("type", one.clone(), two.clone());
        // What hangs on the type is another's too.
        return;
    }
    let of_key = wanted.primary_key.contains(&column.name);
    if !of_key && column.nullable != there.nullable {
        let word = |nullable: bool| if nullable { "NULL" } else { "NOT NULL" };
        let (one, two) = (word(column.nullable), word(there.nullable));
        differs("nullability", one.to_owned(), two.to_owned());
    }
    if !same_generated(measure, column, there) {
        let said = |column: &Column| match &column.generated {
            None => "not generated".to_owned(),
            Some(generated) => generated.expression.clone(),
        };
        differs("generated", said(column), said(there));
    } else if !same_default(measure, column, there) {
        differs("default", default_of(column), default_of(there));
    }
    if measure.alike && column.collation != there.collation {
        let said = |column: &Column| column.collation.clone().unwrap_or_default();
        differs("collation", said(column), said(there));
    }
    if measure.alike && column.auto_increment != there.auto_increment {
        let said = |column: &Column| match column.auto_increment {
            true => "numbers itself",
            false => "doesn't number itself",
        };
        let (one, two) = (said(column).to_owned(), said(there).to_owned());
        differs("auto_increment", one, two);
    }
}

fn same_generated(measure: Measure<'_>, one: &Column, two: &Column) -> bool {
    match (&one.generated, &two.generated) {
        (Some(one), Some(two)) => {
            !measure.alike || plain(&one.expression) == plain(&two.expression)
        }
        (None, None) => true,
        _ => false,
    }
}

/// Between engines only a plain value that is missing is told: each has its own words for others.
fn same_default(measure: Measure<'_>, wanted: &Column, there: &Column) -> bool {
    if wanted.auto_increment || wanted.generated.is_some() {
        return true;
    }
    if measure.alike {
        return default_of(wanted) == default_of(there);
    }
    !matches!(
        (&wanted.default, &there.default),
        (Some(ColumnDefault::Literal(_)), None)
    )
}

fn default_of(column: &Column) -> String {
    match &column.default {
        None => "no default".to_owned(),
        Some(ColumnDefault::Literal(text)) => format!("'{text}'"),
        Some(ColumnDefault::CurrentTimestamp { on_update, .. }) => match on_update {
            true => "CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP".to_owned(),
            false => "CURRENT_TIMESTAMP".to_owned(),
        },
        Some(ColumnDefault::Expression(text)) => plain(text),
    }
}
