//! Rows of differing buckets paired by key, and what each pair comes to.

use std::collections::BTreeMap;

use crate::limits::VALUE_SHOWN_BYTES;
use crate::schema::{CanonicalType, TableSchema};
use crate::verify::fold::{Folder, Hashes, Words};
use crate::verify::{Class, ColumnDifference, Counts, Difference};

/// A row that isn't the same at both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suspect {
    pub class: Class,
    pub key: u128,
    /// Copies beyond those that have a partner: 1, or more without a key.
    pub copies: u64,
    /// What both ends hold under the key, as [`state`] says it: equal at two looks means that
    /// nobody changed anything.
    pub state: u128,
}

/// The rows of one key at one end: canonical hash and copies.
pub type Rows = BTreeMap<u128, u64>;

/// What both ends hold under one key.
pub fn state(source: &Rows, target: &Rows) -> u128 {
    let mut text = Vec::new();
    for rows in [source, target] {
        text.extend_from_slice(&(rows.len() as u64).to_le_bytes());
        for (row, copies) in rows {
            text.extend_from_slice(&row.to_le_bytes());
            text.extend_from_slice(&copies.to_le_bytes());
        }
    }
    xxhash_rust::xxh3::xxh3_128(&text)
}

/// What the rows of one key come to: how many differ, are missing, are too many.
pub fn classes(key: u128, source: &Rows, target: &Rows) -> Vec<Suspect> {
    let beyond = |one: &Rows, two: &Rows| -> u64 {
        let more = |(row, n): (&u128, &u64)| n.saturating_sub(two.get(row).copied().unwrap_or(0));
        one.iter().map(more).sum()
    };
    let (missing, extra) = (beyond(source, target), beyond(target, source));
    let different = missing.min(extra);
    let state = state(source, target);
    let found = [
        (Class::Different, different),
        (Class::Missing, missing - different),
        (Class::Extra, extra - different),
    ];
    let found = found.into_iter().filter(|(_, copies)| *copies > 0);
    let suspect = |(class, copies)| Suspect {
        class,
        key,
        copies,
        state,
    };
    found.map(suspect).collect()
}

/// Pairs the rows of the two ends by key. Both are used up.
pub fn pair(source: &mut Vec<Hashes>, target: &mut Vec<Hashes>) -> Vec<Suspect> {
    source.sort_unstable();
    target.sort_unstable();
    let mut found = Vec::new();
    let (mut one, mut two) = (&source[..], &target[..]);
    while let Some(key) = first_key(one, two) {
        let (left, right) = (run(&mut one, key), run(&mut two, key));
        compare(key, left, right, &mut found);
    }
    source.clear();
    target.clear();
    found
}

fn first_key(one: &[Hashes], two: &[Hashes]) -> Option<u128> {
    let keys = [one.first(), two.first()];
    keys.into_iter().flatten().map(|row| row.key).min()
}

/// The rows of `key`, which are the next ones.
fn run<'a>(rows: &mut &'a [Hashes], key: u128) -> &'a [Hashes] {
    let end = rows.partition_point(|row| row.key == key);
    let (run, rest) = rows.split_at(end);
    *rows = rest;
    run
}

/// What the rows of one key come to, as many of them as there are.
fn compare(key: u128, source: &[Hashes], target: &[Hashes], found: &mut Vec<Suspect>) {
    if source == target {
        return;
    }
    let rows = |hashes: &[Hashes], of: fn(&Hashes) -> u128| {
        let mut rows = Rows::new();
        for row in hashes {
            *rows.entry(of(row)).or_default() += 1;
        }
        rows
    };
    let (left, right) = (rows(source, |row| row.row), rows(target, |row| row.row));
    let differ = classes(key, &left, &right);
    if differ.is_empty() {
        let (one, two) = (rows(source, |row| row.raw), rows(target, |row| row.raw));
        let worded = one
            .iter()
            .filter(|(row, n)| two.get(row) != Some(n))
            .count();
        found.push(Suspect {
            class: Class::Representation,
            key,
            copies: worded as u64,
            state: 0,
        });
    }
    found.extend(differ);
}

/// Rows by class.
pub fn counts(suspects: &[Suspect]) -> Counts {
    let mut counts = Counts::default();
    for suspect in suspects {
        counts.add(suspect.class, suspect.copies);
    }
    counts
}

/// A row as far as it must be known to be told of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    cells: Vec<Option<ShownCell>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct ShownCell {
    canonical: u128,
    raw: u128,
    text: String,
}

impl Shown {
    /// `cells` are a row of `folder`'s, `rows` its columns.
    pub fn of(folder: &Folder, rows: &TableSchema, cells: &[Option<&[u8]>]) -> Shown {
        let columns = rows.copied_columns().enumerate();
        let shown = columns.zip(cells).map(|((at, column), cell)| {
            cell.map(|cell| ShownCell {
                canonical: xxhash_rust::xxh3::xxh3_128(&folder.canonical(at, cell)),
                raw: xxhash_rust::xxh3::xxh3_128(cell),
                text: match folder.words() {
                    Words::Classed => text_of(&CanonicalType::Any, cell),
                    Words::CopyText => text_of_copied(&column.canonical, cell),
                    Words::Plain => text_of(&column.canonical, cell),
                },
            })
        });
        Shown {
            cells: shown.collect(),
        }
    }
}

