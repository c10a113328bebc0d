//! What the canonical text of each type looks like, and whether a text keeps to its type's bounds.
//! Nothing here knows SQLite.

use std::net::IpAddr;

use common::json;
use common::schema::CanonicalType;

/// Digits of a second every engine keeps.
const FRACTION_MAX: usize = 6;

/// Whether a TEXT is a canonical text of the type, its bounds aside.
pub fn text_fits(canonical: &CanonicalType, text: &[u8]) -> bool {
    use CanonicalType as T;
    match canonical {
        T::Text { .. } | T::Enum { .. } | T::Set { .. } => std::str::from_utf8(text).is_ok(),
        T::Json => json::is_document(text),
        T::Int { .. } => is_digits(text.strip_prefix(b"-").unwrap_or(text)),
        T::Bit { .. } => is_digits(text),
        T::Decimal { .. } => is_decimal(text),
        T::Numeric => is_decimal(text) || text == b"NaN" || is_infinity(text),
        // The one double that SQLite can't hold as a REAL.
        T::Float32 | T::Float64 => text == b"NaN",
        T::Date => is_date(text),
        T::DateTime { .. } | T::Timestamp { .. } => is_datetime(text),
        T::Time { .. } => is_time(text, 6),
        T::Uuid => is_uuid(text),
        T::Inet => is_inet(text),
        T::Bool | T::Bytes { .. } | T::Year | T::Any => false,
    }
}

/// Whether a canonical text keeps to the bounds of its type; else what is too much.
pub fn within(canonical: &CanonicalType, cell: &[u8]) -> Result<(), String> {
    use CanonicalType as T;
    let over = |what: String| Err(format!("holds {what}"));
    match canonical {
        T::Text {
            max_chars: Some(max),
        } => {
            // Every byte but a continuation begins a character.
            let chars = cell.iter().filter(|byte| (**byte & 0xc0) != 0x80).count();
            if chars > *max as usize {
                return over(format!("{chars} characters where {max} are declared"));
            }
        }
        T::Bytes { max_len: Some(max) } if cell.len() > *max as usize => {
            return over(format!("{} bytes where {max} are declared", cell.len()));
        }
        T::Decimal { precision, scale } => {
            let (whole, fraction) = digits_of(cell);
            let room = usize::from(precision.saturating_sub(*scale));
            if whole > room || fraction > usize::from(*scale) {
                let text = String::from_utf8_lossy(cell);
                return over(format!(
                    "{text} where DECIMAL({precision},{scale}) is declared"
                ));
            }
        }
        T::Int { bits, unsigned } if !int_fits(cell, *bits, *unsigned) => {
            let text = String::from_utf8_lossy(cell);
            return over(format!("{text} where {bits} bits are declared"));
        }
        T::Float32 => {
            let wide: Option<f64> = parse(cell);
            let single = |wide: f64| wide.is_nan() || f64::from(wide as f32) == wide;
            if !wide.is_some_and(single) {
                let text = String::from_utf8_lossy(cell);
                return over(format!("{text}, which is no single-precision number"));
            }
        }
        T::Bit { width } => {
            let bits: Option<u64> = parse(cell);
            if bits.is_none_or(|bits| *width < 64 && bits >> width != 0) {
                let text = String::from_utf8_lossy(cell);
                return over(format!("{text} where {width} bits are declared"));
            }
        }
        T::Time { fraction } | T::DateTime { fraction } | T::Timestamp { fraction }
            if fraction_digits(cell) > usize::from(*fraction) =>
        {
            let text = String::from_utf8_lossy(cell);
            return over(format!("{text} where a fraction of {fraction} is declared"));
        }
        _ => {}
    }
    Ok(())
}

fn parse<T: std::str::FromStr>(cell: &[u8]) -> Option<T> {
    std::str::from_utf8(cell).ok()?.parse().ok()
}

fn int_fits(cell: &[u8], bits: u8, unsigned: bool) -> bool {
    let Some(int) = parse::<i128>(cell) else {
        return false;
    };
    match unsigned {
        true => (0..1i128 << bits).contains(&int),
        false => (-(1i128 << (bits - 1))..1i128 << (bits - 1)).contains(&int),
    }
}

/// How many digits count before and behind the point.
fn digits_of(decimal: &[u8]) -> (usize, usize) {
    let digits = decimal.strip_prefix(b"-").unwrap_or(decimal);
    let mut halves = digits.splitn(2, |byte| *byte == b'.');
    let whole = halves.next().unwrap_or_default();
    let fraction = halves.next().unwrap_or_default();
    let leading = whole.iter().take_while(|byte| **byte == b'0').count();
    let trailing = fraction.iter().rev().take_while(|byte| **byte == b'0');
    (whole.len() - leading, fraction.len() - trailing.count())
}

