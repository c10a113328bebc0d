//! P0: a place in the log, and the end of every transaction whose rows might be before it in the
//! log and not yet be seen by a reader.
//!
//! MariaDB gives a snapshot together with its place, so everything before that is seen at once.
//! MySQL doesn't: the open transactions are waited out. On both a prepared XA transaction may have
//! its rows before the place and become visible any time later.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::change::{LogState, Position, Secured};
use common::code::{Code, Failure};
use common::id::JobUid;
use common::limits;

use super::log::{self, replica_id};
use super::position::{Place, Point};
use super::source::Source;
use crate::connector::mysql::session::{Host, Purpose, Session};
use crate::connector::{Error, Result, Role, SecureWork};

/// InnoDB's numbers of transactions that have written nothing so far: none of their rows is in the
/// log, and a report that reads for an hour is nothing to wait for.
const READS: u64 = 1 << 48;

const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// InnoDB's `CACHE_MIN_IDLE_TIME` of its tables about transactions, and a little.
const LIST_IS_KEPT: Duration = Duration::from_millis(120);

/// See [`crate::connector::Connector::secure`].
pub async fn secure(host: &Host, _work: SecureWork) -> Result<Secured> {
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    let identity = log::identity(&mut session).await?;
    let place = match session.facts.mariadb {
        true => snapshot_place(&mut session).await?,
        false => log::end(&mut session).await?,
    };
    let mut open = prepared(&mut session).await?;
    if !session.facts.mariadb {
        open.extend(transactions(&mut session).await?);
    }
    wait_for(&mut session, open).await?;
    Ok(Secured {
        position: place.position(),
        identity,
    })
}

/// MariaDB: the place of a consistent snapshot.
async fn snapshot_place(session: &mut Session) -> Result<Place> {
    session
        .run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .await?;
    session
        .run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        .await?;
    let rows = session.rows("SHOW STATUS LIKE 'binlog_snapshot_%'").await?;
    session.run("COMMIT").await?;
    let value = |name: &str| {
        let mut rows = rows.iter();
        let row = rows.find(|row| {
            let found = row.first().and_then(Option::as_deref);
            found.is_some_and(|found| found.eq_ignore_ascii_case(name))
        })?;
        row.get(1).cloned().flatten()
    };
    let file = value("Binlog_snapshot_file").filter(|file| !file.is_empty());
    let offset = value("Binlog_snapshot_position").and_then(|offset| offset.parse().ok());
    let (Some(file), Some(offset)) = (file, offset) else {
        return Err(log::off());
    };
    let mut place = Place::at(Point::new(file, offset));
    place.executed = log::executed_at(session, &place.point).await?;
    Ok(place)
}

/// What is waited for, as people name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Open {
    /// The server's number of it, of its session.
    Transaction(u64, u64),
    Prepared(String),
}

async fn prepared(session: &mut Session) -> Result<BTreeSet<Open>> {
    let rows = session.rows("XA RECOVER").await?;
    let name = |row: Vec<Option<String>>| {
        let cell = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        Open::Prepared(format!("{} (format {})", cell(3), cell(0)))
    };
    Ok(rows.into_iter().map(name).collect())
}

