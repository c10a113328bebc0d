//! The way of a job through a worker, with real SQLite files at both ends and a coordinator that
//! is told what to say.

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::digest::Digest;
use common::directive::{Directive, JobContext, Order, Outcome};
use common::epoch::{Epoch, Lease, Unit};
use common::id::{JobId, JobUid, PartitionNo, TableNo, TaskNo};
use common::job::{Endpoint, JobSpec};
use common::plan::{Loaded, PartitionSpec, plan};
use common::task::{Settled, TaskKind, TaskResult};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Row};
use tempfile::TempDir;

use worker::{WorkerConfig, WorkerHandle, start};

#[path = "support/fake.rs"]
mod fake;

use fake::{Fake, Role, until};

const ROWS: u64 = 4_000;
const LEADS: Role = Role::Leads { term: 5 };

struct Rig {
    dir: TempDir,
    leader: Fake,
    worker: WorkerHandle,
    context: JobContext,
    tasks: u32,
}

async fn open(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    SqliteConnection::connect_with(&options)
        .await
        .expect("the file opens")
}

async fn run_sql(path: &Path, sql: &'static str) {
    let mut connection = open(path).await;
    sqlx::raw_sql(sql)
        .execute(&mut connection)
        .await
        .expect("the statement runs");
    connection.close().await.expect("the file closes");
}

async fn worker_of(name: &str, leader: &Fake) -> WorkerHandle {
    let config = WorkerConfig::new(name, vec![leader.address()], 2);
    start(config).await.expect("the configuration is valid")
}

impl Rig {
    /// A source with two tables, a job over it, nothing run yet.
    async fn new() -> Rig {
        let dir = TempDir::new().expect("a temporary directory");
        let source = dir.path().join("source.db");
        run_sql(
            &source,
            "CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL, score REAL, photo BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000)
             INSERT INTO users SELECT i, 'user ' || i, i / 7.0, randomblob(i % 300) FROM n;
             CREATE INDEX users_name ON users(name);
             CREATE TABLE notes(txt TEXT, n INTEGER);
             INSERT INTO notes VALUES (NULL, 1), ('', NULL), ('twice', 2), ('twice', 2);",
        )
        .await;
        let leader = Fake::start(LEADS).await;
        let worker = worker_of("ann", &leader).await;
        let end = |path: &PathBuf| Endpoint {
            url: format!("sqlite:{}", path.display()),
            password: None,
        };
        let target = dir.path().join("target.db");
        let mut spec = JobSpec::new("flow", end(&source), end(&target));
        (
            spec.split_bytes_min,
            spec.bucket_bytes,
            spec.partition_bytes,
        ) = (1, 64 << 10, 128 << 10);
        let uid = JobUid::parse("0123456789abcdef0123456789abcdef").expect("32 hex digits");
        let context = JobContext {
            uid,
            spec,
            plan: None,
            partitions: Vec::new(),
        };
        leader.context(context.clone());
        Rig {
            dir,
            leader,
            worker,
            context,
            tasks: 0,
        }
    }

    /// Inspected, planned and created.
    async fn ready() -> Rig {
        let mut rig = Rig::new().await;
        let said = rig.task(TaskKind::Inspect { slots: 2 }).await;
        let Outcome::Task(TaskResult::Inspected(catalog)) = said else {
            panic!("inspection said {said:?}");
        };
        assert_eq!(catalog.tables.len(), 2);
        let plan = plan(*catalog, &rig.context.spec, 7, 2).expect("a plan");
        let mut partitions = vec![0; plan.tables.len()];
        for (table, _, _) in plan.partitions() {
            partitions[table.0 as usize] += 1;
        }
        (rig.context.plan, rig.context.partitions) = (Some(plan), partitions);
        rig.leader.context(rig.context.clone());
        assert_eq!(
            rig.task(TaskKind::Create).await,
            Outcome::Task(TaskResult::Done)
        );
        rig
    }

