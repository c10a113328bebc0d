//! The report of a comparison as a page: counts on top, then tables, then every difference told.

use common::verify::{Class, Difference};

use super::{Outcome, Proof, plural, text::key};
use crate::html::{self, Cell};
use crate::output;

/// What the words mean, on the page itself: it is read by others than who made it.
const WORDS: &str = "<h2>What the words mean</h2>\n<dl>\n\
<dt>missing</dt><dd>at the source only</dd>\n\
<dt>extra</dt><dd>at the target only</dd>\n\
<dt>different</dt><dd>at both ends under one key, with other values</dd>\n\
<dt>representation</dt><dd>equal in value and stored in other words, such as JSON with its keys in \
another order; not counted as different</dd>\n\
<dt>in flight</dt><dd>it kept changing while it was looked at: neither equal nor different is \
proven</dd>\n</dl>\n";

/// The whole page.
pub fn page(proof: &Proof<'_>) -> String {
    let mut body = String::new();
    let class = match proof.outcome() {
        Outcome::Equal => "good",
        Outcome::Rows | Outcome::Schema => "bad",
        Outcome::Open => "warn",
    };
    let paragraph = |class: &str, text: &str| {
        let text = html::escape(text);
        format!("<p class=\"{class}\">{text}</p>\n")
    };
    body.push_str(&paragraph(class, &proof.sentence()));
    let ends = format!(
        "{} compared with {}",
        proof.status.target, proof.status.source
    );
    body.push_str(&paragraph("soft", &ends));
    body.push_str(&counts(proof));
    let took = format!(
        "{} in {}; ended at {}",
        plural(proof.verify.tables.len() as u64, "table"),
        output::duration(proof.took()),
        moment(proof.status.ended_at_ms.unwrap_or(proof.status.now_ms).0),
    );
    body.push_str(&paragraph("soft", &took));
    if proof.verify.sampled {
        let what = "Only a sample of the ranges was compared: the others may differ.";
        body.push_str(&paragraph("warn", what));
    }
    body.push_str(&next(proof));
    body.push_str(&tables(proof));
    body.push_str(&schema(proof));
    body.push_str(&differences(proof));
    for note in &proof.status.notes {
        body.push_str(&paragraph("", &format!("Note: {note}")));
    }
    body.push_str(WORDS);
    html::page(&format!("Verification of {}", proof.status.job), &body)
}

fn counts(proof: &Proof<'_>) -> String {
    let counts = proof.counts();
    let (at_source, at_target) = proof.rows();
    let class = |number: u64, class: &'static str| if number > 0 { class } else { "" };
    let schema = proof.verify.schema.len() as u64;
    let of = |label, number: u64, color| (label, output::count(number), class(number, color));
    html::counts(&[
        of("rows at the source", at_source, ""),
        of("rows at the target", at_target, ""),
        of("missing", counts.missing, "bad"),
        of("extra", counts.extra, "bad"),
        of("different", counts.different, "bad"),
        of("representation", counts.representation, ""),
        of("in flight", counts.in_flight, "warn"),
        of("schema differences", schema, "bad"),
    ])
}

fn next(proof: &Proof<'_>) -> String {
    let steps = proof.next();
    if steps.is_empty() {
        return String::new();
    }
    let lines: Vec<String> = steps.iter().map(|step| html::escape(step)).collect();
    format!(
        "<h2>What to do next</h2>\n<pre>{}</pre>\n",
        lines.join("\n")
    )
}

fn tables(proof: &Proof<'_>) -> String {
    let headers = [
        "Table",
        "In the target",
        "#Rows at the source",
        "#Rows at the target",
        "#Ranges",
        "#Missing",
        "#Extra",
        "#Different",
        "#Representation",
        "#In flight",
    ];
    let pairs = proof.status.tables.iter().zip(&proof.verify.tables);
    let rows = pairs.map(|(table, verdict)| {
        let counts = &verdict.counts;
        let number = |number: u64| Cell::Number(output::count(number));
        vec![
            Cell::Text(table.name.clone()),
            Cell::Text(table.target.clone()),
            number(verdict.at_source.rows),
            number(verdict.at_target.rows),
            Cell::Number(format!("{}/{}", verdict.ranges_done, verdict.ranges)),
            number(counts.missing),
            number(counts.extra),
            number(counts.different),
            number(counts.representation),
            number(counts.in_flight),
        ]
    });
    let rows: Vec<_> = rows.collect();
    format!(
        "<h2>Tables</h2>\n{}",
        html::table("Rows compared and found, by table", &headers, &rows)
    )
}

fn schema(proof: &Proof<'_>) -> String {
    if proof.verify.schema.is_empty() {
        return String::new();
    }
    let rows = proof.verify.schema.iter().map(|one| {
        let side = |value: &Option<String>| match value {
            Some(text) => Cell::Value(Some(text.clone())),
            None => Cell::Text("not there".to_owned()),
        };
        vec![
            Cell::Text(one.object.clone()),
            Cell::Text(one.kind.clone()),
            Cell::Text(one.name.clone()),
            side(&one.expected),
            side(&one.found),
        ]
    });
    let headers = ["Object", "Kind", "Name", "Expected", "Found"];
    let rows: Vec<_> = rows.collect();
    let caption = "What the source's schema calls for, and what the target has";
    format!("<h2>Schema</h2>\n{}", html::table(caption, &headers, &rows))
}

fn differences(proof: &Proof<'_>) -> String {
    let rows: Vec<_> = { proof.listed() }
        .flat_map(|(table, one)| of_row(table, one))
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let headers = ["Table", "Key", "Class", "Column", "Source", "Target"];
    let caption = "Rows that differ, column by column";
    let mut section = format!(
        "<h2>Differences</h2>\n{}",
        html::table(caption, &headers, &rows)
    );
    if proof.verify.untold > 0 {
        let untold = output::count(proof.verify.untold);
        section.push_str(&format!(
            "<p class=\"soft\">{untold} more were counted and are not listed.</p>\n"
        ));
    }
    section
}

fn of_row(table: &str, one: &Difference) -> Vec<Vec<Cell>> {
    let class = match one.copies {
        0 | 1 => one.class.name().replace('_', " "),
        copies => format!("{} ×{copies}", one.class.name().replace('_', " ")),
    };
    let row = |column: &str, source: Cell, target: Cell| {
        vec![
            Cell::Text(table.to_owned()),
            Cell::Value(Some(key(one, usize::MAX))),
            Cell::Text(class.clone()),
            Cell::Text(column.to_owned()),
            source,
            target,
        ]
    };
    if one.columns.is_empty() {
        let (source, target) = match one.class {
            Class::Missing => ("is there", "is not there"),
            Class::Extra => ("is not there", "is there"),
            _ => ("", ""),
        };
        let text = |words: &str| Cell::Text(words.to_owned());
        return vec![row("", text(source), text(target))];
    }
    let columns = { one.columns.iter() }.map(|column| {
        let side = |text: &Option<String>| Cell::Value(text.clone());
        row(&column.column, side(&column.source), side(&column.target))
    });
    columns.collect()
}

/// `2026-11-23 04:09:05 UTC` of milliseconds of Unix time.
fn moment(ms: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.replace('T', " ").replace('Z', " UTC")
}
