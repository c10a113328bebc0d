//! The canonical form of a JSON document, for digests only: what is stored stays as it was written.
//!
//! Two texts have one canonical form when every engine that parses JSON would call them one
//! document: white space between tokens, the order of an object's keys, the spelling of a number
//! (`1.0`, `1e0`) and of a string's characters (`\u0041`) make no difference. Digits are never
//! rounded. An object's repeated keys are all kept, in their order: engines disagree on which of
//! them counts (first, last, or the text as it is), so a target that drops one differs. What isn't
//! JSON (RFC 8259), or is nested deeper than [`DEPTH_MAX`], stands for itself, byte by byte.

use std::borrow::Cow;
use std::ops::Range;

/// Deeper documents aren't looked into; MySQL stops at 100, SQLite at 1,000.
const DEPTH_MAX: usize = 1_000;
/// Digits of a number's exponent that are calculated with.
const EXPONENT_DIGITS_MAX: usize = 30;

/// The canonical bytes of `document`.
pub fn canonical(document: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(document).is_err() {
        return Cow::Borrowed(document);
    }
    let mut parser = Parser {
        text: document,
        at: 0,
        out: Vec::with_capacity(document.len()),
    };
    match parser.document() {
        Some(()) => Cow::Owned(parser.out),
        None => Cow::Borrowed(document),
    }
}

/// Whether `text` is JSON, as [`canonical`] understands it.
pub fn is_document(text: &[u8]) -> bool {
    matches!(canonical(text), Cow::Owned(_))
}

/// Reads `text` once and writes the canonical form as it goes; None = this isn't JSON.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

impl Parser<'_> {
    fn document(&mut self) -> Option<()> {
        self.value(0)?;
        self.blank();
        (self.at == self.text.len()).then_some(())
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Skips white space and takes `byte`, if it is there.
    fn take(&mut self, byte: u8) -> bool {
        self.blank();
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.blank();
        match self.peek()? {
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let words: [&[u8]; 3] = [b"true", b"false", b"null"];
        let word = words.into_iter().find(|word| rest.starts_with(word))?;
        self.at += word.len();
        self.out.extend_from_slice(word);
        Some(())
    }

    fn array(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push(b'[');
        if !self.take(b']') {
            loop {
                self.value(depth + 1)?;
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return None;
                }
                self.out.push(b',');
            }
        }
        self.out.push(b']');
        Some(())
    }

    /// Members are written as they come; only if they weren't in order they are put in order.
    fn object(&mut self, depth: usize) -> Option<()> {
        self.at += 1;
        self.out.push(b'{');
        let start = self.out.len();
        let mut members: Vec<(Range<usize>, Range<usize>)> = Vec::new();
        if !self.take(b'}') {
            loop {
                let from = self.out.len();
                self.blank();
                if self.peek() != Some(b'"') {
                    return None;
                }
                self.string()?;
                let key = from..self.out.len();
                if !self.take(b':') {
                    return None;
                }
                self.out.push(b':');
                self.value(depth + 1)?;
                members.push((key, from..self.out.len()));
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return None;
                }
                self.out.push(b',');
            }
        }
        self.put_in_order(start, members);
        self.out.push(b'}');
        Some(())
    }

    fn put_in_order(&mut self, start: usize, mut members: Vec<(Range<usize>, Range<usize>)>) {
        if members.is_sorted_by(|(a, _), (b, _)| self.out[a.clone()] <= self.out[b.clone()]) {
            return;
        }
        let written = self.out.split_off(start);
        let part = |range: &Range<usize>| &written[range.start - start..range.end - start];
        // Stable: repeated keys keep their order.
        members.sort_by(|(a, _), (b, _)| part(a).cmp(part(b)));
        for (no, (_, member)) in members.iter().enumerate() {
            if no > 0 {
                self.out.push(b',');
            }
            self.out.extend_from_slice(part(member));
        }
    }

    /// Characters as they are; escapes only where JSON wants them, all in one spelling.
    fn string(&mut self) -> Option<()> {
        self.at += 1;
        self.out.push(b'"');
        loop {
            let plain = self.text[self.at..]
                .iter()
                .position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
            self.out
                .extend_from_slice(&self.text[self.at..self.at + plain]);
            self.at += plain + 1;
            match self.text[self.at - 1] {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
        self.out.push(b'"');
        Some(())
    }

    /// What follows a backslash.
    fn escape(&mut self) -> Option<()> {
        let letter = self.peek()?;
        self.at += 1;
        let unit = match letter {
            b'"' | b'\\' | b'/' => u32::from(letter),
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => 0x0a,
            b'r' => 0x0d,
            b't' => 0x09,
            b'u' => self.hex4()?,
            _ => return None,
        };
        let mut code = unit;
        if (0xd800..0xdc00).contains(&unit) && self.text[self.at..].starts_with(b"\\u") {
            let before = self.at;
            self.at += 2;
            match self.hex4()? {
                low @ 0xdc00..0xe000 => code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00),
                // Not the other half of a pair: it is looked at again by itself.
                _ => self.at = before,
            }
        }
        match char::from_u32(code) {
            Some(mark @ ('"' | '\\')) => self.out.extend_from_slice(&[b'\\', mark as u8]),
            Some(character) if code >= 0x20 => {
                let mut buffer = [0; 4];
                let text = character.encode_utf8(&mut buffer);
                self.out.extend_from_slice(text.as_bytes());
            }
            // A control character, or half of a surrogate pair.
            _ => {
                let text = format!("\\u{code:04x}");
                self.out.extend_from_slice(text.as_bytes());
            }
        }
        Some(())
    }

    fn hex4(&mut self) -> Option<u32> {
        let digits = self.text.get(self.at..self.at + 4)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        self.at += 4;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    }

    fn digits(&mut self) -> &[u8] {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        &self.text[start..self.at]
    }

    fn number(&mut self) -> Option<()> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let whole = self.digits().to_vec();
        if whole.is_empty() || (whole.len() > 1 && whole[0] == b'0') {
            return None;
        }
        let mut fraction = Vec::new();
        if self.peek() == Some(b'.') {
            self.at += 1;
            fraction = self.digits().to_vec();
            if fraction.is_empty() {
                return None;
            }
        }
        let mut exponent = Some(0);
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            exponent = self.exponent()?;
        }
        match exponent {
            Some(exponent) => write_number(negative, whole, &fraction, exponent, &mut self.out),
            None => self.out.extend_from_slice(&self.text[start..self.at]),
        }
        Some(())
    }

    /// The inner None = more digits than anyone calculates with.
    fn exponent(&mut self) -> Option<Option<i128>> {
        let minus = self.peek() == Some(b'-');
        if let Some(b'-' | b'+') = self.peek() {
            self.at += 1;
        }
        let digits = self.digits();
        if digits.is_empty() {
            return None;
        }
        let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
        let digits = &digits[zeros..];
        if digits.len() > EXPONENT_DIGITS_MAX {
            return Some(None);
        }
        let value = digits
            .iter()
            .fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0'));
        Some(Some(if minus { -value } else { value }))
    }
}

