//! The demo's cluster: coordinators and workers as child processes of this one, on the loopback.
//! They end with this process, whatever ends it: their stdin is a pipe that it holds.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use common::code::{Code, Failure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::error::{Result, io};

const START_DEADLINE: Duration = Duration::from_secs(20);

/// One child process.
pub struct Member {
    pub name: String,
    child: Child,
    /// Kept open: a child that writes into a closed pipe would end.
    _stdout: BufReader<ChildStdout>,
}

/// The processes that are still alive.
pub struct Cluster {
    pub coordinators: Vec<Member>,
    pub workers: Vec<Member>,
    /// Of all coordinators, the dead ones too.
    pub addresses: Vec<String>,
}

impl Cluster {
    /// Starts three coordinators and three workers, with their logs in `dir`.
    pub async fn start(dir: &Path) -> Result<Cluster> {
        let addresses = free_addresses(3)?;
        let mut cluster = Cluster {
            coordinators: Vec::new(),
            workers: Vec::new(),
            addresses: addresses.clone(),
        };
        let join = addresses.join(",");
        for (at, address) in addresses.iter().enumerate() {
            let name = format!("c{}", at + 1);
            let data = dir.join(&name);
            let data = data.display().to_string();
            // A lease of a second: on one machine nothing is slow enough to need more.
            let args = [
                "coordinator",
                "--name",
                &name,
                "--data-dir",
                &data,
                "--listen",
                address,
                "--join",
                &join,
                "--bootstrap-expect",
                "3",
                "--lease-ms",
                "1500",
                "--reconnect-ms",
                "500",
            ];
            cluster.coordinators.push(spawn(&name, &args, dir)?);
        }
        for number in 1..=3 {
            let name = format!("w{number}");
            let args = ["worker", "--name", &name, "--join", &join, "--slots", "2"];
            cluster.workers.push(spawn(&name, &args, dir)?);
        }
        for member in cluster.coordinators.iter_mut().chain(&mut cluster.workers) {
            member.wait_until_it_listens(dir).await?;
        }
        Ok(cluster)
    }

    /// kill -9.
    pub async fn kill(&mut self, name: &str) -> Result<()> {
        for members in [&mut self.coordinators, &mut self.workers] {
            let Some(at) = members.iter().position(|member| member.name == name) else {
                continue;
            };
            let mut member = members.remove(at);
            return { member.child.kill().await }.map_err(|e| io(Code::Internal, name, &e));
        }
        let what = format!("the demo has no process {name}");
        Err(Failure::new(Code::Internal, what))
    }

    /// Kills what is left and waits for it.
    pub async fn end(&mut self) {
        for member in self.workers.iter_mut().chain(&mut self.coordinators) {
            if let Err(error) = member.child.kill().await {
                tracing::warn!(%error, member = member.name, "not killed");
            }
        }
    }
}

fn spawn(name: &str, args: &[&str], dir: &Path) -> Result<Member> {
    let failed = |error| io(Code::Internal, name, &error);
    let program = std::env::current_exe().map_err(failed)?;
    let log = File::create(log_of(dir, name)).map_err(failed)?;
    let mut child = Command::new(program)
        .args(args)
        .arg("--exit-with-stdin")
        .env_remove("STERNA_NAME")
        .env_remove("STERNA_HTTP")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(log)
        // Ctrl-C in the terminal is for the demo, which then ends its children.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    let stdout = child.stdout.take();
    let stdout = stdout.ok_or_else(|| Failure::new(Code::Internal, "no pipe"))?;
    Ok(Member {
        name: name.to_owned(),
        child,
        _stdout: BufReader::new(stdout),
    })
}

impl Member {
    async fn wait_until_it_listens(&mut self, dir: &Path) -> Result<()> {
        let mut line = String::new();
        let read = timeout(START_DEADLINE, self._stdout.read_line(&mut line)).await;
        if matches!(read, Ok(Ok(1..))) {
            return Ok(());
        }
        let log = std::fs::read_to_string(log_of(dir, &self.name)).unwrap_or_default();
        let what = format!("{} didn't start:\n{}", self.name, log.trim_end());
        Err(Failure::new(Code::Internal, what))
    }
}

fn log_of(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.log"))
}

/// Ports that were free a moment ago. Held together, so that they differ.
fn free_addresses(n: usize) -> Result<Vec<String>> {
    let failed = |error| io(Code::Internal, "no free port on 127.0.0.1", &error);
    let listeners: std::io::Result<Vec<TcpListener>> =
        (0..n).map(|_| TcpListener::bind("127.0.0.1:0")).collect();
    let listeners = listeners.map_err(failed)?;
    let address = |listener: &TcpListener| listener.local_addr().map(|a| a.to_string());
    let addresses: std::io::Result<Vec<String>> = listeners.iter().map(address).collect();
    addresses.map_err(failed)
}
