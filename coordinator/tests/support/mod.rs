//! A coordinator in this process, and workers that move no rows: they answer every order at once,
//! as a real one would at the end of it.
#![allow(dead_code)]

use std::time::Duration;

use common::digest::Digest;
use common::directive::{Ack, Directive, Directives, Order, Outcome, Report};
use common::epoch::Unit;
use common::id::{JobId, JobUid};
use common::job::{Endpoint, JobSpec};
use common::limits::Limits;
use common::plan::Loaded;
use common::schema::{
    CanonicalType, Catalog, Column, EndpointFacts, Engine, InspectedTable, KeyBound, KeySample,
    SourceMark, TableSchema,
};
use common::state::WorkerHello;
use common::status::JobStatus;
use common::task::{Settled, TaskKind, TaskResult};
use coordinator::{Coordinator, CoordinatorConfig};
use proto::v1;
use proto::v1::admin_client::AdminClient;
use proto::v1::worker_client::WorkerClient;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// Nothing in these tests takes longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn limits() -> Limits {
    Limits {
        lease_ms: 3_000,
        reconnect_ms: 200,
        ..Limits::default()
    }
}

pub fn config(dir: &std::path::Path) -> CoordinatorConfig {
    CoordinatorConfig {
        name: "c1".to_owned(),
        data_dir: dir.to_owned(),
        listen: "127.0.0.1:0".to_owned(),
        advertise: None,
        http: Some("127.0.0.1:0".to_owned()),
        join: Vec::new(),
        bootstrap_expect: 1,
        limits: limits(),
        snapshot_every: 1_000,
    }
}

pub async fn coordinator(dir: &std::path::Path) -> Coordinator {
    let coordinator = coordinator::start(config(dir)).await.expect("it starts");
    let mut role = coordinator.role();
    let leads = role.wait_for(|role| role.leading);
    let led = tokio::time::timeout(DEADLINE, leads).await;
    led.expect("leads in time").expect("the role is known");
    coordinator
}

pub async fn admin(coordinator: &Coordinator) -> AdminClient<Channel> {
    let address = format!("http://{}", coordinator.grpc_address());
    AdminClient::connect(address).await.expect("it listens")
}

pub fn uid(n: u8) -> JobUid {
    JobUid::parse(&format!("{n:032x}")).expect("32 hex digits")
}

pub fn spec(name: &str) -> JobSpec {
    let endpoint = |url: &str| Endpoint {
        url: url.to_owned(),
        password: None,
    };
    JobSpec::new(name, endpoint("sqlite:s.db"), endpoint("sqlite:t.db"))
}

pub async fn submit(admin: &mut AdminClient<Channel>, spec: &JobSpec, uid: &JobUid) -> JobStatus {
    let request = v1::SubmitJobRequest {
        spec: proto::to_json(spec),
        uid: uid.to_string(),
    };
    let reply = admin.submit_job(request).await.expect("accepted");
    proto::from_json("status", &reply.into_inner().json).expect("a JobStatus")
}

pub async fn status(admin: &mut AdminClient<Channel>, job: &str) -> JobStatus {
    let request = v1::GetJobRequest {
        job: job.to_owned(),
    };
    let reply = admin.get_job(request).await.expect("there is such a job");
    proto::from_json("status", &reply.into_inner().json).expect("a JobStatus")
}

