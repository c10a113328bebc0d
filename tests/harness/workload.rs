//! A source that keeps living: seeded sessions that change a few tables at once, with everything in
//! it that is hard to follow (key changes, unique swaps, delete and insert, savepoints, identical
//! rows), and invariants that hold at every commit. `base` makes the tables, `ops` the
//! transactions, `audit` looks whether a database shows whole transactions only. Knows databases,
//! nothing of the product.

pub mod audit;
mod base;
pub mod link;
mod ops;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use self::link::Link;
use self::ops::Ops;
use super::lab::Database;
use super::wait::{secs, until};

pub use self::base::fill;

/// Rows of `acct` and of `wl_uniq`.
const ACCOUNTS: i64 = 1_000;
const UNIQUES: i64 = 500;
/// How long a session looks for its server after it was lost.
const AWAY: Duration = Duration::from_secs(90);
/// So many of a hundred transactions are rolled back at their end.
const ROLLED_BACK: u64 = 10;

/// How much happens.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub sessions: u32,
    pub seed: u64,
    /// Between two transactions of a session.
    pub pace: Duration,
    /// Rows of `bulk` at the start.
    pub bulk_rows: u32,
    /// Rows that [`Workload::big`] inserts and updates again in one transaction.
    pub big_rows: u32,
}

impl Options {
    /// A few hundred transactions a second on a busy machine; with `STERNA_LIVING=full` as much as
    /// the source can do, on 100,000 rows.
    pub fn new(seed: u64) -> Options {
        match is_full() {
            true => Options {
                sessions: 8,
                seed,
                pace: Duration::ZERO,
                bulk_rows: 100_000,
                big_rows: 100_000,
            },
            false => Options {
                sessions: 4,
                seed,
                pace: Duration::from_millis(20),
                bulk_rows: 10_000,
                big_rows: 10_000,
            },
        }
    }
}

/// Whether `STERNA_LIVING=full` asks for the full sizes.
pub fn is_full() -> bool {
    std::env::var("STERNA_LIVING").is_ok_and(|text| text == "full")
}

/// What the sessions and the test both see.
struct Shared {
    stop: AtomicBool,
    /// Of each session, the number of its last transaction whose COMMIT was answered.
    acknowledged: Vec<AtomicU64>,
}

/// Sessions at work.
pub struct Workload {
    database: Database,
    options: Options,
    shared: Arc<Shared>,
    sessions: JoinSet<Tally>,
}

/// What came of them.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// By the name of the operation.
    pub done: BTreeMap<String, u64>,
    /// By what the server said; expected, as sessions get into each other's way.
    pub failed: BTreeMap<String, u64>,
}

impl Workload {
    /// Starts the sessions on a database that [`fill`] has filled.
    pub async fn start(database: &Database, options: Options) -> Workload {
        let mut link = Link::open(database).await.expect("the source answers");
        let most = "SELECT coalesce(max(id), 0) FROM bulk";
        let most = link.numbers(most).await.expect("bulk is there")[0][0];
        let mut before = vec![0; options.sessions as usize];
        for (no, before) in (0..).zip(&mut before) {
            *before = acknowledged(&mut link, no).await.expect("wl_seq is there");
            let known = format!("SELECT count(*) FROM wl_counter WHERE s={no}");
            if link.numbers(&known).await.expect("it is there")[0][0] == 0 {
                let insert = format!("INSERT INTO wl_counter VALUES ({no}, 0)");
                link.run(&insert).await.expect("a counter");
            }
        }
        link.close().await;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            acknowledged: before.into_iter().map(AtomicU64::new).collect(),
        });
        let mut sessions = JoinSet::new();
        for no in 0..options.sessions {
            let ops = Ops::new(no, options, most);
            sessions.spawn(session(database.clone(), ops, options, Arc::clone(&shared)));
        }
        Workload {
            database: database.clone(),
            options,
            shared,
            sessions,
        }
    }

    /// Of each session, how many of its transactions are committed for sure.
    pub fn acknowledged(&self) -> Vec<u64> {
        let counts = self.shared.acknowledged.iter();
        counts.map(|n| n.load(Ordering::SeqCst)).collect()
    }

    /// Waits until so many more are.
    pub async fn until_more(&self, more: u64) {
        let sum = || self.acknowledged().iter().sum::<u64>();
        let wanted = sum() + more;
        until("the workload to commit", secs(120), || async {
            (sum() >= wanted).then_some(())
        })
        .await;
    }

    /// One transaction of twice [`Options::big_rows`] row changes beside the sessions.
    pub async fn big(&self) {
        let mut link = Link::open(&self.database)
            .await
            .expect("the source answers");
        let begin = ops::begin(self.database.kind);
        let most = "SELECT coalesce(max(id), 0) FROM bulk";
        let first = link.numbers(most).await.expect("bulk is there")[0][0] + 900_000_000;
        let rows = i64::from(self.options.big_rows);
        link.run(begin).await.expect("a transaction");
        for chunk in 0..(rows + 4_999) / 5_000 {
            let from = first + chunk * 5_000;
            let to = (first + rows).min(from + 5_000);
            let values: Vec<String> = (from..to).map(|i| format!("({i},2,'lg-{i}')")).collect();
            let insert = format!("INSERT INTO bulk(id,k,u) VALUES {}", values.join(","));
            link.run(&insert)
                .await
                .expect("rows of the big transaction");
        }
        let last = first + rows;
        let update = format!("UPDATE bulk SET k=3 WHERE id>={first} AND id<{last}");
        link.run(&update).await.expect("the big update");
        link.run("COMMIT").await.expect("the big commit");
        link.close().await;
    }

    /// The two additions of a column that the workload knows.
    pub async fn add_columns(&self) {
        let mut link = Link::open(&self.database)
            .await
            .expect("the source answers");
        for sql in [
            "ALTER TABLE wl_dup ADD COLUMN c int DEFAULT 7",
            "ALTER TABLE bulk ADD COLUMN mid_ddl int DEFAULT 1",
        ] {
            link.run(sql).await.expect("a new column");
        }
        link.close().await;
    }

    /// Lets every session end its transaction and go. The counts are final then.
    pub async fn stop(mut self) -> (Vec<u64>, Tally) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let mut all = Tally::default();
        while let Some(tally) = self.sessions.join_next().await {
            let tally = tally.expect("a session doesn't panic");
            for (name, count) in tally.done {
                *all.done.entry(name).or_default() += count;
            }
            for (said, count) in tally.failed {
                *all.failed.entry(said).or_default() += count;
            }
        }
        (self.acknowledged(), all)
    }
}

