//! Named checks: a scene for each in which it alone doesn't pass; what it tells to run is run by
//! root as it stands, and then it passes. On MariaDB and on MySQL 9.

use std::time::{Duration, Instant};

use common::change::FollowMode;
use common::check::{Check, Verdict};
use common::job::JobSpec;
use mysql_async::prelude::Queryable;
use worker::connector::mysql::Mysql;
use worker::connector::{CheckRequest, Connector, Role};
use worker::secret::Secrets;

use crate::mysql9::Mysql9;
use crate::private::Private;
use crate::server::{connect_at, endpoint_at, run_at};

use Verdict::{Failed, Warning};

/// How long a scene or a fix may take to be seen by other sessions.
const DEADLINE: Duration = Duration::from_secs(30);
const DATABASE: &str = "checked";

/// A server on which every check passes.
const GOOD: &[&str] = &[
    "SET GLOBAL local_infile = 1",
    "SET GLOBAL max_connections = 150",
    "SET GLOBAL max_allowed_packet = 1073741824",
    "SET GLOBAL innodb_flush_log_at_trx_commit = 1",
    "SET GLOBAL sync_binlog = 1",
    "CREATE DATABASE checked CHARACTER SET utf8mb4",
    "CREATE TABLE checked.t (id INT PRIMARY KEY, v LONGTEXT)",
    "CREATE TABLE checked.u (id INT PRIMARY KEY, t INT)",
    "INSERT INTO checked.t VALUES (1, 'one')",
];

/// What is asked, of which end, as whom.
struct Scene {
    port: u16,
    user: &'static str,
    role: Role,
    follow: FollowMode,
}

/// One thing that is wrong.
struct Wrong {
    name: &'static str,
    verdict: Verdict,
    role: Role,
    user: &'static str,
    follow: FollowMode,
    statements: &'static [&'static str],
    /// What is left after the fix.
    after: &'static [&'static str],
}

impl Wrong {
    const fn new(name: &'static str, verdict: Verdict, role: Role) -> Wrong {
        Wrong {
            name,
            verdict,
            role,
            user: "root",
            follow: FollowMode::Live,
            statements: &[],
            after: &[],
        }
    }

    const fn by(self, statements: &'static [&'static str]) -> Wrong {
        Wrong { statements, ..self }
    }

    const fn after(self, after: &'static [&'static str]) -> Wrong {
        Wrong { after, ..self }
    }

    const fn user(self, user: &'static str) -> Wrong {
        Wrong { user, ..self }
    }

    const fn copied_only(self) -> Wrong {
        Wrong {
            follow: FollowMode::Off,
            ..self
        }
    }
}

impl Scene {
    async fn checks(&self) -> Vec<Check> {
        let root = endpoint_at(self.port, DATABASE);
        let mut spec = JobSpec::new("check", root.clone(), endpoint_at(self.port, "nowhere"));
        let open = |endpoint| Mysql::new(&endpoint, &Secrets::default()).expect("a valid URL");
        // What is there to be checked is root's to say.
        let tables = open(root.clone()).inspect(Role::Source, &spec).await;
        spec.follow = self.follow;
        let request = CheckRequest {
            role: self.role,
            spec,
            tables: tables.expect("inspected").tables,
            other: None,
        };
        let mut asked = root;
        asked.url = asked.url.replace("//root@", &format!("//{}@", self.user));
        open(asked).check(request).await
    }

    async fn bad(&self) -> Vec<Check> {
        let mut checks = self.checks().await;
        checks.retain(|check| check.verdict != Verdict::Passed);
        checks
    }

    async fn fails_alone(&self, name: &str, verdict: Verdict) -> Check {
        let deadline = Instant::now() + DEADLINE;
        let mut bad = self.bad().await;
        // InnoDB's list of transactions is a moment old if somebody has just asked for it.
        while bad.is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(150)).await;
            bad = self.bad().await;
        }
        let names: Vec<_> = bad.iter().map(|bad| (&*bad.name, bad.verdict)).collect();
        assert_eq!(names, [(name, verdict)], "{bad:#?}");
        let bad = bad.remove(0);
        assert!(!bad.means.is_empty() && bad.code.is_some(), "{bad:#?}");
        assert!(!bad.fixes.is_empty(), "{bad:#?}");
        bad
    }

    async fn becomes_good(&self) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let bad = self.bad().await;
            if bad.is_empty() {
                return;
            }
            assert!(Instant::now() < deadline, "{bad:#?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn mends(&self, name: &str, verdict: Verdict) {
        let bad = self.fails_alone(name, verdict).await;
        println!("{name}: {} / {:?}", bad.found, bad.fixes);
        let fixes: Vec<&str> = bad.fixes.iter().map(String::as_str).collect();
        let fixes: Vec<&str> = fixes
            .into_iter()
            .filter(|fix| !fix.starts_with("--"))
            .collect();
        assert!(!fixes.is_empty(), "nothing to run: {bad:#?}");
        run_at(self.port, DATABASE, &fixes).await;
        self.becomes_good().await;
    }
}

