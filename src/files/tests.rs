//! Job files in three syntaxes: what is read, and every problem with its line.

use super::*;

const TOML: &str = "name = \"shop\"\n[source]\nurl = \"sqlite:/a.db\"\n[target]\n\
                    url = \"sqlite:/b.db\"\nmode = \"recreate\"\n[tables]\ninclude = [\"a*\"]\n";
const YAML: &str = "name: shop\nsource:\n  url: sqlite:/a.db\ntarget:\n  url: sqlite:/b.db\n  \
                    mode: recreate\ntables:\n  include: [\"a*\"]\n";
const JSON: &str = r#"{"name": "shop", "source": {"url": "sqlite:/a.db"},
    "target": {"url": "sqlite:/b.db", "mode": "recreate"}, "tables": {"include": ["a*"]}}"#;

#[test]
fn three_syntaxes_give_one_job() {
    let read = |name: &str, text| {
        let root = tree(Path::new(name), text).expect(name);
        job_file::read(&root).expect(name)
    };
    let spec = read("a.toml", TOML);
    assert_eq!(spec.include, ["a*"]);
    assert_eq!(read("a.yaml", YAML), spec);
    assert_eq!(read("a.json", JSON), spec);
}

#[test]
fn problems_have_the_lines_of_the_file() {
    let lines = |name: &str, text: &str| -> Vec<u32> {
        let found = tree(Path::new(name), text).and_then(|root| job_file::read(&root));
        let problems = found.expect_err(name);
        problems.iter().map(|problem| problem.line).collect()
    };
    let toml = "nam = \"x\"\n\n[source]\nurl = 5\n[target]\nurl = \"sqlite:/b\"\nmode = \"no\"\n";
    assert_eq!(lines("a.toml", toml), [1, 1, 4, 7]);
    let yaml = "nam: x\n\nsource:\n  url: 5\ntarget:\n  url: sqlite:/b\n  mode: 'no'\n";
    assert_eq!(lines("a.yaml", yaml), [1, 1, 4, 7]);
    assert_eq!(lines("a.toml", "a = \n\nb = = 2\n"), [1, 3]);
    assert_eq!(lines("a.yaml", "name: x\nname: y\n"), [2]);
    assert_eq!(lines("a.json", "{\"a\": 1,\n oops}"), [2]);
}

const RULES: &str = r#"name = "shop"
accept = [
  "zero-date:orders.*",
  "zer-date:a.b",
  "zero-date:orders",
  5,
]
casts = [
  { from = "tinyint(1)*", to = "boolean" },
  { from = "[", too = "x" },
]
large_objects = "yes"
schema_map = { sales = "shop", other = 1 }
[source]
url = "sqlite:/a.db"
[target]
url = "sqlite:/b.db"

[[table]]
name = "a"
filter = 5
[[table.column]]
rename = "x"
[[table.column]]
name = "y"
drop = true
trim = "botth"
[[table.column]]
name = "y2"
drop = true
trim = "both"
[[table.column]]
name = "z"
mask = { hash = { salt = "pepper-canary" } }
[[table.column]]
name = "z"
mask = {}
[[table.column]]
name = "w"
mask = { redact = "x", hash = { salt = { env = "S" } } }
null_if = "x"
[[table.computed]]
name = "c"
typ = "int"
[[table]]
name = "a"
"#;

const RULES_SAID: &str = r#"4: accept there is no loss "zer-date"; did you mean zero-date? The codes are zero-date, date-range, nul-in-text, not-a-number, number-range, negative-zero, storage-class, text-length, not-a-member, invalid-text, type-cast, row-identity
5: accept say for which column: zero-date:TABLE.COLUMN, where both may be patterns, or zero-date:*
6: accept is a number, a text in quotes is needed
10: casts[2].from is not a pattern: unclosed character class; missing ']'
10: casts[2].to is missing
10: casts[2].too is not a known key; did you mean `to`?
12: large_objects is text, true or false is needed
13: schema_map.other is a number, a name is needed
21: table[1].filter is a number, text is needed
22: table[1].column[1].name is missing
27: table[1].column[2].trim "botth" is not a choice; did you mean "both"?
30: table[1].column[3].drop leaves the column out: nothing else can be done with it
34: table[1].column[4].mask.hash.salt must be a reference that the worker resolves: { file = "/path" } or { env = "NAME" }
36: table[1].column[5].name "z" is there twice
37: table[1].column[5].mask needs exactly one of `hash` and `redact`
40: table[1].column[6].mask needs exactly one of `hash` and `redact`
41: table[1].column[6].null_if is text, a list of texts is needed
42: table[1].computed[1].expression is missing
42: table[1].computed[1].type is missing
44: table[1].computed[1].typ is not a known key; did you mean `type`?
46: table[2].name "a" has a rule in line 19 already"#;

