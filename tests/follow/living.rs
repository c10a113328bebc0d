//! A living scene: two servers of the test's own, a workload at the source, a cluster with a job
//! that follows it, the auditor at the target, and the judgement at the end. What goes wrong
//! meanwhile is not its business.

use std::fmt;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::ends;
use crate::faults::pool::{Engine, Server};
use crate::harness::cluster::Cluster;
use crate::harness::disk::Disk;
use crate::harness::lab::{Database, Kind};
use crate::harness::oracle::values;
use crate::harness::process::{Finished, Running};
use crate::harness::proxy::Proxy;
use crate::harness::wait::{self, secs};
use crate::harness::workload::audit::{Auditor, Findings};
use crate::harness::workload::{Options, Tally, Workload, fill, until_arrived};

/// The job's name.
pub const JOB: &str = "living";
/// Shorter than usual, so that many runs are possible.
const LEASE_MS: &str = "2000";
const CHUNKS: &str = "[chunk]\npartition_bytes = \"128KiB\"\nbucket_bytes = \"32KiB\"\n";
/// For every single wait.
pub const DONE: Duration = Duration::from_secs(150);
const ENDS: [&str; 3] = ["Failed", "Completed", "Cancelled"];

/// A scene that is being put together.
#[derive(Clone)]
pub struct Set {
    from: Engine,
    to: Engine,
    coordinators: usize,
    workers: usize,
    armed: Vec<(String, String)>,
    proxies: bool,
    target_disk: bool,
    drift: &'static str,
    options: Options,
    before: fn(&Database) -> Vec<&'static str>,
    durable: bool,
}

/// A job under way, with everything it has.
pub struct Living {
    pub cluster: Cluster,
    pub from: Engine,
    pub to: Engine,
    pub source_server: Option<Server>,
    pub target_server: Option<Server>,
    pub source: Database,
    pub target: Database,
    pub to_source: Option<Proxy>,
    pub to_target: Option<Proxy>,
    pub disk: Option<Disk>,
    workload: Option<Workload>,
    auditor: Option<Auditor>,
    started: Instant,
    /// Its servers don't go back into the pool.
    spoilt: bool,
}

/// What a scene measured.
#[derive(Clone, Debug)]
pub struct Seen {
    pub committed: u64,
    pub looks: u64,
    pub unanswered: u64,
    pub until_arrived: Duration,
    pub wall: Duration,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} transactions, all there {:.1} s after the last; {} looks, {} unanswered; {:.1} s",
            self.committed,
            self.until_arrived.as_secs_f64(),
            self.looks,
            self.unanswered,
            self.wall.as_secs_f64()
        )
    }
}

impl Set {
    pub fn new(from: Engine, to: Engine) -> Set {
        Set {
            from,
            to,
            coordinators: 1,
            workers: 2,
            armed: Vec::new(),
            proxies: false,
            target_disk: false,
            drift: "stop",
            options: Options::new(1),
            before: |_| Vec::new(),
            durable: false,
        }
    }

    pub fn coordinators(mut self, count: usize) -> Set {
        self.coordinators = count;
        self
    }

    pub fn workers(mut self, count: usize) -> Set {
        self.workers = count;
        self
    }

    pub fn seed(mut self, seed: u64) -> Set {
        self.options.seed = seed;
        self
    }

    pub fn drift(mut self, drift: &'static str) -> Set {
        self.drift = drift;
        self
    }

    /// A fault of one worker, as STERNA_FAULT takes it.
    pub fn armed(mut self, worker: &str, fault: &str) -> Set {
        self.armed.push((worker.to_owned(), fault.to_owned()));
        self
    }

    pub fn through_proxies(mut self) -> Set {
        self.proxies = true;
        self
    }

    /// The target lies on a small disk.
    pub fn target_disk(mut self) -> Set {
        self.target_disk = true;
        self
    }

    /// Servers of its own, which lose nothing when the machine does.
    pub fn durable(mut self) -> Set {
        self.durable = true;
        self
    }

