//! Which rows of a table changes are about: conditions that hit a row by its key, or by all its
//! cells where it has none. Cells are written so that the server compares values of the column's
//! own type and collation: it then finds them by an index, and exactly those.

use common::plan::TablePlan;
use common::schema::{CellForm, Column};

use crate::connector::mysql::load::shown;
use crate::connector::mysql::quote::{hex, ident, plain, text, with_charset};
use crate::connector::mysql::types::{Kind, kind, select};

/// A column by which rows are found.
struct Field {
    name: String,
    kind: Kind,
    /// The character set of a text column's cells.
    charset: String,
    /// FLOAT: a value is compared as the double it widens to.
    single: bool,
    is_year: bool,
    is_date: bool,
    is_time: bool,
    /// ENUM and SET by number.
    numbered: bool,
    /// Its value as it travels.
    selected: String,
}

/// The columns that say which row it is.
pub struct Rows {
    fields: Vec<Field>,
    /// False: all copied columns, since no key does.
    pub keyed: bool,
}

fn field(column: &Column, form: CellForm) -> Field {
    let lower = column.native_type.trim().to_ascii_lowercase();
    let native = column.charset.clone().filter(|_| form == CellForm::Native);
    Field {
        name: column.name.clone(),
        kind: kind(&column.native_type),
        charset: native.unwrap_or_else(|| "utf8mb4".to_owned()),
        single: lower.starts_with("float"),
        is_year: lower.starts_with("year"),
        is_date: lower == "date",
        is_time: lower.starts_with("time") && !lower.starts_with("timestamp"),
        numbered: form == CellForm::Native,
        selected: select(column, CellForm::Native),
    }
}

impl Rows {
    /// By the table's change key, or all its copied columns.
    pub fn of(plan: &TablePlan) -> Rows {
        let key = plan.change_key();
        let rows: Vec<&Column> = plan.rows().copied_columns().collect();
        let columns: Vec<&Column> = plan.target.copied_columns().collect();
        let place = |name: &String| rows.iter().position(|column| column.name == *name);
        let places: Vec<usize> = match key.is_empty() {
            true => (0..columns.len()).collect(),
            false => key.iter().filter_map(place).collect(),
        };
        let found = places.into_iter().filter_map(|at| columns.get(at));
        Rows {
            fields: found.map(|column| field(column, plan.form)).collect(),
            keyed: !key.is_empty(),
        }
    }

    pub fn width(&self) -> usize {
        self.fields.len()
    }

    /// The condition that one of these keys is the row's.
    pub fn any_of(&self, keys: &[&[Option<&[u8]>]], mariadb: bool) -> String {
        if let [field] = self.fields.as_slice() {
            let mut list = format!("{} IN (", ident(&field.name));
            for (at, key) in keys.iter().enumerate() {
                list.push_str(if at > 0 { ", " } else { "" });
                value(key.first().copied().flatten(), field, &mut list);
            }
            list.push(')');
            return list;
        }
        let names: Vec<String> = self.fields.iter().map(|f| ident(&f.name)).collect();
        let each: Vec<String> = keys
            .iter()
            .map(|key| match mariadb {
                // It looks up rows by an index for these only.
                true => format!("({})", self.equal(key)),
                false => self.tuple(key),
            })
            .collect();
        match mariadb {
            true => each.join(" OR "),
            false => format!("({}) IN ({})", names.join(", "), each.join(", ")),
        }
    }

    fn tuple(&self, key: &[Option<&[u8]>]) -> String {
        let mut tuple = "(".to_owned();
        for (at, (field, cell)) in self.fields.iter().zip(key).enumerate() {
            tuple.push_str(if at > 0 { ", " } else { "" });
            value(*cell, field, &mut tuple);
        }
        tuple.push(')');
        tuple
    }

    /// The condition that this key is the row's.
    pub fn equal(&self, key: &[Option<&[u8]>]) -> String {
        let mut parts = Vec::with_capacity(key.len());
        for (field, cell) in self.fields.iter().zip(key) {
            let mut part = format!("{} = ", ident(&field.name));
            value(*cell, field, &mut part);
            parts.push(part);
        }
        parts.join(" AND ")
    }

    /// The condition that the row holds exactly these cells.
    pub fn same(&self, cells: &[Option<&[u8]>], mariadb: bool) -> String {
        let parts: Vec<String> = self
            .fields
            .iter()
            .zip(cells)
            .map(|(field, cell)| match cell {
                None => format!("{} IS NULL", ident(&field.name)),
                Some(cell) => exactly(field, cell, mariadb),
            })
            .collect();
        match parts.is_empty() {
            true => "TRUE".to_owned(),
            false => parts.join(" AND "),
        }
    }

