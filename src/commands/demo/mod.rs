//! `sterna demo`: sample data, a cluster of processes, two kills in the middle of the copy, and a
//! proof of the result that shares no code with the copier. Exit 0 only if source = target.

mod cluster;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::code::{Code, Failure};
use common::job::{Endpoint, JobSpec};
use common::state::Phase;
use common::status::JobStatus;
use proto::v1;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use worker::connector::demo::{TableProof, create, proof};

use crate::cli::{DemoArgs, Global, Output};
use crate::client::{Admin, Client, new_uid};
use crate::error::{Result, io};
use crate::output;
use crate::signals::Signals;
use cluster::Cluster;

const JOB: &str = "demo";
const POLL: Duration = Duration::from_millis(40);
const DEADLINE: Duration = Duration::from_secs(600);
/// Of the partitions, in percent, when each kill happens.
const KILL_WORKER_AT: u32 = 15;
const KILL_LEADER_AT: u32 = 45;
/// The exit status of a proof that failed.
const NOT_EQUAL: u8 = 22;

pub async fn run(args: DemoArgs, global: &Global, mut signals: Signals) -> Result<u8> {
    let dir = std::env::temp_dir().join(format!("sterna-demo-{}", std::process::id()));
    std::fs::create_dir_all(&dir).map_err(|error| io(Code::Internal, dir.display(), &error))?;
    let demo = Demo {
        dir: dir.clone(),
        started: Instant::now(),
        quiet: global.quiet,
    };
    let result = tokio::select! {
        result = demo.play(&args, global) => result,
        stop = signals.stop() => Ok(stop.exit()),
    };
    let keep = args.keep || matches!(&result, Err(_) | Ok(NOT_EQUAL));
    match keep {
        true => output::note(
            false,
            &format!("databases and logs are in {}", dir.display()),
        ),
        // What can't be removed is in the system's folder for such things.
        false => drop(std::fs::remove_dir_all(&dir)),
    }
    result
}

struct Demo {
    dir: PathBuf,
    started: Instant,
    quiet: bool,
}

/// What happened on the way.
#[derive(Default)]
struct Story {
    worker: Option<String>,
    leader: Option<String>,
    failover: Option<Duration>,
}

impl Demo {
    fn say(&self, text: &str) {
        let at = self.started.elapsed().as_secs_f64();
        output::note(self.quiet, &format!("{at:6.1} s  {text}"));
    }

    async fn play(&self, args: &DemoArgs, global: &Global) -> Result<u8> {
        let (source, target) = (self.dir.join("source.db"), self.dir.join("target.db"));
        self.say(&format!(
            "making {} rows of sample data",
            output::count(args.rows.into())
        ));
        create(&source, args.rows).await.map_err(internal)?;
        self.say("starting 3 coordinators and 3 workers, a process each");
        let mut cluster = Cluster::start(&self.dir).await?;
        let played = self.migrate(&mut cluster, &source, &target).await;
        cluster.end().await;
        let (status, story) = played?;
        self.say("reading both databases with other code than the copier's");
        let before = proof(&source).await.map_err(internal)?;
        let after = proof(&target).await.map_err(internal)?;
        self.verdict(&before, &after, &status, &story, global)
    }

    async fn migrate(
        &self,
        cluster: &mut Cluster,
        source: &Path,
        target: &Path,
    ) -> Result<(JobStatus, Story)> {
        let client = Client::new(&cluster.addresses)?;
        let leader = leader(&client, None).await?;
        self.say(&format!("{leader} leads"));
        let endpoint = |path: &Path| Endpoint {
            url: format!("sqlite:{}", path.display()),
            password: None,
        };
        let mut spec = JobSpec::new(JOB, endpoint(source), endpoint(target));
        // Small, so that there is something to lose and to find again.
        spec.partition_bytes = 256 << 10;
        spec.bucket_bytes = 64 << 10;
        spec.split_bytes_min = 128 << 10;
        client.submit(&spec, &new_uid()).await?;
        let mut story = Story::default();
        let mut phase = None;
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline {
            let status = client.job(JOB).await?;
            if phase.replace(status.phase) != Some(status.phase) {
                self.say(&phase_line(&status));
            }
            match status.phase {
                Phase::Completed => return Ok((status, story)),
                Phase::Failed | Phase::Cancelled => {
                    let what = format!("the job is {}", status.phase);
                    let unknown = Failure::new(Code::Internal, what);
                    return Err(status.failure.unwrap_or(unknown));
                }
                Phase::Copying => self.disturb(&client, cluster, &status, &mut story).await?,
                _ => {}
            }
            sleep(POLL).await;
        }
        let what = format!("the job didn't end within {}", output::duration(DEADLINE));
        Err(Failure::new(Code::TimedOut, what))
    }

