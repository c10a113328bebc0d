//! Rows folded into digests per bucket of the key's hash: `bucket = H(canonical key) mod B`.
//!
//! A row's hash is `xxh3_128` over its canonical cells in column order, each `0x00` for NULL or
//! `0x01, length (u64, little-endian), bytes`; the key's hash the same over the key's cells. Sums,
//! never xor: two equal rows would cancel out. Written apart from [`crate::digest`], so that one
//! mistake doesn't both copy a row wrongly and call it equal; they share the canonical values.

use std::borrow::Cow;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::digest::Digest;
use crate::schema::{CanonicalType, CellForm, Engine, TableSchema};
use crate::value::{DigestColumn, RowBatch};

/// Buckets of one range at most.
pub const BUCKETS_MAX: u64 = 4_096;
/// Rows that a bucket is meant for.
const BUCKET_ROWS: u64 = 64;

/// Rows longer than this are hashed as they come instead of being copied together first.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// How many buckets a range of about so many rows is folded into.
pub fn buckets_for(rows: u64) -> usize {
    rows.div_ceil(BUCKET_ROWS).clamp(16, BUCKETS_MAX) as usize
}

/// A row as the comparison knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hashes {
    /// Of the canonical key; of the whole row where there is none.
    pub key: u128,
    /// Of the canonical row.
    pub row: u128,
    /// Of the row as it is stored, where that can differ; else as `row`.
    pub raw: u128,
}

/// What a cell's bytes are, beyond their form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    Plain,
    /// PostgreSQL's COPY: backslashes escape.
    CopyText,
    /// Each begins with SQLite's storage class.
    Classed,
}

impl Words {
    /// The words of `engine` in that form.
    pub fn of(engine: Option<Engine>, form: CellForm) -> Words {
        match (engine, form) {
            (Some(Engine::Postgres), CellForm::Native) => Words::CopyText,
            (Some(Engine::Sqlite), CellForm::Native) => Words::Classed,
            _ => Words::Plain,
        }
    }

    /// The value itself.
    pub fn plain(self, cell: &[u8]) -> Cow<'_, [u8]> {
        match self {
            Words::CopyText if cell.contains(&b'\\') => Cow::Owned(unescaped(cell)),
            _ => Cow::Borrowed(cell),
        }
    }
}

/// Of what COPY wrote.
fn unescaped(cell: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(cell.len());
    let mut bytes = cell.iter();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'\\' => bytes.next().map_or(b'\\', |escaped| match escaped {
                b'b' => 8,
                b't' => b'\t',
                b'n' => b'\n',
                b'v' => 11,
                b'f' => 12,
                b'r' => b'\r',
                other => *other,
            }),
            other => *other,
        };
        plain.push(byte);
    }
    plain
}

struct FoldedColumn {
    digest: DigestColumn,
    /// How a cell is read before it is made canonical.
    words: Words,
}

impl FoldedColumn {
    fn canonical<'a>(&self, cell: &'a [u8]) -> Cow<'a, [u8]> {
        match self.words.plain(cell) {
            Cow::Borrowed(cell) => self.digest.canonical(cell),
            Cow::Owned(cell) => Cow::Owned(self.digest.canonical(&cell).into_owned()),
        }
    }
}

/// Hashes the rows of one end of a table.
pub struct Folder {
    columns: Vec<FoldedColumn>,
    words: Words,
    /// Places of the key's columns; empty = the row is its own key.
    key: Vec<usize>,
    /// Places of columns that can be stored in other words and mean the same.
    worded: Vec<usize>,
    row: Vec<u8>,
    key_buffer: Vec<u8>,
    raw: Vec<u8>,
}

