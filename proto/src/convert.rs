//! All conversions between the wire and the core, in one place. A message that lacks a part is an
//! error with the part's name, never a default.

use common::digest::Digest;
use common::directive::{Ack, Busy, Directive, Directives, Order, Outcome, Progress, Report};
use common::epoch::{Epoch, Lease, TxnId, Unit};
use common::id::{JobId, JobUid, PartitionNo, TableNo, TaskNo, WorkerId};
use common::plan::{Loaded, PartitionSpec};
use common::schema::{KeyBound, KeyRange};
use common::state::WorkerHello;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::v1;

/// A message that doesn't say what it must.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    #[error("the message has no {0}")]
    Missing(&'static str),
    #[error("the message's {0} can't be read: {1}")]
    Invalid(&'static str, String),
}

impl From<ConvertError> for tonic::Status {
    fn from(error: ConvertError) -> Self {
        tonic::Status::invalid_argument(error.to_string())
    }
}

type Result<T> = std::result::Result<T, ConvertError>;

/// JSON bytes of a core type.
pub fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("core types have string keys and can be written as JSON")
}

/// A core type from JSON bytes.
pub fn from_json<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| ConvertError::Invalid(what, error.to_string()))
}

fn need<T>(what: &'static str, value: Option<T>) -> Result<T> {
    value.ok_or(ConvertError::Missing(what))
}

fn uid(text: &str) -> Result<JobUid> {
    JobUid::parse(text).ok_or_else(|| ConvertError::Invalid("job_uid", text.to_owned()))
}

impl From<Lease> for v1::Lease {
    fn from(lease: Lease) -> Self {
        let unit = match lease.unit {
            Unit::Partition(no) => v1::lease::Unit::Partition(no.0),
            Unit::Task(no) => v1::lease::Unit::Task(no.0),
        };
        v1::Lease {
            job: lease.job.0,
            unit: Some(unit),
            epoch: lease.epoch.0,
        }
    }
}

impl TryFrom<v1::Lease> for Lease {
    type Error = ConvertError;
    fn try_from(lease: v1::Lease) -> Result<Lease> {
        let unit = match need("unit", lease.unit)? {
            v1::lease::Unit::Partition(no) => Unit::Partition(PartitionNo(no)),
            v1::lease::Unit::Task(no) => Unit::Task(TaskNo(no)),
        };
        Ok(Lease {
            job: JobId(lease.job),
            unit,
            epoch: Epoch(lease.epoch),
        })
    }
}

/// T of a partition's lease.
fn txn(lease: Lease, job: &JobUid, epoch: Epoch) -> v1::TxnId {
    let partition = match lease.unit {
        Unit::Partition(no) => no.0,
        Unit::Task(_) => 0,
    };
    v1::TxnId {
        job_uid: job.to_string(),
        partition,
        epoch: epoch.0,
    }
}

impl TryFrom<v1::TxnId> for TxnId {
    type Error = ConvertError;
    fn try_from(t: v1::TxnId) -> Result<TxnId> {
        let (partition, epoch) = (PartitionNo(t.partition), Epoch(t.epoch));
        Ok(TxnId {
            job: uid(&t.job_uid)?,
            partition,
            epoch,
        })
    }
}

fn bound(bound: KeyBound) -> v1::KeyBound {
    v1::KeyBound { literals: bound.0 }
}

impl From<PartitionSpec> for v1::PartitionSpec {
    fn from(spec: PartitionSpec) -> Self {
        let range = |range: KeyRange| v1::KeyRange {
            from: range.from.map(bound),
            until: range.until.map(bound),
        };
        v1::PartitionSpec {
            partition: spec.partition.0,
            table: spec.table.0,
            class: spec.class,
            columns: spec.columns,
            ranges: spec.ranges.into_iter().map(range).collect(),
        }
    }
}

impl From<v1::PartitionSpec> for PartitionSpec {
    fn from(spec: v1::PartitionSpec) -> Self {
        let range = |range: v1::KeyRange| KeyRange {
            from: range.from.map(|bound| KeyBound(bound.literals)),
            until: range.until.map(|bound| KeyBound(bound.literals)),
        };
        PartitionSpec {
            partition: PartitionNo(spec.partition),
            table: TableNo(spec.table),
            class: spec.class,
            columns: spec.columns,
            ranges: spec.ranges.into_iter().map(range).collect(),
        }
    }
}

