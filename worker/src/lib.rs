//! The shell that moves rows: a session with the leader, a runner of units, one straight-line
//! function per task, and the connectors. Runs in its own process (`sterna worker`) or in that of
//! `sterna clone`; signals are the caller's business, and so is the log's subscriber.

pub mod checks;
pub mod connector;
mod context;
mod dial;
#[cfg(test)]
#[path = "../tests/support/fake.rs"]
mod fake;
mod faults;
mod fresh;
mod meter;
mod metrics;
pub mod preview;
mod runner;
pub mod secret;
mod session;
#[cfg(test)]
mod session_tests;
mod task;

/// What the benchmarks measure by itself.
#[doc(hidden)]
pub mod bench {
    pub use crate::connector::mysql::infile;
    pub use crate::connector::postgres::copytext::{Encoder, Field, decode_row};
    pub use crate::connector::postgres::types::Shape;
}

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::id::WorkerId;
use common::limits;
use common::state::WorkerHello;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::context::Contexts;
use crate::fresh::Freshness;
use crate::metrics::Metrics;
use crate::runner::{RunUnit, Runner};
use crate::secret::Secrets;
use crate::session::{Parts, Session};
use crate::task::Shared;

/// How to run a worker.
#[derive(Clone)]
pub struct WorkerConfig {
    /// Unique in the cluster; a second worker of this name takes the place of the first.
    pub name: String,
    /// `host:port` of at least one coordinator.
    pub coordinators: Vec<String>,
    /// Units it runs at the same time.
    pub slots: u32,
    pub secrets: Secrets,
    /// How long `drain` lets units go on.
    pub drain_ms: u64,
}

impl WorkerConfig {
    /// A worker with every default.
    pub fn new(name: impl Into<String>, coordinators: Vec<String>, slots: u32) -> WorkerConfig {
        WorkerConfig {
            name: name.into(),
            coordinators,
            slots,
            secrets: Secrets::default(),
            drain_ms: limits::DRAIN_MS,
        }
    }
}

/// Why a worker can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("no coordinator was named")]
    NoCoordinator,
    #[error("{address:?} is no coordinator's address: use HOST:PORT")]
    BadAddress { address: String },
    #[error("a worker needs at least one slot")]
    NoSlots,
    #[error("STERNA_FAULT can't be read: {reason}")]
    BadFault { reason: String },
}

/// What a worker looks like from outside.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// As the leader registered it; None before that.
    pub worker: Option<WorkerId>,
    /// Address of the leader it attends to now.
    pub leader: Option<String>,
    /// Highest Raft term heard.
    pub term: u64,
    /// Units that run now.
    pub running: u32,
    /// Rows loaded into targets since the start, committed or not.
    pub rows_written: u64,
    /// Resident memory of the process.
    pub memory_bytes: u64,
    started: bool,
}

/// What the owner of the handle wants; it only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wish {
    Run,
    Drain,
    Stop,
}

/// A running worker. Dropping the handle stops it without waiting.
pub struct WorkerHandle {
    name: String,
    wish: watch::Sender<Wish>,
    figures: watch::Receiver<Figures>,
    shared: Arc<Shared>,
    session: Mutex<Option<JoinHandle<()>>>,
}

/// Starts a worker; returns once its session runs, attached to a leader or not.
pub async fn start(config: WorkerConfig) -> Result<WorkerHandle, StartError> {
    start_with(config, task::run).await
}

async fn start_with(config: WorkerConfig, run: RunUnit) -> Result<WorkerHandle, StartError> {
    check(&config)?;
    faults::arm_from_environment().map_err(|reason| StartError::BadFault { reason })?;
    let (leader, leader_seen) = watch::channel(None);
    let (wish, wish_seen) = watch::channel(Wish::Run);
    let (figures, mut figures_seen) = watch::channel(Figures::default());
    let shared = Arc::new(Shared {
        contexts: Contexts::new(leader_seen),
        secrets: config.secrets,
        metrics: Metrics::new(),
        fresh: Freshness::new(),
    });
    let session = Session::new(Parts {
        hello: WorkerHello {
            name: config.name.clone(),
            incarnation: incarnation(),
            slots: config.slots,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        },
        coordinators: config.coordinators,
        runner: Runner::new(Arc::clone(&shared), run),
        shared: Arc::clone(&shared),
        leader,
        wish: wish_seen,
        figures,
        drain: Duration::from_millis(config.drain_ms),
    });
    let session = tokio::spawn(session.run());
    // An error means that it has ended already: `finished` tells.
    let _ = figures_seen.wait_for(|figures| figures.started).await;
    Ok(WorkerHandle {
        name: config.name,
        wish,
        figures: figures_seen,
        shared,
        session: Mutex::new(Some(session)),
    })
}

fn check(config: &WorkerConfig) -> Result<(), StartError> {
    if config.coordinators.is_empty() {
        return Err(StartError::NoCoordinator);
    }
    if let Some(address) = config
        .coordinators
        .iter()
        .find(|address| !dial::is_address(address))
    {
        return Err(StartError::BadAddress {
            address: address.clone(),
        });
    }
    match config.slots {
        0 => Err(StartError::NoSlots),
        _ => Ok(()),
    }
}

/// Tells two lives of one name apart: nanoseconds since 1970, which fit for 500 years.
fn incarnation() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

impl WorkerHandle {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As the leader registered it; None before that.
    pub fn id(&self) -> Option<WorkerId> {
        self.figures.borrow().worker
    }

    pub fn figures(&self) -> Figures {
        Figures {
            rows_written: self.shared.metrics.rows_written(),
            memory_bytes: metrics::resident_bytes(),
            ..self.figures.borrow().clone()
        }
    }

    /// OpenMetrics text.
    pub fn metrics_text(&self) -> String {
        self.shared.metrics.text()
    }

    /// Takes no new work, lets units finish (or gives them back after `drain_ms`), then ends.
    /// `stop` may be called meanwhile.
    pub async fn drain(&self) {
        self.wish_for(Wish::Drain);
        self.finished().await;
    }

    /// Ends now: rolls back what is undecided, gives it back, waits for the leader to hear it.
    pub async fn stop(&self) {
        self.wish_for(Wish::Stop);
        self.finished().await;
    }

    /// Waits until the worker has ended, for whatever reason.
    pub async fn finished(&self) {
        let mut figures = self.figures.clone();
        while figures.changed().await.is_ok() {}
        if let Some(session) = self.session.lock().await.take()
            && session.await.is_err()
        {
            tracing::error!(worker = self.name, "the worker's session broke down");
        }
    }

    fn wish_for(&self, wish: Wish) {
        self.wish.send_if_modified(|now| {
            let grows = wish > *now;
            *now = wish.max(*now);
            grows
        });
    }
}
