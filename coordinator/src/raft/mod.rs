//! The replicated log: what `propose` has answered survives every crash a quorum survives.
//!
//! The only module that knows the consensus library. It decides nothing about jobs: it orders
//! entries, applies them to [`common::state::State`] and says who leads. A coordinator whose disk
//! fails stops answering; it never says that something is recorded when it may not be.
//!
//! | file | what |
//! |---|---|
//! | `disk`, `log_store`, `recent`, `state_machine` | what is durable, and when |
//! | `network`, `service` | messages to and from the other coordinators |
//! | `bootstrap`, `membership` | who belongs to the cluster, who leads |
//! | `timing`, `watch_over` | elections, deadlines, and the tasks that watch over both |

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use common::id::Millis;
use common::limits::MESSAGE_BYTES_MAX;
use common::state::{Applied, Command, Entry, Rejected, State};
use openraft::StorageHelper;
use openraft::error::{CheckIsLeaderError, ClientWriteError, RaftError};
use proto::v1::raft_server::RaftServer;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod bootstrap;
mod disk;
mod ground;
mod log_store;
mod membership;
mod network;
mod recent;
mod service;
mod state_machine;
#[cfg(test)]
mod tests;
mod timing;
mod types;
mod watch_over;

pub use ground::{Connect, Ground, OpenFile, Strike};
pub use membership::PeerStatus;
pub use service::RaftService;
pub use types::Peer;

use disk::{DiskError, Poison};
use log_store::LogStore;
use network::Links;
use service::Franchise;
use state_machine::Machine;
use types::{Metrics, Raft};

/// Key of the name a data directory belongs to.
const NAME: &str = "name";
/// Room in a message beside its one entry.
const ENVELOPE_BYTES: usize = 64 << 10;

/// How a coordinator takes part.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// Unique in the cluster, and for ever the same for this data directory.
    pub name: String,
    pub data_dir: PathBuf,
    /// `host:port` under which the others reach this one.
    pub advertise: String,
    /// Addresses of all coordinators.
    pub join: Vec<String>,
    /// How many begin a new cluster together.
    pub bootstrap_expect: usize,
    /// Entries between two snapshots; bounds the log.
    pub snapshot_every: u64,
    /// What it stands on: [`Ground::default`] outside of tests.
    pub ground: Ground,
}

/// Who leads, as this coordinator sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Role {
    pub term: u64,
    /// This coordinator leads, a quorum has answered it lately, and it has applied everything
    /// earlier leaders and its own earlier life may have acknowledged.
    pub leading: bool,
    pub leader: Option<Peer>,
}

/// Why a proposal has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another one leads, if any is known. The entry may still be applied: look at the state.
    #[error("this coordinator does not lead{}", known(.0))]
    NotLeader(Option<Peer>),
    #[error("the state directory is full: {0}")]
    StorageFull(String),
    #[error("this coordinator has stopped: {0}")]
    Stopped(String),
    /// It can't be done as asked; nothing was changed unless the text says so.
    #[error("{0}")]
    Refused(String),
}

fn known(leader: &Option<Peer>) -> String {
    leader
        .as_ref()
        .map(|leader| format!(", {leader} does"))
        .unwrap_or_default()
}

/// Why a coordinator can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("another process works with {0}")]
    DirBusy(PathBuf),
    /// What it was acknowledged is not all here; nothing of it is served.
    #[error(
        "the state directory is damaged: {0}; restore it from a copy, or, where other coordinators \
         run, remove the directory: they hand over everything"
    )]
    Damaged(String),
    #[error("the state directory is full: {0}")]
    Full(String),
    #[error("the state directory can't be used: {0}")]
    Io(#[from] std::io::Error),
}

/// For metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RaftFigures {
    pub term: u64,
    pub is_leader: bool,
    pub commit_index: u64,
    pub applied_index: u64,
    pub log_entries: u64,
    /// Size of the log's file.
    pub log_bytes: u64,
    pub snapshot_bytes: u64,
    pub leader_changes: u64,
    pub fsync_count: u64,
    pub fsync_seconds_sum: f64,
    pub fsync_seconds_max: f64,
}

