//! A scene: two servers, a cluster, a job that stands at a phase, and the judgement at its end. Which
//! fault strikes is not its business: see `kinds`.

use std::time::{Duration, Instant, SystemTime};

use super::judge;
use super::phase::Phase;
pub use super::pool::{Engine, Servers};
use super::props::{self, Props, Wanted};
use super::{dataset, pool};
use crate::harness::cluster::Cluster;
use crate::harness::lab::Database;
use crate::harness::process::read;
use crate::harness::proxy::Proxy;
use crate::harness::wait::{secs, until};

/// The job's name.
pub const JOB: &str = "shop";
/// Shorter than usual, so that thousands of runs are possible; what measures uses the default.
const LEASE_MS: &str = "2000";
/// From its submission, or from the end of the disturbance, to the end of a job.
const DONE: Duration = Duration::from_secs(120);

/// A scene that is being put together.
#[derive(Clone)]
pub struct Builder {
    engine: Engine,
    coordinators: usize,
    workers: usize,
    hold: Option<(Phase, u64)>,
    nth: u32,
    armed: Vec<(String, String)>,
    proxies: bool,
    wanted: Wanted,
}

/// A job under way.
pub struct Scene {
    /// First, so that the cluster's directory can be removed: nothing is mounted there any more.
    pub props: Props,
    pub engine: Engine,
    /// The job's name.
    pub job: String,
    pub cluster: Cluster,
    /// As the test reaches them: past the proxies.
    pub source: Database,
    pub target: Database,
    /// As the job knows them.
    urls: (String, String),
    pub servers: Servers,
    /// Between the workers and the source, where it was asked for.
    pub to_source: Option<Proxy>,
    pub to_target: Option<Proxy>,
    pub phase: Option<Phase>,
    content: String,
    started: Instant,
    struck_ms: Option<u64>,
    /// The servers don't go back into the pool.
    own_target: bool,
}

/// What a scene measured.
#[derive(Clone, Debug)]
pub struct Report {
    pub redone: u64,
    pub partitions: u64,
    pub wall: Duration,
    /// See `judge::recovery`.
    pub recovery: Option<Duration>,
}

impl Builder {
    /// 1 or 3.
    pub fn coordinators(mut self, count: usize) -> Builder {
        self.coordinators = count;
        self
    }

    pub fn workers(mut self, count: usize) -> Builder {
        self.workers = count;
        self
    }

    /// Every worker stands at the phase's points for so long, once each.
    pub fn hold(mut self, phase: Phase, ms: u64) -> Builder {
        self.hold = Some((phase, ms));
        self
    }

    /// At which pass through the point the phase is held, for points that are passed per partition.
    pub fn nth(mut self, nth: u32) -> Builder {
        self.nth = nth;
        self
    }

    /// Further faults of one worker, as STERNA_FAULT takes them.
    pub fn worker_env(mut self, worker: &str, fault: &str) -> Builder {
        self.armed.push((worker.to_owned(), fault.to_owned()));
        self
    }

    /// Workers reach the databases through proxies.
    pub fn through_proxies(mut self, yes: bool) -> Builder {
        self.proxies = yes;
        self
    }

    /// What it has beside its servers.
    pub fn with(mut self, wanted: Wanted) -> Builder {
        self.wanted = wanted;
        self
    }

