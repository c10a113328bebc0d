//! What the SQLite tests share: files in a temporary directory, a whole copy driven by hand, and a
//! comparison that knows nothing of the copier.

#![allow(dead_code)]

use std::path::{Path, PathBuf};

use common::digest::{Digest, RowHasher};
use common::epoch::{Epoch, TxnId};
use common::id::{JobUid, PartitionNo, TableNo, TaskNo};
use common::job::{Endpoint, JobSpec, TargetMode};
use common::partition::Split;
use common::plan::{Loaded, TablePlan};
use common::schema::{CellForm, TableSchema};
use common::task::TaskKind;
use common::value::DigestColumn;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Row};
use worker::connector::{
    Connector, DefineWork, Inspection, ReadRequest, Recovered, Result, Role, TargetWriter, open,
};
use worker::secret::Secrets;

pub const UID: &str = "0123456789abcdef0123456789abcdef";

pub fn uid() -> JobUid {
    JobUid::parse(UID).expect("32 hex digits")
}

pub fn endpoint(path: &Path) -> Endpoint {
    Endpoint {
        url: format!("sqlite:{}", path.display()),
        password: None,
    }
}

pub fn connector(path: &Path) -> Box<dyn Connector> {
    open(&endpoint(path), &Secrets::default()).expect("a path")
}

pub fn txn(partition: u32, epoch: u32) -> TxnId {
    TxnId {
        job: uid(),
        partition: PartitionNo(partition),
        epoch: Epoch(epoch),
    }
}

/// A plain connection, made without the code under test.
pub async fn connect(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .foreign_keys(false)
        .disable_statement_logging()
        .connect()
        .await
        .expect("opens")
}

/// Runs a script of statements.
pub async fn script(path: &Path, sql: &str) {
    let mut conn = connect(path).await;
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut conn)
        .await
        .expect("the script is valid");
    sqlx::Connection::close(conn).await.expect("closes");
}

/// The first cell of each row, as text.
pub async fn texts(path: &Path, sql: &str) -> Vec<String> {
    let mut conn = connect(path).await;
    let rows = sqlx::query(AssertSqlSafe(sql.to_owned()))
        .fetch_all(&mut conn)
        .await
        .expect("the query is valid");
    sqlx::Connection::close(conn).await.expect("closes");
    rows.iter()
        .map(|row| row.try_get_unchecked::<Vec<u8>, _>(0).expect("a cell"))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .collect()
}

/// Every row of a table, sorted, each cell with its storage class and its bytes in hex.
pub async fn dump(path: &Path, table: &TableSchema) -> Vec<String> {
    let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let cells: Vec<String> = table
        .columns
        .iter()
        .map(|column| {
            let name = format!("t.{}", quote(&column.name));
            format!("typeof({name}) || ':' || ifnull(CASE typeof({name}) WHEN 'real' THEN printf('%!.20g', {name}) ELSE hex({name}) END, '')")
        })
        .collect();
    let sql = format!(
        "SELECT {} FROM {} AS t ORDER BY 1",
        cells.join(" || ',' || "),
        quote(&table.name)
    );
    texts(path, &sql).await
}

/// Schema statements, sorted.
pub async fn schema(path: &Path) -> Vec<String> {
    texts(
        path,
        "SELECT type || ' ' || name || ': ' || ifnull(sql, '') FROM sqlite_master \
         WHERE name NOT LIKE 'sterna_%' AND tbl_name NOT LIKE 'sterna_%' \
         ORDER BY 1",
    )
    .await
}

/// A table as it goes by itself, in `form`.
pub fn plan(source: &TableSchema, target: &TableSchema, form: CellForm) -> TablePlan {
    TablePlan {
        source: source.clone(),
        shaped: None,
        target: target.clone(),
        form,
        split: Split::Whole,
        columns: Vec::new(),
        rule: None,
    }
}

/// A job from one file to another engine, for what a source says of itself then.
pub fn spec(from: &Path, target: &str) -> JobSpec {
    let url = target.to_owned();
    JobSpec::new(
        "test",
        endpoint(from),
        Endpoint {
            url,
            password: None,
        },
    )
}

pub fn whole(table: &TableSchema, form: CellForm) -> ReadRequest {
    ReadRequest {
        table: table.clone(),
        canonical: table.clone(),
        form,
        key: Vec::new(),
        ranges: Vec::new(),
        losses: Vec::new(),
        pinned: false,
    }
}

