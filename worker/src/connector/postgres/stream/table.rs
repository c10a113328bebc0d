//! A relation of the log as a table of the plan: which of its columns are copied, how their cells
//! are rendered, and whether it still is what the plan says.

use common::code::Code;
use common::id::TableNo;
use common::plan::TablePlan;
use common::schema::Column;
use common::value::RowBatch;

use super::cell::{self, Render};
use super::message::{Place, Relation};
use crate::connector::{Error, Result};

/// What the server says about a column's type at this place of the log.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct TypeFacts {
    /// As DDL spells it.
    pub r#type: Option<String>,
    /// Its type without domains, if that is PostgreSQL's own.
    pub base: Option<String>,
}

/// See the module.
#[derive(Debug)]
pub struct Table {
    pub no: TableNo,
    /// For messages: the plan's table.
    pub name: String,
    fields: Vec<Field>,
    /// The log can't say which of two equal rows: the change key isn't whole in old rows of which
    /// the log has the key only.
    key_is_whole: bool,
    /// A partition whose root is the plan's table.
    pub is_part: bool,
}

#[derive(Debug)]
struct Field {
    name: String,
    /// Which of the relation's columns it is.
    from: usize,
    render: Render,
    is_identity: bool,
}

/// What a relation that isn't as planned is now.
#[derive(Debug)]
pub enum Mismatch {
    /// Its columns, as people write them.
    Drift(String),
    Refused(Error),
}

impl Table {
    /// Compares and prepares. `types` is one for each of the relation's columns.
    pub fn new(
        no: TableNo,
        plan: &TablePlan,
        relation: &Relation,
        types: &[TypeFacts],
        is_part: bool,
        money_digits: u8,
    ) -> std::result::Result<Table, Mismatch> {
        let planned: Vec<&Column> = plan.source.copied_columns().collect();
        let native = |at: usize| types.get(at).and_then(|facts| facts.r#type.as_deref());
        let place = |column: &&Column| {
            let mut names = relation.columns.iter();
            names.position(|found| found.name == column.name)
        };
        let as_planned = relation.columns.len() == planned.len()
            && planned.iter().enumerate().all(|(at, column)| {
                let found = place(column);
                // A partition's columns may be in another order than its root's.
                let in_order = is_part || found == Some(at);
                in_order && found.is_some_and(|at| native(at) == Some(&column.native_type))
            });
        if !as_planned {
            let columns = relation.columns.iter().enumerate();
            let columns: Vec<String> = columns
                .map(|(at, column)| format!("{} {}", column.name, native(at).unwrap_or("?")))
                .collect();
            let now = format!("columns are now {}", columns.join(", "));
            return Err(Mismatch::Drift(now));
        }
        let name = plan.source.full_name();
        let mut fields = Vec::with_capacity(planned.len());
        for column in planned {
            let Some(from) = place(&column) else { continue };
            let base = types.get(from).and_then(|facts| facts.base.as_deref());
            let canonical = &column.canonical;
            let render = cell::render(column, canonical, plan.form, base, money_digits);
            let render = render.map_err(|reason| {
                let what = format!("{name}.{}: {reason} can't be followed", column.name);
                Mismatch::Refused(Error::permanent(Code::LogUnusable, what))
            })?;
            fields.push(Field {
                name: column.name.clone(),
                from,
                render,
                is_identity: relation.columns.get(from).is_some_and(|c| c.is_identity),
            });
        }
        let key = source_key(plan);
        let in_old = |name: &String| fields.iter().any(|f| f.is_identity && f.name == *name);
        Ok(Table {
            no,
            name,
            key_is_whole: !key.is_empty() && key.iter().all(in_old),
            fields,
            is_part,
        })
    }

    pub fn columns(&self) -> usize {
        self.fields.len()
    }

    /// An old row of which the log has the key only says which row it was.
    pub fn check_key(&self) -> Result<()> {
        if self.key_is_whole {
            return Ok(());
        }
        let what = format!(
            "the log doesn't say which row of {} was changed: its replica identity doesn't hold \
             the key",
            self.name
        );
        let mut error = Error::permanent(Code::LogUnusable, what);
        let fix = format!("ALTER TABLE {} REPLICA IDENTITY FULL", self.name);
        error.failure.fixes.push(fix);
        Err(error)
    }

    /// Appends a whole row. What the log doesn't have of it is taken from `old`, else listed in
    /// `unchanged` as cells of row `row`.
    pub fn push_row(
        &self,
        rows: &mut RowBatch,
        new: Tuple<'_>,
        old: Option<(Tuple<'_>, bool)>,
        row: u32,
        unchanged: &mut Vec<(u32, u32)>,
    ) -> Result<()> {
        if self.fields.is_empty() {
            rows.push_bare_row();
        }
        for (at, field) in (0u32..).zip(&self.fields) {
            match new.cell(field.from) {
                Some(Place::Null) => rows.push_null(),
                Some(Place::Text { start, end }) => {
                    self.push(field, &new.data[start..end], rows)?
                }
                Some(Place::Unchanged) => {
                    let before = old.filter(|(_, is_key)| !is_key || field.is_identity);
                    let before = before.and_then(|(old, _)| Some((old, old.cell(field.from)?)));
                    match before {
                        Some((old, Place::Text { start, end })) => {
                            self.push(field, &old.data[start..end], rows)?;
                        }
                        _ => {
                            rows.push_null();
                            unchanged.push((row, at));
                        }
                    }
                }
                None => return Err(self.short()),
            }
        }
        Ok(())
    }

    /// Appends the key's cells of a row, NULL for all others.
    pub fn push_key(&self, rows: &mut RowBatch, row: Tuple<'_>) -> Result<()> {
        for field in &self.fields {
            match row.cell(field.from) {
                Some(Place::Text { start, end }) if field.is_identity => {
                    self.push(field, &row.data[start..end], rows)?;
                }
                Some(Place::Unchanged) if field.is_identity => {
                    let what = format!(
                        "the log doesn't hold the key {} of a changed row of {}",
                        field.name, self.name
                    );
                    return Err(Error::permanent(Code::LogUnusable, what));
                }
                Some(_) => rows.push_null(),
                None => return Err(self.short()),
            }
        }
        Ok(())
    }

    fn push(&self, field: &Field, text: &[u8], rows: &mut RowBatch) -> Result<()> {
        cell::push(&self.name, &field.name, field.render, text, rows)
    }

    fn short(&self) -> Error {
        let what = format!("a row of {} in the log has too few cells", self.name);
        Error::permanent(Code::Internal, what)
    }
}

/// A tuple of a message.
#[derive(Clone, Copy, Debug)]
pub struct Tuple<'a> {
    pub data: &'a [u8],
    pub places: &'a [Place],
}

impl Tuple<'_> {
    fn cell(&self, at: usize) -> Option<Place> {
        self.places.get(at).copied()
    }
}

/// The change key by the source's names.
pub fn source_key(plan: &TablePlan) -> Vec<String> {
    let behind = |name: String| {
        let rule = plan.rule.as_ref().and_then(|rule| rule.behind(&name));
        rule.map_or(name, |rule| rule.column.clone())
    };
    plan.change_key().into_iter().map(behind).collect()
}

/// Which table of the plan a relation is.
pub fn by_name(tables: &[TablePlan], default_schema: &str, relation: &Relation) -> Option<usize> {
    tables.iter().position(|plan| {
        let schema = plan.source.schema.as_deref().unwrap_or(default_schema);
        plan.source.name == relation.name && schema == relation.schema
    })
}
