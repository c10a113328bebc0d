//! What the parts of one coordinator share: consensus, the leader's view, counters, the stop signal.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::code::{Code, Failure};
use common::id::Millis;
use common::limits::Limits;
use common::state::{Command, Rejected};
use common::view::ClusterView;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Code as Grpc, Status};

use crate::raft::{Consensus, ProposeError, Role};

/// How long an answer waits for the quorum.
const PROPOSE_DEADLINE: Duration = Duration::from_secs(5);
const CONFIRM_DEADLINE: Duration = Duration::from_secs(2);

/// Cheap to clone; every service has one.
#[derive(Clone)]
pub(crate) struct Shared {
    pub consensus: Consensus,
    pub limits: Limits,
    /// Written by the leader's loop alone. Lock order: the state, then the view.
    pub view: Arc<RwLock<ClusterView>>,
    pub tally: Arc<Tally>,
    pub clock: LogClock,
    pub stop: CancellationToken,
    /// Owns every task that serves a session.
    pub tasks: TaskTracker,
}

/// Counts of this process.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Seconds that the leader took to derive what is to be done, one observation a turn.
    pub ticks: Histogram,
    /// The last proposal was refused because the disk is full.
    pub storage_full: AtomicBool,
    /// Workers whose leases were taken away because they fell silent.
    pub lease_expirations: AtomicU64,
    pub commands_applied: AtomicU64,
    pub commands_rejected: AtomicU64,
}

impl Shared {
    /// Reads the leader's view.
    pub fn with_view<T>(&self, read: impl FnOnce(&ClusterView) -> T) -> T {
        read(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn with_view_mut<T>(&self, write: impl FnOnce(&mut ClusterView) -> T) -> T {
        write(&mut self.view.write().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn role(&self) -> Role {
        self.consensus.role().borrow().clone()
    }

    /// The state is as new as any answer given so far; an error if this coordinator can't know.
    pub async fn confirm(&self) -> Result<(), Status> {
        match tokio::time::timeout(CONFIRM_DEADLINE, self.consensus.confirm_leadership()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(refusal(error)),
            Err(_) => Err(no_leader("the quorum doesn't answer")),
        }
    }

    /// Proposes one command for a client and waits until it is applied here.
    pub async fn propose(&self, command: Command) -> Result<common::state::Applied, Status> {
        let proposal = self.consensus.propose(vec![command], self.clock.now());
        let answers = match tokio::time::timeout(PROPOSE_DEADLINE, proposal).await {
            Ok(Ok(answers)) => answers,
            Ok(Err(error)) => return Err(refusal(error)),
            Err(_) => return Err(no_leader("the quorum doesn't answer")),
        };
        match answers.into_iter().next() {
            Some(Ok(applied)) => Ok(applied),
            Some(Err(rejected)) => Err(rejection(&rejected)),
            None => Err(internal("a proposal was applied without an answer")),
        }
    }
}

/// The time of a leader's log entries. Begins where the log's time stands, if this machine's clock
/// is behind it, and then only runs: after a clock that was set an hour ahead and back again, work
/// that was put off "until in a second" would otherwise wait for an hour.
#[derive(Clone, Default)]
pub(crate) struct LogClock(Arc<Mutex<Option<(Millis, Instant)>>>);

impl LogClock {
    /// A term begins; `log` is the time of the newest entry.
    pub fn begin(&self, log: Millis) {
        *self.base() = Some((wall_clock().max(log), Instant::now()));
    }

    /// The wall clock as long as this coordinator has led no term.
    pub fn now(&self) -> Millis {
        match *self.base() {
            Some((base, since)) => base.plus(since.elapsed().as_millis() as u64),
            None => wall_clock(),
        }
    }

    fn base(&self) -> MutexGuard<'_, Option<(Millis, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wall_clock() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Millis(since.map_or(0, |since| since.as_millis() as u64))
}

pub(crate) fn no_leader(what: &str) -> Status {
    proto::status_of(Grpc::Unavailable, &Failure::new(Code::NoLeader, what))
}

pub(crate) fn internal(what: &str) -> Status {
    proto::status_of(Grpc::Internal, &Failure::new(Code::Internal, what))
}

pub(crate) fn no_such_job(name: &str) -> Status {
    let what = format!("no job named {name:?}");
    proto::status_of(Grpc::NotFound, &Failure::new(Code::NoSuchJob, what))
}

/// A proposal that wasn't taken.
pub(crate) fn refusal(error: ProposeError) -> Status {
    match error {
        ProposeError::NotLeader(_) => no_leader("this coordinator doesn't lead"),
        ProposeError::StorageFull(what) => proto::status_of(
            Grpc::ResourceExhausted,
            &Failure::new(Code::StateDirFull, what),
        ),
        ProposeError::Stopped(what) => no_leader(&what),
        ProposeError::Refused(what) => proto::status_of(
            Grpc::FailedPrecondition,
            &Failure::new(Code::WrongState, what),
        ),
    }
}

/// A command that was refused by the state.
fn rejection(rejected: &Rejected) -> Status {
    let (grpc, code) = match rejected {
        Rejected::JobExists(_) => (Grpc::AlreadyExists, Code::JobExists),
        Rejected::UnknownJob(_) => (Grpc::NotFound, Code::NoSuchJob),
        _ => (Grpc::FailedPrecondition, Code::WrongState),
    };
    proto::status_of(grpc, &Failure::new(code, rejected.to_string()))
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            // 0.1 ms to 0.8 s.
            ticks: Histogram::new(exponential_buckets(1e-4, 2.0, 14)),
            storage_full: AtomicBool::default(),
            lease_expirations: AtomicU64::default(),
            commands_applied: AtomicU64::default(),
            commands_rejected: AtomicU64::default(),
        }
    }
}

impl Tally {
    pub fn is_storage_full(&self) -> bool {
        self.storage_full.load(Ordering::Relaxed)
    }
}
