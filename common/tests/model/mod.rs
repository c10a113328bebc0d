//! A cluster without a cluster: the pure core driven by hand. Used by the transcripts and the
//! property tests, each of which needs only a part of it.

#![allow(dead_code)]

use std::collections::BTreeMap;

use common::change::{LogFacts, LogOrder, Mark, Position, Secured};
use common::detect::Health;
use common::digest::Digest;
use common::epoch::{Epoch, Lease, Unit};
use common::id::{JobId, JobUid, Millis, PartitionNo, TableNo, TaskNo, WorkerId};
use common::job::{Endpoint, JobSpec};
use common::limits::Limits;
use common::plan::Loaded;
use common::schedule::schedule;
use common::schema::{
    CanonicalType, Catalog, Column, EndpointFacts, Engine, InspectedTable, KeyBound, KeySample,
    SourceMark, TableSchema, There,
};
use common::state::{
    Applied, Command, Decision, Entry, Rejected, Stage, State, TaskStage, WorkerHello,
};
use common::task::{Compared, Settled, TaskKind, TaskResult};
use common::two_phase::decide;
use common::view::{ClusterView, WorkerView};

/// State, view and time.
pub struct Model {
    pub state: State,
    pub view: ClusterView,
    pub limits: Limits,
    /// The target keeps prepared transactions without their session.
    pub durable: bool,
    /// The source's log can be followed; what a job does about it is in its spec.
    pub log: Option<LogFacts>,
    /// What the next job is submitted with beyond the defaults.
    pub asked: fn(&mut JobSpec),
    /// Where the source's log ends.
    pub log_end: u64,
    /// Tables with a change.
    pub touched: Vec<u32>,
}

pub const JOB: JobId = JobId(1);

impl Model {
    pub fn new(durable: bool) -> Model {
        let view = ClusterView {
            now: Millis(1_000),
            ..ClusterView::default()
        };
        Model {
            state: State::default(),
            view,
            limits: Limits::default(),
            durable,
            log: None,
            asked: |_| {},
            log_end: 1,
            touched: Vec::new(),
        }
    }

    /// Everything the log holds is in the target.
    fn mark(&self) -> Mark {
        Mark {
            position: position(self.log_end),
            touched: self.touched.iter().copied().map(TableNo).collect(),
            ..Mark::default()
        }
    }

    pub fn apply(&mut self, command: Command) -> Result<Applied, Rejected> {
        let entry = Entry {
            at: self.view.now,
            commands: vec![command],
        };
        let answer = self
            .state
            .apply_entry(entry)
            .pop()
            .expect("one answer per command");
        let broken = self.state.check();
        assert!(broken.is_empty(), "{broken:?}");
        answer
    }

    pub fn submit(&mut self, name: &str) -> Result<Applied, Rejected> {
        let mut spec = JobSpec::new(name, endpoint("sqlite:a"), endpoint("sqlite:b"));
        (self.asked)(&mut spec);
        let uid = JobUid::parse("00000000000000000000000000000001").expect("32 hex digits");
        let spec = Box::new(spec);
        self.apply(Command::SubmitJob { uid, spec })
    }

    pub fn join(&mut self, name: &str, slots: u32) -> WorkerId {
        let incarnation = self.view.now.0 + self.view.workers.len() as u64;
        let hello = WorkerHello {
            name: name.to_owned(),
            incarnation,
            slots,
            version: "test".to_owned(),
        };
        match self.apply(Command::RegisterWorker(hello)) {
            Ok(Applied::Worker(worker)) => {
                self.set_health(worker, Health::Live);
                worker
            }
            other => panic!("registering {name}: {other:?}"),
        }
    }

    pub fn set_health(&mut self, worker: WorkerId, health: Health) {
        let seen = WorkerView {
            health,
            draining: false,
            memory_bytes: 0,
            progress: BTreeMap::new(),
        };
        self.view.workers.insert(worker, seen);
    }

    /// One turn of the leader: what it proposes, applied.
    pub fn turn(&mut self) -> Vec<Command> {
        let mut commands = schedule(&self.state, &self.view, &self.limits);
        commands.extend(decide(&self.state, 42));
        for command in commands.clone() {
            let answer = self.apply(command.clone());
            // A decision may come too late in its own batch: its worker is lost, T with it.
            let late = matches!(command, Command::Decide { .. });
            assert!(
                answer.is_ok() || late,
                "the leader proposed {command:?}: {answer:?}"
            );
        }
        self.view
            .workers
            .retain(|worker, _| self.state.worker(*worker).is_some());
        commands
    }

    pub fn partition_lease(&self, no: u32, epoch: u32) -> Lease {
        Lease {
            job: JOB,
            unit: Unit::Partition(PartitionNo(no)),
            epoch: Epoch(epoch),
        }
    }

    /// Leases of partitions that workers hold now, with their stage.
    pub fn held(&self) -> Vec<(Lease, Stage)> {
        let Some(job) = self.state.job(JOB) else {
            return Vec::new();
        };
        let partitions = (0u32..).zip(job.partitions());
        partitions
            .filter(|(_, partition)| partition.stage.worker().is_some())
            .map(|(no, partition)| {
                (
                    self.partition_lease(no, partition.epoch.0),
                    partition.stage.clone(),
                )
            })
            .collect()
    }