async fn each(port: u16, wrongs: &[Wrong]) {
    for wrong in wrongs {
        let scene = Scene {
            port,
            user: wrong.user,
            role: wrong.role,
            follow: wrong.follow,
        };
        run_at(port, "", wrong.statements).await;
        scene.mends(wrong.name, wrong.verdict).await;
        run_at(port, "", wrong.after).await;
    }
    for role in [Role::Source, Role::Target] {
        let follow = FollowMode::Live;
        Scene {
            port,
            user: "root",
            role,
            follow,
        }
        .becomes_good()
        .await;
    }
}

const EVERYWHERE: &[Wrong] = &[
    Wrong::new("charset", Warning, Role::Target)
        .by(&["ALTER DATABASE checked CHARACTER SET latin1"]),
    Wrong::new("connections", Warning, Role::Target).by(&["SET GLOBAL max_connections = 12"]),
    Wrong::new("max-allowed-packet", Warning, Role::Target)
        .by(&["SET GLOBAL max_allowed_packet = 16777216"]),
    Wrong::new("keyless-tables", Warning, Role::Source)
        .copied_only()
        .by(&["CREATE TABLE checked.keyless (a INT)"])
        .after(&["DROP TABLE checked.keyless"]),
    Wrong::new("storage-engines", Warning, Role::Source)
        .copied_only()
        .by(&["CREATE TABLE checked.isam (id INT PRIMARY KEY) ENGINE = MyISAM"])
        .after(&["DROP TABLE checked.isam"]),
    Wrong::new("binlog-format", Failed, Role::Source)
        .by(&["SET GLOBAL binlog_format = 'STATEMENT'"]),
    Wrong::new("binlog-row-image", Failed, Role::Source)
        .by(&["SET GLOBAL binlog_row_image = 'MINIMAL'"]),
    Wrong::new("log-retention", Warning, Role::Source)
        .by(&["SET GLOBAL binlog_expire_logs_seconds = 3600"]),
    Wrong::new("local-infile", Warning, Role::Target).by(&["SET GLOBAL local_infile = 0"]),
    Wrong::new("triggers", Warning, Role::Target)
        .by(&["CREATE TRIGGER checked.g BEFORE INSERT ON checked.t FOR EACH ROW SET NEW.v = 'x'"]),
    Wrong::new("durability", Warning, Role::Target)
        .by(&["SET GLOBAL innodb_flush_log_at_trx_commit = 2"]),
];

const ON_MARIADB: &[Wrong] = &[
    Wrong::new("privileges", Failed, Role::Source)
        .user("reader")
        .by(&[
            "CREATE USER reader",
            "GRANT SELECT ON checked.t TO reader",
            "GRANT REPLICATION SLAVE, BINLOG MONITOR, PROCESS ON *.* TO reader",
        ])
        .after(&["DROP USER reader"]),
    Wrong::new("log-rights", Failed, Role::Source)
        .user("reader")
        .by(&[
            "CREATE USER reader",
            "GRANT SELECT ON checked.* TO reader",
            "GRANT BINLOG MONITOR, PROCESS ON *.* TO reader",
        ])
        .after(&["DROP USER reader"]),
    Wrong::new("log-tables", Failed, Role::Source)
        .by(&[
            "ALTER TABLE checked.u ADD FOREIGN KEY (t) REFERENCES checked.t (id) ON DELETE CASCADE",
        ])
        .after(&[
            "DROP TABLE checked.u",
            "CREATE TABLE checked.u (id INT PRIMARY KEY, t INT)",
        ]),
    Wrong::new("read-only", Failed, Role::Target)
        .user("writer")
        .by(&[
            "CREATE USER writer",
            "GRANT ALL ON checked.* TO writer",
            "SET GLOBAL read_only = 1",
        ])
        .after(&["DROP USER writer"]),
    Wrong::new("privileges", Failed, Role::Target)
        .user("writer")
        .by(&[
            "CREATE USER writer",
            "GRANT SELECT, INSERT ON checked.* TO writer",
        ])
        .after(&["DROP USER writer"]),
    Wrong::new("replication-role", Warning, Role::Target)
        .by(&["CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = 1"]),
];

