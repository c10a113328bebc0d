//! Reads the tree and fails what STYLE and the architecture forbid: sizes, layers, words, things
//! that are declared and unused. Knows text only, no types; relies on rustfmt's layout.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::code::Code;
use common::fault::Fault;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;

/// What may not be named, where, and where it may after all.
struct Layer {
    within: &'static [&'static str],
    except: &'static [&'static str],
    words: &'static [&'static str],
    why: &'static str,
}

const LAYERS: &[Layer] = &[
    Layer {
        within: &["common/src/"],
        except: &[],
        words: &[
            "tokio",
            "tonic",
            "sqlx",
            "openraft",
            "mysql_async",
            "redb",
            "axum",
            "tracing",
            "SystemTime",
            "Instant",
            "rand",
            "HashMap",
            "HashSet",
            "std::fs",
            "std::env",
            "std::net",
            "std::process",
            "std::thread",
        ],
        why: "the core is pure: no runtime, driver, clock, randomness, unordered map or I/O",
    },
    Layer {
        within: &[
            "src/",
            "common/",
            "proto/",
            "coordinator/",
            "worker/",
            "tests/",
        ],
        except: &["coordinator/src/raft/", "tests/tidy.rs"],
        words: &["openraft"],
        why: "openraft is named only in coordinator/src/raft",
    },
    Layer {
        within: &["src/", "common/", "proto/", "coordinator/", "worker/"],
        except: &["worker/src/connector/", "worker/tests/"],
        words: &["sqlx", "mysql_async"],
        why: "database drivers are named only in worker/src/connector (and tests)",
    },
    Layer {
        within: &["src/", "common/", "coordinator/", "worker/"],
        except: &[],
        words: &["prost"],
        why: "prost types are known only to proto/",
    },
    Layer {
        within: &["coordinator/"],
        except: &[],
        words: &["worker::", "sterna_worker"],
        why: "coordinator and worker never see each other",
    },
    Layer {
        within: &["worker/"],
        except: &[],
        words: &["coordinator::", "sterna_coordinator"],
        why: "coordinator and worker never see each other",
    },
    Layer {
        within: &["src/", "common/src/", "coordinator/src/", "worker/src/"],
        except: &[],
        words: &[
            "unbounded_channel",
            "src_url",
            "dst",
            "dst_url",
            "worker_node",
        ],
        why: "bounded channels only; the words are source, target and worker",
    },
    Layer {
        within: &["tests/"],
        except: &[
            "tests/harness/wait.rs",
            "tests/harness/proxy.rs",
            "tests/tidy.rs",
        ],
        words: &["sleep"],
        why: "tests wait for a condition with a deadline (harness/wait.rs)",
    },
    Layer {
        within: &[
            "src/",
            "common/",
            "proto/",
            "coordinator/",
            "worker/",
            "tests/",
        ],
        except: &["tests/tidy.rs"],
        words: &[
            "todo!",
            "unimplemented!",
            "dbg!",
            "FIXME",
            "XXX",
            "#[ignore",
        ],
        why: "nothing unfinished and no silenced test lands",
    },
];

#[test]
fn files_and_functions_are_short_enough_to_read() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            found.push(format!("{path}: {} lines", lines.len()));
        }
        for (name, length) in functions(&lines) {
            if length > FUNCTION_LINES_MAX {
                found.push(format!("{path}: fn {name} has {length} lines"));
            }
        }
    }
    none(&found);
}

/// Every function with its number of lines; rustfmt puts its closing brace under its first word.
fn functions<'a>(lines: &[&'a str]) -> Vec<(&'a str, usize)> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some((before, after)) = line.trim_start().split_once("fn ") else {
            continue;
        };
        let words = ["pub", "async", "const", "pub(crate)", "pub(super)"];
        if !before.split_whitespace().all(|word| words.contains(&word)) {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        let body = lines[at..].iter().position(|line| *line == close);
        // A trait's declaration over several lines ends with `) -> X;` and has no body.
        let rest = lines[at + 1..].iter().take(body.unwrap_or(0));
        let declared = { rest }.any(|l| {
            let outer = l.len() - l.trim_start().len() == indent;
            outer && l.trim_start().starts_with(')') && l.ends_with(';')
        });
        let one_line = line.ends_with('}') || line.ends_with(';') || declared;
        if let (Some(body), false) = (body, one_line) {
            let name = after.split(['(', '<']).next().unwrap_or(after);
            found.push((name, body + 1));
        }
    }
    found
}

