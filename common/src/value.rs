//! Rows on their way: one buffer, cell lengths beside it, no allocation per cell; and the
//! canonical bytes a digest is made of.

use core::net::IpAddr;
use std::borrow::Cow;

use crate::digest::{Digest, RowHasher};
use crate::json;
use crate::limits;
use crate::schema::{CanonicalType, CellForm};

const NULL: u32 = u32::MAX;

/// A batch of rows: about [`limits::BATCH_BYTES`] of cells, row after row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowBatch {
    columns: usize,
    data: Vec<u8>,
    /// Length of each cell; `NULL` for NULL.
    lengths: Vec<u32>,
    /// Rows of a table that has no column to copy: there is nothing else to them.
    bare_rows: usize,
}

impl RowBatch {
    pub fn new(columns: usize) -> RowBatch {
        RowBatch {
            columns,
            data: Vec::new(),
            lengths: Vec::new(),
            bare_rows: 0,
        }
    }

    /// Appends a row to a batch without columns.
    pub fn push_bare_row(&mut self) {
        debug_assert_eq!(self.columns, 0);
        self.bare_rows += 1;
    }

    pub fn push_null(&mut self) {
        self.lengths.push(NULL);
    }

    /// Appends a cell. Cells are at most [`limits::CELL_BYTES_MAX`] long: readers refuse longer
    /// ones with an error that names the column before they get here.
    pub fn push(&mut self, cell: &[u8]) {
        self.push_with(|data| data.extend_from_slice(cell));
    }

    /// Appends a cell that `write` appends to the buffer.
    pub fn push_with(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.data.len();
        write(&mut self.data);
        let length = self.data.len() - start;
        assert!(
            length <= limits::CELL_BYTES_MAX,
            "a reader let a cell of {length} bytes through"
        );
        self.lengths.push(length as u32);
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Whole rows; a reader ends a row before it hands the batch on.
    pub fn rows(&self) -> usize {
        let rows = self.lengths.len().checked_div(self.columns);
        rows.unwrap_or(self.bare_rows)
    }

    /// Bytes of all cells.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty() && self.bare_rows == 0
    }

    /// Time to hand the batch on.
    pub fn is_full(&self) -> bool {
        let cells = self.lengths.len().max(self.bare_rows);
        self.data.len() >= limits::BATCH_BYTES || cells >= limits::BATCH_BYTES / 8
    }

    /// The cells in order, row after row; None = NULL.
    pub fn cells(&self) -> Cells<'_> {
        Cells {
            data: &self.data,
            lengths: self.lengths.iter(),
        }
    }

    /// The cell at `cursor`, which moves on; the outer None = the end. For an owner of the batch
    /// that hands it on piece by piece and can't hold a borrow meanwhile.
    pub fn next_cell(&self, cursor: &mut CellCursor) -> Option<Option<&[u8]>> {
        let length = *self.lengths.get(cursor.cell)?;
        cursor.cell += 1;
        if length == NULL {
            return Some(None);
        }
        let start = cursor.offset;
        cursor.offset += length as usize;
        Some(Some(&self.data[start..cursor.offset]))
    }

    /// Adds every row to `digest`.
    pub fn digest_into(
        &self,
        columns: &[DigestColumn],
        hasher: &mut RowHasher,
        digest: &mut Digest,
    ) {
        debug_assert_eq!(columns.len(), self.columns);
        let mut cells = self.cells();
        for _ in 0..self.rows() {
            for column in columns {
                match cells.next().expect("a batch holds whole rows") {
                    Some(cell) => hasher.cell(column.tag, &column.canonical(cell)),
                    None => hasher.null(),
                }
            }
            digest.add_hash(hasher.finish());
        }
    }
}

/// A place in a batch, see [`RowBatch::next_cell`]; the default is its beginning.
#[derive(Clone, Copy, Debug, Default)]
pub struct CellCursor {
    cell: usize,
    offset: usize,
}

/// See [`RowBatch::cells`].
pub struct Cells<'a> {
    data: &'a [u8],
    lengths: std::slice::Iter<'a, u32>,
}