impl From<Loaded> for v1::Loaded {
    fn from(loaded: Loaded) -> Self {
        v1::Loaded {
            rows: loaded.digest.rows,
            bytes: loaded.bytes,
            digest_sum: loaded.digest.sum.to_be_bytes().to_vec(),
        }
    }
}

impl TryFrom<v1::Loaded> for Loaded {
    type Error = ConvertError;
    fn try_from(loaded: v1::Loaded) -> Result<Loaded> {
        let length = loaded.digest_sum.len();
        let sum: [u8; 16] = loaded
            .digest_sum
            .try_into()
            .map_err(|_| ConvertError::Invalid("digest_sum", format!("{length} bytes")))?;
        let digest = Digest {
            rows: loaded.rows,
            sum: u128::from_be_bytes(sum),
        };
        Ok(Loaded {
            bytes: loaded.bytes,
            digest,
        })
    }
}

/// `resource` is V: the job's target, without a password.
pub(crate) fn directive(directive: Directive, resource: &str) -> v1::Directive {
    use v1::directive::Order as Wire;
    let Directive { lease, uid, order } = directive;
    let order = match order {
        Order::Prepare { spec, decided } => Wire::Prepare(v1::Prepare {
            t: Some(txn(lease, &uid, lease.epoch)),
            v: resource.to_owned(),
            x: Some(spec.into()),
            decided: decided.map(|epoch| epoch.0),
        }),
        Order::Commit => {
            let t = txn(lease, &uid, lease.epoch);
            let x = t.partition;
            Wire::Commit(v1::Commit {
                t: Some(t),
                v: resource.to_owned(),
                x,
            })
        }
        Order::Run { task } => Wire::Run(v1::RunTask {
            task: to_json(&task),
        }),
    };
    v1::Directive {
        lease: Some(lease.into()),
        job_uid: uid.to_string(),
        order: Some(order),
    }
}

impl v1::Directives {
    /// The wire form; `resource_of` gives V of a job.
    pub fn pack(directives: Directives, resource_of: impl Fn(JobId) -> String) -> v1::Directives {
        let wanted = directives.wanted.into_iter().map(|wanted| {
            let resource = resource_of(wanted.lease.job);
            directive(wanted, &resource)
        });
        v1::Directives {
            term: directives.term,
            worker: directives.worker.0,
            wanted: wanted.collect(),
            self_stop_ms: directives.self_stop_ms,
            heard: directives.heard,
            keep_ms: directives.keep_ms,
        }
    }
}

impl TryFrom<v1::Directive> for Directive {
    type Error = ConvertError;
    fn try_from(directive: v1::Directive) -> Result<Directive> {
        use v1::directive::Order as Wire;
        let order = match need("order", directive.order)? {
            Wire::Prepare(prepare) => Order::Prepare {
                spec: need("x", prepare.x)?.into(),
                decided: prepare.decided.map(Epoch),
            },
            Wire::Commit(_) => Order::Commit,
            Wire::Run(run) => Order::Run {
                task: from_json("task", &run.task)?,
            },
        };
        let lease = need("lease", directive.lease)?.try_into()?;
        Ok(Directive {
            lease,
            uid: uid(&directive.job_uid)?,
            order,
        })
    }
}

impl TryFrom<v1::Directives> for Directives {
    type Error = ConvertError;
    fn try_from(directives: v1::Directives) -> Result<Directives> {
        let wanted = directives.wanted.into_iter().map(Directive::try_from);
        Ok(Directives {
            term: directives.term,
            worker: WorkerId(directives.worker),
            wanted: wanted.collect::<Result<_>>()?,
            self_stop_ms: directives.self_stop_ms,
            heard: directives.heard,
            keep_ms: directives.keep_ms,
        })
    }
}

/// An acknowledgement as a worker sends it: `job` and `resource` are T's job and V.
pub struct AckParts<'a> {
    pub ack: Ack,
    pub job: &'a JobUid,
    pub resource: &'a str,
}