#[test]
fn every_file_says_what_it_is() {
    let bare = sources()
        .into_iter()
        .filter(|(_, text)| !text.starts_with("//!"));
    let found: Vec<String> = bare.map(|(path, _)| path).collect();
    none(&found);
}

#[test]
fn layers_know_only_what_they_may() {
    let mut found = Vec::new();
    for (path, text) in sources() {
        for layer in LAYERS {
            let covers = |places: &[&str]| places.iter().any(|place| path.starts_with(place));
            if !covers(layer.within) || covers(layer.except) {
                continue;
            }
            for (number, line) in code_lines(&text) {
                for word in layer.words {
                    if names(&line, word) {
                        found.push(format!("{path}:{number}: `{word}`: {}", layer.why));
                    }
                }
            }
        }
    }
    none(&found);
}

#[test]
fn manifests_keep_the_layers_apart() {
    let forbidden = [
        (
            "common",
            &[
                "tokio",
                "tonic",
                "sqlx",
                "mysql_async",
                "openraft",
                "rand",
                "proto",
            ][..],
        ),
        ("proto", &["coordinator", "worker", "sqlx", "openraft"]),
        (
            "coordinator",
            &["worker", "sqlx", "mysql_async", "url", "secrecy"],
        ),
        ("worker", &["coordinator", "openraft", "redb", "axum"]),
    ];
    let mut found = Vec::new();
    for (name, crates) in forbidden {
        let manifest = read(&root().join(name).join("Cargo.toml"));
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or("");
        let dependencies = dependencies.split("\n[").next().unwrap_or("");
        for line in dependencies.lines() {
            let key = line.split(['.', ' ', '=']).next().unwrap_or("");
            if crates.contains(&key) {
                found.push(format!("{name}/Cargo.toml depends on {key}"));
            }
        }
    }
    none(&found);
}

#[test]
fn what_is_declared_is_used() {
    let mut found = Vec::new();
    let uses = |name: &str, own: &str| {
        let mut files = sources().into_iter();
        files.any(|(path, text)| path != own && !path.starts_with("tests/") && names(&text, name))
    };
    for fault in Fault::ALL {
        let name = format!("Fault::{fault:?}");
        if !uses(&name, "common/src/fault.rs") {
            found.push(format!(
                "{name} ({fault}) is a fault point that no code uses"
            ));
        }
    }
    for code in Code::ALL {
        let name = format!("Code::{code:?}");
        if !uses(&name, "common/src/code.rs") {
            found.push(format!("{name} ({code}) is an error that nothing raises"));
        }
    }
    for (path, variants) in metrics() {
        for variant in variants {
            let used = sources().into_iter().any(|(at, text)| {
                at != path
                    && !at.starts_with("tests/")
                    && names(&text, &format!("Metric::{variant}"))
            });
            if !used {
                found.push(format!("{path}: Metric::{variant} is never measured"));
            }
        }
    }
    none(&found);
}

/// Files that declare `Metric::ALL`, with the variants they list.
fn metrics() -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for (path, text) in sources() {
        if path.starts_with("tests/") || !text.contains("enum Metric") {
            continue;
        }
        let variants = text.split_once("enum Metric").map_or("", |(_, rest)| rest);
        let variants = variants.split_once('}').map_or("", |(body, _)| body);
        let names = variants.lines().filter_map(|line| {
            let name = line.trim().trim_end_matches(',');
            let is_name = name.chars().all(char::is_alphanumeric) && !name.is_empty();
            is_name.then(|| name.to_owned())
        });
        found.insert(path, names.collect());
    }
    found
}

#[test]
fn every_error_has_its_page() {
    let mut found = Vec::new();
    for code in Code::ALL {
        let page = root().join(format!("docs/errors/{code}.md"));
        if !read(&page).contains(code.title()) {
            found.push(format!("docs/errors/{code}.md is missing or old"));
        }
    }
    none(&found);
}