impl Folder {
    /// `rows` is [`crate::plan::TablePlan::rows`], on whichever end they are read; `key` its
    /// change key.
    pub fn new(rows: &TableSchema, form: CellForm, words: Words, key: &[String]) -> Folder {
        let columns: Vec<_> = rows.copied_columns().collect();
        let place = |name: &String| columns.iter().position(|column| column.name == *name);
        let is_json = |at: &usize| columns[*at].canonical == CanonicalType::Json;
        // The order of a document's keys means nothing, in whichever form it is read.
        let form_of = |json: bool| if json { CellForm::Canonical } else { form };
        let worded: Vec<usize> = match form {
            CellForm::Native => (0..columns.len()).filter(is_json).collect(),
            // Between engines every document is in other words.
            CellForm::Canonical => Vec::new(),
        };
        Folder {
            // A key of which a column isn't read (a generated one) is none: a part of it would
            // put rows together that have nothing to do with each other.
            key: key
                .iter()
                .map(place)
                .collect::<Option<_>>()
                .unwrap_or_default(),
            columns: { columns.iter() }
                .map(|column| {
                    let json = column.canonical == CanonicalType::Json;
                    FoldedColumn {
                        digest: DigestColumn::new(&column.canonical, form_of(json)),
                        // Only a document is looked into.
                        words: if json { words } else { Words::Plain },
                    }
                })
                .collect(),
            words,
            worded,
            row: Vec::new(),
            key_buffer: Vec::new(),
            raw: Vec::new(),
        }
    }

    /// Columns of a row.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Whether rows have a key.
    pub fn is_keyed(&self) -> bool {
        !self.key.is_empty()
    }

    /// Hashes every row of the batch in order.
    pub fn each(&mut self, batch: &RowBatch, mut visit: impl FnMut(Hashes, &[Option<&[u8]>])) {
        let mut cells = batch.cells();
        let mut row = Vec::with_capacity(self.columns.len());
        for _ in 0..batch.rows() {
            row.clear();
            row.extend(cells.by_ref().take(self.columns.len()));
            let hashes = self.hashes(&row);
            visit(hashes, &row);
        }
    }

    fn hashes(&mut self, cells: &[Option<&[u8]>]) -> Hashes {
        let bytes: usize = cells.iter().flatten().map(|cell| cell.len()).sum();
        if bytes > INLINE_BYTES_MAX {
            return self.hashes_of_long(cells);
        }
        self.row.clear();
        self.key_buffer.clear();
        for (column, cell) in self.columns.iter().zip(cells) {
            match cell {
                Some(cell) => put(&mut self.row, Some(&column.canonical(cell))),
                None => put(&mut self.row, None),
            }
        }
        let row = xxh3_128(&self.row);
        let key = match self.key.as_slice() {
            [] => row,
            places => {
                for at in places {
                    let canonical = cells[*at].map(|cell| self.columns[*at].canonical(cell));
                    put(&mut self.key_buffer, canonical.as_deref());
                }
                xxh3_128(&self.key_buffer)
            }
        };
        let raw = match self.worded.as_slice() {
            [] => row,
            places => {
                self.raw.clear();
                self.raw.extend_from_slice(&row.to_le_bytes());
                for at in places {
                    put(&mut self.raw, cells[*at]);
                }
                xxh3_128(&self.raw)
            }
        };
        Hashes { key, row, raw }
    }

    /// The same of a row that is not copied together first.
    fn hashes_of_long(&self, cells: &[Option<&[u8]>]) -> Hashes {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let hash = |places: &[usize], canonical: bool, first: Option<u128>| {
            let mut hasher = Box::new(Xxh3::new());
            if let Some(first) = first {
                hasher.update(&first.to_le_bytes());
            }
            for at in places {
                match cells[*at] {
                    None => hasher.update(&[0]),
                    Some(cell) => {
                        let cell = match canonical {
                            true => self.columns[*at].canonical(cell),
                            false => cell.into(),
                        };
                        hasher.update(&[1]);
                        hasher.update(&(cell.len() as u64).to_le_bytes());
                        hasher.update(&cell);
                    }
                }
            }
            hasher.digest128()
        };
        let row = hash(&all, true, None);
        let key = match self.key.as_slice() {
            [] => row,
            places => hash(places, true, None),
        };
        let raw = match self.worded.as_slice() {
            [] => row,
            places => hash(places, false, Some(row)),
        };
        Hashes { key, row, raw }
    }

    /// The canonical bytes of the cell in column `at`.
    pub fn canonical<'a>(&self, at: usize, cell: &'a [u8]) -> Cow<'a, [u8]> {
        self.columns[at].canonical(cell)
    }

    /// What the cells' bytes are.
    pub fn words(&self) -> Words {
        self.words
    }

    /// Places of the key's columns in a row.
    pub fn key_places(&self) -> &[usize] {
        &self.key
    }
}

