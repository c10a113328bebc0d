//! Values that the target's type can't hold, found before they are written. An accepted loss is
//! carried out here as [`Loss::accepted`] says; the bytes of a cell are all that is looked at.

use std::borrow::Cow;

use super::computed::int_range;
use crate::fidelity::Loss;
use crate::schema::{CanonicalType, Column};

/// What MySQL's YEAR holds beside 0.
const YEARS: std::ops::RangeInclusive<i128> = 1_901..=2_155;

/// What a guarded cell may become.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// The target can hold it.
    Fits,
    /// It can't: what becomes of it if that is accepted; None = NULL.
    Becomes(Option<Cow<'a, [u8]>>),
    /// It can't, and nothing can be done about it.
    Never,
}

/// Looks for one loss in one column.
#[derive(Debug)]
pub struct Guard {
    pub loss: Loss,
    pub accepted: bool,
    row: CanonicalType,
    target: CanonicalType,
}

impl Guard {
    /// None = the loss isn't one that is looked for here.
    pub fn new(loss: Loss, accepted: bool, row: &Column, target: &Column) -> Option<Guard> {
        match loss {
            Loss::ZeroDate
            | Loss::DateRange
            | Loss::NulInText
            | Loss::NotANumber
            | Loss::NumberRange
            | Loss::NegativeZero
            | Loss::TextLength
            | Loss::NotAMember
            | Loss::InvalidText => {}
            // The first is the reader's, the second the target's, the third its unique keys'.
            Loss::StorageClass | Loss::TypeCast | Loss::RowIdentity => return None,
        }
        Some(Guard {
            loss,
            accepted,
            row: row.canonical.clone(),
            target: target.canonical.clone(),
        })
    }

    pub fn look<'a>(&self, cell: &'a [u8]) -> Found<'a> {
        match self.loss {
            Loss::ZeroDate => null_if(is_zero_date(cell)),
            Loss::DateRange => null_if(is_out_of_dates(cell)),
            Loss::NotANumber => null_if(is_not_a_number(cell)),
            Loss::NulInText if cell.contains(&0) => {
                let kept = cell.iter().copied().filter(|byte| *byte != 0).collect();
                Found::Becomes(Some(Cow::Owned(kept)))
            }
            Loss::NegativeZero if is_negative_zero(cell) => {
                Found::Becomes(Some(Cow::Borrowed(b"0")))
            }
            Loss::InvalidText => match String::from_utf8_lossy(cell) {
                Cow::Borrowed(_) => Found::Fits,
                Cow::Owned(text) => Found::Becomes(Some(Cow::Owned(text.into_bytes()))),
            },
            Loss::NumberRange => number(cell, &self.row, &self.target),
            Loss::TextLength => length(cell, &self.target),
            Loss::NotAMember => {
                null_if(!is_member(cell, &self.target) || !is_member(cell, &self.row))
            }
            _ => Found::Fits,
        }
    }
}

fn null_if<'a>(unfit: bool) -> Found<'a> {
    match unfit {
        true => Found::Becomes(None),
        false => Found::Fits,
    }
}

/// Year, month and day of `YYYY-MM-DD…`, whatever their values.
fn date_parts(cell: &[u8]) -> Option<(u32, u32, u32)> {
    let number = |digits: &[u8]| -> Option<u32> {
        digits.iter().try_fold(0_u32, |number, digit| {
            let digit = digit.is_ascii_digit().then(|| u32::from(digit - b'0'))?;
            number.checked_mul(10)?.checked_add(digit)
        })
    };
    let dash = cell
        .iter()
        .position(|byte| *byte == b'-')
        .filter(|at| *at >= 4)?;
    let year = number(&cell[..dash])?;
    let rest = &cell[dash + 1..];
    let (month, dash, day) = (rest.get(..2)?, rest.get(2)?, rest.get(3..5)?);
    (*dash == b'-').then_some(())?;
    Some((year, number(month)?, number(day)?))
}

fn is_zero_date(cell: &[u8]) -> bool {
    let Some((year, month, day)) = date_parts(cell) else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    year == 0 || !(1..=12).contains(&month) || !(1..=days).contains(&day)
}

fn is_out_of_dates(cell: &[u8]) -> bool {
    match date_parts(cell) {
        Some((year, _, _)) => !(1..=9_999).contains(&year) || cell.ends_with(b" BC"),
        None => matches!(cell, b"infinity" | b"-infinity"),
    }
}