/// The server renews its list of transactions only when nobody has read it for 0.1 s, so it is
/// asked until it has one that we began after P0, and ever more seldom: who asks more often than
/// that, or together with others, keeps it from being renewed.
async fn transactions(session: &mut Session) -> Result<BTreeSet<Open>> {
    session
        .run("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        .await?;
    session
        .run("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        .await?;
    let ours = session.facts.connection;
    let deadline = Instant::now() + Duration::from_millis(limits::STATEMENT_DEADLINE_MS);
    let mut wait = LIST_IS_KEPT;
    loop {
        let mut found = listed(session).await?;
        let count = found.len();
        found.retain(|open| !matches!(open, Open::Transaction(_, thread) if *thread == ours));
        if found.len() < count {
            session.run("COMMIT").await?;
            found.retain(|open| !matches!(open, Open::Transaction(number, _) if *number >= READS));
            return Ok(found);
        }
        if Instant::now() > deadline {
            let what = "information_schema.innodb_trx doesn't show the session's own transaction";
            return Err(Error::transient(Code::OpenTransaction, what));
        }
        // Sessions that began to wait together don't ask together again.
        tokio::time::sleep(wait + wait * (ours % 16) as u32 / 16).await;
        wait = (wait * 2).min(Duration::from_secs(2));
    }
}

async fn listed(session: &mut Session) -> Result<BTreeSet<Open>> {
    let sql = "SELECT trx_id, trx_mysql_thread_id FROM information_schema.innodb_trx";
    let rows = session.rows(sql).await?;
    let open = |row: Vec<Option<String>>| {
        let cell = |at: usize| row.get(at)?.as_ref()?.parse().ok();
        Open::Transaction(cell(0).unwrap_or(0), cell(1).unwrap_or(0))
    };
    Ok(rows.into_iter().map(open).collect())
}

async fn wait_for(session: &mut Session, mut open: BTreeSet<Open>) -> Result<()> {
    let deadline = Instant::now() + Duration::from_millis(limits::OPEN_TRANSACTIONS_WAIT_MS);
    let mut wait = LOOK_AGAIN;
    while !open.is_empty() {
        let mut now = prepared(session).await?;
        if open
            .iter()
            .any(|open| matches!(open, Open::Transaction(..)))
        {
            now.extend(listed(session).await?);
        }
        open.retain(|open| now.contains(open));
        let Some(first) = open.first() else { break };
        if Instant::now() > deadline {
            return Err(in_the_way(first, open.len()));
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(1));
    }
    Ok(())
}

fn in_the_way(open: &Open, count: usize) -> Error {
    let minutes = limits::OPEN_TRANSACTIONS_WAIT_MS / 60_000;
    let (what, fix) = match open {
        Open::Transaction(number, thread) => (
            format!("transaction {number} of session {thread}"),
            format!("KILL {thread}"),
        ),
        Open::Prepared(xid) => (
            format!("prepared XA transaction {xid}"),
            "XA RECOVER FORMAT='SQL', then XA COMMIT or XA ROLLBACK of it".to_owned(),
        ),
    };
    let more = match count {
        1 => String::new(),
        more => format!(" and {} more", more - 1),
    };
    let what = format!("{what}{more} did not end within {minutes} minutes");
    Error {
        class: common::code::ErrorClass::Permanent,
        failure: Failure::new(Code::OpenTransaction, what).fix(fix),
    }
}

/// Asks for the log as a replica would, and takes the first event.
pub async fn try_stream(host: &Host) -> Result<()> {
    // A number of this process's own: the real one would end the session of a running job.
    let nobody = format!("{:032x}", u128::from(std::process::id()) << 64 | 0x5774);
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    let end = log::status(&mut session).await?.ok_or_else(log::off)?.end;
    let mut source = Source::open(session, &host.name, &JobUid(nobody), &end).await?;
    source.next().await.map(drop)
}

/// Nothing of ours is kept at the server. A session of a worker that stands still is ended by the
/// server when another one comes with its number.
pub async fn release(host: &Host, job: &JobUid) -> Result<()> {
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    let replicas = log::either(&mut session, "SHOW SLAVE HOSTS", "SHOW REPLICAS").await;
    let ours = replica_id(job).to_string();
    let is_ours =
        |row: &Vec<Option<String>>| row.first().is_some_and(|id| id.as_ref() == Some(&ours));
    if !replicas.is_ok_and(|rows| rows.iter().any(is_ours)) {
        return Ok(());
    }
    let end = log::status(&mut session).await?.ok_or_else(log::off)?.end;
    let mut source = Source::open(session, &host.name, job, &end).await?;
    source.next().await.map(drop)
}

/// See [`crate::connector::Connector::log_state`].
pub async fn log_state(host: &Host, position: &Position) -> Result<LogState> {
    let place = Place::parse(&position.text)?;
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    let files = log::files(&mut session).await?;
    let order = place.point.order();
    let number = |file: &str| super::position::file_number(file).unwrap_or(0);
    let mut state = LogState::default();
    let (mut kept, mut is_last) = (0, true);
    for file in &files {
        if number(&file.name) > order.0 {
            state.behind_bytes += file.bytes;
        } else if number(&file.name) == order.0 {
            state.behind_bytes += file.bytes.saturating_sub(order.1);
        }
        if number(&file.name) >= place.start().order().0 {
            kept += file.bytes;
        }
        is_last &= number(&file.name) <= place.start().order().0;
    }
    if let Some(most) = super::facts::global(&mut session, "max_binlog_total_size").await?
        && let Ok(most) = most.parse::<u64>()
        && most > 0
    {
        state.headroom_bytes = Some(most.saturating_sub(kept));
    }
    state.headroom_ms = expiry(&mut session).await?.map(|expiry| {
        // The age of a file that is still written to begins once it isn't.
        let age = match is_last || place.at == 0 {
            true => 0,
            false => now_ms().saturating_sub(place.at * 1_000),
        };
        expiry.saturating_sub(age)
    });
    Ok(state)
}

/// After how many milliseconds the server removes a file; None = never.
async fn expiry(session: &mut Session) -> Result<Option<u64>> {
    if super::facts::global(session, "binlog_expire_logs_auto_purge")
        .await?
        .as_deref()
        == Some("OFF")
    {
        return Ok(None);
    }
    let seconds = super::facts::global(session, "binlog_expire_logs_seconds").await?;
    let days = super::facts::global(session, "expire_logs_days").await?;
    let number = |text: Option<String>| text.and_then(|text| text.parse::<f64>().ok());
    let of_days = number(days).map_or(0.0, |days| days * 86_400.0);
    let seconds = number(seconds).unwrap_or(0.0).max(of_days);
    Ok((seconds > 0.0).then_some((seconds * 1_000.0) as u64))
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as u64)
}
