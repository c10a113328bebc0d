//! One cell of a row image: how many bytes it has, and what the reader's SELECT would have printed for
//! it. The table map of the log says how a value is stored, the catalogue what its column is.

mod address;
mod charset;
mod json;
mod moment;
mod number;
mod wire;

use common::code::Code;
use common::limits;
use common::schema::{CanonicalType, CellForm, Column};
use common::value::RowBatch;

use self::charset::Charset;
use self::wire::{
    BIT, BLOB, BLOB_COMPRESSED, DATE, DATETIME, DATETIME2, DOUBLE, ENUM, FLOAT, GEOMETRY, INT24,
    JSON, LONG, LONGLONG, NEWDATE, NEWDECIMAL, SET, SHORT, STRING, TIME, TIME2, TIMESTAMP, TINY,
    VAR_STRING, VARCHAR, VARCHAR_COMPRESSED, VECTOR, YEAR, big, little,
};
pub use self::wire::{TIMESTAMP2, Wire};
use super::compress::uncompress_value;
use crate::connector::mysql::types::{Kind, foreign_charset, kind};
use crate::connector::{Error, Result};

/// What is printed for a column's values.
#[derive(Debug)]
enum Print {
    Signed,
    /// With zeros up to a width.
    Unsigned(usize),
    Float,
    Double,
    Decimal {
        padded: bool,
    },
    BigNumber,
    LittleNumber,
    Member(Vec<String>),
    Members(Vec<String>),
    Bytes,
    /// With zeros up to a length: the log leaves them out.
    Filled(usize),
    Text(Charset),
    Json,
    Year {
        two_digits: bool,
    },
    Date,
    Time,
    DateTime,
    Timestamp,
    Uuid {
        always_turned: bool,
    },
    Inet4,
    Inet6,
}

/// A copied column of the plan's table.
#[derive(Debug)]
pub struct Cell {
    /// `table.column`, for errors.
    place: String,
    print: Print,
    charset: String,
    /// Types of the log that fit the column.
    fits: &'static [u8],
    /// What else of the table map must fit: a DECIMAL's digits, a moment's fraction.
    decimal: Option<(u16, u16)>,
    fraction: u8,
}

impl Cell {
    pub fn new(table: &str, column: &Column, form: CellForm) -> Result<Cell> {
        let place = format!("{table}.{}", column.name);
        let native_type = column.native_type.to_ascii_lowercase();
        let unknown = || {
            Error::permanent(
                Code::UnsupportedType,
                format!(
                    "{place} has the type {}: not known in a binary log",
                    column.native_type
                ),
            )
        };
        let (fits, print) = form_of(column, &native_type, form).ok_or_else(unknown)?;
        Ok(Cell {
            print,
            charset: column.charset.clone().unwrap_or_default(),
            fits,
            decimal: match column.canonical {
                CanonicalType::Decimal { precision, scale } => Some((precision, scale)),
                _ => None,
            },
            fraction: match column.canonical {
                CanonicalType::Time { fraction }
                | CanonicalType::DateTime { fraction }
                | CanonicalType::Timestamp { fraction } => fraction,
                _ => 0,
            },
            place,
        })
    }

    /// How the column is stored, if what the table map says fits it; else what doesn't.
    pub fn fit(&self, wire: Wire) -> std::result::Result<Wire, String> {
        let differs = || format!("{} is stored as {wire:?} there", self.place);
        let raw = wire.raw();
        if !self.fits.contains(&raw) {
            return Err(differs());
        }
        match wire {
            Wire::Decimal { precision, scale } => match self.decimal {
                Some(mine) if mine == (precision.into(), scale.into()) => Ok(wire),
                _ => Err(differs()),
            },
            // MariaDB's older moments don't say their fraction: the catalogue does.
            Wire::Fixed {
                raw: TIME | DATETIME | TIMESTAMP,
                ..
            } => {
                let at = usize::from(self.fraction.min(6));
                let bytes = match raw {
                    TIME => moment::old::TIME[at],
                    DATETIME => moment::old::DATE_TIME[at],
                    _ => moment::old::TIMESTAMP[at],
                };
                let fraction = self.fraction;
                Ok(Wire::Fixed {
                    raw,
                    bytes,
                    fraction,
                })
            }
            Wire::Fixed { fraction, .. } if fraction != self.fraction => Err(differs()),
            Wire::Counted { max, .. } if self.length().is_some_and(|mine| mine != max) => {
                Err(differs())
            }
            wire => Ok(wire),
        }
    }

    /// Bytes that every value has.
    fn length(&self) -> Option<usize> {
        match self.print {
            Print::Filled(length) => Some(length),
            Print::Uuid { .. } | Print::Inet6 => Some(16),
            Print::Inet4 => Some(4),
            _ => None,
        }
    }

