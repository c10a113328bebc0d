//! Values a server would change without a warning: cells in canonical form are looked at before
//! they are sent. Native cells are the server's own texts and need no look.

use common::schema::{CanonicalType, Column};

use super::types::{Kind, kind};

/// What a column takes as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The server warns of everything it changes.
    None,
    /// `1.5` is rounded.
    Integer,
    /// CHAR loses blanks at the end.
    Char,
    /// Members are found by the collation, numbers are taken for positions.
    Enum(Vec<String>),
    Set(Vec<String>),
    /// Two digits become four.
    Year,
    Date,
    /// Digits of a second beyond these are rounded.
    Time(usize),
    DateTime(usize),
}

/// The guard of a column of this server.
pub fn of(column: &Column) -> Guard {
    let lower = column.native_type.trim().to_ascii_lowercase();
    let fraction = || {
        let digits = lower
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'));
        digits.map_or(0, |(digits, _)| digits.trim().parse().unwrap_or(0))
    };
    match (kind(&column.native_type), &column.canonical) {
        (Kind::Integer | Kind::Bit, _) => Guard::Integer,
        (Kind::Text, _) if lower.starts_with("char") => Guard::Char,
        (Kind::Member, CanonicalType::Enum { values }) => Guard::Enum(values.clone()),
        (Kind::Member, CanonicalType::Set { values }) => Guard::Set(values.clone()),
        (Kind::Moment, _) if lower.starts_with("year") => Guard::Year,
        (Kind::Moment, _) if lower.starts_with("datetime") || lower.starts_with("timestamp") => {
            Guard::DateTime(fraction())
        }
        (Kind::Moment, _) if lower.starts_with("date") => Guard::Date,
        (Kind::Moment, _) => Guard::Time(fraction()),
        _ => Guard::None,
    }
}

impl Guard {
    /// Why the server would change `cell`; None = it doesn't, or warns.
    pub fn objection(&self, cell: &[u8]) -> Option<&'static str> {
        let (fits, why) = match self {
            Guard::None => return None,
            Guard::Integer => (is_integer(cell), "it is no integer"),
            Guard::Char => (!cell.ends_with(b" "), "CHAR keeps no blanks at the end"),
            Guard::Enum(values) => (is_member(values, cell), "it is no member of the ENUM"),
            Guard::Set(values) => (
                cell.is_empty() || cell.split(|b| *b == b',').all(|one| is_member(values, one)),
                "it has a part that is no member of the SET",
            ),
            Guard::Year => (
                cell.len() == 4 && digits(cell),
                "it is no year of four digits",
            ),
            Guard::Date => (is_date(cell), "it is no date"),
            Guard::Time(fraction) => (is_time(cell, *fraction), "it is no time of this precision"),
            Guard::DateTime(fraction) => (
                cell.len() > 10
                    && is_date(&cell[..10])
                    && cell[10] == b' '
                    && cell.get(13) == Some(&b':')
                    && is_time(&cell[11..], *fraction),
                "it is no moment of this precision",
            ),
        };
        (!fits).then_some(why)
    }
}

fn digits(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

fn is_integer(cell: &[u8]) -> bool {
    digits(cell.strip_prefix(b"-").unwrap_or(cell))
}

fn is_member(values: &[String], cell: &[u8]) -> bool {
    values.iter().any(|value| value.as_bytes() == cell)
}

fn is_date(cell: &[u8]) -> bool {
    let parts: Vec<&[u8]> = cell.split(|b| *b == b'-').collect();
    cell.len() == 10 && parts.len() == 3 && parts[0].len() == 4 && parts.iter().all(|p| digits(p))
}

/// `[-]H…:MM:SS[.f]` with at most `fraction` digits that count.
fn is_time(cell: &[u8], fraction: usize) -> bool {
    let cell = cell.strip_prefix(b"-").unwrap_or(cell);
    let (clock, rest) = match cell.iter().position(|b| *b == b'.') {
        Some(at) => (&cell[..at], &cell[at + 1..]),
        None => (cell, &b"0"[..]),
    };
    let parts: Vec<&[u8]> = clock.split(|b| *b == b':').collect();
    let counted = rest.iter().rposition(|b| *b != b'0').map_or(0, |at| at + 1);
    parts.len() == 3 && parts.iter().all(|p| digits(p)) && digits(rest) && counted <= fraction
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_would_change_silently_is_seen() {
        let moment = Guard::DateTime(3);
        assert_eq!(moment.objection(b"2024-01-02 03:04:05.120000"), None);
        assert!(moment.objection(b"2024-01-02 03:04:05.1234").is_some());
        assert!(moment.objection(b"0044-03-15 BC").is_some());
        assert!(moment.objection(b"infinity").is_some());
        assert_eq!(Guard::Time(0).objection(b"-838:59:59.000"), None);
        assert!(Guard::Time(0).objection(b"12").is_some());
        assert!(Guard::Date.objection(b"2024-01-02 00:00:00").is_some());
        assert_eq!(Guard::Integer.objection(b"-17"), None);
        assert!(Guard::Integer.objection(b"1.5").is_some());
        assert!(Guard::Year.objection(b"24").is_some());
        let members = Guard::Enum(vec!["a".into(), "1".into()]);
        assert_eq!(members.objection(b"1"), None);
        assert!(members.objection(b"A").is_some() && members.objection(b"2").is_some());
        let set = Guard::Set(vec!["a".into(), "b".into()]);
        assert_eq!(set.objection(b"a,b").or(set.objection(b"")), None);
        assert!(set.objection(b"a,B").is_some());
        assert!(Guard::Char.objection(b"a ").is_some());
    }
}
