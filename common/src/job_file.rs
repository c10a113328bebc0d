//! A job file: from a tree of values with line numbers to a [`JobSpec`], or to every problem in it
//! at once. Which syntax the tree came from (TOML, YAML, JSON) isn't known here; nothing is opened.

mod rules;
mod text;

use std::collections::BTreeMap;

pub use self::text::{nearest, parse_bytes};
use crate::change::{DriftMode, FollowMode};
use crate::job::{Endpoint, JobSpec, SecretRef, TargetMode, VerifyMode};

/// The version of the format described here.
pub const VERSION: i64 = 1;

/// A value and the line it stands in, from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    pub line: u32,
    pub value: Value,
}

/// What the three syntaxes have in common.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

impl Value {
    fn kind(&self) -> &'static str {
        match self {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Int(_) | Value::Float(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a table of keys",
        }
    }
}

/// One key of a table of keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    pub key: String,
    pub line: u32,
    pub node: Node,
}

/// One thing wrong with a job file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileProblem {
    pub line: u32,
    /// The key's path, as in `target.mode`.
    pub path: String,
    pub message: String,
}

/// Reads the tree: the job, or everything that is wrong with it, in order of lines.
pub fn read(root: &Node) -> Result<JobSpec, Vec<FileProblem>> {
    let mut check = Check::default();
    check.lines.insert(String::new(), root.line);
    let spec = check.job(root);
    let known: Vec<String> = check.problems.iter().map(|p| p.path.clone()).collect();
    for problem in spec.problems() {
        // A key that is missing or unreadable was replaced: that has been said already.
        if !known.iter().any(|path| covers(path, &problem.path)) {
            check.add_at(&problem.path, problem.message);
        }
    }
    check.problems.sort();
    match check.problems.is_empty() {
        true => Ok(spec),
        false => Err(check.problems),
    }
}

/// A problem of `source` is one of `source.url` too.
fn covers(path: &str, inner: &str) -> bool {
    inner == path || inner.strip_prefix(path).is_some_and(|r| r.starts_with('.'))
}

type Fields<'a> = BTreeMap<&'a str, &'a Node>;

#[derive(Default)]
struct Check {
    problems: Vec<FileProblem>,
    lines: BTreeMap<String, u32>,
}

impl Check {
    fn add(&mut self, line: u32, path: &str, message: impl Into<String>) {
        let (path, message) = (path.to_owned(), message.into());
        self.problems.push(FileProblem {
            line,
            path,
            message,
        });
    }

    /// At the line of `path`, or of the nearest table around it that is there.
    fn add_at(&mut self, path: &str, message: impl Into<String>) {
        let mut around = path;
        let line = loop {
            if let Some(line) = self.lines.get(around) {
                break *line;
            }
            around = around.rsplit_once('.').map_or("", |(outer, _)| outer);
        };
        self.add(line, path, message);
    }

    fn wrong_type(&mut self, node: &Node, path: &str, wanted: &str) {
        let message = format!("is {}, {wanted} is needed", node.value.kind());
        self.add(node.line, path, message);
    }

