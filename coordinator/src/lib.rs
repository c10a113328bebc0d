//! One coordinator: a member of the Raft group that, while it leads, tells workers what to do.
//! A shell around `common`: it waits, listens and writes down, and decides nothing itself. It
//! opens no database and sees no password.
//!
//! | module | does |
//! |---|---|
//! | [`raft`] | consensus and its store; the only place that knows openraft |
//! | `leader`, `desk` | the only loop, and what it remembers of its workers |
//! | `sessions` | one stream per worker |
//! | `admin`, `route`, `journal` | answers for people and scripts |
//! | `http`, `metrics` | answers for machines that watch |

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use common::code::{Code, Failure};
use common::limits::{Limits, MESSAGE_BYTES_MAX, REPORT_INBOX_MAX};
use proto::v1::admin_server::AdminServer;
use proto::v1::worker_server::WorkerServer;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

mod admin;
mod desk;
mod faults;
mod http;
mod journal;
mod leader;
pub mod metrics;
pub mod raft;
mod route;
mod sessions;
mod shared;

use raft::{Consensus, RaftConfig, Role};
use shared::{LogClock, Shared};

/// How long a stopping coordinator waits for each of its parts.
const STOP_DEADLINE: Duration = Duration::from_secs(3);
/// A peer that doesn't answer a ping is gone: well under a lease.
const KEEPALIVE: Duration = Duration::from_secs(2);

/// How one coordinator runs.
#[derive(Clone, Debug)]
pub struct CoordinatorConfig {
    pub name: String,
    pub data_dir: PathBuf,
    /// `HOST:PORT` for gRPC; port 0 takes a free one.
    pub listen: String,
    /// The address others reach this one at; needed if `listen` is no address of its own.
    pub advertise: Option<String>,
    /// `HOST:PORT` for metrics and health; none = no HTTP.
    pub http: Option<String>,
    /// Addresses of the others, and of this one.
    pub join: Vec<String>,
    pub bootstrap_expect: usize,
    pub limits: Limits,
    /// Log entries between snapshots.
    pub snapshot_every: u64,
}

/// Why a coordinator didn't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("can't listen on {address}: {source}")]
    Listen {
        address: String,
        source: std::io::Error,
    },
    #[error("{0} is no address that others can reach: give --advertise HOST:PORT")]
    NoAdvertise(String),
    #[error(transparent)]
    Raft(#[from] raft::StartError),
}

impl StartError {
    /// As the user sees it.
    pub fn failure(&self) -> Failure {
        let code = match self {
            StartError::Listen { .. } | StartError::NoAdvertise(_) => Code::Usage,
            StartError::Raft(raft::StartError::DirBusy(_)) => Code::StateDirBusy,
            StartError::Raft(raft::StartError::Full(_)) => Code::StateDirFull,
            StartError::Raft(raft::StartError::Damaged(_) | raft::StartError::Io(_)) => {
                Code::StateDirDamaged
            }
        };
        Failure::new(code, self.to_string())
    }
}

/// A running coordinator. Dropping it without [`Coordinator::shutdown`] leaves its tasks running.
pub struct Coordinator {
    shared: Shared,
    grpc_address: SocketAddr,
    http_address: Option<SocketAddr>,
    leader: JoinHandle<()>,
    servers: Vec<JoinHandle<()>>,
    /// Ends the servers; after `shared.stop`, which ends what they serve.
    close: CancellationToken,
}