    /// A row as an error names it.
    pub fn shown(&self, cells: &[Option<&[u8]>]) -> String {
        let each = self.fields.iter().zip(cells);
        let each = each.map(|(field, cell)| format!("{} = {}", field.name, shown(*cell)));
        each.take(8).collect::<Vec<_>>().join(", ")
    }
}

/// A whole number that needs no quotes.
fn is_integer(cell: &[u8]) -> bool {
    let digits = cell.strip_prefix(b"-").unwrap_or(cell);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// Digits with at most one point.
fn is_decimal(cell: &[u8]) -> bool {
    let digits = cell.strip_prefix(b"-").unwrap_or(cell);
    let points = digits.iter().filter(|byte| **byte == b'.').count();
    let all = digits.iter().all(|b| b.is_ascii_digit() || *b == b'.');
    all && points <= 1 && digits.first().is_some_and(u8::is_ascii_digit)
}

fn float(cell: &[u8], single: bool) -> Option<f64> {
    let number: f64 = std::str::from_utf8(cell).ok()?.parse().ok()?;
    let number = match single {
        true => f64::from(number as f32),
        false => number,
    };
    number.is_finite().then_some(number)
}

/// Appends a cell as a value that is compared as the column's type is.
fn value(cell: Option<&[u8]>, field: &Field, sql: &mut String) {
    let Some(cell) = cell else {
        sql.push_str("NULL");
        return;
    };
    let bare = |cell: &[u8]| String::from_utf8_lossy(cell).into_owned();
    let numbered = field.kind == Kind::Member && field.numbered;
    let written = match field.kind {
        Kind::Integer | Kind::Bit if is_integer(cell) => bare(cell),
        Kind::Member if numbered && is_integer(cell) => bare(cell),
        Kind::Number if is_decimal(cell) => bare(cell),
        Kind::Float => match float(cell, field.single) {
            Some(number) => format!("{number:e}"),
            None => plain(cell),
        },
        Kind::Moment if field.is_year => plain(cell),
        Kind::Moment if field.is_date => format!("CAST({} AS DATE)", plain(cell)),
        Kind::Moment if field.is_time => format!("CAST({} AS TIME(6))", plain(cell)),
        Kind::Moment => format!("CAST({} AS DATETIME(6))", plain(cell)),
        Kind::Text => with_charset(cell, &field.charset),
        Kind::Member => with_charset(cell, "utf8mb4"),
        Kind::Binary => {
            sql.push_str("_binary X'");
            hex(cell, sql);
            "'".to_owned()
        }
        Kind::Integer | Kind::Bit | Kind::Number | Kind::Address => plain(cell),
        Kind::Json => text(&String::from_utf8_lossy(cell)),
    };
    sql.push_str(&written);
}

/// The condition that a column holds exactly this cell, to the last bit and blank.
fn exactly(field: &Field, cell: &[u8], mariadb: bool) -> String {
    let name = ident(&field.name);
    let mut literal = String::new();
    match field.kind {
        Kind::Text => {
            value(Some(cell), field, &mut literal);
            let bytes = match field.charset.as_str() {
                "utf8mb4" => format!("CAST(CONVERT({name} USING utf8mb4) AS BINARY)"),
                _ => format!("CAST({name} AS BINARY)"),
            };
            let exact = with_charset(cell, "binary");
            format!("{name} = {literal} AND {bytes} = {exact}")
        }
        Kind::Member if !field.numbered => {
            let exact = with_charset(cell, "binary");
            format!("CAST(CONVERT({name} USING utf8mb4) AS BINARY) = {exact}")
        }
        Kind::Member => {
            value(Some(cell), field, &mut literal);
            format!("{} = {literal}", field.selected)
        }
        Kind::Json => {
            let exact = with_charset(cell, "utf8mb4");
            format!(
                "CAST({name} AS CHAR CHARACTER SET binary) = \
                 CAST(CAST({exact} AS JSON) AS CHAR CHARACTER SET binary)"
            )
        }
        Kind::Float => {
            value(Some(cell), field, &mut literal);
            // MariaDB stores no -0.
            let zero = !mariadb && float(cell, field.single) == Some(0.0);
            let negative = u8::from(cell.starts_with(b"-"));
            match zero {
                true => format!("{name} = 0 AND (CONCAT({name} * 1e0) LIKE '-%') = {negative}"),
                false => format!("{name} = {literal}"),
            }
        }
        Kind::Binary => {
            hex(cell, &mut literal);
            format!("HEX({name}) = '{literal}'")
        }
        _ => {
            value(Some(cell), field, &mut literal);
            format!("{name} = {literal}")
        }
    }
}
