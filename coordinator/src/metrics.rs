//! Every metric of a coordinator, in one list. Figures are computed from the state when they are
//! asked for; nothing here walks partitions. Labels are bounded: never a partition, a key or T.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use common::detect::Health;
use common::state::{Job, Phase, State};
use common::status::{self, FollowStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::raft::RaftFigures;
use crate::shared::Shared;

/// Tables that get a series of their own; the rest is summed up as `other`.
const TABLE_LABELS_MAX: usize = 500;

/// The one histogram: name and help.
const TICKS: (&str, &str) = (
    "sterna_leader_tick_seconds",
    "Time in which this leader derived what is to be done",
);

macro_rules! metrics {
    ($( $name:ident = $text:literal, $kind:ident: $help:literal; )*) => {
        /// A metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric { $( #[doc = $help] $name, )* }

        impl Metric {
            /// All of them, in the order they are shown.
            pub const ALL: &'static [Metric] = &[$(Metric::$name),*];

            /// The full name, as it is scraped.
            pub fn as_str(self) -> &'static str {
                match self { $(Metric::$name => $text),* }
            }
            pub fn help(self) -> &'static str {
                match self { $(Metric::$name => $help),* }
            }
            fn kind(self) -> MetricType {
                match self { $(Metric::$name => MetricType::$kind),* }
            }
        }
    };
}

metrics! {
    BuildInfo = "sterna_build_info", Gauge: "What runs here";
    JobState = "sterna_job_state", Gauge: "1 for the phase a job is in";
    JobProgress = "sterna_job_progress_ratio", Gauge: "Committed partitions of all";
    Partitions = "sterna_partitions", Gauge: "Partitions of a job by state";
    PartitionsRedone = "sterna_partitions_redone_total", Counter: "Partitions copied again after a loss or failure";
    RowsCopied = "sterna_table_rows_copied_total", Counter: "Rows committed at the target";
    BytesCopied = "sterna_table_bytes_copied_total", Counter: "Bytes of cells committed at the target";
    CdcLagSeconds = "sterna_cdc_lag_seconds", Gauge: "Age of the oldest change of the source that is not applied; from the leader only";
    CdcLagBytes = "sterna_cdc_lag_bytes", Gauge: "Bytes of the source's log that are not applied";
    CdcRows = "sterna_cdc_rows_total", Counter: "Row changes applied since the running follow task began, by op";
    CdcHeadroomBytes = "sterna_cdc_headroom_bytes", Gauge: "Bytes the source may still write before it removes what is needed; absent = no bound";
    CdcHeadroomSeconds = "sterna_cdc_headroom_seconds", Gauge: "Time until the source removes what is needed; absent = no bound";
    Workers = "sterna_workers", Gauge: "Registered workers by health; unknown where this coordinator doesn't lead";
    LeaseExpirations = "sterna_lease_expirations_total", Counter: "Workers that lost their leases to this leader";
    CommandsApplied = "sterna_leader_commands_total", Counter: "Commands this leader had applied";
    CommandsRejected = "sterna_leader_commands_rejected_total", Counter: "Commands that came too late";
    StorageFull = "sterna_state_dir_full", Gauge: "1 while the state directory can't be written";
    RaftIsLeader = "sterna_raft_is_leader", Gauge: "1 on the leader";
    RaftTerm = "sterna_raft_term", Gauge: "Raft term";
    RaftCommitIndex = "sterna_raft_commit_index", Gauge: "Last log entry known to be committed";
    RaftAppliedIndex = "sterna_raft_applied_index", Gauge: "Last log entry applied";
    RaftLogEntries = "sterna_raft_log_entries", Gauge: "Log entries on disk";
    RaftLogBytes = "sterna_raft_log_bytes", Gauge: "Size of the log's file";
    RaftSnapshotBytes = "sterna_raft_snapshot_bytes", Gauge: "Size of the last snapshot";
    RaftLeaderChanges = "sterna_raft_leader_changes_total", Counter: "Leader changes seen since the start";
    RaftFsyncs = "sterna_raft_fsyncs_total", Counter: "Durable writes of the log";
    RaftFsyncSeconds = "sterna_raft_fsync_seconds_total", Counter: "Time spent in durable writes of the log";
    RaftFsyncSecondsMax = "sterna_raft_fsync_seconds_max", Gauge: "The longest durable write since the start";
}

