//! How fast the control plane is without databases: partitions assigned, prepared, decided and
//! committed per second through real gRPC, a real Raft log and fsync, by simulated workers that do
//! nothing. Prints one line of figures per part.
//!
//! `cargo bench -p sterna-coordinator --bench control_plane -- [PARTITIONS] [WORKERS] [VOTERS]`

use std::time::{Duration, Instant};

use common::directive::{Ack, Directives, Order, Outcome, Report};
use common::id::{JobId, JobUid, PartitionNo};
use common::job::{Endpoint, JobSpec};
use common::limits::{Limits, MESSAGE_BYTES_MAX};
use common::plan::Loaded;
use common::schema::{
    CanonicalType, Catalog, Column, EndpointFacts, Engine, InspectedTable, KeyBound, KeySample,
    SourceMark, TableSchema,
};
use common::state::WorkerHello;
use common::status::JobStatus;
use common::task::{Settled, TaskKind, TaskResult};
use coordinator::{Coordinator, CoordinatorConfig};
use proto::v1::admin_client::AdminClient;
use proto::v1::worker_client::WorkerClient;
use proto::{from_json, to_json, v1};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

const SLOTS: u32 = 4;
const UID: &str = "0123456789abcdef0123456789abcdef";

fn main() {
    let numbers: Vec<u32> = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let partitions = numbers.first().copied().unwrap_or(100_000);
    let workers = numbers.get(1).copied().unwrap_or(100);
    let voters = numbers.get(2).copied().unwrap_or(3);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(run(partitions, workers, voters as usize));
}

/// A coordinator on a runtime of its own, so that it can be made to vanish in mid-sentence.
struct Member {
    runtime: tokio::runtime::Runtime,
    coordinator: Coordinator,
}

impl Member {
    fn start(config: CoordinatorConfig) -> Member {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let started = std::thread::scope(|scope| {
            let start = || {
                runtime
                    .block_on(coordinator::start(config))
                    .expect("a coordinator")
            };
            scope.spawn(start).join().expect("a coordinator")
        });
        Member {
            runtime,
            coordinator: started,
        }
    }
}

async fn run(partitions: u32, workers: u32, voters: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let ports: Vec<u16> = (0..voters).map(|_| free_port()).collect();
    let addresses: Vec<String> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    let mut members = Vec::new();
    for (n, address) in addresses.iter().enumerate() {
        let config = CoordinatorConfig {
            name: format!("c{n}"),
            data_dir: folder.path().join(format!("c{n}")),
            listen: address.clone(),
            advertise: None,
            http: None,
            join: addresses.clone(),
            bootstrap_expect: voters,
            limits: Limits::default(),
            snapshot_every: 5_000,
        };
        members.push(Some(Member::start(config)));
    }
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..workers {
        tasks.spawn(simulate(n, addresses.clone(), partitions));
    }
    submit(&addresses).await;
    let copying = wait_for(&addresses, |status| status.partitions.committed > 0).await;
    let started = Instant::now();
    let before = copying.partitions.committed;
    let half = partitions / 2;
    let middle = wait_for(&addresses, |status| status.partitions.committed >= half).await;
    let rate = f64::from(middle.partitions.committed - before) / started.elapsed().as_secs_f64();
    println!("{partitions} partitions, {workers} workers x {SLOTS} slots, {voters} voters");
    println!("committed: {rate:.0} partitions/s");
    if voters > 1 {
        report_failover(&mut members, &addresses).await;
    }
    let end = wait_for(&addresses, |status| status.phase.is_ended()).await;
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "ended {} after {seconds:.1} s, {} redone",
        end.phase, end.partitions.redone
    );
    if let Some(member) = members.iter().flatten().next() {
        let bytes = member.coordinator.state_bytes();
        let each = bytes as f64 / f64::from(end.partitions.total.max(1));
        println!("state: {bytes} bytes, {each:.0} per partition (plan and bounds included)");
    }
    tasks.shutdown().await;
    for member in members.into_iter().flatten() {
        member.runtime.shutdown_background();
    }
}

/// Takes the leader away without a word and measures until the next partition is committed.
async fn report_failover(members: &mut [Option<Member>], addresses: &[String]) {
    let leads = |member: &Option<Member>| {
        member
            .as_ref()
            .is_some_and(|member| member.coordinator.role().borrow().leading)
    };
    let Some(leader) = members.iter().position(leads) else {
        return println!("failover: no leader to take away");
    };
    let gone = members[leader].take().expect("just found");
    let at = Instant::now();
    gone.runtime.shutdown_background();
    drop(gone.coordinator);
    let mut rest = addresses.to_vec();
    rest.remove(leader);
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
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("bound").port()
}

