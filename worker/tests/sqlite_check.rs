//! Named checks of SQLite files: a scene for each in which it alone doesn't pass; what it tells to run
//! is run as it stands, and then it passes.

#[path = "../../tests/harness/disk.rs"]
#[allow(dead_code)]
mod disk;
mod sqlite_support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::change::FollowMode;
use common::check::{Check, Verdict};
use common::job::JobSpec;
use common::schema::TableSchema;
use sqlite_support::{connect, connector, endpoint, script};
use worker::connector::{CheckRequest, Role};

const ORDERS: &str = "CREATE TABLE orders (id INTEGER PRIMARY KEY, note TEXT); \
     WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000) \
     INSERT INTO orders SELECT i, 'the note of order ' || i FROM n;";

struct Scene {
    path: PathBuf,
    tables: Vec<TableSchema>,
    role: Role,
    follow: FollowMode,
}

impl Scene {
    /// A file with a table, made by `more` into what the scene is about.
    async fn source(dir: &Path, more: &str) -> Scene {
        let path = dir.join("it's a shop.db");
        script(&path, &format!("{ORDERS}{more}")).await;
        Scene {
            tables: tables(&path).await,
            path,
            role: Role::Source,
            follow: FollowMode::Auto,
        }
    }

    fn target(path: PathBuf, tables: Vec<TableSchema>) -> Scene {
        Scene {
            path,
            tables,
            role: Role::Target,
            follow: FollowMode::Auto,
        }
    }

    async fn checks(&self) -> Vec<Check> {
        let (this, nowhere) = (endpoint(&self.path), endpoint(Path::new("/nowhere")));
        let mut spec = JobSpec::new("check", this, nowhere);
        spec.follow = self.follow;
        let request = CheckRequest {
            role: self.role,
            spec,
            tables: self.tables.clone(),
            other: None,
        };
        connector(&self.path).check(request).await
    }

    async fn bad(&self) -> Vec<Check> {
        let mut checks = self.checks().await;
        checks.retain(|check| check.verdict != Verdict::Passed);
        checks
    }

    /// Exactly this one doesn't pass.
    async fn fails_alone(&self, name: &str, verdict: Verdict) -> Check {
        let mut bad = self.bad().await;
        let names: Vec<_> = bad.iter().map(|bad| (&*bad.name, bad.verdict)).collect();
        assert_eq!(names, [(name, verdict)], "{bad:#?}");
        let bad = bad.remove(0);
        assert!(!bad.means.is_empty() && bad.code.is_some(), "{bad:#?}");
        assert!(!bad.fixes.is_empty(), "{bad:#?}");
        bad
    }

    /// Its fixes are run, and all pass.
    async fn mends(&self, name: &str, verdict: Verdict) -> Check {
        let bad = self.fails_alone(name, verdict).await;
        for fix in &bad.fixes {
            run(&self.path, fix).await;
        }
        self.is_good().await;
        bad
    }

    async fn is_good(&self) {
        let bad = self.bad().await;
        assert!(bad.is_empty(), "{bad:#?}");
    }
}

async fn tables(path: &Path) -> Vec<TableSchema> {
    let spec = JobSpec::new("check", endpoint(path), endpoint(Path::new("/nowhere")));
    let seen = connector(path).inspect(Role::Source, &spec).await;
    seen.expect("inspected").tables
}

/// A statement at the file, or a command of the shell.
async fn run(path: &Path, fix: &str) {
    match fix.split(' ').next() {
        Some("chmod" | "sqlite3") => {
            let ran = Command::new("sh").args(["-c", fix]).output();
            let ran = ran.expect("sh runs");
            assert!(ran.status.success(), "{fix}: {ran:?}");
        }
        Some("--") => {}
        _ => script(path, fix).await,
    }
}

fn lock(path: &Path) {
    let mode = match path.is_dir() {
        true => 0o555,
        false => 0o444,
    };
    let set = std::fs::set_permissions(path, PermissionsExt::from_mode(mode));
    set.expect("permissions can be set");
}

#[tokio::test]
async fn good_files_pass_and_nothing_stays() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut source = Scene::source(dir.path(), "PRAGMA journal_mode = WAL").await;
    source.is_good().await;
    source.follow = FollowMode::Live;
    source.is_good().await;
    let there = Scene::target(source.path.clone(), source.tables.clone());
    there.is_good().await;
    let new = Scene::target(dir.path().join("new.db"), source.tables.clone());
    new.is_good().await;
    assert!(!new.path.exists(), "a check made the target");
    let names: Vec<String> = std::fs::read_dir(dir.path())
        .expect("readable")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into()
        })
        .filter(|name: &String| !name.ends_with("-wal") && !name.ends_with("-shm"))
        .collect();
    assert_eq!(names, ["it's a shop.db"]);
}