    /// Starts everything and submits the job; None when MySQL 9 is off.
    pub async fn start(self) -> Option<Scene> {
        let mut cluster = Cluster::planned(self.coordinators);
        let props = Props::make(self.wanted, &mut cluster)?;
        let mut lent = pool::lend(self.engine, cluster.dir.path()).await?;
        let own_target = props.swap_target(self.engine, &mut lent).await;
        let target = match self.engine {
            Engine::Sqlite => {
                let path = match &props.target_disk {
                    Some(disk) => disk.path().join("target.db").display().to_string(),
                    None => cluster.dir.file("target.db"),
                };
                Database {
                    kind: self.engine.kind(),
                    url: format!("sqlite:{path}"),
                    name: path,
                }
            }
            _ => lent.target(&pool::fresh_name()).await,
        };
        let limits = ["--lease-ms", LEASE_MS];
        cluster.coordinator_args = limits.map(str::to_owned).to_vec();
        cluster.begin().await;
        for i in 1..=self.workers {
            let name = format!("w{i}");
            let fault = self.faults_of(&name);
            cluster.start_worker(&name, &[("STERNA_FAULT", &fault)]);
        }
        cluster.until_workers(self.workers).await;
        let mut scene = Scene {
            engine: self.engine,
            job: JOB.to_owned(),
            urls: (String::new(), String::new()),
            cluster,
            source: lent.source,
            target,
            to_source: None,
            to_target: None,
            phase: self.hold.map(|(phase, _)| phase),
            content: lent.content,
            started: Instant::now(),
            struck_ms: None,
            own_target,
            props,
            servers: lent.servers,
        };
        self.submit(&mut scene).await;
        Some(scene)
    }

    async fn submit(&self, scene: &mut Scene) {
        let (mut source, mut target) = (scene.source.url.clone(), scene.target.url.clone());
        if self.proxies
            && let (Some(from), Some(to)) = (&scene.servers.source, &scene.servers.target)
        {
            let (a, b) = (Proxy::to(from.port()).await, Proxy::to(to.port()).await);
            source = source.replace(&from.port().to_string(), &a.port.to_string());
            target = target.replace(&to.port().to_string(), &b.port.to_string());
            (scene.to_source, scene.to_target) = (Some(a), Some(b));
        }
        if self.wanted.user
            && let (Some(from), Some(to)) = (&scene.servers.source, &scene.servers.target)
        {
            props::make_user((from, &scene.source), (to, &scene.target)).await;
            source = props::as_user(&source, &scene.cluster);
            target = props::as_user(&target, &scene.cluster);
        }
        scene.urls = (source, target);
        scene.started = Instant::now();
        scene.apply(None).await;
    }

    fn faults_of(&self, worker: &str) -> String {
        let mut all = Vec::new();
        if let Some((phase, ms)) = self.hold {
            let points = phase.points().iter();
            all.extend(points.map(|point| format!("{point}=stall:{ms}@{}", self.nth)));
        }
        let own = self.armed.iter().filter(|(name, _)| name == worker);
        all.extend(own.map(|(_, fault)| fault.clone()));
        all.join(",")
    }
}

impl Scene {
    /// Submits the job.
    async fn apply(&self, mode: Option<&str>) {
        let mode = match mode {
            Some(mode) => format!("mode = \"{mode}\"\n"),
            None => String::new(),
        };
        // The target's table is the last one before what is added. Nothing is replayed: it is the
        // copying that is disturbed here, and a source that is written to must be noticed.
        let more = format!("{mode}[follow]\nmode = \"off\"\n{}", dataset::CHUNKS);
        let (source, target) = &self.urls;
        let applied = self.cluster.apply(&self.job, source, target, &more).await;
        applied.expect_ok();
    }

    /// The source was changed on purpose: what is to be copied is what it is now. The pair isn't
    /// used again.
    pub async fn source_changed(&mut self) {
        self.content = pool::content(&self.source).await;
        self.own_target = true;
    }

    /// What the page of an error tells: the job is cancelled, and a new one makes everything anew.
    pub async fn recreate(&mut self) {
        self.cluster.sterna(&["cancel", "-j", &self.job]).ok().await;
        let job = self.job.as_str();
        let cancelled = |status: &serde_json::Value| status["phase"] == "Cancelled";
        self.cluster
            .until_status(job, "its end", DONE, cancelled)
            .await;
        self.job = format!("{}-again", self.job);
        self.apply(Some("recreate")).await;
    }

    pub fn builder(engine: Engine) -> Builder {
        Builder {
            engine,
            coordinators: 3,
            workers: 2,
            hold: None,
            nth: 1,
            armed: Vec::new(),
            proxies: false,
            wanted: Wanted::default(),
        }
    }

    /// Waits until a worker stands at the phase's point; its name.
    pub async fn reached(&self) -> String {
        let points = self.phase.expect("the scene holds a phase").points();
        let marks: Vec<String> = points.iter().map(ToString::to_string).collect();
        let marks: Vec<&str> = marks.iter().map(String::as_str).collect();
        self.reached_one_of(&marks, &[]).await
    }