    /// Appends the cell of a stored value; `spare` is room for what is made in steps.
    #[inline]
    pub fn append(
        &self,
        wire: &Wire,
        raw: &[u8],
        spare: &mut Vec<u8>,
        rows: &mut RowBatch,
    ) -> Result<()> {
        if let Wire::Fixed {
            raw: of, fraction, ..
        } = *wire
        {
            rows.push_with(|out| self.fixed(of, fraction, raw, out));
            return Ok(());
        }
        match (&self.print, wire) {
            (Print::Decimal { padded }, Wire::Decimal { precision, scale }) => {
                rows.push_with(|out| number::decimal(out, raw, *precision, *scale, *padded));
            }
            (Print::BigNumber, _) => rows.push_with(|out| number::unsigned(out, big(raw))),
            (Print::LittleNumber, _) => rows.push_with(|out| number::unsigned(out, little(raw))),
            (Print::Member(texts), _) => rows.push(self.member(texts, little(raw))?),
            (Print::Members(texts), _) => {
                spare.clear();
                self.members(texts, little(raw), spare)?;
                rows.push(spare);
            }
            (_, Wire::Counted { raw: of, .. }) => {
                if matches!(*of, BLOB_COMPRESSED | VARCHAR_COMPRESSED) {
                    let mut plain = Vec::new();
                    uncompress_value(raw, &mut plain)?;
                    return self.counted(&plain, spare, rows);
                }
                return self.counted(raw, spare, rows);
            }
            _ => return Err(self.damaged()),
        }
        Ok(())
    }

    fn fixed(&self, of: u8, fraction: u8, raw: &[u8], out: &mut Vec<u8>) {
        match (&self.print, of) {
            (Print::Signed, _) => {
                let unused = 64 - 8 * raw.len() as u32;
                number::signed(out, ((little(raw) << unused) as i64) >> unused);
            }
            (Print::Unsigned(width), _) => number::pad(out, little(raw), *width),
            (Print::Float, _) => {
                let bits = little(raw) as u32;
                number::double(out, f64::from(f32::from_bits(bits)));
            }
            (Print::Double, _) => number::double(out, f64::from_bits(little(raw))),
            (Print::Year { two_digits }, _) => moment::year(out, raw, *two_digits),
            (Print::Date, _) => moment::date(out, raw),
            (Print::Time, TIME) => moment::old::time(out, raw, fraction),
            (Print::Time, _) => moment::time(out, raw, fraction),
            (Print::DateTime, DATETIME) => moment::old::date_time(out, raw, fraction),
            (Print::DateTime, _) => moment::date_time(out, raw, fraction),
            (Print::Timestamp, TIMESTAMP) => moment::old::timestamp(out, raw, fraction),
            (Print::Timestamp, _) => moment::timestamp(out, raw, fraction),
            // `fit` has let no other pair through.
            _ => debug_assert!(false, "{} as {of}", self.place),
        }
    }

    fn counted(&self, raw: &[u8], spare: &mut Vec<u8>, rows: &mut RowBatch) -> Result<()> {
        spare.clear();
        let cell = match &self.print {
            Print::Bytes => raw,
            Print::Text(charset) => {
                let whole = charset.utf8(raw, spare).is_some();
                whole.then_some(()).ok_or_else(|| self.no_unicode(raw))?;
                spare
            }
            Print::Json => {
                json::text(spare, raw).ok_or_else(|| self.damaged())?;
                spare
            }
            print => {
                let length = self.length().ok_or_else(|| self.damaged())?;
                spare.extend_from_slice(raw);
                spare.resize(length, 0);
                if matches!(print, Print::Filled(_)) {
                    rows.push(spare);
                } else {
                    rows.push_with(|out| address_text(print, spare, out));
                }
                return Ok(());
            }
        };
        if cell.len() > limits::CELL_BYTES_MAX {
            let what = format!("{} holds {} bytes", self.place, cell.len());
            return Err(Error::permanent(Code::UnsupportedType, what));
        }
        rows.push(cell);
        Ok(())
    }

    /// 0 = what the server stores for a value that is no member: its text is empty.
    fn member<'a>(&self, texts: &'a [String], number: u64) -> Result<&'a [u8]> {
        match number {
            0 => Ok(b""),
            _ => texts
                .get(number as usize - 1)
                .map(String::as_bytes)
                .ok_or_else(|| self.no_member(number)),
        }
    }

    fn members(&self, texts: &[String], bits: u64, out: &mut Vec<u8>) -> Result<()> {
        let mut rest = bits;
        while rest != 0 {
            let at = rest.trailing_zeros() as usize;
            let text = texts.get(at).ok_or_else(|| self.no_member(bits))?;
            if rest != bits {
                out.push(b',');
            }
            out.extend_from_slice(text.as_bytes());
            rest &= rest - 1;
        }
        Ok(())
    }

    fn no_member(&self, number: u64) -> Error {
        let what = format!(
            "{} holds member {number}, which it doesn't have now",
            self.place
        );
        Error::permanent(Code::SchemaDrift, what)
    }

    fn no_unicode(&self, raw: &[u8]) -> Error {
        let shown: String = raw
            .iter()
            .take(40)
            .map(|byte| format!("{byte:02X}"))
            .collect();
        let what = format!(
            "{} holds a text that its character set {} has no conversion to Unicode for: X'{shown}'",
            self.place, self.charset
        );
        Error::permanent(Code::NotRepresentable, what)
    }

    fn damaged(&self) -> Error {
        let what = format!(
            "the source's log holds a value of {} that can't be read",
            self.place
        );
        Error::permanent(Code::SourceFailed, what)
    }
}

