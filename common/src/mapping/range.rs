//! Whether every value of one canonical type is a value of another: arithmetic on types, without
//! engines.

use crate::fidelity::Loss;
use crate::schema::CanonicalType;

/// What becomes of values on the way from one type to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// They keep their meaning; those that don't fit are named. Empty = all fit.
    Kept(Vec<Loss>),
    /// The type itself changes values.
    Changed,
    /// There is no way.
    Impossible,
}

/// How values of `from` become values of `to`.
pub fn step(from: &CanonicalType, to: &CanonicalType) -> Step {
    use CanonicalType as T;
    let unless = |fits: bool, loss: Loss| Step::Kept(if fits { Vec::new() } else { vec![loss] });
    let range = |fits: bool| unless(fits, Loss::NumberRange);
    match (from, to) {
        (from, to) if from == to => Step::Kept(Vec::new()),
        (T::Any, _) => Step::Kept(vec![Loss::StorageClass]),
        (T::Int { .. }, T::Bool) => range(false),
        (T::Int { .. } | T::Bool | T::Year | T::Bit { .. }, _) if is_integer(to) => {
            range(contains(to, from))
        }
        (T::Decimal { scale: 0, .. }, T::Int { .. } | T::Bit { .. }) => range(contains(to, from)),
        (T::Int { .. } | T::Bool | T::Year, T::Decimal { precision, scale }) => {
            range(digits(from) <= u32::from(precision.saturating_sub(*scale)))
        }
        (
            T::Decimal {
                precision: p,
                scale: s,
            },
            T::Decimal { precision, scale },
        ) => range(scale >= s && precision.saturating_sub(*scale) >= p.saturating_sub(*s)),
        (T::Int { .. } | T::Bool | T::Year | T::Decimal { .. }, T::Numeric) => {
            Step::Kept(Vec::new())
        }
        (T::Numeric, T::Decimal { .. }) => range(false),
        (T::Int { bits, .. }, T::Float64) if *bits <= 32 => Step::Kept(Vec::new()),
        (T::Int { bits, .. }, T::Float32) if *bits <= 16 => Step::Kept(Vec::new()),
        (T::Float32, T::Float64) => Step::Kept(Vec::new()),
        (T::Bytes { max_len: from }, T::Bytes { max_len: to }) => {
            unless(within(*from, *to), Loss::TextLength)
        }
        (T::Bytes { .. }, T::Text { .. }) => Step::Changed,
        (from, T::Text { max_chars }) => {
            unless(within(text_length(from), *max_chars), Loss::TextLength)
        }
        (T::Enum { values: from }, T::Enum { values: to })
        | (T::Set { values: from }, T::Set { values: to }) => unless(
            from.iter().all(|value| to.contains(value)),
            Loss::NotAMember,
        ),
        (T::Text { .. }, T::Enum { .. }) => unless(false, Loss::NotAMember),
        (
            T::DateTime { fraction: f } | T::Timestamp { fraction: f },
            T::DateTime { fraction } | T::Timestamp { fraction },
        )
        | (T::Time { fraction: f }, T::Time { fraction }) => match fraction >= f {
            true => Step::Kept(Vec::new()),
            // Servers round without a word.
            false => Step::Changed,
        },
        _ if impossible(from, to) => Step::Impossible,
        _ => Step::Changed,
    }
}

fn is_integer(canonical: &CanonicalType) -> bool {
    matches!(
        canonical,
        CanonicalType::Int { .. } | CanonicalType::Year | CanonicalType::Bit { .. }
    )
}

/// Whether every whole number of `inner` is one of `outer`.
fn contains(outer: &CanonicalType, inner: &CanonicalType) -> bool {
    match (bounds(outer), bounds(inner)) {
        (Some(outer), Some(inner)) => outer.0 <= inner.0 && inner.1 <= outer.1,
        _ => false,
    }
}

/// The smallest and the largest whole number.
fn bounds(canonical: &CanonicalType) -> Option<(i128, i128)> {
    match canonical {
        CanonicalType::Bool => Some((0, 1)),
        CanonicalType::Int { bits, unsigned } => Some(match unsigned {
            true => (0, (1i128 << bits) - 1),
            false => (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1),
        }),
        CanonicalType::Year => Some((0, 2155)),
        CanonicalType::Bit { width } => Some((0, (1i128 << width) - 1)),
        CanonicalType::Decimal {
            precision,
            scale: 0,
        } if *precision <= 38 => {
            let most = 10i128.checked_pow(u32::from(*precision))? - 1;
            Some((-most, most))
        }
        _ => None,
    }
}

/// Decimal digits of a whole number's largest value.
fn digits(canonical: &CanonicalType) -> u32 {
    match bounds(canonical) {
        Some((least, most)) => {
            let largest = most.max(least.saturating_neg());
            largest.checked_ilog10().map_or(1, |log| log + 1)
        }
        None => u32::MAX,
    }
}

