//! SQLite as source and target. A file has one writer: partitions queue, and a transaction is held
//! open from its first row until its decision. What survives a dead process is the file and nothing
//! else, so recovery is the ledger's word alone.

mod apply;
mod cells;
mod check;
mod ddl;
pub mod demo;
mod error;
mod fence;
mod follow;
mod forms;
mod insert;
mod inspect;
mod layout;
mod mark;
mod objects;
mod reader;
mod resolve;
mod sample;
mod session;
mod shapes;
mod survey;
mod types;
mod writer;

use std::path::{Path, PathBuf};

use crate::connector::{
    ApplyWork, ChangeStream, FetchRequest, Origin, SecureWork, StreamRequest, TargetApplier,
};
use async_trait::async_trait;
use common::change::{LogFacts, LogState, Mark, Position, Secured};
use common::check::Check;
use common::code::Code;
use common::epoch::TxnId;
use common::fault::Fault;
use common::id::JobUid;
use common::job::{Endpoint, JobSpec};
use common::plan::{Plan, TablePlan};
use common::schema::SchemaObject;
use common::schema::{EndpointFacts, Engine, InspectedTable, SourceMark, TableRef, TableSchema};
use common::task::TaskKind;
use common::value::RowBatch;

use self::session::{Access, Session, args, cell, quote};
use super::{
    CheckRequest, Connector, DefineWork, Error, Inspection, Occupied, ReadRequest, ResolveWork,
    Result, Role, SourceReader, TargetWriter,
};
use crate::faults;

/// An SQLite file.
#[derive(Clone, Debug)]
pub struct Sqlite {
    path: PathBuf,
}

impl Sqlite {
    /// `sqlite:PATH`, `sqlite://PATH`: everything behind it is the path, as it is.
    pub fn new(endpoint: &Endpoint) -> Result<Sqlite> {
        let rest = endpoint.url.strip_prefix("sqlite:").unwrap_or_default();
        let path = rest.strip_prefix("//").unwrap_or(rest);
        if path.is_empty() || path.contains(":memory:") || path.contains('\0') {
            let what = format!("{}: name a file, as in sqlite:shop.db", endpoint.url);
            return Err(Error::permanent(Code::Usage, what));
        }
        // Absolute, so that SQLite never takes it for a file: URI.
        match std::path::absolute(path) {
            Ok(path) => Ok(Sqlite { path }),
            Err(error) => Err(Error::permanent(Code::Usage, format!("{path}: {error}"))),
        }
    }

    fn refuse(&self, code: Code, why: &str) -> Error {
        Error::permanent(code, format!("{} {why}", self.path.display()))
    }