    /// Tasks that workers hold now.
    pub fn running_tasks(&self) -> Vec<(Lease, TaskKind)> {
        let Some(job) = self.state.job(JOB) else {
            return Vec::new();
        };
        job.tasks()
            .filter(|(_, task)| matches!(task.stage, TaskStage::Leased { .. }))
            .map(|(no, task)| {
                (
                    Lease {
                        job: JOB,
                        unit: Unit::Task(no),
                        epoch: task.epoch,
                    },
                    task.kind.clone(),
                )
            })
            .collect()
    }

    /// What an honest worker would answer to a task.
    pub fn honest(&self, kind: &TaskKind, unmoved: bool) -> TaskResult {
        match kind {
            TaskKind::Inspect { .. } => {
                let mut catalog = catalog(self.durable);
                catalog.log = self.log.clone();
                let mut spec = JobSpec::new("asked", endpoint("sqlite:a"), endpoint("sqlite:b"));
                (self.asked)(&mut spec);
                if !spec.purpose.is_migration() {
                    // What is at the target is as it was copied.
                    let tables = catalog.tables.iter();
                    catalog.there = Some(Box::new(There {
                        tables: tables.map(|table| table.schema.clone()).collect(),
                        objects: Vec::new(),
                    }));
                }
                TaskResult::Inspected(Box::new(catalog))
            }
            TaskKind::Settle { .. } if unmoved => TaskResult::Settled(Settled::Unmoved),
            TaskKind::Settle { .. } => TaskResult::Settled(Settled::Unknown),
            TaskKind::Verify { expected, .. } => TaskResult::Digested(*expected),
            TaskKind::Resolve { .. } => TaskResult::Resolved {
                committed: 0,
                rolled_back: 0,
            },
            TaskKind::Secure => TaskResult::Secured(secured()),
            TaskKind::Follow { .. } => TaskResult::Followed(Box::new(self.mark())),
            TaskKind::Compare { .. } => TaskResult::Compared(Compared {
                at_source: Digest::default(),
                at_target: Digest::default(),
                written_since: false,
            }),
            TaskKind::Examine { .. } => TaskResult::Examined(Box::default()),
            TaskKind::Repair { .. } => TaskResult::Repaired(Box::default()),
            TaskKind::Create
            | TaskKind::Release
            | TaskKind::Key { .. }
            | TaskKind::Index { .. }
            | TaskKind::ForeignKeys { .. }
            | TaskKind::Objects => TaskResult::Done,
        }
    }

    /// What a partition holds, by its number alone: every epoch loads the same rows.
    pub fn loaded(no: PartitionNo) -> Loaded {
        let rows = u64::from(no.0) + 1;
        let sum = u128::from(no.0 + 1) << 64;
        Loaded {
            bytes: rows * 10,
            digest: Digest { rows, sum },
        }
    }

    pub fn lease_of_task(&self, no: u32, epoch: u32) -> Lease {
        Lease {
            job: JOB,
            unit: Unit::Task(TaskNo(no)),
            epoch: Epoch(epoch),
        }
    }
}

pub fn position(at: u64) -> Position {
    Position {
        order: LogOrder(0, at),
        text: format!("log:{at}"),
    }
}

/// P0 of the model's source.
pub fn secured() -> Secured {
    Secured {
        position: position(1),
        identity: "source".to_owned(),
    }
}

/// Two tables: one of three buckets, one whole.
pub fn catalog(durable: bool) -> Catalog {
    let facts = |durable_prepare| EndpointFacts {
        engine: Engine::Sqlite,
        version: "3".to_owned(),
        durable_prepare,
        writers_max: 64,
    };
    let bounds = [10, 20]
        .map(|bound: u32| KeyBound(vec![bound.to_string()]))
        .to_vec();
    let table = |name: &str, key: KeySample, bytes| InspectedTable {
        schema: schema(name, bytes),
        key,
    };
    Catalog {
        source: facts(false),
        target: facts(durable),
        tables: vec![
            table(
                "orders",
                KeySample {
                    columns: vec!["id".to_owned()],
                    bounds,
                },
                200 << 20,
            ),
            table("users", KeySample::default(), 1 << 10),
        ],
        objects: Vec::new(),
        mark: Some(SourceMark("1".to_owned())),
        log: None,
        there: None,
        notes: Vec::new(),
    }
}

fn endpoint(url: &str) -> Endpoint {
    Endpoint {
        url: url.to_owned(),
        password: None,
    }
}

fn schema(name: &str, bytes: u64) -> TableSchema {
    let id = Column {
        name: "id".to_owned(),
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
    };
    TableSchema {
        schema: None,
        member: None,
        name: name.to_owned(),
        columns: vec![id],
        primary_key: vec!["id".to_owned()],
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        auto_increment: None,
        native_options: String::new(),
        native_ddl: None,
        native_key: None,
        rows_estimate: 30,
        bytes_estimate: bytes,
    }
}

/// A command in one line, for transcripts.
pub fn line(command: &Command) -> String {
    match command {
        Command::AssignPartition {
            partition, worker, ..
        } => {
            format!("assign {partition} to {worker}")
        }
        Command::AssignTask { task, worker, .. } => format!("assign {task} to {worker}"),
        Command::Decide {
            partition,
            epoch,
            decision,
            ..
        } => {
            let word = if *decision == Decision::Commit {
                "commit"
            } else {
                "abort"
            };
            format!("decide {word} {partition} {epoch}")
        }
        Command::LoseWorker { worker, .. } => format!("lose {worker}"),
        Command::AdoptPlan { plan, .. } => {
            let partitions = plan.partitions().len();
            format!(
                "adopt plan of {} tables, {partitions} partitions",
                plan.tables.len()
            )
        }
        other => format!("{other:?}"),
    }
}
