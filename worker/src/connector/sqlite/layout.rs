//! A row of a SELECT as cells of a batch. Native cells keep each value's storage class; canonical
//! ones are the text of the *source's* type, on both ends of a job. A value that isn't of that type
//! stops the reading and is named with its row, unless the user has accepted what SQLite's own
//! conversion makes of it.

use common::code::Code;
use common::fidelity::{Loss, PossibleLoss};
use common::schema::{CanonicalType, CellForm};
use common::value::RowBatch;
use sqlx::sqlite::SqliteRow;

use super::cells::{Stored, cast, excerpt, write_any, write_canonical};
use super::sample::rowid_name;
use super::session::quote;
use super::shapes::within;
use super::types::Affinity;
use crate::connector::{Error, ReadRequest, Result};

/// See the module.
pub struct Layout {
    table: String,
    form: CellForm,
    columns: Vec<ReadColumn>,
    /// Where the first of them is in the SELECT list.
    base: usize,
    /// What a row is named by in an error: names, and places in the SELECT list.
    key: Vec<(String, usize)>,
    /// The file keeps text in UTF-16.
    wide_text: bool,
}

struct ReadColumn {
    name: String,
    native_type: String,
    canonical: CanonicalType,
    affinity: Affinity,
    /// The type's bounds hold, because nobody after this looks at them.
    bounded: bool,
    /// Where the SELECT has what SQLite's conversion makes of the value.
    converted: Option<usize>,
    /// Invalid UTF-8 becomes U+FFFD.
    mended: bool,
}

impl Layout {
    /// The layout of a request's rows, and its SELECT list.
    pub fn new(request: &ReadRequest, wide_text: bool) -> Result<(Layout, Vec<String>)> {
        Layout::aliased(request, wide_text, "s", 0)
    }

    /// Of rows that are called `alias` in a SELECT that has `base` other columns before theirs.
    pub fn aliased(
        request: &ReadRequest,
        wide_text: bool,
        alias: &str,
        base: usize,
    ) -> Result<(Layout, Vec<String>)> {
        let table = &request.table;
        let own: Vec<_> = table.copied_columns().collect();
        let types: Vec<_> = request.canonical.copied_columns().collect();
        if own.len() != types.len() || own.is_empty() {
            let what = format!(
                "{}: {} columns to read as {} types",
                table.name,
                own.len(),
                types.len()
            );
            return Err(Error::permanent(Code::Internal, what));
        }
        let quoted = |name: &str| format!("{alias}.{}", quote(name));
        let mut list: Vec<String> = own.iter().map(|column| quoted(&column.name)).collect();
        let mut columns = Vec::with_capacity(own.len());
        for (place, (column, ty)) in own.iter().zip(types).enumerate() {
            let losses = request.losses.get(place);
            let converted = cast(&ty.canonical, &quoted(&column.name))
                .filter(|_| losses.is_some_and(|losses| is_accepted(losses, Loss::StorageClass)));
            let converted = converted.map(|expression| {
                list.push(expression);
                base + list.len() - 1
            });
            columns.push(ReadColumn {
                name: column.name.clone(),
                native_type: column.native_type.clone(),
                affinity: Affinity::of(&column.native_type),
                bounded: losses.is_some_and(|losses| is_bounded(&ty.canonical, losses)),
                mended: losses.is_some_and(|losses| is_accepted(losses, Loss::InvalidText)),
                canonical: ty.canonical.clone(),
                converted,
            });
        }
        let mut key = Vec::new();
        for name in &table.primary_key {
            let place = own.iter().position(|column| column.name == *name);
            key.extend(place.map(|place| (name.clone(), base + place)));
        }
        if key.is_empty()
            && request.form == CellForm::Canonical
            && let Some(rowid) = rowid_name(table)
        {
            list.push(quoted(&rowid));
            key.push((rowid, base + list.len() - 1));
        }
        let layout = Layout {
            table: table.name.clone(),
            form: request.form,
            columns,
            base,
            key,
            wide_text,
        };
        Ok((layout, list))
    }

    /// Cells of a row.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Appends a row.
    pub fn append(&self, row: &SqliteRow, batch: &mut RowBatch) -> Result<()> {
        for (place, column) in self.columns.iter().enumerate() {
            let appended = match self.form {
                CellForm::Native => self.native(row, self.base + place, batch),
                CellForm::Canonical => self.canonical(row, self.base + place, column, batch),
            };
            appended.map_err(|stray| self.refuse(row, column, stray))?;
        }
        Ok(())
    }

