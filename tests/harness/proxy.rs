//! A TCP proxy between a worker and a server that cuts, delays and swallows: the network a test
//! can break at will.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

/// What is wrong with the line; every field may change while connections are open.
#[derive(Default)]
struct Line {
    delay_ms: AtomicU64,
    /// Bytes from the server are read and thrown away.
    deaf: AtomicBool,
    /// Once the client has sent these bytes, answers of the server are thrown away.
    deaf_after: Mutex<Option<Vec<u8>>>,
    /// How often that has happened.
    heard: AtomicU64,
}

impl Line {
    async fn is_trigger(&self, sent: &[u8]) -> bool {
        let mut pattern = self.deaf_after.lock().await;
        let hit = pattern.as_ref().is_some_and(|p| contains(sent, p));
        if hit {
            *pattern = None;
            self.heard.fetch_add(1, Ordering::SeqCst);
        }
        hit
    }
}

/// A proxy on a port of its own; its tasks end when it is dropped.
pub struct Proxy {
    pub port: u16,
    line: Arc<Line>,
    cut: watch::Sender<u64>,
    tasks: JoinSet<()>,
}

impl Proxy {
    /// A proxy to a port of this machine.
    pub async fn to(port: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("bound").port();
        let line = Arc::new(Line::default());
        let (cut, cuts) = watch::channel(0);
        let mut tasks = JoinSet::new();
        let server = SocketAddr::from(([127, 0, 0, 1], port));
        tasks.spawn(accept(listener, server, Arc::clone(&line), cuts));
        Proxy {
            port: own,
            line,
            cut,
            tasks,
        }
    }

    /// Cuts every connection that is open now.
    pub fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    /// Every piece of data waits that long, both ways.
    pub fn delay(&self, delay: Duration) {
        let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.line.delay_ms.store(ms, Ordering::SeqCst);
    }

    /// From now on (or no longer) the clients hear nothing from the server.
    pub fn blackhole(&self, on: bool) {
        self.line.deaf.store(on, Ordering::SeqCst);
    }

    /// When a client has sent `pattern`, its connection hears nothing any more, once.
    pub async fn lose_answer_to(&self, pattern: &[u8]) {
        *self.line.deaf_after.lock().await = Some(pattern.to_vec());
    }

    /// How often an answer was lost on purpose.
    pub fn answers_lost(&self) -> u64 {
        self.line.heard.load(Ordering::SeqCst)
    }

    /// Connections and the listener that are still served.
    pub fn is_serving(&self) -> bool {
        !self.tasks.is_empty()
    }
}

async fn accept(
    listener: TcpListener,
    server: SocketAddr,
    line: Arc<Line>,
    cuts: watch::Receiver<u64>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(serve(client, server, Arc::clone(&line), cuts.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn serve(
    client: TcpStream,
    server: SocketAddr,
    line: Arc<Line>,
    mut cuts: watch::Receiver<u64>,
) {
    cuts.mark_unchanged();
    let Ok(server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let deaf = AtomicBool::new(false);
    let asking = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n) = from_client.read(&mut buffer).await {
            // Before it is passed on: the answer may come back faster than we look.
            if line.is_trigger(&buffer[..n]).await {
                deaf.store(true, Ordering::SeqCst);
            }
            wait(&line).await;
            if n == 0 || to_server.write_all(&buffer[..n]).await.is_err() {
                return;
            }
        }
    };
    let answering = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(n) = from_server.read(&mut buffer).await {
            wait(&line).await;
            if n == 0 {
                return;
            }
            if line.deaf.load(Ordering::SeqCst) || deaf.load(Ordering::SeqCst) {
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
        _ = cuts.changed() => {}
    }
}

async fn wait(line: &Line) {
    let ms = line.delay_ms.load(Ordering::SeqCst);
    if ms > 0 {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}