    /// The entries of a table, its unknown keys reported.
    fn fields<'a>(&mut self, node: &'a Node, path: &str, known: &[&str]) -> Fields<'a> {
        let Value::Map(entries) = &node.value else {
            self.wrong_type(node, path, "a table of keys");
            return Fields::new();
        };
        let mut fields = Fields::new();
        for entry in entries {
            let path = join(path, &entry.key);
            self.lines.insert(path.clone(), entry.line);
            if !known.contains(&entry.key.as_str()) {
                let hint = match nearest(&entry.key, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known here: {}", known.join(", ")),
                };
                self.add(entry.line, &path, format!("is not a known key; {hint}"));
            } else if fields.insert(entry.key.as_str(), &entry.node).is_some() {
                self.add(entry.line, &path, "is there twice");
            }
        }
        fields
    }

    fn text(&mut self, fields: &Fields<'_>, path: &str, needed: bool) -> Option<String> {
        let key = path.rsplit('.').next().unwrap_or(path);
        match fields.get(key) {
            None if needed => {
                self.add_at(path, "is missing");
                None
            }
            None => None,
            Some(node) => match &node.value {
                Value::Text(text) => Some(text.clone()),
                _ => {
                    self.wrong_type(node, path, "text");
                    None
                }
            },
        }
    }

    /// False where it isn't there.
    fn flag(&mut self, fields: &Fields<'_>, path: &str) -> bool {
        let key = path.rsplit('.').next().unwrap_or(path);
        match fields.get(key) {
            None => false,
            Some(node) => match node.value {
                Value::Bool(flag) => flag,
                _ => {
                    self.wrong_type(node, path, "true or false");
                    false
                }
            },
        }
    }

    fn choice<T: Copy>(&mut self, fields: &Fields<'_>, path: &str, all: &[(&str, T)]) -> Option<T> {
        let text = self.text(fields, path, false)?;
        let found = all.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
            let hint = match nearest(&text, &names) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("use one of {}", names.join(", ")),
            };
            self.add_at(path, format!("{text:?} is not a choice; {hint}"));
        }
        found.map(|(_, value)| *value)
    }

    fn job(&mut self, root: &Node) -> JobSpec {
        const KEYS: [&str; 14] = [
            "version",
            "name",
            "source",
            "target",
            "tables",
            "verify",
            "allow_changing_source",
            "follow",
            "chunk",
            "accept",
            "casts",
            "schema_map",
            "large_objects",
            "table",
        ];
        let fields = self.fields(root, "", &KEYS);
        if let Some(node) = fields.get("version")
            && node.value != Value::Int(VERSION)
        {
            self.add(node.line, "version", "only version 1 is known");
        }
        let name = self.text(&fields, "name", true).unwrap_or_default();
        let (source, _) = self.endpoint(&fields, "source", &["url", "user", "password"]);
        let keys = ["url", "user", "password", "mode"];
        let (target, more) = self.endpoint(&fields, "target", &keys);
        let mut spec = JobSpec::new(name, source, target);
        if let Some(mode) = self.choice(&more, "target.mode", &TargetMode::ALL) {
            spec.target_mode = mode;
        }
        let modes = [("full", VerifyMode::Full), ("none", VerifyMode::None)];
        if let Some(verify) = self.choice(&fields, "verify", &modes) {
            spec.verify = verify;
        }
        spec.allow_changing_source = self.flag(&fields, "allow_changing_source");
        spec.large_objects = self.flag(&fields, "large_objects");
        if let Some(node) = fields.get("tables") {
            let tables = self.fields(node, "tables", &["include", "exclude"]);
            spec.include = self.globs(&tables, "tables.include");
            spec.exclude = self.globs(&tables, "tables.exclude");
        }
        if let Some(node) = fields.get("follow") {
            let follow = self.fields(node, "follow", &["mode", "drift", "from"]);
            self.follow(&follow, more.contains_key("mode"), &mut spec);
        }
        if let Some(node) = fields.get("chunk") {
            self.chunk(node, &mut spec);
        }
        self.changes(&fields, &mut spec);
        spec
    }

    fn follow(&mut self, follow: &Fields<'_>, has_target_mode: bool, spec: &mut JobSpec) {
        if let Some(mode) = self.choice(follow, "follow.mode", &FollowMode::ALL) {
            spec.follow = mode;
        }
        if let Some(drift) = self.choice(follow, "follow.drift", &DriftMode::ALL) {
            spec.drift = drift;
        }
        spec.from = self.text(follow, "follow.from", false);
        if spec.from.is_some() && !has_target_mode {
            spec.target_mode = TargetMode::Append;
        }
    }

    fn chunk(&mut self, node: &Node, spec: &mut JobSpec) {
        let keys = ["partition_bytes", "bucket_bytes", "split_bytes_min"];
        let chunk = self.fields(node, "chunk", &keys);
        let set = |value: Option<u64>, to: &mut u64| *to = value.unwrap_or(*to);
        set(
            self.size(&chunk, "chunk.partition_bytes"),
            &mut spec.partition_bytes,
        );
        let bucket = self.size(&chunk, "chunk.bucket_bytes");
        // A partition holds whole buckets: a smaller partition alone asks for smaller buckets.
        spec.bucket_bytes = bucket.unwrap_or(spec.bucket_bytes.min(spec.partition_bytes));
        let split = self.size(&chunk, "chunk.split_bytes_min");
        spec.split_bytes_min = split.unwrap_or(spec.split_bytes_min.min(spec.partition_bytes));
    }

    fn globs(&mut self, fields: &Fields<'_>, path: &str) -> Vec<String> {
        let key = path.rsplit('.').next().unwrap_or(path);
        let Some(node) = fields.get(key) else {
            return Vec::new();
        };
        let Value::List(items) = &node.value else {
            self.wrong_type(node, path, "a list of patterns");
            return Vec::new();
        };
        let mut globs = Vec::new();
        for item in items {
            match &item.value {
                Value::Text(glob) => match globset::Glob::new(glob) {
                    Ok(_) => globs.push(glob.clone()),
                    Err(error) => {
                        let reason = error.kind().to_string();
                        self.add(
                            item.line,
                            path,
                            format!("{glob:?} is not a pattern: {reason}"),
                        );
                    }
                },
                _ => self.wrong_type(item, path, "a pattern in quotes"),
            }
        }
        globs
    }

    fn size(&mut self, fields: &Fields<'_>, path: &str) -> Option<u64> {
        let key = path.rsplit('.').next().unwrap_or(path);
        let node = fields.get(key)?;
        let read = match &node.value {
            Value::Text(text) => parse_bytes(text),
            Value::Int(n) => Err(format!("is a bare number, write the unit: \"{n}B\"")),
            _ => Err("is not a size, as in \"64MiB\"".to_owned()),
        };
        read.map_err(|message| self.add(node.line, path, message))
            .ok()
    }

    /// An endpoint and its fields.
    fn endpoint<'a>(
        &mut self,
        root: &Fields<'a>,
        path: &str,
        keys: &[&str],
    ) -> (Endpoint, Fields<'a>) {
        let mut endpoint = Endpoint {
            url: String::new(),
            password: None,
        };
        let Some(node) = root.get(path) else {
            self.add_at(path, "is missing");
            return (endpoint, Fields::new());
        };
        let fields = self.fields(node, path, keys);
        if !matches!(node.value, Value::Map(_)) {
            return (endpoint, fields);
        }
        let url_path = join(path, "url");
        let url = self.text(&fields, &url_path, true).unwrap_or_default();
        if has_password(&url) {
            let message = "holds a password, which would be stored in the cluster's log; take it \
                           out and use `password = { file = \"…\" }` or `{ env = \"…\" }`";
            self.add_at(&url_path, message);
        } else {
            endpoint.url = url;
        }
        if let Some(user) = self.text(&fields, &join(path, "user"), false) {
            match with_user(&endpoint.url, &user) {
                Ok(url) => endpoint.url = url,
                Err(message) => self.add_at(&join(path, "user"), message),
            }
        }
        if let Some(node) = fields.get("password") {
            endpoint.password = self.secret(node, &join(path, "password"));
        }
        (endpoint, fields)
    }

    fn secret(&mut self, node: &Node, path: &str) -> Option<SecretRef> {
        if !matches!(node.value, Value::Map(_)) {
            // The value may be the password itself: never repeat it.
            let message = "must be a reference that the worker resolves: { file = \"/path\" } or \
                           { env = \"NAME\" }";
            self.add(node.line, path, message);
            return None;
        }
        let fields = self.fields(node, path, &["file", "env"]);
        let file = self.text(&fields, &join(path, "file"), false);
        let env = self.text(&fields, &join(path, "env"), false);
        match (file, env) {
            (Some(file), None) => Some(SecretRef::File(file)),
            (None, Some(env)) => Some(SecretRef::Env(env)),
            _ => {
                if !self.problems.iter().any(|p| covers(path, &p.path)) {
                    self.add(node.line, path, "needs exactly one of `file` and `env`");
                }
                None
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    match path {
        "" => key.to_owned(),
        _ => format!("{path}.{key}"),
    }
}

/// Whether a URL has something in the place of a password, even where the URL is not well formed.
pub fn has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else {
        return false;
    };
    let in_user_info = rest.rsplit_once('@').is_some_and(|(u, _)| u.contains(':'));
    in_user_info || has_secret_option(url)
}

/// Whether an option of a URL gives a password away, or leads to one: drivers read `%70` as `p`.
pub fn has_secret_option(url: &str) -> bool {
    const WORDS: [&str; 5] = ["pass", "pwd", "secret", "token", "credential"];
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut keys = query.split(['&', ';', '?', '#']).map(|pair| {
        let key = pair.split('=').next().unwrap_or_default();
        decode_lossy(key).to_lowercase()
    });
    keys.any(|key| WORDS.iter().any(|word| key.contains(word)))
}

/// `%40` -> `@`; whatever isn't two hex digits stays.
fn decode_lossy(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|two| std::str::from_utf8(two).ok());
        let coded = digits.and_then(|two| u8::from_str_radix(two, 16).ok());
        match (first, coded) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Puts a user into a URL that names none.
fn with_user(url: &str, user: &str) -> Result<String, String> {
    let Some((scheme, rest)) = url.split_once("://") else {
        return match url.is_empty() {
            true => Ok(String::new()), // the URL's problem was reported
            false => Err("this kind of endpoint has no users".to_owned()),
        };
    };
    if rest.contains('@') {
        return Err("is named in the URL too; keep one of them".to_owned());
    }
    let mut encoded = String::new();
    for byte in user.bytes() {
        match byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            true => encoded.push(char::from(byte)),
            false => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(format!("{scheme}://{encoded}@{rest}"))
}

#[cfg(test)]
mod tests;
