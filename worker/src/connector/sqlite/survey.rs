//! What the columns of a source really hold, for a copy in canonical form. A declared type is a
//! wish in SQLite: a date may be a text, a Julian day or seconds since 1970, and a VARCHAR(3) may
//! hold a book. So the values are looked at, all of a small table and some of a large one, and the
//! canonical type is the declared one where they are of it, else one that holds them as they are.
//! What that look has missed is found by the reader, which stops; nothing is guessed.

use common::schema::{CanonicalType, TableSchema};
use futures::StreamExt;
use sqlx::sqlite::SqliteRow;

use super::cells::{Stored, write_canonical};
use super::sample::rowid_name;
use super::session::{Session, args, quote};
use super::shapes::within;
use super::types::{Affinity, canonical_type};
use crate::connector::Result;

/// Tables of up to this many rows are looked at whole.
const ROWS_WHOLE: u64 = 20_000;
/// Of a larger one: this many rows at either end of the key,
const ROWS_AT_AN_END: u64 = 2_000;
/// and this many at each of some places in between.
const ROWS_AT_A_PLACE: u64 = 50;
const PLACES: u32 = 32;
/// Bytes of one scan, so that a table of large values isn't read for its types alone.
const BYTES_MAX: usize = 8 << 20;

/// Sets the canonical types of `table`'s columns by their values. Returns what there is to say.
pub async fn survey(session: &mut Session, table: &mut TableSchema) -> Result<Vec<String>> {
    let mut found: Vec<Found> = table
        .columns
        .iter()
        .map(|column| Found::new(&column.native_type))
        .collect();
    for scan in scans(session, table).await? {
        look(session, &scan, &mut found).await?;
    }
    let mut notes = Vec::new();
    for (column, found) in table.columns.iter_mut().zip(found) {
        let (canonical, said) = found.decide();
        column.canonical = canonical;
        if let Some(said) = said {
            notes.push(format!("{}.{} {said}", table.name, column.name));
        }
    }
    Ok(notes)
}

/// The statements that show enough of a table.
async fn scans(session: &mut Session, table: &TableSchema) -> Result<Vec<String>> {
    let columns: Vec<String> = table
        .columns
        .iter()
        .map(|column| format!("s.{}", quote(&column.name)))
        .collect();
    let all = format!(
        "SELECT {} FROM {} AS s",
        columns.join(", "),
        quote(&table.name)
    );
    if table.rows_estimate <= ROWS_WHOLE {
        return Ok(vec![all]);
    }
    let Some(rowid) = rowid_name(table) else {
        let order = |direction: &str| {
            let key = table.primary_key.iter();
            let key: Vec<String> = key
                .map(|name| format!("s.{}{direction}", quote(name)))
                .collect();
            format!("{all} ORDER BY {} LIMIT {ROWS_AT_AN_END}", key.join(", "))
        };
        // In the order of the key as it is stored, where that can be read both ways.
        return Ok(vec![
            format!("{all} LIMIT {ROWS_AT_AN_END}"),
            order(" DESC"),
        ]);
    };
    let key = format!("s.{}", quote(&rowid));
    let mut scans = Vec::new();
    for direction in ["", " DESC"] {
        scans.push(format!(
            "{all} ORDER BY {key}{direction} LIMIT {ROWS_AT_AN_END}"
        ));
    }
    let end = |function: &str| format!("SELECT {function}({key}) FROM {} AS s", quote(&table.name));
    let first = session.number(&end("min"), args([])).await?;
    let last = session.number(&end("max"), args([])).await?;
    if let (Some(first), Some(last)) = (first, last) {
        let step = last.abs_diff(first) / u64::from(PLACES);
        for place in 1..u64::from(PLACES) {
            let from = first.saturating_add_unsigned(step * place);
            scans.push(format!(
                "{all} WHERE {key} >= {from} ORDER BY {key} LIMIT {ROWS_AT_A_PLACE}"
            ));
        }
    }
    Ok(scans)
}