/// A running member. Cloning shares it.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Raft,
    links: Links,
    log: LogStore,
    machine: Machine,
    franchise: Arc<Franchise>,
    poison: Poison,
    role: watch::Sender<Role>,
    leader_changes: AtomicU64,
    handing_over: AtomicBool,
    /// Last entry on disk when this process started. Any of them may have been acknowledged.
    last_at_start: u64,
    stop: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
}

/// What is on disk.
struct Stores {
    log: LogStore,
    machine: Machine,
    links: Links,
    poison: Poison,
}

fn start_error(config: &RaftConfig, error: DiskError) -> StartError {
    match error {
        DiskError::Busy => StartError::DirBusy(config.data_dir.clone()),
        DiskError::Damaged(what) => StartError::Damaged(what),
        DiskError::Full(what) => StartError::Full(what),
        DiskError::Io(_) | DiskError::Closed => StartError::Io(std::io::Error::other(error)),
    }
}

fn open(config: &RaftConfig) -> Result<Stores, DiskError> {
    let io = |error| DiskError::from(redb::Error::Io(error));
    std::fs::create_dir_all(&config.data_dir).map_err(io)?;
    let (poison, ground) = (Poison::default(), &config.ground);
    let log = LogStore::open(&config.data_dir.join("log.redb"), poison.clone(), ground)?;
    let machine = Machine::open(
        &config.data_dir.join("snapshot.redb"),
        poison.clone(),
        ground,
    )?;
    let me = Peer {
        name: config.name.clone(),
        address: config.advertise.clone(),
    };
    log_store::check(&log, machine.last_applied())?;
    log.keep_until_covered(machine.covered());
    let links = Links::new(me, log.clone(), ground.clone())?;
    Ok(Stores {
        log,
        machine,
        links,
        poison,
    })
}

impl Consensus {
    /// Opens the data directory and takes part. Beginning a cluster, or being added to one, goes
    /// on in the background.
    pub async fn start(config: RaftConfig) -> Result<Consensus, StartError> {
        let opened = config.clone();
        let stores = disk::blocking(move || open(&opened)).await;
        let mut stores = stores.map_err(|error| start_error(&config, error))?;
        let poison = stores.poison.clone();
        let started = Box::pin(Consensus::join_in(&config, &mut stores)).await;
        let inner = started.map_err(|error| {
            stores.log.disk().close();
            stores.machine.disk().close();
            // The library's words for it don't tell a full disk from a damaged one.
            start_error(&config, poison.get().cloned().unwrap_or(error))
        })?;
        let consensus = Consensus {
            inner: Arc::new(inner),
        };
        consensus.watch_over(config).await;
        Ok(consensus)
    }

    async fn join_in(config: &RaftConfig, stores: &mut Stores) -> Result<Inner, DiskError> {
        let name: Option<String> = stores.log.meta(NAME)?;
        match name {
            None => stores.log.set_meta(NAME, &config.name).await?,
            Some(name) if name != config.name => {
                return Err(DiskError::Damaged(format!(
                    "it belongs to the coordinator {name:?}"
                )));
            }
            Some(_) => {}
        }
        let library = |error: types::StorageError| DiskError::Io(error.to_string());
        let mut helper = StorageHelper::new(&mut stores.log, &mut stores.machine);
        let known = helper.get_initial_state().await.map_err(library)?;
        let last = stores.log.last()?;
        let empty = last.is_none() && *known.vote_ref() == types::Vote::default();
        let membership = known.membership_state.effective().membership().clone();
        let names = membership.nodes().map(|(_, peer)| peer.name.as_str());
        let rank = match empty {
            false => timing::rank(&config.name, names),
            true => timing::rank(&config.advertise, config.join.iter().map(String::as_str)),
        };
        let franchise = Arc::new(Franchise::new(
            stores.log.clone(),
            empty,
            &config.join,
            &config.advertise,
        )?);
        let mut settings = timing::config(rank, config.snapshot_every);
        settings.enable_elect = franchise.may_vote();
        let raft = Raft::new(
            stores.links.id(),
            Arc::new(settings),
            stores.links.clone(),
            stores.log.clone(),
            stores.machine.clone(),
        );
        let raft = raft
            .await
            .map_err(|error| DiskError::Io(error.to_string()))?;
        Ok(Inner {
            raft,
            links: stores.links.clone(),
            log: stores.log.clone(),
            machine: stores.machine.clone(),
            franchise,
            poison: stores.poison.clone(),
            role: watch::Sender::new(Role::default()),
            leader_changes: AtomicU64::new(0),
            handing_over: AtomicBool::new(false),
            last_at_start: last.map_or(0, |id| id.index),
            stop: CancellationToken::new(),
            tasks: Mutex::default(),
        })
    }