/// Starts one coordinator. It serves at once; whether somebody leads is [`Coordinator::role`].
pub async fn start(config: CoordinatorConfig) -> Result<Coordinator, StartError> {
    let (grpc, grpc_address) = listen(&config.listen).await?;
    let http = match &config.http {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let advertise = advertised(&config, grpc_address)?;
    let consensus = Consensus::start(RaftConfig {
        name: config.name,
        data_dir: config.data_dir,
        advertise,
        join: config.join,
        bootstrap_expect: config.bootstrap_expect,
        snapshot_every: config.snapshot_every,
        ground: raft::Ground::default(),
    })
    .await?;
    let shared = Shared {
        consensus,
        limits: config.limits,
        view: Arc::default(),
        tally: Arc::default(),
        clock: LogClock::default(),
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
    };
    let close = CancellationToken::new();
    let (inbox, reports) = mpsc::channel(REPORT_INBOX_MAX);
    let leader = tokio::spawn(leader::Leader::new(shared.clone(), reports).run());
    let mut servers = vec![tokio::spawn(serve_grpc(
        shared.clone(),
        grpc,
        inbox,
        close.clone(),
    ))];
    let mut http_address = None;
    if let Some((listener, address)) = http {
        http_address = Some(address);
        let router = http::router(shared.clone());
        servers.push(tokio::spawn(serve_http(router, listener, close.clone())));
    }
    Ok(Coordinator {
        shared,
        grpc_address,
        http_address,
        leader,
        servers,
        close,
    })
}

async fn listen(address: &str) -> Result<(TcpListener, SocketAddr), StartError> {
    let bind = async {
        let listener = TcpListener::bind(address).await?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bind.await.map_err(|source| StartError::Listen {
        address: address.to_owned(),
        source,
    })
}

/// What others are told: as given, else the host that was asked for with the port that was got.
fn advertised(config: &CoordinatorConfig, bound: SocketAddr) -> Result<String, StartError> {
    if let Some(advertise) = &config.advertise {
        return Ok(advertise.clone());
    }
    if bound.ip().is_unspecified() {
        return Err(StartError::NoAdvertise(config.listen.clone()));
    }
    let host = config.listen.rsplit_once(':').map_or("", |(host, _)| host);
    Ok(format!("{host}:{}", bound.port()))
}

async fn serve_grpc(
    shared: Shared,
    listener: TcpListener,
    inbox: mpsc::Sender<desk::Said>,
    close: CancellationToken,
) {
    let raft = shared.consensus.service();
    let sessions = WorkerServer::new(sessions::Sessions::new(shared.clone(), inbox));
    let admin = AdminServer::new(admin::Admin::new(shared));
    let router = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(raft)
        .add_service(
            sessions
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        )
        .add_service(
            admin
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        );
    // The builder's own setting is for listeners of its own. Without it each small answer may wait
    // 40 ms for the acknowledgement of the one before.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let served = router.serve_with_incoming_shutdown(incoming, close.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the gRPC server ended");
    }
}

async fn serve_http(router: axum::Router, listener: TcpListener, close: CancellationToken) {
    let served = axum::serve(listener, router).with_graceful_shutdown(close.cancelled_owned());
    if let Err(error) = served.await {
        tracing::error!(%error, "the HTTP server ended");
    }
}

impl Coordinator {
    /// Where gRPC is served, with the real port.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc_address
    }

    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
    }

    /// Who leads, as far as is known here.
    pub fn role(&self) -> tokio::sync::watch::Receiver<Role> {
        self.shared.consensus.role()
    }

    /// Size of the replicated state as a snapshot holds it, in bytes. Serializes all of it.
    pub fn state_bytes(&self) -> u64 {
        self.shared.consensus.state_bytes()
    }

    /// Why it can't go on: its state directory failed. Only a new start can mend that.
    pub fn failure(&self) -> Option<Failure> {
        let (code, what) = match self.shared.consensus.check_running() {
            Err(raft::ProposeError::StorageFull(what)) => (Code::StateDirFull, what),
            Err(raft::ProposeError::Stopped(what)) => (Code::StateDirDamaged, what),
            _ => return None,
        };
        Some(Failure::new(code, what))
    }

    /// Hands leadership over, ends every stream, stops. Nothing is lost if it is killed instead.
    pub async fn shutdown(self) {
        if self.shared.role().leading {
            let transfer = self.shared.consensus.transfer_leader(None);
            if let Ok(Err(error)) = timeout(STOP_DEADLINE, transfer).await {
                tracing::debug!(?error, "leadership was not handed over");
            }
        }
        self.shared.stop.cancel();
        finish("the leader's loop", self.leader).await;
        self.shared.tasks.close();
        if timeout(STOP_DEADLINE, self.shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("sessions did not end in time");
        }
        self.close.cancel();
        for server in self.servers {
            finish("a server", server).await;
        }
        self.shared.consensus.shutdown().await;
    }
}

/// Waits for a task, and ends it if it takes too long.
async fn finish(what: &str, mut task: JoinHandle<()>) {
    match timeout(STOP_DEADLINE, &mut task).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "{what} failed"),
        Err(_) => {
            tracing::warn!("{what} did not end in time");
            task.abort();
        }
    }
}