/// The digits that count as a whole number, then `e` and the exponent unless that is 0; `0` for any
/// zero.
fn write_number(
    negative: bool,
    whole: Vec<u8>,
    fraction: &[u8],
    exponent: i128,
    out: &mut Vec<u8>,
) {
    let mut digits = whole;
    digits.extend_from_slice(fraction);
    let mut exponent = exponent - fraction.len() as i128;
    while digits.last() == Some(&b'0') {
        digits.pop();
        exponent += 1;
    }
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    let digits = &digits[zeros..];
    if digits.is_empty() {
        out.push(b'0');
        return;
    }
    if negative {
        out.push(b'-');
    }
    out.extend_from_slice(digits);
    if exponent != 0 {
        out.extend_from_slice(format!("e{exponent}").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(text: &str) -> String {
        String::from_utf8_lossy(&canonical(text.as_bytes())).into_owned()
    }

    #[test]
    fn one_document_has_one_form() {
        for (given, expected) in [
            (" { \"b\" : 1 , \"a\" : [ ] } ", r#"{"a":[],"b":1}"#),
            ("[1.0, 1e2, 100, 0.10, -0, 1E+2]", "[1,1e2,1e2,1e-1,0,1e2]"),
            (r#""\u0041\/\t\u00e9""#, "\"A/\\u0009é\""),
            (r#""\uD83D\uDE00""#, "\"😀\""),
            (r#""\ud800 \udc00\ud800A""#, r#""\ud800 \udc00\ud800A""#),
            (r#""\"\\""#, r#""\"\\""#),
            ("null", "null"),
            ("\t{}\r\n", "{}"),
            (
                r#"{"z":{"y":2,"x":1},"a":0}"#,
                r#"{"a":0,"z":{"x":1,"y":2}}"#,
            ),
        ] {
            assert_eq!(form(given), expected, "{given}");
        }
    }

    #[test]
    fn digits_are_never_rounded() {
        let long = "123456789012345678901234567890.123456789";
        assert_eq!(form(long), "123456789012345678901234567890123456789e-9");
        assert_ne!(form("0.1"), form("0.1000000000000000055511151231257827"));
        assert_eq!(form("1e1000000000000"), "1e1000000000000");
        let endless = format!("1e{}", "9".repeat(40));
        assert_eq!(form(&endless), endless);
        assert_eq!(form("0.000e5"), "0");
        assert_eq!(form("1200"), "12e2");
    }

    #[test]
    fn repeated_keys_are_all_there() {
        assert_eq!(form(r#"{"b":0,"a":2,"a":1}"#), r#"{"a":2,"a":1,"b":0}"#);
        assert_ne!(form(r#"{"a":1,"a":2}"#), form(r#"{"a":2}"#));
        assert_ne!(form(r#"{"a":1,"a":2}"#), form(r#"{"a":2,"a":1}"#));
        assert_eq!(form(r#"{"b":1,"\u0061":2}"#), form(r#"{"a":2,"b":1}"#));
    }

    #[test]
    fn what_is_not_json_stands_for_itself() {
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":}",
            "01",
            "1.",
            ".5",
            "+1",
            "1e",
            "nul",
            "'a'",
            "\"\\x\"",
            "\"a\nb\"",
            "[1] 2",
            "{a:1}",
            "NaN",
            "\"\\u12\"",
            "[1 2]",
            "\"open",
        ] {
            assert_eq!(form(text), text);
        }
        assert_eq!(&*canonical(b" \"\xff\""), b" \"\xff\"");
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        assert_eq!(form(&deep), deep);
    }

    #[test]
    fn the_form_is_its_own_form() {
        for text in [
            r#"{"b":[1.50,{"y":null,"x":"\u20ac"}],"a":-2.5e-3,"a":true}"#,
            r#"["\ud83d","\u0000", 1e5]"#,
        ] {
            assert_eq!(form(&form(text)), form(text));
        }
    }
}
