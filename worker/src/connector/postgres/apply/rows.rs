//! Which rows of a table changes are about, and cells as SQL: a row is found by its key, or by all
//! its cells where it has none.

use common::code::Code;
use common::plan::TablePlan;
use common::schema::Column;

use crate::connector::postgres::copytext::{Field, unescape};
use crate::connector::postgres::quote::{ident, text};
use crate::connector::postgres::types::Shape;
use crate::connector::{Error, Result};

/// Characters of a value that an error shows.
const SHOWN_CHARS: usize = 60;

/// A text literal of any bytes: what isn't UTF-8 is for the server to take or refuse.
fn quoted(bytes: &[u8]) -> String {
    if let Ok(utf8) = std::str::from_utf8(bytes) {
        return text(utf8);
    }
    let mut literal = " E'".to_owned();
    for byte in bytes {
        literal.push_str(&format!("\\x{byte:02x}"));
    }
    literal.push('\'');
    literal
}

/// A cell as a literal without a type.
pub fn literal(table: &str, field: &Field, cell: Option<&[u8]>) -> Result<String> {
    let Some(cell) = cell else {
        return Ok("NULL".to_owned());
    };
    let refuse = |why: &str| {
        let what = format!("{table}.{}: {why}", field.name);
        Error::permanent(Code::NotRepresentable, what)
    };
    Ok(match field.shape {
        Shape::Escaped => {
            let mut bytes = Vec::with_capacity(cell.len());
            unescape(cell, &mut bytes);
            quoted(&bytes)
        }
        Shape::Text if cell.contains(&0) => return Err(refuse("text with a NUL byte")),
        Shape::Text => quoted(cell),
        Shape::Hex => {
            let digits: String = cell.iter().map(|byte| format!("{byte:02x}")).collect();
            format!(" E'\\\\x{digits}'")
        }
        Shape::Bits(width) => {
            let number = std::str::from_utf8(cell).ok();
            let number: Option<u64> = number.and_then(|number| number.parse().ok());
            let number = number.ok_or_else(|| refuse("it is no number of bits"))?;
            format!("'{number:0width$b}'")
        }
    })
}

/// A column by which rows are found.
struct Part {
    field: Field,
    r#type: String,
}

/// The columns that say which row it is.
pub struct Rows {
    table: String,
    parts: Vec<Part>,
    /// False: all copied columns, since no key does.
    pub keyed: bool,
    /// Where they are among the copied columns.
    pub places: Vec<usize>,
}

impl Rows {
    /// By the table's change key, or all its copied columns.
    pub fn of(plan: &TablePlan, fields: &[Field]) -> Rows {
        let key = plan.change_key();
        let rows: Vec<&Column> = plan.rows().copied_columns().collect();
        let columns: Vec<&Column> = plan.target.copied_columns().collect();
        let place = |name: &String| rows.iter().position(|column| column.name == *name);
        let places: Vec<usize> = match key.is_empty() {
            true => (0..columns.len()).collect(),
            false => key.iter().filter_map(place).collect(),
        };
        let part = |at: &usize| {
            Some(Part {
                field: fields.get(*at)?.clone(),
                r#type: columns.get(*at)?.native_type.clone(),
            })
        };
        Rows {
            table: plan.target.full_name(),
            parts: places.iter().filter_map(part).collect(),
            keyed: !key.is_empty(),
            places,
        }
    }

    pub fn width(&self) -> usize {
        self.parts.len()
    }

    fn cast(&self, part: &Part, cell: Option<&[u8]>) -> Result<String> {
        let literal = literal(&self.table, &part.field, cell)?;
        Ok(format!("CAST({literal} AS {})", part.r#type))
    }

    /// `(VALUES …) AS v (k0, …)`, typed as the table's columns.
    pub fn values(&self, keys: &[&[Option<&[u8]>]]) -> Result<String> {
        let mut sql = "(VALUES ".to_owned();
        for (no, key) in keys.iter().enumerate() {
            sql.push_str(if no > 0 { ", (" } else { "(" });
            for (at, (part, cell)) in self.parts.iter().zip(*key).enumerate() {
                sql.push_str(if at > 0 { ", " } else { "" });
                // The first row's types are those of all.
                sql.push_str(&match no {
                    0 => self.cast(part, *cell)?,
                    _ => literal(&self.table, &part.field, *cell)?,
                });
            }
            sql.push(')');
        }
        let names: Vec<String> = (0..self.parts.len()).map(|at| format!("k{at}")).collect();
        sql.push_str(&format!(") AS v ({})", names.join(", ")));
        Ok(sql)
    }

    /// The rows of `t` that [`Rows::values`] names.
    pub fn joined(&self) -> String {
        let parts = self.parts.iter().enumerate();
        let parts = parts.map(|(at, part)| format!("t.{} = v.k{at}", ident(&part.field.name)));
        parts.collect::<Vec<_>>().join(" AND ")
    }

    /// The condition that this key is the row's.
    pub fn equal(&self, key: &[Option<&[u8]>]) -> Result<String> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for (part, cell) in self.parts.iter().zip(key) {
            let value = self.cast(part, *cell)?;
            parts.push(format!("t.{} = {value}", ident(&part.field.name)));
        }
        Ok(parts.join(" AND "))
    }

    /// The condition that the row holds exactly these cells: every type has a text that tells all
    /// its values apart (json has no other equality, a float's -0 equals 0).
    pub fn same(&self, cells: &[Option<&[u8]>]) -> Result<String> {
        let mut parts = vec!["true".to_owned()];
        for (part, cell) in self.parts.iter().zip(cells) {
            let name = ident(&part.field.name);
            parts.push(match cell {
                None => format!("t.{name} IS NULL"),
                Some(_) => format!(
                    "t.{name}::text COLLATE \"C\" = {}::text COLLATE \"C\"",
                    self.cast(part, *cell)?
                ),
            });
        }
        Ok(parts.join(" AND "))
    }

    /// A row as an error names it.
    pub fn shown(&self, cells: &[Option<&[u8]>]) -> String {
        let each = self.parts.iter().zip(cells);
        let each = each.map(|(part, cell)| format!("{} = {}", part.field.name, shown(*cell)));
        each.take(8).collect::<Vec<_>>().join(", ")
    }
}

fn shown(cell: Option<&[u8]>) -> String {
    let Some(cell) = cell else {
        return "NULL".to_owned();
    };
    let text = String::from_utf8_lossy(cell);
    match text.chars().count() <= SHOWN_CHARS {
        true => format!("{text:?}"),
        false => format!("{:?}…", text.chars().take(SHOWN_CHARS).collect::<String>()),
    }
}