fn put(buffer: &mut Vec<u8>, cell: Option<&[u8]>) {
    match cell {
        None => buffer.push(0),
        Some(cell) => {
            buffer.push(1);
            buffer.extend_from_slice(&(cell.len() as u64).to_le_bytes());
            buffer.extend_from_slice(cell);
        }
    }
}

/// The rows of one bucket at one end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    pub rows: u64,
    pub sum: u128,
    raw: u128,
}

/// One end of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buckets(Vec<Bucket>);

impl Buckets {
    pub fn new(count: usize) -> Buckets {
        Buckets(vec![Bucket::default(); count.max(1)])
    }

    /// The bucket of a key.
    pub fn place(&self, key: u128) -> usize {
        ((key >> 64) as u64 % self.0.len() as u64) as usize
    }

    pub fn add(&mut self, row: Hashes) {
        let place = self.place(row.key);
        let bucket = &mut self.0[place];
        bucket.rows += 1;
        bucket.sum = bucket.sum.wrapping_add(row.row);
        bucket.raw = bucket.raw.wrapping_add(row.raw);
    }

    /// All of them as one.
    pub fn digest(&self) -> Digest {
        self.0.iter().fold(Digest::default(), |all, bucket| {
            all + Digest {
                rows: bucket.rows,
                sum: bucket.sum,
            }
        })
    }

    /// The buckets that differ, with the rows of both ends.
    pub fn differing(&self, other: &Buckets) -> Vec<(usize, u64)> {
        let pairs = self.0.iter().zip(&other.0).enumerate();
        let differ = pairs.filter(|(_, (one, two))| one != two);
        differ
            .map(|(place, (one, two))| (place, one.rows + two.rows))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::pair::tests::{batch, folder};

    #[test]
    fn equal_rows_fold_alike_in_any_order() {
        let rows = [["1", "a"], ["2", "b"], ["3", "c"]];
        let fold = |order: &[usize]| {
            let mut buckets = Buckets::new(16);
            let rows: Vec<_> = order.iter().map(|at| rows[*at].map(Some)).collect();
            folder(true).each(&batch(&rows), |row, _| buckets.add(row));
            buckets
        };
        assert_eq!(fold(&[0, 1, 2]), fold(&[2, 0, 1]));
        assert_eq!(fold(&[0, 1, 2]).digest().rows, 3);
        assert_eq!(fold(&[0, 1]).differing(&fold(&[0, 1, 2])).len(), 1);
        assert_ne!(fold(&[0, 1, 1]), fold(&[0, 0, 1]));
    }

    #[test]
    fn a_long_row_has_the_hash_that_a_short_one_would_have() {
        for keyed in [false, true] {
            let mut folder = folder(keyed);
            let cells: [Option<&[u8]>; 2] = [Some(b"key"), None];
            assert_eq!(folder.hashes(&cells), folder.hashes_of_long(&cells));
        }
    }

    #[test]
    fn what_copy_escaped_is_read_as_it_was() {
        let words = Words::of(Some(Engine::Postgres), CellForm::Native);
        assert_eq!(&*words.plain(b"a\\tb\\\\c\\n"), b"a\tb\\c\n");
        assert_eq!(&*words.plain(b"plain"), b"plain");
        let column = FoldedColumn {
            digest: DigestColumn::new(&CanonicalType::Json, CellForm::Canonical),
            words,
        };
        let one = column
            .canonical(br#"{"a": "x\\\\y\\n", "b": 1}"#)
            .into_owned();
        let two = column.canonical(br#"{"b":1,"a":"x\\\\y\\n"}"#);
        assert_eq!(one, *two);
    }

    #[test]
    fn null_is_not_the_empty_text_and_cells_keep_their_borders() {
        let hash = |cells: [Option<&str>; 2]| {
            let mut found = None;
            folder(false).each(&batch(&[cells]), |row, _| found = Some(row.row));
            found
        };
        assert_ne!(hash([None, Some("")]), hash([Some(""), None]));
        assert_ne!(hash([Some("ab"), Some("c")]), hash([Some("a"), Some("bc")]));
    }
}
