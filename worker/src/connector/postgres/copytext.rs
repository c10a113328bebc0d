//! The text format of COPY: rows as lines, cells between tabs, `\N` for NULL, a backslash before
//! what would be read as one of these.

use common::code::Code;
use common::limits;
use common::value::{CellCursor, RowBatch};

use super::types::Shape;
use crate::connector::{Error, Result};

/// The longest cell the server takes: its buffers end there (MaxAllocSize).
const SERVER_CELL_MAX: usize = 0x3fff_ffff - 64;
/// A long cell is encoded in pieces of this many bytes.
const PIECE: usize = 128 << 10;

/// A column of the table that is read or written.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    pub shape: Shape,
}

/// Appends the row of `line` (without its newline) to `batch`.
pub fn decode_row(table: &str, fields: &[Field], line: &[u8], batch: &mut RowBatch) -> Result<()> {
    if fields.is_empty() {
        batch.push_bare_row();
        return Ok(());
    }
    let mut tabs = memchr::memchr_iter(b'\t', line).chain([line.len()]);
    let mut start = 0;
    for field in fields {
        let Some(end) = tabs.next() else {
            let what = format!("table {table}: a row of COPY has too few cells");
            return Err(Error::permanent(Code::Internal, what));
        };
        let cell = &line[start..end];
        start = end + 1;
        if cell == b"\\N" {
            batch.push_null();
            continue;
        }
        let length = match field.shape {
            Shape::Hex => cell.len() / 2,
            _ => cell.len(),
        };
        if length > limits::CELL_BYTES_MAX {
            let what = format!("{table}.{} holds {length} bytes", field.name);
            return Err(Error::permanent(Code::UnsupportedType, what));
        }
        // COPY doubles the backslash of `\\x`.
        let cell = match field.shape {
            Shape::Hex => cell.strip_prefix(b"\\").unwrap_or(cell),
            _ => cell,
        };
        decode_cell(field.shape, cell, batch).map_err(|reason| {
            let what = format!("{table}.{}: {reason}", field.name);
            Error::permanent(Code::Internal, what)
        })?;
    }
    Ok(())
}