fn within(length: Option<u32>, max: Option<u32>) -> bool {
    match (length, max) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(length), Some(max)) => length <= max,
    }
}

/// Characters of the longest canonical text; None = no bound.
fn text_length(canonical: &CanonicalType) -> Option<u32> {
    let longest = |values: &[String]| values.iter().map(|v| v.chars().count() as u32).max();
    match canonical {
        CanonicalType::Text { max_chars } => *max_chars,
        CanonicalType::Bool => Some(1),
        CanonicalType::Int { .. } | CanonicalType::Bit { .. } => Some(20),
        CanonicalType::Decimal { precision, .. } => Some(u32::from(*precision) + 3),
        CanonicalType::Float32 | CanonicalType::Float64 => Some(32),
        CanonicalType::Date | CanonicalType::Time { .. } => Some(20),
        CanonicalType::DateTime { .. } | CanonicalType::Timestamp { .. } => Some(40),
        CanonicalType::Year => Some(4),
        CanonicalType::Uuid => Some(36),
        CanonicalType::Inet => Some(49),
        CanonicalType::Enum { values } => longest(values),
        CanonicalType::Set { values } => {
            let all: usize = values.iter().map(|value| value.chars().count() + 1).sum();
            Some(all as u32)
        }
        CanonicalType::Numeric
        | CanonicalType::Json
        | CanonicalType::Bytes { .. }
        | CanonicalType::Any => None,
    }
}

/// Kinds of values that have no meaning as each other.
fn impossible(from: &CanonicalType, to: &CanonicalType) -> bool {
    use CanonicalType as T;
    let number = |t: &T| {
        matches!(
            t,
            T::Bool
                | T::Int { .. }
                | T::Decimal { .. }
                | T::Numeric
                | T::Float32
                | T::Float64
                | T::Bit { .. }
        )
    };
    let moment = |t: &T| {
        matches!(
            t,
            T::Date | T::Time { .. } | T::DateTime { .. } | T::Timestamp { .. } | T::Year
        )
    };
    let name = |t: &T| matches!(t, T::Uuid | T::Inet);
    let bytes = |t: &T| matches!(t, T::Bytes { .. });
    (bytes(from) && (number(to) || moment(to) || matches!(to, T::Inet)))
        || (bytes(to) && (number(from) || moment(from)))
        || (name(from) && (number(to) || moment(to) || name(to)))
        || (name(to) && (number(from) || moment(from)))
        || (moment(from) && matches!(to, T::Bool | T::Bit { .. }))
        || (moment(to) && matches!(from, T::Bool | T::Bit { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use CanonicalType as T;

    #[test]
    fn ranges_are_compared() {
        let int = |bits, unsigned| T::Int { bits, unsigned };
        let decimal = |precision, scale| T::Decimal { precision, scale };
        let text = |max_chars| T::Text { max_chars };
        let kept = Step::Kept(Vec::new());
        let guarded = |loss| Step::Kept(vec![loss]);
        for (from, to, expected) in [
            (int(8, false), T::Bool, guarded(Loss::NumberRange)),
            (int(64, true), int(64, false), guarded(Loss::NumberRange)),
            (int(32, true), int(64, false), kept.clone()),
            (int(64, true), decimal(20, 0), kept.clone()),
            (int(64, true), decimal(19, 0), guarded(Loss::NumberRange)),
            (decimal(18, 0), int(64, false), kept.clone()),
            (decimal(10, 2), int(64, false), Step::Changed),
            (decimal(10, 2), decimal(12, 4), kept.clone()),
            (decimal(10, 2), decimal(11, 4), guarded(Loss::NumberRange)),
            (T::Float64, decimal(65, 30), Step::Changed),
            (T::Float64, T::Float32, Step::Changed),
            (text(None), text(Some(20)), guarded(Loss::TextLength)),
            (text(Some(20)), text(Some(20)), kept.clone()),
            (T::Uuid, text(Some(36)), kept.clone()),
            (T::Bytes { max_len: None }, T::Date, Step::Impossible),
            (T::Bytes { max_len: None }, text(None), Step::Changed),
            (T::Uuid, T::Float64, Step::Impossible),
            (T::Bool, int(8, false), kept.clone()),
            (T::Bit { width: 64 }, int(64, true), kept.clone()),
            (T::Year, int(16, false), kept.clone()),
            (text(None), int(32, false), Step::Changed),
            (
                T::Timestamp { fraction: 6 },
                T::DateTime { fraction: 0 },
                Step::Changed,
            ),
        ] {
            assert_eq!(step(&from, &to), expected, "{from:?} to {to:?}");
        }
    }
}
