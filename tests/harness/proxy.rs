//! A TCP proxy between two processes that cuts, delays, holds back and swallows: the network a
//! test can break at will. It knows bytes and connections, no protocol; what it looks for in a
//! client's bytes is given as text.
//!
//! Held back is not lost: what a side sent while its direction was held arrives when it is
//! released, however late, as TCP does after a partition. A close doesn't pass either.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
    Both,
}

/// What becomes of the connection on which a client says what a trap waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trap {
    /// The server gets it and answers; the answer is lost, and the connection cut with it.
    LoseAnswer,
    /// The server never gets it: cut before.
    LoseRequest,
    /// The server gets it; the client hears nothing any more, and no close.
    Silence,
}

/// A trap that is set: it springs once.
struct Set {
    /// Only a connection that has said this before.
    after: Option<Vec<u8>>,
    pattern: Vec<u8>,
    trap: Trap,
}

#[derive(Clone, Copy, Default)]
struct Held {
    to_server: bool,
    to_client: bool,
}

/// What is wrong with the line; every field may change while connections are open.
#[derive(Default)]
struct Line {
    delay_ms: AtomicU64,
    /// Bytes from the server are read and thrown away.
    deaf: AtomicBool,
    /// So many new connections are closed at once.
    refuse: AtomicU64,
    traps: Mutex<Vec<Set>>,
    /// How often one has sprung.
    sprung: AtomicU64,
}

impl Line {
    fn traps(&self) -> std::sync::MutexGuard<'_, Vec<Set>> {
        self.traps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be done with a client that has just said `sent`; `said` are the texts it has
    /// said before.
    fn spring(&self, sent: &[u8], said: &mut Vec<Vec<u8>>) -> Option<Trap> {
        let mut traps = self.traps();
        let ready = |set: &Set, said: &[Vec<u8>]| match &set.after {
            Some(after) => said.contains(after),
            None => true,
        };
        // Statements come one at a time: what is said now doesn't make its own trap ready.
        let found = (traps.iter()).position(|set| ready(set, said) && contains(sent, &set.pattern));
        for after in traps.iter().filter_map(|set| set.after.as_ref()) {
            if contains(sent, after) {
                said.push(after.clone());
            }
        }
        let set = traps.remove(found?);
        self.sprung.fetch_add(1, Ordering::SeqCst);
        Some(set.trap)
    }
}

/// A proxy on a port of its own; its tasks end when it is dropped.
pub struct Proxy {
    pub port: u16,
    line: Arc<Line>,
    cut: watch::Sender<u64>,
    held: watch::Sender<Held>,
    tasks: JoinSet<()>,
}

impl Proxy {
    /// A proxy to a port of this machine.
    pub async fn to(port: u16) -> Proxy {
        Proxy::at(0, port).await
    }

    /// The same, on a port of the caller's choice.
    pub async fn at(own: u16, port: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", own))
            .await
            .expect("a free port");
        let own = listener.local_addr().expect("bound").port();
        let line = Arc::new(Line::default());
        let (cut, cuts) = watch::channel(0);
        let (held, holds) = watch::channel(Held::default());
        let mut tasks = JoinSet::new();
        let wires = Wires {
            server: SocketAddr::from(([127, 0, 0, 1], port)),
            line: Arc::clone(&line),
            cuts,
            holds,
        };
        tasks.spawn(accept(listener, wires));
        Proxy {
            port: own,
            line,
            cut,
            held,
            tasks,
        }
    }

    /// Cuts every connection that is open now.
    pub fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    /// The next so many connections are closed as soon as they are made; 0 = none any more.
    pub fn refuse(&self, connections: u64) {
        self.line.refuse.store(connections, Ordering::SeqCst);
    }

    /// No connection works from now on: those there are cut, new ones closed.
    pub fn down(&self) {
        self.refuse(u64::MAX);
        self.cut();
    }

    /// Every piece of data waits that long, both ways.
    pub fn delay(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.line.delay_ms.store(ms, Ordering::SeqCst);
    }