/// Text as it is, anything else as `0x…`; cut.
fn text_of(canonical: &CanonicalType, cell: &[u8]) -> String {
    let binary = matches!(canonical, CanonicalType::Bytes { .. });
    let cut = &cell[..cell.len().min(VALUE_SHOWN_BYTES)];
    let text = match std::str::from_utf8(cut) {
        Ok(text) => Some(text),
        // Cut within a character.
        Err(error) if cut.len() < cell.len() && error.error_len().is_none() => {
            std::str::from_utf8(&cut[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    let printable = |text: &&str| {
        !text
            .chars()
            .any(|c| c.is_control() && c != '\n' && c != '\t')
    };
    if *canonical == CanonicalType::Any && !cell.is_empty() {
        return text_of_any(cell);
    }
    let mut shown = match text.filter(|_| !binary).filter(printable) {
        Some(text) => text.to_owned(),
        None => {
            let half = &cut[..cut.len().min(VALUE_SHOWN_BYTES / 2)];
            half.iter()
                .fold("0x".to_owned(), |text, byte| format!("{text}{byte:02x}"))
        }
    };
    if cell.len() > VALUE_SHOWN_BYTES {
        shown.push_str(&format!("… ({} bytes)", cell.len()));
    }
    shown
}

/// A cell that COPY wrote: bytes are hexadecimal digits already.
fn text_of_copied(canonical: &CanonicalType, cell: &[u8]) -> String {
    let plain = Words::CopyText.plain(cell);
    let is_hex = matches!(canonical, CanonicalType::Bytes { .. }) && plain.starts_with(b"\\x");
    let text = CanonicalType::Text { max_chars: None };
    match is_hex {
        false => text_of(&text, &plain),
        true => {
            let digits = String::from_utf8_lossy(&plain[2..plain.len().min(VALUE_SHOWN_BYTES)]);
            match plain.len() > VALUE_SHOWN_BYTES {
                true => format!("0x{digits}… ({} bytes)", (plain.len() - 2) / 2),
                false => format!("0x{digits}"),
            }
        }
    }
}

/// A cell of SQLite behind its storage class.
fn text_of_any(cell: &[u8]) -> String {
    let (class, value) = (cell[0], &cell[1..]);
    let bytes = CanonicalType::Bytes { max_len: None };
    match (class, <[u8; 8]>::try_from(value)) {
        (b'r', Ok(bits)) => format!("{:?}", f64::from_be_bytes(bits)),
        (b'b', _) => text_of(&bytes, value),
        _ => text_of(&CanonicalType::Text { max_chars: None }, value),
    }
}

/// What is told of a suspect, given a row of each end that has one.
pub fn difference(
    suspect: Suspect,
    folder: &Folder,
    rows: &TableSchema,
    source: Option<&Shown>,
    target: Option<&Shown>,
) -> Difference {
    let names: Vec<&str> = rows.copied_columns().map(|column| &*column.name).collect();
    let cell = |row: Option<&Shown>, at: usize| -> Option<ShownCell> {
        row.and_then(|row| row.cells.get(at).cloned().flatten())
    };
    let text = |cell: Option<ShownCell>| cell.map(|cell| cell.text);
    let either = source.or(target);
    let places: Vec<usize> = match folder.key_places() {
        [] => (0..names.len()).collect(),
        places => places.to_vec(),
    };
    let key = places
        .iter()
        .map(|at| (names[*at].to_owned(), text(cell(either, *at))));
    let differ = |at: &usize| {
        let (one, two) = (cell(source, *at), cell(target, *at));
        let identity = |cell: &Option<ShownCell>| {
            cell.as_ref().map(|cell| match suspect.class {
                Class::Representation => cell.raw,
                _ => cell.canonical,
            })
        };
        identity(&one) != identity(&two)
    };
    let both = source.is_some() && target.is_some();
    let columns = (0..names.len()).filter(|at| both && differ(at));
    let columns = columns.map(|at| ColumnDifference {
        column: names[at].to_owned(),
        source: text(cell(source, at)),
        target: text(cell(target, at)),
    });
    Difference {
        class: suspect.class,
        key_hash: format!("{:032x}", suspect.key),
        key: key.collect(),
        columns: columns.collect(),
        copies: suspect.copies,
    }
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::{CellForm, Column};
    use crate::value::RowBatch;

    pub fn table() -> TableSchema {
        let column = |name: &str| Column {
            name: name.to_owned(),
            native_type: "text".to_owned(),
            canonical: CanonicalType::Text { max_chars: None },
            nullable: true,
            default: None,
            auto_increment: false,
            charset: None,
            collation: None,
            generated: None,
            comment: String::new(),
        };
        TableSchema {
            name: "t".to_owned(),
            schema: None,
            member: None,
            columns: vec![column("k"), column("v")],
            primary_key: vec!["k".to_owned()],
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            auto_increment: None,
            native_options: String::new(),
            native_ddl: None,
            native_key: None,
            rows_estimate: 0,
            bytes_estimate: 0,
        }
    }

    pub fn folder(keyed: bool) -> Folder {
        let key: Vec<String> = keyed.then(|| "k".to_owned()).into_iter().collect();
        Folder::new(&table(), CellForm::Canonical, Words::Plain, &key)
    }

    pub fn batch(rows: &[[Option<&str>; 2]]) -> RowBatch {
        let mut batch = RowBatch::new(2);
        for cell in rows.iter().flatten() {
            match cell {
                Some(cell) => batch.push(cell.as_bytes()),
                None => batch.push_null(),
            }
        }
        batch
    }

    fn hashes(keyed: bool, rows: &[[Option<&str>; 2]]) -> Vec<Hashes> {
        let mut found = Vec::new();
        folder(keyed).each(&batch(rows), |row, _| found.push(row));
        found
    }

    fn classes(keyed: bool, one: &[[&str; 2]], two: &[[&str; 2]]) -> Vec<(Class, u64)> {
        let some = |rows: &[[&str; 2]]| -> Vec<[Option<&'static str>; 2]> {
            let own = |text: &str| Some(&*text.to_owned().leak());
            rows.iter().map(|row| [own(row[0]), own(row[1])]).collect()
        };
        let (mut one, mut two) = (hashes(keyed, &some(one)), hashes(keyed, &some(two)));
        let suspects = pair(&mut one, &mut two);
        let mut found: Vec<_> = { suspects.iter() }
            .map(|suspect| (suspect.class, suspect.copies))
            .collect();
        found.sort();
        found
    }

    #[test]
    fn every_class_is_found() {
        let one = [["1", "a"], ["2", "b"], ["3", "c"]];
        let two = [["1", "a"], ["2", "x"], ["4", "d"]];
        let all = [
            (Class::Missing, 1),
            (Class::Extra, 1),
            (Class::Different, 1),
        ];
        assert_eq!(classes(true, &one, &two), all);
        assert_eq!(classes(true, &one, &one), []);
        let copies = [["1", "a"], ["1", "a"], ["1", "a"], ["2", "b"]];
        let fewer = [["1", "a"], ["2", "b"], ["2", "b"]];
        assert_eq!(
            classes(false, &copies, &fewer),
            [(Class::Missing, 2), (Class::Extra, 1)]
        );
    }

    #[test]
    fn a_difference_names_the_column_and_both_values() {
        let (rows, folder) = (table(), folder(true));
        let shown = |cells: [Option<&[u8]>; 2]| Shown::of(&folder, &rows, &cells);
        let (one, two) = (
            shown([Some(b"7"), Some(b"old")]),
            shown([Some(b"7"), Some(b"\x00\x01")]),
        );
        let suspect = Suspect {
            class: Class::Different,
            key: 7,
            copies: 1,
            state: 0,
        };
        let told = difference(suspect, &folder, &rows, Some(&one), Some(&two));
        assert_eq!(told.key, [("k".to_owned(), Some("7".to_owned()))]);
        assert_eq!(told.columns.len(), 1);
        assert_eq!(told.columns[0].source.as_deref(), Some("old"));
        assert_eq!(told.columns[0].target.as_deref(), Some("0x0001"));
    }

    proptest! {
        /// The model: multisets of rows, compared as such.
        #[test]
        fn without_a_key_rows_are_compared_as_multisets(
            one in prop::collection::vec((0u8..6, 0u8..3), 0..40),
            two in prop::collection::vec((0u8..6, 0u8..3), 0..40),
        ) {
            let text = |rows: &[(u8, u8)]| -> Vec<[String; 2]> {
                rows.iter().map(|(k, v)| [k.to_string(), v.to_string()]).collect()
            };
            let (left, right) = (text(&one), text(&two));
            let cells = |rows: &'_ [[String; 2]]| -> Vec<Hashes> {
                let rows: Vec<_> = rows.iter().map(|r| [Some(&*r[0]), Some(&*r[1])]).collect();
                hashes(false, &rows)
            };
            let (mut left, mut right) = (cells(&left), cells(&right));
            let found = counts(&pair(&mut left, &mut right));
            let mut model: BTreeMap<(u8, u8), i64> = BTreeMap::new();
            one.iter().for_each(|row| *model.entry(*row).or_default() += 1);
            two.iter().for_each(|row| *model.entry(*row).or_default() -= 1);
            let missing: i64 = model.values().filter(|n| **n > 0).sum();
            let extra: i64 = -model.values().filter(|n| **n < 0).sum::<i64>();
            prop_assert_eq!((found.missing, found.extra), (missing as u64, extra as u64));
            prop_assert_eq!(found.different, 0);
        }
    }
}