fn is_not_a_number(cell: &[u8]) -> bool {
    let unsigned = cell
        .strip_prefix(b"-")
        .or(cell.strip_prefix(b"+"))
        .unwrap_or(cell);
    let words: [&[u8]; 3] = [b"nan", b"infinity", b"inf"];
    words.iter().any(|word| unsigned.eq_ignore_ascii_case(word))
}

fn is_negative_zero(cell: &[u8]) -> bool {
    let number = || std::str::from_utf8(cell).ok()?.trim().parse::<f64>().ok();
    cell.starts_with(b"-") && number().is_some_and(|number| number == 0.0)
}

/// Digits before and after the point of a plain decimal number, without zeros that say nothing.
pub fn digits(cell: &[u8]) -> Option<(u32, u32)> {
    let (before, after) = parts(cell)?;
    Some((before.len() as u32, after.len() as u32))
}

fn parts(cell: &[u8]) -> Option<(&[u8], &[u8])> {
    let unsigned = cell
        .strip_prefix(b"-")
        .or(cell.strip_prefix(b"+"))
        .unwrap_or(cell);
    let (mut before, mut after) = match unsigned.iter().position(|byte| *byte == b'.') {
        Some(point) => (&unsigned[..point], &unsigned[point + 1..]),
        None => (unsigned, &unsigned[..0]),
    };
    let are_digits = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    if before.len() + after.len() == 0 || !are_digits(before) || !are_digits(after) {
        return None;
    }
    while let [b'0', rest @ ..] = before {
        before = rest;
    }
    while let [rest @ .., b'0'] = after {
        after = rest;
    }
    Some((before, after))
}

fn number<'a>(cell: &'a [u8], row: &CanonicalType, target: &CanonicalType) -> Found<'a> {
    // Another guard's business.
    if is_not_a_number(cell) {
        return Found::Fits;
    }
    match target {
        CanonicalType::Bool => match cell {
            b"0" | b"1" => Found::Fits,
            _ => Found::Never,
        },
        CanonicalType::Int { bits, unsigned } => {
            let (low, high) = int_range(*bits, *unsigned);
            in_digits(cell, 0, |number| {
                whole(number).is_some_and(|n| (low..=high).contains(&n))
            })
        }
        CanonicalType::Bit { width } => {
            let (low, high) = int_range(*width, true);
            in_digits(cell, 0, |number| {
                whole(number).is_some_and(|n| (low..=high).contains(&n))
            })
        }
        CanonicalType::Year => {
            let is_year = |year: &[u8]| whole(year).is_some_and(|y| y == 0 || YEARS.contains(&y));
            in_digits(cell, 0, is_year)
        }
        CanonicalType::Time { .. } => match is_time_of_day(cell) {
            true => Found::Fits,
            false => Found::Never,
        },
        CanonicalType::Decimal { precision, scale } => {
            let before = u32::from(precision.saturating_sub(*scale));
            let fits = |number: &[u8]| digits(number).is_some_and(|(digits, _)| digits <= before);
            in_digits(cell, usize::from(*scale), fits)
        }
        CanonicalType::Float64 => float(cell, |number| {
            let double = std::str::from_utf8(number).ok()?.parse::<f64>().ok()?;
            double.is_finite().then(|| double.to_string())
        }),
        // A float is spelled by the digits that single it out, or by those of the equal double;
        // the same digits of a double may be another number.
        CanonicalType::Float32 => {
            let spelled = float(cell, |number| {
                let single = std::str::from_utf8(number).ok()?.parse::<f32>().ok()?;
                single.is_finite().then(|| single.to_string())
            });
            match (row, spelled) {
                (CanonicalType::Float64, _) => single(cell),
                (CanonicalType::Float32, Found::Becomes(_)) => single(cell),
                (_, spelled) => spelled,
            }
        }
        _ => Found::Fits,
    }
}

/// `00:00:00` to `24:00:00`.
fn is_time_of_day(cell: &[u8]) -> bool {
    let hours = cell.split(|byte| *byte == b':').next().unwrap_or_default();
    match whole(hours) {
        Some(0..=23) => !cell.starts_with(b"-"),
        Some(24) => cell[hours.len()..].iter().all(|byte| b":0.".contains(byte)),
        _ => false,
    }
}

/// A double as a float.
fn single(cell: &[u8]) -> Found<'_> {
    let double = std::str::from_utf8(cell)
        .ok()
        .and_then(|text| text.parse::<f64>().ok());
    let Some(double) = double else {
        return Found::Never;
    };
    let single = double as f32;
    if f64::from(single) == double {
        return Found::Fits;
    }
    match single.is_finite() {
        true => Found::Becomes(Some(Cow::Owned(single.to_string().into_bytes()))),
        false => Found::Never,
    }
}

