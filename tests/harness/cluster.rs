//! Clusters: coordinators and workers as processes on loopback, and the questions a test asks them.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::{Dir, Finished, Running, Sterna};
use super::wait::{free_port, secs, until};

/// A running cluster; everything is killed when it is dropped.
pub struct Cluster {
    pub dir: Dir,
    pub coordinators: Vec<Coordinator>,
    pub workers: Vec<Running>,
    pub slots: u32,
    /// Further arguments of every coordinator.
    pub coordinator_args: Vec<String>,
    env: Vec<(String, String)>,
    coordinator_env: Vec<(String, String)>,
}

/// One coordinator and what is needed to start it again.
pub struct Coordinator {
    pub name: String,
    pub address: String,
    pub http: String,
    /// The network namespace it lives in, where it isn't the machine's.
    pub netns: Option<String>,
    pub process: Option<Running>,
}

impl Cluster {
    /// `coordinators` coordinators and `workers` workers, with a leader elected.
    pub async fn start(coordinators: usize, workers: usize) -> Cluster {
        Cluster::with_env(coordinators, workers, &[]).await
    }

    /// The same with environment variables for every process.
    pub async fn with_env(coordinators: usize, workers: usize, env: &[(&str, &str)]) -> Cluster {
        let mut cluster = Cluster::planned(coordinators);
        cluster.env = owned(env);
        cluster.begin().await;
        for i in 1..=workers {
            cluster.start_worker(&format!("w{i}"), &[]);
        }
        cluster
    }

    /// One of which nothing runs yet.
    pub fn planned(coordinators: usize) -> Cluster {
        Cluster {
            dir: Dir::new(),
            coordinators: (1..=coordinators).map(Coordinator::new).collect(),
            workers: Vec::new(),
            slots: 4,
            coordinator_args: Vec::new(),
            env: Vec::new(),
            coordinator_env: Vec::new(),
        }
    }

    /// Environment variables of every coordinator that is started from now on.
    pub fn set_coordinator_env(&mut self, env: &[(&str, &str)]) {
        self.coordinator_env = owned(env);
    }

    /// Starts the coordinators and waits for a leader.
    pub async fn begin(&mut self) {
        for i in 0..self.coordinators.len() {
            self.start_coordinator(i);
        }
        self.leader().await;
    }

    /// Every coordinator's address, as `--join` and `-C` take them.
    pub fn addresses(&self) -> String {
        let addresses: Vec<_> = self
            .coordinators
            .iter()
            .map(|c| c.address.as_str())
            .collect();
        addresses.join(",")
    }

    /// What every coordinator has beside its name and addresses.
    fn as_coordinator(&self, mut sterna: Sterna) -> Sterna {
        for arg in &self.coordinator_args {
            sterna = sterna.args(&[arg]);
        }
        for (key, value) in &self.coordinator_env {
            sterna = sterna.env(key, value);
        }
        self.with_cluster_env(sterna)
    }

    fn with_cluster_env(&self, mut sterna: Sterna) -> Sterna {
        for (key, value) in &self.env {
            sterna = sterna.env(key, value);
        }
        sterna
    }

    /// Starts (or restarts on its data) the coordinator at `index`.
    pub fn start_coordinator(&mut self, index: usize) {
        let all = self.addresses();
        let expect = self.coordinators.len().to_string();
        let coordinator = &self.coordinators[index];
        let data = self.dir.file(&coordinator.name);
        let sterna = match &coordinator.netns {
            Some(netns) => Sterna::within(netns, self.dir.path(), &["coordinator"]),
            None => Sterna::new(self.dir.path(), &["coordinator"]),
        };
        let sterna = sterna
            .args(&["--name", &coordinator.name, "--data-dir", &data])
            .args(&[
                "--listen",
                &coordinator.address,
                "--http",
                &coordinator.http,
            ])
            .args(&["--join", &all, "--bootstrap-expect", &expect])
            .named(&coordinator.name);
        let process = self.as_coordinator(sterna).spawn();
        self.coordinators[index].process = Some(process);
    }

