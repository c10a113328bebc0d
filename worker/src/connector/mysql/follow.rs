//! Following this engine as a source: its binary log, read as a replica does. Nothing of ours is
//! kept at the server.

use std::sync::Arc;

use common::change::{LogFacts, LogState, Position, Secured};
use common::code::Code;
use common::id::JobUid;
use common::schema::{SchemaObject, TableSchema};
use common::value::RowBatch;

use super::binlog::ddl::Names;
use super::binlog::position::{Place, Point};
use super::binlog::rows::Rows;
use super::binlog::source::Source;
use super::binlog::stream::Stream;
use super::binlog::{facts, log, secure as securing};
use super::session::{Host, Purpose};
use crate::connector::{
    ChangeStream, Error, FetchRequest, Machine, Origin, Result, Role, SecureWork, StreamRequest,
};

pub async fn log_facts(host: &Host, tables: &[TableSchema]) -> Result<LogFacts> {
    facts::log_facts(host, tables).await
}

pub async fn secure(host: &Host, work: SecureWork) -> Result<Secured> {
    securing::secure(host, work).await
}

pub async fn release(host: &Host, job: &JobUid) -> Result<()> {
    securing::release(host, job).await
}

pub async fn log_end(host: &Host) -> Result<Position> {
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    let status = log::status(&mut session).await?.ok_or_else(log::off)?;
    Ok(log::bare(&status.end))
}

pub async fn machine(host: &Host) -> Result<Machine> {
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    let sql = "SELECT CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED), @@datadir";
    let mut cells = session.row(sql).await?.unwrap_or_default().into_iter();
    let clock = cells.next().flatten();
    Ok(Machine {
        clock_us: clock.and_then(|text| text.parse().ok()),
        directory: cells.next().flatten(),
    })
}

pub async fn log_state(host: &Host, _job: &JobUid, position: &Position) -> Result<LogState> {
    securing::log_state(host, position).await
}

pub async fn log_position(host: &Host, text: &str) -> Result<Secured> {
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    let place = log::given(&mut session, text).await?;
    Ok(Secured {
        position: place.position(),
        identity: log::identity(&mut session).await?,
    })
}

pub async fn changes(host: &Host, request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    let mut after = Place::parse(&request.after.text)?;
    log::check(&mut session, &after, &request.identity).await?;
    if after.executed.is_none() && session.facts.mariadb {
        after.executed = log::executed_at(&mut session, &after.point).await?;
    }
    let folded = session.cell("SELECT @@lower_case_table_names").await?;
    let folded = folded.as_deref() != Some("0");
    let mariadb = session.facts.mariadb;
    let names = Arc::new(Names::new(&request.tables, &host.database, folded));
    let rows = Rows::new(Arc::new(request.tables), Arc::clone(&names), mariadb);
    let source = Source::open(session, &host.name, &request.job, after.start()).await?;
    Ok(Box::new(Stream::new(names, source, rows, after)))
}

/// A snapshot is known by the place in the log that it was taken at.
pub fn is_in(origin: &Origin, snapshot: &str) -> Result<bool> {
    let first = snapshot.split(' ').next().unwrap_or_default();
    let Some(point) = Point::parse(first) else {
        let what = format!("{snapshot:?} is no place in a binary log");
        return Err(Error::permanent(Code::Internal, what));
    };
    Ok(origin.order <= point.order())
}

pub fn fetch(request: &FetchRequest) -> Result<RowBatch> {
    let what = format!(
        "rows of {} are asked for again: the log of this engine has whole rows",
        request.table.source.name
    );
    Err(Error::permanent(Code::Internal, what))
}

pub async fn refresh(host: &Host, objects: &mut [SchemaObject]) -> Result<()> {
    let is_value = |object: &SchemaObject| object.kind == super::objects::VALUE;
    if !objects.iter().any(is_value) {
        return Ok(());
    }
    let mut session = host.open(Role::Source, Purpose::Read).await?;
    super::objects::refresh(&mut session, &host.database, objects).await
}