#[test]
fn all_problems_of_rules_are_said_at_once() {
    let found = tree(Path::new("a.toml"), RULES).and_then(|root| job_file::read(&root));
    let problems = found.expect_err("many problems");
    let said: Vec<String> = problems
        .iter()
        .map(|p| format!("{}: {} {}", p.line, p.path, p.message))
        .collect();
    assert_eq!(said.join("\n"), RULES_SAID);
}

const RULES_TOML: &str = r#"name = "shop"
accept = ["zero-date:orders.*", "nul-in-text:*"]
casts = [{ from = "tinyint(1)*", to = "boolean" }]
schema_map = { sales = "shop" }
large_objects = true
[source]
url = "sqlite:/a.db"
[target]
url = "sqlite:/b.db"
[[table]]
name = "users"
rename = "people"
filter = "id > 5"
[[table.column]]
name = "mail"
rename = "email"
trim = "both"
null_if = ["", "n/a"]
mask = { hash = { salt = { file = "/run/salt" } } }
[[table.column]]
name = "phone"
mask = { redact = "hidden" }
cast = "varchar(20)"
[[table.column]]
name = "note"
drop = true
[[table.computed]]
name = "domain"
type = "text"
expression = "mail.split('@')[1]"
"#;

const RULES_YAML: &str = r#"name: shop
accept: ["zero-date:orders.*", "nul-in-text:*"]
casts:
  - { from: "tinyint(1)*", to: boolean }
schema_map: { sales: shop }
large_objects: true
source: { url: "sqlite:/a.db" }
target: { url: "sqlite:/b.db" }
table:
  - name: users
    rename: people
    filter: id > 5
    column:
      - name: mail
        rename: email
        trim: both
        null_if: ["", n/a]
        mask: { hash: { salt: { file: /run/salt } } }
      - { name: phone, mask: { redact: hidden }, cast: varchar(20) }
      - { name: note, drop: true }
    computed:
      - name: domain
        type: text
        expression: mail.split('@')[1]
"#;

#[test]
fn rules_in_three_syntaxes_are_one_job() {
    let read = |name: &str, text: &str| {
        let root = tree(Path::new(name), text).expect(name);
        job_file::read(&root).expect(name)
    };
    let spec = read("a.toml", RULES_TOML);
    assert_eq!(spec.rules.len(), 1);
    assert_eq!(spec.rules[0].columns.len(), 3);
    assert_eq!(spec.accept.len(), 2);
    assert!(spec.large_objects);
    assert_eq!(read("a.yaml", RULES_YAML), spec);
    let json = serde_json::json!({
        "name": "shop",
        "accept": ["zero-date:orders.*", "nul-in-text:*"],
        "casts": [{"from": "tinyint(1)*", "to": "boolean"}],
        "schema_map": {"sales": "shop"},
        "large_objects": true,
        "source": {"url": "sqlite:/a.db"},
        "target": {"url": "sqlite:/b.db"},
        "table": [{
            "name": "users", "rename": "people", "filter": "id > 5",
            "column": [
                {"name": "mail", "rename": "email", "trim": "both", "null_if": ["", "n/a"],
                 "mask": {"hash": {"salt": {"file": "/run/salt"}}}},
                {"name": "phone", "mask": {"redact": "hidden"}, "cast": "varchar(20)"},
                {"name": "note", "drop": true},
            ],
            "computed": [{"name": "domain", "type": "text",
                          "expression": "mail.split('@')[1]"}],
        }],
    });
    assert_eq!(read("a.json", &json.to_string()), spec);
}