    fn stored<'r>(&self, row: &'r SqliteRow, place: usize) -> Kept<Stored<'r>> {
        let stored = Stored::of(row, place).map_err(Stray::Odd)?;
        match stored {
            Stored::Text(text) if self.wide_text && is_doubtful(text) => {
                Err(Stray::Odd("holds U+FFFD in a UTF-16 file".to_owned()))
            }
            stored => Ok(stored),
        }
    }

    fn native(&self, row: &SqliteRow, place: usize, batch: &mut RowBatch) -> Kept<()> {
        match self.stored(row, place)? {
            Stored::Null => batch.push_null(),
            stored => batch.push_with(|out| write_any(stored, out)),
        }
        Ok(())
    }

    fn canonical(
        &self,
        row: &SqliteRow,
        place: usize,
        column: &ReadColumn,
        batch: &mut RowBatch,
    ) -> Kept<()> {
        let stored = self.stored(row, place)?;
        let Some(other) = column.converted.filter(|_| column.check(stored).is_err()) else {
            return column.push(stored, batch);
        };
        let converted = self.stored(row, other)?;
        column.push(converted, batch).map_err(|again| {
            let told = |why: String| {
                let (class, shown) = (stored.class(), excerpt(stored));
                format!("holds {class}{shown}, of which SQLite's own conversion {why}")
            };
            match again {
                // Another loss, which may be accepted too.
                Stray::Text(why) => Stray::Text(told(why)),
                Stray::Class(why) | Stray::Odd(why) => Stray::Odd(told(why)),
            }
        })
    }

    fn refuse(&self, row: &SqliteRow, column: &ReadColumn, stray: Stray) -> Error {
        let name = format!("{}.{}", self.table, column.name);
        let declared = match column.native_type.as_str() {
            "" => "it has no declared type",
            declared => declared,
        };
        let (why, loss) = match stray {
            Stray::Class(why) => (why, Some(Loss::StorageClass)),
            Stray::Text(why) => (why, Some(Loss::InvalidText)),
            Stray::Odd(why) => (why, None),
        };
        let what = format!(
            "{name} {why}{}: not a value of its type ({declared})",
            self.row(row)
        );
        let mut error = Error::permanent(Code::NotRepresentable, what);
        if let Some(loss) = loss {
            error.failure = error.failure.fix(format!(
                "--accept '{loss}:{name}': such a value {}",
                loss.accepted()
            ));
        }
        error
    }

    /// ` in the row id = 5`.
    fn row(&self, row: &SqliteRow) -> String {
        let keys: Vec<String> = self
            .key
            .iter()
            .map(|(name, place)| match Stored::of(row, *place) {
                Ok(Stored::Null) => format!("{name} = NULL"),
                Ok(stored) => {
                    let text = excerpt(stored);
                    format!("{name} = {}", text.trim_matches([' ', '(', ')']))
                }
                Err(_) => format!("{name} = ?"),
            })
            .collect();
        match keys.is_empty() {
            true => String::new(),
            false => format!(" in the row {}", keys.join(", ")),
        }
    }
}

/// A value that isn't of its column's type, with the reason.
enum Stray {
    /// [`Loss::StorageClass`] may be accepted for it.
    Class(String),
    /// [`Loss::InvalidText`] may.
    Text(String),
    /// Nothing may.
    Odd(String),
}

type Kept<T> = std::result::Result<T, Stray>;

impl ReadColumn {
    /// Whether a value has a canonical cell.
    fn check(&self, stored: Stored<'_>) -> Kept<()> {
        let mut scratch = RowBatch::new(1);
        self.push(stored, &mut scratch)
    }

    /// Appends a canonical cell. After an error the batch is of no use.
    fn push(&self, stored: Stored<'_>, batch: &mut RowBatch) -> Kept<()> {
        let mended;
        let stored = match stored {
            Stored::Null => {
                batch.push_null();
                return Ok(());
            }
            Stored::Text(text) if self.is_text() && std::str::from_utf8(text).is_err() => {
                if !self.mended {
                    let why = format!("holds text that is not valid UTF-8{}", excerpt(stored));
                    return Err(Stray::Text(why));
                }
                mended = String::from_utf8_lossy(text).into_owned();
                Stored::Text(mended.as_bytes())
            }
            stored => stored,
        };
        let mut written = Ok(());
        batch.push_with(|out| {
            let start = out.len();
            written = write_canonical(&self.canonical, self.affinity, stored, out);
            if written.is_ok() && self.bounded {
                written = within(&self.canonical, &out[start..]);
            }
        });
        written.map_err(Stray::Class)
    }

    fn is_text(&self) -> bool {
        matches!(self.canonical, CanonicalType::Text { .. })
    }
}

fn is_accepted(losses: &[PossibleLoss], loss: Loss) -> bool {
    losses
        .iter()
        .any(|found| found.loss == loss && found.accepted)
}

/// Whether the reader must see to the type's bounds: SQLite doesn't, and a target may round or cut
/// without a word. Not where the plan has somebody else look, nor for integers, which no target
/// changes.
fn is_bounded(canonical: &CanonicalType, losses: &[PossibleLoss]) -> bool {
    let looked_at = |found: &PossibleLoss| {
        matches!(
            found.loss,
            Loss::NumberRange | Loss::TextLength | Loss::TypeCast
        )
    };
    !matches!(canonical, CanonicalType::Int { .. }) && !losses.iter().any(looked_at)
}

/// SQLite turns a lone surrogate of a UTF-16 file into U+FFFD when it is asked for UTF-8: such a
/// character may stand for another one, so it isn't copied.
fn is_doubtful(text: &[u8]) -> bool {
    text.windows(3).any(|bytes| bytes == b"\xef\xbf\xbd")
}