/// Whether two decimals are one number.
pub fn same_number(a: &[u8], b: &[u8]) -> bool {
    let plain = |text: &[u8]| -> (bool, Vec<u8>, Vec<u8>) {
        let digits = text.strip_prefix(b"-").unwrap_or(text);
        let mut halves = digits.splitn(2, |byte| *byte == b'.');
        let (whole, fraction) = digits_of(text);
        let all = halves.next().unwrap_or_default();
        let behind = halves.next().unwrap_or_default();
        let zero = whole == 0 && fraction == 0;
        (
            !zero && digits.len() < text.len(),
            all[all.len() - whole..].to_vec(),
            behind[..fraction].to_vec(),
        )
    };
    plain(a) == plain(b)
}

fn is_digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn is_decimal(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let mut halves = digits.splitn(2, |byte| *byte == b'.');
    let whole = halves.next().unwrap_or_default();
    let fraction = halves.next();
    is_digits(whole) && fraction.is_none_or(is_digits)
}

fn is_infinity(text: &[u8]) -> bool {
    text == b"Infinity" || text == b"-Infinity"
}

/// Dates that have no end, as PostgreSQL writes them.
fn is_endless(text: &[u8]) -> bool {
    text == b"infinity" || text == b"-infinity"
}

/// `YYYY-MM-DD`; PostgreSQL's years may have more digits, and ` BC` behind them. Whether there is
/// such a day isn't asked: MySQL has dates like 2024-00-00.
fn is_date(text: &[u8]) -> bool {
    is_endless(text) || is_day(text.strip_suffix(b" BC").unwrap_or(text))
}

fn is_day(text: &[u8]) -> bool {
    let Some(year) = text.len().checked_sub(6) else {
        return false;
    };
    let (year, rest) = text.split_at(year);
    (4..=7).contains(&year.len()) && is_digits(year) && shaped(rest, b"-dd-dd")
}

fn is_datetime(text: &[u8]) -> bool {
    if is_endless(text) {
        return true;
    }
    let text = text.strip_suffix(b" BC").unwrap_or(text);
    match text.iter().position(|byte| *byte == b' ') {
        // 24:00:00 and a leap second would be made another time by a target.
        Some(gap) => {
            is_day(&text[..gap])
                && is_time(&text[gap + 1..], 2)
                && text[gap + 1..gap + 3] < b"24"[..]
        }
        None => false,
    }
}

/// `[-]HH:MM:SS[.f]` with at most `hours` digits of hours.
fn is_time(text: &[u8], hours: usize) -> bool {
    let text = without_fraction(text);
    let text = match hours {
        ..=2 => text,
        _ => text.strip_prefix(b"-").unwrap_or(text),
    };
    let Some(split) = text.len().checked_sub(6) else {
        return false;
    };
    let (hour, rest) = text.split_at(split);
    (2..=hours).contains(&hour.len())
        && is_digits(hour)
        && shaped(rest, b":dd:dd")
        && rest[1] < b'6'
        && rest[4] < b'6'
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_inet(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, prefix.parse::<u8>().ok()),
        None => (text, Some(0)),
    };
    match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => prefix.is_some_and(|prefix| prefix <= 32),
        Ok(IpAddr::V6(_)) => prefix.is_some_and(|prefix| prefix <= 128),
        Err(_) => false,
    }
}

fn shaped(text: &[u8], shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.iter().zip(shape).all(|(byte, want)| match want {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

/// Cuts one to six digits of a second off; any other tail stays, and then doesn't fit.
fn without_fraction(text: &[u8]) -> &[u8] {
    match text.iter().position(|byte| *byte == b'.') {
        Some(dot) if text.len() - dot - 1 <= FRACTION_MAX && is_digits(&text[dot + 1..]) => {
            &text[..dot]
        }
        _ => text,
    }
}

fn fraction_digits(text: &[u8]) -> usize {
    let text = text.strip_suffix(b" BC").unwrap_or(text);
    let text = strip_fraction(text);
    let dot = text.iter().position(|byte| *byte == b'.');
    dot.map_or(0, |dot| text.len() - dot - 1)
}

/// A time without zeros at the end of its fraction.
pub fn strip_fraction(cell: &[u8]) -> &[u8] {
    let Some(dot) = cell.iter().position(|byte| *byte == b'.') else {
        return cell;
    };
    if !is_digits(&cell[dot + 1..]) {
        return cell;
    }
    let kept = cell.iter().rposition(|byte| *byte != b'0');
    let cell = &cell[..kept.map_or(0, |last| last + 1)];
    cell.strip_suffix(b".").unwrap_or(cell)
}