    fn directive(&self, unit: Unit, epoch: u32, order: Order) -> Directive {
        let lease = Lease {
            job: JobId(1),
            unit,
            epoch: Epoch(epoch),
        };
        Directive {
            lease,
            uid: self.context.uid.clone(),
            order,
        }
    }

    async fn task(&mut self, kind: TaskKind) -> Outcome {
        let unit = Unit::Task(TaskNo(self.tasks));
        self.tasks += 1;
        let directive = self.directive(unit, 1, Order::Run { task: kind });
        let lease = directive.lease;
        self.leader.want(vec![directive]);
        let said = self.leader.ack(lease).await;
        self.leader.want(Vec::new());
        said
    }

    fn specs(&self) -> Vec<PartitionSpec> {
        let plan = self.context.plan.as_ref().expect("it is planned");
        let partitions = (0u32..).zip(plan.partitions());
        let spec = |(no, (table, class, buckets)): (u32, (TableNo, u32, Vec<u32>))| {
            let split = &plan.table(table).split;
            let columns = match split {
                common::partition::Split::Whole => Vec::new(),
                common::partition::Split::Bucketed { columns, .. } => columns.clone(),
            };
            PartitionSpec {
                partition: PartitionNo(no),
                table,
                class,
                ranges: match columns.is_empty() {
                    true => Vec::new(),
                    false => buckets.iter().map(|bucket| split.range(*bucket)).collect(),
                },
                columns,
            }
        };
        partitions.map(spec).collect()
    }

    fn prepare(&self, spec: &PartitionSpec, epoch: u32) -> Directive {
        let order = Order::Prepare {
            spec: spec.clone(),
            decided: None,
        };
        self.directive(Unit::Partition(spec.partition), epoch, order)
    }

    fn commit(&self, spec: &PartitionSpec, epoch: u32) -> Directive {
        self.directive(Unit::Partition(spec.partition), epoch, Order::Commit)
    }

    /// Waits until T is prepared.
    async fn prepared(&self, spec: &PartitionSpec, epoch: u32) -> Loaded {
        let directive = self.prepare(spec, epoch);
        let lease = directive.lease;
        self.leader.want(vec![directive]);
        match self.leader.ack(lease).await {
            Outcome::Prepared(loaded) => loaded,
            other => panic!("{lease} said {other:?}"),
        }
    }

    async fn committed(&self, leader: &Fake, spec: &PartitionSpec, epoch: u32) {
        let directive = self.commit(spec, epoch);
        let lease = directive.lease;
        leader.want(vec![directive]);
        let committed = |report: &common::directive::Report| {
            let outcome = Outcome::Committed(Epoch(epoch));
            report
                .acks
                .iter()
                .any(|ack| ack.lease == lease && ack.outcome == outcome)
        };
        leader.report("CommitAck", committed).await;
        leader.want(Vec::new());
    }

    async fn count(&self, table: &'static str) -> u64 {
        let mut connection = open(&self.dir.path().join("target.db")).await;
        let sql = match table {
            "users" => "SELECT count(*) FROM users",
            _ => "SELECT count(*) FROM notes",
        };
        let row = sqlx::query(sql)
            .fetch_one(&mut connection)
            .await
            .expect("it is there");
        row.get::<i64, _>(0) as u64
    }
}

