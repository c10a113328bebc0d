//! Numbers as the servers print them.

use std::io::Write;

/// Decimal digits of a number.
pub fn digits(number: u64) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// `number` with at least `width` digits.
pub fn pad(out: &mut Vec<u8>, number: u64, width: usize) {
    let width = width.max(digits(number));
    let start = out.len();
    out.resize(start + width, b'0');
    let mut rest = number;
    for place in out[start..].iter_mut().rev() {
        *place = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
}

pub fn unsigned(out: &mut Vec<u8>, number: u64) {
    pad(out, number, 1);
}

pub fn signed(out: &mut Vec<u8>, number: i64) {
    if number < 0 {
        out.push(b'-');
    }
    pad(out, number.unsigned_abs(), 1);
}

/// The shortest text that is this number again, plain between 1e-15 and 1e15, else with an exponent:
/// what `my_gcvt` prints.
pub fn double(out: &mut Vec<u8>, number: f64) {
    let mut text = [0_u8; 40];
    let mut rest = &mut text[..];
    // Never longer than 25 bytes.
    let written = write!(rest, "{number:e}").map(|()| rest.len());
    let text = &text[..40 - written.unwrap_or(40)];
    let (sign, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    if sign {
        out.push(b'-');
    }
    let at = text.iter().position(|b| *b == b'e').unwrap_or(text.len());
    let exponent: i32 = std::str::from_utf8(text.get(at + 1..).unwrap_or_default())
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    let first = text[0];
    let mut others = [0; 20];
    let count = at.saturating_sub(2).min(others.len());
    others[..count].copy_from_slice(&text[2..][..count]);
    if count >= 15 && others[count - 1] % 2 == 1 {
        to_even(number, &mut others[count - 1], count);
    }
    let others = &others[..count];
    // Plain beyond 1e15 too, where digits follow the point.
    let plain = -15..=if count > 15 { 15 } else { 14 };
    if !plain.contains(&exponent) {
        out.push(first);
        if !others.is_empty() {
            out.push(b'.');
            out.extend_from_slice(others);
        }
        out.push(b'e');
        return signed(out, i64::from(exponent));
    }
    if exponent < 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-exponent - 1) as usize));
        out.push(first);
        return out.extend_from_slice(others);
    }
    let whole = exponent as usize;
    out.push(first);
    out.extend_from_slice(&others[..whole.min(others.len())]);
    if others.len() > whole {
        out.push(b'.');
        out.extend_from_slice(&others[whole..]);
    } else {
        out.extend(std::iter::repeat_n(b'0', whole - others.len()));
    }
}

/// Where a number lies exactly between the two shortest texts, the servers print the one with the
/// even last digit, Rust the larger one. (Only with 16 digits and more can both be the number again.)
fn to_even(number: f64, last: &mut u8, others: usize) {
    // Enough digits to see that nothing follows the 5.
    let mut text = [0_u8; 64];
    let mut rest = &mut text[..];
    if write!(rest, "{:.*e}", others + 25, number.abs()).is_err() {
        return;
    }
    let tail = &text[others + 2..][..25];
    if tail[0] != b'5' || tail[1..].iter().any(|digit| *digit != b'0') {
        return;
    }
    // The digit before the 5 is the smaller text's.
    let smaller = text[others + 1];
    let even = if smaller == *last { *last + 1 } else { smaller };
    // At a power of two the smaller text may be another number.
    text[others + 1] = even;
    text[others + 2..][..25].fill(b'0');
    let end = text.iter().position(|byte| *byte == 0);
    let shown = std::str::from_utf8(&text[..end.unwrap_or(text.len())]);
    if shown.is_ok_and(|shown| shown.parse() == Ok(number.abs())) {
        *last = even;
    }
}

/// Bytes of so many digits.
const BYTES: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// Bytes of a stored DECIMAL.
pub fn decimal_bytes(precision: u8, scale: u8) -> usize {
    let part = |n: usize| n / 9 * 4 + BYTES[n % 9];
    part(usize::from(precision.saturating_sub(scale))) + part(usize::from(scale))
}

/// A stored DECIMAL of [`decimal_bytes`] length; `padded` = all digits before the point.
pub fn decimal(out: &mut Vec<u8>, raw: &[u8], precision: u8, scale: u8, padded: bool) {
    let whole = usize::from(precision.saturating_sub(scale));
    let scale = usize::from(scale);
    let mask = match raw.first() {
        Some(first) if first & 0x80 == 0 => 0xff,
        _ => 0,
    };
    let mut at = 0;
    let mut group = |digits: usize| -> u64 {
        let bytes = &raw[at..at + BYTES[digits]];
        let number = (at..).zip(bytes).fold(0, |number, (place, byte)| {
            // The very first bit is inverted once more.
            let first = if place == 0 { 0x80 } else { 0 };
            number << 8 | u64::from(byte ^ mask ^ first)
        });
        at += BYTES[digits];
        number
    };
    if mask != 0 {
        out.push(b'-');
    }
    let mut started = padded;
    let sizes = (whole % 9 > 0).then_some(whole % 9).into_iter();
    for size in sizes.chain(std::iter::repeat_n(9, whole / 9)) {
        let number = group(size);
        if started {
            pad(out, number, size);
        } else if number != 0 {
            unsigned(out, number);
            started = true;
        }
    }
    if !started || whole == 0 {
        out.push(b'0');
    }
    if scale == 0 {
        return;
    }
    out.push(b'.');
    for _ in 0..scale / 9 {
        pad(out, group(9), 9);
    }
    if scale % 9 > 0 {
        pad(out, group(scale % 9), scale % 9);
    }
}

#[cfg(test)]
#[allow(clippy::excessive_precision)] // as the server prints them
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_the_servers_print_them() {
        for (number, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (1e14, "100000000000000"),
            (1e15, "1e15"),
            (123456789012345.6, "123456789012345.6"),
            (1e-15, "0.000000000000001"),
            (1e-16, "1e-16"),
            (-1.25e-300, "-1.25e-300"),
            (1.7976931348623157e308, "1.7976931348623157e308"),
            (5e-324, "5e-324"),
            (16777216.0, "16777216"),
            (1840957311765251.2, "1840957311765251.2"),
            (1234567890123456.0, "1.234567890123456e15"),
            (2_f64.powi(-24), "0.00000005960464477539063"),
            (f64::from_bits(0x408c_b0b2_2000_0000), "918.0869750976562"),
            (-67.525_054_931_640_62, "-67.52505493164062"),
            (f64::from(0.1_f32), "0.10000000149011612"),
        ] {
            let mut out = Vec::new();
            double(&mut out, number);
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }

    #[test]
    fn decimals_keep_their_scale() {
        let mut out = Vec::new();
        // The example of the server's own source: 1234567890.1234 as DECIMAL(14,4).
        let raw = [0x81, 0x0d, 0xfb, 0x38, 0xd2, 0x04, 0xd2];
        decimal(&mut out, &raw, 14, 4, false);
        assert_eq!(String::from_utf8_lossy(&out), "1234567890.1234");
        let raw: Vec<u8> = raw.iter().map(|byte| !byte).collect();
        out.clear();
        decimal(&mut out, &raw, 14, 4, false);
        assert_eq!(String::from_utf8_lossy(&out), "-1234567890.1234");
        assert_eq!(decimal_bytes(65, 30), 30);
    }
}
