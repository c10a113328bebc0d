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

/// The part of a MariaDB event that is compressed, in plain: a byte of algorithm and size of the
/// length, the length (big-endian), the bytes.
pub fn uncompress(data: &[u8]) -> Result<Vec<u8>> {
    let (head, rest) = data.split_first().ok_or_else(|| damaged("nothing there"))?;
    if head & 0x80 == 0 || (head & 0x70) >> 4 != 0 {
        return Err(damaged(&format!("unknown algorithm {head:#04x}")));
    }
    let (length, packed) = length_of(rest, usize::from(head & 0x07))?;
    let mut plain = Vec::new();
    inflate(ZlibDecoder::new(packed), length, &mut plain)?;
    Ok(plain)
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
        let mut event = vec![0x82, (plain.len() >> 8) as u8, plain.len() as u8];
        event.extend(packed(&plain));
        assert_eq!(uncompress(&event).expect("whole"), plain);
        event[2] += 1;
        uncompress(&event).expect_err("shorter than it says");
        let (mut value, mut out) = (event.clone(), Vec::new());
        value[2] -= 1;
        uncompress_value(&value, &mut out).expect("whole");
        uncompress_value(b"\0plain", &mut out).expect("whole");
        assert_eq!(out, [plain.as_slice(), b"plain"].concat());
        uncompress(b"").expect_err("nothing");
    }
}
