//! Computed columns: how the value of an expression is written in the column's type.

use cel::Value;

use crate::schema::CanonicalType;

/// Appends the canonical text of `value`; Ok(false) = NULL. The error says what is wrong without
/// naming the value.
pub fn write(value: &Value, ty: &CanonicalType, out: &mut Vec<u8>) -> Result<bool, String> {
    let text = match (ty, value) {
        (_, Value::Null) => return Ok(false),
        // SQLite's and MySQL's BOOLEAN are integers.
        (CanonicalType::Bool | CanonicalType::Int { .. }, Value::Bool(value)) => {
            u8::from(*value).to_string()
        }
        (CanonicalType::Int { bits, unsigned }, Value::Int(_) | Value::UInt(_)) => {
            let number = whole(value);
            let (low, high) = int_range(*bits, *unsigned);
            if !(low..=high).contains(&number) {
                return Err("the number is out of the type's range".to_owned());
            }
            number.to_string()
        }
        (CanonicalType::Bit { .. } | CanonicalType::Year, Value::Int(_) | Value::UInt(_)) => {
            whole(value).to_string()
        }
        (CanonicalType::Decimal { precision, scale }, value) => {
            let text = number_text(value, Some(*scale))?;
            let limit = (u32::from(*precision), u32::from(*scale));
            match super::guard::digits(text.as_bytes()) {
                Some((before, after)) if before + limit.1 <= limit.0 && after <= limit.1 => text,
                _ => return Err("the number has more digits than the type".to_owned()),
            }
        }
        (CanonicalType::Numeric, value) => number_text(value, None)?,
        (CanonicalType::Float32, Value::Float(float)) => (*float as f32).to_string(),
        (CanonicalType::Float64, Value::Float(float)) => float.to_string(),
        (CanonicalType::Float32 | CanonicalType::Float64, Value::Int(_) | Value::UInt(_)) => {
            whole(value).to_string()
        }
        (CanonicalType::Bytes { max_len }, Value::Bytes(bytes)) => {
            if max_len.is_some_and(|most| bytes.len() > most as usize) {
                return Err("the bytes are more than the type takes".to_owned());
            }
            out.extend_from_slice(bytes);
            return Ok(true);
        }
        (
            CanonicalType::Bool
            | CanonicalType::Int { .. }
            | CanonicalType::Bit { .. }
            | CanonicalType::Year
            | CanonicalType::Float32
            | CanonicalType::Float64
            | CanonicalType::Bytes { .. }
            | CanonicalType::Any,
            _,
        ) => return Err(other_kind(value)),
        (CanonicalType::Text { max_chars }, Value::String(text)) => {
            if max_chars.is_some_and(|most| text.chars().nth(most as usize).is_some()) {
                return Err("the text is longer than the type takes".to_owned());
            }
            text.to_string()
        }
        (_, Value::String(text)) => text.to_string(),
        _ => return Err(other_kind(value)),
    };
    out.extend_from_slice(text.as_bytes());
    Ok(true)
}

fn other_kind(value: &Value) -> String {
    let kind = value.type_of();
    format!(
        "it gives a {kind}, which is not what the column's type takes; use int(), double(), string(), …"
    )
}

fn whole(value: &Value) -> i128 {
    match value {
        Value::Int(number) => i128::from(*number),
        Value::UInt(number) => i128::from(*number),
        _ => 0,
    }
}

fn number_text(value: &Value, scale: Option<u16>) -> Result<String, String> {
    match value {
        Value::Int(_) | Value::UInt(_) => Ok(whole(value).to_string()),
        Value::Float(float) if !float.is_finite() => match scale {
            Some(_) => Err("the number is not finite".to_owned()),
            None if float.is_nan() => Ok("NaN".to_owned()),
            None if *float < 0.0 => Ok("-Infinity".to_owned()),
            None => Ok("Infinity".to_owned()),
        },
        Value::Float(float) => Ok(match scale {
            Some(scale) => format!("{float:.*}", usize::from(scale)),
            None => float.to_string(),
        }),
        Value::String(text) if super::guard::digits(text.as_bytes()).is_some() => {
            Ok(text.to_string())
        }
        Value::String(_) => Err("the text is not a number".to_owned()),
        _ => Err(other_kind(value)),
    }
}

/// The least and the greatest number of an integer type.
pub fn int_range(bits: u8, unsigned: bool) -> (i128, i128) {
    let bits = u32::from(bits.clamp(1, 64));
    match unsigned {
        true => (0, (1 << bits) - 1),
        false => (-(1 << (bits - 1)), (1 << (bits - 1)) - 1),
    }
}
