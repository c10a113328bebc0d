//! One server for each mode of two-phase commit, started once for all tests of this binary, and
//! helpers to talk to it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use common::digest::{Digest, RowHasher};
use common::epoch::{Epoch, TxnId};
use common::id::{JobUid, PartitionNo};
use common::job::Endpoint;
use common::partition::Split;
use common::plan::{Loaded, TablePlan};
use common::schema::{CanonicalType, CellForm, Column, TableSchema};
use common::value::DigestColumn;
use worker::connector::postgres::Postgres;
use worker::connector::{Connector, ReadRequest, TargetWriter};
use worker::secret::Secrets;

use crate::postgres::Server;

/// With prepared transactions.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&[]))
}

/// Without.
pub fn held_server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&["max_prepared_transactions=0"]))
}

/// An empty database and the connector to it.
pub fn database(server: &Server, name: &str) -> Postgres {
    server.create(name);
    connector(&server.url(name))
}

pub fn connector(url: &str) -> Postgres {
    Postgres::new(&endpoint(url), &Secrets::default()).expect("a valid URL")
}

pub fn endpoint(url: &str) -> Endpoint {
    Endpoint {
        url: url.to_owned(),
        password: None,
    }
}

/// The bookkeeping a create task makes.
pub fn books(server: &Server, database: &str, job: &JobUid) {
    server.sql(
        database,
        &format!(
            "CREATE SCHEMA IF NOT EXISTS sterna;
             CREATE TABLE IF NOT EXISTS sterna.fence (job text NOT NULL, unit text NOT NULL,
               epoch bigint NOT NULL, n bigint NOT NULL, session bigint NOT NULL,
               session_start bigint NOT NULL, PRIMARY KEY (job, unit));
             CREATE TABLE IF NOT EXISTS sterna.ledger (job text NOT NULL, part bigint NOT NULL,
               epoch bigint NOT NULL, row_count bigint NOT NULL, byte_count bigint NOT NULL,
               digest text NOT NULL, PRIMARY KEY (job, part));
             INSERT INTO sterna.fence VALUES ('{job}', 't0', 1, 0, 0, 0);"
        ),
    );
}

/// A job's name nobody else has.
pub fn job() -> JobUid {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    JobUid::parse(&format!("{:016x}{number:016x}", std::process::id())).expect("32 hex digits")
}

pub fn txn(job: &JobUid, partition: u32, epoch: u32) -> TxnId {
    TxnId {
        job: job.clone(),
        partition: PartitionNo(partition),
        epoch: Epoch(epoch),
    }
}

pub fn column(name: &str, native: &str, canonical: CanonicalType) -> Column {
    Column {
        name: name.to_owned(),
        native_type: native.to_owned(),
        canonical,
        nullable: true,
        default: None,
        auto_increment: false,
        charset: None,
        collation: None,
        generated: None,
        comment: String::new(),
    }
}

pub fn text() -> CanonicalType {
    CanonicalType::Text { max_chars: None }
}

pub fn table(name: &str, columns: Vec<Column>) -> TableSchema {
    TableSchema {
        name: name.to_owned(),
        schema: None,
        member: None,
        columns,
        primary_key: Vec::new(),
        indexes: Vec::new(),
        foreign_keys: Vec::new(),
        auto_increment: None,
        native_options: String::new(),
        native_ddl: None,
        native_key: None,
        rows_estimate: 0,
        bytes_estimate: 0,
    }
}

/// The plan of one table, copied as it is.
pub fn plan(schema: &TableSchema, form: CellForm) -> TablePlan {
    TablePlan {
        source: schema.clone(),
        shaped: None,
        target: schema.clone(),
        form,
        split: Split::Whole,
        columns: Vec::new(),
        rule: None,
    }
}

/// The digest of what `request` reads.
pub async fn digest(connector: &Postgres, request: ReadRequest) -> Digest {
    let columns = digest_columns(&request);
    let mut reader = connector.read(request).await.expect("opened");
    let (mut hasher, mut digest) = (RowHasher::default(), Digest::default());
    while let Some(batch) = reader.next().await.expect("read") {
        batch.digest_into(&columns, &mut hasher, &mut digest);
    }
    digest
}

pub fn digest_columns(request: &ReadRequest) -> Vec<DigestColumn> {
    let columns = request.canonical.copied_columns();
    columns
        .map(|column| DigestColumn::new(&column.canonical, request.form))
        .collect()
}

/// Reads the plan's table at the source and loads it into `writer`; the caller prepares.
pub async fn load(source: &Postgres, plan: &TablePlan, writer: &mut dyn TargetWriter) -> Loaded {
    let request = ReadRequest::source(plan, Vec::new(), Vec::new());
    let columns = digest_columns(&request);
    let mut reader = source.read(request).await.expect("opened");
    let (mut hasher, mut loaded) = (RowHasher::default(), Loaded::default());
    while let Some(batch) = reader.next().await.expect("read") {
        batch.digest_into(&columns, &mut hasher, &mut loaded.digest);
        loaded.bytes += batch.bytes() as u64;
        writer.load(batch).await.expect("loaded");
    }
    loaded
}

/// Copies the plan's table as one partition.
pub async fn copy(source: &Postgres, target: &Postgres, plan: &TablePlan, txn: TxnId) -> Loaded {
    let mut writer = target.writer(txn, plan.clone()).await.expect("opened");
    writer.begin(None).await.expect("begun");
    let loaded = load(source, plan, writer.as_mut()).await;
    writer.prepare(loaded).await.expect("prepared");
    writer.commit().await.expect("committed");
    loaded
}
