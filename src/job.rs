//! From the arguments of `clone` and `plan`, or their job file, to a job: its passwords aside.

use common::change::{DriftMode, FollowMode};
use common::code::{Code, Failure};
use common::job::{Endpoint, JobSpec, SecretRef, TargetMode, VerifyMode};
use worker::secret::Secrets;

use crate::cli::{Drift, JobArgs, Mode, Verify};
use crate::endpoint::{self, Taken};
use crate::error::Result;
use crate::files;

/// The job that the arguments ask for, and the passwords that were given to this process.
pub fn asked(args: &JobArgs) -> Result<(JobSpec, Secrets)> {
    asked_from(args, None)
}

/// As [`asked`]; with a position nothing is copied, changes are followed from there.
pub fn asked_from(args: &JobArgs, from: Option<&str>) -> Result<(JobSpec, Secrets)> {
    let mut secrets = Secrets::default();
    let mut spec = match (&args.file, &args.source, &args.target) {
        (Some(file), _, _) => from_file(file, &mut secrets)?,
        (None, Some(source), Some(target)) => from_urls(source, target, &mut secrets)?,
        (None, _, _) => {
            let what = "name a source and a target, or a job file with -f";
            return Err(Failure::new(Code::Usage, what));
        }
    };
    add_options(args, &mut spec);
    if let Some(from) = from {
        spec.from = Some(from.to_owned());
        spec.follow = FollowMode::Live;
        spec.target_mode = TargetMode::Append;
    }
    let problems = spec.problems();
    if problems.is_empty() {
        return Ok((spec, secrets));
    }
    let lines = { problems.iter() }.map(|problem| format!("{}: {}", problem.path, problem.message));
    let what = lines.collect::<Vec<_>>().join("\n");
    Err(Failure::new(Code::Usage, what))
}

fn from_urls(source: &str, target: &str, secrets: &mut Secrets) -> Result<JobSpec> {
    let source = keep("source", endpoint::take("source", source)?, secrets);
    let target = keep("target", endpoint::take("target", target)?, secrets);
    Ok(JobSpec::new(name_after(&target.url), source, target))
}

fn keep(role: &str, taken: Taken, secrets: &mut Secrets) -> Endpoint {
    if let Some(password) = taken.password {
        secrets.insert(role, password);
    }
    taken.endpoint
}

/// A job file names its passwords by reference; where it names none, the variables of `clone` do.
fn from_file(file: &std::path::Path, secrets: &mut Secrets) -> Result<JobSpec> {
    let mut spec = files::read_job(file)?;
    for (role, end) in [("source", &mut spec.source), ("target", &mut spec.target)] {
        let variable = std::env::var(endpoint::password_variable(role));
        if let (None, true, Ok(password)) = (&end.password, end.url.contains("://"), variable) {
            secrets.insert(role, password.into());
            end.password = Some(SecretRef::Session(role.to_owned()));
        }
    }
    Ok(spec)
}

/// What is said on the command line adds to a job file's lists and stands in for its choices.
pub fn add_options(args: &JobArgs, spec: &mut JobSpec) {
    if !args.tables.is_empty() {
        spec.include.clone_from(&args.tables);
    }
    spec.exclude.extend(args.exclude.iter().cloned());
    spec.accept.extend(args.accept.iter().cloned());
    spec.casts.extend(args.casts.iter().cloned());
    spec.schema_map.extend(args.schemas.iter().cloned());
    spec.large_objects |= args.large_objects;
    spec.allow_changing_source |= args.allow_changing_source;
    if args.follow {
        spec.follow = FollowMode::Live;
    }
    if args.no_replay {
        spec.follow = FollowMode::Off;
    }
    match args.drift {
        None => {}
        Some(Drift::Stop) => spec.drift = DriftMode::Stop,
        Some(Drift::Apply) => spec.drift = DriftMode::Apply,
    }
    match args.target_mode {
        None => {}
        Some(Mode::RequireEmpty) => spec.target_mode = TargetMode::RequireEmpty,
        Some(Mode::Append) => spec.target_mode = TargetMode::Append,
        Some(Mode::Truncate) => spec.target_mode = TargetMode::Truncate,
        Some(Mode::Recreate) => spec.target_mode = TargetMode::Recreate,
    }
    match args.verify {
        None => {}
        Some(Verify::Full) => spec.verify = VerifyMode::Full,
        Some(Verify::None) => spec.verify = VerifyMode::None,
    }
    if let Some(size) = args.partition_size {
        spec.partition_bytes = size;
        spec.bucket_bytes = spec.bucket_bytes.min(size);
        spec.split_bytes_min = spec.split_bytes_min.min(size);
    }
}

