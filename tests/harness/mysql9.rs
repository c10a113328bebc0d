//! A real MySQL 9 beside MariaDB, by `tests/servers/mysql` (a small root of Debian unstable). One
//! server for the whole run, lent to one test at a time; wiped with the test binary.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::server::is_root;
use super::wait::free_port;

/// The server, for one test.
pub type Lent = OwnedMutexGuard<Option<Server>>;

/// A running MySQL 9.
pub struct Server {
    pub port: u16,
    /// Reads from us; wipes the server when we are gone.
    _watchdog: Child,
}

/// Takes the server, which is started when nobody did yet; None when it is off.
pub async fn lend() -> Option<Lent> {
    static SERVER: std::sync::OnceLock<Arc<Mutex<Option<Server>>>> = std::sync::OnceLock::new();
    if std::env::var("STERNA_TEST_MYSQL9").is_ok_and(|value| value == "off") {
        eprintln!("NOT TESTED on MySQL 9: STERNA_TEST_MYSQL9=off");
        return None;
    }
    let mut server = Arc::clone(SERVER.get_or_init(Arc::default))
        .lock_owned()
        .await;
    if server.is_none() {
        *server = Some(Server::start());
    }
    Some(server)
}

/// The URL of a database of the lent server.
pub fn url(lent: &Lent, database: &str) -> String {
    let server = lent.as_ref().expect("started when it was lent");
    format!("mysql://root@127.0.0.1:{}/{database}", server.port)
}

impl Server {
    fn start() -> Server {
        assert!(
            is_root(),
            "MySQL 9 runs in a root of its own, which needs root: set STERNA_TEST_MYSQL9=off to \
             leave it out"
        );
        let port = free_port();
        let name = format!("sterna-test-{port}");
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/servers/mysql");
        let ended = format!("read _; bash '{}' wipe {name}", script.display());
        let watchdog = Command::new("sh")
            .args(["-c", &ended])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let mut start = Command::new("bash");
        start.arg(script).args(["start", &name, &port.to_string()]);
        start.env(
            "MYSQL_ARGS",
            "--max-allowed-packet=256M --innodb-flush-log-at-trx-commit=2",
        );
        let output = start.stdin(Stdio::null()).output().expect("bash runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "MySQL 9: {said}");
        Server {
            port,
            _watchdog: watchdog,
        }
    }
}