/// `path`, `path*`, or `path::name`: a file, and a function in it.
#[test]
fn guarantees_name_proofs_that_exist() {
    let text = read(&root().join("docs/guarantees.md"));
    let all = texts();
    let mut found = Vec::new();
    for name in text.split('`').skip(1).step_by(2) {
        let (file, function) = name.split_once("::").unwrap_or((name, ""));
        let ends = [".rs", ".txt", ".mutation"];
        if !file.contains('/') || !ends.iter().any(|end| file.ends_with(end)) {
            continue;
        }
        let (start, end) = file.split_once('*').unwrap_or((file, file));
        let wanted = format!("fn {function}");
        let there = { all.iter() }
            .filter(|(path, _)| path.starts_with(start) && path.ends_with(end))
            .any(|(_, text)| function.is_empty() || names(text, &wanted));
        if !there {
            found.push(format!(
                "docs/guarantees.md names {name}, which isn't there"
            ));
        }
    }
    none(&found);
}

/// A mutation whose text has gone from the code would prove nothing, and say so only late.
#[test]
fn every_mutation_finds_its_place_and_its_tests() {
    let all = texts();
    let mut found = Vec::new();
    let files = { all.iter() }.filter(|(path, _)| path.ends_with(".mutation"));
    for (path, text) in files {
        let mut file = "";
        for line in text.lines() {
            let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
            match kind {
                "in:" => file = rest,
                "-" | "*" => {
                    let count = all.get(file).map_or(0, |text| text.matches(rest).count());
                    if count == 0 || (kind == "-" && count > 1) {
                        found.push(format!("{path}: {file} has {count} times: {rest}"));
                    }
                }
                "noticed" => {
                    let last = rest.rsplit("::").next().unwrap_or_default();
                    let test = format!("fn {last}");
                    if !last.is_empty() && !all.values().any(|text| names(text, &test)) {
                        found.push(format!("{path}: there is no test {rest}"));
                    }
                }
                _ => {}
            }
        }
        if !text.contains("noticed by: ") || !text.starts_with("what: ") {
            found.push(format!(
                "{path} doesn't say what it takes away and who notices"
            ));
        }
    }
    none(&found);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    let places = [
        concat!("/wo", "rk/"),
        concat!("../sha", "red"),
        concat!(".libr", "ary/"),
        "/root/",
    ];
    let mut found = Vec::new();
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            if let Some(place) = places.iter().find(|place| line.contains(**place)) {
                found.push(format!("{path}:{}: {place}", number + 1));
            }
        }
    }
    found.retain(|line| !line.starts_with("tests/tidy.rs"));
    none(&found);
}

#[test]
fn the_reader_of_the_tree_can_see() {
    let lines: Vec<&str> = "fn a() {\n    x\n}\nfn d(\n    x: u8,\n) -> u8;\n    async fn b(\n        c: d,\n    ) {\n    }"
        .lines()
        .collect();
    assert_eq!(functions(&lines), [("a", 3), ("b", 4)]);
    assert!(names("use tokio::x;", "tokio") && names("tokio::Instant", "Instant"));
    assert!(!names("let operand = 1;", "rand") && !names("brand", "rand"));
    let code: Vec<String> = code_lines("a // tokio\n/// tokio\nlet b = \"tokio\";")
        .map(|(_, line)| line)
        .collect();
    assert!(code.iter().all(|line| !names(line, "tokio")), "{code:?}");
    assert!(sources().len() > 30, "the tree was not found");
}

/// Whether `word` stands in `line` as a word of its own.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let inside = word.starts_with(part) && before.is_some_and(part);
        let goes_on = word.ends_with(part) && after.is_some_and(part);
        !inside && !goes_on
    })
}

/// Lines without comments and string literals, numbered from 1.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    text.lines().enumerate().map(|(at, line)| {
        let without_strings: String = line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"");
        let code = without_strings.split("//").next().unwrap_or("").to_owned();
        (at + 1, code)
    })
}

fn none(found: &[String]) {
    assert!(
        found.is_empty(),
        "{} found:\n{}",
        found.len(),
        found.join("\n")
    );
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Every Rust file of the project, by its path.
fn sources() -> BTreeMap<String, String> {
    let mut all = texts();
    all.retain(|path, _| path.ends_with(".rs"));
    all
}

/// Every text file of the project, by its path; what git doesn't track is left out by name.
fn texts() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).expect("readable").flatten() {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            let skipped = ["target", ".git", "Cargo.lock", "sterna-state"];
            if skipped.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let relative = path.strip_prefix(root()).unwrap_or(&path);
                found.insert(relative.display().to_string(), text);
            }
        }
    }
    found
}