const ON_MYSQL: &[Wrong] = &[
    Wrong::new("privileges", Failed, Role::Source)
        .user("reader")
        .by(&[
            "CREATE USER reader",
            "GRANT SELECT ON checked.t TO reader",
            "GRANT REPLICATION SLAVE, REPLICATION CLIENT, PROCESS, XA_RECOVER_ADMIN ON *.* TO reader",
        ])
        .after(&["DROP USER reader"]),
    Wrong::new("log-rights", Failed, Role::Source)
        .user("reader")
        .by(&[
            "CREATE USER reader",
            "GRANT SELECT ON checked.* TO reader",
            "GRANT REPLICATION CLIENT, PROCESS, XA_RECOVER_ADMIN ON *.* TO reader",
        ])
        .after(&["DROP USER reader"]),
    Wrong::new("binlog-json", Failed, Role::Source)
        .by(&["SET GLOBAL binlog_row_value_options = 'PARTIAL_JSON'"]),
    Wrong::new("read-only", Failed, Role::Target)
        .user("writer")
        .by(&[
            "CREATE USER writer",
            "GRANT ALL ON checked.* TO writer",
            "GRANT XA_RECOVER_ADMIN ON *.* TO writer",
            "SET GLOBAL super_read_only = 1",
        ])
        .after(&["DROP USER writer"]),
    Wrong::new("privileges", Failed, Role::Target)
        .user("writer")
        .by(&[
            "CREATE USER writer",
            "GRANT SELECT, INSERT ON checked.* TO writer",
            "GRANT XA_RECOVER_ADMIN ON *.* TO writer",
        ])
        .after(&["DROP USER writer"]),
    Wrong::new("two-phase", Failed, Role::Target)
        .user("writer")
        .by(&["CREATE USER writer", "GRANT ALL ON checked.* TO writer"])
        .after(&["DROP USER writer"]),
    Wrong::new("replication-role", Warning, Role::Target)
        .by(&["CHANGE REPLICATION SOURCE TO SOURCE_HOST = '127.0.0.1', SOURCE_PORT = 1"]),
];

/// What another session does meanwhile.
async fn of_others(port: u16) {
    let scene = |role| Scene {
        port,
        user: "root",
        role,
        follow: FollowMode::Live,
    };
    let mut other = connect_at(port, DATABASE).await;
    for sql in [
        "XA START 'a ''forgotten'' one', 'b', 3",
        "INSERT INTO t VALUES (7, 'prepared')",
        "XA END 'a ''forgotten'' one', 'b', 3",
        "XA PREPARE 'a ''forgotten'' one', 'b', 3",
    ] {
        other.query_drop(sql).await.expect(sql);
    }
    other.disconnect().await.expect("closed");
    scene(Role::Target)
        .mends("prepared-transactions", Warning)
        .await;

    let mut other = connect_at(port, DATABASE).await;
    for sql in ["BEGIN", "INSERT INTO t VALUES (8, 'open')"] {
        other.query_drop(sql).await.expect(sql);
    }
    scene(Role::Target).mends("foreign-writers", Warning).await;
    drop(other);
}

#[tokio::test]
async fn every_check_fails_alone_and_its_fix_mends_it() {
    let server = Private::start("--sync-binlog=1");
    run_at(server.port, "", GOOD).await;
    each(server.port, &[]).await;
    each(server.port, EVERYWHERE).await;
    each(server.port, ON_MARIADB).await;
    of_others(server.port).await;
}

#[tokio::test]
async fn every_check_fails_alone_and_its_fix_mends_it_on_mysql_9() {
    let Some(server) = Mysql9::start() else {
        return;
    };
    let port = server.port;
    run_at(port, "", GOOD).await;
    each(port, &[]).await;
    each(port, EVERYWHERE).await;
    each(port, ON_MYSQL).await;
    of_others(port).await;
}

#[tokio::test]
async fn without_a_log_nothing_can_be_followed() {
    let server = Private::start("--skip-log-bin --sync-binlog=1");
    run_at(server.port, "", GOOD).await;
    let scene = |follow| Scene {
        port: server.port,
        user: "root",
        role: Role::Source,
        follow,
    };
    let bad = scene(FollowMode::Live)
        .fails_alone("binary-log", Failed)
        .await;
    assert!(bad.fixes[0].contains("--log-bin"), "{bad:#?}");
    scene(FollowMode::Auto)
        .fails_alone("binary-log", Warning)
        .await;
    scene(FollowMode::Off).becomes_good().await;
}