fn address_text(print: &Print, raw: &[u8], out: &mut Vec<u8>) {
    match print {
        Print::Uuid { always_turned } => address::uuid(out, raw, *always_turned),
        Print::Inet4 => address::inet4(out, raw),
        _ => address::inet6(out, raw),
    }
}

/// The log's types that fit a column, and what its cells are; see `types::select`.
fn form_of(column: &Column, native_type: &str, form: CellForm) -> Option<(&'static [u8], Print)> {
    let canonical = form == CellForm::Canonical;
    let word: String = native_type
        .trim()
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric())
        .collect();
    let zerofill = native_type.contains("zerofill");
    let charset = || Charset::of(foreign_charset(column).filter(|_| canonical));
    Some(match kind(native_type) {
        Kind::Integer => {
            let unsigned = zerofill || native_type.contains("unsigned");
            let width = if zerofill && !canonical {
                width(native_type)?
            } else {
                1
            };
            let print = if unsigned {
                Print::Unsigned(width)
            } else {
                Print::Signed
            };
            (integer(&word)?, print)
        }
        Kind::Number if matches!(word.as_str(), "decimal" | "numeric") => {
            (&[NEWDECIMAL], Print::Decimal { padded: zerofill })
        }
        Kind::Float if word == "float" => (&[FLOAT], Print::Float),
        Kind::Float => (&[DOUBLE], Print::Double),
        Kind::Bit => (&[BIT], Print::BigNumber),
        Kind::Member => {
            let (fits, texts): (&[u8], _) = match &column.canonical {
                CanonicalType::Enum { values } => (&[ENUM], Print::Member(values.clone())),
                CanonicalType::Set { values } => (&[SET], Print::Members(values.clone())),
                _ => return None,
            };
            (
                fits,
                if canonical {
                    texts
                } else {
                    Print::LittleNumber
                },
            )
        }
        Kind::Text => {
            let fits: &[u8] = match word.as_str() {
                "char" => &[STRING],
                "varchar" => &[VARCHAR, VAR_STRING, VARCHAR_COMPRESSED],
                _ => &[BLOB, BLOB_COMPRESSED],
            };
            let print = charset()?.map_or(Print::Bytes, Print::Text);
            (fits, print)
        }
        Kind::Json if column.charset.is_some() => (&[BLOB], Print::Bytes),
        Kind::Json => (&[JSON], Print::Json),
        Kind::Binary | Kind::Moment | Kind::Address => plain_form(&word, native_type),
        Kind::Number => return None,
    })
}

/// Of types whose cells are the same in either form.
fn plain_form(word: &str, native_type: &str) -> (&'static [u8], Print) {
    match word {
        "binary" => (&[STRING], Print::Filled(width(native_type).unwrap_or(1))),
        "varbinary" => (&[VARCHAR, VAR_STRING, VARCHAR_COMPRESSED], Print::Bytes),
        "vector" => (&[VECTOR, VARCHAR, BLOB], Print::Bytes),
        "tinyblob" | "blob" | "mediumblob" | "longblob" => (&[BLOB, BLOB_COMPRESSED], Print::Bytes),
        "date" => (&[DATE, NEWDATE], Print::Date),
        "time" => (&[TIME, TIME2], Print::Time),
        "datetime" => (&[DATETIME, DATETIME2], Print::DateTime),
        "timestamp" => (&[TIMESTAMP, TIMESTAMP2], Print::Timestamp),
        "year" => {
            let two_digits = width(native_type) == Some(2);
            (&[YEAR], Print::Year { two_digits })
        }
        "uuid" => {
            let always_turned = native_type.contains("old");
            (&[STRING], Print::Uuid { always_turned })
        }
        "inet4" => (&[STRING], Print::Inet4),
        "inet6" => (&[STRING], Print::Inet6),
        // `kind` leaves only these.
        _ => (&[GEOMETRY], Print::Bytes),
    }
}

fn integer(word: &str) -> Option<&'static [u8]> {
    Some(match word {
        "tinyint" | "bool" | "boolean" => &[TINY],
        "smallint" => &[SHORT],
        "mediumint" => &[INT24],
        "int" | "integer" => &[LONG],
        "bigint" | "serial" => &[LONGLONG],
        _ => return None,
    })
}

/// The number of `int(10)`.
fn width(native_type: &str) -> Option<usize> {
    let (_, rest) = native_type.split_once('(')?;
    rest.split_once(')')?.0.parse().ok()
}