    /// Answers the other coordinators; to be served on the advertised address.
    pub fn service(&self) -> RaftServer<RaftService> {
        let service = RaftService {
            raft: self.inner.raft.clone(),
            links: self.inner.links.clone(),
            franchise: self.inner.franchise.clone(),
        };
        RaftServer::new(service)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// Records commands and answers with what each did, once a quorum holds them and they are
    /// applied here.
    pub async fn propose(
        &self,
        commands: Vec<Command>,
        at: Millis,
    ) -> Result<Vec<Result<Applied, Rejected>>, ProposeError> {
        self.check_running()?;
        if self.inner.handing_over.load(Ordering::Acquire) {
            return Err(ProposeError::NotLeader(None));
        }
        let large = |command: &Command| {
            matches!(
                command,
                Command::AdoptPlan { .. } | Command::RecordTask { .. }
            )
        };
        let entry = Entry { at, commands };
        if entry.commands.iter().any(large) {
            let bytes = types::encoded_bytes(&entry);
            if bytes > MESSAGE_BYTES_MAX - ENVELOPE_BYTES {
                return Err(ProposeError::Refused(format!(
                    "an entry of {bytes} bytes is larger than a message may be"
                )));
            }
        }
        let call = Box::pin(self.inner.raft.client_write(entry));
        match tokio::time::timeout(timing::PROPOSE_DEADLINE, call).await {
            Ok(done) => done
                .map(|done| done.data)
                .map_err(|error| self.write_error(error)),
            // No quorum: whether the entry will be applied is open.
            Err(_) => Err(ProposeError::NotLeader(None)),
        }
    }

    /// Reads the applied state. Entries wait meanwhile: keep it short.
    pub fn with_state<T>(&self, read: impl FnOnce(&State) -> T) -> T {
        self.inner.machine.with_state(read)
    }

    /// Index of the last applied entry and a digest of the state it left: equal on all members
    /// that have applied as much, or one of them is wrong.
    pub fn state_digest(&self) -> (u64, u64) {
        self.inner.machine.digest()
    }

    /// Bytes of the state as a snapshot holds it.
    pub fn state_bytes(&self) -> u64 {
        self.with_state(|state| types::encoded_bytes(state) as u64)
    }

    /// Index of the last applied entry.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.inner.machine.applied()
    }

    pub fn role(&self) -> watch::Receiver<Role> {
        self.inner.role.subscribe()
    }

    /// Makes sure that this coordinator leads at this moment and that its state has everything
    /// acknowledged before the call.
    pub async fn confirm_leadership(&self) -> Result<(), ProposeError> {
        let confirm = async {
            loop {
                match self.inner.raft.ensure_linearizable().await {
                    Ok(_) => return self.replayed().await,
                    Err(RaftError::APIError(CheckIsLeaderError::ForwardToLeader(to))) => {
                        return Err(ProposeError::NotLeader(to.leader_node));
                    }
                    // An answer takes longer than a heartbeat on a busy machine.
                    Err(RaftError::APIError(CheckIsLeaderError::QuorumNotEnough(_))) => {
                        tokio::time::sleep(timing::CONFIRM_PAUSE).await;
                    }
                    Err(RaftError::Fatal(error)) => return Err(self.fatal(&error)),
                }
            }
        };
        self.check_running()?;
        let confirmed = tokio::time::timeout(timing::CONFIRM_DEADLINE, Box::pin(confirm)).await;
        confirmed.unwrap_or(Err(ProposeError::NotLeader(None)))
    }

    /// Waits until everything is applied that was on disk at the start. A leader that was away for
    /// less than its lease goes on leading in its old term, and doesn't know which of its entries
    /// it had acknowledged: the commit index on disk is behind.
    async fn replayed(&self) -> Result<(), ProposeError> {
        let mut applied = self.applied();
        let enough = applied.wait_for(|index| *index >= self.inner.last_at_start);
        match enough.await {
            Ok(_) => Ok(()),
            Err(_) => Err(ProposeError::NotLeader(None)),
        }
    }

