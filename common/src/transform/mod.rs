//! Rows on their way from the source's columns to the ones that are written: the job's rules, and
//! the values the target can't hold. What is written is what is digested.
//!
//! One row in, one row or none out; where rows come from and go to isn't known here. No message
//! holds a value of a masked column.

mod change;
pub mod computed;
mod expression;
mod guard;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;

use cel::Value;

use self::change::Change;
pub use self::change::HASH_CHARS;
pub use self::expression::{Expression, no_column};
use self::guard::{Found, Guard};
use crate::change::net::Row;
use crate::code::{Code, Failure};
use crate::fidelity::Loss;
use crate::limits;
use crate::plan::TablePlan;
use crate::schema::{CanonicalType, CellForm, Column};
use crate::value::RowBatch;

/// Characters of a value in a message.
const VALUE_CHARS_SHOWN: usize = 60;

/// The changes to one table's rows, ready to be made.
#[derive(Debug)]
pub struct Transform {
    /// The source's table, for messages.
    table: String,
    /// Columns of the source that are read.
    columns: usize,
    filter: Option<Expression>,
    outputs: Vec<Output>,
    key: Vec<KeyColumn>,
    /// Nothing but guards: a batch in which every value fits goes on as it is, uncopied.
    only_looks: bool,
    left_out: u64,
}

/// One column that is written.
#[derive(Debug)]
struct Output {
    /// The source's name, or the computed column's: what `--accept` takes.
    name: String,
    from: From,
    guards: Vec<Guard>,
    /// The target takes no NULL.
    required: bool,
    /// Its values aren't shown.
    hidden: bool,
}

#[derive(Debug)]
enum From {
    /// The source's column at this place, and what is done to it.
    Source(usize, Option<Change>),
    Computed(Expression, CanonicalType),
}

/// A column by which a row is named in messages.
#[derive(Debug)]
struct KeyColumn {
    name: String,
    place: usize,
}

