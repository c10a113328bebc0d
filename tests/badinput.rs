//! What a user can get wrong: one clear error, the documented exit status, nothing changed.

use std::path::Path;

use crate::harness::lab::{self, Kind, Lab};
use crate::harness::process::{Dir, Finished, Sterna, clone, soon};
use crate::harness::wait::secs;
use crate::harness::{dataset, leftovers, oracle, server};

/// Asserts the exit status, the code, and that there is exactly one error that says what, effect
/// and do.
fn refused(finished: &Finished, exit: i32, code: &str) {
    assert_eq!(finished.code, exit, "{finished}");
    let errors = finished.stderr.matches("error[ST").count();
    assert_eq!(errors, 1, "one error: {finished}");
    assert!(
        finished.stderr.contains(&format!("error[{code}]")),
        "{code}: {finished}"
    );
    for part in ["what ", "effect ", "do "] {
        assert!(finished.stderr.contains(part), "no {part:?}: {finished}");
    }
    assert!(!finished.stderr.contains("panicked"), "{finished}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_exit_4_and_is_not_repeated_to_anybody() {
    let server = server::lend().await;
    let dir = Dir::new();
    let source = dataset::shop_sqlite(&dir.file("shop.db")).await;
    server.create("copy").await;
    server
        .exec(
            "",
            &[
                "CREATE USER app@'%' IDENTIFIED BY 'right'",
                "GRANT ALL ON *.* TO app@'%'",
            ],
        )
        .await;
    let target = format!("mysql://app:wr0ng-canary@127.0.0.1:{}/copy", server.port);
    let finished = clone(&dir, &source, &target).run().await;
    refused(&finished, 4, "ST2002");
    let said = format!("{}{}", finished.stdout, finished.stderr);
    assert!(!said.contains("wr0ng-canary"), "{said}");
    let right = target.replace("wr0ng-canary", "right");
    let dir = Dir::new();
    clone(&dir, &source, &right).ok().await;
    oracle::assert_equal(&source, &server.url("copy")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_databases_files_and_servers() {
    let server = server::lend().await;
    let dir = Dir::new();
    let source = dataset::shop_sqlite(&dir.file("shop.db")).await;
    let nowhere = server.url("not_there");
    refused(&clone(&dir, &source, &nowhere).run().await, 8, "ST2003");
    assert!(!server.databases().await.contains(&"not_there".to_owned()));
    let copy = server.create("copy").await;
    let (a, b) = (Dir::new(), Dir::new());
    refused(&clone(&a, &nowhere, &copy).run().await, 8, "ST2003");
    let missing = format!("sqlite:{}", dir.file("missing.db"));
    refused(&clone(&b, &missing, &copy).run().await, 8, "ST2003");
    assert!(
        !Path::new(&dir.file("missing.db")).exists(),
        "reading made a file"
    );
    let closed = format!(
        "mysql://root@127.0.0.1:{}/x",
        crate::harness::wait::free_port()
    );
    let dir = Dir::new();
    refused(&clone(&dir, &closed, &copy).run().await, 5, "ST2001");
    leftovers::none_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_is_not_empty_is_left_alone() {
    let server = server::lend().await;
    let dir = Dir::new();
    let source = dataset::text_keyed(&server, "keyed", 100).await;
    let target = server.create("copy").await;
    let there = [
        "CREATE TABLE keyed (mine INT PRIMARY KEY)",
        "INSERT INTO keyed VALUES (42)",
    ];
    server.exec("copy", &there).await;
    server.create("twin").await;
    server.exec("twin", &there).await;
    let finished = clone(&dir, &source, &target).run().await;
    refused(&finished, 8, "ST3001");
    assert!(
        finished.stderr.contains("keyed"),
        "names the table: {finished}"
    );
    oracle::assert_equal(&server.url("twin"), &target).await;
    leftovers::none_on(&server).await;
    // The same for a file.
    dataset::sqlite_exec(
        &dir.file("t.db"),
        "CREATE TABLE keyed (mine INTEGER PRIMARY KEY)",
    )
    .await;
    let before = std::fs::read(dir.file("t.db")).expect("readable");
    let dir2 = Dir::new();
    let target = format!("sqlite:{}", dir.file("t.db"));
    refused(&clone(&dir2, &source, &target).run().await, 8, "ST3001");
    assert_eq!(std::fs::read(dir.file("t.db")).expect("readable"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_can_t_be_written() {
    let server = server::Server::start(&["--read-only=1"]).await;
    server.create("copy").await;
    server
        .exec(
            "",
            &["CREATE USER app@'%' IDENTIFIED BY 'pw'", "GRANT SELECT, INSERT, CREATE, DROP, ALTER, INDEX, REFERENCES, UPDATE, DELETE ON copy.* TO app@'%'"],
        )
        .await;
    let dir = Dir::new();
    let source = dataset::shop_sqlite(&dir.file("shop.db")).await;
    let target = format!("mysql://app:pw@127.0.0.1:{}/copy", server.port);
    refused(&clone(&dir, &source, &target).run().await, 8, "ST3002");
    // A user without rights on a server that could be written.
    let server = server::lend().await;
    server.create("copy").await;
    server
        .exec(
            "",
            &[
                "CREATE USER app@'%' IDENTIFIED BY 'pw'",
                "GRANT SELECT ON copy.* TO app@'%'",
            ],
        )
        .await;
    let target = format!("mysql://app:pw@127.0.0.1:{}/copy", server.port);
    let dir2 = Dir::new();
    let finished = clone(&dir2, &source, &target).run().await;
    refused(&finished, 4, "ST2006");
    leftovers::none_on(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_can_t_be_written_is_a_read_only_target() {
    let dir = Dir::new();
    let source = dataset::shop_sqlite(&dir.file("shop.db")).await;
    let finished = clone(&dir, &source, "sqlite:/proc/copy.db").run().await;
    refused(&finished, 8, "ST3002");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_state_directory_is_temporary() {
    if !server::is_root() {
        eprintln!("SKIPPED: a full state directory needs root, to mount a small one");
        return;
    }
    let dir = Dir::new();
    let mount = Mount::small(&dir.file("small"));
    let Some(mount) = mount else {
        eprintln!("SKIPPED: mounting a tmpfs is not allowed here");
        return;
    };
    let filler = format!("{}/filler", mount.0);
    let _ = std::fs::write(&filler, vec![0u8; 1 << 20]);
    let source = dataset::numbers_sqlite(&dir.file("a.db"), 20_000).await;
    let target = format!("sqlite:{}", dir.file("b.db"));
    let state = format!("{}/state", mount.0);
    let command = || {
        Sterna::new(
            dir.path(),
            &["clone", &source, &target, "--state-dir", &state],
        )
    };
    let finished = command().run().await;
    refused(&finished, 75, "ST8002");
    std::fs::remove_file(&filler).expect("removed");
    let again = Sterna::new(dir.path(), &["clone", &source, &target])
        .args(&["--state-dir", &dir.file("roomy")]);
    again.ok().await;
    oracle::assert_equal(&source, &target).await;
}

/// A tmpfs of 1 MiB.
struct Mount(String);

impl Mount {
    fn small(path: &str) -> Option<Mount> {
        std::fs::create_dir(path).ok()?;
        let args = ["-t", "tmpfs", "-o", "size=1m", "tmpfs", path];
        let status = std::process::Command::new("mount")
            .args(args)
            .status()
            .ok()?;
        status.success().then(|| Mount(path.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_clone_of_the_same_job_is_refused() {
    let server = server::lend().await;
    let dir = Dir::new();
    let source = dataset::narrow(&server, "big", 400_000).await;
    let target = server.create("copy").await;
    let slow = [("STERNA_FAULT", "worker-mid-load=stall:5000")];
    let mut first = clone(&dir, &source, &target)
        .env(slow[0].0, slow[0].1)
        .spawn();
    let state = dir.path().join("state");
    crate::harness::wait::until("the first to have its state", secs(20), || async {
        state.exists().then_some(())
    })
    .await;
    // The lock is taken a moment after the folder is made; until then the second might win.
    first.says("", soon()).await;
    crate::harness::wait::until("the first to work", secs(20), || async {
        (!leftovers::sessions(&server).await.is_empty()).then_some(())
    })
    .await;
    let second = clone(&dir, &source, &target).run().await;
    refused(&second, 7, "ST1006");
    let finished = first.finish(secs(120)).await;
    assert_eq!(finished.code, 0, "{finished}");
    oracle::assert_equal(&source, &target).await;
    // And a state directory serves one migration.
    let other = server.create("other").await;
    refused(&clone(&dir, &source, &other).run().await, 7, "ST1008");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_of_a_job_file_is_named_with_its_line() {
    let dir = Dir::new();
    let toml = "version = 1\nname = \"a b\"\n[source]\nurl = \"oracle:x\"\npasword = 1\n\
                [target]\nmode = \"sometimes\"\n[tables]\ninclude = [\"[\"]\n";
    std::fs::write(dir.file("bad.toml"), toml).expect("writable");
    let finished = Sterna::new(dir.path(), &["apply", "-f", "bad.toml"])
        .run()
        .await;
    refused(&finished, 2, "ST1002");
    for (line, word) in [
        (2, "name"),
        (4, "source.url"),
        (5, "password"),
        (7, "mode"),
        (9, "include"),
    ] {
        let named = { finished.stderr.lines() }
            .any(|text| text.contains(word) && text.contains(&line.to_string()));
        assert!(named, "{word} in line {line}: {finished}");
    }
    let yaml =
        "version: 1\nname: ok\nsource:\n  url: sqlite:a\ntarget:\n  url: sqlite:b\n  colour: red\n";
    std::fs::write(dir.file("bad.yaml"), yaml).expect("writable");
    let finished = Sterna::new(dir.path(), &["apply", "-f", "bad.yaml"])
        .run()
        .await;
    refused(&finished, 2, "ST1002");
    assert!(
        finished.stderr.contains('7') && finished.stderr.contains("colour"),
        "{finished}"
    );
    for text in ["not toml at all", "", "name = \"x\"\nname = \"y\""] {
        std::fs::write(dir.file("bad.toml"), text).expect("writable");
        let finished = Sterna::new(dir.path(), &["apply", "-f", "bad.toml"])
            .run()
            .await;
        refused(&finished, 2, "ST1002");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn patterns_and_urls_that_mean_nothing() {
    let dir = Dir::new();
    let source = dataset::shop_sqlite(&dir.file("shop.db")).await;
    let target = format!("sqlite:{}", dir.file("copy.db"));
    let finished = clone(&dir, &source, &target)
        .args(&["-t", "art*", "-t", "nothing*"])
        .run()
        .await;
    refused(&finished, 8, "ST1003");
    assert!(finished.stderr.contains("nothing*"), "{finished}");
    assert!(
        !Path::new(&dir.file("copy.db")).exists(),
        "the target was made all the same"
    );
    for bad in ["oracle://x/y", "mysql://", "nonsense", "sqlite:"] {
        let finished = clone(&dir, bad, &target).run().await;
        refused(&finished, 2, "ST1001");
    }
    refused(&clone(&dir, &source, &source).run().await, 2, "ST1001");
    let unknown = Sterna::new(dir.path(), &["clone", "--no-such-flag"])
        .run()
        .await;
    assert_eq!(unknown.code, 2, "{unknown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changes_is_noticed() {
    let server = server::lend().await;
    for (database, allow) in [("one", false), ("two", true)] {
        let dir = Dir::new();
        let source = dataset::narrow(&server, database, 200_000).await;
        let target = server.create(&format!("{database}_copy")).await;
        // The third partition waits before its commit: two are there, eight are still to be read.
        let mut command = clone(&dir, &source, &target)
            .args(&["--partition-size", "1MiB", "--slots", "1", "--no-replay"])
            .env("STERNA_FAULT", "worker-before-commit=stall:6000@3");
        if allow {
            command = command.args(&["--allow-changing-source"]);
        }
        let running = command.spawn();
        let copy = format!("{database}_copy.narrow");
        crate::harness::wait::until("the first rows to be there", secs(60), || async {
            (server.count(&copy).await > 0).then_some(())
        })
        .await;
        server
            .exec(database, &["UPDATE narrow SET n = n + 1"])
            .await;
        let finished = running.finish(secs(120)).await;
        match allow {
            false => refused(&finished, 1, "ST2005"),
            true => assert_eq!(finished.code, 0, "{finished}"),
        }
        if !allow {
            // The job can be gone on with, so its ledger stays; nothing that holds a lock does.
            assert_eq!(leftovers::prepared(&server).await, Vec::<String>::new());
            // The advice of the error, followed to the letter.
            let again = clone(&dir, &source, &target).args(&["--target-mode", "recreate"]);
            again.ok().await;
            oracle::assert_equal(&source, &target).await;
        }
        leftovers::none_on(&server).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cluster_no_job() {
    let dir = Dir::new();
    let nobody = format!("127.0.0.1:{}", crate::harness::wait::free_port());
    for args in [
        &["jobs"][..],
        &["status", "-j", "x"],
        &["operator", "raft", "list-peers"],
    ] {
        let finished = Sterna::new(dir.path(), args)
            .args(&["-C", &nobody])
            .run()
            .await;
        refused(&finished, 5, "ST8004");
    }
    let cluster = crate::harness::cluster::Cluster::start(1, 0).await;
    let finished = cluster.sterna(&["status", "-j", "nobody"]).run().await;
    refused(&finished, 6, "ST1005");
    let finished = cluster.sterna(&["cancel", "-j", "nobody"]).run().await;
    refused(&finished, 6, "ST1005");
}

/// Tables of a MariaDB database; a refused job leaves none.
async fn tables(database: &lab::Database) -> Vec<String> {
    use mysql_async::prelude::Queryable;
    let mut conn = lab::mysql(&database.url).await;
    conn.query("SHOW TABLES").await.expect("a list")
}

/// A plan and a copy of what can't be moved: both are refused with the same exit status, name the
/// thing, and leave the target as it was.
async fn refused_twice(lab: &Lab, from: &lab::Database, args: &[&str], exit: i32, word: &str) {
    let to = lab.database(Kind::Mariadb, "copy").await;
    let plan = Sterna::new(lab.dir.path(), &["plan", &from.url, &to.url]).args(args);
    let planned = plan.run().await;
    assert_eq!(planned.code, exit, "{planned}");
    assert!(planned.stderr.contains(word), "no {word:?}: {planned}");
    let copied = lab.clone(from, &to, args).run().await;
    assert_eq!(copied.code, exit, "{copied}");
    assert!(copied.stderr.contains(word), "no {word:?}: {copied}");
    assert_eq!(tables(&to).await, Vec::<String>::new());
    lab.no_leftovers(&to).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_t_be_moved_exactly_is_named_before_anything_is_changed() {
    let Some(lab) = Lab::new(&[Kind::Mariadb]).await else {
        return;
    };
    let sqlite = async |statement: &str| {
        let from = lab.database(Kind::Sqlite, "odd").await;
        from.exec(&[statement]).await;
        from
    };
    // A name longer than the 64 characters there are.
    let long = "n".repeat(70);
    let create = format!("CREATE TABLE {long} (id INTEGER NOT NULL PRIMARY KEY)");
    let from = sqlite(&create).await;
    refused_twice(&lab, &from, &[], 8, &long).await;
    let create = format!("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, {long} TEXT)");
    let from = sqlite(&create).await;
    refused_twice(&lab, &from, &[], 8, &long).await;
    // A cast that changes values is refused until it is accepted by name.
    let from = sqlite("CREATE TABLE t (id INTEGER NOT NULL PRIMARY KEY, word TEXT)").await;
    let cast = ["--cast", "text=int"];
    refused_twice(&lab, &from, &cast, 8, "t.word").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_that_mean_nothing_are_usage_errors() {
    let dir = Dir::new();
    let source = dataset::shop_sqlite(&dir.file("shop.db")).await;
    let target = format!("sqlite:{}", dir.file("copy.db"));
    for (args, word) in [
        (["--accept", "zero-dates:a.b"], "did you mean zero-date?"),
        (["--accept", "no-such-thing:a.b"], "nul-in-text"),
        (["--accept", "zero-date"], "TABLE.COLUMN"),
        (["--cast", "text"], "FROM=TO"),
        (["--map-schema", "sales"], "FROM=TO"),
        (["-f", "job.toml"], "cannot be used with"),
    ] {
        for verb in ["plan", "clone"] {
            let command = Sterna::new(dir.path(), &[verb, &source, &target]);
            let finished = command.args(&args).run().await;
            assert_eq!(finished.code, 2, "{args:?}: {finished}");
            assert!(finished.stderr.contains(word), "{args:?}: {finished}");
        }
    }
    for bad in [
        "postgres://",
        "postgres://h",
        "postgres://h/",
        "postgresql://u@h/d?password=canary",
        "postgres://u@h/d?pass%77ord=canary",
        "postgres://u:can#ary@h/d",
    ] {
        let finished = clone(&dir, bad, &target).run().await;
        refused(&finished, 2, "ST1001");
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(
            !said.contains("canary") && !said.contains("can#ary"),
            "{said}"
        );
    }
    assert!(!Path::new(&dir.file("copy.db")).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgresql_schema_that_isn_t_there() {
    let Some(lab) = Lab::new(&[Kind::Postgres]).await else {
        return;
    };
    let there = lab.database(Kind::Postgres, "there").await;
    there.exec(&["CREATE TABLE t (id INT PRIMARY KEY)"]).await;
    let other = lab.database(Kind::Postgres, "other").await;
    let separator = if there.url.contains('?') { '&' } else { '?' };
    let nowhere = format!("{}{separator}schema=not_there", there.url);
    let target = format!("sqlite:{}", lab.dir.file("copy.db"));
    let finished = clone(&lab.dir, &nowhere, &target).run().await;
    assert_eq!(finished.code, 8, "{finished}");
    assert!(finished.stderr.contains("not_there"), "{finished}");
    assert!(!Path::new(&lab.dir.file("copy.db")).exists());
    lab.no_leftovers(&other).await;
}
