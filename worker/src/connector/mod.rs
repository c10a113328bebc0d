//! The edge to the databases: three traits, one folder per engine with the same file names in
//! each (`types reader writer error` and `inspect ddl`). Drivers are named here and nowhere else.
//!
//! Every statement has a deadline; every error is classified once, in the engine's `error.rs`;
//! a password never reaches an error, a log line or a metric.

pub mod changes;
pub mod mysql;
mod percent;
pub mod postgres;
mod recovery;
mod replaced;
pub mod sqlite;
mod within;

use async_trait::async_trait;
use common::change::{LogFacts, LogState, Position, Secured};
use common::check::Check;
use common::code::{Code, ErrorClass, Failure};
use common::digest::Digest;
use common::epoch::{Epoch, TxnId};
use common::fidelity::PossibleLoss;
use common::id::JobUid;
use common::job::{Endpoint, JobSpec};
use common::plan::{Loaded, Plan, TablePlan};
use common::schema::{
    CellForm, EndpointFacts, Engine, InspectedTable, KeyRange, SchemaObject, SourceMark, TableRef,
    TableSchema,
};
use common::task::{ResolveUnit, TaskKind};
use common::value::RowBatch;

pub use self::changes::{
    ApplyWork, ChangeStream, FetchRequest, Origin, SecureWork, StreamRequest, TargetApplier,
};
pub use self::sqlite::demo;
pub use crate::fresh::Current;
use crate::secret::Secrets;

/// What went wrong, already classified.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{failure}")]
pub struct Error {
    pub class: ErrorClass,
    pub failure: Failure,
}

pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub fn permanent(code: Code, what: impl Into<String>) -> Error {
        Error {
            class: ErrorClass::Permanent,
            failure: Failure::new(code, what),
        }
    }

    pub fn transient(code: Code, what: impl Into<String>) -> Error {
        Error {
            class: ErrorClass::Transient,
            failure: Failure::new(code, what),
        }
    }

    /// A newer owner raised the fence.
    pub fn fenced(held: Epoch, presented: Epoch) -> Error {
        let what = format!("the fence stands at {held}, this worker holds {presented}");
        Error {
            class: ErrorClass::Fenced,
            failure: Failure::new(Code::Internal, what),
        }
    }
}

/// What `inspect` found at one end.
#[derive(Debug)]
pub struct Inspection {
    pub facts: EndpointFacts,
    /// Every base table, whole; for the target only what is needed to compare names.
    pub tables: Vec<TableSchema>,
    /// Where the endpoint stands now; None = it keeps no usable mark.
    pub mark: Option<SourceMark>,
    /// Views, triggers, types, …: see [`SchemaObject`].
    pub objects: Vec<SchemaObject>,
    /// What exists and can't even be carried on the same engine, a line each.
    pub notes: Vec<String>,
}