async fn submit(addresses: &[String]) {
    let endpoint = |url: &str| Endpoint {
        url: url.to_owned(),
        password: None,
    };
    let mut spec = JobSpec::new("bench", endpoint("mysql://a/a"), endpoint("mysql://b/b"));
    spec.partition_bytes = 64 << 20;
    let request = v1::SubmitJobRequest {
        spec: to_json(&spec),
        uid: UID.to_owned(),
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

/// A worker that answers everything at once; it follows the leader for ever.
async fn simulate(n: u32, addresses: Vec<String>, partitions: u32) {
    for turn in 0usize.. {
        let address = &addresses[(turn + n as usize) % addresses.len()];
        attend(n, address, partitions).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn attend(n: u32, address: &str, partitions: u32) {
    let Ok(client) = WorkerClient::connect(format!("http://{address}")).await else {
        return;
    };
    let mut client = client.max_decoding_message_size(MESSAGE_BYTES_MAX);
    let (reports, queue) = mpsc::channel(8);
    let mut report = hello(n);
    if reports.send(pack(report.clone())).await.is_err() {
        return;
    }
    let Ok(stream) = client.attend(ReceiverStream::new(queue)).await else {
        return;
    };
    let mut stream = stream.into_inner();
    loop {
        let beat = tokio::time::timeout(Duration::from_millis(250), stream.next()).await;
        match beat {
            Ok(Some(Ok(message))) => {
                let directives = Directives::try_from(message).expect("a leader's message");
                report.acks = directives
                    .wanted
                    .iter()
                    .map(|d| answer(d, partitions))
                    .collect();
            }
            Ok(_) => return,
            Err(_) => {}
        }
        if reports.send(pack(report.clone())).await.is_err() {
            return;
        }
    }
}

fn hello(n: u32) -> Report {
    let hello = WorkerHello {
        name: format!("sim{n}"),
        incarnation: 1,
        slots: SLOTS,
        version: "bench".to_owned(),
    };
    Report {
        hello,
        draining: false,
        running: Vec::new(),
        acks: Vec::new(),
        progress: Vec::new(),
        memory_bytes: 0,
        seq: 0,
    }
}

fn pack(report: Report) -> v1::Report {
    let uid = JobUid::parse(UID).expect("32 hex digits");
    v1::Report::pack(report, |_: JobId| (uid.clone(), "mysql://b/b".to_owned()))
}

fn answer(directive: &common::directive::Directive, partitions: u32) -> Ack {
    let lease = directive.lease;
    let outcome = match &directive.order {
        Order::Prepare {
            decided: Some(epoch),
            ..
        } => Outcome::Committed(*epoch),
        Order::Prepare { spec, .. } => Outcome::Prepared(loaded(spec.partition)),
        Order::Commit => Outcome::Committed(lease.epoch),
        Order::Run { task } => Outcome::Task(result(task, partitions)),
    };
    Ack { lease, outcome }
}

fn loaded(no: PartitionNo) -> Loaded {
    let digest = common::digest::Digest {
        rows: 300_000,
        sum: u128::from(no.0) << 90,
    };
    Loaded {
        bytes: 64 << 20,
        digest,
    }
}

fn result(task: &TaskKind, partitions: u32) -> TaskResult {
    match task {
        TaskKind::Secure
        | TaskKind::Follow { .. }
        | TaskKind::Compare { .. }
        | TaskKind::Examine { .. }
        | TaskKind::Repair { .. } => {
            unreachable!("the benchmark's job neither follows nor compares")
        }
        TaskKind::Release => TaskResult::Done,
        TaskKind::Inspect { .. } => TaskResult::Inspected(Box::new(catalog(partitions))),
        TaskKind::Settle { .. } => TaskResult::Settled(Settled::Unmoved),
        TaskKind::Verify { expected, .. } => TaskResult::Digested(*expected),
        TaskKind::Resolve { .. } => TaskResult::Resolved {
            committed: 0,
            rolled_back: 0,
        },
        TaskKind::Create
        | TaskKind::Index { .. }
        | TaskKind::ForeignKeys { .. }
        | TaskKind::Objects => TaskResult::Done,
    }
}

/// One table of four buckets a partition, as planned for real ones.
fn catalog(partitions: u32) -> Catalog {
    let facts = EndpointFacts {
        engine: Engine::Mysql,
        version: "bench".to_owned(),
        durable_prepare: true,
        writers_max: u32::MAX,
    };
    let bounds = (1..partitions * 4).map(|bound| KeyBound(vec![(bound * 77).to_string()]));
    let id = Column {
        name: "id".to_owned(),
        native_type: "int".to_owned(),
        canonical: CanonicalType::Int {
            bits: 32,
            unsigned: false,
        },
        nullable: false,
        default: None,
        auto_increment: false,
        charset: None,
        collation: None,
        generated: None,
        comment: String::new(),
    };
    let schema = TableSchema {
        schema: None,
        member: None,
        name: "big".to_owned(),
        columns: vec![id],
        primary_key: vec!["id".to_owned()],
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        auto_increment: None,
        native_options: String::new(),
        native_ddl: None,
        rows_estimate: 1,
        bytes_estimate: u64::from(partitions) * (64 << 20),
    };
    let key = KeySample {
        columns: vec!["id".to_owned()],
        bounds: bounds.collect(),
    };
    Catalog {
        source: facts.clone(),
        target: facts,
        tables: vec![InspectedTable { schema, key }],
        objects: Vec::new(),
        mark: Some(SourceMark("1".to_owned())),
        log: None,
        there: None,
        notes: Vec::new(),
    }
}
