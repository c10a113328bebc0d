//! Texts of a column's character set as UTF-8, as the servers convert them.
//!
//! MariaDB 10.11 and MySQL 9 were asked for every character of every set of one and two bytes (three
//! where there are such), and answered alike; a character that isn't the same bytes again when it is
//! converted back counts as none, as in `types::select`.
//!
//! - `charsets.txt`: sets of one byte a character, the code points of the upper half (of swe7: of
//!   all), `none` for none.
//! - `charsets_wide.txt`: where the others differ from what the Web takes them for (`encoding_rs`), as
//!   runs `first bytes + count = first code point`.

use encoding_rs::{BIG5, EUC_JP, EUC_KR, Encoding, GB18030, GBK, SHIFT_JIS};

/// See the module.
const SINGLE: &str = include_str!("charsets.txt");
const WIDE: &str = include_str!("charsets_wide.txt");

/// A character set other than UTF-8.
#[derive(Clone, Debug)]
pub enum Charset {
    /// By byte; None = the server has no character for it.
    Single(Box<[Option<char>; 256]>),
    Wide(Box<Wide>),
    Ucs2,
    Utf16,
    Utf16le,
    Utf32,
}

/// Characters of one to four bytes; 0 (but for the byte 0) = none.
#[derive(Clone, Debug)]
pub struct Wide {
    encoding: &'static Encoding,
    ones: Vec<u16>,
    /// By both bytes.
    twos: Vec<u16>,
    /// Behind 0x8F, by both bytes; empty = there are none.
    threes: Vec<u16>,
}

impl Charset {
    /// None = not known; Some(None) = nothing to convert.
    pub fn of(name: Option<&str>) -> Option<Option<Charset>> {
        let Some(name) = name else {
            return Some(None);
        };
        Some(Some(match name {
            "ucs2" => Charset::Ucs2,
            "utf16" => Charset::Utf16,
            "utf16le" => Charset::Utf16le,
            "utf32" => Charset::Utf32,
            "ascii" => return Some(None),
            _ => match Wide::new(name) {
                Some(wide) => Charset::Wide(Box::new(wide)),
                None => Charset::Single(single(name)?),
            },
        }))
    }

    /// Appends the text; None = part of it has no character.
    pub fn utf8(&self, raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let mut push = |character: char| {
            let mut utf8 = [0; 4];
            out.extend_from_slice(character.encode_utf8(&mut utf8).as_bytes());
        };
        match self {
            Charset::Single(table) => {
                for byte in raw {
                    push(table[usize::from(*byte)]?);
                }
            }
            Charset::Wide(wide) => {
                let mut rest = raw;
                while !rest.is_empty() {
                    push(wide.next(&mut rest)?);
                }
            }
            Charset::Ucs2 | Charset::Utf16 | Charset::Utf16le => {
                let little = matches!(self, Charset::Utf16le);
                let unit = |pair: &[u8]| match little {
                    true => u16::from_le_bytes([pair[0], pair[1]]),
                    false => u16::from_be_bytes([pair[0], pair[1]]),
                };
                if !raw.len().is_multiple_of(2) {
                    return None;
                }
                let units = raw.chunks_exact(2).map(unit);
                for character in char::decode_utf16(units) {
                    let character = character.ok()?;
                    if matches!(self, Charset::Ucs2) && character.len_utf16() == 2 {
                        return None;
                    }
                    push(character);
                }
            }
            Charset::Utf32 => {
                if !raw.len().is_multiple_of(4) {
                    return None;
                }
                for four in raw.chunks_exact(4) {
                    let number = u32::from_be_bytes([four[0], four[1], four[2], four[3]]);
                    push(char::from_u32(number)?);
                }
            }
        }
        Some(())
    }
}

impl Wide {
    fn new(name: &str) -> Option<Wide> {
        let mut sets = WIDE
            .lines()
            .map(|line| line.split_once(' ').unwrap_or((line, "")));
        let (_, runs) = sets.find(|(found, _)| *found == name)?;
        let encoding = match name {
            "big5" => BIG5,
            "ujis" | "eucjpms" => EUC_JP,
            "sjis" | "cp932" => SHIFT_JIS,
            "euckr" => EUC_KR,
            "gb18030" => GB18030,
            _ => GBK,
        };
        // GB 2312 is the part of GBK that lies in here.
        let (leads, trails) = match name {
            "gb2312" => (0xa1..=0xf7, 0xa1..=0xfe),
            _ => (0x81..=0xfe, 0x40..=0xfe),
        };
        let has_threes = matches!(name, "ujis" | "eucjpms");
        let mut wide = Wide {
            encoding,
            ones: vec![0; 1 << 8],
            twos: vec![0; 1 << 16],
            threes: vec![0; if has_threes { 1 << 16 } else { 0 }],
        };
        for first in 0..=255 {
            wide.set(&[first], point(encoding, &[first]))?;
        }
        for first in leads {
            for second in trails.clone() {
                wide.set(&[first, second], point(encoding, &[first, second]))?;
            }
        }
        for first in 0xa1..=0xfe {
            for second in (0xa1..=0xfe).filter(|_| has_threes) {
                let bytes = [0x8f, first, second];
                wide.set(&bytes, point(encoding, &bytes))?;
            }
        }
        for run in runs.split_whitespace() {
            wide.except(run)?;
        }
        Some(wide)
    }

