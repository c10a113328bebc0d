//! Private PostgreSQL servers: started in a temporary directory on a free port of 127.0.0.1, killed
//! and started again at will. Knows only std, so that every test binary can include it by path.
//!
//! A watchdog (a shell that reads from a pipe held by this process) stops the server by its pid and
//! removes the directory when the server is dropped or the test binary ends, however it ends.

#![allow(dead_code)]

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// Settings of every server. Nothing here survives a crash of the machine, all of a `kill -9`. They
/// are in its file, not on its command line: ALTER SYSTEM has the last word, as elsewhere.
const SETTINGS: &[&str] = &[
    "fsync=off",
    "listen_addresses=127.0.0.1",
    "max_connections=60",
    "shared_buffers=64MB",
    "max_prepared_transactions=50",
    "wal_level=logical",
    // A job that stopped keeps its slot: it may go on.
    "max_replication_slots=100",
    "max_wal_senders=30",
    "max_wal_size=2GB",
    "log_min_messages=warning",
];

const INIT: &str = r#"
set -e
mkdir -p "$DIR"
if [ "$(id -u)" = 0 ]; then chown postgres "$DIR"; fi
$AS "$BIN/initdb" -D "$DIR/data" -U postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync
"#;

const START: &str = r#"
set -e
$AS "$BIN/pg_ctl" -D "$DIR/data" -l "$DIR/log" -s -w -t 90 -o "$OPTIONS" start
"#;

const STOP: &str = r#"
$AS "$BIN/pg_ctl" -D "$DIR/data" -s -w -t 90 -m fast stop
"#;

/// All processes at once: a child that outlives the postmaster would keep its memory.
const KILL: &str = r#"
pid=$(head -n 1 "$DIR/data/postmaster.pid") || exit 1
kill -STOP "$pid"
children=$(ps -o pid= --ppid "$pid")
kill -KILL "$pid" $children
for gone in "$pid" $children; do timeout 30 tail --pid="$gone" -f /dev/null; done
rm -f "$DIR/data/postmaster.pid"
"#;

const WATCH: &str = r#"
read -r _
if [ -s "$DIR/data/postmaster.pid" ]; then
  pid=$(head -n 1 "$DIR/data/postmaster.pid")
  kill -QUIT "$pid" && timeout 30 tail --pid="$pid" -f /dev/null
fi
rm -rf "$DIR"
"#;

/// One PostgreSQL server that belongs to its holder.
pub struct Server {
    pub port: u16,
    dir: PathBuf,
    /// Reads from us; ends the server when we are gone.
    watchdog: Child,
}

impl Server {
    /// A new server; `settings` are further ones, as `max_prepared_transactions=0`.
    pub fn start(settings: &[&str]) -> Server {
        let dir = format!("sterna-pg-{}-{}", std::process::id(), free_port());
        Server::start_in(std::env::temp_dir().join(dir), settings)
    }

