//! Processes of the product: started, watched, stopped, frozen, killed. Output goes to files, so
//! that a chatty process never blocks on a pipe nobody reads.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::process::{Child, Command};

use super::wait::{secs, until};

/// How long a command that should end by itself may take.
const COMMAND_DEADLINE: Duration = Duration::from_secs(240);

/// A `sterna` command line that is being put together.
pub struct Sterna {
    command: Command,
    name: String,
    dir: PathBuf,
}

/// A finished command.
#[derive(Debug)]
pub struct Finished {
    /// The exit status; 128 + N when signal N ended it, as a shell says it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A running `sterna`; killed when dropped.
pub struct Running {
    pub name: String,
    child: Child,
    pub stdout: PathBuf,
    pub stderr: PathBuf,
}

impl Sterna {
    /// `sterna ARGS…` with its output under `dir`, and nothing of the caller's environment that
    /// could change what it does.
    pub fn new(dir: &Path, args: &[&str]) -> Sterna {
        let command = Command::new(env!("CARGO_BIN_EXE_sterna"));
        Sterna::of(command, dir, args)
    }

    /// The same in a network namespace.
    pub fn within(netns: &str, dir: &Path, args: &[&str]) -> Sterna {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", netns, env!("CARGO_BIN_EXE_sterna")]);
        Sterna::of(command, dir, args)
    }

    fn of(mut command: Command, dir: &Path, args: &[&str]) -> Sterna {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let verb = args.first().copied().unwrap_or("sterna");
        let name = format!("{verb}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        for (key, _) in std::env::vars() {
            if key.starts_with("STERNA_") || key == "NO_COLOR" || key == "RUST_LOG" {
                command.env_remove(key);
            }
        }
        command.args(args).current_dir(dir).kill_on_drop(true);
        Sterna {
            command,
            name,
            dir: dir.to_owned(),
        }
    }

    pub fn args(mut self, args: &[&str]) -> Sterna {
        self.command.args(args);
        self
    }

    pub fn env(mut self, key: &str, value: &str) -> Sterna {
        self.command.env(key, value);
        self
    }

    pub fn named(mut self, name: &str) -> Sterna {
        self.name = name.to_owned();
        self
    }

    /// Starts it.
    pub fn spawn(mut self) -> Running {
        let (stdout, stderr) = (
            self.dir.join(format!("{}.out", self.name)),
            self.dir.join(format!("{}.err", self.name)),
        );
        let file = |path: &Path| -> Stdio { File::create(path).expect("writable").into() };
        self.command
            .stdin(Stdio::null())
            .stdout(file(&stdout))
            .stderr(file(&stderr));
        Running {
            child: self.command.spawn().expect("the sterna binary starts"),
            name: self.name,
            stdout,
            stderr,
        }
    }

    /// Runs it to its end.
    pub async fn run(self) -> Finished {
        self.spawn().finish(COMMAND_DEADLINE).await
    }

    /// Runs it; panics with its output unless it ends with 0.
    pub async fn ok(self) -> Finished {
        let finished = self.run().await;
        assert_eq!(finished.code, 0, "{finished}");
        finished
    }
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id().expect("asked before it was waited for")
    }

    pub fn out(&self) -> String {
        read(&self.stdout)
    }

    pub fn err(&self) -> String {
        read(&self.stderr)
    }

    /// Still there?
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal by name: `TERM`, `INT`, `STOP`, `CONT`.
    pub fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.pid());
        let status = std::process::Command::new("sh")
            .args(["-c", &script])
            .status();
        assert!(status.expect("sh runs").success(), "{script}");
    }

    /// `kill -9`, and gone when this returns.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it could be killed");
    }

    /// Waits until stdout or stderr holds `text`.
    pub async fn says(&mut self, text: &str, deadline: Duration) {
        let what = format!("{} to say {text:?}", self.name);
        let found = until(&what, deadline, || {
            let said = self.out().contains(text) || self.err().contains(text);
            let ended = !said && !self.is_running();
            async move { (said || ended).then_some(said) }
        })
        .await;
        assert!(
            found,
            "{} ended without saying {text:?}:\n{}{}",
            self.name,
            self.out(),
            self.err()
        );
    }

    /// Waits for its end.
    pub async fn finish(mut self, deadline: Duration) -> Finished {
        let ended = tokio::time::timeout(deadline, self.child.wait()).await;
        let Ok(status) = ended else {
            let _ = self.child.kill().await;
            panic!(
                "{} didn't end within {deadline:?}:\n{}\n{}",
                self.name,
                self.out(),
                self.err()
            );
        };
        Finished {
            code: code_of(status.expect("it can be waited for")),
            stdout: self.out(),
            stderr: self.err(),
        }
    }

    /// Peak resident memory so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = read(Path::new(&format!("/proc/{}/status", self.pid())));
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.and_then(|kib| kib.parse::<u64>().ok())
            .unwrap_or_default()
            * 1024
    }
}

impl std::fmt::Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "exit status {}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.stdout, self.stderr
        )
    }
}

impl Finished {
    /// Panics with its output unless it ended with 0.
    pub fn expect_ok(&self) {
        assert_eq!(self.code, 0, "{self}");
    }

    /// Stdout as one JSON value.
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("stdout is not JSON ({error}): {self}"),
        }
    }
}

fn code_of(status: std::process::ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => -1,
    }
}

/// A file's text, whatever is in it; empty if it isn't there.
pub fn read(path: &Path) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// A directory of the test's own, removed at its end (kept if it fails, and said where).
pub struct Dir(Option<tempfile::TempDir>);

impl Dir {
    pub fn new() -> Dir {
        let dir = tempfile::Builder::new().prefix("sterna-test-").tempdir();
        Dir(Some(dir.expect("a temporary directory")))
    }

    pub fn path(&self) -> &Path {
        self.0.as_ref().expect("taken only by drop").path()
    }

    /// A path in it, as text for a command line.
    pub fn file(&self, name: &str) -> String {
        self.path().join(name).display().to_string()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if let Some(dir) = self.0.take()
            && std::thread::panicking()
        {
            eprintln!("kept for a look: {}", dir.keep().display());
        }
    }
}

/// A `sterna clone` with its state in the test's directory and no terminal in the way.
pub fn clone(dir: &Dir, source: &str, target: &str) -> Sterna {
    let state = dir.file("state");
    Sterna::new(dir.path(), &["clone", source, target]).args(&["--state-dir", &state])
}

/// The deadline of things that take a second on an idle machine.
pub fn soon() -> Duration {
    secs(30)
}