/// An endpoint that can be reached. Cheap to clone, opens a connection per reader and writer.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Connects, checks that the endpoint can play `role`, and reads its catalogue. Changes nothing
    /// (a target's writability is asked for, not tried, where trying would leave a trace).
    async fn inspect(&self, role: Role, spec: &JobSpec) -> Result<Inspection>;

    /// Cuts `table` into about `buckets` buckets by sampling its key; an empty sample = it can't.
    async fn sample(&self, table: TableSchema, buckets: u32) -> Result<InspectedTable>;

    /// Where the endpoint stands now.
    async fn mark(&self) -> Result<Option<SourceMark>>;

    /// Whether each of `tables` exists here and holds a row.
    async fn occupied(&self, tables: &[TableRef]) -> Result<Vec<Occupied>>;

    /// A stream over the rows of `request`, one pass, in no particular order.
    async fn read(&self, request: ReadRequest) -> Result<Box<dyn SourceReader>>;

    /// The statements `define` would run for all of a plan on an empty target, in order, without
    /// fence and ledger: what `sterna plan` shows.
    fn ddl(&self, plan: &Plan) -> Vec<String>;

    /// Runs a create, index, foreign-key or objects task at this target. Repeatable. Registers its session in
    /// the fence under `unit` and `epoch` first and kills the sessions of older epochs, so that a
    /// zombie's DDL can't come late.
    async fn define(&self, work: DefineWork) -> Result<()>;

    /// Opens a target for the partitions of a job; touches nothing.
    async fn writer(&self, txn: TxnId, table: TablePlan) -> Result<Box<dyn TargetWriter>>;

    /// See [`TaskKind::Resolve`]. Returns (committed, rolled back).
    async fn resolve(&self, work: ResolveWork) -> Result<(u32, u32)>;

    /// Whether the log can be followed for `tables`: settings, rights, what of the tables isn't in
    /// it. Changes nothing.
    async fn log_facts(&self, tables: &[TableSchema]) -> Result<LogFacts>;

    /// Makes the source keep its log from now on (slot, publication, triggers, under names made of
    /// the job's), then waits until every transaction that was open has ended, with a deadline and an
    /// error that names what is in the way. Repeatable while nothing was copied.
    async fn secure(&self, work: SecureWork) -> Result<Secured>;

    /// Removes what `secure` made; Ok if there is nothing. Ends a session that uses it.
    async fn release(&self, job: &JobUid) -> Result<()>;

    /// Where the log ends now.
    async fn log_end(&self) -> Result<Position>;

    /// How far `position` is from the log's end and from its beginning.
    async fn log_state(&self, job: &JobUid, position: &Position) -> Result<LogState>;

    /// A [`Position`] from what a user wrote (`--from`), with this server's identity.
    async fn log_position(&self, text: &str) -> Result<Secured>;

    async fn changes(&self, request: StreamRequest) -> Result<Box<dyn ChangeStream>>;

    /// Whether the rows that were read in `snapshot` (see [`SourceReader::snapshot`]) hold what a
    /// transaction of the stream did.
    fn is_in(&self, origin: &Origin, snapshot: &str) -> Result<bool>;

    /// The rows that have these keys now, in no order, those that are there.
    async fn fetch(&self, request: FetchRequest) -> Result<RowBatch>;

    /// The values of sequences and the like as they are now, in place of those in `objects`.
    async fn refresh(&self, objects: &mut Vec<SchemaObject>) -> Result<()>;

    async fn applier(&self, work: ApplyWork) -> Result<Box<dyn TargetApplier>>;

    /// Named checks of this end, all of them, whatever fails: what can't be asked is a failed check
    /// itself. Leaves nothing behind: rights are tried where that leaves no trace.
    async fn check(&self, request: CheckRequest) -> Vec<Check> {
        let _ = request;
        Vec::new()
    }

    /// What surrounds the server, as far as it tells; the default is a database of this process.
    async fn machine(&self) -> Result<Machine> {
        Ok(Machine::default())
    }

    /// The digest of the rows of `request` as this server folds them itself; comparable with that
    /// of another server of the same engine, and with nothing else. None = it can't, or not as
    /// strongly as [`common::digest::Digest`].
    async fn fold(&self, request: ReadRequest) -> Result<Option<Digest>> {
        let _ = request;
        Ok(None)
    }

    /// The mark that a job which follows has left at this target: what the target stands for now.
    /// None = no such job's.
    async fn follow_mark(&self, job: &JobUid) -> Result<Option<common::change::Mark>>;

    /// Prepared transactions of ours that the server lists now, for `operator txn list` and tests.
    async fn prepared(&self) -> Result<Vec<TxnId>>;
}

/// See [`Connector::machine`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// The server's clock in µs since 1970; None = it is this process's.
    pub clock_us: Option<i64>,
    /// Where its data is; None = it doesn't say so to this user.
    pub directory: Option<String>,
}

/// What [`Connector::check`] is asked.
#[derive(Clone, Debug)]
pub struct CheckRequest {
    pub role: Role,
    pub spec: JobSpec,
    /// At the source the chosen tables; at the target those that are to be made, by the source's
    /// schema. Empty where the source couldn't be read.
    pub tables: Vec<TableSchema>,
    /// The other end, if it could be reached.
    pub other: Option<EndpointFacts>,
}

/// Which end an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Source,
    Target,
}

/// A table of the target before the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occupied {
    Absent,
    Empty,
    HoldsRows,
}

/// What to read. `columns` of the table are read in order, generated ones left out.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    pub table: TableSchema,
    /// At the source the same schema, at the target [`TablePlan::rows`]: its canonical types say
    /// how cells are rendered, on both ends alike, so that the two digests can be compared. Its
    /// copied columns correspond to those of `table` one to one, in order.
    pub canonical: TableSchema,
    pub form: CellForm,
    /// Columns the ranges are about; with no ranges at all the whole table is read.
    pub key: Vec<String>,
    pub ranges: Vec<KeyRange>,
    /// At the source: what the plan says may be lost, for each copied column of `table` in order.
    /// Empty at the target, where values are what was written.
    pub losses: Vec<Vec<PossibleLoss>>,
    /// Read everything in one snapshot whose place in the log is known: tables without a key, in
    /// which a change can't be replayed over what may have it already.
    pub pinned: bool,
}

impl ReadRequest {
    /// Rows of the source, as they are there.
    pub fn source(table: &TablePlan, key: Vec<String>, ranges: Vec<KeyRange>) -> ReadRequest {
        ReadRequest {
            table: table.source.clone(),
            canonical: table.source.clone(),
            form: table.form,
            key,
            ranges,
            losses: losses(table),
            pinned: false,
        }
    }