    pub fn figures(&self) -> RaftFigures {
        let metrics = self.metrics();
        let (fsync_count, fsync_seconds_sum, fsync_seconds_max) =
            self.inner.log.disk().fsyncs.figures();
        RaftFigures {
            term: metrics.current_term,
            is_leader: self.inner.role.borrow().leading,
            commit_index: self.inner.log.commit_index(),
            applied_index: *self.applied().borrow(),
            log_entries: self.inner.log.entries(),
            log_bytes: self.inner.log.disk().file_bytes(),
            snapshot_bytes: self.inner.machine.snapshot_bytes(),
            leader_changes: self.inner.leader_changes.load(Ordering::Relaxed),
            fsync_count,
            fsync_seconds_sum,
            fsync_seconds_max,
        }
    }

    /// Hands the leadership over if it is held, stops, and lets the files go.
    pub async fn shutdown(&self) {
        if self.metrics().state == openraft::ServerState::Leader {
            let handing = Box::pin(self.transfer_leader(None));
            match tokio::time::timeout(timing::TRANSFER_DEADLINE, handing).await {
                Ok(Ok(())) => tracing::info!("handed the leadership over"),
                Ok(Err(error)) => tracing::info!(%error, "stopping without a successor"),
                Err(_) => tracing::warn!("stopping without a successor: none answered in time"),
            }
        }
        self.halt().await;
    }

    /// Stops at once, as a crash would.
    pub(crate) async fn halt(&self) {
        self.inner.stop.cancel();
        if self.inner.raft.shutdown().await.is_err() {
            tracing::error!("the consensus library ended in a panic");
        }
        let mut tasks = self.inner.tasks.lock().await;
        while tasks.join_next().await.is_some() {}
        drop(tasks);
        self.inner.role.send_modify(|role| role.leading = false);
        let (log, machine) = (self.inner.log.clone(), self.inner.machine.clone());
        let closed = disk::blocking(move || {
            log.disk().close();
            machine.disk().close();
            Ok(())
        });
        if let Err(error) = closed.await {
            tracing::error!(%error, "the state directory was not closed");
        }
    }

    fn metrics(&self) -> Metrics {
        self.inner.raft.metrics().borrow().clone()
    }

    fn leader_of(&self, metrics: &Metrics) -> Option<Peer> {
        let membership = metrics.membership_config.membership();
        membership.get_node(&metrics.current_leader?).cloned()
    }

    /// Whether this member can go on. A disk error ends the library's task; until it has, nothing
    /// may be promised either. A task that ended by itself doesn't come back.
    pub fn check_running(&self) -> Result<(), ProposeError> {
        match self.inner.poison.get() {
            Some(DiskError::Full(what)) => Err(ProposeError::StorageFull(what.clone())),
            Some(error) => Err(ProposeError::Stopped(error.to_string())),
            None if self.inner.stop.is_cancelled() => {
                Err(ProposeError::Stopped("it was shut down".to_owned()))
            }
            None => self.check_library(),
        }
    }

    fn check_library(&self) -> Result<(), ProposeError> {
        let metrics = self.inner.raft.metrics();
        if let Err(error) = &metrics.borrow().running_state {
            return Err(ProposeError::Stopped(error.to_string()));
        }
        // Its end of the channel goes with its task.
        metrics
            .has_changed()
            .map(drop)
            .map_err(|_| ProposeError::Stopped("the consensus library ended in a panic".to_owned()))
    }

    fn fatal(&self, error: &openraft::error::Fatal<u64>) -> ProposeError {
        let stopped = || ProposeError::Stopped(error.to_string());
        self.check_running().err().unwrap_or_else(stopped)
    }

    fn write_error(&self, error: RaftError<u64, ClientWriteError<u64, Peer>>) -> ProposeError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(to)) => {
                ProposeError::NotLeader(to.leader_node)
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
                ProposeError::Refused(error.to_string())
            }
            RaftError::Fatal(error) => self.fatal(&error),
        }
    }
}