/// The target's database or file name, in the letters a job's name may have.
fn name_after(url: &str) -> String {
    let path = url.split('?').next().unwrap_or_default();
    let last = path.rsplit(['/', ':']).next().unwrap_or_default();
    let stem = match url.starts_with("sqlite:") {
        true => last.rsplit_once('.').map_or(last, |(stem, _)| stem),
        false => last,
    };
    let allowed = |c: char| match c.is_ascii_alphanumeric() || "-_.".contains(c) {
        true => c,
        false => '_',
    };
    let name: String = stem.chars().map(allowed).take(64).collect();
    match name.is_empty() {
        true => "clone".to_owned(),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn args(words: &str) -> JobArgs {
        let words = ["sterna", "clone"].into_iter().chain(words.split(' '));
        match Cli::try_parse_from(words).map(|cli| cli.command) {
            Ok(Command::Clone(args)) => args.job,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_become_part_of_the_job() {
        let words = "mysql://u:p@h/a postgres://u@h/b?schema=s --accept zero-date:*.* --cast \
                     tinyint(1)=boolean --map-schema x=y --large-objects --partition-size 1MiB";
        let (spec, _) = asked(&args(words)).expect("valid");
        assert_eq!(spec.name, "b");
        assert_eq!(spec.target.url, "postgres://u@h/b?schema=s");
        assert_eq!(spec.accept[0].column, "*.*");
        assert_eq!(spec.casts[0].to, "boolean");
        assert_eq!(spec.schema_map, [("x".to_owned(), "y".to_owned())]);
        assert!(spec.large_objects);
        assert_eq!(spec.bucket_bytes, 1 << 20);
        let (plain, _) = asked(&args("mysql://u:p@h/a postgres://u@h/b?schema=s")).expect("valid");
        assert_ne!(
            spec, plain,
            "a resumed clone sees that the options are others"
        );
    }

    #[test]
    fn a_job_file_is_read_and_added_to() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("job.toml");
        let toml = "name = \"shop\"\n[source]\nurl = \"postgresql://u@h/a\"\n[target]\n\
                    url = \"sqlite:b.db\"\nmode = \"append\"\n[tables]\nexclude = [\"x\"]\n";
        std::fs::write(&file, toml).expect("writable");
        let words = format!("-f {} -x y", file.display());
        let (spec, _) = asked(&args(&words)).expect("valid");
        assert_eq!(
            (spec.name.as_str(), spec.target_mode),
            ("shop", TargetMode::Append)
        );
        assert_eq!(spec.source.url, "postgres://u@h/a");
        assert_eq!(spec.exclude, ["x", "y"]);
        let words = format!("-f {} --target-mode recreate", file.display());
        let (spec, _) = asked(&args(&words)).expect("valid");
        assert_eq!(spec.target_mode, TargetMode::Recreate);
    }

    #[test]
    fn a_file_and_urls_are_too_much() {
        for words in [
            "-f a.toml sqlite:a sqlite:b",
            "-f a.toml sqlite:a",
            "sqlite:a",
            "",
        ] {
            let words = ["sterna", "plan"].into_iter().chain(words.split(' '));
            assert!(Cli::try_parse_from(words).is_err());
        }
    }

    #[test]
    fn jobs_are_named_after_their_target() {
        assert_eq!(name_after("sqlite:/x/Chinook v2.sqlite"), "Chinook_v2");
        assert_eq!(name_after("sqlite:/x/.db"), "clone");
        assert_eq!(name_after("mysql://me@h:3306/shop?tls=1"), "shop");
        assert_eq!(name_after("postgres://u@h:5432/shop?schema=a/b"), "shop");
    }
}
