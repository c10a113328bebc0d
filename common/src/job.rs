//! What the user asks for: one migration.

use serde::{Deserialize, Serialize};

use crate::change::{DriftMode, FollowMode};
use crate::fidelity::Acceptance;
use crate::limits;
use crate::rules::{TableRule, TypeCast};
use crate::schema::Engine;
use crate::verify::{RepairOptions, VerifyOptions};

/// Where a password is found. Never the password: this type goes through the Raft log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretRef {
    /// A file on the worker, its trailing newline removed.
    File(String),
    /// An environment variable of the worker.
    Env(String),
    /// Handed to the worker of this process by `sterna clone`: "source" or "target".
    Session(String),
}

/// One end of a job. `url` never holds a password.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretRef>,
}

impl Endpoint {
    /// The engine by the URL's scheme.
    pub fn engine(&self) -> Option<Engine> {
        match self.url.split_once(':')?.0 {
            "sqlite" => Some(Engine::Sqlite),
            "mysql" | "mariadb" => Some(Engine::Mysql),
            "postgres" | "postgresql" => Some(Engine::Postgres),
            _ => None,
        }
    }
}

/// What to do with tables that are already at the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetMode {
    /// Refuse if any of the job's tables is there.
    #[default]
    RequireEmpty,
    /// Add the rows to what is there; a key that exists already is an error.
    Append,
    /// Empty the tables that are there.
    Truncate,
    /// Drop and create the tables that are there.
    Recreate,
}

impl FollowMode {
    pub const ALL: [(&'static str, FollowMode); 4] = [
        ("auto", FollowMode::Auto),
        ("off", FollowMode::Off),
        ("point-in-time", FollowMode::PointInTime),
        ("live", FollowMode::Live),
    ];
}

impl DriftMode {
    pub const ALL: [(&'static str, DriftMode); 2] =
        [("stop", DriftMode::Stop), ("apply", DriftMode::Apply)];
}

impl TargetMode {
    pub const ALL: [(&'static str, TargetMode); 4] = [
        ("require-empty", TargetMode::RequireEmpty),
        ("append", TargetMode::Append),
        ("truncate", TargetMode::Truncate),
        ("recreate", TargetMode::Recreate),
    ];
}

/// How the result is proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum VerifyMode {
    /// Read every row of the target back and compare its digest with what was read at the source.
    #[default]
    Full,
    /// Don't; the report says so.
    None,
}

/// What a job is there for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Copy, and follow where that is asked for.
    #[default]
    Migrate,
    /// Compare the two ends row by row; changes nothing anywhere.
    Verify(VerifyOptions),
    /// Make the target's rows in some ranges equal to the source's; changes the target alone.
    Repair(RepairOptions),
}

impl Purpose {
    pub fn is_migration(&self) -> bool {
        *self == Purpose::Migrate
    }
}

/// One migration, as submitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSpec {
    /// Letters, digits, `-`, `_` and `.`, at most 64.
    pub name: String,
    #[serde(default, skip_serializing_if = "Purpose::is_migration")]
    pub purpose: Purpose,
    pub source: Endpoint,
    pub target: Endpoint,
    /// Globs over table names; empty = all.
    #[serde(default)]
    pub include: Vec<String>,
    #[serde(default)]
    pub exclude: Vec<String>,
    #[serde(default)]
    pub target_mode: TargetMode,
    #[serde(default)]
    pub verify: VerifyMode,
    #[serde(default)]
    pub allow_changing_source: bool,
    /// Size of a partition and of a bucket, in bytes of the source's estimate.
    #[serde(default = "partition_bytes")]
    pub partition_bytes: u64,
    #[serde(default = "bucket_bytes")]
    pub bucket_bytes: u64,
    /// Tables no larger than this are one partition.
    #[serde(default = "split_bytes_min")]
    pub split_bytes_min: u64,
    /// Losses the user accepts, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accept: Vec<Acceptance>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub casts: Vec<TypeCast>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<TableRule>,
    /// Schemas (MySQL: databases) of the source and what they are called in the target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schema_map: Vec<(String, String)>,
    /// Copy PostgreSQL's large objects too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub large_objects: bool,
    /// What is done about changes made while the job runs.
    #[serde(default)]
    pub follow: FollowMode,
    #[serde(default)]
    pub drift: DriftMode,
    /// The target holds the source's rows as of this position: nothing is copied, changes are
    /// followed from there. The connector's own text, see [`crate::change::Position`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

fn partition_bytes() -> u64 {
    limits::PARTITION_BYTES
}
fn bucket_bytes() -> u64 {
    limits::BUCKET_BYTES
}
fn split_bytes_min() -> u64 {
    limits::SPLIT_BYTES_MIN
}

impl JobSpec {
    /// A job with every default.
    pub fn new(name: impl Into<String>, source: Endpoint, target: Endpoint) -> JobSpec {
        JobSpec {
            name: name.into(),
            purpose: Purpose::Migrate,
            source,
            target,
            include: Vec::new(),
            exclude: Vec::new(),
            target_mode: TargetMode::default(),
            verify: VerifyMode::default(),
            allow_changing_source: false,
            partition_bytes: partition_bytes(),
            bucket_bytes: bucket_bytes(),
            split_bytes_min: split_bytes_min(),
            accept: Vec::new(),
            casts: Vec::new(),
            rules: Vec::new(),
            schema_map: Vec::new(),
            large_objects: false,
            follow: FollowMode::default(),
            drift: DriftMode::default(),
            from: None,
        }
    }