#[tokio::test]
async fn a_database_is_moved_committed_indexed_and_equal() {
    let mut rig = Rig::ready().await;
    let mut digests = [Digest::default(); 2];
    let specs = rig.specs();
    assert!(specs.len() > 2, "the large table is split: {}", specs.len());
    for spec in &specs {
        let before = rig.count("users").await + rig.count("notes").await;
        let loaded = rig.prepared(spec, 1).await;
        let prepared = rig.count("users").await + rig.count("notes").await;
        assert_eq!(prepared, before, "nothing is visible before the decision");
        rig.committed(&rig.leader, spec, 1).await;
        digests[spec.table.0 as usize] += loaded.digest;
    }
    assert_eq!(
        (rig.count("users").await, rig.count("notes").await),
        (ROWS, 4)
    );
    let (done, tables) = (Outcome::Task(TaskResult::Done), [TableNo(0), TableNo(1)]);
    for (table, expected) in tables.into_iter().zip(digests) {
        assert_eq!(rig.task(TaskKind::Index { table }).await, done);
        for at_source in [false, true] {
            let verify = TaskKind::Verify {
                table,
                at_source,
                expected,
                part: None,
                spec: None,
            };
            let said = rig.task(verify).await;
            assert_eq!(said, Outcome::Task(TaskResult::Digested(expected)));
        }
    }
    let unknown = Outcome::Task(TaskResult::Settled(Settled::Unknown));
    assert_eq!(rig.task(TaskKind::Settle { mark: None }).await, unknown);
    let resolve = TaskKind::Resolve {
        units: Vec::new(),
        drop_bookkeeping: true,
    };
    let said = rig.task(resolve).await;
    assert!(
        matches!(said, Outcome::Task(TaskResult::Resolved { .. })),
        "{said:?}"
    );
    rig.worker.stop().await;
}

#[tokio::test]
async fn a_leader_change_after_prepare_costs_no_copied_row() {
    let rig = Rig::ready().await;
    let spec = rig.specs().remove(0);
    rig.prepared(&spec, 1).await;
    let second = Fake::start(Role::Leads { term: 6 }).await;
    second.context(rig.context.clone());
    second.want(vec![rig.prepare(&spec, 1)]);
    rig.leader.role(Role::Follows(Some(second.address())));
    let lease = rig.prepare(&spec, 1).lease;
    assert!(
        matches!(second.ack(lease).await, Outcome::Prepared(_)),
        "it is said again"
    );
    rig.committed(&second, &spec, 1).await;
    let units = rig.worker.metrics_text();
    let once = r#"units_total{kind="partition",outcome="committed"} 1"#;
    assert!(units.contains(once), "{units}");
    rig.worker.stop().await;
}

#[tokio::test]
async fn stopping_rolls_back_and_another_worker_copies_again() {
    let rig = Rig::ready().await;
    let spec = rig.specs().remove(0);
    let loaded = rig.prepared(&spec, 1).await;
    let lease = rig.prepare(&spec, 1).lease;
    let released = async {
        let released = |report: &common::directive::Report| {
            let said = report.acks.iter().find(|ack| ack.lease == lease);
            said.is_some_and(|ack| ack.outcome == Outcome::Released)
        };
        rig.leader.report("the lease is given back", released).await;
        rig.leader.want(Vec::new());
    };
    futures::future::join(rig.worker.stop(), released).await;
    assert_eq!(rig.count("users").await + rig.count("notes").await, 0);
    let second = worker_of("bob", &rig.leader).await;
    assert_eq!(rig.prepared(&spec, 2).await, loaded);
    rig.committed(&rig.leader, &spec, 2).await;
    assert_eq!(
        rig.count("users").await + rig.count("notes").await,
        loaded.digest.rows
    );
    second.stop().await;
}

#[tokio::test]
async fn a_lease_that_is_taken_away_leaves_nothing_behind() {
    let rig = Rig::ready().await;
    let spec = rig.specs().remove(0);
    rig.prepared(&spec, 1).await;
    rig.leader.want(Vec::new());
    let idle = || (rig.worker.figures().running == 0).then_some(());
    until("the unit to stop", idle).await;
    assert_eq!(rig.count("users").await + rig.count("notes").await, 0);
    // The file is free for the next owner at once.
    let again = tokio::time::timeout(Duration::from_secs(5), rig.prepared(&spec, 2)).await;
    assert!(again.is_ok(), "the target is still locked");
    rig.committed(&rig.leader, &spec, 2).await;
    rig.worker.stop().await;
}
