//! Named checks: a scene for each in which it alone doesn't pass; what it tells to run is run by the
//! superuser as it stands, and then it passes. Those about the server's own settings are in
//! `check_settings`.

use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use common::change::FollowMode;
use common::check::{Check, Verdict};
use common::job::{JobSpec, Purpose, TargetMode};
use common::verify::{RepairOptions, VerifyOptions};
use worker::connector::{CheckRequest, Connector, Role};

use crate::postgres::{Server, bin};
use crate::support::{connector, endpoint};

/// How long a scene or a fix may take to be seen by other sessions.
const DEADLINE: Duration = Duration::from_secs(30);

/// A server that passes every check.
fn good() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&["fsync=on"]))
}

/// Whom and what a check is about.
#[derive(Clone)]
pub struct Scene<'a> {
    pub server: &'a Server,
    pub database: &'a str,
    pub user: &'a str,
    pub role: Role,
    pub follow: FollowMode,
    pub mode: TargetMode,
    pub purpose: Purpose,
}

impl<'a> Scene<'a> {
    pub fn new(server: &'a Server, database: &'a str, role: Role) -> Scene<'a> {
        Scene {
            server,
            database,
            user: "postgres",
            role,
            follow: FollowMode::Live,
            mode: TargetMode::RequireEmpty,
            purpose: Purpose::Migrate,
        }
    }

    pub async fn checks(&self) -> Vec<Check> {
        let url = self.server.url(self.database);
        // What is there to be checked is the superuser's to say.
        let mut spec = JobSpec::new("check", endpoint(&url), endpoint("sqlite:/nowhere"));
        let tables = match self.server.try_sql(self.database, "SELECT 1") {
            Ok(_) => connector(&url).inspect(Role::Source, &spec).await,
            Err(said) => panic!("{said}"),
        };
        spec.follow = self.follow;
        spec.target_mode = self.mode;
        spec.purpose = self.purpose.clone();
        let request = CheckRequest {
            role: self.role,
            spec,
            tables: tables.expect("inspected").tables,
            other: None,
        };
        let url = url.replace("//postgres@", &format!("//{}@", self.user));
        connector(&url).check(request).await
    }

    /// Exactly this one doesn't pass; its fixes are run, and all pass.
    pub async fn mends(&self, name: &str, verdict: Verdict) -> Check {
        let bad = self.fails_alone(name, verdict).await;
        self.run(&bad);
        self.becomes_good().await;
        bad
    }

    pub async fn fails_alone(&self, name: &str, verdict: Verdict) -> Check {
        let checks = self.checks().await;
        let mut bad: Vec<Check> = checks
            .iter()
            .filter(|check| check.verdict != Verdict::Passed)
            .cloned()
            .collect();
        let names: Vec<_> = bad.iter().map(|bad| (&*bad.name, bad.verdict)).collect();
        assert_eq!(names, [(name, verdict)], "{bad:#?}");
        let bad = bad.remove(0);
        assert!(!bad.means.is_empty() && bad.code.is_some(), "{bad:#?}");
        assert!(!bad.fixes.is_empty(), "{bad:#?}");
        bad
    }

    pub fn run(&self, bad: &Check) {
        let script: Vec<String> = bad.fixes.iter().map(|fix| format!("{fix}\n;\n")).collect();
        self.server.sql(self.database, &script.concat());
        if bad.fixes.iter().any(|fix| fix.contains("then restart")) {
            self.server.stop();
            self.server.restart();
        }
    }

    pub async fn becomes_good(&self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let mut checks = self.checks().await;
            checks.retain(|check| check.verdict != Verdict::Passed);
            if checks.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{checks:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Asks until the answer is `t`.
pub fn until(server: &Server, database: &str, sql: &str) {
    let deadline = Instant::now() + DEADLINE;
    while server.sql(database, sql) != "t" {
        assert!(Instant::now() < deadline, "{sql}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A database with a table that is as it should be.
fn database(name: &str) -> &'static Server {
    let server = good();
    server.create(name);
    server.sql(
        name,
        "CREATE TABLE orders (id int PRIMARY KEY, note text); \
         INSERT INTO orders SELECT g, 'note ' || g FROM generate_series(1, 100) g",
    );
    server
}

/// A session that stays until it is ended.
struct Busy(Child);

impl Busy {
    fn session(server: &Server, database: &str, script: &str) -> Busy {
        let mut psql = Command::new(bin().join("psql"));
        psql.args(["-X", "-h", "127.0.0.1", "-p", &server.port.to_string()])
            .args(["-U", "postgres", "-d", database]);
        for statement in script.split(';') {
            psql.args(["-c", statement]);
        }
        psql.stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Busy(psql.spawn().expect("psql runs"))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_server_passes_and_nothing_stays() {
    let server = database("check_good");
    let objects = "SELECT count(*) FROM pg_class";
    let before = server.sql("check_good", objects);
    for role in [Role::Source, Role::Target] {
        let scene = Scene::new(server, "check_good", role);
        let checks = scene.checks().await;
        let mut names: Vec<_> = checks.iter().map(|check| check.name.clone()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), checks.len(), "a name twice: {checks:#?}");
        scene.becomes_good().await;
    }
    assert_eq!(server.sql("check_good", objects), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_that_cannot_be_read() {
    let server = database("check_read");
    server.sql(
        "check_read",
        "CREATE SCHEMA hidden; CREATE TABLE hidden.t (id int PRIMARY KEY); \
         CREATE ROLE check_reader LOGIN",
    );
    let mut scene = Scene::new(server, "check_read", Role::Source);
    scene.user = "check_reader";
    scene.follow = FollowMode::Off;
    let bad = scene.mends("privileges", Verdict::Failed).await;
    assert!(bad.found.contains("orders") && bad.found.contains("hidden"));

    server.sql("check_read", "ALTER TABLE orders ENABLE ROW LEVEL SECURITY");
    scene.mends("row-security", Verdict::Failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_follow() {
    let server = database("check_follower");
    server.sql(
        "check_follower",
        "CREATE ROLE check_owner; CREATE ROLE check_follower LOGIN; \
         ALTER TABLE orders OWNER TO check_owner; GRANT SELECT ON orders TO check_follower",
    );
    let mut scene = Scene::new(server, "check_follower", Role::Source);
    scene.user = "check_follower";
    scene.follow = FollowMode::Auto;
    let bad = scene.fails_alone("log-privileges", Verdict::Warning).await;
    assert_eq!(bad.fixes.len(), 3, "{bad:#?}");
    scene.follow = FollowMode::Live;
    scene.mends("log-privileges", Verdict::Failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_whose_changes_cannot_be_followed() {
    let server = database("check_tables");
    let scene = Scene::new(server, "check_tables", Role::Source);
    server.sql("check_tables", "CREATE TABLE keyless (a int)");
    scene.mends("keyless-tables", Verdict::Failed).await;
    server.sql(
        "check_tables",
        "CREATE UNLOGGED TABLE fleeting (id int PRIMARY KEY)",
    );
    scene.mends("storage", Verdict::Failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn indexes_that_are_not_what_they_say() {
    let server = database("check_indexes");
    let scene = Scene::new(server, "check_indexes", Role::Source);
    server.sql(
        "check_indexes",
        "CREATE INDEX of_notes ON orders (note); UPDATE pg_index SET indisvalid = false WHERE \
         indexrelid = 'of_notes'::regclass",
    );
    scene.mends("indexes", Verdict::Warning).await;
    server.sql(
        "check_indexes",
        "CREATE COLLATION older (provider = icu, locale = 'en', version = '1')",
    );
    scene.mends("collations", Verdict::Warning).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_in_the_way() {
    // Prepared transactions are the whole server's.
    let server = Server::start(&["fsync=on"]);
    let name = "postgres";
    server.sql(name, "CREATE TABLE orders (id int PRIMARY KEY)");
    for role in [Role::Source, Role::Target] {
        let scene = Scene::new(&server, name, role);
        let lost = "BEGIN; INSERT INTO orders VALUES (1); PREPARE TRANSACTION 'it''s lost'";
        server.sql(name, lost);
        scene.mends("prepared-transactions", Verdict::Warning).await;
        let idle = Command::new(bin().join("psql"))
            .args(["-X", "-h", "127.0.0.1", "-p", &server.port.to_string()])
            .args(["-U", "postgres", "-d", name, "-c", "BEGIN", "-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let idle = Busy(idle.expect("psql runs"));
        until(
            &server,
            name,
            "SELECT count(*) = 1 FROM pg_stat_activity WHERE state = 'idle in transaction' AND \
             state_change < clock_timestamp() - interval '5.1 s'",
        );
        scene.mends("long-transactions", Verdict::Warning).await;
        drop(idle);
    }
    let writer = Busy::session(
        &server,
        name,
        "BEGIN;INSERT INTO orders VALUES (7);SELECT pg_sleep(300)",
    );
    let sleeps = "SELECT count(*) = 1 FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(300)'";
    until(&server, name, sleeps);
    let scene = Scene::new(&server, name, Role::Target);
    scene.mends("foreign-writers", Verdict::Warning).await;
    drop(writer);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_write() {
    let server = database("check_write");
    server.sql(
        "check_write",
        "CREATE ROLE check_writer LOGIN; GRANT SELECT ON orders TO check_writer; \
         GRANT SET ON PARAMETER session_replication_role TO check_writer; \
         REVOKE CREATE ON SCHEMA public FROM public",
    );
    let mut scene = Scene::new(server, "check_write", Role::Target);
    scene.user = "check_writer";
    scene.mends("privileges", Verdict::Failed).await;
    scene.mode = TargetMode::Append;
    scene.mends("existing-tables", Verdict::Failed).await;
    scene.mode = TargetMode::Truncate;
    scene.mends("existing-tables", Verdict::Failed).await;
    server.sql("check_write", "ALTER TABLE orders OWNER TO postgres");
    scene.mode = TargetMode::Recreate;
    scene.mends("existing-tables", Verdict::Failed).await;
    server.sql(
        "check_write",
        "REVOKE SET ON PARAMETER session_replication_role FROM check_writer",
    );
    scene.mends("replication-role", Verdict::Warning).await;
    let read_only = "ALTER ROLE check_writer SET default_transaction_read_only = on";
    server.sql("check_write", read_only);
    scene.mends("read-only", Verdict::Failed).await;
    let read_only = "ALTER DATABASE check_write SET default_transaction_read_only = on";
    server.sql("postgres", read_only);
    scene.mends("read-only", Verdict::Failed).await;
    server.sql("check_write", "ALTER ROLE check_writer CONNECTION LIMIT 3");
    scene.mends("connections", Verdict::Warning).await;
}

/// A verify asks for nothing but to read; a repair for rows, not for tables' owners.
#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_compare_or_mend() {
    let server = database("check_compare");
    server.sql("check_compare", "CREATE ROLE check_judge LOGIN");
    let mut scene = Scene::new(server, "check_compare", Role::Target);
    scene.user = "check_judge";
    scene.purpose = Purpose::Verify(VerifyOptions::default());
    scene.mends("existing-tables", Verdict::Failed).await;
    server.sql(
        "check_compare",
        "GRANT CREATE ON SCHEMA public TO check_judge; \
         GRANT SET ON PARAMETER session_replication_role TO check_judge",
    );
    scene.purpose = Purpose::Repair(RepairOptions::default());
    scene.mends("existing-tables", Verdict::Failed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_that_act_on_what_the_job_does() {
    let server = database("check_triggers");
    let scene = Scene::new(server, "check_triggers", Role::Target);
    server.sql(
        "check_triggers",
        "CREATE FUNCTION nothing() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'; \
         CREATE EVENT TRIGGER watcher ON ddl_command_end EXECUTE FUNCTION nothing()",
    );
    scene.mends("triggers", Verdict::Warning).await;
    server.sql(
        "check_triggers",
        "CREATE FUNCTION same() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; \
         CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION same(); \
         ALTER TABLE orders ENABLE ALWAYS TRIGGER t",
    );
    scene.mends("triggers", Verdict::Warning).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn databases_in_other_encodings() {
    let server = good();
    let make = |name: &str, encoding: &str| {
        server.sql(
            "postgres",
            &format!(
                "CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'; \
                 \\connect {name}\nCREATE TABLE t (id int PRIMARY KEY)"
            ),
        );
    };
    make("check_bytes", "SQL_ASCII");
    let scene = Scene::new(server, "check_bytes", Role::Source);
    scene.fails_alone("encoding", Verdict::Warning).await;
    make("check_latin", "LATIN1");
    Scene::new(server, "check_latin", Role::Source)
        .becomes_good()
        .await;
    let scene = Scene::new(server, "check_latin", Role::Target);
    let bad = scene.fails_alone("encoding", Verdict::Warning).await;
    scene.run(&bad);
    let scene = Scene::new(server, "check_latin_utf8", Role::Target);
    scene.becomes_good().await;
}