impl<'a> Iterator for Cells<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = *self.lengths.next()?;
        if length == NULL {
            return Some(None);
        }
        let (cell, rest) = self.data.split_at(length as usize);
        self.data = rest;
        Some(Some(cell))
    }
}

/// How one column enters a digest.
#[derive(Clone, Debug)]
pub struct DigestColumn {
    tag: u8,
    rule: Rule,
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    AsIs,
    Bool,
    Decimal,
    Fraction,
    Float32,
    Float64,
    Json,
    Uuid,
    Inet,
}

impl DigestColumn {
    /// `form` must be the form the cells are read in, on both ends alike.
    pub fn new(canonical: &CanonicalType, form: CellForm) -> DigestColumn {
        let tag = tag(canonical);
        let rule = match (form, canonical) {
            (_, CanonicalType::Float32) => Rule::Float32,
            (_, CanonicalType::Float64) => Rule::Float64,
            (CellForm::Native, _) => Rule::AsIs,
            (_, CanonicalType::Bool) => Rule::Bool,
            // MySQL pads a ZEROFILL integer.
            (
                _,
                CanonicalType::Int { .. } | CanonicalType::Decimal { .. } | CanonicalType::Numeric,
            ) => Rule::Decimal,
            (_, CanonicalType::Json) => Rule::Json,
            (_, CanonicalType::Uuid) => Rule::Uuid,
            (_, CanonicalType::Inet) => Rule::Inet,
            (
                _,
                CanonicalType::Time { .. }
                | CanonicalType::DateTime { .. }
                | CanonicalType::Timestamp { .. },
            ) => Rule::Fraction,
            _ => Rule::AsIs,
        };
        DigestColumn { tag, rule }
    }

    /// The cell's canonical bytes. A cell that isn't of its type is taken as it is, so that it
    /// differs from every value instead of being equal to one.
    pub fn canonical<'a>(&self, cell: &'a [u8]) -> Cow<'a, [u8]> {
        match self.rule {
            Rule::AsIs => Cow::Borrowed(cell),
            Rule::Decimal => canonical_decimal(cell),
            Rule::Fraction => Cow::Borrowed(strip_fraction(cell)),
            // There is one NaN: no engine tells them apart.
            Rule::Float32 => match parse::<f32>(cell) {
                Some(float) if float.is_nan() => owned(f32::NAN.to_bits().to_be_bytes()),
                Some(float) => owned(float.to_bits().to_be_bytes()),
                None => Cow::Borrowed(cell),
            },
            Rule::Float64 => match parse::<f64>(cell) {
                Some(float) if float.is_nan() => owned(f64::NAN.to_bits().to_be_bytes()),
                Some(float) => owned(float.to_bits().to_be_bytes()),
                None => Cow::Borrowed(cell),
            },
            Rule::Bool => match cell {
                b"t" | b"true" => Cow::Borrowed(b"1"),
                b"f" | b"false" => Cow::Borrowed(b"0"),
                cell => Cow::Borrowed(cell),
            },
            Rule::Json => json::canonical(cell),
            Rule::Uuid => canonical_uuid(cell),
            Rule::Inet => canonical_inet(cell),
        }
    }
}

fn owned<const N: usize>(bytes: [u8; N]) -> Cow<'static, [u8]> {
    Cow::Owned(bytes.to_vec())
}

fn parse<T: std::str::FromStr>(cell: &[u8]) -> Option<T> {
    std::str::from_utf8(cell).ok()?.parse().ok()
}

fn strip_fraction(cell: &[u8]) -> &[u8] {
    if !cell.contains(&b'.') {
        return cell;
    }
    let end = cell
        .iter()
        .rposition(|b| *b != b'0')
        .map_or(0, |last| last + 1);
    cell[..end].strip_suffix(b".").unwrap_or(&cell[..end])
}

fn canonical_decimal(cell: &[u8]) -> Cow<'_, [u8]> {
    let stripped = strip_fraction(cell);
    let (negative, digits) = match stripped.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, stripped.strip_prefix(b"+").unwrap_or(stripped)),
    };
    let zeros = digits.iter().take_while(|b| **b == b'0').count();
    let digits = &digits[zeros..];
    let bare = digits.is_empty();
    let needs_zero = bare || digits[0] == b'.';
    if !needs_zero && zeros == 0 && !cell.starts_with(b"+") {
        return Cow::Borrowed(stripped);
    }
    let mut text = Vec::with_capacity(digits.len() + 2);
    if negative && !bare {
        text.push(b'-');
    }
    if needs_zero {
        text.push(b'0');
    }
    text.extend_from_slice(digits);
    Cow::Owned(text)
}

