//! A MariaDB of one test's own, with options, that can be killed and come back.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const INSTALL: &str = r#"
set -e
user=""
[ "$(id -u)" = 0 ] && { user="--user=mysql"; chown mysql "$DIR"; }
# Two servers that are installed at once mix up their temporary tables in a shared folder.
mariadb-install-db --no-defaults --basedir=/usr --datadir="$DIR/data" --tmpdir="$DIR" $user \
  --auth-root-authentication-method=normal --skip-test-db >"$DIR/install.log" 2>&1
"#;

/// Ends the server as soon as this process is gone, however it ended.
const RUN: &str = r#"
user=""
[ "$(id -u)" = 0 ] && user="--user=mysql"
mariadbd --no-defaults --basedir=/usr --datadir="$DIR/data" --socket="$DIR/s.sock" --port="$PORT" \
  --bind-address=127.0.0.1 $user --log-bin=bin --binlog-format=ROW --server-id=7 \
  --innodb-buffer-pool-size=32M --max-allowed-packet=64M --skip-name-resolve $OPTIONS \
  >>"$DIR/server.log" 2>&1 &
pid=$!
echo "$pid" >"$DIR/pid"
read -r _
kill "$pid" 2>/dev/null
wait "$pid"
"#;

/// See the module.
pub struct Private {
    pub port: u16,
    dir: PathBuf,
    options: String,
    shell: Option<Child>,
}

impl Private {
    pub fn start(options: &str) -> Private {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let dir = tempfile::Builder::new().prefix("sterna-maria-").tempdir();
        let dir = dir.expect("a directory").keep();
        let installed = Command::new("sh")
            .args(["-c", INSTALL])
            .env("DIR", &dir)
            .status()
            .expect("sh runs");
        assert!(installed.success(), "see {}", dir.display());
        let mut server = Private {
            port,
            dir,
            options: options.to_owned(),
            shell: None,
        };
        server.run();
        server
    }

    /// Starts it again.
    pub fn run(&mut self) {
        let shell = Command::new("sh")
            .args(["-c", RUN])
            .env("DIR", &self.dir)
            .env("PORT", self.port.to_string())
            .env("OPTIONS", &self.options)
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh runs");
        self.shell = Some(shell);
        let deadline = Instant::now() + Duration::from_secs(90);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let log = self.dir.display();
            assert!(Instant::now() < deadline, "it does not start: see {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// `kill -9`, until it is gone.
    pub fn kill(&mut self) {
        let pid = std::fs::read_to_string(self.dir.join("pid")).expect("running");
        let killed = Command::new("kill").args(["-9", pid.trim()]).status();
        assert!(killed.expect("kill runs").success());
        self.stop();
    }

    /// An orderly shutdown, unless it is gone already.
    pub fn stop(&mut self) {
        if let Some(mut shell) = self.shell.take() {
            drop(shell.stdin.take());
            let _ = shell.wait();
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}
