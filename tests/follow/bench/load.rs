//! The write load of the figures: transactions of four row changes (an update that changes an
//! index, one that doesn't, a delete and an insert of the same key), as sysbench's oltp_write_only
//! makes them, by a few sessions at once; and a beat that says when it was made.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;

use crate::harness::lab::Database;
use crate::harness::workload::link::Link;

pub const ROWS: u64 = 100_000;
const SESSIONS: u64 = 8;

const FILL: &str = "INSERT INTO sbtest1 SELECT a.id * 1000 + b.id + 1, a.id * 7 + b.id, \
                    lpad('', 119, 'c'), lpad('', 59, 'p') FROM acct a, acct b WHERE a.id < 100";

/// Beside the workload's own, of which one is needed to fill them.
pub fn tables(_: &Database) -> Vec<&'static str> {
    vec![
        "CREATE TABLE sbtest1 (id int PRIMARY KEY, k int NOT NULL, c char(120) NOT NULL, \
         pad char(60) NOT NULL)",
        FILL,
        "CREATE INDEX k_1 ON sbtest1 (k)",
        "CREATE TABLE done (s int PRIMARY KEY, n bigint NOT NULL)",
        "CREATE TABLE beat (id bigint PRIMARY KEY, ms bigint NOT NULL)",
    ]
}

pub struct Load {
    source: Database,
    /// Begun so far; what a run's sessions are known by.
    runs: AtomicU64,
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.expect("after 1970").as_millis()).expect("not so late")
}

impl Load {
    /// `first_run` is the number of runs that its tables have seen.
    pub fn new(source: &Database, first_run: u64) -> Load {
        Load {
            source: source.clone(),
            runs: AtomicU64::new(first_run),
        }
    }

    /// Writes so many transactions, at most `rate` a second in all; how long it took.
    pub async fn run(&self, transactions: u64, rate: Option<f64>) -> Duration {
        let started = Instant::now();
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        let mut sessions = JoinSet::new();
        for session in 0..SESSIONS {
            let share = transactions / SESSIONS + u64::from(session < transactions % SESSIONS);
            let pace = rate.map(|rate| Duration::from_secs_f64(SESSIONS as f64 / rate));
            let number = (run * SESSIONS + session, share);
            sessions.spawn(write(self.source.clone(), number, pace));
        }
        while let Some(ended) = sessions.join_next().await {
            ended.expect("a session of the load");
        }
        started.elapsed()
    }

    /// Transactions of the load that a database has; None = it doesn't answer.
    pub async fn seen_at(&self, database: &Database) -> Option<u64> {
        let mut link = Link::open(database).await.ok()?;
        let sum = link
            .numbers("SELECT coalesce(sum(n), 0) FROM done")
            .await
            .ok()?;
        link.close().await;
        u64::try_from(sum[0][0]).ok()
    }

    /// The load at `rate` for so long, with beats beside it.
    pub async fn beats(&self, rate: f64, time: Duration) {
        let transactions = (rate * time.as_secs_f64()) as u64;
        let mut beats = JoinSet::new();
        let source = self.source.clone();
        beats.spawn(async move {
            let mut link = Link::open(&source).await.expect("it answers");
            for n in 1_000_000i64.. {
                let beat = format!("INSERT INTO beat VALUES ({n}, {})", now_ms());
                link.run(&beat).await.expect("a beat");
                crate::harness::wait::pause(Duration::from_millis(20)).await;
            }
        });
        self.run(transactions, Some(rate)).await;
        beats.shutdown().await;
    }
}

/// How old the newest beat is that the target shows, in milliseconds.
pub async fn behind(target: &mut Link) -> Option<f64> {
    crate::harness::wait::pause(Duration::from_millis(25)).await;
    let newest = target
        .numbers("SELECT coalesce(max(ms), 0) FROM beat")
        .await;
    let newest = newest.expect("the target answers")[0][0];
    (newest > 0).then(|| (now_ms() - newest) as f64)
}

/// The session's number says in `done` how many transactions it made, with the last one.
async fn write(source: Database, (number, share): (u64, u64), pace: Option<Duration>) {
    let session = number % SESSIONS;
    let mut link = Link::open(&source).await.expect("the source answers");
    let mut seed = number + 1;
    let mut die = |n: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        1 + (seed >> 33) % n
    };
    let started = Instant::now();
    let mut done = 0;
    while done < share {
        // Each session has rows of its own: nobody waits for another's lock.
        let own = |id: u64| (id / SESSIONS * SESSIONS + session) % ROWS + 1;
        let (a, b, c) = (own(die(ROWS)), own(die(ROWS)), own(die(ROWS)));
        let (k, fresh) = (die(ROWS), die(1 << 30));
        let statements = [
            "BEGIN".to_owned(),
            format!("UPDATE sbtest1 SET k=k+1 WHERE id={a}"),
            format!("UPDATE sbtest1 SET c='{fresh:0>119}' WHERE id={b}"),
            format!("DELETE FROM sbtest1 WHERE id={c}"),
            format!("INSERT INTO sbtest1 VALUES ({c}, {k}, '{fresh:0>119}', '{k:0>59}')"),
            "COMMIT".to_owned(),
        ];
        for statement in statements {
            link.run(&statement).await.expect("a write of the load");
        }
        done += 1;
        if let Some(pace) = pace {
            let due = started + pace.mul_f64(done as f64);
            crate::harness::wait::pause(due.saturating_duration_since(Instant::now())).await;
        }
    }
    let said = format!("INSERT INTO done VALUES ({number}, {share})");
    link.run(&said).await.expect("the last write of the load");
    link.close().await;
}