/// Asks until `done` says so.
pub async fn wait_status(
    admin: &mut AdminClient<Channel>,
    job: &str,
    done: impl Fn(&JobStatus) -> bool,
) -> JobStatus {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    loop {
        let now = status(admin, job).await;
        if done(&now) {
            return now;
        }
        assert!(tokio::time::Instant::now() < deadline, "{now:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn events(admin: &mut AdminClient<Channel>, job: &str) -> Vec<serde_json::Value> {
    let request = v1::EventsRequest {
        after: 0,
        job: job.to_owned(),
        follow: false,
    };
    let mut stream = admin.events(request).await.expect("events").into_inner();
    let mut lines = Vec::new();
    while let Some(line) = stream.message().await.expect("a line") {
        lines.push(serde_json::from_slice(&line.json).expect("JSON"));
    }
    lines
}

fn column(name: &str) -> Column {
    Column {
        name: name.to_owned(),
        native_type: "INTEGER".to_owned(),
        canonical: CanonicalType::Int {
            bits: 64,
            unsigned: false,
        },
        nullable: false,
        default: None,
        auto_increment: false,
        charset: None,
        collation: None,
        generated: None,
        comment: String::new(),
    }
}

/// Two tables, the first cut into `buckets` buckets of one partition's size each.
pub fn catalog(buckets: u32) -> Catalog {
    let facts = EndpointFacts {
        engine: Engine::Sqlite,
        version: "3".to_owned(),
        durable_prepare: true,
        writers_max: 1_000,
    };
    let table = |name: &str, buckets: u32| InspectedTable {
        schema: TableSchema {
            schema: None,
            member: None,
            name: name.to_owned(),
            columns: vec![column("id"), column("n")],
            primary_key: vec!["id".to_owned()],
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            auto_increment: None,
            native_options: String::new(),
            native_ddl: None,
            native_key: None,
            rows_estimate: u64::from(buckets) * 10,
            bytes_estimate: u64::from(buckets) * common::limits::PARTITION_BYTES,
        },
        key: KeySample {
            columns: vec!["id".to_owned()],
            bounds: (1..buckets)
                .map(|n| KeyBound(vec![(n * 10).to_string()]))
                .collect(),
        },
    };
    Catalog {
        source: facts.clone(),
        target: facts,
        tables: vec![table("orders", buckets), table("users", 1)],
        objects: Vec::new(),
        mark: Some(SourceMark("1".to_owned())),
        log: None,
        there: None,
        notes: Vec::new(),
    }
}

/// How a fake worker behaves.
#[derive(Clone)]
pub struct Manner {
    pub name: String,
    pub incarnation: u64,
    pub slots: u32,
    pub buckets: u32,
    /// It loads for ever.
    pub never_prepares: bool,
}

impl Manner {
    pub fn new(name: &str) -> Manner {
        Manner {
            name: name.to_owned(),
            incarnation: 1,
            slots: 4,
            buckets: 12,
            never_prepares: false,
        }
    }
}

/// A worker; dropping it drops its stream without a goodbye.
pub struct FakeWorker {
    pub wanted: watch::Receiver<Vec<Directive>>,
    task: JoinHandle<()>,
}

impl Drop for FakeWorker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeWorker {
    /// Attends at one coordinator, for as long as that one leads.
    pub fn start(address: String, manner: Manner) -> FakeWorker {
        let (tell, wanted) = watch::channel(Vec::new());
        let task = tokio::spawn(async move { attend(&address, &manner, &tell).await });
        FakeWorker { wanted, task }
    }

    /// Attends at whichever of the coordinators leads.
    pub fn follow(addresses: Vec<String>, manner: Manner) -> FakeWorker {
        let (tell, wanted) = watch::channel(Vec::new());
        let task = tokio::spawn(async move {
            loop {
                for address in &addresses {
                    attend(address, &manner, &tell).await;
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
        FakeWorker { wanted, task }
    }
}

async fn attend(address: &str, manner: &Manner, tell: &watch::Sender<Vec<Directive>>) {
    let Ok(mut client) = WorkerClient::connect(format!("http://{address}")).await else {
        return;
    };
    let (reports, outgoing) = mpsc::channel(4);
    reports.send(report(manner, &[])).await.expect("a queue");
    let Ok(stream) = client.attend(ReceiverStream::new(outgoing)).await else {
        return;
    };
    let mut stream = stream.into_inner();
    let mut beat = tokio::time::interval(Duration::from_millis(100));
    // What it holds outlives the connection.
    let mut wanted: Vec<Directive> = tell.borrow().clone();
    loop {
        tokio::select! {
            message = stream.message() => {
                let Ok(Some(message)) = message else { return };
                wanted = Directives::try_from(message).expect("complete").wanted;
                tell.send_replace(wanted.clone());
            }
            _ = beat.tick() => {}
        }
        if reports.send(report(manner, &wanted)).await.is_err() {
            return;
        }
    }
}

fn report(manner: &Manner, wanted: &[Directive]) -> v1::Report {
    let hello = WorkerHello {
        name: manner.name.clone(),
        incarnation: manner.incarnation,
        slots: manner.slots,
        version: "test".to_owned(),
    };
    let acks = wanted.iter().filter_map(|directive| {
        Some(Ack {
            lease: directive.lease,
            outcome: outcome(manner, directive)?,
        })
    });
    let report = Report {
        hello,
        draining: false,
        running: wanted.iter().map(|directive| directive.lease).collect(),
        acks: acks.collect(),
        progress: Vec::new(),
        memory_bytes: 1 << 20,
        seq: 0,
    };
    v1::Report::pack(report, |_: JobId| (uid(1), "sqlite:t.db".to_owned()))
}

fn outcome(manner: &Manner, directive: &Directive) -> Option<Outcome> {
    Some(match &directive.order {
        Order::Prepare { .. } if manner.never_prepares => return None,
        Order::Prepare { .. } => Outcome::Prepared(loaded(directive.lease.unit)),
        Order::Commit => Outcome::Committed(directive.lease.epoch),
        Order::Run { task } => Outcome::Task(match task {
            TaskKind::Secure
            | TaskKind::Follow { .. }
            | TaskKind::Compare { .. }
            | TaskKind::Examine { .. }
            | TaskKind::Repair { .. } => {
                unreachable!("the fake workers' jobs neither follow nor compare")
            }
            TaskKind::Release => TaskResult::Done,
            TaskKind::Inspect { slots } => {
                assert!(*slots > 0, "the cluster's slots are filled in");
                TaskResult::Inspected(Box::new(catalog(manner.buckets)))
            }
            TaskKind::Settle { .. } => TaskResult::Settled(Settled::Unmoved),
            TaskKind::Verify { expected, .. } => TaskResult::Digested(*expected),
            TaskKind::Resolve { .. } => TaskResult::Resolved {
                committed: 0,
                rolled_back: 0,
            },
            TaskKind::Create
            | TaskKind::Key { .. }
            | TaskKind::Index { .. }
            | TaskKind::ForeignKeys { .. }
            | TaskKind::Objects => TaskResult::Done,
        }),
    })
}

/// Ten rows a partition, with a digest of their own.
fn loaded(unit: Unit) -> Loaded {
    let Unit::Partition(no) = unit else {
        return Loaded::default();
    };
    Loaded {
        bytes: 1_000,
        digest: Digest {
            rows: 10,
            sum: u128::from(no.0) + 1,
        },
    }
}
