//! What a statement in the log means for the job's tables, by a look at its words. A statement that
//! isn't understood and may be about our tables is a drift, never passed over.

use std::collections::HashMap;
use std::fmt;

use common::id::TableNo;
use common::plan::TablePlan;

/// The job's tables by their names at the server.
pub struct Names {
    tables: HashMap<(String, String), TableNo>,
    /// The server compares names without case.
    folded: bool,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning {
    Begin,
    Commit,
    Rollback,
    Savepoint(String),
    RollbackTo(String),
    XaCommit(Xid),
    XaRollback(Xid),
    Truncate(TableNo),
    /// Changes the definition of a table of ours; None = of more than one, or not clear of which.
    Drift(Option<TableNo>),
    /// Rows of ours may be changed by it, and it doesn't say which.
    Statement,
    Nothing,
}

/// An XA transaction's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Xid {
    pub format: i64,
    pub gtrid: Vec<u8>,
    pub bqual: Vec<u8>,
}

impl fmt::Display for Xid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        write!(
            f,
            "'{}','{}',{}",
            words(&self.gtrid),
            words(&self.bqual),
            self.format
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// As written, and whether it was in quotes that make it a name.
    Word(String, bool),
    Text(String),
    Sign(char),
}

impl Names {
    pub fn new(tables: &[TablePlan], database: &str, folded: bool) -> Names {
        let mut names = Names {
            tables: HashMap::new(),
            folded,
        };
        for (no, table) in tables.iter().enumerate() {
            let schema = table.source.schema.as_deref().unwrap_or(database);
            let key = (names.fold(schema), names.fold(&table.source.name));
            names.tables.insert(key, TableNo(no as u32));
        }
        names
    }

    pub fn find(&self, schema: &str, name: &str) -> Option<TableNo> {
        let key = (self.fold(schema), self.fold(name));
        self.tables.get(&key).copied()
    }

    fn fold(&self, name: &str) -> String {
        match self.folded {
            true => name.to_lowercase(),
            false => name.to_owned(),
        }
    }

    fn is_ours(&self, schema: &str) -> bool {
        let schema = self.fold(schema);
        self.tables.keys().any(|(ours, _)| *ours == schema)
    }
}

/// What `sql`, run in the database `schema`, means.
pub fn meaning(names: &Names, schema: &str, sql: &str) -> Meaning {
    // The two that most groups consist of.
    match sql {
        "BEGIN" => return Meaning::Begin,
        "COMMIT" => return Meaning::Commit,
        _ => {}
    }
    let look = Look {
        names,
        schema,
        tokens: tokens(sql),
    };
    look.meaning(sql)
}

struct Look<'a> {
    names: &'a Names,
    schema: &'a str,
    tokens: Vec<Token>,
}