/// Appends `cell` in its shape; bytes as their type prints them.
pub fn decode_cell(
    shape: Shape,
    cell: &[u8],
    batch: &mut RowBatch,
) -> std::result::Result<(), &'static str> {
    match shape {
        Shape::Escaped => batch.push(cell),
        Shape::Text => batch.push_with(|out| unescape(cell, out)),
        Shape::Hex => {
            let digits = cell
                .strip_prefix(b"\\x")
                .ok_or("bytes that don't begin with \\x")?;
            let mut whole = digits.len().is_multiple_of(2);
            batch.push_with(|out| {
                for pair in digits.chunks_exact(2) {
                    match digit(pair[0]).zip(digit(pair[1])) {
                        Some((high, low)) => out.push(high << 4 | low),
                        None => whole = false,
                    }
                }
            });
            if !whole {
                return Err("bytes that aren't hexadecimal");
            }
        }
        Shape::Bits(_) => {
            let text = std::str::from_utf8(cell).unwrap_or_default();
            let number = u64::from_str_radix(text, 2).map_err(|_| "more than 64 bits")?;
            batch.push(number.to_string().as_bytes());
        }
    }
    Ok(())
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Undoes COPY's escapes.
pub fn unescape(cell: &[u8], out: &mut Vec<u8>) {
    let mut rest = cell;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        out.extend_from_slice(&rest[..at]);
        let escaped = rest.get(at + 1).copied().unwrap_or(b'\\');
        out.push(match escaped {
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 11,
            other => other,
        });
        rest = rest.get(at + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// A batch on its way to the server, piece by piece.
pub struct Encoder<'a> {
    table: &'a str,
    fields: &'a [Field],
    batch: &'a RowBatch,
    cursor: CellCursor,
    /// The column of the next cell.
    column: usize,
    /// What is left of the cell being written.
    rest: Option<&'a [u8]>,
    bare_rows: usize,
}

impl<'a> Encoder<'a> {
    pub fn new(table: &'a str, fields: &'a [Field], batch: &'a RowBatch) -> Encoder<'a> {
        Encoder {
            table,
            fields,
            batch,
            cursor: CellCursor::default(),
            column: 0,
            rest: None,
            bare_rows: if fields.is_empty() { batch.rows() } else { 0 },
        }
    }

    /// Appends about `enough` bytes to `out`; appending nothing is the end.
    pub fn fill(&mut self, out: &mut Vec<u8>, enough: usize) -> Result<()> {
        while self.bare_rows > 0 && out.len() < enough {
            out.push(b'\n');
            self.bare_rows -= 1;
        }
        while out.len() < enough {
            if let Some(rest) = self.rest.take() {
                let (piece, rest) = rest.split_at(rest.len().min(PIECE));
                self.piece(piece, out)?;
                match rest.is_empty() {
                    true => self.end_cell(out),
                    false => self.rest = Some(rest),
                }
                continue;
            }
            let Some(cell) = self.batch.next_cell(&mut self.cursor) else {
                break;
            };
            match cell {
                Some(cell) => self.begin_cell(cell, out)?,
                None => {
                    out.extend_from_slice(b"\\N");
                    self.end_cell(out);
                }
            }
        }
        Ok(())
    }

    fn begin_cell(&mut self, cell: &'a [u8], out: &mut Vec<u8>) -> Result<()> {
        let shape = self.fields[self.column].shape;
        let length = match shape {
            Shape::Hex => cell.len() * 2 + 2,
            _ => cell.len(),
        };
        if length > SERVER_CELL_MAX {
            return Err(self.refuse(&format!("{} bytes are too long", cell.len())));
        }
        if shape == Shape::Hex {
            out.extend_from_slice(b"\\\\x");
        }
        if let Shape::Bits(width) = shape {
            let text = std::str::from_utf8(cell).unwrap_or_default();
            let Ok(number) = text.parse::<u64>() else {
                return Err(self.refuse(&format!("{text:?} is no number of bits")));
            };
            out.extend_from_slice(format!("{number:0width$b}").as_bytes());
            self.end_cell(out);
            return Ok(());
        }
        self.rest = Some(cell);
        Ok(())
    }

    fn piece(&self, piece: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match self.fields[self.column].shape {
            Shape::Escaped => out.extend_from_slice(piece),
            Shape::Hex => {
                const DIGITS: &[u8; 16] = b"0123456789abcdef";
                out.reserve(piece.len() * 2);
                for byte in piece {
                    out.push(DIGITS[usize::from(byte >> 4)]);
                    out.push(DIGITS[usize::from(byte & 15)]);
                }
            }
            Shape::Text | Shape::Bits(_) => {
                if piece.contains(&0) {
                    return Err(self.refuse("text with a NUL byte"));
                }
                escape(piece, out);
            }
        }
        Ok(())
    }

    fn end_cell(&mut self, out: &mut Vec<u8>) {
        self.column += 1;
        if self.column == self.fields.len() {
            self.column = 0;
            out.push(b'\n');
        } else {
            out.push(b'\t');
        }
    }

    fn refuse(&self, why: &str) -> Error {
        let column = self.fields.get(self.column).map_or("", |field| &field.name);
        let what = format!("{}.{column}: {why}", self.table);
        Error::permanent(Code::NotRepresentable, what)
    }
}

fn escape(mut rest: &[u8], out: &mut Vec<u8>) {
    let special = |byte: &u8| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t');
    while let Some(at) = rest.iter().position(special) {
        out.extend_from_slice(&rest[..at]);
        out.push(b'\\');
        out.push(match rest[at] {
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            other => other,
        });
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(shape: Shape) -> Field {
        let name = "c".to_owned();
        Field { name, shape }
    }

    /// Encodes in pieces of one byte, then reads it back.
    fn there_and_back(fields: &[Field], batch: &RowBatch) -> (String, RowBatch) {
        let mut encoder = Encoder::new("t", fields, batch);
        let mut all = Vec::new();
        loop {
            let mut piece = Vec::new();
            encoder.fill(&mut piece, 1).expect("can be written");
            if piece.is_empty() {
                break;
            }
            all.extend(piece);
        }
        let text = String::from_utf8_lossy(&all).into_owned();
        let mut read = RowBatch::new(fields.len());
        for line in all.split_inclusive(|byte| *byte == b'\n') {
            decode_row("t", fields, &line[..line.len() - 1], &mut read).expect("a row");
        }
        (text, read)
    }

    #[test]
    fn every_cell_comes_back() {
        let fields = [field(Shape::Text), field(Shape::Hex), field(Shape::Bits(4))];
        let mut batch = RowBatch::new(3);
        for (text, bytes, bits) in [
            (&b"a\tb\nc\\d\r\x08"[..], &b"\0\xff\\"[..], &b"5"[..]),
            (b"\\N", b"", b"0"),
            (b"\\.", b"x", b"15"),
        ] {
            batch.push(text);
            batch.push(bytes);
            batch.push(bits);
        }
        batch.push_null();
        batch.push_null();
        batch.push(b"1");
        let (text, read) = there_and_back(&fields, &batch);
        assert!(
            text.starts_with("a\\tb\\nc\\\\d\\r\u{8}\t\\\\x00ff5c\t0101\n\\\\N\t\\\\x\t0000\n")
        );
        let cells: Vec<_> = read.cells().collect();
        assert_eq!(cells, batch.cells().collect::<Vec<_>>());
    }

    #[test]
    fn rows_without_columns_are_empty_lines() {
        let mut batch = RowBatch::new(0);
        batch.push_bare_row();
        batch.push_bare_row();
        let (text, read) = there_and_back(&[], &batch);
        assert_eq!((text.as_str(), read.rows()), ("\n\n", 2));
    }

    #[test]
    fn a_nul_in_text_names_the_column() {
        let mut batch = RowBatch::new(1);
        batch.push(b"a\0b");
        let fields = [field(Shape::Text)];
        let error = Encoder::new("t", &fields, &batch).fill(&mut Vec::new(), 100);
        let failure = error.expect_err("refused").failure;
        assert_eq!(failure.code, Code::NotRepresentable);
        assert!(failure.what.starts_with("t.c:"), "{failure}");
    }
}