    /// All rows of the target, as they were written.
    pub fn target(table: &TablePlan) -> ReadRequest {
        ReadRequest {
            table: table.target.clone(),
            canonical: table.rows().clone(),
            form: table.form,
            key: Vec::new(),
            ranges: Vec::new(),
            losses: Vec::new(),
            pinned: false,
        }
    }
}

/// The verdicts' losses by the source's columns; a column that the job drops has none.
fn losses(table: &TablePlan) -> Vec<Vec<PossibleLoss>> {
    let renamed = |name: &str| -> Option<String> {
        match table.rule.as_ref().and_then(|rule| rule.of(name)) {
            Some(rule) if rule.drop => None,
            Some(rule) => Some(rule.rename.clone().unwrap_or_else(|| name.to_owned())),
            None => Some(name.to_owned()),
        }
    };
    let of = |name: &str| -> Option<Vec<PossibleLoss>> {
        let name = renamed(name)?;
        let place = table
            .rows()
            .copied_columns()
            .position(|column| column.name == name)?;
        Some(table.columns.get(place)?.losses.clone())
    };
    table
        .source
        .copied_columns()
        .map(|column| of(&column.name).unwrap_or_default())
        .collect()
}

/// DDL work at the target.
#[derive(Clone, Debug)]
pub struct DefineWork {
    pub job: common::id::JobUid,
    pub task: common::id::TaskNo,
    pub epoch: Epoch,
    pub kind: TaskKind,
    pub spec: JobSpec,
    pub tables: Vec<TablePlan>,
    pub objects: Vec<SchemaObject>,
    /// Asked right before every statement that makes or destroys something.
    pub current: Current,
}

/// The end of a job at the target.
#[derive(Clone, Debug)]
pub struct ResolveWork {
    pub job: common::id::JobUid,
    pub task: common::id::TaskNo,
    pub epoch: Epoch,
    pub units: Vec<ResolveUnit>,
    pub drop_bookkeeping: bool,
}

/// Rows, batch by batch. Dropping it half way must leave no poisoned connection behind.
#[async_trait]
pub trait SourceReader: Send {
    /// The next batch, never an empty one; None = the end, after which it isn't called again.
    async fn next(&mut self) -> Result<Option<RowBatch>>;

    /// Of a [`ReadRequest::pinned`] read, once it has begun: the place of its snapshot among the
    /// source's transactions, see [`Connector::is_in`].
    fn snapshot(&self) -> Option<String> {
        None
    }
}

/// What `begin` found out about older epochs of the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovered {
    /// The ledger has the row of this epoch: nothing to copy.
    Committed(Epoch),
    /// Nothing of an older epoch is left and none can come: copy.
    Absent,
}

/// One partition's transaction T in the target. The caller's order is
/// `begin, load*, prepare, commit | rollback`; any error poisons it and only `rollback` may follow.
#[async_trait]
pub trait TargetWriter: Send {
    /// In this order: read what older epochs left, kill their recorded sessions, commit (the one
    /// epoch that was decided) or roll back their prepared transactions, only then raise the fence
    /// to T's epoch, look at the ledger again, and open T. Every wait has a short lock timeout and
    /// the whole a deadline.
    async fn begin(&mut self, decided: Option<Epoch>) -> Result<Recovered>;

    /// Appends rows to T. All or an error; a row the server would change or skip is an error.
    async fn load(&mut self, batch: RowBatch) -> Result<()>;

    /// The snapshot the rows were read in, for the ledger row; before `prepare`.
    fn note_snapshot(&mut self, snapshot: String);

    /// Compares what the server says it loaded with `loaded`, then, as the last statements of T,
    /// updates the fence row (must affect 1) and inserts the ledger row, then prepares.
    async fn prepare(&mut self, loaded: Loaded) -> Result<()>;

    /// Ok when the ledger row of T is there for good, however the answer of COMMIT got lost.
    /// Works on a writer that has not seen `begin`: then it finishes what an earlier one prepared.
    async fn commit(&mut self) -> Result<()>;

    /// Ends T without a trace; Ok if there is none. Never undoes a committed T.
    async fn rollback(&mut self) -> Result<()>;
}

/// The connector for an endpoint.
pub fn open(endpoint: &Endpoint, secrets: &Secrets) -> Result<Box<dyn Connector>> {
    match endpoint.engine() {
        Some(Engine::Sqlite) => Ok(Box::new(sqlite::Sqlite::new(endpoint)?)),
        Some(Engine::Mysql) => Ok(Box::new(mysql::Mysql::new(endpoint, secrets)?)),
        Some(Engine::Postgres) => Ok(Box::new(postgres::Postgres::new(endpoint, secrets)?)),
        None => Err(Error::permanent(
            Code::Usage,
            "the URL's scheme is not one of sqlite:, mysql:, mariadb:, postgres:",
        )),
    }
}