    /// Holds back everything that goes that way, closes too: half open.
    pub fn hold(&self, way: Way) {
        self.held.send_modify(|held| {
            held.to_server |= way != Way::ToClient;
            held.to_client |= way != Way::ToServer;
        });
    }

    /// Lets pass again what was held back, and all else.
    pub fn release(&self) {
        self.held.send_replace(Held::default());
    }

    /// From now on (or no longer) the clients hear nothing from the server.
    pub fn blackhole(&self, on: bool) {
        self.line.deaf.store(on, Ordering::SeqCst);
    }

    /// Sets a trap for the first connection that says `pattern`.
    pub fn trap(&self, pattern: &[u8], trap: Trap) {
        self.trap_after(None, pattern, trap);
    }

    /// The same for a connection that has said `after` before.
    pub fn trap_after(&self, after: Option<&[u8]>, pattern: &[u8], trap: Trap) {
        let set = Set {
            after: after.map(<[u8]>::to_vec),
            pattern: pattern.to_vec(),
            trap,
        };
        self.line.traps().push(set);
    }

    /// How often a trap has sprung.
    pub fn sprung(&self) -> u64 {
        self.line.sprung.load(Ordering::SeqCst)
    }

    /// Connections and the listener that are still served.
    pub fn is_serving(&self) -> bool {
        !self.tasks.is_empty()
    }
}

/// What every connection of a proxy works with.
#[derive(Clone)]
struct Wires {
    server: SocketAddr,
    line: Arc<Line>,
    cuts: watch::Receiver<u64>,
    holds: watch::Receiver<Held>,
}

async fn accept(listener: TcpListener, wires: Wires) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let line = &wires.line;
        let refused =
            (line.refuse).fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| match left {
                0 => None,
                u64::MAX => Some(left),
                _ => Some(left - 1),
            });
        if refused.is_ok() {
            continue;
        }
        let mut wires = wires.clone();
        wires.cuts.mark_unchanged();
        connections.spawn(serve(client, wires));
        while connections.try_join_next().is_some() {}
    }
}

/// A connection's own state: what its trap has done to it.
#[derive(Default)]
struct Sprung {
    deaf: AtomicBool,
    /// The next answer ends the connection.
    last: AtomicBool,
}

async fn serve(client: TcpStream, mut wires: Wires) {
    let Ok(server) = TcpStream::connect(wires.server).await else {
        return;
    };
    // Small statements must not wait for one another's acknowledgement.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let sprung = Sprung::default();
    let line = Arc::clone(&wires.line);
    let (mut asked, mut answered) = (wires.holds.clone(), wires.holds.clone());
    let asking = async {
        let mut buffer = vec![0; 64 << 10];
        let mut said = Vec::new();
        while let Ok(n) = from_client.read(&mut buffer).await {
            // Before it is passed on: the answer may come back faster than we look.
            match line.spring(&buffer[..n], &mut said) {
                Some(Trap::LoseRequest) => return,
                Some(Trap::LoseAnswer) => sprung.last.store(true, Ordering::SeqCst),
                Some(Trap::Silence) => sprung.deaf.store(true, Ordering::SeqCst),
                None => {}
            }
            wait(&line).await;
            let _ = asked.wait_for(|held| !held.to_server).await;
            if n == 0 || to_server.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    };
    let answering = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n) = from_server.read(&mut buffer).await {
            wait(&line).await;
            let _ = answered.wait_for(|held| !held.to_client).await;
            if n == 0 || sprung.last.load(Ordering::SeqCst) {
                return;
            }
            if line.deaf.load(Ordering::SeqCst) || sprung.deaf.load(Ordering::SeqCst) {
                continue;
            }
            if to_client.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = asking => {}
        () = answering => {}
        _ = wires.cuts.changed() => {}
    }
}

async fn wait(line: &Line) {
    let ms = line.delay_ms.load(Ordering::SeqCst);
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

/// Rows pass here too: the first byte is looked for alone, which is fast without optimisation.
fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else {
        return true;
    };
    let mut rest = haystack;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest[at..].starts_with(needle) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}