type Labels = Vec<(&'static str, String)>;
type Samples = Vec<(Labels, f64)>;

/// The registry, with one collector that asks on each scrape.
pub(crate) struct Metrics {
    registry: Registry,
}

impl Metrics {
    pub fn new(shared: Shared) -> Metrics {
        let mut registry = Registry::default();
        let ticks = shared.tally.ticks.clone();
        registry.register(TICKS.0, TICKS.1, ticks);
        registry.register_collector(Box::new(Scrape(Arc::new(shared))));
        Metrics { registry }
    }

    /// OpenMetrics text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

struct Scrape(Arc<Shared>);

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrape")
    }
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let figures = self.0.consensus.figures();
        for metric in Metric::ALL {
            let samples = self.samples(*metric, &figures);
            if samples.is_empty() {
                continue;
            }
            // The encoder adds `_total` to counters by itself.
            let name = metric.as_str();
            let name = name.strip_suffix("_total").unwrap_or(name);
            let mut family = encoder.encode_descriptor(name, metric.help(), None, metric.kind())?;
            for (labels, value) in samples {
                let series = family.encode_family(&labels)?;
                match metric.kind() {
                    MetricType::Counter => ConstCounter::new(value).encode(series)?,
                    _ => ConstGauge::new(value).encode(series)?,
                }
            }
        }
        Ok(())
    }
}

impl Scrape {
    fn samples(&self, metric: Metric, raft: &RaftFigures) -> Samples {
        let tally = &self.0.tally;
        let one = |value: f64| vec![(Labels::new(), value)];
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed) as f64;
        match metric {
            Metric::BuildInfo => {
                let version = env!("CARGO_PKG_VERSION").to_owned();
                let role = "coordinator".to_owned();
                vec![(vec![("version", version), ("role", role)], 1.0)]
            }
            Metric::JobState
            | Metric::JobProgress
            | Metric::Partitions
            | Metric::PartitionsRedone
            | Metric::RowsCopied
            | Metric::BytesCopied => self.0.consensus.with_state(|state| of_jobs(metric, state)),
            Metric::CdcLagSeconds
            | Metric::CdcLagBytes
            | Metric::CdcRows
            | Metric::CdcHeadroomBytes
            | Metric::CdcHeadroomSeconds => self.following(metric),
            Metric::Workers => self.workers(),
            Metric::LeaseExpirations => one(count(&tally.lease_expirations)),
            Metric::CommandsApplied => one(count(&tally.commands_applied)),
            Metric::CommandsRejected => one(count(&tally.commands_rejected)),
            Metric::StorageFull => one(f64::from(u8::from(tally.is_storage_full()))),
            Metric::RaftIsLeader => one(f64::from(u8::from(raft.is_leader))),
            Metric::RaftTerm => one(raft.term as f64),
            Metric::RaftCommitIndex => one(raft.commit_index as f64),
            Metric::RaftAppliedIndex => one(raft.applied_index as f64),
            Metric::RaftLogEntries => one(raft.log_entries as f64),
            Metric::RaftLogBytes => one(raft.log_bytes as f64),
            Metric::RaftSnapshotBytes => one(raft.snapshot_bytes as f64),
            Metric::RaftLeaderChanges => one(raft.leader_changes as f64),
            Metric::RaftFsyncs => one(raft.fsync_count as f64),
            Metric::RaftFsyncSeconds => one(raft.fsync_seconds_sum),
            Metric::RaftFsyncSecondsMax => one(raft.fsync_seconds_max),
        }
    }

    /// What the leader hears of follow tasks.
    fn following(&self, metric: Metric) -> Samples {
        if !self.0.role().leading {
            return Samples::new();
        }
        self.0.consensus.with_state(|state| {
            self.0.with_view(|view| {
                let jobs = newest_of_each_name(state).into_iter();
                let followed = jobs.filter_map(|(id, job)| {
                    let follow = status::follow_status(id, job, Some(view))?;
                    Some((job.spec.name.clone(), follow))
                });
                followed
                    .flat_map(|(name, follow)| of_following(metric, &name, &follow))
                    .collect()
            })
        })
    }

    fn workers(&self) -> Samples {
        let leading = self.0.role().leading;
        let counts = self.0.consensus.with_state(|state| {
            self.0.with_view(|view| {
                let mut counts = [0_u32; 4];
                for (id, _) in state.workers() {
                    let seen = view.workers.get(&id).filter(|_| leading);
                    let slot = match seen.map(|seen| seen.health) {
                        Some(Health::Live) => 0,
                        Some(Health::Suspect) => 1,
                        Some(Health::Lost) => 2,
                        None => 3,
                    };
                    counts[slot] += 1;
                }
                counts
            })
        });
        let names = ["live", "suspect", "lost", "unknown"];
        let samples = names.iter().zip(counts);
        samples
            .map(|(name, count)| (vec![("state", (*name).to_owned())], f64::from(count)))
            .collect()
    }
}