fn canonical_uuid(cell: &[u8]) -> Cow<'_, [u8]> {
    let hyphens = [8, 13, 18, 23];
    let exact = |(at, byte): (usize, &u8)| match hyphens.contains(&at) {
        true => *byte == b'-',
        false => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    };
    if cell.len() == 36 && cell.iter().enumerate().all(exact) {
        return Cow::Borrowed(cell);
    }
    let bare = cell
        .strip_prefix(b"{")
        .and_then(|cell| cell.strip_suffix(b"}"))
        .unwrap_or(cell);
    let digits: Vec<u8> = bare.iter().copied().filter(|byte| *byte != b'-').collect();
    if digits.len() != 32 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Cow::Borrowed(cell);
    }
    let mut text = digits.to_ascii_lowercase();
    for at in hyphens {
        text.insert(at, b'-');
    }
    Cow::Owned(text)
}

fn canonical_inet(cell: &[u8]) -> Cow<'_, [u8]> {
    let parts = || -> Option<(IpAddr, Option<u8>)> {
        let text = std::str::from_utf8(cell).ok()?;
        match text.split_once('/') {
            Some((address, prefix)) => Some((address.parse().ok()?, Some(prefix.parse().ok()?))),
            None => Some((text.parse().ok()?, None)),
        }
    };
    let Some((address, prefix)) = parts() else {
        return Cow::Borrowed(cell);
    };
    let whole = if address.is_ipv4() { 32 } else { 128 };
    match prefix {
        Some(prefix) if prefix > whole => Cow::Borrowed(cell),
        Some(prefix) if prefix < whole => Cow::Owned(format!("{address}/{prefix}").into_bytes()),
        _ => Cow::Owned(address.to_string().into_bytes()),
    }
}

