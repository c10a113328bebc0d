//! Where adding workers stops to help: the product's own scheduler over modelled databases. Each
//! stream gets the least of what a connection, its share of a worker, of the source and of the target
//! give (processor sharing); a partition's two phases take their time beside it. Prints a table.
//!
//! `cargo bench --bench scaling -- [GIB] [SOURCE_MBS] [TARGET_MBS] [STREAM_MBS] [WORKER_MBS]`
//!
//! The defaults are what this project measured on two cores for rows of 190 bytes; put in your own.

use std::collections::BTreeMap;

use common::digest::Digest;
use common::epoch::Lease;
use common::epoch::Unit;
use common::id::{JobId, PartitionNo, WorkerId};
use common::limits::Limits;
use common::plan::Loaded;
use common::schedule::schedule;
use common::state::{Applied, Command, State};
use common::two_phase::decide;

mod fixture;

const SLOTS: u32 = 4;
/// Seconds from a partition's last row to its commit and the next one's first row: two entries of the
/// log, two fsyncs of the target, one round.
const BETWEEN: f64 = 0.03;

/// Megabytes a second.
struct Rates {
    source: f64,
    target: f64,
    stream: f64,
    worker: f64,
}

/// A partition on its way.
struct Stream {
    lease: Lease,
    worker: WorkerId,
    /// Megabytes to go; then seconds to go.
    left: f64,
    between: bool,
}

fn main() {
    let numbers: Vec<f64> = { std::env::args() }
        .filter_map(|arg| arg.parse().ok())
        .collect();
    let given = |at: usize, otherwise: f64| numbers.get(at).copied().unwrap_or(otherwise);
    let gib = given(0, 256.0);
    let rates = Rates {
        source: given(1, 1_000.0),
        target: given(2, 400.0),
        stream: given(3, 40.0),
        worker: given(4, 150.0),
    };
    let partitions = (gib * 16.0) as u32;
    println!(
        "{gib} GiB in {partitions} partitions; MB/s: source {}, target {}, a stream {}, a worker {}",
        rates.source, rates.target, rates.stream, rates.worker
    );
    println!("workers  seconds    MB/s  speed-up  efficiency  limited by");
    let mut alone = 0.0;
    for workers in [1, 2, 4, 8, 16, 32, 64, 128, 256] {
        let (seconds, limit) = copy(partitions, workers, &rates);
        if workers == 1 {
            alone = seconds;
        }
        let gain = alone / seconds;
        let speed = f64::from(partitions) * fixture::PARTITION_BYTES as f64 / 1e6 / seconds;
        println!(
            "{workers:7}  {seconds:7.1}  {speed:6.0}  {gain:8.2}  {:9.0}%  {limit}",
            100.0 * gain / f64::from(workers)
        );
    }
}

/// Seconds to copy everything, and what the streams waited for most.
fn copy(partitions: u32, workers: u32, rates: &Rates) -> (f64, &'static str) {
    let (mut state, view) = fixture::copying(partitions, workers, SLOTS);
    let (mut streams, mut now): (Vec<Stream>, f64) = (Vec::new(), 0.0);
    let mut waited: BTreeMap<&'static str, f64> = BTreeMap::new();
    while state.job(JobId(1)).expect("submitted").committed() < partitions {
        for command in schedule(&state, &view, &Limits::default()) {
            streams.extend(begin(&mut state, command));
        }
        let mut moving: BTreeMap<WorkerId, f64> = BTreeMap::new();
        for stream in streams.iter().filter(|stream| !stream.between) {
            *moving.entry(stream.worker).or_default() += 1.0;
        }
        let shares = streams.iter().map(|stream| share(stream, &moving, rates));
        let shares: Vec<(f64, &str)> = shares.collect();
        let to_go = streams
            .iter()
            .zip(&shares)
            .map(|(stream, (rate, _))| stream.left / rate);
        let step = to_go.fold(f64::INFINITY, f64::min);
        assert!(step.is_finite(), "nothing runs and not all is committed");
        now += step;
        for (stream, (rate, limit)) in streams.iter_mut().zip(&shares) {
            stream.left -= step * rate;
            *waited.entry(limit).or_default() += step;
        }
        streams = streams
            .into_iter()
            .filter_map(|stream| go_on(&mut state, stream))
            .collect();
    }
    let most = waited.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
    (now, most.map_or("nothing", |(limit, _)| limit))
}

/// Megabytes a second of one stream and what bounds it; seconds a second between two partitions.
/// `moving`: streams of each worker that move rows.
fn share(stream: &Stream, moving: &BTreeMap<WorkerId, f64>, rates: &Rates) -> (f64, &'static str) {
    if stream.between {
        return (1.0, "the two phases");
    }
    let together: f64 = moving.values().sum();
    let beside = moving.get(&stream.worker).copied().unwrap_or(1.0);
    let bounds = [
        (rates.stream, "one stream's speed"),
        (rates.worker / beside, "the workers"),
        (rates.source / together, "the source"),
        (rates.target / together, "the target"),
    ];
    let least = bounds.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
    least.expect("four bounds")
}

fn begin(state: &mut State, command: Command) -> Option<Stream> {
    let Command::AssignPartition { worker, .. } = command else {
        return None;
    };
    let Applied::Lease(lease) = fixture::apply(state, command) else {
        return None;
    };
    Some(Stream {
        lease,
        worker,
        left: fixture::PARTITION_BYTES as f64 / 1e6,
        between: false,
    })
}

/// What is loaded is prepared and decided; what was decided is committed.
fn go_on(state: &mut State, mut stream: Stream) -> Option<Stream> {
    if stream.left > 1e-9 {
        return Some(stream);
    }
    let lease = stream.lease;
    if !stream.between {
        let loaded = loaded(lease.unit);
        fixture::apply(state, Command::RecordPrepared { lease, loaded });
        for command in decide(state, 1) {
            fixture::apply(state, command);
        }
        (stream.left, stream.between) = (BETWEEN, true);
        return Some(stream);
    }
    let committed = lease.epoch;
    fixture::apply(state, Command::RecordCommitted { lease, committed });
    None
}

fn loaded(unit: Unit) -> Loaded {
    let Unit::Partition(PartitionNo(no)) = unit else {
        panic!("only partitions are modelled");
    };
    let digest = Digest {
        rows: 300_000,
        sum: u128::from(no),
    };
    Loaded {
        bytes: fixture::PARTITION_BYTES,
        digest,
    }
}
