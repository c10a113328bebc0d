//! What MariaDB compresses: whole events of its log (`log_bin_compress`) and values of COMPRESSED
//! columns. Pure: bytes in, bytes out.

use std::io::Read;

use common::code::Code;
use common::limits;
use flate2::read::{DeflateDecoder, ZlibDecoder};

use crate::connector::{Error, Result};

fn damaged(what: &str) -> Error {
    let what = format!("the source's log holds compressed bytes that can't be read: {what}");
    Error::permanent(Code::SourceFailed, what)
}

/// The event type and the payload that the payload `data` of a compressed event of type `kind`
/// stands for. What comes before the compressed part stays as it is.
pub fn uncompress(kind: u8, data: &[u8]) -> Result<(u8, Vec<u8>)> {
    let (plain_kind, before) = match kind {
        165 => (2, before_statement(data)),
        166 => (23, before_rows(data, 1)),
        167 => (24, before_rows(data, 2)),
        168 => (25, before_rows(data, 1)),
        _ => return Err(damaged(&format!("an event of type {kind}"))),
    };
    let parts = before.and_then(|before| data.split_at_checked(before));
    let (before, part) = parts.ok_or_else(|| damaged("the event is too short"))?;
    let mut plain = before.to_vec();
    uncompress_part(part, &mut plain)?;
    Ok((plain_kind, plain))
}

/// Thread, time, length of the database's name, error, length of the variables; these; the name and
/// a zero.
fn before_statement(data: &[u8]) -> Option<usize> {
    let database = usize::from(*data.get(8)?);
    let variables = u16::from_le_bytes(data.get(11..13)?.try_into().ok()?);
    Some(13 + usize::from(variables) + database + 1)
}

/// Table and flags, the number of columns, a bit for each in every image.
fn before_rows(data: &[u8], images: usize) -> Option<usize> {
    let columns = usize::from(*data.get(8)?);
    let (columns, bytes) = match columns {
        0..=250 => (columns, 1),
        252 => (
            usize::from(u16::from_le_bytes(data.get(9..11)?.try_into().ok()?)),
            3,
        ),
        _ => return None,
    };
    Some(8 + bytes + images * columns.div_ceil(8))
}

/// A byte of algorithm and size of the length, the length (big-endian), the bytes.
fn uncompress_part(data: &[u8], plain: &mut Vec<u8>) -> Result<()> {
    let (head, rest) = data.split_first().ok_or_else(|| damaged("nothing there"))?;
    if head & 0x80 == 0 || (head & 0x70) >> 4 != 0 {
        return Err(damaged(&format!("unknown algorithm {head:#04x}")));
    }
    let (length, packed) = length_of(rest, usize::from(head & 0x07))?;
    inflate(ZlibDecoder::new(packed), length, plain)
}

/// The value of a COMPRESSED column: nothing, or a byte of method, wrapping and size of the length,
/// the length (big-endian), the bytes; method 0 = the bytes as they are.
pub fn uncompress_value(data: &[u8], plain: &mut Vec<u8>) -> Result<()> {
    let Some((head, rest)) = data.split_first() else {
        return Ok(());
    };
    match head >> 4 {
        0 => plain.extend_from_slice(rest),
        8 => {
            let (length, packed) = length_of(rest, usize::from(head & 0x07))?;
            match head & 0x08 {
                0 => inflate(ZlibDecoder::new(packed), length, plain)?,
                _ => inflate(DeflateDecoder::new(packed), length, plain)?,
            }
        }
        method => return Err(damaged(&format!("unknown method {method}"))),
    }
    Ok(())
}

fn length_of(rest: &[u8], bytes: usize) -> Result<(usize, &[u8])> {
    if !(1..=4).contains(&bytes) || rest.len() < bytes {
        return Err(damaged("its length is missing"));
    }
    let (length, packed) = rest.split_at(bytes);
    let length = length
        .iter()
        .fold(0, |length, byte| length << 8 | usize::from(*byte));
    match length <= limits::CELL_BYTES_MAX {
        true => Ok((length, packed)),
        false => Err(damaged(&format!(
            "{length} bytes are more than a row may have"
        ))),
    }
}

/// Appends exactly `length` bytes.
fn inflate(reader: impl Read, length: usize, plain: &mut Vec<u8>) -> Result<()> {
    let before = plain.len();
    // One byte more, to see a stream that is longer than it says.
    let read = reader.take(length as u64 + 1).read_to_end(plain);
    match read {
        Ok(_) if plain.len() - before == length => Ok(()),
        Ok(_) => Err(damaged("they are longer or shorter than they say")),
        Err(error) => Err(damaged(&error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn packed(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), Default::default());
        encoder.write_all(plain).expect("in memory");
        encoder.finish().expect("in memory")
    }

    #[test]
    fn events_and_values_come_out_whole_or_not_at_all() {
        let plain = b"abcabcabc".repeat(100);
        let mut part = vec![0x82, (plain.len() >> 8) as u8, plain.len() as u8];
        part.extend(packed(&plain));
        let event = |part: &[u8]| [&b"tttttt\0\0\x09\xff\x01"[..], part].concat();
        let (kind, whole) = uncompress(166, &event(&part)).expect("whole");
        assert_eq!((kind, whole), (23, event(&plain)));
        part[2] += 1;
        uncompress(166, &event(&part)).expect_err("shorter than it says");
        uncompress(166, b"tttttt").expect_err("no columns");
        part[2] -= 1;
        let mut out = Vec::new();
        uncompress_value(&part, &mut out).expect("whole");
        uncompress_value(b"\0plain", &mut out).expect("whole");
        assert_eq!(out, [plain.as_slice(), b"plain"].concat());
    }
}
