//! Following this engine as a source: what `secure` makes and removes, positions, the stream.

use common::change::{LogFacts, LogState, Position, Secured};
use common::code::Code;
use common::id::JobUid;
use common::schema::{SchemaObject, TableSchema};
use common::value::RowBatch;

use super::objects;
use super::quote::text;
use super::session::{Host, Purpose};
use super::stream::{self, catalog, facts, place, slot};
use crate::connector::{
    ChangeStream, Error, FetchRequest, Machine, Origin, Result, Role, SecureWork, StreamRequest,
};

pub async fn log_facts(host: &Host, tables: &[TableSchema]) -> Result<LogFacts> {
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    Ok(match facts::in_the_way(&mut session, host, tables).await? {
        Some(failure) => LogFacts::Unusable(failure),
        None => LogFacts::Usable,
    })
}

pub async fn secure(host: &Host, work: SecureWork) -> Result<Secured> {
    slot::secure(host, work).await
}

pub async fn release(host: &Host, job: &JobUid) -> Result<()> {
    slot::release(host, job).await
}

/// A place that every commit is before that was answered until now. It is that of a message in a
/// transaction of its own: with it the log goes on beyond the place at once, and so does a stream,
/// on a server on which nothing else happens.
pub async fn log_end(host: &Host) -> Result<Position> {
    let mut session = host.open(Role::Source, Purpose::Load).await?;
    // A standby that is away needn't be waited for.
    session.run("SET synchronous_commit = local").await?;
    let sql = "SELECT pg_catalog.pg_logical_emit_message(true, 'sterna', 'end')::text";
    let end = match session.cell(sql).await {
        Err(failed) if failed.error.failure.code == Code::Privileges => {
            // What was answered with synchronous_commit = off isn't flushed yet.
            let sql = "SELECT pg_catalog.pg_current_wal_insert_lsn()::text";
            session.cell(sql).await?
        }
        end => end?,
    };
    Ok(place::position(place::answered(end)?))
}

pub async fn machine(host: &Host) -> Result<Machine> {
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    // The directory is a secret to most users.
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint::text, CASE WHEN \
               pg_has_role('pg_read_all_settings', 'MEMBER') THEN current_setting('data_directory') \
               END";
    let mut cells = session.row(sql).await?.unwrap_or_default().into_iter();
    let clock = cells.next().flatten();
    Ok(Machine {
        clock_us: clock.and_then(|text| text.parse().ok()),
        directory: cells.next().flatten(),
    })
}

pub async fn log_state(host: &Host, job: &JobUid, position: &Position) -> Result<LogState> {
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    let slot = slot::name(job);
    let sql = format!(
        "SELECT pg_catalog.pg_current_wal_insert_lsn()::text, (SELECT CASE WHEN \
         safe_wal_size < 0 THEN 0 ELSE safe_wal_size END::text FROM pg_catalog.pg_replication_slots WHERE slot_name = {})",
        text(&slot)
    );
    let row = session.row(&sql).await?.unwrap_or_default();
    let mut cells = row.into_iter();
    let end = place::answered(cells.next().flatten())?;
    let headroom = cells.next().flatten();
    Ok(LogState {
        behind_bytes: end.saturating_sub(position.order.1),
        headroom_bytes: headroom.and_then(|bytes| bytes.parse().ok()),
        headroom_ms: None,
    })
}

/// `slot@LSN`: a slot that is there, with a publication of its name.
pub async fn log_position(host: &Host, wanted: &str) -> Result<Secured> {
    let usage = |why: String| {
        let mut error = Error::permanent(Code::Usage, format!("--from {wanted:?}: {why}"));
        let fix = "SELECT slot_name || '@' || confirmed_flush_lsn FROM pg_replication_slots";
        error.failure.fixes.push(fix.to_owned());
        error
    };
    let Some((slot, lsn)) = wanted.rsplit_once('@') else {
        let why = "a position in PostgreSQL's log is SLOT@LSN, as `orders@16/B374D848`";
        return Err(usage(why.to_owned()));
    };
    let Some(lsn) = place::lsn(lsn) else {
        return Err(usage(format!(
            "{lsn:?} is no place in the log, as 16/B374D848"
        )));
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if slot.is_empty() || !slot.bytes().all(plain) {
        return Err(usage(format!("{slot:?} can't be a slot's name")));
    }
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    slot::check(&mut session, slot, lsn).await?;
    let there = format!(
        "SELECT 1::text FROM pg_catalog.pg_publication WHERE pubname = {}",
        text(slot)
    );
    if session.cell(&there).await?.is_none() {
        let why = format!("there is no publication {slot}, which the slot would be read with");
        return Err(usage(why));
    }
    Ok(Secured {
        position: place::position(lsn),
        identity: slot::identity(&mut session, host, slot).await?.text(),
    })
}

pub async fn changes(host: &Host, request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
    stream::open(host, request).await
}

pub fn is_in(origin: &Origin, snapshot: &str) -> Result<bool> {
    place::is_in(origin, snapshot)
}

pub async fn fetch(host: &Host, request: FetchRequest) -> Result<RowBatch> {
    stream::fetch::fetch(host, request).await
}

/// The sequences' values: they aren't in the log as changes of rows.
pub async fn refresh(host: &Host, objects: &mut [SchemaObject]) -> Result<()> {
    let mut session = catalog::open(host).await?;
    let values = objects::current_values(&mut session).await?;
    for object in objects {
        let same = |value: &&SchemaObject| value.kind == object.kind && value.name == object.name;
        if let Some(value) = values.iter().find(same) {
            object.statements.clone_from(&value.statements);
        }
    }
    Ok(())
}
