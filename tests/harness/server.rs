//! Private MariaDB servers. A test takes one out of the pool and has it for itself: it may look
//! for leftovers, make users and even kill it. A server that is given back in order is emptied and
//! used again, so a run starts about as many as there are test threads.
//!
//! A watchdog (a shell that reads from a pipe held by this process) ends the server and removes
//! its directory when the test binary ends, however it ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use mysql_async::prelude::Queryable;

use super::wait::{free_port, secs, until};

static POOL: Mutex<Vec<Server>> = Mutex::new(Vec::new());

const SYSTEM_DATABASES: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];

/// A running server that belongs to one test.
pub struct Lent(Option<Server>);

/// Takes a server out of the pool, or starts one.
pub async fn lend() -> Lent {
    let idle = POOL.lock().expect("never held across a panic").pop();
    Lent(Some(match idle {
        Some(server) => server,
        None => Server::start(&[]).await,
    }))
}

impl std::ops::Deref for Lent {
    type Target = Server;
    fn deref(&self) -> &Server {
        self.0.as_ref().expect("taken only by drop")
    }
}

impl std::ops::DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Server {
        self.0.as_mut().expect("taken only by drop")
    }
}

impl Drop for Lent {
    /// Back into the pool, unless the test failed or the server can't be emptied.
    fn drop(&mut self) {
        let Some(server) = self.0.take() else { return };
        if std::thread::panicking() {
            return;
        }
        // Its own thread and runtime: drop may run inside the test's.
        let emptied = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(server.wipe()).then_some(server)
        });
        if let Ok(Some(server)) = emptied.join() {
            POOL.lock().expect("never held across a panic").push(server);
        }
    }
}

/// One mariadbd on 127.0.0.1 with its data in a temporary directory.
pub struct Server {
    pub port: u16,
    dir: PathBuf,
    extra: Vec<String>,
    process: Option<Child>,
    /// Reads from us; ends the server when we are gone.
    watchdog: Option<Child>,
}

impl Server {
    /// A new server; `extra` are further options of mariadbd.
    pub async fn start(extra: &[&str]) -> Server {
        let dir = tempfile::Builder::new()
            .prefix("sterna-mariadb-")
            .tempdir()
            .expect("a temporary directory");
        Server::start_in(dir.keep(), extra).await
    }

    /// The same in an empty directory, which is the server's from now on.
    pub async fn start_in(dir: PathBuf, extra: &[&str]) -> Server {
        hand_to_mysql(&dir);
        install(&dir);
        let mut server = Server {
            port: free_port(),
            dir,
            extra: extra.iter().map(|arg| (*arg).to_owned()).collect(),
            process: None,
            watchdog: None,
        };
        server.run().await;
        server
    }

    /// Starts the process on the data that is there and waits until it answers.
    pub async fn run(&mut self) {
        let log = std::fs::File::create(self.dir.join("error.log")).expect("writable");
        let mut command = Command::new(find("mariadbd", "mysqld"));
        command.args([
            "--no-defaults",
            "--basedir=/usr",
            "--bind-address=127.0.0.1",
            "--local-infile=1",
            "--log-bin=bin",
            "--binlog-format=ROW",
            "--server-id=1",
            "--sync-binlog=0",
            "--innodb-flush-log-at-trx-commit=2",
            "--innodb-buffer-pool-size=256M",
            "--innodb-log-file-size=256M",
            "--max-allowed-packet=256M",
            "--character-set-server=utf8mb4",
            "--skip-name-resolve",
        ]);
        command.arg(format!("--datadir={}", self.dir.join("data").display()));
        command.arg(format!("--tmpdir={}", self.dir.display()));
        command.arg(format!("--socket={}", self.dir.join("s.sock").display()));
        command.arg(format!("--pid-file={}", self.dir.join("pid").display()));
        command.arg(format!("--port={}", self.port));
        command.args(user_args()).args(&self.extra);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(log).spawn().expect("mariadbd starts");
        self.watch(child.id());
        self.process = Some(child);
        let this = &*self;
        until("MariaDB to answer", secs(60), || async {
            this.try_connect("").await
        })
        .await;
    }

    fn watch(&mut self, pid: u32) {
        self.unwatch();
        let script = format!(
            "read _; kill -9 {pid} 2>/dev/null; rm -rf '{}'",
            self.dir.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::piped());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.watchdog = Some(command.spawn().expect("sh starts"));
    }

    /// Ends the watchdog without letting it act.
    fn unwatch(&mut self) {
        if let Some(mut watchdog) = self.watchdog.take() {
            let _ = watchdog.kill();
            let _ = watchdog.wait();
        }
    }