/// The digest of what a request reads.
pub async fn digest(connector: &dyn Connector, request: ReadRequest) -> Result<Digest> {
    let columns: Vec<DigestColumn> = request
        .canonical
        .copied_columns()
        .map(|column| DigestColumn::new(&column.canonical, request.form))
        .collect();
    let mut hasher = RowHasher::default();
    let mut digest = Digest::default();
    let mut reader = connector.read(request).await?;
    while let Some(batch) = reader.next().await? {
        assert!(!batch.is_empty());
        batch.digest_into(&columns, &mut hasher, &mut digest);
    }
    Ok(digest)
}

/// Loads everything `request` reads into the open transaction of `writer`.
pub async fn load(
    source: &dyn Connector,
    request: ReadRequest,
    writer: &mut dyn TargetWriter,
) -> Result<Loaded> {
    let columns: Vec<DigestColumn> = request
        .canonical
        .copied_columns()
        .map(|column| DigestColumn::new(&column.canonical, request.form))
        .collect();
    let mut hasher = RowHasher::default();
    let mut loaded = Loaded::default();
    let mut reader = source.read(request).await?;
    while let Some(batch) = reader.next().await? {
        batch.digest_into(&columns, &mut hasher, &mut loaded.digest);
        loaded.bytes += batch.bytes() as u64;
        writer.load(batch).await?;
    }
    Ok(loaded)
}

pub fn work(kind: TaskKind, task: u32, plans: &[TablePlan]) -> DefineWork {
    let spec = JobSpec {
        target_mode: TargetMode::RequireEmpty,
        ..JobSpec::new("test", endpoint(Path::new("/s")), endpoint(Path::new("/t")))
    };
    DefineWork {
        job: uid(),
        task: TaskNo(task),
        epoch: Epoch(1),
        kind,
        spec,
        tables: plans.to_vec(),
        objects: Vec::new(),
        current: worker::connector::Current::always(),
    }
}

/// A whole job by hand: create, copy each table as one partition, index. Returns the inspection.
pub async fn copy(from: &Path, to: &Path) -> Result<Inspection> {
    let (source, target) = (connector(from), connector(to));
    let spec = spec(from, &format!("sqlite:{}", to.display()));
    let inspection = source.inspect(Role::Source, &spec).await?;
    target.inspect(Role::Target, &spec).await?;
    let form = CellForm::Native;
    let plans: Vec<TablePlan> = inspection.tables.iter().map(|t| plan(t, t, form)).collect();
    target.define(work(TaskKind::Create, 0, &plans)).await?;
    for (no, table) in (0u32..).zip(&plans) {
        let mut writer = target.writer(txn(no, 1), table.clone()).await?;
        assert_eq!(writer.begin(None).await?, Recovered::Absent);
        let request = whole(&table.source, form);
        let loaded = load(&*source, request.clone(), &mut *writer).await?;
        writer.prepare(loaded).await?;
        writer.commit().await?;
        let back = digest(&*target, request).await?;
        assert_eq!(back, loaded.digest, "{}", table.source.name);
    }
    for no in 0..plans.len() as u32 {
        let kind = TaskKind::Index { table: TableNo(no) };
        target.define(work(kind, no + 1, &plans)).await?;
    }
    let objects = DefineWork {
        objects: inspection.objects.clone(),
        current: worker::connector::Current::always(),
        ..work(TaskKind::Objects, plans.len() as u32 + 1, &plans)
    };
    target.define(objects.clone()).await?;
    // As by a second worker.
    let again = DefineWork {
        task: TaskNo(10_000),
        ..objects
    };
    target.define(again).await?;
    Ok(inspection)
}

/// A job between two SQLite files that are nowhere.
pub fn any_spec() -> JobSpec {
    spec(Path::new("/s"), "sqlite:/t")
}

/// What a source says of itself in a job to another engine.
pub async fn inspect_for(from: &Path, target: &str) -> Inspection {
    let inspected = connector(from)
        .inspect(Role::Source, &spec(from, target))
        .await;
    inspected.expect("a source")
}

/// A directory, the source's path in it and the target's.
pub fn files() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (from, to) = (directory.path().join("s.db"), directory.path().join("t.db"));
    (directory, from, to)
}
