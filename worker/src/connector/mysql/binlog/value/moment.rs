//! Dates and times as row images hold them, as the text the server prints. Impossible dates stay as
//! they are. Bytes whose length the caller has checked.

use super::number::{digits, pad};

fn big(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0, |number, b| number << 8 | u64::from(*b))
}

fn little(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, b| number << 8 | u64::from(*b))
}

fn ymd(out: &mut Vec<u8>, year: u64, month: u64, day: u64) {
    pad(out, year, 4);
    out.push(b'-');
    pad(out, month, 2);
    out.push(b'-');
    pad(out, day, 2);
}

fn hms(out: &mut Vec<u8>, hour: u64, minute: u64, second: u64) {
    pad(out, hour, 2);
    out.push(b':');
    pad(out, minute, 2);
    out.push(b':');
    pad(out, second, 2);
}

/// `stored` has an even number of digits, `fraction` of which are the column's.
fn part(out: &mut Vec<u8>, stored: u64, fraction: u8) {
    if fraction > 0 {
        out.push(b'.');
        let shown = stored / if fraction.is_multiple_of(2) { 1 } else { 10 };
        pad(out, shown, usize::from(fraction));
    }
}

pub fn year(out: &mut Vec<u8>, raw: &[u8], two_digits: bool) {
    let year = match u64::from(raw[0]) {
        0 => 0,
        after => 1900 + after,
    };
    match two_digits {
        true => pad(out, year % 100, 2),
        false => pad(out, year, 4),
    }
}

pub fn date(out: &mut Vec<u8>, raw: &[u8]) {
    let packed = little(raw);
    ymd(out, packed >> 9, packed >> 5 & 15, packed & 31);
}

/// Bytes of a fraction.
pub fn fraction_bytes(fraction: u8) -> usize {
    usize::from(fraction.div_ceil(2))
}

pub fn date_time(out: &mut Vec<u8>, raw: &[u8], fraction: u8) {
    let (whole, rest) = raw.split_at(5);
    let packed = big(whole) & 0x7f_ffff_ffff;
    let (days, seconds) = (packed >> 17, packed & 0x1_ffff);
    let months = days >> 5;
    ymd(out, months / 13, months % 13, days & 31);
    out.push(b' ');
    hms(out, seconds >> 12, seconds >> 6 & 63, seconds & 63);
    part(out, big(rest), fraction);
}

pub fn time(out: &mut Vec<u8>, raw: &[u8], fraction: u8) {
    // Sign and magnitude around the middle of the range, the fraction being its last bytes.
    let middle = 1_i64 << (raw.len() * 8 - 1);
    let packed = big(raw) as i64 - middle;
    if packed < 0 {
        out.push(b'-');
    }
    let packed = packed.unsigned_abs();
    let bits = fraction_bytes(fraction) * 8;
    let whole = packed >> bits;
    hms(out, whole >> 12 & 0x3ff, whole >> 6 & 63, whole & 63);
    part(out, packed & ((1 << bits) - 1), fraction);
}

pub fn timestamp(out: &mut Vec<u8>, raw: &[u8], fraction: u8) {
    let (whole, rest) = raw.split_at(4);
    instant(out, big(whole), big(rest), fraction);
}

fn instant(out: &mut Vec<u8>, seconds: u64, stored: u64, fraction: u8) {
    // Zero is no instant but the zero date.
    if seconds == 0 && stored == 0 {
        ymd(out, 0, 0, 0);
    } else {
        let (year, month, day) = civil(seconds / 86_400);
        ymd(out, year, month, day);
    }
    out.push(b' ');
    let of_day = seconds % 86_400;
    hms(out, of_day / 3_600, of_day / 60 % 60, of_day % 60);
    part(out, stored, fraction);
}

