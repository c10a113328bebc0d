//! How answers look: tables and JSON on stdout, numbers for people. What is in them is decided by
//! the commands.

use std::io::Write as _;
use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use common::code::{Code, Failure};
use serde::Serialize;
use serde_json::Value;

use crate::error::Result;

/// Prints a line on stdout. A reader that has seen enough (`| head`) is no error.
pub fn line(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{}", text.trim_end_matches('\n')) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(gone),
    }
}

fn gone(error: std::io::Error) -> Failure {
    Failure::new(
        Code::Internal,
        format!("stdout can't be written to: {error}"),
    )
}

/// Prints a hint or a result for people on stderr.
pub fn note(quiet: bool, text: &str) {
    if !quiet {
        // Nobody is left to tell when stderr itself is gone.
        let _ = writeln!(std::io::stderr(), "{text}");
    }
}

/// Prints `value` as indented JSON.
pub fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
    line(&text)
}

/// A table without frames: columns whose header starts with `#` hold numbers.
pub fn table(headers: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headers.iter().map(|h| h.trim_start_matches('#')));
    table.add_rows(rows);
    for (at, header) in headers.iter().enumerate() {
        if let Some(column) = table.column_mut(at) {
            column.set_padding((0, 2));
            if header.starts_with('#') {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    let text = table.to_string();
    let lines = text.lines().map(str::trim_end);
    lines.collect::<Vec<_>>().join("\n")
}

/// Columns of the terminal: as COLUMNS says, as it is, or 100 where there is none.
pub fn width() -> usize {
    let said = std::env::var("COLUMNS").ok();
    let said = said.and_then(|columns| columns.parse::<usize>().ok());
    let found = said.or_else(|| Table::new().width().map(usize::from));
    found.filter(|columns| *columns > 0).unwrap_or(100)
}

/// A field of a JSON object as a table shows it; `-` when it isn't there.
pub fn cell(row: &Value, key: &str) -> String {
    match &row[key] {
        Value::Null => "-".to_owned(),
        Value::String(text) if text.is_empty() => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => match number.as_u64() {
            Some(number) => count(number),
            None => number.to_string(),
        },
        other => other.to_string(),
    }
}

/// `1234567` -> `1 234 567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `318 k`, `1.2 M`: for rates.
pub fn short(number: f64) -> String {
    match number {
        n if n >= 9_999_500.0 => format!("{:.0} M", n / 1e6),
        n if n >= 999_500.0 => format!("{:.1} M", n / 1e6),
        n if n >= 9_999.5 => format!("{:.0} k", n / 1e3),
        n if n >= 999.5 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// `12.3 MB`.
pub fn bytes(number: u64) -> String {
    let n = number as f64;
    match number {
        0..1_000 => format!("{number} B"),
        1_000..1_000_000 => format!("{:.1} kB", n / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n / 1e6),
        _ => format!("{:.2} GB", n / 1e9),
    }
}

/// `3.2 s`, `4m12s`, `2h03m`.
pub fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
    }
}

/// Time of day in UTC of a moment, for event lines.
pub fn clock(ms: u64) -> String {
    let (seconds, ms) = (ms / 1_000, ms % 1_000);
    let (h, m, s) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{h:02}:{m:02}:{s:02}.{ms:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(count(999), "999");
        assert_eq!(short(318_400.0), "318 k");
        assert_eq!(short(999_600.0), "1.0 M");
        assert_eq!(bytes(12_340_000), "12.3 MB");
        assert_eq!(duration(Duration::from_secs(252)), "4m12s");
        assert_eq!(clock(3_661_007), "01:01:01.007");
    }
}