fn whole(number: &[u8]) -> Option<i128> {
    let text = std::str::from_utf8(number).ok()?;
    let text = text.split_once('.').map_or(text, |(before, _)| before);
    text.parse().ok()
}

/// A number of at most `scale` digits after the point, for which `fits` holds too.
fn in_digits(cell: &[u8], scale: usize, fits: impl Fn(&[u8]) -> bool) -> Found<'_> {
    let plain = match parts(cell) {
        Some(_) => Cow::Borrowed(cell),
        None => match expanded(cell) {
            Some(text) => Cow::Owned(text),
            None => return Found::Never,
        },
    };
    let Some((before, after)) = parts(&plain) else {
        return Found::Never;
    };
    if after.len() <= scale {
        return match fits(&plain) {
            true => Found::Fits,
            false => Found::Never,
        };
    }
    let rounded = round(before, after, scale, plain.starts_with(b"-"));
    match fits(&rounded) {
        true => Found::Becomes(Some(Cow::Owned(rounded))),
        false => Found::Never,
    }
}

/// A number with an exponent as plain digits, exactly as its shortest text says.
fn expanded(cell: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(cell).ok()?;
    let (mantissa, exponent) = text.split_once(['e', 'E'])?;
    let exponent: i32 = exponent.parse().ok().filter(|e: &i32| e.abs() <= 400)?;
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    let mantissa = mantissa.trim_start_matches(['-', '+']);
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let zeros = "0".repeat(exponent.unsigned_abs() as usize);
    let (all, point) = match exponent < 0 {
        true => (format!("{zeros}{before}{after}"), before.len()),
        false => (
            format!("{before}{after}{zeros}"),
            before.len() + exponent as usize,
        ),
    };
    let (before, after) = all.split_at_checked(point)?;
    Some(format!("{sign}{before}.{after}").into_bytes())
}

/// Half away from zero, as all three engines round decimals.
fn round(before: &[u8], after: &[u8], scale: usize, negative: bool) -> Vec<u8> {
    let mut all: Vec<u8> = [b"0", before, &after[..scale]].concat();
    if after[scale] >= b'5' {
        for digit in all.iter_mut().rev() {
            if *digit == b'9' {
                *digit = b'0';
            } else {
                *digit += 1;
                break;
            }
        }
    }
    let (before, after) = all.split_at(all.len() - scale);
    let zeros = before.iter().take_while(|digit| **digit == b'0').count();
    let before = &before[zeros.min(before.len() - 1)..];
    let mut text = Vec::with_capacity(all.len() + 2);
    if negative && all.iter().any(|digit| *digit != b'0') {
        text.push(b'-');
    }
    text.extend_from_slice(before);
    if scale > 0 {
        text.push(b'.');
        text.extend_from_slice(after);
    }
    text
}

/// A decimal number as a binary one: the same digits must come back.
fn float(cell: &[u8], nearest: impl Fn(&[u8]) -> Option<String>) -> Found<'_> {
    let Some(back) = nearest(cell) else {
        return Found::Never;
    };
    let expand = |text: &[u8]| match parts(text) {
        Some(_) => Some(text.to_vec()),
        None => expanded(text),
    };
    let (given, held) = (expand(cell), expand(back.as_bytes()));
    let same = given.as_deref().and_then(parts) == held.as_deref().and_then(parts);
    match same {
        true => Found::Fits,
        false => Found::Becomes(Some(Cow::Owned(back.into_bytes()))),
    }
}

fn length<'a>(cell: &'a [u8], target: &CanonicalType) -> Found<'a> {
    let end = match target {
        CanonicalType::Text {
            max_chars: Some(most),
        } if cell.len() > *most as usize => {
            let starts = (0..cell.len()).filter(|at| cell[*at] & 0xC0 != 0x80);
            { starts }.nth(*most as usize)
        }
        CanonicalType::Bytes {
            max_len: Some(most),
        } => Some(*most as usize).filter(|most| cell.len() > *most),
        _ => None,
    };
    match end {
        None => Found::Fits,
        Some(end) => Found::Becomes(Some(Cow::Borrowed(&cell[..end]))),
    }
}

fn is_member(cell: &[u8], ty: &CanonicalType) -> bool {
    let known = |values: &[String], part: &[u8]| values.iter().any(|v| v.as_bytes() == part);
    match ty {
        CanonicalType::Enum { values } => known(values, cell),
        CanonicalType::Set { values } => {
            cell.is_empty()
                || cell
                    .split(|byte| *byte == b',')
                    .all(|part| known(values, part))
        }
        _ => true,
    }
}
