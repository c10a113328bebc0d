//! The report of a comparison for people.

use common::status::{JobStatus, VerifyStatus};
use common::verify::{Class, Difference};

use super::{Proof, plural, total};
use crate::html::is_hidden;
use crate::output;

/// More on a terminal helps nobody: the other reports list them all.
const LISTED_MAX: usize = 40;
/// Characters of a value.
const VALUE_CHARS: usize = 40;

/// The whole report: tables, schema, differences, then the outcome.
pub fn text(proof: &Proof<'_>) -> String {
    let mut lines = vec![tables(proof.status, proof.verify)];
    if !proof.verify.schema.is_empty() {
        lines.push(String::new());
        lines.push(schema(proof.verify));
    }
    if proof.listed().next().is_some() {
        lines.push(String::new());
        lines.extend(differences(proof));
    }
    lines.push(String::new());
    let (at_source, at_target) = proof.rows();
    let time = proof.took();
    let mut sum = format!(
        "{}, {} rows at the source and {} at the target compared in {}",
        plural(proof.verify.tables.len() as u64, "table"),
        output::count(at_source),
        output::count(at_target),
        output::duration(time),
    );
    if time.as_secs_f64() > 0.5 {
        let rate = at_source.max(at_target) as f64 / time.as_secs_f64();
        sum.push_str(&format!(" ({} rows/s)", output::short(rate)));
    }
    lines.push(sum);
    if proof.verify.sampled {
        lines.push("sampled   ranges were left out: they may differ".to_owned());
    }
    let counts = proof.counts();
    if counts.representation > 0 {
        lines.push(format!(
            "told only {} in other words at the target: equal in value, not counted as different",
            plural(counts.representation, "row")
        ));
    }
    for note in &proof.status.notes {
        lines.push(format!("note      {note}"));
    }
    if let Some(plan) = proof.plan {
        lines.push(format!("plan      {}", plan.display()));
    }
    lines.push(proof.sentence());
    // The error on stderr says the steps where something is wrong.
    lines.join("\n")
}

/// What was compared and found, a line each table.
pub fn tables(status: &JobStatus, verify: &VerifyStatus) -> String {
    let headers = [
        "TABLE",
        "#ROWS SOURCE",
        "#ROWS TARGET",
        "#RANGES",
        "#MISSING",
        "#EXTRA",
        "#DIFFERENT",
        "#REPRESENTATION",
        "#IN FLIGHT",
    ];
    let pairs = status.tables.iter().zip(&verify.tables);
    let rows = pairs.map(|(table, verdict)| {
        let counts = &verdict.counts;
        vec![
            shown(&table.name, usize::MAX),
            output::count(verdict.at_source.rows),
            output::count(verdict.at_target.rows),
            format!("{}/{}", verdict.ranges_done, verdict.ranges),
            output::count(counts.missing),
            output::count(counts.extra),
            output::count(counts.different),
            output::count(counts.representation),
            output::count(counts.in_flight),
        ]
    });
    output::table(&headers, rows.collect())
}

fn schema(verify: &VerifyStatus) -> String {
    let rows = verify.schema.iter().map(|one| {
        let side = |value: &Option<String>| match value {
            Some(text) => shown(text, VALUE_CHARS * 2),
            None => "-".to_owned(),
        };
        vec![
            shown(&one.object, usize::MAX),
            one.kind.clone(),
            shown(&one.name, usize::MAX),
            side(&one.expected),
            side(&one.found),
        ]
    });
    let headers = ["SCHEMA OF", "KIND", "NAME", "EXPECTED", "FOUND"];
    output::table(&headers, rows.collect())
}

/// One line a column that differs, so that they can be read against each other.
fn differences(proof: &Proof<'_>) -> Vec<String> {
    let headers = ["TABLE", "KEY", "CLASS", "COLUMN", "SOURCE", "TARGET"];
    let listed = proof.listed().take(LISTED_MAX);
    let rows = listed.flat_map(|(table, one)| rows(table, one));
    let mut lines = vec![output::table(&headers, rows.collect())];
    let all = proof.listed().count();
    let left = all.saturating_sub(LISTED_MAX) as u64;
    if left > 0 {
        lines.push(format!(
            "{} more listed by -o json and --html FILE",
            output::count(left)
        ));
    }
    if proof.verify.untold > 0 {
        lines.push(format!(
            "{} more counted and not listed",
            output::count(proof.verify.untold)
        ));
    }
    lines
}

