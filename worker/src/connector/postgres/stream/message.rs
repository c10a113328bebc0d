//! The messages of `pgoutput`, protocol 1, as the log has them: bytes to numbers and places. Knows
//! no table of the job.

use common::code::Code;

use crate::connector::{Error, Result};

/// What was done to rows. Begin, Commit and logical messages come by themselves.
#[derive(Debug)]
pub enum Message<'a> {
    Relation(Relation),
    Insert {
        relation: u32,
        new: &'a [u8],
    },
    Update {
        relation: u32,
        old: Option<Old>,
        /// The tuples, one after the other.
        tuples: &'a [u8],
    },
    Delete {
        relation: u32,
        old: Old,
        tuple: &'a [u8],
    },
    Truncate {
        relations: Vec<u32>,
    },
    /// Type, Origin: nothing that is needed.
    Other,
}

/// What of an old row is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Old {
    Key,
    Whole,
}

/// A table as it is at this place of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub columns: Vec<RelationColumn>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationColumn {
    pub name: String,
    /// Is in old rows of which the log has the key only.
    pub is_identity: bool,
    pub type_oid: u32,
    pub modifier: i32,
}

/// A cell of a tuple: where its text is in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Null,
    /// Not in the log because it didn't change.
    Unchanged,
    Text {
        start: usize,
        end: usize,
    },
}

/// Reads a message; one of an unknown kind is an error.
pub fn parse(data: &[u8]) -> Result<Message<'_>> {
    let mut rest = Bytes(data);
    Ok(match rest.byte()? {
        b'R' => Message::Relation(relation(&mut rest)?),
        b'I' => {
            let relation = rest.number()?;
            match rest.byte()? {
                b'N' => Message::Insert {
                    relation,
                    new: rest.0,
                },
                other => return Err(unknown("an inserted row", other)),
            }
        }
        b'U' => {
            let relation = rest.number()?;
            let old = match rest.byte()? {
                b'K' => Some(Old::Key),
                b'O' => Some(Old::Whole),
                b'N' => None,
                other => return Err(unknown("an updated row", other)),
            };
            Message::Update {
                relation,
                old,
                tuples: rest.0,
            }
        }
        b'D' => {
            let relation = rest.number()?;
            let old = match rest.byte()? {
                b'K' => Old::Key,
                b'O' => Old::Whole,
                other => return Err(unknown("a deleted row", other)),
            };
            Message::Delete {
                relation,
                old,
                tuple: rest.0,
            }
        }
        b'T' => {
            let count = rest.number()?;
            // CASCADE and RESTART IDENTITY: the tables are listed, sequences aren't in the log.
            rest.byte()?;
            let relations: Result<Vec<u32>> = (0..count).map(|_| rest.number()).collect();
            Message::Truncate {
                relations: relations?,
            }
        }
        b'Y' | b'O' | b'M' => Message::Other,
        other => return Err(unknown("a message", other)),
    })
}

/// Reads the tuple at the beginning of `data` into `places`; returns how long it is.
pub fn tuple(data: &[u8], places: &mut Vec<Place>) -> Result<usize> {
    places.clear();
    let mut rest = Bytes(data);
    let columns = rest.short()?;
    for _ in 0..columns {
        places.push(match rest.byte()? {
            b'n' => Place::Null,
            b'u' => Place::Unchanged,
            b't' => {
                let length = rest.number()? as usize;
                let start = data.len() - rest.0.len();
                rest.take(length)?;
                let end = start + length;
                Place::Text { start, end }
            }
            other => return Err(unknown("a cell", other)),
        });
    }
    Ok(data.len() - rest.0.len())
}

/// The tuple of the new row, behind the old one and the letter between.
pub fn new_tuple(data: &[u8], places: &mut Vec<Place>) -> Result<usize> {
    let mut rest = Bytes(data);
    match rest.byte()? {
        b'N' => Ok(tuple(rest.0, places)? + 1),
        other => Err(unknown("an updated row", other)),
    }
}

fn relation(rest: &mut Bytes<'_>) -> Result<Relation> {
    let oid = rest.number()?;
    let schema = rest.text()?;
    let name = rest.text()?;
    // The replica identity: what it comes to is said column by column.
    rest.byte()?;
    let count = rest.short()?;
    let mut columns = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let is_identity = rest.byte()? & 1 == 1;
        columns.push(RelationColumn {
            name: rest.text()?,
            is_identity,
            type_oid: rest.number()?,
            modifier: rest.number()? as i32,
        });
    }
    let schema = match schema.as_str() {
        "" => "pg_catalog".to_owned(),
        _ => schema,
    };
    Ok(Relation {
        oid,
        schema,
        name,
        columns,
    })
}

/// What is left of a message.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        if length > self.0.len() {
            return Err(broken("it ends too early"));
        }
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn short(&mut self) -> Result<u16> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn number(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn text(&mut self) -> Result<String> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let text = self.take(end.ok_or_else(|| broken("a name without an end"))?)?;
        let text = String::from_utf8_lossy(text).into_owned();
        self.take(1)?;
        Ok(text)
    }
}

fn broken(why: &str) -> Error {
    let what = format!("a message of the replication stream can't be read: {why}");
    Error::permanent(Code::SourceFailed, what)
}

fn unknown(of: &str, letter: u8) -> Error {
    broken(&format!("{of} of kind {:?}", char::from(letter)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `I`, `U`, … by hand: the numbers of a message are big-endian.
    fn bytes(parts: &[&[u8]]) -> Vec<u8> {
        parts.concat()
    }

    #[test]
    fn cells_are_found_where_they_are() {
        let data = bytes(&[b"\0\x03", b"n", b"u", b"t\0\0\0\x02ab", b"rest"]);
        let mut places = Vec::new();
        assert_eq!(tuple(&data, &mut places).expect("whole"), 11);
        let text = Place::Text { start: 9, end: 11 };
        assert_eq!(places, [Place::Null, Place::Unchanged, text]);
    }

    #[test]
    fn what_is_cut_off_or_unknown_is_an_error() {
        let whole = bytes(&[b"U\0\0\0\x01K", b"\0\x01t\0\0\0\x01a", b"N", b"\0\x01n"]);
        let Message::Update { old, tuples, .. } = parse(&whole).expect("an update") else {
            unreachable!("an update");
        };
        assert_eq!(old, Some(Old::Key));
        let mut places = Vec::new();
        let length = tuple(tuples, &mut places).expect("the old one");
        assert_eq!(
            new_tuple(&tuples[length..], &mut places).expect("the new one"),
            4
        );
        assert!(tuple(&tuples[..4], &mut places).is_err());
        assert!(parse(b"S").is_err() && parse(b"").is_err());
        assert!(tuple(b"\0\x01b\0\0\0\0", &mut places).is_err());
    }

    #[test]
    fn a_truncate_names_all_its_tables() {
        let data = bytes(&[b"T\0\0\0\x02\x03", b"\0\0\0\x07", b"\0\0\0\x08"]);
        match parse(&data).expect("a truncate") {
            Message::Truncate { relations } => assert_eq!(relations, [7, 8]),
            other => unreachable!("{other:?}"),
        }
    }
}