/// Tags are part of the digest's definition: never renumber.
fn tag(canonical: &CanonicalType) -> u8 {
    match canonical {
        CanonicalType::Int { .. } => 1,
        CanonicalType::Decimal { .. } => 2,
        CanonicalType::Float32 => 3,
        CanonicalType::Float64 => 4,
        CanonicalType::Text { .. } => 5,
        CanonicalType::Bytes { .. } => 6,
        CanonicalType::Date => 7,
        CanonicalType::Time { .. } => 8,
        CanonicalType::DateTime { .. } => 9,
        CanonicalType::Timestamp { .. } => 10,
        CanonicalType::Year => 11,
        CanonicalType::Json => 12,
        CanonicalType::Enum { .. } => 13,
        CanonicalType::Set { .. } => 14,
        CanonicalType::Bit { .. } => 15,
        CanonicalType::Any => 16,
        CanonicalType::Bool => 17,
        CanonicalType::Numeric => 18,
        CanonicalType::Uuid => 19,
        CanonicalType::Inet => 20,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(ty: CanonicalType, cell: &str) -> String {
        let column = DigestColumn::new(&ty, CellForm::Canonical);
        String::from_utf8_lossy(&column.canonical(cell.as_bytes())).into_owned()
    }

    #[test]
    fn equal_decimals_have_one_text() {
        let ty = CanonicalType::Decimal {
            precision: 10,
            scale: 2,
        };
        for (given, expected) in [
            ("0.99", "0.99"),
            ("1.50", "1.5"),
            ("1.00", "1"),
            ("100", "100"),
            ("-0.00", "0"),
            ("007.10", "7.1"),
            (".5", "0.5"),
            ("-.5", "-0.5"),
            ("+3", "3"),
            ("0", "0"),
        ] {
            assert_eq!(canonical(ty.clone(), given), expected, "{given}");
        }
    }

    #[test]
    fn numbers_without_a_bound_are_decimals_and_a_few_words() {
        for (given, expected) in [
            ("1.500000", "1.5"),
            ("0", "0"),
            ("-0.000", "0"),
            ("NaN", "NaN"),
            ("-Infinity", "-Infinity"),
        ] {
            assert_eq!(
                canonical(CanonicalType::Numeric, given),
                expected,
                "{given}"
            );
        }
        let int = CanonicalType::Int {
            bits: 32,
            unsigned: true,
        };
        assert_eq!(canonical(int, "00042"), "42");
        assert_eq!(canonical(CanonicalType::Bool, "t"), "1");
        assert_eq!(canonical(CanonicalType::Bool, "0"), "0");
    }

    #[test]
    fn addresses_and_uuids_have_one_spelling() {
        let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for given in [
            uuid,
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc999c0b4ef8bb6d6bb9bd380a11}",
        ] {
            assert_eq!(canonical(CanonicalType::Uuid, given), uuid, "{given}");
        }
        assert_eq!(canonical(CanonicalType::Uuid, "no uuid"), "no uuid");
        for (given, expected) in [
            ("10.0.0.1", "10.0.0.1"),
            ("10.0.0.1/32", "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("2001:DB8:0:0::1", "2001:db8::1"),
            ("::/0", "::/0"),
            ("::1/128", "::1"),
            ("10.0.0.1/33", "10.0.0.1/33"),
            ("host", "host"),
        ] {
            assert_eq!(canonical(CanonicalType::Inet, given), expected, "{given}");
        }
    }

    #[test]
    fn documents_are_compared_as_documents() {
        let column = DigestColumn::new(&CanonicalType::Json, CellForm::Canonical);
        let same = column.canonical(b"{\"b\": 1.0, \"a\": 2}").into_owned();
        assert_eq!(column.canonical(b"{\"a\":2,\"b\":1}"), same);
        let native = DigestColumn::new(&CanonicalType::Json, CellForm::Native);
        assert_eq!(&*native.canonical(b"{ }"), b"{ }");
    }

    #[test]
    fn fractions_of_seconds_lose_only_trailing_zeros() {
        let ty = CanonicalType::DateTime { fraction: 6 };
        assert_eq!(
            canonical(ty.clone(), "2024-01-02 03:04:05.120000"),
            "2024-01-02 03:04:05.12"
        );
        assert_eq!(
            canonical(ty.clone(), "2024-01-02 03:04:00.000000"),
            "2024-01-02 03:04:00"
        );
        assert_eq!(canonical(ty, "2024-01-02 03:04:00"), "2024-01-02 03:04:00");
    }

    #[test]
    fn floats_are_compared_by_their_bits() {
        let double = DigestColumn::new(&CanonicalType::Float64, CellForm::Native);
        assert_eq!(double.canonical(b"1e2"), double.canonical(b"100.0"));
        assert_ne!(double.canonical(b"-0"), double.canonical(b"0"));
        assert_eq!(double.canonical(b"NaN"), double.canonical(b"-nan"));
        let single = DigestColumn::new(&CanonicalType::Float32, CellForm::Native);
        assert_eq!(
            single.canonical(b"0.1"),
            single.canonical(b"0.10000000149011612")
        );
    }

    #[test]
    fn rows_without_columns_are_counted() {
        let mut batch = RowBatch::new(0);
        assert!(batch.is_empty());
        batch.push_bare_row();
        batch.push_bare_row();
        assert_eq!((batch.rows(), batch.is_empty()), (2, false));
        let mut digest = Digest::default();
        batch.digest_into(&[], &mut RowHasher::default(), &mut digest);
        assert_eq!(digest.rows, 2);
    }

    #[test]
    fn a_batch_gives_back_its_cells() {
        let mut batch = RowBatch::new(2);
        batch.push(b"a");
        batch.push_null();
        batch.push(b"");
        batch.push(b"bc");
        assert_eq!((batch.rows(), batch.bytes()), (2, 3));
        let cells: Vec<_> = batch.cells().collect();
        assert_eq!(cells, [Some(&b"a"[..]), None, Some(b""), Some(b"bc")]);
        let mut cursor = CellCursor::default();
        let walked: Vec<_> = std::iter::from_fn(|| batch.next_cell(&mut cursor)).collect();
        assert_eq!(walked, cells);
    }
}