fn of_jobs(metric: Metric, state: &State) -> Samples {
    let mut samples = Samples::new();
    for (_, job) in newest_of_each_name(state) {
        let name = job.spec.name.clone();
        let (total, committed) = (job.partitions().len() as u32, job.committed());
        match metric {
            Metric::JobState => samples.extend(Phase::ALL.iter().map(|phase| {
                let labels = vec![("job", name.clone()), ("state", phase.to_string())];
                (labels, f64::from(u8::from(job.phase == *phase)))
            })),
            Metric::JobProgress => {
                let ratio = f64::from(committed) / f64::from(total.max(1));
                samples.push((vec![("job", name)], ratio));
            }
            Metric::Partitions => {
                let in_flight = job.in_flight();
                let waiting = total - committed - in_flight.min(total - committed);
                let counts = [
                    ("waiting", waiting),
                    ("in_flight", in_flight),
                    ("committed", committed),
                ];
                samples.extend(counts.map(|(state, count)| {
                    let labels = vec![("job", name.clone()), ("state", state.to_owned())];
                    (labels, f64::from(count))
                }));
            }
            Metric::PartitionsRedone => {
                samples.push((vec![("job", name)], job.redone as f64));
            }
            Metric::RowsCopied => of_tables(job, &mut samples, |totals| totals.digest.rows),
            Metric::BytesCopied => of_tables(job, &mut samples, |totals| totals.bytes),
            _ => {}
        }
    }
    samples
}

fn of_following(metric: Metric, name: &str, follow: &FollowStatus) -> Samples {
    let job = || ("job", name.to_owned());
    let one = |value: Option<f64>| value.map(|value| (vec![job()], value));
    let seconds = |ms: Option<u64>| ms.map(|ms| ms as f64 / 1_000.0);
    let sample = match metric {
        Metric::CdcLagSeconds => one(seconds(follow.lag_ms)),
        Metric::CdcLagBytes => one(follow.lag_bytes.map(|bytes| bytes as f64)),
        Metric::CdcHeadroomBytes => one(follow.headroom_bytes.map(|bytes| bytes as f64)),
        Metric::CdcHeadroomSeconds => one(seconds(follow.headroom_ms)),
        // A task that says nothing yet has applied nothing that is known.
        _ if follow.lag_ms.is_none() => None,
        _ => {
            let applied = follow.applied;
            let ops = [
                ("insert", applied.inserts),
                ("update", applied.updates),
                ("delete", applied.deletes),
            ];
            return ops
                .map(|(op, rows)| (vec![job(), ("op", op.to_owned())], rows as f64))
                .to_vec();
        }
    };
    sample.into_iter().collect()
}

/// A name may be used again once its job has ended; two series of one name would be an error.
fn newest_of_each_name(state: &State) -> Vec<(common::id::JobId, &Job)> {
    let is_newest = |id, job: &Job| {
        state
            .job_named(&job.spec.name)
            .is_some_and(|(newest, _)| newest == id)
    };
    state
        .jobs()
        .filter(|(id, job)| is_newest(*id, job))
        .collect()
}

fn of_tables(
    job: &Job,
    samples: &mut Samples,
    figure: impl Fn(&common::state::TableTotals) -> u64,
) {
    let Some(plan) = &job.plan else { return };
    let labels = |table: &str| {
        let (job, table) = (job.spec.name.clone(), table.to_owned());
        vec![("job", job), ("table", table)]
    };
    let named = plan.tables.iter().zip(&job.totals).take(TABLE_LABELS_MAX);
    for (table, totals) in named {
        samples.push((labels(&table.source.full_name()), figure(totals) as f64));
    }
    if job.totals.len() > TABLE_LABELS_MAX {
        let rest = job.totals[TABLE_LABELS_MAX..].iter();
        let sum: u64 = rest.map(&figure).sum();
        samples.push((labels("other"), sum as f64));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules() {
        let mut seen = std::collections::BTreeSet::new();
        for metric in Metric::ALL {
            let name = metric.as_str();
            assert!(seen.insert(name), "{name} twice");
            assert!(name.starts_with("sterna_") && !metric.help().is_empty());
            let counter = matches!(metric.kind(), MetricType::Counter);
            assert_eq!(name.ends_with("_total"), counter, "{name}");
        }
    }
}