    /// Whether the file is there. A directory is an error of its own.
    async fn exists(&self) -> Result<bool> {
        match tokio::fs::metadata(&self.path).await {
            Ok(found) if found.is_dir() => Err(self.refuse(Code::NoSuchDatabase, "is a directory")),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.refuse(Code::Unreachable, &format!("can't be read: {error}"))),
        }
    }

    async fn open(&self, role: Role, access: Access) -> Result<Session> {
        Session::open(&self.path, role, access, 64).await
    }

    async fn open_source(&self) -> Result<Session> {
        if !self.exists().await? {
            return Err(self.refuse(Code::NoSuchDatabase, "does not exist"));
        }
        self.open(Role::Source, Access::Read).await
    }

    async fn inspect_source(&self, spec: &JobSpec) -> Result<Inspection> {
        let mut session = self.open_source().await?;
        let mark = mark::mark(&self.path).await?;
        let facts = facts(&mut session).await?;
        let mut tables = inspect::catalogue(&mut session).await?;
        let bytes = file_bytes(&mut session).await?;
        for table in &mut tables {
            let (rows, bytes) = sample::estimate(&mut session, table, bytes).await?;
            table.rows_estimate = rows;
            table.bytes_estimate = bytes;
        }
        let mut notes = forms::fit(&mut session, &mut tables, spec).await?;
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        let (chosen, _) = spec.select(&names);
        let (objects, not_carried) = objects::objects(&mut session, &chosen).await?;
        notes.extend(not_carried);
        if is_wide(&mut session).await? {
            notes.push("the file keeps text in UTF-16; a new target keeps it in UTF-8".to_owned());
        }
        session.close().await;
        Ok(Inspection {
            facts,
            tables,
            mark: Some(mark),
            objects,
            notes,
        })
    }

    async fn inspect_target(&self) -> Result<Inspection> {
        if !self.exists().await? {
            self.check_directory().await?;
            let mut session =
                Session::open(Path::new(":memory:"), Role::Target, Access::Create, 2).await?;
            let facts = facts(&mut session).await?;
            session.close().await;
            return Ok(Inspection {
                facts,
                tables: Vec::new(),
                mark: None,
                objects: Vec::new(),
                notes: Vec::new(),
            });
        }
        self.check_permission(&self.path).await?;
        let mut session = self.open(Role::Target, Access::Write).await?;
        let facts = facts(&mut session).await?;
        // Taking the write lock and giving it back leaves no trace; that it is taken is no obstacle.
        match session.begin_write(0).await {
            Ok(()) => session.rollback().await?,
            Err(error) if error.class == common::code::ErrorClass::Transient => {}
            Err(error) => return Err(error),
        }
        let tables = inspect::catalogue(&mut session).await?;
        session.close().await;
        Ok(Inspection {
            facts,
            tables,
            mark: None,
            objects: Vec::new(),
            notes: Vec::new(),
        })
    }

    /// SQLite opens a file without write permission for reading, and says nothing; for root the
    /// permission has no effect, but it is what its owner wanted.
    async fn check_permission(&self, path: &Path) -> Result<()> {
        match tokio::fs::metadata(path).await {
            Ok(found) if found.permissions().readonly() => {
                let what = format!("{} is read-only", path.display());
                Err(Error::permanent(Code::TargetReadOnly, what))
            }
            Ok(_) => Ok(()),
            Err(error) => {
                let what = format!("{}: {error}", path.display());
                Err(Error::permanent(Code::NoSuchDatabase, what))
            }
        }
    }

    /// A new file needs a directory that takes it.
    async fn check_directory(&self) -> Result<()> {
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        self.check_permission(directory).await?;
        let mut probe = self.path.clone().into_os_string();
        probe.push(".sterna-check");
        let made = tokio::fs::File::create_new(&probe).await;
        match made {
            Ok(_) => {
                // Left behind it would be an empty file of a telling name.
                let _ = tokio::fs::remove_file(&probe).await;
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => {
                let what = format!(
                    "{}: no file can be made there: {error}",
                    directory.display()
                );
                Err(Error::permanent(Code::TargetReadOnly, what))
            }
        }
    }
}

async fn facts(session: &mut Session) -> Result<EndpointFacts> {
    let row = session.row("SELECT sqlite_version()", args([])).await?;
    let version = row.map(|row| cell(&row, 0)).transpose()?;
    Ok(EndpointFacts {
        engine: Engine::Sqlite,
        version: version.unwrap_or_default(),
        durable_prepare: false,
        writers_max: 1,
    })
}

async fn file_bytes(session: &mut Session) -> Result<u64> {
    let pages = session.number("PRAGMA page_count", args([])).await?;
    let size = session.number("PRAGMA page_size", args([])).await?;
    Ok(pages.unwrap_or(0).unsigned_abs() * size.unwrap_or(0).unsigned_abs())
}

async fn is_wide(session: &mut Session) -> Result<bool> {
    let row = session.row("PRAGMA encoding", args([])).await?;
    let encoding: Option<String> = row.map(|row| cell(&row, 0)).transpose()?;
    Ok(encoding.is_some_and(|encoding| encoding != "UTF-8"))
}

#[async_trait]
impl Connector for Sqlite {
    async fn inspect(&self, role: Role, spec: &JobSpec) -> Result<Inspection> {
        match role {
            Role::Source => self.inspect_source(spec).await,
            Role::Target => self.inspect_target().await,
        }
    }

    async fn sample(&self, table: TableSchema, buckets: u32) -> Result<InspectedTable> {
        let mut session = self.open_source().await?;
        let sampled = sample::sample(&mut session, table, buckets).await;
        session.close().await;
        sampled
    }

    async fn mark(&self) -> Result<Option<SourceMark>> {
        mark::mark(&self.path).await.map(Some)
    }