    /// Everything that is wrong with it, all at once; empty = valid.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut add = |path: &str, message: String| {
            problems.push(Problem {
                path: path.to_owned(),
                message,
            });
        };
        if !is_name(&self.name) {
            add(
                "name",
                format!(
                    "{:?} is not a name: use 1 to 64 of A-Z a-z 0-9 - _ .",
                    self.name
                ),
            );
        }
        for (path, endpoint) in [("source.url", &self.source), ("target.url", &self.target)] {
            if endpoint.engine().is_none() {
                add(
                    path,
                    "use sqlite:PATH, mysql://USER@HOST:PORT/DB, mariadb://… or postgres://…"
                        .to_owned(),
                );
            }
        }
        if self.source.url == self.target.url {
            add("target.url", "the target is the source".to_owned());
        }
        let mut patterns = vec![
            ("tables.include", &self.include),
            ("tables.exclude", &self.exclude),
        ];
        if let Purpose::Verify(options) = &self.purpose {
            patterns.push(("verify.columns", &options.columns));
        }
        for (path, globs) in patterns {
            for glob in globs {
                if let Err(error) = globset::Glob::new(glob) {
                    add(path, format!("{glob:?} is not a pattern: {error}"));
                }
            }
        }
        if !self.purpose.is_migration() && self.from.is_some() {
            let message = "a job that compares or repairs follows nothing";
            add("follow.from", message.to_owned());
        }
        if self.from.is_some() && self.follow != FollowMode::Live {
            let message = "a position to follow from needs mode = \"live\"";
            add("follow.from", message.to_owned());
        }
        if self.from.is_some() && self.target_mode != TargetMode::Append {
            let message = "the target must hold the rows of that position: only append fits";
            add("target.mode", message.to_owned());
        }
        if self.bucket_bytes == 0 || self.partition_bytes < self.bucket_bytes {
            add(
                "chunk.partition_bytes",
                "must be at least bucket_bytes, and both above 0".into(),
            );
        }
        problems
    }

    /// The job's choice among `tables`, and the include patterns that match none of them.
    pub fn select<'a>(&self, tables: &[&'a str]) -> (Vec<&'a str>, Vec<String>) {
        let matchers = |globs: &[String]| -> Vec<globset::GlobMatcher> {
            globs
                .iter()
                .filter_map(|glob| globset::Glob::new(glob).ok().map(|g| g.compile_matcher()))
                .collect()
        };
        let (include, exclude) = (matchers(&self.include), matchers(&self.exclude));
        let unmatched = include
            .iter()
            .zip(&self.include)
            .filter(|(matcher, _)| !tables.iter().any(|table| matcher.is_match(table)))
            .map(|(_, glob)| glob.clone())
            .collect();
        let wanted = |table: &&str| {
            (include.is_empty() || include.iter().any(|matcher| matcher.is_match(table)))
                && !exclude.iter().any(|matcher| matcher.is_match(table))
        };
        (tables.iter().copied().filter(wanted).collect(), unmatched)
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// One thing wrong with a job, by the path of its key in the job file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub path: String,
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint {
            url: url.to_owned(),
            password: None,
        }
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let mut spec = JobSpec::new("a b", endpoint("oracle:x"), endpoint("sqlite:t"));
        spec.include = vec!["[".into()];
        spec.from = Some("bin.000001:4".into());
        spec.bucket_bytes = 0;
        let paths: Vec<_> = spec.problems().into_iter().map(|p| p.path).collect();
        assert_eq!(
            paths,
            [
                "name",
                "source.url",
                "tables.include",
                "follow.from",
                "target.mode",
                "chunk.partition_bytes"
            ]
        );
        let spec = JobSpec::new("shop", endpoint("sqlite:s"), endpoint("mysql://u@h/t"));
        assert_eq!(spec.problems(), []);
    }

    #[test]
    fn globs_choose_tables_and_say_what_they_missed() {
        let mut spec = JobSpec::new("x", endpoint("sqlite:s"), endpoint("sqlite:t"));
        spec.include = vec!["ord*".into(), "nothing*".into()];
        spec.exclude = vec!["*_tmp".into()];
        let (chosen, unmatched) = spec.select(&["orders", "orders_tmp", "users"]);
        assert_eq!(
            (chosen, unmatched),
            (vec!["orders"], vec!["nothing*".to_owned()])
        );
    }
}
