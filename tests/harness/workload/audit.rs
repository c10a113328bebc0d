//! Does a database show whole transactions of the workload, and nothing else? Every look is one
//! consistent read. The auditor looks again and again until it is stopped, and keeps what it saw.
//!
//! - I1: money is neither made nor lost (`acct`);
//! - I2: each account is what `ledger` says;
//! - I3: as many moved rows as the counters say;
//! - I4: each session's transactions are 1..n, none lost, doubled or out of order, and n never falls;
//! - I5: nothing that existed only inside a transaction (temporary rows and unique values, half of
//!   the big transaction).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::link::Link;
use super::{ACCOUNTS, UNIQUES};
use crate::harness::lab::{Database, Kind};

/// Between two looks: the target has other work to do.
const PAUSE: Duration = Duration::from_millis(60);
/// A violation that stays is seen again and again.
const VIOLATIONS_MAX: usize = 20;

const MONEY: &str = "SELECT count(*), sum(bal) FROM acct";
const ACCOUNTS_OFF: &str = "SELECT count(*) FROM acct \
     LEFT JOIN (SELECT dst AS id, sum(amt) AS s FROM ledger GROUP BY dst) i ON i.id = acct.id \
     LEFT JOIN (SELECT src AS id, sum(amt) AS s FROM ledger GROUP BY src) o ON o.id = acct.id \
     WHERE acct.bal <> 1000 + coalesce(i.s, 0) - coalesce(o.s, 0)";
const MOVED: &str = "SELECT count(*) FROM bulk WHERE u LIKE 'w-%'";
const COUNTED: &str = "SELECT coalesce(sum(n), 0) FROM wl_counter";
const NUMBERS: &str = "SELECT s, count(*), min(n), max(n) FROM wl_seq GROUP BY s";
const TEMPORARY: &str = "SELECT count(*) FROM bulk WHERE u LIKE 'tmp-%'";
const UNIQUE: &str = "SELECT count(*), count(DISTINCT u), min(u), max(u) FROM wl_uniq";
const HALF_BIG: &str = "SELECT count(*) FROM bulk WHERE u LIKE 'lg-%' AND k <> 3";

/// What one look saw.
pub struct Look {
    /// Of each session, its last transaction.
    pub last: BTreeMap<i64, i64>,
    pub violations: Vec<String>,
}

/// One consistent read of everything; Err = the server didn't answer.
pub async fn look(link: &mut Link) -> Result<Look, String> {
    link.run(match link.kind() {
        Kind::Mariadb | Kind::Mysql9 => "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        Kind::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        Kind::Sqlite => "BEGIN",
    })
    .await?;
    let looked = read(link).await;
    link.run("ROLLBACK").await?;
    looked
}

async fn read(link: &mut Link) -> Result<Look, String> {
    let mut violations = Vec::new();
    let mut last = BTreeMap::new();
    for row in link.numbers(NUMBERS).await? {
        let (session, count, min, max) = (row[0], row[1], row[2], row[3]);
        if min != 1 || max != count {
            let what = format!("I4: session {session} has {count} numbers from {min} to {max}");
            violations.push(what);
        }
        last.insert(session, max);
    }
    let money = link.numbers(MONEY).await?.remove(0);
    if money != [ACCOUNTS, 1_000 * ACCOUNTS] {
        violations.push(format!("I1: {} accounts hold {}", money[0], money[1]));
    }
    let off = link.numbers(ACCOUNTS_OFF).await?[0][0];
    if off != 0 {
        violations.push(format!("I2: {off} accounts are not what the ledger says"));
    }
    let (moved, counted) = (
        link.numbers(MOVED).await?[0][0],
        link.numbers(COUNTED).await?[0][0],
    );
    if moved != counted {
        violations.push(format!("I3: {moved} moved rows, {counted} counted"));
    }
    let temporary = link.numbers(TEMPORARY).await?[0][0];
    let half = link.numbers(HALF_BIG).await?[0][0];
    let unique = link.numbers(UNIQUE).await?.remove(0);
    if temporary + half != 0 {
        let what = format!("I5: {temporary} temporary rows, {half} rows of half a transaction");
        violations.push(what);
    }
    if unique != [UNIQUES, UNIQUES, 0, UNIQUES - 1] {
        violations.push(format!(
            "I5: wl_uniq (rows, values, least, most) {unique:?}"
        ));
    }
    Ok(Look { last, violations })
}

/// Asserts that one look finds nothing wrong; what it saw.
pub async fn assert_whole(database: &Database) -> Look {
    let mut link = Link::open(database).await.expect("the database answers");
    let looked = look(&mut link)
        .await
        .expect("the workload's tables are there");
    link.close().await;
    let violations = &looked.violations;
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    looked
}

/// Looks in the background.
pub struct Auditor {
    stop: Arc<AtomicBool>,
    task: JoinSet<Findings>,
}

/// What it found.
#[derive(Debug, Default)]
pub struct Findings {
    pub looks: u64,
    /// The server was away.
    pub unanswered: u64,
    pub violations: Vec<String>,
}

impl Auditor {
    /// From now on every look must find whole transactions.
    pub fn start(database: &Database) -> Auditor {
        let stop = Arc::new(AtomicBool::new(false));
        let mut task = JoinSet::new();
        task.spawn(audit(database.clone(), Arc::clone(&stop)));
        Auditor { stop, task }
    }

    /// Stops looking and asserts that nothing was found in at least `looks_min` looks.
    pub async fn assert_clean(self, looks_min: u64) -> Findings {
        let found = self.stop().await;
        assert!(
            found.violations.is_empty(),
            "{} looks, {} unanswered:\n{}",
            found.looks,
            found.unanswered,
            found.violations.join("\n")
        );
        assert!(found.looks >= looks_min, "too few looks: {found:?}");
        found
    }

    pub async fn stop(mut self) -> Findings {
        self.stop.store(true, Ordering::SeqCst);
        let found = self.task.join_next().await.expect("it was spawned");
        found.expect("the auditor doesn't panic")
    }
}

async fn audit(database: Database, stop: Arc<AtomicBool>) -> Findings {
    let started = Instant::now();
    let mut found = Findings::default();
    let mut before: BTreeMap<i64, i64> = BTreeMap::new();
    let mut link = None;
    while !stop.load(Ordering::SeqCst) {
        crate::harness::wait::pause(PAUSE).await;
        let mut open = match link.take() {
            Some(open) => open,
            None => match Link::open(&database).await {
                Ok(open) => open,
                Err(_) => {
                    found.unanswered += 1;
                    continue;
                }
            },
        };
        let Ok(seen) = look(&mut open).await else {
            found.unanswered += 1;
            open.close().await;
            continue;
        };
        link = Some(open);
        found.looks += 1;
        let mut wrong = seen.violations;
        for (session, n) in &before {
            let now = seen.last.get(session).copied().unwrap_or_default();
            if now < *n {
                wrong.push(format!("I4: session {session} fell from {n} to {now}"));
            }
        }
        before = seen.last;
        let room = VIOLATIONS_MAX.saturating_sub(found.violations.len());
        let at = started.elapsed().as_secs_f64();
        let told = wrong
            .into_iter()
            .map(|wrong| format!("after {at:.2} s: {wrong}"));
        found.violations.extend(told.take(room));
    }
    if let Some(link) = link {
        link.close().await;
    }
    found
}
