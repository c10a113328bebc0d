//! Waiting for a condition with a deadline: the only place of the tests where time passes.

use std::future::Future;
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const POLL: Duration = Duration::from_millis(25);

/// Looks until `check` returns something; panics with `what` when the deadline has passed.
pub async fn until<T, F, Fut>(what: &str, deadline: Duration, mut check: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let started = Instant::now();
    let mut ticks = tokio::time::interval(POLL);
    loop {
        ticks.tick().await;
        if let Some(found) = check().await {
            return found;
        }
        assert!(
            started.elapsed() < deadline,
            "waited {deadline:?} in vain for: {what}"
        );
    }
}

/// Lets time pass: between two looks of a watcher, two writes of a load.
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Seconds, for deadlines that read well.
pub fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A port of 127.0.0.1 that nobody listens on and that no other test of this run was given.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Vec<u16>> = Mutex::new(Vec::new());
    let mut given = GIVEN.lock().expect("no test panics while it holds this");
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        if !given.contains(&port) {
            given.push(port);
            return port;
        }
    }
}
