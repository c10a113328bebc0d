//! Texts of a column's character set as UTF-8, as the servers convert them; see `charsets.txt`.

/// A character set other than UTF-8.
#[derive(Debug)]
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
            _ => return None,
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