#[tokio::test]
async fn a_file_that_is_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("letter.db");
    std::fs::write(&path, "Dear Sir or Madam, ".repeat(200)).expect("written");
    let mut scene = Scene::target(path, Vec::new());
    scene.role = Role::Source;
    let bad = scene.bad().await;
    assert!(
        bad.iter().any(|bad| bad.verdict == Verdict::Failed),
        "{bad:#?}"
    );
}

#[tokio::test]
async fn a_source_that_cannot_be_followed() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::source(dir.path(), "").await;
    scene.is_good().await;
    scene.follow = FollowMode::Live;
    scene.mends("log", Verdict::Failed).await;
    lock(&scene.path);
    scene.mends("log", Verdict::Failed).await;
    lock(dir.path());
    scene.mends("log", Verdict::Warning).await;
}

#[tokio::test]
async fn a_damaged_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut scene = Scene::source(dir.path(), "").await;
    let mut bytes = std::fs::read(&scene.path).expect("read");
    // A leaf of the table: its head says how many cells it has.
    let page = bytes.len() / 4096 / 2 * 4096;
    bytes[page..page + 200].fill(0xa5);
    std::fs::write(&scene.path, bytes).expect("written");
    let bad = scene.fails_alone("integrity", Verdict::Failed).await;
    run(&scene.path, &bad.fixes[0]).await;
    scene.path = scene.path.with_extension("recovered");
    scene.is_good().await;
}

#[tokio::test]
async fn values_that_break_what_a_column_declares() {
    let dir = tempfile::tempdir().expect("a directory");
    let scene = Scene::source(
        dir.path(),
        "CREATE TABLE promised (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO promised VALUES (1, NULL); \
         PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'CREATE TABLE promised (id INTEGER \
         PRIMARY KEY, a TEXT NOT NULL)' WHERE name = 'promised'; PRAGMA writable_schema = RESET;",
    )
    .await;
    let bad = scene.fails_alone("integrity", Verdict::Warning).await;
    assert!(bad.found.contains("promised.a"), "{bad:#?}");
    script(&scene.path, "DELETE FROM promised").await;
    scene.is_good().await;
}

#[tokio::test]
async fn children_without_parents() {
    let dir = tempfile::tempdir().expect("a directory");
    let scene = Scene::source(
        dir.path(),
        "CREATE TABLE line (id INTEGER PRIMARY KEY, orders INT REFERENCES orders (id)); \
         INSERT INTO line VALUES (1, 1), (2, 999999), (3, 999999), (4, NULL);",
    )
    .await;
    let bad = scene.mends("foreign-keys", Verdict::Warning).await;
    assert!(bad.found.contains("2 rows of line"), "{bad:#?}");
    let left = sqlite_support::texts(&scene.path, "SELECT count(*) || '' FROM line").await;
    assert_eq!(left, ["2"]);
}

#[tokio::test]
async fn a_target_that_takes_no_writes() {
    let dir = tempfile::tempdir().expect("a directory");
    let source = Scene::source(dir.path(), "").await;
    let there = Scene::target(source.path, source.tables.clone());
    lock(&there.path);
    there.mends("read-only", Verdict::Failed).await;
    let new = Scene::target(dir.path().join("new.db"), source.tables);
    for scene in [&there, &new] {
        lock(dir.path());
        scene.mends("read-only", Verdict::Failed).await;
    }
}

#[tokio::test]
async fn a_target_that_somebody_writes_to() {
    let dir = tempfile::tempdir().expect("a directory");
    let source = Scene::source(dir.path(), "").await;
    let target = Scene::target(source.path, source.tables);
    let mut other = connect(&target.path).await;
    let begun = sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await;
    begun.expect("the lock is free");
    target
        .fails_alone("foreign-writers", Verdict::Warning)
        .await;
    sqlx::Connection::close(other).await.expect("closes");
    target.is_good().await;
}

#[tokio::test]
async fn a_target_without_space() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut source = Scene::source(dir.path(), "").await;
    for table in &mut source.tables {
        table.bytes_estimate = 5 << 20;
    }
    let Some(disk) = disk::Disk::mount(&dir.path().join("small")) else {
        return;
    };
    let target = Scene::target(disk.path().join("new.db"), source.tables);
    target.is_good().await;
    disk.leave(1 << 20);
    let bad = target.fails_alone("space", Verdict::Warning).await;
    assert!(bad.fixes[0].contains("10 MiB"), "{bad:#?}");
    disk.leave(11 << 20);
    target.is_good().await;
}
