//! When two cells of different engines hold the same value: what a column's type means, and the
//! one text for each value under that meaning. The judge's own rules; knows nothing of the product.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the cells of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    Bool,
    /// Integers, decimals, years: any number of digits; trailing zeros don't count.
    Number,
    /// Binary floating point of 4 or 8 bytes: equal only if the bits are.
    Real,
    Text,
    /// Upper-case hexadecimal.
    Bytes,
    /// Dates, with or without a time; an instant in UTC.
    Moment,
    Time,
    Json,
    Uuid,
    Inet,
    /// As an unsigned number.
    Bits,
}

/// A cell as its engine has it: by its own type, in the plainest text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// `number`, `real`, `text`, `bytes`: only told apart where the column doesn't say it.
    pub class: &'static str,
    pub text: String,
}

impl Cell {
    pub fn new(class: &'static str, text: impl Into<String>) -> Cell {
        Cell {
            class,
            text: text.into(),
        }
    }
}

/// The one text of a value, whichever engine it came from.
pub fn canonical(meaning: Meaning, cell: &Cell) -> String {
    let text = cell.text.as_str();
    match meaning {
        Meaning::Bool => match text {
            "true" | "t" | "1" => "1".to_owned(),
            "false" | "f" | "0" => "0".to_owned(),
            other => number(other),
        },
        Meaning::Number | Meaning::Bits => match cell.class {
            "real" => number(&format!("{}", text.parse::<f64>().unwrap_or(f64::NAN))),
            _ => number(text),
        },
        Meaning::Real => real(text),
        Meaning::Text | Meaning::Bytes => text.to_owned(),
        Meaning::Moment => moment(text),
        Meaning::Time => fraction_trimmed(text),
        Meaning::Json => json(text),
        Meaning::Uuid => text.to_ascii_lowercase(),
        Meaning::Inet => inet(text),
    }
}

fn number(text: &str) -> String {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return text.to_owned();
    }
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let fraction = fraction.trim_end_matches('0');
    match (whole, fraction) {
        ("", "") => "0".to_owned(),
        ("", fraction) => format!("{sign}0.{fraction}"),
        (whole, "") => format!("{sign}{whole}"),
        (whole, fraction) => format!("{sign}{whole}.{fraction}"),
    }
}

fn real(text: &str) -> String {
    match text.parse::<f64>() {
        Ok(value) if value.is_nan() => "NaN".to_owned(),
        Ok(value) => format!("{:016x} ({value:e})", value.to_bits()),
        Err(_) => format!("not a number: {text}"),
    }
}

/// `2024-01-01 00:00:00.500+00` as `2024-01-01 00:00:00.5`, with ` BC` left where it is.
fn moment(text: &str) -> String {
    let (text, era) = match text.strip_suffix(" BC") {
        Some(text) => (text, " BC"),
        None => (text, ""),
    };
    let text = text.strip_suffix("+00").unwrap_or(text);
    format!("{}{era}", fraction_trimmed(text))
}

fn fraction_trimmed(text: &str) -> String {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    }
}

fn inet(text: &str) -> String {
    let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
    let Ok(address) = address.parse::<IpAddr>() else {
        return format!("not an address: {text}");
    };
    let whole = if address.is_ipv4() { "32" } else { "128" };
    match prefix == whole || prefix.is_empty() {
        true => address.to_string(),
        false => format!("{address}/{prefix}"),
    }
}

/// A document with sorted keys and without white space; numbers and strings as they are written,
/// but for escapes. Keys that occur twice are kept twice.
fn json(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut at = 0;
    let value = json_value(bytes, &mut at);
    format!("{value}{}", text.get(at..).unwrap_or("").trim())
}