    /// Statements at the source before anything starts.
    pub fn before(mut self, statements: fn(&Database) -> Vec<&'static str>) -> Set {
        self.before = statements;
        self
    }

    /// Starts everything but the job; None when it can't be had here, which was said aloud.
    pub async fn stage(&self) -> Option<Living> {
        let mut cluster = Cluster::planned(self.coordinators);
        let disk = match self.target_disk {
            true => Some(Disk::mount(&cluster.dir.path().join("disk"))?),
            false => None,
        };
        let source_server = match self.durable {
            true => ends::durable(self.from, true).await,
            false => ends::lend(self.from).await?,
        };
        let target_server = match (&disk, self.durable) {
            (Some(disk), _) => ends::on_disk(self.to, disk).await,
            (None, true) => ends::durable(self.to, false).await,
            (None, false) => ends::lend(self.to).await?,
        };
        let source =
            ends::database(self.from, source_server.as_ref(), &cluster, "source", None).await;
        let target = ends::database(
            self.to,
            target_server.as_ref(),
            &cluster,
            "target",
            disk.as_ref(),
        )
        .await;
        fill(&source, self.options).await;
        let before = (self.before)(&source);
        if !before.is_empty() {
            source.exec(&before).await;
        }
        cluster.coordinator_args = ["--lease-ms", LEASE_MS].map(str::to_owned).to_vec();
        cluster.begin().await;
        for i in 1..=self.workers {
            let name = format!("w{i}");
            let own = self.armed.iter().filter(|(worker, _)| *worker == name);
            let faults: Vec<&str> = own.map(|(_, fault)| fault.as_str()).collect();
            cluster.start_worker(&name, &[("STERNA_FAULT", &faults.join(","))]);
        }
        cluster.until_workers(self.workers).await;
        let mut living = Living {
            cluster,
            from: self.from,
            to: self.to,
            source_server,
            target_server,
            source,
            target,
            to_source: None,
            to_target: None,
            spoilt: self.target_disk || self.durable,
            disk,
            workload: None,
            auditor: None,
            started: Instant::now(),
        };
        if self.proxies {
            living.to_source = ends::proxy(living.source_server.as_ref()).await;
            living.to_target = ends::proxy(living.target_server.as_ref()).await;
        }
        Some(living)
    }

    /// The same, the workload and the job; the workload runs before the job does.
    pub async fn start(&self) -> Option<Living> {
        let mut living = self.stage().await?;
        let workload = Workload::start(&living.source, self.options).await;
        workload.until_more(40).await;
        living.workload = Some(workload);
        living.apply(self.drift).await.expect_ok();
        Some(living)
    }

    /// Without a workload: the job has caught up with a source at rest, and nobody audits.
    pub async fn caught_up_quietly(&self) -> Option<Living> {
        let living = self.stage().await?;
        living.apply(self.drift).await.expect_ok();
        living.until_following().await;
        Some(living)
    }

    /// The same, and the job has caught up.
    pub async fn caught_up(&self) -> Option<Living> {
        let mut living = self.start().await?;
        living.until_caught_up().await;
        Some(living)
    }
}

impl Living {
    /// Submits the job.
    pub async fn apply(&self, drift: &str) -> Finished {
        let (mut source, mut target) = (self.source.url.clone(), self.target.url.clone());
        let swap = |url: &mut String, server: &Option<Server>, proxy: &Option<Proxy>| {
            if let (Some(server), Some(proxy)) = (server, proxy) {
                *url = url.replace(&server.port().to_string(), &proxy.port.to_string());
            }
        };
        swap(&mut source, &self.source_server, &self.to_source);
        swap(&mut target, &self.target_server, &self.to_target);
        let more = format!("[follow]\nmode = \"live\"\ndrift = \"{drift}\"\n{CHUNKS}");
        self.cluster.apply(JOB, &source, &target, &more).await
    }

    pub fn workload(&self) -> &Workload {
        self.workload.as_ref().expect("it runs")
    }

