//! When two spellings are one.

use super::Measure;
use crate::schema::{Column, Engine};

/// Lines of a definition that a difference shows.
const LINES_SHOWN_MAX: usize = 5;

/// White space makes no difference, nor whether a collation's character set is named beside it, as
/// MySQL does or not by how the column was declared.
pub fn plain(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut kept = Vec::with_capacity(words.len());
    let mut at = 0;
    while let Some(word) = words.get(at) {
        if matches!(words[at..], ["CHARACTER", "SET", _, "COLLATE", ..]) {
            at += 3;
            continue;
        }
        kept.push(*word);
        at += 1;
    }
    kept.join(" ")
}

/// The lines that only one of them has.
pub fn lines_apart(one: &str, two: &str) -> (String, String) {
    let lines = |text: &str| -> Vec<String> {
        let lines = text.lines().map(|line| plain(line.trim_end_matches(',')));
        lines.filter(|line| !line.is_empty()).collect()
    };
    let (one, two) = (lines(one), lines(two));
    let only = |these: &[String], others: &[String]| {
        let only = these.iter().filter(|line| !others.contains(line));
        let only: Vec<&str> = only.map(String::as_str).take(LINES_SHOWN_MAX).collect();
        only.join("\n")
    };
    (only(&one, &two), only(&two, &one))
}

/// MySQL may keep names in lower case, and SQLite doesn't tell cases apart.
pub fn same_name(engine: Engine, one: &str, two: &str) -> bool {
    match engine {
        Engine::Postgres => one == two,
        Engine::Mysql | Engine::Sqlite => one.to_lowercase() == two.to_lowercase(),
    }
}

pub fn same_names(engine: Engine, one: &[String], two: &[String]) -> bool {
    let mut pairs = one.iter().zip(two);
    one.len() == two.len() && pairs.all(|(one, two)| same_name(engine, one, two))
}

/// Between others, a type is as planned if its name is, or what it holds: the server may give its
/// own word for what it was told.
pub fn same_type(measure: Measure<'_>, one: &Column, two: &Column) -> bool {
    let name = |column: &Column| {
        let lower = plain(&column.native_type).to_lowercase();
        lower.replace(", ", ",").replace(" (", "(")
    };
    let named_alike = name(one) == name(two);
    match measure.alike {
        true => named_alike,
        false => named_alike || one.canonical == two.canonical,
    }
}
