//! What `pg_dump -s` says of a database, by object.

use std::collections::BTreeMap;
use std::process::Command;

use crate::postgres::{Server, bin};

/// Each object's header (`Name; Type; Schema`) with its statements, comments and blank lines
/// left out.
pub fn schema(server: &Server, database: &str) -> BTreeMap<String, String> {
    let text = dump(server, database, &["-s"]);
    let mut objects: BTreeMap<String, String> = BTreeMap::new();
    let mut header = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("-- Name: ") {
            header = name.split("; Owner: ").next().unwrap_or(name).to_owned();
        } else if !line.starts_with(['-', '\\']) && !line.trim().is_empty() {
            let body = objects.entry(header.clone()).or_default();
            body.push_str(line);
            body.push('\n');
        }
    }
    objects
}

/// The `setval` of every sequence.
pub fn sequences(server: &Server, database: &str) -> Vec<String> {
    let text = dump(server, database, &["-a"]);
    let values = text
        .lines()
        .filter(|line| line.contains("pg_catalog.setval("));
    let mut values: Vec<String> = values.map(str::to_owned).collect();
    values.sort();
    values
}

/// The rows, as a script that another database takes.
pub fn rows(server: &Server, database: &str) -> String {
    dump(
        server,
        database,
        &["-a", "--disable-triggers", "--no-blobs", "-T", "*.toasted"],
    )
}

fn dump(server: &Server, database: &str, options: &[&str]) -> String {
    let port = server.port.to_string();
    let output = Command::new(bin().join("pg_dump"))
        .args(["-h", "127.0.0.1", "-U", "postgres", "-p", &port])
        .args(options)
        .arg(database)
        .output()
        .expect("pg_dump runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What differs, an object a line, for an assertion.
pub fn differences(
    source: &BTreeMap<String, String>,
    target: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut differences = Vec::new();
    for (name, body) in source {
        match target.get(name) {
            None => differences.push(format!("missing: {name}\n{body}")),
            Some(other) if other != body => {
                differences.push(format!("other: {name}\n{body}<>\n{other}"));
            }
            Some(_) => {}
        }
    }
    let added = target
        .iter()
        .filter(|(name, _)| !source.contains_key(*name));
    differences.extend(added.map(|(name, body)| format!("added: {name}\n{body}")));
    differences
}