impl From<AckParts<'_>> for v1::Ack {
    fn from(AckParts { ack, job, resource }: AckParts<'_>) -> Self {
        use v1::ack::Outcome as Wire;
        let Ack { lease, outcome } = ack;
        let v = resource.to_owned();
        let outcome = match outcome {
            Outcome::Prepared(loaded) => Wire::Prepared(v1::PrepareAck {
                t: Some(txn(lease, job, lease.epoch)),
                v,
                x: Some(loaded.into()),
            }),
            Outcome::Committed(epoch) => {
                let t = txn(lease, job, epoch);
                let x = t.partition;
                Wire::Committed(v1::CommitAck { t: Some(t), v, x })
            }
            Outcome::Task(result) => Wire::Task(to_json(&result)),
            Outcome::Failed { class, failure } => {
                let (class, failure) = (to_json(&class), to_json(&failure));
                Wire::Failed(v1::Failed { class, failure })
            }
            Outcome::Released => Wire::Released(true),
        };
        v1::Ack {
            lease: Some(lease.into()),
            outcome: Some(outcome),
        }
    }
}

impl TryFrom<v1::Ack> for Ack {
    type Error = ConvertError;
    fn try_from(ack: v1::Ack) -> Result<Ack> {
        use v1::ack::Outcome as Wire;
        let outcome = match need("outcome", ack.outcome)? {
            Wire::Prepared(ack) => Outcome::Prepared(need("x", ack.x)?.try_into()?),
            Wire::Committed(ack) => Outcome::Committed(Epoch(need("t", ack.t)?.epoch)),
            Wire::Task(result) => Outcome::Task(from_json("task result", &result)?),
            Wire::Failed(failed) => Outcome::Failed {
                class: from_json("class", &failed.class)?,
                failure: from_json("failure", &failed.failure)?,
            },
            Wire::Released(_) => Outcome::Released,
        };
        Ok(Ack {
            lease: need("lease", ack.lease)?.try_into()?,
            outcome,
        })
    }
}

impl From<Progress> for v1::Progress {
    fn from(progress: Progress) -> Self {
        v1::Progress {
            lease: Some(progress.lease.into()),
            rows: progress.rows,
            bytes: progress.bytes,
            source_ms: progress.busy.source_ms,
            target_ms: progress.busy.target_ms,
            decision_ms: progress.busy.decision_ms,
            follow: progress.follow.map(|f| to_json(&f)).unwrap_or_default(),
        }
    }
}

impl TryFrom<v1::Progress> for Progress {
    type Error = ConvertError;
    fn try_from(progress: v1::Progress) -> Result<Progress> {
        let busy = Busy {
            source_ms: progress.source_ms,
            target_ms: progress.target_ms,
            decision_ms: progress.decision_ms,
        };
        let lease = need("lease", progress.lease)?.try_into()?;
        let follow = match progress.follow.is_empty() {
            true => None,
            false => Some(from_json("follow", &progress.follow)?),
        };
        Ok(Progress {
            lease,
            rows: progress.rows,
            bytes: progress.bytes,
            busy,
            follow,
        })
    }
}

impl v1::Report {
    /// The wire form; `job_of` gives T's job and V of a lease's job.
    pub fn pack(report: Report, job_of: impl Fn(JobId) -> (JobUid, String)) -> v1::Report {
        let acks = report.acks.into_iter().map(|ack| {
            let (job, resource) = job_of(ack.lease.job);
            AckParts {
                ack,
                job: &job,
                resource: &resource,
            }
            .into()
        });
        v1::Report {
            name: report.hello.name,
            incarnation: report.hello.incarnation,
            slots: report.hello.slots,
            version: report.hello.version,
            draining: report.draining,
            running: report.running.into_iter().map(Into::into).collect(),
            acks: acks.collect(),
            progress: report.progress.into_iter().map(Into::into).collect(),
            memory_bytes: report.memory_bytes,
            seq: report.seq,
        }
    }
}

impl TryFrom<v1::Report> for Report {
    type Error = ConvertError;
    fn try_from(report: v1::Report) -> Result<Report> {
        let hello = WorkerHello {
            name: report.name,
            incarnation: report.incarnation,
            slots: report.slots,
            version: report.version,
        };
        Ok(Report {
            hello,
            draining: report.draining,
            running: report
                .running
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_>>()?,
            acks: report
                .acks
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_>>()?,
            progress: report
                .progress
                .into_iter()
                .map(TryInto::try_into)
                .collect::<Result<_>>()?,
            memory_bytes: report.memory_bytes,
            seq: report.seq,
        })
    }
}
