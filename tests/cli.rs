//! The command line itself: the demo of the README, help, explanations, generated pages.

use common::code::Code;

use crate::harness::process::{Dir, Sterna};
use crate::harness::wait::secs;

/// The README's first command: a cluster as processes, a worker and the leader killed, a proof.
#[tokio::test(flavor = "multi_thread")]
async fn the_demo_survives_its_kills_and_proves_it() {
    let dir = Dir::new();
    let running = Sterna::new(dir.path(), &["demo", "--rows", "150000"]).spawn();
    let finished = running.finish(secs(180)).await;
    finished.expect_ok();
    let said = format!("{}{}", finished.stdout, finished.stderr).to_lowercase();
    for word in ["kill -9 w", "leader", "redone", "source = target"] {
        assert!(
            said.contains(word),
            "the demo doesn't speak of {word:?}: {finished}"
        );
    }
    let left = std::fs::read_dir(dir.path()).expect("readable").count();
    assert_eq!(
        left, 2,
        "the demo leaves nothing but our two files of its output"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_error_code_and_exit_status_is_explained() {
    let dir = Dir::new();
    let help = Sterna::new(dir.path(), &["help", "exit-codes"]).ok().await;
    for code in Code::ALL {
        let explained = Sterna::new(dir.path(), &["explain", code.as_str()])
            .ok()
            .await;
        assert!(explained.stdout.contains(code.title()), "{explained}");
        let line = format!("{}  ", code.exit());
        let listed = help
            .stdout
            .lines()
            .any(|text| text.trim_start().starts_with(&line));
        assert!(
            listed,
            "{code}: exit status {} is not in the table: {help}",
            code.exit()
        );
    }
    let unknown = Sterna::new(dir.path(), &["explain", "ST0000"]).run().await;
    assert_eq!(unknown.code, 2, "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn completions_manual_and_version() {
    let dir = Dir::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = Sterna::new(dir.path(), &["completions", shell]).ok().await;
        assert!(script.stdout.contains("sterna"), "{shell}");
    }
    let manual = Sterna::new(dir.path(), &["man"]).ok().await;
    assert!(
        manual.stdout.contains(".TH sterna 1"),
        "{}",
        &manual.stdout[..200]
    );
    let version = Sterna::new(dir.path(), &["--version"]).ok().await;
    assert!(
        version.stdout.contains(env!("CARGO_PKG_VERSION")),
        "{version}"
    );
}

/// What is wrong is said before a database is opened: these files don't exist.
#[tokio::test(flavor = "multi_thread")]
async fn verify_refuses_bad_input_before_it_reads() {
    let dir = Dir::new();
    let ends = ["sqlite:no-such.db", "sqlite:nor-this.db"];
    for (words, said) in [
        (vec!["--sample", "0%"], "between 0.1% and 100%"),
        (vec!["--sample", "half"], "between 0.1% and 100%"),
        (vec!["--rate", "fast"], "rows a second"),
        (vec!["--columns", "price"], "TABLE.COLUMN"),
        (vec!["-j", "shop"], "cannot be used with"),
        (vec!["--columns", "t.["], "is not a pattern"),
        (vec!["--follow"], "verify copies nothing"),
        (vec!["--plan", "no/such/folder/plan.json"], "plan.json"),
        (vec!["--html", "."], "is no file"),
    ] {
        let mut line = vec!["verify", ends[0], ends[1]];
        line.extend(&words);
        let refused = Sterna::new(dir.path(), &line).run().await;
        assert_eq!(refused.code, 2, "{words:?}: {refused}");
        assert!(refused.stderr.contains(said), "{words:?}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_proof_say_how_they_are_used() {
    let dir = Dir::new();
    for (command, said) in [
        ("check", "sterna check mysql://"),
        ("verify", "with 10 when something differs"),
        ("repair", "--dry-run"),
    ] {
        let help = Sterna::new(dir.path(), &["help", command]).ok().await;
        assert!(help.stdout.contains(said), "{help}");
    }
    // Nobody listens on port 1.
    let nobody = ["-C", "127.0.0.1:1", "verify", "-j", "shop"];
    let refused = Sterna::new(dir.path(), &nobody).run().await;
    assert_eq!(refused.code, 5, "{refused}");
}