async fn look(session: &mut Session, scan: &str, found: &mut [Found]) -> Result<()> {
    let mut failed = None;
    let mut bytes = 0;
    {
        let mut rows = session.stream(scan, args([]));
        while bytes < BYTES_MAX
            && let Some(row) = rows.next().await
        {
            match row {
                Ok(row) => bytes += add(&row, found),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
    }
    match failed {
        Some(error) => Err(session.error(scan, &error)),
        None => Ok(()),
    }
}

fn add(row: &SqliteRow, found: &mut [Found]) -> usize {
    let mut scratch = Vec::new();
    let mut bytes = 0;
    for (index, found) in found.iter_mut().enumerate() {
        // What can't be read at all is the reader's to name.
        if let Ok(stored) = Stored::of(row, index) {
            bytes += found.add(stored, &mut scratch);
        }
    }
    bytes
}

/// The values of one column.
#[derive(Debug)]
struct Found {
    declared: CanonicalType,
    affinity: Affinity,
    values: u64,
    ints: u64,
    reals: u64,
    texts: u64,
    blobs: u64,
    /// Of the declared type, and of these within its bounds.
    fitting: u64,
    within: u64,
    /// An integer that no double holds.
    wide: bool,
    /// An integer of more than 8 bits.
    long: bool,
}

impl Found {
    fn new(native_type: &str) -> Found {
        Found {
            declared: canonical_type(native_type),
            affinity: Affinity::of(native_type),
            values: 0,
            ints: 0,
            reals: 0,
            texts: 0,
            blobs: 0,
            fitting: 0,
            within: 0,
            wide: false,
            long: false,
        }
    }

    /// Returns the value's size.
    fn add(&mut self, stored: Stored<'_>, scratch: &mut Vec<u8>) -> usize {
        let size = match stored {
            Stored::Null => return 0,
            Stored::Int(int) => {
                self.ints += 1;
                self.wide |= int.unsigned_abs() > 1 << 53;
                self.long |= i8::try_from(int).is_err();
                8
            }
            Stored::Real(_) => {
                self.reals += 1;
                8
            }
            Stored::Text(text) => {
                self.texts += 1;
                text.len()
            }
            Stored::Blob(blob) => {
                self.blobs += 1;
                blob.len()
            }
        };
        self.values += 1;
        scratch.clear();
        let fits = write_canonical(&self.declared, self.affinity, stored, scratch).is_ok();
        let fits = fits && self.declared != CanonicalType::Any;
        self.fitting += u64::from(fits);
        self.within += u64::from(fits && within(&self.declared, scratch).is_ok());
        size
    }

    /// The type to read the column as, and why if it isn't the declared one.
    fn decide(self) -> (CanonicalType, Option<String>) {
        let text = CanonicalType::Text { max_chars: None };
        if self.values == 0 {
            return match self.declared {
                CanonicalType::Any => (text, None),
                declared => (declared, None),
            };
        }
        if self.within == self.values {
            return (self.declared, None);
        }
        if self.fitting == self.values {
            let said = "holds values beyond its declared size: its type gets no bound".to_owned();
            return (unbounded(&self.declared), Some(said));
        }
        if is_firm(&self.declared) {
            let canonical = match self.within == self.fitting {
                true => self.declared.clone(),
                false => unbounded(&self.declared),
            };
            let odd = self.values - self.fitting;
            let said = format!(
                "holds {} that are not of its type ({odd} of {} values looked at): they stop the \
                 job unless storage-class is accepted for it",
                self.classes(),
                self.values
            );
            return (canonical, Some(said));
        }
        let canonical = self.as_it_is();
        let kept = match canonical {
            CanonicalType::Text { .. } => "text",
            CanonicalType::Bytes { .. } => "bytes",
            _ => "numbers",
        };
        let said = match self.declared {
            CanonicalType::Any => None,
            _ => Some(format!(
                "holds {} that are not all of its declared type: they are copied as they are, as {kept}",
                self.classes()
            )),
        };
        (canonical, said)
    }

    /// The type that holds the values unchanged, or the most of them.
    fn as_it_is(&self) -> CanonicalType {
        let numbers = self.ints + self.reals;
        let text = CanonicalType::Text { max_chars: None };
        if self.texts > 0 && (self.affinity.is_numeric() || self.texts >= numbers) {
            return text;
        }
        match (self.ints, self.reals) {
            (0, 0) if self.texts == 0 => CanonicalType::Bytes { max_len: None },
            (_, 0) if self.ints > 0 => CanonicalType::Int {
                // MySQL's TINYINT(1), which is more than a truth value.
                bits: match self.declared {
                    CanonicalType::Bool if !self.long => 8,
                    _ => 64,
                },
                unsigned: false,
            },
            (_, 1..) if !self.wide => CanonicalType::Float64,
            (_, 1..) => CanonicalType::Numeric,
            _ => text,
        }
    }

    fn classes(&self) -> String {
        let classes = [
            (self.ints, "integers"),
            (self.reals, "floating-point numbers"),
            (self.texts, "texts"),
            (self.blobs, "blobs"),
        ];
        let found = classes.iter().filter(|(count, _)| *count > 0);
        let names: Vec<&str> = found.map(|(_, name)| *name).collect();
        names.join(", ")
    }
}

/// Types whose values are of one kind by SQLite's own rules: others are strays, not another use.
fn is_firm(declared: &CanonicalType) -> bool {
    use CanonicalType as T;
    matches!(
        declared,
        T::Int { .. }
            | T::Decimal { .. }
            | T::Numeric
            | T::Float32
            | T::Float64
            | T::Text { .. }
            | T::Bytes { .. }
    )
}

/// The type without the bounds that SQLite doesn't keep.
fn unbounded(declared: &CanonicalType) -> CanonicalType {
    use CanonicalType as T;
    match declared {
        T::Text { .. } => T::Text { max_chars: None },
        T::Bytes { .. } => T::Bytes { max_len: None },
        T::Decimal { .. } => T::Numeric,
        T::Int { .. } => T::Int {
            bits: 64,
            unsigned: false,
        },
        T::Float32 => T::Float64,
        T::Bit { .. } => T::Bit { width: 64 },
        T::Time { .. } => T::Time { fraction: 6 },
        T::DateTime { .. } => T::DateTime { fraction: 6 },
        T::Timestamp { .. } => T::Timestamp { fraction: 6 },
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decided(declared: &str, values: &[Stored<'_>]) -> (CanonicalType, Option<String>) {
        let mut found = Found::new(declared);
        let mut scratch = Vec::new();
        for value in values {
            found.add(*value, &mut scratch);
        }
        found.decide()
    }

    #[test]
    fn a_declared_type_is_taken_at_its_word_if_the_values_are_of_it() {
        let fits: [(&str, &[Stored<'_>]); 4] = [
            ("DATETIME", &[Stored::Text(b"2024-01-01 00:00:00")]),
            ("BOOLEAN", &[Stored::Int(0), Stored::Int(1), Stored::Null]),
            ("DECIMAL(5,2)", &[Stored::Real(1.25), Stored::Int(3)]),
            ("VARCHAR(3)", &[]),
        ];
        for (declared, values) in fits {
            assert_eq!(decided(declared, values), (canonical_type(declared), None));
        }
    }

    #[test]
    fn dates_that_are_none_stay_what_they_are() {
        let text = CanonicalType::Text { max_chars: None };
        let int = CanonicalType::Int {
            bits: 64,
            unsigned: false,
        };
        let cases: [(&[Stored<'_>], CanonicalType); 4] = [
            (&[Stored::Int(1_709_164_800)], int),
            (
                &[Stored::Real(2_460_370.5), Stored::Int(2_460_371)],
                CanonicalType::Float64,
            ),
            (&[Stored::Text(b"2024-02-29T00:00:00Z")], text.clone()),
            (
                &[Stored::Text(b"2024-02-29 00:00:00"), Stored::Int(5)],
                text,
            ),
        ];
        for (values, expected) in cases {
            let (canonical, said) = decided("DATETIME", values);
            assert_eq!(canonical, expected);
            assert!(said.is_some_and(|said| said.contains("as they are")));
        }
    }

    #[test]
    fn bounds_that_are_not_kept_are_dropped_and_strays_are_said() {
        let long = [Stored::Text(b"abcdef")];
        let (canonical, said) = decided("VARCHAR(3)", &long);
        assert_eq!(canonical, CanonicalType::Text { max_chars: None });
        assert!(said.is_some());
        let stray = [Stored::Int(1), Stored::Text(b"abc")];
        let (canonical, said) = decided("INTEGER", &stray);
        assert_eq!(canonical, canonical_type("INTEGER"));
        assert!(said.is_some_and(|said| said.contains("1 of 2")));
        assert_eq!(decided("", &[Stored::Blob(b"x")]).0, canonical_type("BLOB"));
        assert_eq!(decided("", &[Stored::Int(3)]).0, canonical_type("INTEGER"));
    }
}
