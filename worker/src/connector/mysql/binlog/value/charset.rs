//! Texts of a column's character set as UTF-8, as the servers convert them.
//!
//! `charsets.txt` has the sets of one byte a character, as MariaDB 10.11 and MySQL 9 answered alike
//! when asked for every byte: the code points of the upper half (of swe7: of all), `fffd` for a byte
//! that isn't the same again when it is converted back.

/// See the module.
const SINGLE: &str = include_str!("charsets.txt");

/// A character set other than UTF-8.
#[derive(Clone, Debug)]
pub enum Charset {
    /// By byte; None = the server has no character for it.
    Single(Box<[Option<char>; 256]>),
    Ucs2,
    Utf16,
    Utf16le,
    Utf32,
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
            _ => Charset::Single(single(name)?),
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
            Charset::Ucs2 | Charset::Utf16 | Charset::Utf16le => {
                let little = matches!(self, Charset::Utf16le);
                let unit = |pair: &[u8]| match little {
                    true => u16::from_le_bytes([pair[0], pair[1]]),
                    false => u16::from_be_bytes([pair[0], pair[1]]),
                };
                if raw.len() % 2 != 0 {
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
                if raw.len() % 4 != 0 {
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

fn single(name: &str) -> Option<Box<[Option<char>; 256]>> {
    let mut sets = SINGLE.lines().filter_map(|line| line.split_once(' '));
    let (_, points) = sets.find(|(found, _)| *found == name)?;
    let mut table = Box::new([None; 256]);
    let first = 256 - points.len() / 4;
    for (byte, place) in table.iter_mut().enumerate() {
        let point = match byte.checked_sub(first) {
            None => byte as u32,
            Some(at) => u32::from_str_radix(points.get(4 * at..4 * at + 4)?, 16).ok()?,
        };
        *place = char::from_u32(point).filter(|character| *character != '\u{fffd}');
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
        for line in SINGLE.lines() {
            let (name, points) = line.split_once(' ').expect("name and points");
            assert!(matches!(points.len(), 512 | 1024), "{name}");
            assert!(single(name).is_some(), "{name}");
        }
    }
}