impl Transform {
    /// None = rows travel as they are read. `salts` holds the salt of each masked column (by the
    /// source's name), read where the rows are.
    pub fn compile(
        table: &TablePlan,
        salts: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Option<Transform>, Failure> {
        // The engine's own text, for the same engine: no guard knows it, and no rule is there.
        if table.form == CellForm::Native {
            return Ok(None);
        }
        let filter = match table.rule.as_ref().and_then(|rule| rule.filter.as_ref()) {
            Some(text) => Some(Expression::compile(text, &table.source).map_err(|what| {
                let what = format!("{}: filter: {what}", table.source.full_name());
                Failure::new(Code::RuleInvalid, what)
            })?),
            None => None,
        };
        let columns = table.source.copied_columns().count();
        let mut outputs = Vec::new();
        let targets: Vec<&Column> = table.target.copied_columns().collect();
        for (no, row) in table.rows().copied_columns().enumerate() {
            let Some(target) = targets.get(no) else {
                let what = format!("the plan writes no column {}", row.name);
                return Err(Failure::new(Code::Internal, what));
            };
            outputs.push(output(table, no, row, target, salts)?);
        }
        let kept = |(no, output): (usize, &Output)| matches!(output.from, From::Source(place, None) if place == no);
        let only_looks =
            filter.is_none() && outputs.len() == columns && outputs.iter().enumerate().all(kept);
        if only_looks && outputs.iter().all(|output| output.guards.is_empty()) {
            return Ok(None);
        }
        Ok(Some(Transform {
            table: table.source.full_name(),
            columns,
            filter,
            key: key_columns(table, &outputs),
            outputs,
            only_looks,
            left_out: 0,
        }))
    }

    /// Rows the filter has left out so far.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The batch as it goes on; may have fewer rows, and none at all.
    pub fn apply(&mut self, batch: RowBatch) -> Result<RowBatch, Failure> {
        if batch.columns() != self.columns {
            let what = format!(
                "{}: {} columns were read, {} are known",
                self.table,
                batch.columns(),
                self.columns
            );
            return Err(Failure::new(Code::Internal, what));
        }
        if self.only_looks && self.all_fit(&batch) {
            return Ok(batch);
        }
        let mut out = RowBatch::new(self.outputs.len());
        let mut row: Vec<Option<&[u8]>> = Vec::with_capacity(self.columns);
        let mut cells = batch.cells();
        for _ in 0..batch.rows() {
            row.clear();
            row.extend(cells.by_ref().take(self.columns));
            if !self.keeps(&row)? {
                self.left_out += 1;
                continue;
            }
            for output in &self.outputs {
                self.write(output, &row, &mut out)?;
            }
        }
        Ok(out)
    }

    /// Some rows may be left out.
    pub fn filters(&self) -> bool {
        self.filter.is_some()
    }

    /// What comes of a row, or whether it goes on at all, depends on more than one cell by itself.
    pub fn looks_at_rows(&self) -> bool {
        let computed = |output: &Output| matches!(output.from, From::Computed(..));
        self.filter.is_some() || self.outputs.iter().any(computed)
    }

    /// One row as it goes on; None = it is left out.
    pub fn one(&mut self, row: &Row) -> Result<Option<Row>, Failure> {
        let row: Vec<Option<&[u8]>> = row.iter().map(Option::as_deref).collect();
        if !self.keeps(&row)? {
            return Ok(None);
        }
        let mut out = RowBatch::new(self.outputs.len());
        for output in &self.outputs {
            self.write(output, &row, &mut out)?;
        }
        Ok(Some(out.cells().map(|cell| cell.map(Box::from)).collect()))
    }

    /// The columns at `places` of a row of which no other cell is known; the others are NULL.
    pub fn key(&self, row: &Row, places: &[usize]) -> Result<Row, Failure> {
        let row: Vec<Option<&[u8]>> = row.iter().map(Option::as_deref).collect();
        let mut out = RowBatch::new(self.outputs.len());
        for (place, output) in self.outputs.iter().enumerate() {
            match places.contains(&place) {
                true => self.write(output, &row, &mut out)?,
                false => out.push_null(),
            }
        }
        Ok(out.cells().map(|cell| cell.map(Box::from)).collect())
    }

    /// The place at which the source's column `place` goes on as it is or changed by itself alone;
    /// None = it doesn't.
    pub fn place_of(&self, place: u32) -> Option<u32> {
        let of =
            |output: &Output| matches!(output.from, From::Source(at, _) if at == place as usize);
        self.outputs.iter().position(of).map(|at| at as u32)
    }

    fn all_fit(&self, batch: &RowBatch) -> bool {
        let guards = self.outputs.iter().map(|output| &output.guards).cycle();
        batch.cells().zip(guards).all(|(cell, guards)| match cell {
            Some(cell) => guards.iter().all(|guard| guard.look(cell) == Found::Fits),
            None => true,
        })
    }

    fn keeps(&self, row: &[Option<&[u8]>]) -> Result<bool, Failure> {
        let Some(filter) = &self.filter else {
            return Ok(true);
        };
        let what = match filter.eval(row) {
            Ok(Value::Bool(keep)) => return Ok(keep),
            Ok(other) => format!("it gives a {}, true or false is needed", other.type_of()),
            Err(what) => what,
        };
        let what = format!("{}: filter: {what}{}", self.table, self.named(row));
        Err(Failure::new(Code::RuleFailed, what))
    }

    /// One cell of the row that goes on.
    fn write(
        &self,
        output: &Output,
        row: &[Option<&[u8]>],
        out: &mut RowBatch,
    ) -> Result<(), Failure> {
        let cell = match &output.from {
            From::Source(place, change) => match (row.get(*place).copied().flatten(), change) {
                (None, _) => None,
                (Some(cell), None) => Some(Cow::Borrowed(cell)),
                (Some(cell), Some(change)) => change.of(cell),
            },
            From::Computed(expression, ty) => {
                let mut text = Vec::new();
                let written = expression
                    .eval(row)
                    .and_then(|value| computed::write(&value, ty, &mut text));
                match written {
                    Ok(true) => Some(Cow::Owned(text)),
                    Ok(false) => None,
                    Err(what) => {
                        let (table, name) = (&self.table, &output.name);
                        let what = format!("{table}.{name}: {what}{}", self.named(row));
                        return Err(Failure::new(Code::RuleFailed, what));
                    }
                }
            }
        };
        let Some(cell) = cell else {
            if output.required && !matches!(output.from, From::Source(_, None)) {
                return Err(self.null(output, row, "the rule gives NULL"));
            }
            out.push_null();
            return Ok(());
        };
        if output.guards.is_empty() {
            return self.push(output, &cell, out);
        }
        match self.guarded(output, cell, row)? {
            Some(cell) => self.push(output, &cell, out),
            None => {
                out.push_null();
                Ok(())
            }
        }
    }

    /// The cell as the target can hold it.
    fn guarded<'a>(
        &self,
        output: &Output,
        mut cell: Cow<'a, [u8]>,
        row: &[Option<&[u8]>],
    ) -> Result<Option<Cow<'a, [u8]>>, Failure> {
        for guard in &output.guards {
            let becomes = match guard.look(&cell) {
                Found::Fits => continue,
                Found::Becomes(becomes) if guard.accepted => becomes.map(Cow::into_owned),
                Found::Becomes(_) => return Err(self.unfit(output, guard, &cell, row, true)),
                Found::Never => return Err(self.unfit(output, guard, &cell, row, false)),
            };
            match becomes {
                Some(changed) => cell = Cow::Owned(changed),
                None if output.required => {
                    let what = format!("{} becomes NULL", self.shown(output, &cell));
                    return Err(self.null(output, row, &what));
                }
                None => return Ok(None),
            }
        }
        Ok(Some(cell))
    }

    fn push(&self, output: &Output, cell: &[u8], out: &mut RowBatch) -> Result<(), Failure> {
        if cell.len() > limits::CELL_BYTES_MAX {
            let (table, name, length) = (&self.table, &output.name, cell.len());
            let what = format!("{table}.{name}: a value of {length} bytes is too long to move");
            return Err(Failure::new(Code::NotRepresentable, what));
        }
        out.push(cell);
        Ok(())
    }

    fn unfit(
        &self,
        output: &Output,
        guard: &Guard,
        cell: &[u8],
        row: &[Option<&[u8]>],
        helps: bool,
    ) -> Failure {
        let (table, name) = (&self.table, &output.name);
        let what = format!(
            "{table}.{name} holds {}{}: {}",
            self.shown(output, cell),
            self.named(row),
            guard.loss.title()
        );
        let failure = Failure::new(Code::NotRepresentable, what);
        match helps && !guard.accepted {
            true => failure.fix(format!(
                "--accept {}:{table}.{name}: such a value {}",
                guard.loss,
                guard.loss.accepted()
            )),
            false => failure,
        }
    }

    fn null(&self, output: &Output, row: &[Option<&[u8]>], what: &str) -> Failure {
        let (table, name) = (&self.table, &output.name);
        let what = format!(
            "{table}.{name}: {what}{}, and the column takes no NULL",
            self.named(row)
        );
        Failure::new(Code::NotRepresentable, what)
    }

    fn shown(&self, output: &Output, cell: &[u8]) -> String {
        match output.hidden {
            true => "a value that is masked".to_owned(),
            false => format!("the value {}", shortened(cell)),
        }
    }

    /// ` in the row where id = 5`, or nothing.
    fn named(&self, row: &[Option<&[u8]>]) -> String {
        let parts = self.key.iter().map(|key| {
            let value = match row.get(key.place).copied().flatten() {
                Some(cell) => shortened(cell),
                None => "NULL".to_owned(),
            };
            format!("{} = {value}", key.name)
        });
        let parts: Vec<String> = parts.collect();
        match parts.is_empty() {
            true => String::new(),
            false => format!(" (row {})", parts.join(", ")),
        }
    }
}