fn rows(table: &str, one: &Difference) -> Vec<Vec<String>> {
    let class = match one.copies {
        0 | 1 => one.class.name().to_owned(),
        copies => format!("{} ×{copies}", one.class.name()),
    };
    let head = vec![shown(table, usize::MAX), key(one, VALUE_CHARS), class];
    let row = |column: &str, source: String, target: String| {
        let mut row = head.clone();
        row.extend([shown(column, usize::MAX), source, target]);
        row
    };
    if one.columns.is_empty() {
        let (source, target) = match one.class {
            Class::Missing => ("is there", "is not there"),
            Class::Extra => ("is not there", "is there"),
            _ => ("", ""),
        };
        return vec![row("-", source.to_owned(), target.to_owned())];
    }
    let columns = { one.columns.iter() }.map(|column| {
        let side = |text: &Option<String>| value(text.as_deref(), VALUE_CHARS);
        row(&column.column, side(&column.source), side(&column.target))
    });
    columns.collect()
}

/// `id=7, part=x`, each value of at most so many characters.
pub fn key(one: &Difference, chars: usize) -> String {
    let parts = { one.key.iter() }.map(|(column, text)| {
        let value = value(text.as_deref(), chars);
        format!("{}={value}", shown(column, usize::MAX))
    });
    parts.collect::<Vec<_>>().join(", ")
}

/// A value as it can be told from every other: text that could be taken for NULL, or whose ends
/// can't be seen, in quotes; what can't be printed as `0x` and its bytes.
fn value(text: Option<&str>, chars: usize) -> String {
    let Some(text) = text else {
        return "NULL".to_owned();
    };
    let unclear = text.is_empty() || text == "NULL" || text.trim() != text;
    match unclear && !text.chars().any(is_hidden) {
        true => format!("'{}'", shown(text, chars)),
        false => shown(text, chars),
    }
}

/// At most so many characters, none of which moves the terminal's cursor.
fn shown(text: &str, chars: usize) -> String {
    let printable = match text.chars().any(is_hidden) {
        true => {
            let bytes = text.bytes().map(|byte| format!("{byte:02x}"));
            format!("0x{}", bytes.collect::<String>())
        }
        false => text.to_owned(),
    };
    if printable.chars().nth(chars).is_none() {
        return printable;
    }
    let kept: String = printable.chars().take(chars.saturating_sub(1)).collect();
    format!("{kept}…")
}

/// The comparison in short, for `sterna status`.
pub fn lines(verify: &VerifyStatus) -> Vec<String> {
    let counts = total(verify);
    let done = |table: &&common::verify::TableVerdict| table.ranges_done >= table.ranges;
    let whole = verify.tables.iter().filter(done).count();
    let mut lines = vec![format!(
        "compared    {whole} of {} whole",
        plural(verify.tables.len() as u64, "table"),
    )];
    let found = Class::ALL.map(|class| {
        let number = match class {
            Class::Missing => counts.missing,
            Class::Extra => counts.extra,
            Class::Different => counts.different,
            Class::Representation => counts.representation,
            Class::InFlight => counts.in_flight,
        };
        format!(
            "{} {}",
            output::count(number),
            class.name().replace('_', " ")
        )
    });
    lines.push(format!("rows        {}", found.join(", ")));
    if !verify.schema.is_empty() {
        let number = plural(verify.schema.len() as u64, "difference");
        lines.push(format!("schema      {number}"));
    }
    let repaired = |t: &common::verify::TableVerdict| (t.inserted, t.updated, t.deleted);
    let sum = verify.tables.iter().map(repaired);
    let (i, u, d) = sum.fold((0, 0, 0), |s, t| (s.0 + t.0, s.1 + t.1, s.2 + t.2));
    if i + u + d > 0 {
        let [i, u, d] = [i, u, d].map(output::count);
        lines.push(format!(
            "mended      {i} inserted, {u} updated, {d} deleted"
        ));
    }
    lines
}
