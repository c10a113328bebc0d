//! What a job file says about values and names: `accept`, `casts`, `schema_map` and the rules of
//! tables. Whether the tables and columns are there isn't known here.

use std::collections::BTreeMap;

use super::{Check, Fields, Node, Value, covers, join};
use crate::job::JobSpec;
use crate::rules::{ColumnRule, ComputedColumn, Mask, TableRule, Trim, TypeCast};

const TRIMS: [(&str, Trim); 3] = [
    ("both", Trim::Both),
    ("left", Trim::Left),
    ("right", Trim::Right),
];

impl Check {
    /// Everything a job changes on the way.
    pub(super) fn changes(&mut self, fields: &Fields<'_>, spec: &mut JobSpec) {
        for (line, text) in self.texts(fields, "accept") {
            match text.parse() {
                Ok(acceptance) => spec.accept.push(acceptance),
                Err(message) => self.add(line, "accept", message),
            }
        }
        for (path, node) in self.items(fields, "casts") {
            let keys = self.fields(node, &path, &["from", "to"]);
            let from = self.text(&keys, &join(&path, "from"), true);
            let to = self.text(&keys, &join(&path, "to"), true);
            if let Some(Err(error)) = from.as_deref().map(globset::Glob::new) {
                let message = format!("is not a pattern: {}", error.kind());
                self.add_at(&join(&path, "from"), message);
            } else if let (Some(from), Some(to)) = (from, to) {
                spec.casts.push(TypeCast { from, to });
            }
        }
        if let Some(node) = fields.get("schema_map") {
            spec.schema_map = self.schema_map(node);
        }
        let mut seen = BTreeMap::new();
        for (path, node) in self.items(fields, "table") {
            let rule = self.table(node, &path);
            if let Some(first) = seen.insert(rule.table.clone(), node.line)
                && !rule.table.is_empty()
            {
                let message = format!("{:?} has a rule in line {first} already", rule.table);
                self.add_at(&join(&path, "name"), message);
            }
            spec.rules.push(rule);
        }
    }

    fn schema_map(&mut self, node: &Node) -> Vec<(String, String)> {
        let Value::Map(entries) = &node.value else {
            self.wrong_type(node, "schema_map", "a table of names");
            return Vec::new();
        };
        let mut map: Vec<(String, String)> = Vec::new();
        for entry in entries {
            let path = join("schema_map", &entry.key);
            match &entry.node.value {
                Value::Text(_) if map.iter().any(|(from, _)| *from == entry.key) => {
                    self.add(entry.line, &path, "is there twice");
                }
                Value::Text(to) if !to.is_empty() => map.push((entry.key.clone(), to.clone())),
                Value::Text(_) => self.add(entry.line, &path, "is empty"),
                _ => self.wrong_type(&entry.node, &path, "a name"),
            }
        }
        map
    }

    fn table(&mut self, node: &Node, path: &str) -> TableRule {
        let keys = ["name", "rename", "filter", "column", "computed"];
        let fields = self.fields(node, path, &keys);
        let mut rule = TableRule {
            table: self.name(&fields, &join(path, "name"), true),
            rename: self.new_name(&fields, &join(path, "rename")),
            filter: self.text(&fields, &join(path, "filter"), false),
            ..TableRule::default()
        };
        for (path, node) in self.items(&fields, &join(path, "column")) {
            let column = self.column(node, &path);
            let known = |other: &ColumnRule| other.column == column.column;
            if !column.column.is_empty() && rule.columns.iter().any(known) {
                let message = format!("{:?} is there twice", column.column);
                self.add_at(&join(&path, "name"), message);
            }
            rule.columns.push(column);
        }
        for (path, node) in self.items(&fields, &join(path, "computed")) {
            let fields = self.fields(node, &path, &["name", "type", "expression"]);
            rule.computed.push(ComputedColumn {
                column: self.name(&fields, &join(&path, "name"), true),
                ty: self.name(&fields, &join(&path, "type"), true),
                expression: self.name(&fields, &join(&path, "expression"), true),
            });
        }
        rule
    }