    /// Starts one more coordinator that waits to be added; its address.
    pub async fn add_coordinator(&mut self) -> String {
        let index = self.coordinators.len();
        let new = Coordinator::new(index + 1);
        let (data, all) = (self.dir.file(&new.name), self.addresses());
        let sterna = Sterna::new(self.dir.path(), &["coordinator"])
            .args(&["--name", &new.name, "--data-dir", &data])
            .args(&["--listen", &new.address, "--http", &new.http])
            .args(&["--join", &all, "--bootstrap-expect", "0"])
            .named(&new.name);
        let process = self.as_coordinator(sterna).spawn();
        self.coordinators.push(new);
        self.coordinators[index].process = Some(process);
        let http = &self.coordinators[index].http;
        until("it to listen", secs(20), || http_get(http, "/healthz")).await;
        self.coordinators[index].address.clone()
    }

    /// Adds a worker; `env` is its own.
    pub fn start_worker(&mut self, name: &str, env: &[(&str, &str)]) {
        let slots = self.slots.to_string();
        let all = self.addresses();
        let args = ["worker", "--name", name, "--join", &all, "--slots", &slots];
        let mut sterna = self.with_cluster_env(Sterna::new(self.dir.path(), &args).named(name));
        for (key, value) in env {
            sterna = sterna.env(key, value);
        }
        self.workers.push(sterna.spawn());
    }

    /// The worker process of that name.
    pub fn worker(&mut self, name: &str) -> &mut Running {
        let found = self.workers.iter_mut().find(|worker| worker.name == name);
        found.unwrap_or_else(|| panic!("there is no worker {name}"))
    }

    /// `sterna ARGS… -C all coordinators`.
    pub fn sterna(&self, args: &[&str]) -> Sterna {
        Sterna::new(self.dir.path(), args).args(&["-C", &self.addresses()])
    }

    /// The answer of a command as JSON; None if it failed.
    pub async fn try_json(&self, args: &[&str]) -> Option<Value> {
        let finished = self.sterna(args).args(&["-o", "json"]).run().await;
        if finished.code != 0 {
            return None;
        }
        serde_json::from_str(&finished.stdout).ok()
    }

    /// The answer of a command as JSON.
    pub async fn json(&self, args: &[&str]) -> Value {
        let finished = self.sterna(args).args(&["-o", "json"]).ok().await;
        finished.json()
    }

    /// The name of the leader, asked of `address` alone.
    pub async fn leader_by(&self, address: &str) -> Option<String> {
        let args = [
            "operator",
            "raft",
            "list-peers",
            "-o",
            "json",
            "-C",
            address,
        ];
        let finished = Sterna::new(self.dir.path(), &args).run().await;
        let peers: Value = serde_json::from_str(&finished.stdout).ok()?;
        let peers = peers["peers"].as_array()?;
        let leader = peers.iter().find(|peer| peer["state"] == "leader")?;
        leader["name"].as_str().map(str::to_owned)
    }

    /// The name of the leader, by the first running coordinator that knows one which runs.
    pub async fn leader_now(&self) -> Option<String> {
        for coordinator in self.coordinators.iter().filter(|c| c.process.is_some()) {
            if let Some(name) = self.leader_by(&coordinator.address).await
                && self
                    .index_of(&name)
                    .is_some_and(|i| self.coordinators[i].process.is_some())
            {
                return Some(name);
            }
        }
        None
    }

    /// The name of the leader, once there is one.
    pub async fn leader(&self) -> String {
        until("a leader", secs(30), || self.leader_now()).await
    }

    pub fn index_of(&self, name: &str) -> Option<usize> {
        self.coordinators.iter().position(|c| c.name == name)
    }

    /// `kill -9` of the leader; how long it took until list-peers named another one.
    pub async fn kill_leader(&mut self) -> (String, Duration) {
        let old = self.leader().await;
        let index = self.index_of(&old).expect("the leader is one of ours");
        let mut process = self.coordinators[index].process.take().expect("it runs");
        let killed = Instant::now();
        process.kill().await;
        let this = &*self;
        let gone = old.as_str();
        until("a new leader", secs(30), || async move {
            this.leader_now().await.filter(|name| name != gone)
        })
        .await;
        (old, killed.elapsed())
    }