    /// `kill -9`; `run` brings it back.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("it runs");
            process.wait().expect("it can be waited for");
        }
    }

    /// An orderly shutdown, as a service manager does it; `run` brings it back.
    pub async fn stop(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        let term = format!("kill -TERM {}", process.id());
        let sent = Command::new("sh").args(["-c", &term]).status();
        assert!(sent.expect("sh runs").success(), "{term}");
        until("MariaDB to end", secs(60), || {
            let ended = matches!(process.try_wait(), Ok(Some(_)));
            async move { ended.then_some(()) }
        })
        .await;
    }

    /// The URL of a database for `sterna`, as root without a password.
    pub fn url(&self, database: &str) -> String {
        format!("mysql://root@127.0.0.1:{}/{database}", self.port)
    }

    async fn try_connect(&self, database: &str) -> Option<mysql_async::Conn> {
        let url = format!(
            "mysql://root@127.0.0.1:{}/{database}?prefer_socket=false&max_allowed_packet=268435456",
            self.port
        );
        mysql_async::Conn::from_url(url).await.ok()
    }

    /// A root connection of the test's own.
    pub async fn connect(&self, database: &str) -> mysql_async::Conn {
        match self.try_connect(database).await {
            Some(conn) => conn,
            None => panic!("the test's MariaDB refused a connection to {database:?}"),
        }
    }

    /// Runs statements as root, one after the other.
    pub async fn exec(&self, database: &str, statements: &[&str]) {
        let mut conn = self.connect(database).await;
        for statement in statements {
            if let Err(error) = conn.query_drop(*statement).await {
                panic!("{error}: {statement}");
            }
        }
        let _ = conn.disconnect().await;
    }

    /// Makes an empty database and returns its URL.
    pub async fn create(&self, database: &str) -> String {
        self.exec("", &[&format!("CREATE DATABASE `{database}`")])
            .await;
        self.url(database)
    }

    /// Rows of `database.table` that others can see; 0 if it isn't there (yet).
    pub async fn count(&self, table: &str) -> u64 {
        let mut conn = self.connect("").await;
        let query = format!("SELECT COUNT(*) FROM {table}");
        let found: Option<u64> = conn.query_first(query).await.unwrap_or_default();
        let _ = conn.disconnect().await;
        found.unwrap_or_default()
    }

    /// The names of the databases that aren't the server's own.
    pub async fn databases(&self) -> Vec<String> {
        let mut conn = self.connect("").await;
        let all: Vec<String> = conn.query("SHOW DATABASES").await.expect("a list");
        let _ = conn.disconnect().await;
        all.into_iter()
            .filter(|name| !SYSTEM_DATABASES.contains(&name.as_str()))
            .collect()
    }

    /// Drops everything a test made; false if it didn't work out.
    async fn wipe(&self) -> bool {
        let Some(mut conn) = self.try_connect("").await else {
            return false;
        };
        for name in self.databases().await {
            let drop = format!("SET lock_wait_timeout=5; DROP DATABASE `{name}`");
            if conn.query_drop(drop).await.is_err() {
                return false;
            }
        }
        let users = "SELECT CONCAT(QUOTE(user), '@', QUOTE(host)) FROM mysql.global_priv \
                     WHERE user NOT IN ('root', 'mariadb.sys')";
        let users: Vec<String> = conn.query(users).await.unwrap_or_default();
        for user in users {
            let _ = conn.query_drop(format!("DROP USER {user}")).await;
        }
        // The binary log of two million rows needn't be kept for the next test.
        conn.query_drop("RESET MASTER").await.is_ok()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        self.unwatch();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// The first of these programs that is installed; the distributions disagree about the name.
fn find(name: &str, other: &str) -> PathBuf {
    for dir in ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"] {
        for name in [name, other] {
            let path = Path::new(dir).join(name);
            if path.exists() {
                return path;
            }
        }
    }
    panic!(
        "{name} is not installed: run scripts/test, which installs it, or \
         `apt-get install mariadb-server` (the tests start their own private server)"
    );
}

/// As root the server runs as the package's user; as anybody else it runs as that.
fn user_args() -> Vec<String> {
    if is_root() {
        vec!["--user=mysql".to_owned()]
    } else {
        Vec::new()
    }
}

/// Whether this process is root (its own /proc entry is).
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn hand_to_mysql(dir: &Path) {
    if is_root() {
        let chown = Command::new("chown").arg("mysql").arg(dir).status();
        assert!(chown.expect("chown").success(), "there is no user mysql");
    }
}

fn install(dir: &Path) {
    let output = Command::new(find("mariadb-install-db", "mysql_install_db"))
        .args(["--no-defaults", "--basedir=/usr", "--skip-test-db"])
        .arg("--auth-root-authentication-method=normal")
        .arg(format!("--datadir={}", dir.join("data").display()))
        // Two servers that are installed at once mix up their temporary tables in a shared folder.
        .arg(format!("--tmpdir={}", dir.display()))
        .args(user_args())
        .output()
        .expect("mariadb-install-db runs");
    assert!(
        output.status.success(),
        "mariadb-install-db failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}
