//! A catalogue, a plan and a state of any size, without databases.

#![allow(dead_code)]

use std::collections::BTreeMap;

use common::detect::Health;
use common::id::{JobId, JobUid, Millis};
use common::job::{Endpoint, JobSpec};
use common::limits::Limits;
use common::schedule::schedule;
use common::schema::{
    CanonicalType, Catalog, Column, EndpointFacts, Engine, InspectedTable, KeyBound, KeySample,
    SourceMark, TableSchema,
};
use common::state::{Applied, Command, Entry, State, WorkerHello};
use common::task::{TaskKind, TaskResult};
use common::two_phase::decide;
use common::view::{ClusterView, WorkerView};

/// Bytes of a partition.
pub const PARTITION_BYTES: u64 = 64 << 20;

/// One table of four buckets a partition, as planned for real ones.
pub fn catalog(partitions: u32) -> Catalog {
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
        native_key: None,
        rows_estimate: 1,
        bytes_estimate: u64::from(partitions) * PARTITION_BYTES,
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

/// A job that copies, so many live workers, nothing handed out yet.
pub fn copying(partitions: u32, workers: u32, slots: u32) -> (State, ClusterView) {
    let mut state = State::default();
    let mut view = ClusterView::default();
    for n in 0..workers {
        let hello = hello(n, slots);
        let worker = match apply(&mut state, Command::RegisterWorker(hello)) {
            Applied::Worker(worker) => worker,
            other => panic!("registering: {other:?}"),
        };
        let seen = WorkerView {
            health: Health::Live,
            draining: false,
            memory_bytes: 0,
            progress: BTreeMap::new(),
        };
        view.workers.insert(worker, seen);
    }
    let endpoint = |url: &str| Endpoint {
        url: url.to_owned(),
        password: None,
    };
    let mut spec = JobSpec::new("bench", endpoint("mysql://a/a"), endpoint("mysql://b/b"));
    spec.partition_bytes = PARTITION_BYTES;
    let spec = Box::new(spec);
    let uid = JobUid::parse("0123456789abcdef0123456789abcdef").expect("32 hex digits");
    apply(&mut state, Command::SubmitJob { uid, spec });
    // Inspect, plan, create: each is handed out and answered until partitions are.
    while state
        .job(JobId(1))
        .expect("submitted")
        .partitions()
        .is_empty()
        || state.job(JobId(1)).expect("submitted").committed() == 0 && next_is_task(&state, &view)
    {
        let mut commands = schedule(&state, &view, &Limits::default());
        commands.extend(decide(&state, 1));
        for command in commands {
            if let Command::AssignTask { task, .. } = &command {
                let kind = { state.job(JobId(1)).and_then(|job| job.task(*task)) }
                    .map(|task| task.kind.clone())
                    .expect("it waits");
                if let Applied::Lease(lease) = apply(&mut state, command) {
                    let result = answer(&kind, partitions);
                    apply(&mut state, Command::RecordTask { lease, result });
                }
            } else if !matches!(command, Command::AssignPartition { .. }) {
                apply(&mut state, command);
            }
        }
    }
    (state, view)
}

fn next_is_task(state: &State, view: &ClusterView) -> bool {
    let commands = schedule(state, view, &Limits::default());
    commands
        .iter()
        .any(|command| matches!(command, Command::AssignTask { .. }))
}

fn answer(kind: &TaskKind, partitions: u32) -> TaskResult {
    match kind {
        TaskKind::Inspect { .. } => TaskResult::Inspected(Box::new(catalog(partitions))),
        _ => TaskResult::Done,
    }
}

/// What a worker says of itself.
pub fn hello(n: u32, slots: u32) -> WorkerHello {
    WorkerHello {
        name: format!("w{n}"),
        incarnation: 1,
        slots,
        version: "bench".to_owned(),
    }
}

/// Applies a command that must be taken.
pub fn apply(state: &mut State, command: Command) -> Applied {
    let entry = Entry {
        at: Millis(1),
        commands: vec![command],
    };
    let answer = state.apply_entry(entry).pop().expect("one answer");
    answer.expect("a command in order")
}