/// Waits until a database has every transaction that was acknowledged at the source.
pub async fn until_arrived(database: &Database, acknowledged: &[u64], deadline: Duration) {
    let what = format!("{acknowledged:?} to arrive");
    let mut last = Vec::new();
    let started = Instant::now();
    while started.elapsed() < deadline {
        last = arrived(database, acknowledged.len()).await.unwrap_or(last);
        if last
            .iter()
            .zip(acknowledged)
            .all(|(there, said)| there >= said)
            && !last.is_empty()
        {
            return;
        }
        crate::harness::wait::pause(Duration::from_millis(50)).await;
    }
    panic!("waited {deadline:?} in vain for {what}: {last:?} are there");
}

async fn arrived(database: &Database, sessions: usize) -> Option<Vec<u64>> {
    let mut link = Link::open(database).await.ok()?;
    let mut all = Vec::new();
    for no in 0..sessions {
        all.push(acknowledged(&mut link, no as u32).await.ok()?);
    }
    link.close().await;
    Some(all)
}

/// The number of the session's last transaction in this database.
async fn acknowledged(link: &mut Link, no: u32) -> Result<u64, String> {
    let query = format!("SELECT coalesce(max(n), 0) FROM wl_seq WHERE s={no}");
    let rows = link.numbers(&query).await?;
    Ok(u64::try_from(rows[0][0]).expect("numbers from 1"))
}

async fn session(database: Database, mut ops: Ops, options: Options, shared: Arc<Shared>) -> Tally {
    let mut tally = Tally::default();
    let own = &shared.acknowledged[ops.session as usize];
    let mut link = Link::open(&database).await.expect("the source answers");
    while !shared.stop.load(Ordering::SeqCst) {
        let seq = own.load(Ordering::SeqCst) + 1;
        match transaction(&mut link, &mut ops, seq).await {
            Ok((name, committed)) => {
                *tally.done.entry(name.to_owned()).or_default() += 1;
                if committed {
                    own.store(seq, Ordering::SeqCst);
                }
            }
            Err(said) => {
                let said: String = said.chars().take(60).collect();
                *tally.failed.entry(said).or_default() += 1;
                if link.run("ROLLBACK").await.is_err() && !link.is_alive().await {
                    link = again(&database, &shared).await;
                    // Whether the last COMMIT took effect is what the source says now.
                    if let Ok(there) = acknowledged(&mut link, ops.session).await {
                        own.store(there, Ordering::SeqCst);
                    }
                }
            }
        }
        crate::harness::wait::pause(options.pace).await;
    }
    link.close().await;
    tally
}

/// Its name, and whether it was committed (else: rolled back on purpose).
async fn transaction(
    link: &mut Link,
    ops: &mut Ops,
    seq: u64,
) -> Result<(&'static str, bool), String> {
    let (name, statements) = ops.next(link).await?;
    let rolled_back = ops.dice.below(100) < ROLLED_BACK;
    link.run(ops::begin(link.kind())).await?;
    for statement in &statements {
        link.run(statement).await?;
    }
    if rolled_back {
        link.run("ROLLBACK").await?;
        return Ok(("rolled_back", false));
    }
    let number = format!("INSERT INTO wl_seq VALUES ({}, {seq})", ops.session);
    link.run(&number).await?;
    link.run("COMMIT").await?;
    Ok((name, true))
}

/// A new connection, as soon as the server is back.
async fn again(database: &Database, shared: &Shared) -> Link {
    let started = Instant::now();
    loop {
        if let Ok(link) = Link::open(database).await {
            return link;
        }
        let waited = started.elapsed();
        assert!(waited < AWAY, "the source is away for {waited:?}");
        let _ = shared;
        crate::harness::wait::pause(Duration::from_millis(200)).await;
    }
}
