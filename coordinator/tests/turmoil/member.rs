//! A coordinator's Raft layer on a simulated host: the real one, over simulated files and network.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use common::fault::{Action, Fault};
use coordinator::raft::{Consensus, Ground, RaftConfig};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tonic::transport::server::{Connected, TcpConnectInfo};
use tonic::transport::{Server, Uri};
use turmoil::net::{TcpListener, TcpStream};

use crate::disk::Disks;

pub const PORT: u16 = 7000;
/// So small that every run compacts its log many times.
const SNAPSHOT_EVERY: u64 = 25;
/// Longer than any run: the member is crashed while it waits.
const FOR_EVER_MS: u64 = 3_600_000;

/// What the test does at a fault point of a member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trap {
    Stall(u64),
    LoseAnswer,
    Crash,
}

/// A running member, and the runtime of its host: what is asked of it runs there.
#[derive(Clone)]
pub struct Member {
    pub consensus: Consensus,
    pub handle: Handle,
}

/// What the members and the test share.
pub struct World {
    pub dir: PathBuf,
    pub founders: Vec<String>,
    pub disks: Disks,
    pub running: Mutex<BTreeMap<String, Member>>,
    pub traps: Mutex<Vec<(String, Fault, Trap)>>,
    /// Members that passed a point at which they are to crash.
    pub doomed: Mutex<Vec<String>>,
    /// Points passed, for the coverage.
    pub passed: Mutex<BTreeMap<Fault, u64>>,
    pub struck: Mutex<Vec<(Fault, Trap)>>,
    pub wrong: Mutex<Vec<String>>,
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub fn dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn members(&self) -> Vec<(String, Member)> {
        let running = lock(&self.running);
        let all = running.iter();
        all.map(|(name, member)| (name.clone(), member.clone()))
            .collect()
    }

    pub fn leading(&self) -> Option<(String, Member)> {
        let mut members = self.members().into_iter();
        members.find(|(_, member)| member.consensus.role().borrow().leading)
    }

    pub fn violation(&self, what: String) {
        lock(&self.wrong).push(what);
    }

    fn strike(&self, name: &str, fault: Fault) -> Option<Action> {
        *lock(&self.passed).entry(fault).or_default() += 1;
        let mut traps = lock(&self.traps);
        let at = traps
            .iter()
            .position(|(member, point, _)| member == name && *point == fault)?;
        let (_, _, trap) = traps.remove(at);
        lock(&self.struck).push((fault, trap));
        Some(match trap {
            Trap::Stall(ms) => Action::Stall(ms),
            Trap::LoseAnswer => Action::LoseAnswer,
            Trap::Crash => {
                lock(&self.doomed).push(name.to_owned());
                Action::Stall(FOR_EVER_MS)
            }
        })
    }

    fn ground(self: &Arc<Self>, name: &str) -> Ground {
        let (files, faults, name) = (self.clone(), self.clone(), name.to_owned());
        let to = |uri: Uri| async move {
            let host = uri.host().unwrap_or_default().to_owned();
            let port = uri.port_u16().unwrap_or(PORT);
            TcpStream::connect((host, port)).await.map(TokioIo::new)
        };
        Ground {
            connect: Some(Arc::new(move |endpoint| {
                endpoint.connect_with_connector_lazy(tower::service_fn(to))
            })),
            open_file: Some(Arc::new(move |path, builder| {
                files.disks.open(path, builder)
            })),
            strike: Some(Arc::new(move |fault| faults.strike(&name, fault))),
        }
    }
}

/// The host's software, from start to crash.
pub async fn run(world: Arc<World>, name: String) -> turmoil::Result {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    let address = |name: &String| format!("{name}:{PORT}");
    let config = RaftConfig {
        name: name.clone(),
        data_dir: world.dir(&name),
        advertise: address(&name),
        join: world.founders.iter().map(address).collect(),
        bootstrap_expect: world.founders.len(),
        snapshot_every: SNAPSHOT_EVERY,
        ground: world.ground(&name),
    };
    let consensus = match Box::pin(Consensus::start(config)).await {
        Ok(consensus) => consensus,
        Err(error) => {
            world.violation(format!("{name} does not start: {error}"));
            return Ok(());
        }
    };
    let member = Member {
        consensus: consensus.clone(),
        handle: Handle::current(),
    };
    lock(&world.running).insert(name, member);
    let incoming = futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await;
        Some((accepted.map(|(stream, _)| Accepted(stream)), listener))
    });
    let served = Server::builder()
        .add_service(consensus.service())
        .serve_with_incoming(incoming);
    served.await?;
    Ok(())
}

struct Accepted(TcpStream);

impl Connected for Accepted {
    type ConnectInfo = TcpConnectInfo;
    fn connect_info(&self) -> TcpConnectInfo {
        TcpConnectInfo {
            local_addr: self.0.local_addr().ok(),
            remote_addr: self.0.peer_addr().ok(),
        }
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, data)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
