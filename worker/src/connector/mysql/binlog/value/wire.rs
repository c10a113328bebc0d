//! How values are stored in a row image, as the table map of the log says it.

use super::moment;
use super::number;

/// How a value is stored in a row image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Numbers and moments of a fixed number of bytes, by the log's type.
    Fixed {
        raw: u8,
        bytes: usize,
        fraction: u8,
    },
    Decimal {
        precision: u8,
        scale: u8,
    },
    /// ENUM, SET and BIT.
    Bits {
        raw: u8,
        bytes: usize,
    },
    /// Bytes behind a length of so many bytes; at most `max` of them.
    Counted {
        raw: u8,
        prefix: usize,
        max: usize,
    },
}

// Types as the log numbers them; MariaDB's own are 140 and 141.
pub const TINY: u8 = 1;
pub const SHORT: u8 = 2;
pub const LONG: u8 = 3;
pub const FLOAT: u8 = 4;
pub const DOUBLE: u8 = 5;
pub const TIMESTAMP: u8 = 7;
pub const LONGLONG: u8 = 8;
pub const INT24: u8 = 9;
pub const DATE: u8 = 10;
pub const TIME: u8 = 11;
pub const DATETIME: u8 = 12;
pub const YEAR: u8 = 13;
pub const NEWDATE: u8 = 14;
pub const VARCHAR: u8 = 15;
pub const BIT: u8 = 16;
/// A moment in UTC, with a fraction.
pub const TIMESTAMP2: u8 = 17;
pub const DATETIME2: u8 = 18;
pub const TIME2: u8 = 19;
pub const BLOB_COMPRESSED: u8 = 140;
pub const VARCHAR_COMPRESSED: u8 = 141;
pub const VECTOR: u8 = 242;
pub const JSON: u8 = 245;
pub const NEWDECIMAL: u8 = 246;
pub const ENUM: u8 = 247;
pub const SET: u8 = 248;
pub const BLOB: u8 = 252;
pub const VAR_STRING: u8 = 253;
pub const STRING: u8 = 254;
pub const GEOMETRY: u8 = 255;

impl Wire {
    /// Reads a column's metadata off a table map; None = a type that isn't known.
    pub fn read(raw: u8, meta: &mut &[u8]) -> Option<Wire> {
        let mut take = |count: usize| -> Option<&[u8]> {
            let (taken, rest) = meta.split_at_checked(count)?;
            *meta = rest;
            Some(taken)
        };
        let fixed = |bytes: usize, fraction: u8| Wire::Fixed {
            raw,
            bytes,
            fraction,
        };
        let part = |whole: usize, fraction: u8| {
            (fraction <= 6).then(|| fixed(whole + moment::fraction_bytes(fraction), fraction))
        };
        Some(match raw {
            TINY | YEAR => fixed(1, 0),
            SHORT => fixed(2, 0),
            INT24 | DATE | NEWDATE | TIME => fixed(3, 0),
            LONG | TIMESTAMP => fixed(4, 0),
            LONGLONG | DATETIME => fixed(8, 0),
            FLOAT => fixed(take(1).map(|_| 4)?, 0),
            DOUBLE => fixed(take(1).map(|_| 8)?, 0),
            TIMESTAMP2 => part(4, take(1)?[0])?,
            DATETIME2 => part(5, take(1)?[0])?,
            TIME2 => part(3, take(1)?[0])?,
            NEWDECIMAL => {
                let [precision, scale] = take(2)?.try_into().ok()?;
                (scale <= precision).then_some(Wire::Decimal { precision, scale })?
            }
            BIT => {
                let [bits, bytes]: [u8; 2] = take(2)?.try_into().ok()?;
                let bytes = usize::from(bytes) + usize::from(bits > 0);
                (bytes <= 8).then_some(Wire::Bits { raw, bytes })?
            }
            VARCHAR | VAR_STRING | VARCHAR_COMPRESSED => {
                let max = usize::from(u16::from_le_bytes(take(2)?.try_into().ok()?));
                let prefix = if max > 255 { 2 } else { 1 };
                Wire::Counted { raw, prefix, max }
            }
            BLOB | BLOB_COMPRESSED | GEOMETRY | JSON | VECTOR => {
                let prefix = usize::from(take(1)?[0]);
                let max = usize::MAX;
                (1..=4)
                    .contains(&prefix)
                    .then_some(Wire::Counted { raw, prefix, max })?
            }
            STRING => string(take(2)?.try_into().ok()?)?,
            _ => return None,
        })
    }

    /// Takes one value off a row image; None = the image ends before it does.
    #[inline]
    pub fn take<'a>(&self, data: &mut &'a [u8]) -> Option<&'a [u8]> {
        let length = match *self {
            Wire::Fixed { bytes, .. } | Wire::Bits { bytes, .. } => bytes,
            Wire::Decimal { precision, scale } => number::decimal_bytes(precision, scale),
            Wire::Counted { prefix, .. } => {
                let (count, rest) = data.split_at_checked(prefix)?;
                *data = rest;
                little(count) as usize
            }
        };
        let (value, rest) = data.split_at_checked(length)?;
        *data = rest;
        Some(value)
    }

    /// The log's number of the type.
    pub fn raw(&self) -> u8 {
        match *self {
            Wire::Fixed { raw, .. } | Wire::Bits { raw, .. } | Wire::Counted { raw, .. } => raw,
            Wire::Decimal { .. } => NEWDECIMAL,
        }
    }
}

/// CHAR, BINARY, ENUM and SET share a type; two bits of a long CHAR's length hide in it.
fn string([first, second]: [u8; 2]) -> Option<Wire> {
    let (raw, high) = match first & 0x30 {
        0x30 => (first, 0),
        bits => (first | 0x30, usize::from(bits ^ 0x30) << 4),
    };
    let max = high | usize::from(second);
    Some(match raw {
        ENUM | SET if (1..=8).contains(&max) => Wire::Bits { raw, bytes: max },
        STRING => {
            let prefix = if max > 255 { 2 } else { 1 };
            Wire::Counted { raw, prefix, max }
        }
        _ => return None,
    })
}

pub fn little(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, b| number << 8 | u64::from(*b))
}

pub fn big(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, b| number << 8 | u64::from(*b))
}