    pub fn worker(&mut self, name: &str) -> &mut Running {
        self.cluster.worker(name)
    }

    pub fn source_server(&mut self) -> &mut Server {
        self.source_server
            .as_mut()
            .expect("an engine with a server")
    }

    pub fn target_server(&mut self) -> &mut Server {
        self.target_server
            .as_mut()
            .expect("an engine with a server")
    }

    /// The servers were changed in a way that isn't taken back.
    pub fn spoil(&mut self) {
        self.spoilt = true;
    }

    pub async fn status(&self) -> Option<Value> {
        self.cluster.try_json(&["status", "-j", JOB]).await
    }

    /// Polls the status until it is as wanted; a job that has ended never will be.
    pub async fn until(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        let mut last = Value::Null;
        while started.elapsed() < DONE {
            if let Some(status) = self.status().await {
                if condition(&status) {
                    return status;
                }
                last = status;
                let ended = ENDS.iter().any(|end| last["phase"] == *end);
                assert!(!ended, "no {what}, the job ended: {last:#}");
            }
            crate::harness::wait::pause(Duration::from_millis(100)).await;
        }
        panic!("waited {DONE:?} in vain for {what}: {last:#}");
    }

    /// The same for a job that may have stopped.
    pub async fn status_when(&self, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
        let condition = &condition;
        wait::until(what, DONE, || async {
            self.status().await.filter(|status| condition(status))
        })
        .await
    }

    /// From now on the target shows whole transactions only: the auditor starts.
    pub async fn until_caught_up(&mut self) {
        self.until_following().await;
        self.auditor = Some(Auditor::start(&self.target));
    }

    async fn until_following(&self) {
        self.until("catch-up", |status| {
            status["phase"] == "Following" && status["follow"]["caught_up"] == true
        })
        .await;
    }

    /// The worker that has the follow task now.
    pub async fn follower(&self) -> String {
        wait::until("a worker that follows", secs(60), || async {
            let events = self.cluster.events(JOB).await;
            let given =
                |event: &&Value| event["event"] == "task_assigned" && event["kind"] == "follow";
            let last = events.iter().rev().find(given)?;
            let list = self.cluster.try_json(&["node", "list"]).await?;
            let mut workers = list["workers"].as_array()?.iter();
            let worker = workers.find(|worker| worker["id"] == last["worker"])?;
            worker["name"].as_str().map(str::to_owned)
        })
        .await
    }

    /// The workload goes on for a while.
    pub async fn live_on(&self, transactions: u64) {
        self.workload().until_more(transactions).await;
    }

    /// The workload ends; the target gets everything, and equals the source. What went on is told.
    pub async fn settle(&mut self) -> (Seen, Tally) {
        let workload = self.workload.take().expect("it runs");
        let (acknowledged, tally) = workload.stop().await;
        let stopped = Instant::now();
        let arriving = until_arrived(&self.target, &acknowledged, DONE);
        self.or_end(arriving).await;
        let until_arrived = stopped.elapsed();
        // Every session's last transaction is there; what came after it and isn't counted (a rolled
        // back one, an addition of the test's own) shows no trace, or shows in the lag.
        self.until("no lag", |status| status["follow"]["lag_ms"] == 0)
            .await;
        self.assert_same().await;
        let found = match self.auditor.take() {
            Some(auditor) => auditor.assert_clean(3).await,
            None => Findings::default(),
        };
        let seen = Seen {
            committed: acknowledged.iter().sum(),
            looks: found.looks,
            unanswered: found.unanswered,
            until_arrived,
            wall: self.started.elapsed(),
        };
        (seen, tally)
    }

    /// Waits for `what`; a job that has ended meanwhile is told.
    async fn or_end(&self, what: impl Future<Output = ()>) {
        let ended = self.until("", |status| ENDS.iter().any(|end| status["phase"] == *end));
        tokio::select! {
            () = what => {}
            status = ended => panic!("the job ended: {status:#}"),
        }
    }

