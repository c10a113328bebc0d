//! How fast the control plane is without databases: partitions assigned, prepared, decided and
//! committed through real coordinators (a process each, real gRPC, a real Raft log with fsync), by
//! simulated workers that answer at once. The leader is killed in the middle. Prints figures.
//!
//! `cargo bench --bench control_plane -- [PARTITIONS] [WORKERS] [VOTERS]`

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::id::JobId;
use common::job::{Endpoint, JobSpec};
use common::limits::MESSAGE_BYTES_MAX;
use common::status::JobStatus;
use proto::v1::admin_client::AdminClient;
use proto::{from_json, to_json, v1};

mod fixture;
mod simulated;

const SLOTS: u32 = 4;
/// How long the cluster is watched while it has nothing to do.
const IDLE: Duration = Duration::from_secs(10);

fn main() {
    let numbers: Vec<u32> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let partitions = numbers.first().copied().unwrap_or(100_000);
    let workers = numbers.get(1).copied().unwrap_or(100);
    let voters = numbers.get(2).copied().unwrap_or(3);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(partitions, workers, voters));
}

/// One coordinator process.
struct Member {
    process: Child,
    address: String,
    http: String,
}

impl Drop for Member {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Member {
    fn start(n: u32, voters: u32, folder: &Path, addresses: &[String]) -> Member {
        let http = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_sterna"));
        command
            .args(["coordinator", "--name", &format!("c{n}")])
            .args(["--listen", &addresses[n as usize], "--http", &http])
            .args(["--join", &addresses.join(",")])
            .args(["--bootstrap-expect", &voters.to_string()])
            .arg("--data-dir")
            .arg(folder.join(format!("c{n}")))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Member {
            process: command.spawn().expect("a coordinator"),
            address: addresses[n as usize].clone(),
            http,
        }
    }

    /// What it says of itself, by name; empty if it doesn't answer.
    fn metrics(&self) -> BTreeMap<String, f64> {
        let text = get(&self.http, "/metrics").unwrap_or_default();
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        text.lines().filter_map(sample).collect()
    }

    fn metric(&self, name: &str) -> f64 {
        self.metrics().get(name).copied().unwrap_or(0.0)
    }

    fn leads(&self) -> bool {
        self.metric("sterna_raft_is_leader") > 0.0
    }

    /// Largest resident memory so far, MiB.
    fn memory_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) / 1024
    }

    /// CPU seconds so far.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        let stat = stat.unwrap_or_default();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let ticks = |at: usize| {
            fields
                .get(at)
                .and_then(|field| field.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        (ticks(11) + ticks(12)) / 100.0
    }

    /// The turn's time below which 99 of 100 turns were, by the histogram's buckets.
    fn tick_p99_ms(&self) -> f64 {
        let metrics = self.metrics();
        let total = metrics.get("sterna_leader_tick_seconds_count").copied();
        let wanted = total.unwrap_or(0.0) * 0.99;
        let bounds = metrics.iter().filter_map(|(name, count)| {
            let bound = name.strip_prefix("sterna_leader_tick_seconds_bucket{le=\"")?;
            let bound = bound.trim_end_matches("\"}").parse::<f64>().ok()?;
            (*count >= wanted).then_some(bound)
        });
        bounds.fold(f64::INFINITY, f64::min) * 1e3
    }

    fn show(&self, when: &str) {
        println!(
            "{when} {}: tick p99 {:.1} ms, peak memory {} MiB, snapshot {:.1} MiB, log {:.1} MiB, \
             longest fsync {:.0} ms",
            self.address,
            self.tick_p99_ms(),
            self.memory_mib(),
            self.metric("sterna_raft_snapshot_bytes") / f64::from(1 << 20),
            self.metric("sterna_raft_log_bytes") / f64::from(1 << 20),
            self.metric("sterna_raft_fsync_seconds_max") * 1e3,
        );
    }
}

