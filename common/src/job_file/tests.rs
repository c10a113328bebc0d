//! Job files as trees: what is read, and that all problems come at once.

use super::*;

fn text(line: u32, text: &str) -> Node {
    let value = Value::Text(text.to_owned());
    Node { line, value }
}

fn map(line: u32, entries: Vec<(&str, Node)>) -> Node {
    let entries = entries.into_iter().map(|(key, node)| Entry {
        key: key.to_owned(),
        line: node.line,
        node,
    });
    let value = Value::Map(entries.collect());
    Node { line, value }
}

fn list(line: u32, items: &[&str]) -> Node {
    let items = items.iter().map(|item| text(line, item));
    let value = Value::List(items.collect());
    Node { line, value }
}

fn problems(root: &Node) -> Vec<(u32, String)> {
    let problems = read(root).expect_err("it has problems");
    problems
        .into_iter()
        .map(|p| (p.line, format!("{} {}", p.path, p.message)))
        .collect()
}

#[test]
fn a_whole_file_is_read() {
    let password = map(6, vec![("file", text(6, "/run/pw"))]);
    let root = map(
        1,
        vec![
            ("name", text(2, "shop")),
            (
                "source",
                map(
                    3,
                    vec![
                        ("url", text(4, "mysql://db1/shop")),
                        ("user", text(5, "a@b")),
                        ("password", password),
                    ],
                ),
            ),
            (
                "target",
                map(
                    7,
                    vec![
                        ("url", text(8, "sqlite:/t.db")),
                        ("mode", text(9, "recreate")),
                    ],
                ),
            ),
            (
                "tables",
                map(10, vec![("include", list(11, &["ord*", "users"]))]),
            ),
            ("verify", text(12, "none")),
            (
                "chunk",
                map(13, vec![("partition_bytes", text(14, "1MiB"))]),
            ),
        ],
    );
    let spec = read(&root).expect("valid");
    assert_eq!(spec.source.url, "mysql://a%40b@db1/shop");
    assert_eq!(
        spec.source.password,
        Some(SecretRef::File("/run/pw".into()))
    );
    assert_eq!(spec.target_mode, TargetMode::Recreate);
    assert_eq!(spec.include, ["ord*", "users"]);
    assert_eq!(spec.verify, VerifyMode::None);
    assert_eq!(
        (spec.partition_bytes, spec.bucket_bytes),
        (1 << 20, 1 << 20)
    );
}

#[test]
fn every_problem_comes_at_once_with_its_line() {
    let bare = Node {
        line: 12,
        value: Value::Int(5),
    };
    let root = map(
        1,
        vec![
            ("nmae", text(2, "shop")),
            (
                "source",
                map(
                    3,
                    vec![
                        ("url", text(4, "mysql://u:secret@h/db")),
                        ("password", text(5, "hunter2")),
                    ],
                ),
            ),
            (
                "target",
                map(
                    6,
                    vec![("url", text(7, "oracle:x")), ("mode", text(8, "recreat"))],
                ),
            ),
            ("tables", map(9, vec![("include", list(10, &["ok", "["]))])),
            ("chunk", map(11, vec![("bucket_bytes", bare)])),
        ],
    );
    let found = problems(&root);
    let lines: Vec<u32> = found.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [1, 2, 4, 5, 7, 8, 10, 12], "{found:#?}");
    let all = found.iter().map(|(_, m)| m.as_str()).collect::<String>();
    for part in [
        "name is missing",
        "did you mean `name`?",
        "did you mean \"recreate\"?",
        "is a bare number, write the unit: \"5B\"",
        "is not a pattern",
    ] {
        assert!(all.contains(part), "{part}: {all}");
    }
    assert!(!all.contains("hunter2") && !all.contains("secret"), "{all}");
}

#[test]
fn sizes_have_units() {
    assert_eq!(parse_bytes("64MiB"), Ok(64 << 20));
    assert_eq!(parse_bytes("500 kB"), Ok(500_000));
    for wrong in ["64", "MiB", "1.5GiB", "", "99999999999GiB", "1XB"] {
        assert!(parse_bytes(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_password_is_seen_even_in_a_broken_url() {
    for url in [
        "mysql://u:p@h/d",
        "mysql://u:p/w@h/d",
        "mysql://u:p@w@h/d",
        "mysql://h/d?password=x",
    ] {
        assert!(has_password(url), "{url}");
    }
    for url in ["mysql://u@h:3306/d", "mysql://h:3306/d", "sqlite:a:b@c"] {
        assert!(!has_password(url), "{url}");
    }
}

#[test]
fn following_is_asked_for_by_mode() {
    let pair = |key: &str, value: &str| Entry {
        key: key.to_owned(),
        line: 9,
        node: Node {
            line: 9,
            value: Value::Text(value.to_owned()),
        },
    };
    let file = |follow: Vec<Entry>| {
        let table = |key: &str, entries| Entry {
            key: key.to_owned(),
            line: 8,
            node: Node {
                line: 8,
                value: Value::Map(entries),
            },
        };
        let root = Node {
            line: 1,
            value: Value::Map(vec![
                pair("name", "shop"),
                table("source", vec![pair("url", "sqlite:a")]),
                table("target", vec![pair("url", "sqlite:b")]),
                table("follow", follow),
            ]),
        };
        read(&root)
    };
    let spec = file(vec![pair("mode", "live"), pair("drift", "apply")]).expect("valid");
    assert_eq!(
        (spec.follow, spec.drift),
        (FollowMode::Live, DriftMode::Apply)
    );
    let spec = file(vec![pair("mode", "live"), pair("from", "bin.000003:4")]).expect("valid");
    assert_eq!(spec.target_mode, TargetMode::Append);
    let problems = file(vec![pair("mode", "lve"), pair("from", "x")]).expect_err("not a mode");
    let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
    assert_eq!(paths, ["follow.from", "follow.mode"]);
}
