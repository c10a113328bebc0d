//! A private MySQL 9 for tests that must see more than MariaDB, run by `tests/servers/mysql`.
//!
//! Uses the standard library only: the worker's tests include this file by its path. The server and
//! its data go with the test process, however that ends. Where it can't be started a test fails;
//! `STERNA_TEST_MYSQL9=off` skips such tests, and says so.

#![allow(dead_code)]

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// Starts the server, says its URL, and removes it once this process is gone.
const WATCH: &str = r#"
bash "$SCRIPT" start "$NAME" "$PORT" || { bash "$SCRIPT" wipe "$NAME"; exit 1; }
read -r _
bash "$SCRIPT" wipe "$NAME"
"#;

const OPTIONS: &str = "--max-allowed-packet=256M --innodb-flush-log-at-trx-commit=2";

/// A running server.
pub struct Mysql9 {
    pub port: u16,
    name: String,
    options: String,
    /// Reads from us; removes the server when we are gone.
    watchdog: Child,
}

impl Mysql9 {
    /// A server of this test's own; None = the tests were told to do without.
    pub fn start() -> Option<Mysql9> {
        Mysql9::with(&[])
    }

    /// The same; `extra` are further options of mysqld, without spaces.
    pub fn with(extra: &[&str]) -> Option<Mysql9> {
        if std::env::var("STERNA_TEST_MYSQL9").as_deref() == Ok("off") {
            eprintln!("SKIPPED: STERNA_TEST_MYSQL9=off, nothing was tested on MySQL 9");
            return None;
        }
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let script = script();
        let name = format!("sterna-{}-{port}", std::process::id());
        let options = format!("{OPTIONS} {}", extra.join(" "));
        let mut watchdog = Command::new("bash")
            .args(["-c", WATCH])
            .env("SCRIPT", script)
            .env("NAME", &name)
            .env("PORT", port.to_string())
            .env("MYSQL_ARGS", &options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("bash runs");
        let mut url = String::new();
        let stdout = watchdog.stdout.take().expect("piped");
        let read = BufReader::new(stdout).read_line(&mut url);
        if read.is_err() || !url.starts_with("mysql://") {
            let mut why = String::new();
            let mut stderr = watchdog.stderr.take().expect("piped");
            let _ = stderr.read_to_string(&mut why);
            eprintln!("MySQL 9 can't be started by {script}: {why}");
            panic!("no MySQL 9: set STERNA_TEST_MYSQL9=off to skip what needs it");
        }
        Some(Mysql9 {
            port,
            name,
            options,
            watchdog,
        })
    }

    /// `kill -9`; [`Mysql9::run`] brings it back.
    pub fn kill(&self) {
        self.script("kill", &[]);
    }

    /// An orderly shutdown; [`Mysql9::run`] brings it back.
    pub fn stop(&self) {
        self.script("stop", &[]);
    }

    /// Starts it again on its port and data, and waits until it answers.
    pub fn run(&self) {
        self.script("start", &[&self.port.to_string()]);
    }

    fn script(&self, verb: &str, more: &[&str]) {
        let ran = Command::new("bash")
            .args([script(), verb, &self.name])
            .args(more)
            .env("MYSQL_ARGS", &self.options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status()
            .expect("bash runs");
        assert!(ran.success(), "MySQL 9 {}: {verb} failed", self.name);
    }

    /// One server for all tests of a binary.
    pub fn shared() -> Option<&'static Mysql9> {
        static SHARED: OnceLock<Option<Mysql9>> = OnceLock::new();
        SHARED.get_or_init(Mysql9::start).as_ref()
    }
}

fn script() -> &'static str {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/servers/mysql");
    match std::path::Path::new(script).exists() {
        true => script,
        false => concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/servers/mysql"),
    }
}

impl Drop for Mysql9 {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}