    /// Kills what is next to be killed, if its moment has come.
    async fn disturb(
        &self,
        client: &Client,
        cluster: &mut Cluster,
        status: &JobStatus,
        story: &mut Story,
    ) -> Result<()> {
        let counts = status.partitions;
        let percent = counts.committed * 100 / counts.total.max(1);
        if story.worker.is_none() && percent >= KILL_WORKER_AT {
            let Some(busy) = busy_worker(client).await? else {
                return Ok(());
            };
            cluster.kill(&busy).await?;
            self.say(&format!(
                "kill -9 {busy}, a worker that holds a partition ({} of {} committed)",
                counts.committed, counts.total
            ));
            story.worker = Some(busy);
        } else if story.leader.is_none() && percent >= KILL_LEADER_AT {
            let old = leader(client, None).await?;
            cluster.kill(&old).await?;
            let killed = Instant::now();
            self.say(&format!(
                "kill -9 {old}, the leader ({} of {} committed)",
                counts.committed, counts.total
            ));
            let new = leader(client, Some(&old)).await?;
            let failover = killed.elapsed();
            self.say(&format!("{new} leads after {}", output::duration(failover)));
            (story.leader, story.failover) = (Some(old), Some(failover));
        }
        Ok(())
    }

    fn verdict(
        &self,
        before: &[TableProof],
        after: &[TableProof],
        status: &JobStatus,
        story: &Story,
        global: &Global,
    ) -> Result<u8> {
        let equal = before == after && !before.is_empty();
        let exit = if equal { 0 } else { NOT_EQUAL };
        if global.output == Output::Json {
            let answer = json!({
                "api_version": common::status::API_VERSION,
                "equal": equal,
                "rows": before.iter().map(|table| table.rows).sum::<u64>(),
                "killed_worker": story.worker,
                "killed_leader": story.leader,
                "failover_ms": story.failover.map(|time| time.as_millis() as u64),
                "partitions": status.partitions,
                "exit_code": exit,
            });
            output::json(&answer)?;
            return Ok(exit);
        }
        let rows = before.iter().map(|table| compared(table, after)).collect();
        output::line(&output::table(&["TABLE", "#ROWS", "PROOF"], rows)).map(|()| exit)?;
        for extra in after
            .iter()
            .filter(|t| !before.iter().any(|b| b.table == t.table))
        {
            output::line(&format!("{} is at the target only", extra.table))?;
        }
        if story.worker.is_none() || story.leader.is_none() {
            self.say("the copy was too quick to be disturbed: try more --rows");
        }
        let redone = status.partitions.redone;
        output::line(&match equal {
            true => format!("\nsource = target. {redone} partitions were copied again."),
            false => "\nsource and target DIFFER.".to_owned(),
        })?;
        Ok(exit)
    }
}

fn compared(table: &TableProof, after: &[TableProof]) -> Vec<String> {
    let copy = after.iter().find(|copy| copy.table == table.table);
    let proof = match copy {
        None => "missing at the target".to_owned(),
        Some(copy) if copy == table => format!("source = target ({:016x})", table.hash),
        Some(copy) => format!("DIFFERENT: {} rows at the target", copy.rows),
    };
    vec![table.table.clone(), output::count(table.rows), proof]
}

fn phase_line(status: &JobStatus) -> String {
    match status.phase {
        Phase::Copying => format!(
            "Copying: {} partitions of {} tables, each by two-phase commit",
            status.partitions.total,
            status.tables.len()
        ),
        Phase::Completed => format!(
            "Completed: {} rows, {} partitions redone",
            output::count(status.rows_copied),
            status.partitions.redone
        ),
        phase => phase.to_string(),
    }
}

/// Who leads now; not `dead`, which others may still take for the leader.
async fn leader(client: &Client, dead: Option<&str>) -> Result<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer: Value = client
            .call(async |mut admin: Admin| admin.list_peers(v1::Empty {}).await)
            .await?;
        let peers = answer["peers"].as_array().into_iter().flatten();
        let mut leaders = peers.filter(|peer| peer["state"] == "leader");
        let name = leaders.find_map(|peer| peer["name"].as_str());
        match name {
            Some(name) if Some(name) != dead => return Ok(name.to_owned()),
            _ if Instant::now() > deadline => {
                return Err(Failure::new(Code::NoLeader, "no leader within 30 s"));
            }
            _ => sleep(POLL).await,
        }
    }
}

async fn busy_worker(client: &Client) -> Result<Option<String>> {
    let answer: Value = client
        .call(async |mut admin: Admin| admin.list_workers(v1::Empty {}).await)
        .await?;
    let workers = answer["workers"].as_array().into_iter().flatten();
    let mut busy = workers.filter(|worker| worker["slots_busy"].as_u64() > Some(0));
    let name = busy.find_map(|worker| worker["name"].as_str());
    Ok(name.map(str::to_owned))
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Internal, error.to_string())
}
