//! A row batch as the file of a LOAD DATA LOCAL: escaped lazily, piece by piece, so that a cell of
//! 64 MiB is never copied whole.
//!
//! Cells end with TAB, rows with LF; NUL, TAB, LF and backslash inside a cell are escaped, which
//! together with `CHARACTER SET binary` carries every byte (measured). NULL is `\N`.

use std::sync::Arc;

use bytes::Bytes;
use common::value::{CellCursor, RowBatch};
use futures::StreamExt;
use mysql_async::InfileData;

/// Size of one piece: also the driver's packet, which it copies twice.
const SLICE_BYTES: usize = 256 << 10;

/// What follows the table's name in every LOAD DATA of ours.
pub const FORMAT: &str = "CHARACTER SET binary FIELDS TERMINATED BY '\\t' ENCLOSED BY '' \
                          ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' STARTING BY ''";

/// The batch as a stream of pieces.
pub fn stream(batch: Arc<RowBatch>) -> InfileData {
    futures::stream::iter(Slices::new(batch).map(Ok)).boxed()
}

struct Slices {
    batch: Arc<RowBatch>,
    /// The cell being written.
    cursor: CellCursor,
    /// Its column.
    column: usize,
    /// Bytes of it that are written.
    within: usize,
}

impl Slices {
    fn new(batch: Arc<RowBatch>) -> Slices {
        Slices {
            batch,
            cursor: CellCursor::default(),
            column: 0,
            within: 0,
        }
    }
}

impl Iterator for Slices {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let wanted = SLICE_BYTES.min(self.batch.bytes() + 1_024);
        let mut slice = Vec::with_capacity(wanted + 64);
        while slice.len() < SLICE_BYTES {
            let mut after = self.cursor;
            let Some(cell) = self.batch.next_cell(&mut after) else {
                break;
            };
            match cell {
                None => slice.extend_from_slice(b"\\N"),
                Some(cell) => {
                    let rest = &cell[self.within..];
                    self.within += escape(rest, SLICE_BYTES, &mut slice);
                    if self.within < cell.len() {
                        break;
                    }
                }
            }
            self.cursor = after;
            self.within = 0;
            self.column += 1;
            if self.column == self.batch.columns() {
                self.column = 0;
                slice.push(b'\n');
            } else {
                slice.push(b'\t');
            }
        }
        (!slice.is_empty()).then(|| Bytes::from(slice))
    }
}

/// Appends `cell`, escaped, until it ends or `out` holds `until` bytes; returns the bytes taken.
fn escape(cell: &[u8], until: usize, out: &mut Vec<u8>) -> usize {
    let mut taken = 0;
    while taken < cell.len() && out.len() < until {
        let room = until - out.len();
        let span = &cell[taken..cell.len().min(taken + room)];
        let clean = span
            .iter()
            .position(|byte| matches!(byte, 0 | b'\t' | b'\n' | b'\\'))
            .unwrap_or(span.len());
        out.extend_from_slice(&span[..clean]);
        taken += clean;
        if let Some(special) = span.get(clean) {
            let letter = match special {
                0 => b'0',
                b'\t' => b't',
                b'\n' => b'n',
                other => *other,
            };
            out.extend_from_slice(&[b'\\', letter]);
            taken += 1;
        }
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(batch: RowBatch) -> (Vec<u8>, usize) {
        let slices: Vec<Bytes> = Slices::new(Arc::new(batch)).collect();
        let longest = slices.iter().map(Bytes::len).max().unwrap_or(0);
        (slices.concat(), longest)
    }

    #[test]
    fn special_bytes_and_nulls_are_escaped() {
        let mut batch = RowBatch::new(2);
        batch.push(b"a\0b\tc\nd\\e");
        batch.push_null();
        batch.push(b"");
        batch.push(b"\\N");
        let (file, _) = file(batch);
        assert_eq!(file, b"a\\0b\\tc\\nd\\\\e\t\\N\n\t\\\\N\n");
    }

    #[test]
    fn a_long_cell_comes_in_pieces_and_whole() {
        let mut cell = vec![b'x'; SLICE_BYTES * 3 + 17];
        cell[SLICE_BYTES - 1] = 0;
        cell[SLICE_BYTES] = b'\n';
        let mut batch = RowBatch::new(1);
        batch.push(&cell);
        batch.push(b"y");
        let (file, longest) = file(batch);
        assert!(longest <= SLICE_BYTES + 2, "{longest}");
        assert_eq!(file.len(), cell.len() + 2 + 1 + 2);
        assert!(file.ends_with(b"x\ny\n"));
    }

    #[test]
    fn an_empty_cell_alone_is_a_line() {
        let mut batch = RowBatch::new(1);
        batch.push(b"");
        assert_eq!(file(batch).0, b"\n");
    }
}