    async fn occupied(&self, tables: &[TableRef]) -> Result<Vec<Occupied>> {
        if !self.exists().await? {
            return Ok(vec![Occupied::Absent; tables.len()]);
        }
        let mut session = self.open(Role::Target, Access::Read).await?;
        let mut found = Vec::with_capacity(tables.len());
        for table in tables {
            found.push(occupied(&mut session, &table.name).await?);
        }
        session.close().await;
        Ok(found)
    }

    async fn read(&self, request: ReadRequest) -> Result<Box<dyn SourceReader>> {
        if !self.exists().await? {
            return Err(self.refuse(Code::NoSuchDatabase, "does not exist"));
        }
        let buffer = reader::row_buffer(&request.table);
        let mut session = Session::open(&self.path, Role::Source, Access::Read, buffer).await?;
        let wide = is_wide(&mut session).await?;
        Ok(Box::new(
            reader::Reader::start(session, request, wide).await?,
        ))
    }

    fn ddl(&self, plan: &Plan) -> Vec<String> {
        ddl::statements(plan)
    }

    async fn define(&self, work: DefineWork) -> Result<()> {
        if matches!(work.kind, TaskKind::Create) {
            faults::point(Fault::CreateBeforeBooks).await?;
        }
        // Opening makes the file.
        work.current.still_ours().await?;
        let mut session = self.open(Role::Target, Access::Create).await?;
        let defined = ddl::define(&mut session, &work).await;
        session.close().await;
        defined
    }

    async fn writer(&self, txn: TxnId, table: TablePlan) -> Result<Box<dyn TargetWriter>> {
        let writer = writer::Writer::new(self.path.clone(), txn, &table);
        Ok(Box::new(writer))
    }

    async fn resolve(&self, work: ResolveWork) -> Result<(u32, u32)> {
        if !self.exists().await? {
            return Ok((0, 0));
        }
        resolve::run(&self.path, &work).await
    }

    async fn log_facts(&self, tables: &[TableSchema]) -> Result<LogFacts> {
        follow::log_facts(&self.path, tables).await
    }

    async fn secure(&self, work: SecureWork) -> Result<Secured> {
        follow::secure(&self.path, work).await
    }

    async fn release(&self, job: &JobUid) -> Result<()> {
        follow::release(&self.path, job).await
    }

    async fn log_end(&self) -> Result<Position> {
        follow::log_end(&self.path).await
    }

    async fn log_state(&self, job: &JobUid, position: &Position) -> Result<LogState> {
        follow::log_state(&self.path, job, position).await
    }

    async fn log_position(&self, text: &str) -> Result<Secured> {
        follow::log_position(&self.path, text).await
    }

    async fn changes(&self, request: StreamRequest) -> Result<Box<dyn ChangeStream>> {
        follow::changes(&self.path, request).await
    }

    fn is_in(&self, origin: &Origin, snapshot: &str) -> Result<bool> {
        follow::is_in(origin, snapshot)
    }

    async fn fetch(&self, request: FetchRequest) -> Result<RowBatch> {
        follow::fetch(&self.path, request).await
    }

    async fn refresh(&self, objects: &mut Vec<SchemaObject>) -> Result<()> {
        follow::refresh(&self.path, objects).await
    }

    async fn applier(&self, work: ApplyWork) -> Result<Box<dyn TargetApplier>> {
        apply::open(&self.path, work).await
    }

    async fn follow_mark(&self, job: &JobUid) -> Result<Option<Mark>> {
        if !self.exists().await? {
            return Ok(None);
        }
        let mut session = self.open(Role::Target, Access::Read).await?;
        let mark = fence::mark(&mut session, job).await;
        session.close().await;
        mark
    }

    async fn check(&self, request: CheckRequest) -> Vec<Check> {
        check::run(self, &request).await
    }

    async fn prepared(&self) -> Result<Vec<TxnId>> {
        // SQLite lists none: a held transaction is known to its process only.
        Ok(Vec::new())
    }
}

async fn occupied(session: &mut Session, table: &str) -> Result<Occupied> {
    let sql = "SELECT count(*) FROM sqlite_master WHERE type IN ('table', 'view') \
               AND name = ? COLLATE NOCASE";
    if session.number(sql, args([table])).await? != Some(1) {
        return Ok(Occupied::Absent);
    }
    let sql = format!("SELECT 1 FROM {} LIMIT 1", quote(table));
    Ok(match session.row(&sql, args([])).await? {
        Some(_) => Occupied::HoldsRows,
        None => Occupied::Empty,
    })
}