impl Look<'_> {
    fn meaning(&self, sql: &str) -> Meaning {
        let mut at = 0;
        if self.is(0, "SET") && self.is(1, "STATEMENT") {
            at = self.find("FOR").map_or(0, |at| at + 1);
        }
        match self.word(at).as_str() {
            "BEGIN" | "START" => Meaning::Begin,
            "COMMIT" => Meaning::Commit,
            "SAVEPOINT" => Meaning::Savepoint(self.name_at(at + 1)),
            "ROLLBACK" if self.is(at + 1, "TO") => {
                let skipped = usize::from(self.is(at + 2, "SAVEPOINT"));
                Meaning::RollbackTo(self.name_at(at + 2 + skipped))
            }
            "ROLLBACK" => Meaning::Rollback,
            "RELEASE" => Meaning::Nothing,
            "XA" => self.xa(at + 1, sql),
            "TRUNCATE" => {
                let name = at + 1 + usize::from(self.is(at + 1, "TABLE"));
                self.table(name).map_or(Meaning::Nothing, Meaning::Truncate)
            }
            "CREATE" => self.create(at + 1),
            "ALTER" => self.alter(at + 1),
            "DROP" => self.drop(at + 1),
            "RENAME" if self.is(at + 1, "USER") => Meaning::Nothing,
            "RENAME" => self.any_of_ours(at + 1),
            "GRANT" | "REVOKE" | "SET" | "FLUSH" | "ANALYZE" | "OPTIMIZE" | "REPAIR" | "CHECK"
            | "INSTALL" | "UNINSTALL" | "USE" | "PURGE" | "RESET" | "CHANGE" | "KILL" | "" => {
                Meaning::Nothing
            }
            "DELETE" if self.whole_delete(at) => match self.table(at + 2) {
                Some(_) => Meaning::Statement,
                // What a restarted server logs for each of its MEMORY tables.
                None => Meaning::Nothing,
            },
            "INSERT" | "UPDATE" | "DELETE" | "REPLACE" | "LOAD" | "WITH" | "CALL" | "DO"
            | "SELECT" | "MERGE" | "EXECUTE" | "VALUES" => match self.near_ours() {
                true => Meaning::Statement,
                false => Meaning::Nothing,
            },
            _ => match self.near_ours() {
                true => Meaning::Drift(None),
                false => Meaning::Nothing,
            },
        }
    }

    fn create(&self, from: usize) -> Meaning {
        let Some(kind) = self.kind(from) else {
            return self.any_of_ours(from);
        };
        match self.word(kind).as_str() {
            "TABLE" if self.before(from, kind, "TEMPORARY") => Meaning::Nothing,
            // Our table is there, so this did nothing.
            "TABLE" if self.is(kind + 1, "IF") => Meaning::Nothing,
            "TABLE" => self.drift_of(kind + 1),
            "INDEX" => self.index(kind),
            _ => Meaning::Nothing,
        }
    }

    fn drop(&self, from: usize) -> Meaning {
        let Some(kind) = self.kind(from) else {
            return self.any_of_ours(from);
        };
        let name = kind + 1 + 2 * usize::from(self.is(kind + 1, "IF"));
        match self.word(kind).as_str() {
            "TABLE" | "TABLES" if self.before(from, kind, "TEMPORARY") => Meaning::Nothing,
            "TABLE" | "TABLES" => self.any_of_ours(name),
            "INDEX" => self.index(kind),
            "DATABASE" | "SCHEMA" => match self.names.is_ours(&self.name_at(name)) {
                true => Meaning::Drift(None),
                false => Meaning::Nothing,
            },
            _ => Meaning::Nothing,
        }
    }

    fn alter(&self, from: usize) -> Meaning {
        let Some(kind) = self.kind(from) else {
            return self.any_of_ours(from);
        };
        if self.word(kind) != "TABLE" {
            return Meaning::Nothing;
        }
        let name = kind + 1 + 2 * usize::from(self.is(kind + 1, "IF"));
        match self.drift_of(name) {
            // Another table may become one of ours, or change places with a partition of it.
            Meaning::Nothing
                if self.find("RENAME").is_some() || self.find("EXCHANGE").is_some() =>
            {
                self.any_of_ours(name)
            }
            meaning => meaning,
        }
    }

    fn index(&self, from: usize) -> Meaning {
        let on = (from..self.tokens.len()).find(|at| self.is(*at, "ON"));
        on.map_or(Meaning::Nothing, |on| self.drift_of(on + 1))
    }

    /// The word that says what is created, altered or dropped.
    fn kind(&self, from: usize) -> Option<usize> {
        const KINDS: [&str; 21] = [
            "TABLE",
            "TABLES",
            "INDEX",
            "DATABASE",
            "SCHEMA",
            "VIEW",
            "TRIGGER",
            "PROCEDURE",
            "FUNCTION",
            "EVENT",
            "USER",
            "ROLE",
            "SERVER",
            "SEQUENCE",
            "PACKAGE",
            "TABLESPACE",
            "LOGFILE",
            "RESOURCE",
            "SPATIAL",
            "LIBRARY",
            "INSTANCE",
        ];
        let is_kind = |at: &usize| {
            let word = self.word(*at);
            // CREATE SPATIAL INDEX, but CREATE SPATIAL REFERENCE SYSTEM.
            KINDS.contains(&word.as_str()) && !(word == "SPATIAL" && self.is(at + 1, "INDEX"))
        };
        (from..self.tokens.len().min(from + 24)).find(is_kind)
    }

    fn drift_of(&self, at: usize) -> Meaning {
        match self.table(at) {
            Some(table) => Meaning::Drift(Some(table)),
            None => Meaning::Nothing,
        }
    }

    /// Every name from `from` on is looked at.
    fn any_of_ours(&self, from: usize) -> Meaning {
        let mut found: Vec<TableNo> = (from..self.tokens.len())
            .filter_map(|at| self.table(at))
            .collect();
        found.dedup();
        match found.as_slice() {
            [] => Meaning::Nothing,
            [table] => Meaning::Drift(Some(*table)),
            _ => Meaning::Drift(None),
        }
    }

    /// The table of ours whose name, with or without its database, begins at `at`.
    fn table(&self, at: usize) -> Option<TableNo> {
        let Token::Word(first, _) = self.tokens.get(at)? else {
            return None;
        };
        if self.tokens.get(at + 1) == Some(&Token::Sign('.'))
            && let Some(Token::Word(second, _)) = self.tokens.get(at + 2)
        {
            return self.names.find(first, second);
        }
        self.names.find(self.schema, first)
    }

    /// Whether it runs in a database of ours or names one.
    fn near_ours(&self) -> bool {
        let names_ours = |token: &Token| match token {
            Token::Word(word, _) => self.names.is_ours(word),
            _ => false,
        };
        self.names.is_ours(self.schema) || self.tokens.iter().any(names_ours)
    }

    /// `DELETE FROM name` and nothing after it.
    fn whole_delete(&self, at: usize) -> bool {
        let rest = self.tokens.len() - at;
        self.is(at + 1, "FROM") && (rest == 3 || rest == 5)
    }

    fn xa(&self, at: usize, sql: &str) -> Meaning {
        let ended = |xid: fn(Xid) -> Meaning| xa_id(sql).map_or(Meaning::Drift(None), xid);
        match self.word(at).as_str() {
            "COMMIT" => ended(Meaning::XaCommit),
            "ROLLBACK" => ended(Meaning::XaRollback),
            "START" | "BEGIN" => Meaning::Begin,
            _ => Meaning::Nothing,
        }
    }

    /// An unquoted word in capitals, else "".
    fn word(&self, at: usize) -> String {
        match self.tokens.get(at) {
            Some(Token::Word(word, false)) => word.to_ascii_uppercase(),
            _ => String::new(),
        }
    }

    fn is(&self, at: usize, word: &str) -> bool {
        self.word(at) == word
    }

    fn before(&self, from: usize, to: usize, word: &str) -> bool {
        (from..to).any(|at| self.is(at, word))
    }

    fn find(&self, word: &str) -> Option<usize> {
        (0..self.tokens.len()).find(|at| self.is(*at, word))
    }

    fn name_at(&self, at: usize) -> String {
        match self.tokens.get(at) {
            Some(Token::Word(name, _) | Token::Text(name)) => name.clone(),
            _ => String::new(),
        }
    }
}

