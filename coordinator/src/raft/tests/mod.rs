//! A cluster in one process, over real connections on the loopback.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::id::{JobUid, Millis};
use common::job::{Endpoint, JobSpec};
use common::state::{Command, WorkerHello};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;

use super::{Consensus, Ground, Peer, ProposeError, RaftConfig};

mod cluster;
mod storage;

/// A member and its server.
struct Node {
    consensus: Consensus,
    config: RaftConfig,
    stop: CancellationToken,
    server: JoinHandle<()>,
}

impl Node {
    async fn start(config: RaftConfig, listener: TcpListener) -> Node {
        let consensus = Consensus::start(config.clone()).await.expect("start");
        let stop = CancellationToken::new();
        let (service, stopped) = (consensus.service(), stop.clone());
        let server = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped.cancelled())
                .await
                .expect("serve");
        });
        Node {
            consensus,
            config,
            stop,
            server,
        }
    }

    fn name(&self) -> &str {
        &self.config.name
    }

    fn leads(&self) -> bool {
        self.consensus.role().borrow().leading
    }

    /// As a crash: nobody is told.
    async fn kill(self) -> RaftConfig {
        self.server.abort();
        self.consensus.halt().await;
        self.config
    }

    async fn shutdown(self) -> RaftConfig {
        self.consensus.shutdown().await;
        self.stop.cancel();
        self.server.abort();
        self.config
    }

    async fn restart(config: RaftConfig) -> Node {
        let address = config.advertise.clone();
        let bound = until("the port is free", async || {
            TcpListener::bind(&address).await.ok()
        });
        Node::start(config, bound.await).await
    }

    fn workers(&self) -> usize {
        self.consensus.with_state(|state| state.workers().count())
    }
}

/// Polls until there is something, for at most a minute: the machine may be busy.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// `count` members that begin together; `name` → `dir/name`.
async fn cluster(dir: &TempDir, count: usize, snapshot_every: u64) -> Vec<Node> {
    let mut listeners = Vec::new();
    for _ in 0..count {
        listeners.push(TcpListener::bind("127.0.0.1:0").await.expect("bind"));
    }
    let address = |listener: &TcpListener| listener.local_addr().expect("address").to_string();
    let join: Vec<String> = listeners.iter().map(address).collect();
    let mut nodes = Vec::new();
    for (no, listener) in listeners.into_iter().enumerate() {
        let config = RaftConfig {
            name: format!("c{}", no + 1),
            data_dir: dir.path().join(format!("c{}", no + 1)),
            advertise: join[no].clone(),
            join: join.clone(),
            bootstrap_expect: count,
            snapshot_every,
            ground: Ground::default(),
        };
        nodes.push(Node::start(config, listener).await);
    }
    nodes
}

/// A further member that finds the cluster and waits to be added.
async fn newcomer(dir: &Path, name: &str, others: &[Node]) -> Node {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let config = RaftConfig {
        name: name.to_owned(),
        data_dir: dir.join(name),
        advertise: listener.local_addr().expect("address").to_string(),
        join: others
            .iter()
            .map(|node| node.config.advertise.clone())
            .collect(),
        bootstrap_expect: others.len(),
        snapshot_every: others[0].config.snapshot_every,
        ground: Ground::default(),
    };
    Node::start(config, listener).await
}

impl Node {
    fn peer(&self) -> Peer {
        Peer {
            name: self.config.name.clone(),
            address: self.config.advertise.clone(),
        }
    }
}

async fn leader(nodes: &[Node]) -> usize {
    until("a leader", async || nodes.iter().position(Node::leads)).await
}

fn hello(no: usize) -> Command {
    Command::RegisterWorker(WorkerHello {
        name: format!("w{no}"),
        incarnation: no as u64,
        slots: 4,
        version: "1".to_owned(),
    })
}

/// Proposes at whoever leads until it is accepted.
async fn register(nodes: &[Node], no: usize) {
    until("a proposal is accepted", async || {
        for node in nodes.iter().filter(|node| node.leads()) {
            match node
                .consensus
                .propose(vec![hello(no)], Millis(no as u64))
                .await
            {
                Ok(answers) => {
                    answers[0].as_ref().expect("registered");
                    return Some(());
                }
                Err(ProposeError::NotLeader(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        None
    })
    .await;
}

fn submit(name: &str) -> Command {
    let endpoint = |url: &str| Endpoint {
        url: url.to_owned(),
        password: None,
    };
    Command::SubmitJob {
        uid: JobUid("0123456789abcdef0123456789abcdef".to_owned()),
        spec: Box::new(JobSpec::new(
            name,
            endpoint("sqlite:a.db"),
            endpoint("mysql://u@h/b"),
        )),
    }
}

fn log_file(dir: &Path) -> PathBuf {
    dir.join("log.redb")
}