    /// Waits until that many workers are live.
    pub async fn until_workers(&self, count: usize) {
        until("the workers to join", secs(30), || async {
            let list = self.try_json(&["node", "list"]).await?;
            let workers = list["workers"].as_array()?;
            let live = workers.iter().filter(|worker| worker["health"] == "live");
            (live.count() >= count).then_some(())
        })
        .await;
    }

    /// Waits until the members are as `condition` wants them.
    pub async fn until_peers(&self, what: &str, condition: impl Fn(&[Value]) -> bool) {
        let condition = &condition;
        until(what, secs(30), || async move {
            let list = self.try_json(&["operator", "raft", "list-peers"]).await?;
            condition(list["peers"].as_array()?).then_some(())
        })
        .await;
    }

    /// Writes a job file and submits it.
    pub async fn apply(&self, name: &str, source: &str, target: &str, more: &str) -> Finished {
        let file = self.job_file(name, source, target, more);
        self.sterna(&["apply", "-f", &file]).run().await
    }

    /// A job file of these endpoints; `more` is further TOML for its end.
    pub fn job_file(&self, name: &str, source: &str, target: &str, more: &str) -> String {
        let path = self.dir.file(&format!("{name}.toml"));
        let text = format!(
            "version = 1\nname = \"{name}\"\n[source]\nurl = \"{source}\"\n[target]\nurl = \"{target}\"\n{more}\n"
        );
        std::fs::write(&path, text).expect("writable");
        path
    }

    pub async fn status(&self, job: &str) -> Value {
        self.json(&["status", "-j", job]).await
    }

    /// Polls the status until `condition` holds.
    pub async fn until_status(
        &self,
        job: &str,
        what: &str,
        deadline: Duration,
        condition: impl Fn(&Value) -> bool,
    ) -> Value {
        let condition = &condition;
        until(what, deadline, || async move {
            let status = self.try_json(&["status", "-j", job]).await?;
            condition(&status).then_some(status)
        })
        .await
    }

    /// `sterna wait -j JOB --for Completed`.
    pub async fn wait_completed(&self, job: &str, deadline: Duration) -> Finished {
        let timeout = format!("{}s", deadline.as_secs());
        let args = [
            "wait",
            "-j",
            job,
            "--for",
            "completed",
            "--timeout",
            &timeout,
        ];
        self.sterna(&args).run().await
    }

    /// The events of a job, oldest first.
    pub async fn events(&self, job: &str) -> Vec<Value> {
        let finished = self.sterna(&["events", "-j", job, "-o", "json"]).ok().await;
        let parse = |line: &str| -> Value {
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in event {line}"))
        };
        finished
            .stdout
            .lines()
            .filter(|line| !line.is_empty())
            .map(parse)
            .collect()
    }

    /// Everything any process of the cluster and any command wrote, for secrets.
    pub fn everything_written(&self) -> Vec<(String, Vec<u8>)> {
        let mut found = Vec::new();
        let mut dirs = vec![self.dir.path().to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).expect("readable").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    dirs.push(path);
                } else if let Ok(bytes) = std::fs::read(&path) {
                    found.push((path.display().to_string(), bytes));
                }
            }
        }
        found
    }
}

fn owned(env: &[(&str, &str)]) -> Vec<(String, String)> {
    let pairs = env.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

impl Coordinator {
    fn new(number: usize) -> Coordinator {
        Coordinator {
            name: format!("c{number}"),
            address: format!("127.0.0.1:{}", free_port()),
            http: format!("127.0.0.1:{}", free_port()),
            netns: None,
            process: None,
        }
    }
}

/// A GET without any library: (status, body).
pub async fn http_get(address: &str, path: &str) -> Option<(u16, String)> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split_whitespace().nth(1)?.parse().ok()?;
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned());
    Some((status, body.unwrap_or_default()))
}
