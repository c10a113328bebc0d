//! MySQL's binary JSON as the text the server prints. (MariaDB's JSON is text.)

use super::moment::old::within_json;
use super::number::{decimal, decimal_bytes, double, signed, unsigned};

/// The server's own bound, with room.
const DEPTH_MAX: usize = 128;

const OBJECT: u8 = 0;
const LARGE_OBJECT: u8 = 1;
const ARRAY: u8 = 2;
const LARGE_ARRAY: u8 = 3;
const LITERAL: u8 = 4;
const INT16: u8 = 5;
const UINT16: u8 = 6;
const INT32: u8 = 7;
const UINT32: u8 = 8;
const INT64: u8 = 9;
const UINT64: u8 = 10;
const DOUBLE: u8 = 11;
const STRING: u8 = 12;
const OPAQUE: u8 = 15;

// Types of columns that an opaque value may be of.
const TIMESTAMP: u8 = 7;
const DATE: u8 = 10;
const TIME: u8 = 11;
const DATETIME: u8 = 12;
const DECIMAL: u8 = 246;

/// Appends the text; None = these bytes are no such value.
pub fn text(out: &mut Vec<u8>, raw: &[u8]) -> Option<()> {
    match raw.split_first() {
        // What the server stores where a statement told it to ignore that there is no value.
        None => out.extend_from_slice(b"null"),
        Some((kind, data)) => value(out, *kind, data, 0)?,
    }
    Some(())
}

fn number<const N: usize>(data: &[u8]) -> Option<[u8; N]> {
    data.get(..N)?.try_into().ok()
}

fn value(out: &mut Vec<u8>, kind: u8, data: &[u8], depth: usize) -> Option<()> {
    match kind {
        OBJECT | LARGE_OBJECT | ARRAY | LARGE_ARRAY if depth < DEPTH_MAX => {
            container(out, kind, data, depth)?;
        }
        LITERAL => out.extend_from_slice(match data.first()? {
            0 => b"null",
            1 => b"true",
            2 => b"false",
            _ => return None,
        }),
        INT16 => signed(out, i16::from_le_bytes(number(data)?).into()),
        UINT16 => unsigned(out, u16::from_le_bytes(number(data)?).into()),
        INT32 => signed(out, i32::from_le_bytes(number(data)?).into()),
        UINT32 => unsigned(out, u32::from_le_bytes(number(data)?).into()),
        INT64 => signed(out, i64::from_le_bytes(number(data)?)),
        UINT64 => unsigned(out, u64::from_le_bytes(number(data)?)),
        DOUBLE => float(out, f64::from_le_bytes(number(data)?)),
        STRING => quoted(out, counted(data)?),
        OPAQUE => {
            let (kind, rest) = data.split_first()?;
            opaque(out, *kind, counted(rest)?)?;
        }
        _ => return None,
    }
    Some(())
}

/// A whole number gets `.0`, so that it stays a double.
fn float(out: &mut Vec<u8>, number: f64) {
    let start = out.len();
    double(out, number);
    if !out[start..].iter().any(|b| matches!(b, b'.' | b'e')) {
        out.extend_from_slice(b".0");
    }
}

/// Bytes behind their length: seven bits in each byte, the lowest first.
fn counted(data: &[u8]) -> Option<&[u8]> {
    let mut length = 0;
    for (at, byte) in data.iter().enumerate().take(5) {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return data.get(at + 1..)?.get(..length);
        }
    }
    None
}

/// Counts and offsets of a container: two bytes each in a small one, four in a large one.
fn size(data: &[u8], at: usize, large: bool) -> Option<usize> {
    let data = data.get(at..)?;
    match large {
        true => u32::from_le_bytes(number(data)?).try_into().ok(),
        false => Some(u16::from_le_bytes(number(data)?).into()),
    }
}

fn container(out: &mut Vec<u8>, kind: u8, data: &[u8], depth: usize) -> Option<()> {
    let large = matches!(kind, LARGE_OBJECT | LARGE_ARRAY);
    let is_object = matches!(kind, OBJECT | LARGE_OBJECT);
    let word = if large { 4 } else { 2 };
    let count = size(data, 0, large)?;
    let data = data.get(..size(data, word, large)?)?;
    let keys = 2 * word;
    let values = keys + if is_object { count * (word + 2) } else { 0 };
    out.push(if is_object { b'{' } else { b'[' });
    for at in 0..count {
        if at > 0 {
            out.extend_from_slice(b", ");
        }
        if is_object {
            let entry = keys + at * (word + 2);
            let offset = size(data, entry, large)?;
            let length = size(data, entry + word, false)?;
            quoted(out, data.get(offset..)?.get(..length)?);
            out.extend_from_slice(b": ");
        }
        let entry = values + at * (word + 1);
        let kind = *data.get(entry)?;
        let inline =
            matches!(kind, LITERAL | INT16 | UINT16) || (large && matches!(kind, INT32 | UINT32));
        let place = match inline {
            true => entry + 1,
            false => size(data, entry + 1, large)?,
        };
        value(out, kind, data.get(place..)?, depth + 1)?;
    }
    out.push(if is_object { b'}' } else { b']' });
    Some(())
}

fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            8 => out.extend_from_slice(b"\\b"),
            9 => out.extend_from_slice(b"\\t"),
            10 => out.extend_from_slice(b"\\n"),
            12 => out.extend_from_slice(b"\\f"),
            13 => out.extend_from_slice(b"\\r"),
            0..0x20 => {
                let hex = b"0123456789abcdef";
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex[high], hex[low]]);
            }
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}

fn opaque(out: &mut Vec<u8>, kind: u8, data: &[u8]) -> Option<()> {
    match kind {
        DECIMAL => {
            let [precision, scale] = number(data)?;
            let raw = data.get(2..)?;
            if raw.len() < decimal_bytes(precision, scale) || scale > precision {
                return None;
            }
            decimal(out, raw, precision, scale, false);
        }
        DATE | TIME | DATETIME | TIMESTAMP => {
            let packed = i64::from_le_bytes(number(data)?);
            out.push(b'"');
            within_json(out, packed, kind != TIME, kind != DATE);
            out.push(b'"');
        }
        _ => {
            out.extend_from_slice(b"\"base64:type");
            unsigned(out, kind.into());
            out.push(b':');
            base64(out, data);
            out.push(b'"');
        }
    }
    Some(())
}

/// As the server writes it: a line break, escaped, after 76 characters.
fn base64(out: &mut Vec<u8>, data: &[u8]) {
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (group, bytes) in data.chunks(3).enumerate() {
        if group > 0 && group % 19 == 0 {
            out.extend_from_slice(b"\\n");
        }
        let byte = |at: usize| usize::from(bytes.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            match place <= bytes.len() {
                true => out.push(alphabet[bits >> (18 - 6 * place) & 63]),
                false => out.push(b'='),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_json_are_told_and_end() {
        for raw in [
            &b"\x00\x01\x00\xff\xff"[..],
            b"\x02\x01\x00\x07\x00\x02\x00\x00",
            b"\x0c\xff\xff\xff\xff\xff",
            b"\x0f\xf6\x02\x41\x41",
            b"\x07\x00",
        ] {
            assert_eq!(text(&mut Vec::new(), raw), None, "{raw:x?}");
        }
        let mut out = Vec::new();
        text(&mut out, b"\x02\x02\x00\x0a\x00\x05\xff\xff\x04\x01\x00").expect("valid");
        assert_eq!(out, b"[-1, true]");
    }
}
