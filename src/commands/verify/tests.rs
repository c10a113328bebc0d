//! What verify makes of its arguments.

use clap::Parser;

use super::*;
use crate::cli::{Cli, Command};

fn args(words: &str) -> std::result::Result<VerifyArgs, String> {
    let words = ["sterna", "verify"].into_iter().chain(words.split(' '));
    match Cli::try_parse_from(words).map(|cli| cli.command) {
        Ok(Command::Verify(args)) => Ok(args),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn options_become_part_of_the_job() {
    let words = "mysql://u@h/a mysql://u@h/b -t x* --sample 5% --rate 200k --fast --columns x.y";
    let args = args(words).expect("valid");
    let (spec, _) = job::asked(&args.job).expect("valid");
    let mut spec = as_verify(spec, options(&args));
    let wanted = VerifyOptions {
        columns: vec!["x.y".into()],
        sample_permille: Some(50),
        fast: true,
        rows_per_second: Some(200_000),
        following: None,
    };
    assert_eq!(spec.purpose, Purpose::Verify(wanted));
    assert_eq!(spec.include, ["x*"]);
    assert!(valid(&spec).is_ok());
    spec.source.url = "postgres://u@h/a".into();
    assert_eq!(valid(&spec).map_err(|f| f.code), Err(Code::Usage));
}

#[test]
fn how_to_copy_is_nothing_to_compare() {
    let (mut spec, _) = job::asked(&args("sqlite:a sqlite:b").expect("valid").job).expect("valid");
    spec.follow = FollowMode::Live;
    spec.from = Some("x:1".into());
    spec.target_mode = TargetMode::Append;
    let spec = as_verify(spec, VerifyOptions::default());
    assert_eq!((spec.follow, spec.from.as_deref()), (FollowMode::Off, None));
    let refused = refuse_options_of_a_copy(&args("sqlite:a sqlite:b --follow").expect("parsed"));
    assert_eq!(refused.map_err(|f| f.code), Err(Code::Usage));
}

#[test]
fn the_whole_is_no_sample() {
    let args = args("sqlite:a sqlite:b --sample 100%").expect("valid");
    assert_eq!(options(&args).sample_permille, None);
}

#[test]
fn a_job_or_two_databases() {
    assert_eq!(args("-j shop").expect("a job").of.as_deref(), Some("shop"));
    for wrong in [
        "-j shop sqlite:a sqlite:b",
        "sqlite:a",
        "-t x",
        "sqlite:a sqlite:b --sample 0%",
        "sqlite:a sqlite:b --sample 101%",
        "sqlite:a sqlite:b --sample nan",
        "sqlite:a sqlite:b --rate 0",
        "sqlite:a sqlite:b --rate fast",
        "sqlite:a sqlite:b --columns x",
    ] {
        assert!(args(wrong).is_err(), "{wrong}");
    }
}