async fn run(partitions: u32, workers: u32, voters: u32) {
    println!("{partitions} partitions, {workers} workers x {SLOTS} slots, {voters} voters");
    let folder = tempfile::tempdir().expect("a folder");
    let addresses: Vec<String> = (0..voters)
        .map(|_| format!("127.0.0.1:{}", free_port()))
        .collect();
    let mut members: Vec<Member> = (0..voters)
        .map(|n| Member::start(n, voters, folder.path(), &addresses))
        .collect();
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..workers {
        tasks.spawn(simulated::work(n, addresses.clone(), partitions));
    }
    report_idle(&members, workers).await;
    let submitted = Instant::now();
    submit(&addresses).await;
    let copying = wait_for(&addresses, |status| status.partitions.committed > 0).await;
    let planned = submitted.elapsed();
    println!("planned and handed out: {planned:.1?} to the first commit");
    let (started, entries) = (Instant::now(), commit_index(&members));
    let before = copying.partitions.committed;
    let half = partitions / 2;
    let middle = wait_for(&addresses, |status| status.partitions.committed >= half).await;
    let seconds = started.elapsed().as_secs_f64();
    let rate = f64::from(middle.partitions.committed - before) / seconds;
    let entries = (commit_index(&members) - entries) / seconds;
    println!("committed: {rate:.0} partitions/s, {entries:.0} log entries/s");
    if voters > 1 {
        report_failover(&mut members).await;
    }
    let rest: Vec<String> = members.iter().map(|m| m.address.clone()).collect();
    let end = wait_for(&rest, |status| status.phase.is_ended()).await;
    println!(
        "ended {} after {:.1?}, {} redone",
        end.phase,
        submitted.elapsed(),
        end.partitions.redone
    );
    for member in &members {
        member.show("at the end");
        let snapshot = member.metric("sterna_raft_snapshot_bytes");
        println!(
            "  {:.0} bytes of snapshot a partition, plan and bounds included",
            snapshot / f64::from(partitions)
        );
    }
    tasks.shutdown().await;
}

/// What it costs to hear from every worker while there is nothing to do.
async fn report_idle(members: &[Member], workers: u32) {
    let deadline = Instant::now() + Duration::from_secs(60);
    let attached = |member: &Member| {
        let count = member.metric("sterna_workers{health=\"live\"}");
        member.leads() && count as u32 >= workers
    };
    let leader = loop {
        if let Some(leader) = members.iter().find(|member| attached(member)) {
            break leader;
        }
        assert!(Instant::now() < deadline, "the workers didn't join");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    let before = leader.cpu();
    tokio::time::sleep(IDLE).await;
    let share = (leader.cpu() - before) / IDLE.as_secs_f64();
    println!("idle: the leader hears {workers} workers with {share:.2} of a core");
}

fn commit_index(members: &[Member]) -> f64 {
    let indexes = members
        .iter()
        .map(|member| member.metric("sterna_raft_commit_index"));
    indexes.fold(0.0, f64::max)
}

/// Kills the leader and measures until the next partition is committed.
async fn report_failover(members: &mut Vec<Member>) {
    let Some(leader) = members.iter().position(Member::leads) else {
        return println!("failover: no leader to take away");
    };
    members[leader].show("leader, before it is killed,");
    let at = Instant::now();
    drop(members.remove(leader));
    let rest: Vec<String> = members.iter().map(|m| m.address.clone()).collect();
    let first = wait_for(&rest, |_| true).await.partitions.committed;
    let elected = at.elapsed();
    wait_for(&rest, |status| {
        status.partitions.committed > first || status.phase.is_ended()
    })
    .await;
    println!(
        "failover: {elected:.2?} to a leader's answer, {:.2?} to a commit",
        at.elapsed()
    );
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("bound").port()
}

fn get(address: &str, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

async fn submit(addresses: &[String]) {
    let endpoint = |url: &str| Endpoint {
        url: url.to_owned(),
        password: None,
    };
    let mut spec = JobSpec::new("bench", endpoint("mysql://a/a"), endpoint("mysql://b/b"));
    spec.partition_bytes = fixture::PARTITION_BYTES;
    let request = v1::SubmitJobRequest {
        spec: to_json(&spec),
        uid: simulated::UID.to_owned(),
    };
    for attempt in 0.. {
        let address = &addresses[attempt % addresses.len()];
        if let Ok(mut client) = AdminClient::connect(format!("http://{address}")).await
            && client.submit_job(request.clone()).await.is_ok()
        {
            return;
        }
        assert!(attempt < 300, "nobody takes the job");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn wait_for(addresses: &[String], done: impl Fn(&JobStatus) -> bool) -> JobStatus {
    let request = v1::GetJobRequest {
        job: "bench".to_owned(),
    };
    let mut turn = 0;
    loop {
        let address = &addresses[turn % addresses.len()];
        turn += 1;
        if let Ok(client) = AdminClient::connect(format!("http://{address}")).await
            && let Ok(reply) = client
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .get_job(request.clone())
                .await
            && let Ok(status) = from_json::<JobStatus>("status", &reply.into_inner().json)
        {
            if done(&status) {
                return status;
            }
            assert!(status.failure.is_none(), "{:?}", status.failure);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The name under which a simulated job's transactions go.
fn job_of(_: JobId) -> (common::id::JobUid, String) {
    let uid = common::id::JobUid::parse(simulated::UID).expect("32 hex digits");
    (uid, "mysql://b/b".to_owned())
}