    /// The same in a directory that is empty or not there, and the server's from now on.
    pub fn start_in(dir: PathBuf, settings: &[&str]) -> Server {
        let port = free_port();
        shell(INIT, &dir, &[]);
        let watchdog = command(WATCH, &dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // What ends this process's group must not end the watchdog with it.
            .process_group(0)
            .spawn()
            .expect("sh runs");
        let mut lines = String::new();
        for setting in SETTINGS.iter().chain(settings) {
            let (name, value) = setting.split_once('=').expect("NAME=VALUE");
            lines.push_str(&format!("{name} = '{value}'\n"));
        }
        let mut file = std::fs::OpenOptions::new()
            .append(true)
            .open(dir.join("data/postgresql.conf"))
            .expect("initdb made it");
        file.write_all(lines.as_bytes()).expect("written");
        let server = Server {
            port,
            dir,
            watchdog,
        };
        server.begin();
        server
    }

    fn begin(&self) {
        let options = format!("-p {} -k {}", self.port, self.dir.display());
        shell(START, &self.dir, &[("OPTIONS", &options)]);
    }

    /// `kill -9` of every process of the server.
    pub fn kill(&self) {
        shell(KILL, &self.dir, &[]);
    }

    /// Whether it has a postmaster that wasn't told to end.
    pub fn is_running(&self) -> bool {
        self.dir.join("data/postmaster.pid").exists()
    }

    /// An orderly shutdown that doesn't wait for clients to leave.
    pub fn stop(&self) {
        shell(STOP, &self.dir, &[]);
    }

    /// Starts it again after [`Server::kill`] or [`Server::stop`], on the same port and data.
    pub fn restart(&self) {
        self.begin();
    }

    /// Makes it a standby of nobody, from the next start on.
    pub fn stand_by(&self) {
        std::fs::write(self.dir.join("data/standby.signal"), "").expect("written");
    }

    /// Where the server writes its log.
    pub fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// URL of a database, as its superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database.
    pub fn create(&self, database: &str) {
        self.sql(
            "postgres",
            &format!("CREATE DATABASE \"{database}\" TEMPLATE template0"),
        );
    }

    /// Runs statements by psql, stopping at the first error. Returns what it printed: cells
    /// separated by `|`, a row a line.
    pub fn sql(&self, database: &str, script: &str) -> String {
        self.try_sql(database, script)
            .unwrap_or_else(|said| panic!("{database}: {said}"))
    }

    /// As [`Server::sql`]; Err = what psql complained about.
    pub fn try_sql(&self, database: &str, script: &str) -> Result<String, String> {
        let mut psql = Command::new(bin().join("psql"))
            .args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres"])
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(["-d", database, "-f", "-"])
            .env("PGCLIENTENCODING", "UTF8")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql runs");
        let mut input = psql.stdin.take().expect("piped");
        let script = script.as_bytes().to_vec();
        // From a thread: psql may fill its output before it has read everything.
        let writer = std::thread::spawn(move || input.write_all(&script));
        let output = psql.wait_with_output().expect("psql ends");
        // psql that stops at an error closes its input early.
        let _ = writer.join().expect("the thread only writes");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout)
                .trim_end_matches('\n')
                .to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// Where PostgreSQL's programs are: STERNA_TEST_POSTGRES_BIN (to test another version), the newest
/// of Debian's directories, else PATH.
pub fn bin() -> PathBuf {
    if let Some(bin) = std::env::var_os("STERNA_TEST_POSTGRES_BIN") {
        return PathBuf::from(bin);
    }
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter();
    let mut found: Vec<(u32, PathBuf)> = versions
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            bin.join("initdb").exists().then_some((version, bin))
        })
        .collect();
    found.sort();
    if let Some((_, bin)) = found.pop() {
        return bin;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .find(|bin| bin.join("initdb").exists())
        .expect("PostgreSQL's initdb is in /usr/lib/postgresql/*/bin or in PATH")
}

/// A free port that no other server of this process was given.
fn free_port() -> u16 {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().expect("no test panics while it holds this");
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        if !given.contains(&port) {
            given.push(port);
            return port;
        }
    }
}

/// A shell script about the server in `dir`; PostgreSQL refuses to run as root.
fn command(script: &str, dir: &Path) -> Command {
    let mut command = Command::new("sh");
    command
        .args(["-c", script])
        .current_dir("/")
        .env("DIR", dir)
        .env("BIN", bin())
        .env("LC_ALL", "C.UTF-8");
    let root = Command::new("id").arg("-u").output();
    let root = root.is_ok_and(|output| output.stdout.starts_with(b"0\n"));
    if root {
        let user = "setpriv --reuid=postgres --regid=postgres --clear-groups";
        command.env("AS", user);
    }
    command
}

fn shell(script: &str, dir: &Path, more: &[(&str, &str)]) {
    let ran = command(script, dir)
        .envs(more.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("sh runs");
    let log = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    assert!(ran.success(), "PostgreSQL in {}: {log}", dir.display());
}
