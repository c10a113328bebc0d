//! What the pure core costs: filling and fingerprinting a batch of rows, and one step of the
//! protocol at many partitions. `cargo bench --workspace --bench core [FILTER]`.

use std::hint::black_box;

use common::digest::{Digest, RowHasher};
use common::directive::{Ack, Outcome, Report, directives, outline};
use common::epoch::{Epoch, Lease, Unit};
use common::id::{JobId, Millis, PartitionNo, WorkerId};
use common::limits::Limits;
use common::plan::Loaded;
use common::schedule::schedule;
use common::schema::{CanonicalType, CellForm};
use common::state::{Command, Entry, State};
use common::two_phase::intake;
use common::value::{DigestColumn, RowBatch};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

mod fixture;

const WORKERS: u32 = 1_000;
const SLOTS: u32 = 4;
const SIZES: [u32; 2] = [10_000, 1_000_000];

criterion_group!(core, rows, steps);
criterion_main!(core);

/// A megabyte of rows: `(number, number, 120 characters, 60 characters)`.
fn full_batch() -> RowBatch {
    let (c, pad) = ("c".repeat(120), "p".repeat(60));
    let mut batch = RowBatch::new(4);
    for n in 0u32.. {
        for cell in [&n.to_string(), &(n ^ 77).to_string(), &c, &pad] {
            batch.push(cell.as_bytes());
        }
        if batch.is_full() {
            break;
        }
    }
    batch
}

fn rows(criterion: &mut Criterion) {
    let batch = full_batch();
    let mut group = criterion.benchmark_group("rows");
    group.throughput(Throughput::Elements(batch.rows() as u64));
    group.bench_function("fill", |b| b.iter(|| black_box(full_batch())));
    let text = CanonicalType::Text { max_chars: None };
    let number = CanonicalType::Int {
        bits: 32,
        unsigned: false,
    };
    for (name, form) in [
        ("native", CellForm::Native),
        ("canonical", CellForm::Canonical),
    ] {
        let types = [&number, &number, &text, &text];
        let columns = types.map(|of| DigestColumn::new(of, form));
        group.bench_function(format!("digest, {name}"), |b| {
            b.iter(|| {
                let (mut hasher, mut digest) = (RowHasher::default(), Digest::default());
                batch.digest_into(&columns, &mut hasher, &mut digest);
                black_box(digest)
            });
        });
    }
    group.finish();
}

/// The lease of a partition's first epoch.
fn lease(no: u32) -> Lease {
    Lease {
        job: JobId(1),
        unit: Unit::Partition(PartitionNo(no)),
        epoch: Epoch(1),
    }
}

fn loaded(no: u32) -> Loaded {
    let digest = Digest {
        rows: 300_000,
        sum: u128::from(no) << 90,
    };
    Loaded {
        bytes: fixture::PARTITION_BYTES,
        digest,
    }
}

/// The commands that take `count` partitions from `first` on from nobody's to committed.
fn whole_way(first: u32, count: u32) -> Vec<Command> {
    let mut commands = Vec::new();
    for no in first..first + count {
        let (job, partition, epoch) = (JobId(1), PartitionNo(no), Epoch(1));
        let worker = WorkerId(no % WORKERS + 1);
        commands.push(Command::AssignPartition {
            job,
            partition,
            worker,
        });
        let (lease, loaded) = (lease(no), loaded(no));
        commands.push(Command::RecordPrepared { lease, loaded });
        let decision = common::state::Decision::Commit;
        commands.push(Command::Decide {
            job,
            partition,
            epoch,
            decision,
        });
        commands.push(Command::RecordCommitted {
            lease,
            committed: epoch,
        });
    }
    commands
}

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("steps");
    group.sample_size(20);
    for size in SIZES {
        let (mut state, view) = fixture::copying(size, WORKERS, SLOTS);
        let limits = Limits {
            partitions_in_flight_max: u32::MAX,
            ..Limits::default()
        };
        group.bench_function(format!("schedule, {size} wait"), |b| {
            b.iter(|| black_box(schedule(&state, &view, &limits)));
        });
        for command in schedule(&state, &view, &limits) {
            fixture::apply(&mut state, command);
        }
        group.bench_function(format!("schedule, {size}, all slots busy"), |b| {
            b.iter(|| black_box(schedule(&state, &view, &limits)));
        });
        group.bench_function(format!("directives of all workers, {size}"), |b| {
            b.iter(|| {
                for (worker, _) in state.workers() {
                    black_box(directives(&state, worker));
                }
            });
        });
        group.bench_function(format!("outlines of all workers, {size}"), |b| {
            b.iter(|| {
                for (worker, _) in state.workers() {
                    black_box(outline(&state, worker));
                }
            });
        });
        let reports: Vec<Report> = (0..WORKERS).map(|n| report(n, &state)).collect();
        group.bench_function(format!("intake of all workers, {size}"), |b| {
            b.iter(|| {
                for report in &reports {
                    black_box(intake(&state, report));
                }
            });
        });
        group.throughput(Throughput::Elements(1_000));
        group.bench_function(format!("apply, {size}: assigned to committed, 1000"), |b| {
            let commands = whole_way(size - 1_001, 1_000);
            b.iter_batched(
                || (state.clone(), commands.clone()),
                |(mut state, commands)| {
                    let at = Millis(2);
                    let answers = state.apply_entry(Entry { at, commands });
                    assert!(answers.iter().all(Result::is_ok));
                    state
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// What a worker says that has prepared all it holds.
fn report(n: u32, state: &State) -> Report {
    let hello = fixture::hello(n, SLOTS);
    let worker = state.worker_of(&hello).expect("registered");
    let job = state.job(JobId(1)).expect("submitted");
    let held = job.partitions_of_worker(worker);
    let acks = held.map(|(no, _)| Ack {
        lease: lease(no.0),
        outcome: Outcome::Prepared(loaded(no.0)),
    });
    Report {
        acks: acks.collect(),
        hello,
        draining: false,
        running: Vec::new(),
        progress: Vec::new(),
        memory_bytes: 0,
        seq: 1,
    }
}