    /// The two ends are equal, but for what we keep there while the job lasts.
    pub async fn assert_same(&self) {
        let mut found = values::differences(&self.source, &self.target, &[]).await;
        found.retain(|line| !line.starts_with("sterna"));
        assert!(found.is_empty(), "{}", found.join("\n"));
    }

    /// The user's command; the job ends with an exact copy and nothing of ours is left anywhere.
    pub async fn complete(self) {
        self.cluster.sterna(&["complete", "-j", JOB]).ok().await;
        let finished = self.cluster.wait_completed(JOB, DONE).await;
        if finished.code != 0 {
            panic!("{finished}\n{:#}", self.cluster.status(JOB).await);
        }
        let status = self.cluster.status(JOB).await;
        assert_eq!(status["phase"], "Completed", "{status:#}");
        assert_eq!(status["verified"], true, "{status:#}");
        values::assert_same(&self.source, &self.target, &[]).await;
        self.end().await;
    }

    /// The user gives up: the target keeps its rows, nothing of ours is left.
    pub async fn cancel(self) {
        self.cluster.sterna(&["cancel", "-j", JOB]).ok().await;
        let cancelled = |status: &Value| status["phase"] == "Cancelled";
        self.until("the end", cancelled).await;
        self.end().await;
    }

    /// No job of this cluster ran: what another command left is looked for.
    pub async fn discard(self) {
        self.end().await;
    }

    async fn end(mut self) {
        if let Some(workload) = self.workload.take() {
            workload.stop().await;
        }
        if let Some(auditor) = self.auditor.take() {
            auditor.assert_clean(0).await;
        }
        ends::clean(self.source_server.as_ref(), &self.source).await;
        ends::clean(self.target_server.as_ref(), &self.target).await;
        if self.spoilt {
            return;
        }
        let both = [
            (self.from, self.source_server.take(), &self.source),
            (self.to, self.target_server.take(), &self.target),
        ];
        // The cluster first: its sessions keep a database from being dropped.
        drop(self.cluster);
        for (engine, server, database) in both {
            ends::give_back(engine, server, database).await;
        }
    }

    /// The job stops with this error; its position is kept.
    pub async fn until_stopped(&self, code: &str) -> Value {
        let stopped = |status: &Value| ENDS.iter().any(|end| status["phase"] == *end);
        let status = self.until("a stop", stopped).await;
        assert_eq!(status["phase"], "Failed", "{status:#}");
        assert_eq!(status["failure"]["code"], code, "{status:#}");
        status
    }

    /// Waits until a worker's log has the word in it.
    pub async fn until_says(&self, word: &str) {
        let workers = &self.cluster.workers;
        wait::until(word, secs(60), || async {
            let says = |text: String| text.contains(word);
            let mut said = workers.iter().map(|w| says(w.err()) || says(w.out()));
            said.any(|said| said).then_some(())
        })
        .await;
    }

    /// A transaction of `branch` that the source has prepared and nobody has ended.
    pub async fn prepare(&self, name: &str, row: u32) {
        let insert = format!("INSERT INTO branch VALUES ({row}, '{name}')");
        let statements = match self.source.kind {
            Kind::Postgres => vec![
                "BEGIN".to_owned(),
                insert,
                format!("PREPARE TRANSACTION 'app-{name}'"),
            ],
            _ => vec![
                format!("XA START 'app-{name}'"),
                insert,
                format!("XA END 'app-{name}'"),
                format!("XA PREPARE 'app-{name}'"),
            ],
        };
        self.source.exec(&statements).await;
    }

    /// `COMMIT` or `ROLLBACK` of such a one.
    pub async fn end_prepared(&self, how: &str, name: &str) {
        let statement = match self.source.kind {
            Kind::Postgres => format!("{how} PREPARED 'app-{name}'"),
            _ => format!("XA {how} 'app-{name}'"),
        };
        self.source.exec(&[statement]).await;
    }

    pub async fn resume(&self) {
        self.cluster.sterna(&["resume", "-j", JOB]).ok().await;
    }
}