    fn column(&mut self, node: &Node, path: &str) -> ColumnRule {
        let keys = ["name", "rename", "drop", "trim", "null_if", "mask", "cast"];
        let fields = self.fields(node, path, &keys);
        let null_if = self.texts(&fields, &join(path, "null_if"));
        let rule = ColumnRule {
            column: self.name(&fields, &join(path, "name"), true),
            rename: self.new_name(&fields, &join(path, "rename")),
            drop: self.flag(&fields, &join(path, "drop")),
            trim: self.choice(&fields, &join(path, "trim"), &TRIMS),
            null_if: null_if.into_iter().map(|(_, text)| text).collect(),
            mask: fields
                .get("mask")
                .and_then(|node| self.mask(node, &join(path, "mask"))),
            cast: self.new_name(&fields, &join(path, "cast")),
        };
        if rule.drop && (rule.rename.is_some() || rule.cast.is_some() || rule.changes_values()) {
            let message = "leaves the column out: nothing else can be done with it";
            self.add_at(&join(path, "drop"), message);
        }
        rule
    }

    fn mask(&mut self, node: &Node, path: &str) -> Option<Mask> {
        let fields = self.fields(node, path, &["hash", "redact"]);
        if !matches!(node.value, Value::Map(_)) {
            return None;
        }
        let known = self.problems.len();
        let redact = self.text(&fields, &join(path, "redact"), false);
        let hash = fields.get("hash").map(|node| {
            let path = join(path, "hash");
            let fields = self.fields(node, &path, &["salt"]);
            let path = join(&path, "salt");
            match fields.get("salt") {
                Some(node) => self.secret(node, &path),
                None => {
                    if matches!(node.value, Value::Map(_)) {
                        self.add_at(&path, "is missing");
                    }
                    None
                }
            }
        });
        match (hash, redact) {
            (Some(salt), None) => salt.map(|salt| Mask::Hash { salt }),
            (None, Some(with)) => Some(Mask::Redact { with }),
            _ => {
                if self.problems.len() == known
                    && !self.problems.iter().any(|p| covers(path, &p.path))
                {
                    self.add(node.line, path, "needs exactly one of `hash` and `redact`");
                }
                None
            }
        }
    }

    /// A text that isn't empty; one that is missing has been said.
    fn name(&mut self, fields: &Fields<'_>, path: &str, needed: bool) -> String {
        let text = self.text(fields, path, needed);
        if text.as_deref() == Some("") {
            self.add_at(path, "is empty");
        }
        text.unwrap_or_default()
    }

    fn new_name(&mut self, fields: &Fields<'_>, path: &str) -> Option<String> {
        let name = self.name(fields, path, false);
        (!name.is_empty()).then_some(name)
    }

    /// The items of a list of tables, with their paths (`table[1]`).
    fn items<'a>(&mut self, fields: &Fields<'a>, path: &str) -> Vec<(String, &'a Node)> {
        let key = path.rsplit('.').next().unwrap_or(path);
        let Some(node) = fields.get(key) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            self.wrong_type(node, path, "a list of tables of keys");
            return Vec::new();
        };
        let mut found = Vec::new();
        for (no, item) in (1..).zip(items) {
            let path = format!("{path}[{no}]");
            self.lines.insert(path.clone(), item.line);
            found.push((path, item));
        }
        found
    }

    /// A list of texts with their lines.
    fn texts(&mut self, fields: &Fields<'_>, path: &str) -> Vec<(u32, String)> {
        let key = path.rsplit('.').next().unwrap_or(path);
        let Some(node) = fields.get(key) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            self.wrong_type(node, path, "a list of texts");
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items {
            match &item.value {
                Value::Text(text) => texts.push((item.line, text.clone())),
                _ => self.wrong_type(item, path, "a text in quotes"),
            }
        }
        texts
    }
}