/// The date of a day of Unix time (H. Hinnant's algorithm, for days since 1970).
fn civil(day: u64) -> (u64, u64, u64) {
    let since = day + 719_468;
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// Of tables made before MySQL 5.6, or by MariaDB with mysql56_temporal_format off.
pub mod old {
    use super::{civil, digits, hms, instant, little, pad, ymd};

    /// Bytes of a TIME, DATETIME, TIMESTAMP with a fraction (MariaDB only).
    pub const TIME: [usize; 7] = [3, 4, 4, 5, 5, 5, 6];
    pub const DATE_TIME: [usize; 7] = [8, 6, 6, 7, 7, 7, 8];
    pub const TIMESTAMP: [usize; 7] = [4, 5, 5, 6, 6, 7, 7];

    fn shown(out: &mut Vec<u8>, part: u64, fraction: u8) {
        if fraction > 0 {
            out.push(b'.');
            pad(out, part, usize::from(fraction));
        }
    }

    pub fn time(out: &mut Vec<u8>, raw: &[u8], fraction: u8) {
        if fraction == 0 {
            let packed = ((little(raw) << 40) as i64) >> 40;
            if packed < 0 {
                out.push(b'-');
            }
            let packed = packed.unsigned_abs();
            return hms(out, packed / 10_000, packed / 100 % 100, packed % 100);
        }
        let unit = 10_u64.pow(u32::from(fraction));
        // TIME_MAX_VALUE_SECONDS + 1.
        let middle = (838 * 3_600 + 59 * 60 + 59 + 1) * unit;
        let packed = super::big(raw) as i64 - middle as i64;
        if packed < 0 {
            out.push(b'-');
        }
        let packed = packed.unsigned_abs();
        let seconds = packed / unit;
        hms(out, seconds / 3_600, seconds / 60 % 60, seconds % 60);
        shown(out, packed % unit, fraction);
    }

    pub fn date_time(out: &mut Vec<u8>, raw: &[u8], fraction: u8) {
        if fraction == 0 {
            let packed = little(raw);
            let (day, time) = (packed / 1_000_000, packed % 1_000_000);
            ymd(out, day / 10_000, day / 100 % 100, day % 100);
            out.push(b' ');
            return hms(out, time / 10_000, time / 100 % 100, time % 100);
        }
        let unit = 10_u64.pow(u32::from(fraction));
        let packed = super::big(raw);
        let seconds = packed / unit;
        let days = seconds / 86_400;
        let months = days / 32;
        ymd(out, months / 13, months % 13, days % 32);
        out.push(b' ');
        let of_day = seconds % 86_400;
        hms(out, of_day / 3_600, of_day / 60 % 60, of_day % 60);
        shown(out, packed % unit, fraction);
    }

    pub fn timestamp(out: &mut Vec<u8>, raw: &[u8], fraction: u8) {
        if fraction == 0 {
            return instant(out, little(raw), 0, 0);
        }
        let (whole, rest) = raw.split_at(4);
        let (seconds, part) = (super::big(whole), super::big(rest));
        if seconds == 0 && part == 0 {
            ymd(out, 0, 0, 0);
        } else {
            let (year, month, day) = civil(seconds / 86_400);
            ymd(out, year, month, day);
        }
        out.push(b' ');
        let of_day = seconds % 86_400;
        hms(out, of_day / 3_600, of_day / 60 % 60, of_day % 60);
        shown(out, part, fraction);
    }

    /// Within JSON: packed, six digits of fraction.
    pub fn within_json(out: &mut Vec<u8>, packed: i64, with_date: bool, with_time: bool) {
        if packed < 0 {
            out.push(b'-');
        }
        let packed = packed.unsigned_abs();
        let (whole, micros) = (packed >> 24, packed & 0xff_ffff);
        let (days, seconds) = (whole >> 17, whole & 0x1_ffff);
        if with_date {
            let months = days >> 5;
            ymd(out, months / 13, months % 13, days & 31);
        }
        if with_date && with_time {
            out.push(b' ');
        }
        if with_time {
            let hour = match with_date {
                true => seconds >> 12,
                false => whole >> 12 & 0x3ff,
            };
            hms(out, hour, seconds >> 6 & 63, seconds & 63);
            out.push(b'.');
            pad(out, micros, 6);
        }
        debug_assert!(digits(micros) <= 8);
    }
}