/// The name in `XA COMMIT X'…',X'…',1`, as the servers log it.
fn xa_id(sql: &str) -> Option<Xid> {
    let mut parts = sql.split('\'');
    parts.next()?;
    let gtrid = unhex(parts.next()?)?;
    parts.next()?;
    let bqual = unhex(parts.next()?)?;
    let format = parts.next()?.trim_start_matches(',').trim();
    Some(Xid {
        format: format.split_whitespace().next()?.parse().ok()?,
        gtrid,
        bqual,
    })
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let pair = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..digits.len()).step_by(2).map(pair).collect()
}

fn tokens(sql: &str) -> Vec<Token> {
    let mut found = Vec::new();
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        let length = first.len_utf8();
        if first.is_whitespace() {
            rest = &rest[length..];
        } else if let Some(comment) = comment(rest) {
            rest = &rest[comment..];
        } else if ['`', '"', '\''].contains(&first) {
            let (text, end) = quoted(rest, first);
            found.push(match first {
                '\'' => Token::Text(text),
                // With ANSI_QUOTES it is a name.
                _ => Token::Word(text, true),
            });
            rest = &rest[end..];
        } else if is_of_word(first) {
            let end = rest.find(|c| !is_of_word(c)).unwrap_or(rest.len());
            found.push(Token::Word(rest[..end].to_owned(), false));
            rest = &rest[end..];
        } else {
            found.push(Token::Sign(first));
            rest = &rest[length..];
        }
    }
    // One that ends a statement says nothing.
    while found.last() == Some(&Token::Sign(';')) {
        found.pop();
    }
    found
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// Length of what must be skipped, if a comment begins here. The content of an executable one
/// (`/*!50100 … */`) is part of the statement, only its ends are skipped.
fn comment(rest: &str) -> Option<usize> {
    let line = || Some(rest.find('\n').map_or(rest.len(), |at| at + 1));
    if rest.starts_with('#') || rest.starts_with("-- ") || rest.starts_with("--\n") {
        return line();
    }
    if rest.starts_with("*/") {
        return Some(2);
    }
    for start in ["/*!", "/*M!"] {
        if let Some(inner) = rest.strip_prefix(start) {
            let digits = inner.find(|c: char| !c.is_ascii_digit());
            return Some(start.len() + digits.unwrap_or(inner.len()));
        }
    }
    rest.starts_with("/*")
        .then(|| rest.find("*/").map_or(rest.len(), |at| at + 2))
}

/// What is in quotes, and where it ends. A doubled quote stands for itself, and so does what
/// follows a backslash in a text.
fn quoted(rest: &str, quote: char) -> (String, usize) {
    let mut text = String::new();
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote != '`' {
            text.extend(chars.next().map(|(_, c)| c));
        } else if c != quote {
            text.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            chars.next();
            text.push(quote);
        } else {
            return (text, at + 1);
        }
    }
    (text, rest.len())
}

#[cfg(test)]
#[path = "ddl_tests.rs"]
mod tests;