    /// Takes a run of exceptions.
    fn except(&mut self, run: &str) -> Option<()> {
        let (bytes, rest) = run.split_once('+')?;
        let (count, first) = rest.split_once('=')?;
        let bytes: Option<Vec<u8>> = (0..bytes.len() / 2)
            .map(|at| u8::from_str_radix(bytes.get(2 * at..2 * at + 2)?, 16).ok())
            .collect();
        let mut bytes = bytes?;
        for at in 0..count.parse().ok()? {
            let point = match first {
                "none" => 0,
                first => u16::from_str_radix(first, 16).ok()? + at,
            };
            self.set(&bytes, point)?;
            let last = bytes.last_mut()?;
            *last = last.wrapping_add(1);
        }
        Some(())
    }

    fn set(&mut self, bytes: &[u8], point: u16) -> Option<()> {
        let place = match bytes {
            [one] => self.ones.get_mut(usize::from(*one)),
            [first, second] => self.twos.get_mut(both(*first, *second)),
            [_, first, second] => self.threes.get_mut(both(*first, *second)),
            _ => None,
        };
        *place? = point;
        Some(())
    }

    /// Takes one character off a text.
    fn next(&self, rest: &mut &[u8]) -> Option<char> {
        let (point, length) = match **rest {
            [] => return None,
            [0, ..] => (0, 1),
            [one, ..] if self.ones[usize::from(one)] != 0 => (self.ones[usize::from(one)], 1),
            [0x8f, first, second, ..] if !self.threes.is_empty() => {
                (none_is_none(self.threes[both(first, second)])?, 3)
            }
            [_, 0x30..=0x39, _, _, ..] if self.encoding == GB18030 => {
                let (four, others) = rest.split_at(4);
                let text = self
                    .encoding
                    .decode_without_bom_handling_and_without_replacement(four);
                *rest = others;
                return text?.chars().next();
            }
            [first, second, ..] => (none_is_none(self.twos[both(first, second)])?, 2),
            _ => return None,
        };
        *rest = &rest[length..];
        char::from_u32(point.into())
    }
}

fn both(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

fn none_is_none(point: u16) -> Option<u16> {
    (point != 0).then_some(point)
}

/// The one character that some bytes are to the Web; 0 = none, or more, or beyond 16 bits.
fn point(encoding: &'static Encoding, bytes: &[u8]) -> u16 {
    let text = encoding.decode_without_bom_handling_and_without_replacement(bytes);
    let text = text.unwrap_or_default();
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(one), None) => u16::try_from(u32::from(one)).unwrap_or(0),
        _ => 0,
    }
}

fn single(name: &str) -> Option<Box<[Option<char>; 256]>> {
    let mut sets = SINGLE.lines().filter_map(|line| line.split_once(' '));
    let (_, points) = sets.find(|(found, _)| *found == name)?;
    let mut table = Box::new([None; 256]);
    let first = 256 - points.len() / 4;
    for (byte, place) in table.iter_mut().enumerate() {
        let point = match byte.checked_sub(first) {
            None => byte as u32,
            Some(at) => match points.get(4 * at..4 * at + 4)? {
                "none" => continue,
                point => u32::from_str_radix(point, 16).ok()?,
            },
        };
        *place = char::from_u32(point);
    }
    Some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_converted_or_refused() {
        let text = |name: &str, raw: &[u8]| {
            let charset = Charset::of(Some(name)).flatten().expect("known");
            let mut out = Vec::new();
            let whole = charset.utf8(raw, &mut out);
            whole.map(|()| String::from_utf8(out).expect("UTF-8"))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(text("latin1", b"\x80\x81\xe9a"), some("€\u{81}éa"));
        assert_eq!(text("koi8r", b"\xf0\xd2\xc9"), some("При"));
        assert_eq!(text("swe7", b"[a"), some("Äa"));
        assert_eq!(text("cp1257", b"a\xa1"), None);
        assert_eq!(text("utf16", b"\xd8\x3d\xde\x00"), some("😀"));
        assert_eq!(text("ucs2", b"\xd8\x3d\xde\x00"), None);
        assert_eq!(text("ucs2", b"\x00"), None);
        assert_eq!(text("utf32", b"\x00\x01\xf6\x00"), some("😀"));
        assert_eq!(text("sjis", b"\x95\x5c\xb1"), some("表ｱ"));
        assert_eq!(text("sjis", b"\\"), None);
        assert_eq!(text("gbk", b"a\xd5\x5c"), some("a誠"));
        assert_eq!(text("gbk", b"\xd5"), None);
        assert_eq!(text("ujis", b"\x8f\xf5\xa2"), some("\u{e3ad}"));
        assert_eq!(text("gb18030", b"\x94\x39\xfc\x36"), some("😀"));
        for line in WIDE.lines() {
            let (name, _) = line.split_once(' ').unwrap_or((line, ""));
            assert!(Wide::new(name).is_some(), "{name}");
        }
        for line in SINGLE.lines() {
            let (name, points) = line.split_once(' ').expect("name and points");
            assert!(matches!(points.len(), 512 | 1024), "{name}");
            assert!(single(name).is_some(), "{name}");
        }
    }
}