fn output(
    table: &TablePlan,
    no: usize,
    row: &Column,
    target: &Column,
    salts: &BTreeMap<String, Vec<u8>>,
) -> Result<Output, Failure> {
    let rule = table.rule.as_ref();
    let invalid = |name: &str, what: String| {
        let what = format!("{}.{name}: {what}", table.source.full_name());
        Failure::new(Code::RuleInvalid, what)
    };
    let losses = table.columns.get(no).map(|verdict| &verdict.losses);
    let guards = losses.into_iter().flatten();
    let guards = guards.filter_map(|loss| Guard::new(loss.loss, loss.accepted, row, target));
    let mut guards: Vec<Guard> = guards.collect();
    // What becomes text first is measured afterwards.
    guards.sort_by_key(|guard| guard.loss != Loss::InvalidText);
    let required = !target.nullable;
    if let Some(computed) = rule.and_then(|rule| rule.computed(&row.name)) {
        let expression = Expression::compile(&computed.expression, &table.source)
            .map_err(|what| invalid(&row.name, what))?;
        let masked = |place| {
            let column = table.source.copied_columns().nth(place);
            let of = |column: &Column| rule?.of(&column.name)?.mask.as_ref();
            column.and_then(of).is_some()
        };
        let hidden = expression.uses().any(masked);
        return Ok(Output {
            hidden,
            name: row.name.clone(),
            from: From::Computed(expression, row.canonical.clone()),
            guards,
            required,
        });
    }
    let column = rule.and_then(|rule| rule.behind(&row.name));
    let name = column.map_or(&row.name, |rule| &rule.column);
    let mut columns = table.source.copied_columns().enumerate();
    let Some((place, source)) = columns.find(|(_, column)| column.name == *name) else {
        return Err(invalid(name, "the source has no such column".to_owned()));
    };
    let change = match column {
        Some(rule) => {
            let salt = salts.get(name).map(Vec::as_slice);
            Change::new(rule, &source.canonical, salt).map_err(|what| invalid(name, what))?
        }
        None => None,
    };
    Ok(Output {
        name: name.clone(),
        hidden: change.as_ref().is_some_and(Change::hides),
        from: From::Source(place, change),
        guards,
        required,
    })
}

/// The primary key, without columns that are masked or left out.
fn key_columns(table: &TablePlan, outputs: &[Output]) -> Vec<KeyColumn> {
    let shown = |name: &str| outputs.iter().any(|o| !o.hidden && o.name == name);
    let columns = table.source.copied_columns().enumerate();
    columns
        .filter(|(_, column)| table.source.primary_key.contains(&column.name))
        .filter(|(_, column)| shown(&column.name))
        .map(|(place, column)| KeyColumn {
            name: column.name.clone(),
            place,
        })
        .collect()
}

/// A value for a message: quoted, and not too long.
fn shortened(cell: &[u8]) -> String {
    let head = &cell[..cell.len().min(VALUE_CHARS_SHOWN * 4)];
    let text = String::from_utf8_lossy(head);
    let short: String = text.chars().take(VALUE_CHARS_SHOWN).collect();
    match short.len() < text.len() || head.len() < cell.len() {
        true => format!("{:?}…", short),
        false => format!("{short:?}"),
    }
}
