//! Reads a job file as TOML, YAML or JSON into the tree that `common::job_file` checks. What the
//! keys mean is not known here.

use std::fmt;
use std::path::Path;

use common::code::{Code, Failure};
use common::job::JobSpec;
use common::job_file::{self, Entry, FileProblem, Node, Value};
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use toml::de::{DeTable, DeValue};

use crate::endpoint;
use crate::error::Result;

/// A job file has some hundred keys at most; anything larger is another kind of file.
const BYTES_MAX: u64 = 1 << 20;

/// The job in the file, or every problem in it.
pub fn read_job(path: &Path) -> Result<JobSpec> {
    let shown = path.display();
    let unread = |error| crate::error::io(Code::JobFile, &shown, &error);
    if std::fs::metadata(path).map_err(unread)?.len() > BYTES_MAX {
        let what = format!("{shown}: is larger than 1 MiB");
        return Err(Failure::new(Code::JobFile, what));
    }
    let text = std::fs::read_to_string(path).map_err(unread)?;
    let spec = tree(path, &text).and_then(|root| job_file::read(&root));
    let mut spec = spec.map_err(|problems| failure(path, &problems))?;
    for (role, end) in [("source", &mut spec.source), ("target", &mut spec.target)] {
        if end.url.starts_with("sqlite:") {
            end.url = endpoint::take(role, &end.url)?.endpoint.url;
        }
        end.url = endpoint::one_spelling(&end.url);
    }
    Ok(spec)
}

fn failure(path: &Path, problems: &[FileProblem]) -> Failure {
    let line = |problem: &FileProblem| {
        let FileProblem {
            line,
            path: key,
            message,
        } = problem;
        let key = if key.is_empty() {
            ""
        } else {
            &format!("`{key}` ")
        };
        format!("{}:{line}: {key}{message}", path.display())
    };
    let lines: Vec<String> = problems.iter().map(line).collect();
    Failure::new(Code::JobFile, lines.join("\n"))
}

fn tree(path: &Path, text: &str) -> std::result::Result<Node, Vec<FileProblem>> {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => from_toml(text),
        Some("yaml" | "yml") => from_yaml(text),
        Some("json") => {
            let strict: std::result::Result<serde::de::IgnoredAny, _> = serde_json::from_str(text);
            match strict {
                // YAML has JSON in it, and its reader knows the lines.
                Ok(_) => from_yaml(text),
                Err(error) => Err(vec![syntax(error.line() as u32, &error)]),
            }
        }
        _ => Err(vec![syntax(
            1,
            &"the file's name must end in .toml, .yaml, .yml or .json",
        )]),
    }
}

fn syntax(line: u32, message: &dyn fmt::Display) -> FileProblem {
    let (path, message) = (String::new(), message.to_string());
    FileProblem {
        line,
        path,
        message,
    }
}

fn from_toml(text: &str) -> std::result::Result<Node, Vec<FileProblem>> {
    let line_at = |offset: usize| 1 + text[..offset.min(text.len())].matches('\n').count() as u32;
    let (root, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let problems = errors.iter().map(|error| {
            let line = error.span().map_or(1, |span| line_at(span.start));
            syntax(line, &error.message())
        });
        // After one mistake in a line the reader finds more in the same place.
        let mut problems: Vec<FileProblem> = problems.collect();
        problems.sort_by_key(|problem| problem.line);
        problems.dedup_by_key(|problem| problem.line);
        return Err(problems);
    }
    Ok(Node {
        line: 1,
        value: toml_table(root.get_ref(), &line_at),
    })
}

fn toml_table(table: &DeTable<'_>, line_at: &impl Fn(usize) -> u32) -> Value {
    let entries = table.iter().map(|(key, value)| Entry {
        key: key.get_ref().to_string(),
        line: line_at(key.span().start),
        node: Node {
            line: line_at(value.span().start),
            value: toml_value(value.get_ref(), line_at),
        },
    });
    Value::Map(entries.collect())
}

fn toml_value(value: &DeValue<'_>, line_at: &impl Fn(usize) -> u32) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => {
            match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Value::Int(number),
                // Too large for any key of a job file: its check says so.
                Err(_) => Value::Float(f64::INFINITY),
            }
        }
        DeValue::Float(number) => Value::Float(number.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(time) => Value::Text(time.to_string()),
        DeValue::Array(items) => {
            let items = items.iter().map(|item| Node {
                line: line_at(item.span().start),
                value: toml_value(item.get_ref(), line_at),
            });
            Value::List(items.collect())
        }
        DeValue::Table(table) => toml_table(table, line_at),
    }
}

fn from_yaml(text: &str) -> std::result::Result<Node, Vec<FileProblem>> {
    let options = serde_saphyr::options! {
        strict_booleans: true,
        with_snippet: false,
        merge_keys: serde_saphyr::options::MergeKeyPolicy::Error,
    };
    let root: Spanned<Yaml> = serde_saphyr::from_str_with_options(text, options).map_err(|e| {
        let line = e.location().map_or(1, |location| location.line() as u32);
        vec![syntax(line, &e.without_snippet())]
    })?;
    Ok(node(root))
}

fn node(spanned: Spanned<Yaml>) -> Node {
    let line = spanned.referenced.line().max(1) as u32;
    let value = match spanned.value {
        Yaml::Plain(value) => value,
        Yaml::List(items) => Value::List(items.into_iter().map(node).collect()),
        Yaml::Map(entries) => {
            let entries = entries.into_iter().map(|(key, value)| Entry {
                line: key.referenced.line().max(1) as u32,
                key: key.value,
                node: node(value),
            });
            Value::Map(entries.collect())
        }
    };
    Node { line, value }
}

/// A value before its lines are read off.
enum Yaml {
    Plain(Value),
    List(Vec<Spanned<Yaml>>),
    Map(Vec<(Spanned<String>, Spanned<Yaml>)>),
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Yaml, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Yaml, E> {
        Ok(Yaml::Plain(Value::Null))
    }

    fn visit_none<E>(self) -> std::result::Result<Yaml, E> {
        Ok(Yaml::Plain(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> std::result::Result<Yaml, D::Error> {
        Yaml::deserialize(inner)
    }

    fn visit_bool<E>(self, value: bool) -> std::result::Result<Yaml, E> {
        Ok(Yaml::Plain(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> std::result::Result<Yaml, E> {
        Ok(Yaml::Plain(Value::Int(value)))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> std::result::Result<Yaml, E> {
        let value = i64::try_from(value).map_err(|_| E::custom("the number is too large"))?;
        Ok(Yaml::Plain(Value::Int(value)))
    }

    fn visit_f64<E>(self, value: f64) -> std::result::Result<Yaml, E> {
        Ok(Yaml::Plain(Value::Float(value)))
    }

    fn visit_str<E>(self, value: &str) -> std::result::Result<Yaml, E> {
        Ok(Yaml::Plain(Value::Text(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> std::result::Result<Yaml, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Yaml::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Yaml, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
            if entries.len() > 1_000 {
                return Err(A::Error::custom("more than 1000 keys in one place"));
            }
        }
        Ok(Yaml::Map(entries))
    }
}

#[cfg(test)]
mod tests;