    /// Waits until a process that isn't one of `but` says that it stands at one of the points.
    pub async fn reached_one_of(&self, points: &[&str], but: &[&str]) -> String {
        let coordinators = self.cluster.coordinators.iter();
        let coordinators = coordinators.filter_map(|c| c.process.as_ref());
        let processes: Vec<_> = self.cluster.workers.iter().chain(coordinators).collect();
        until(&format!("a process at {points:?}"), secs(60), || async {
            let stands = |path| {
                let said = read(path);
                let mut lines = said.lines().filter(|line| line.contains("fault point"));
                lines.any(|line| points.iter().any(|point| line.contains(point)))
            };
            let others = processes.iter().filter(|p| !but.contains(&p.name.as_str()));
            let found = { others }.find(|p| stands(&p.stderr) || stands(&p.stdout));
            found.map(|process| process.name.clone())
        })
        .await
    }

    /// Waits until another process than `first` stands at the point; None = the job completed
    /// without.
    pub async fn reached_again(&self, first: &str) -> Option<String> {
        let points = self.phase.expect("the scene holds a phase").points();
        until("another worker at the point", DONE, || async {
            let others = self.cluster.workers.iter().filter(|w| w.name != first);
            let stands = |said: String| {
                let mut lines = said.lines().filter(|line| line.contains("fault point"));
                lines.any(|line| points.iter().any(|point| line.contains(point.as_str())))
            };
            let found = { others }.find(|w| stands(w.err()) || stands(w.out()));
            if let Some(worker) = found {
                return Some(Some(worker.name.clone()));
            }
            let status = self.cluster.try_json(&["status", "-j", &self.job]).await?;
            (status["phase"] == "Completed").then_some(None)
        })
        .await
    }

    /// To be called when the fault strikes: recovery is measured from here.
    pub fn mark_strike(&mut self) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let ms = now.expect("after 1970").as_millis();
        self.struck_ms = Some(u64::try_from(ms).unwrap_or(u64::MAX));
    }

    /// The job completes, and everything is as it should be.
    pub async fn finish(self) -> Report {
        let finished = self.cluster.wait_completed(&self.job, DONE).await;
        if finished.code != 0 {
            let status = self.cluster.status(&self.job).await;
            panic!("{finished}\n{status:#}");
        }
        let wall = self.started.elapsed();
        let status = self.cluster.status(&self.job).await;
        let events = self.cluster.events(&self.job).await;
        judge::status(&status);
        judge::same_everywhere(&self.cluster, &self.job).await;
        judge::events(&status, &events);
        judge::databases(&self.source, &self.target).await;
        assert_eq!(
            pool::content(&self.source).await,
            self.content,
            "the source was changed"
        );
        pool::assert_clean(&self.servers, &self.source, &self.target).await;
        let report = Report {
            redone: status["partitions"]["redone"].as_u64().expect("a count"),
            partitions: status["partitions"]["total"].as_u64().expect("a count"),
            wall,
            recovery: self.struck_ms.and_then(|ms| judge::recovery(&events, ms)),
        };
        let lent = pool::Lent {
            servers: self.servers,
            source: self.source,
            content: self.content,
            engine: self.engine,
        };
        match self.own_target {
            true => drop(lent),
            false => lent.give_back(&self.target).await,
        }
        report
    }

    /// The job stops with this error's code; `resume` goes on when its cause is gone.
    pub async fn expect_stopped(&self, code: &str) -> serde_json::Value {
        let status = self
            .cluster
            .until_status(&self.job, "the job to stop", DONE, |status| {
                ["Failed", "Completed", "Cancelled"]
                    .iter()
                    .any(|end| status["phase"] == *end)
            });
        let status = status.await;
        assert_eq!(status["phase"], "Failed", "{status:#}");
        assert_eq!(status["failure"]["code"], code, "{status:#}");
        status
    }

    /// The user's command after the cause was removed.
    pub async fn resume(&self) {
        self.cluster.sterna(&["resume", "-j", &self.job]).ok().await;
    }
}