fn json_value(bytes: &[u8], at: &mut usize) -> String {
    skip_blanks(bytes, at);
    match bytes.get(*at) {
        Some(b'{') => {
            let members = json_members(bytes, at, b'}');
            let mut sorted: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (key, value) in members {
                sorted.entry(key).or_default().push(value);
            }
            let members = sorted.into_iter().flat_map(|(key, values)| {
                let pair = move |value| format!("{key}:{value}");
                values.into_iter().map(pair).collect::<Vec<_>>()
            });
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Some(b'[') => {
            let members = json_members(bytes, at, b']');
            let values: Vec<String> = members.into_iter().map(|(_, value)| value).collect();
            format!("[{}]", values.join(","))
        }
        Some(b'"') => json_string(bytes, at),
        _ => json_word(bytes, at),
    }
}

/// The members of an object or array; a key is empty in an array.
fn json_members(bytes: &[u8], at: &mut usize, close: u8) -> Vec<(String, String)> {
    *at += 1;
    let mut members = Vec::new();
    loop {
        skip_blanks(bytes, at);
        match bytes.get(*at) {
            None => return members,
            Some(byte) if *byte == close => {
                *at += 1;
                return members;
            }
            Some(b',') => *at += 1,
            Some(_) => {
                let mut key = String::new();
                if close == b'}' {
                    key = json_value(bytes, at);
                    skip_blanks(bytes, at);
                    *at += 1;
                }
                members.push((key, json_value(bytes, at)));
            }
        }
    }
}

/// A string with its escapes undone, in quotes.
fn json_string(bytes: &[u8], at: &mut usize) -> String {
    let start = *at;
    *at += 1;
    while let Some(byte) = bytes.get(*at) {
        *at += if *byte == b'\\' { 2 } else { 1 };
        if *byte == b'"' {
            break;
        }
    }
    let raw = bytes.get(start..(*at).min(bytes.len())).unwrap_or_default();
    match serde_json::from_slice::<String>(raw) {
        Ok(text) => format!("{text:?}"),
        Err(_) => String::from_utf8_lossy(raw).into_owned(),
    }
}

fn json_word(bytes: &[u8], at: &mut usize) -> String {
    let start = *at;
    while let Some(byte) = bytes.get(*at) {
        if b",]}: \t\r\n".contains(byte) {
            break;
        }
        *at += 1;
    }
    if *at == start {
        *at += 1;
    }
    String::from_utf8_lossy(&bytes[start..(*at).min(bytes.len())]).into_owned()
}

fn skip_blanks(bytes: &[u8], at: &mut usize) {
    while bytes.get(*at).is_some_and(u8::is_ascii_whitespace) {
        *at += 1;
    }
}

#[test]
fn the_judge_knows_equal_values() {
    let same = |meaning, a: &str, b: &str| {
        let of = |text: &str| canonical(meaning, &Cell::new("text", text));
        assert_eq!(of(a), of(b), "{meaning:?}");
    };
    let differ = |meaning, a: &str, b: &str| {
        let of = |text: &str| canonical(meaning, &Cell::new("text", text));
        assert_ne!(of(a), of(b), "{meaning:?}");
    };
    same(Meaning::Number, "-0012.500", "-12.5");
    same(Meaning::Number, "-0.0", "0");
    differ(Meaning::Number, "9007199254740993", "9007199254740992");
    differ(Meaning::Real, "-0", "0");
    same(Meaning::Real, "1e22", "10000000000000000000000");
    same(
        Meaning::Moment,
        "2024-01-01 00:00:00.500+00",
        "2024-01-01 00:00:00.5",
    );
    differ(Meaning::Moment, "0001-01-01 BC", "0001-01-01");
    same(
        Meaning::Json,
        r#"{"b":1, "a":[1, "\u00e9"]}"#,
        r#"{"a":[1,"é"],"b":1}"#,
    );
    differ(Meaning::Json, "[1.0]", "[1]");
    differ(Meaning::Json, r#"{"a":1,"a":2}"#, r#"{"a":2,"a":1}"#);
    same(Meaning::Inet, "::ffff:1.2.3.4/128", "::FFFF:1.2.3.4");
    differ(Meaning::Inet, "10.0.0.0/8", "10.0.0.0");
}
