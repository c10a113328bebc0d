//! A private MariaDB, started once for all tests of this binary, and helpers to talk to it.

use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::digest::{Digest, RowHasher};
use common::epoch::{Epoch, TxnId};
use common::id::{JobUid, PartitionNo, TaskNo};
use common::job::{Endpoint, JobSpec, TargetMode};
use common::partition::Split;
use common::plan::{Loaded, TablePlan};
use common::schema::{CellForm, KeyRange, TableSchema};
use common::task::TaskKind;
use common::value::DigestColumn;
use mysql_async::prelude::Queryable;
use worker::connector::mysql::Mysql;
use worker::connector::{Connector, DefineWork, Inspection, ReadRequest, Role, TargetWriter};
use worker::secret::Secrets;

/// The server's shell: it stops the server as soon as this process is gone, however it ended.
struct Server {
    port: u16,
    _shell: Child,
}

const SCRIPT: &str = r#"
set -e
user=""
[ "$(id -u)" = 0 ] && { user="--user=mysql"; chown mysql "$DIR"; }
# Two servers that are installed at once mix up their temporary tables in a shared folder.
mariadb-install-db --no-defaults --basedir=/usr --datadir="$DIR/data" --tmpdir="$DIR" $user \
  --auth-root-authentication-method=normal --skip-test-db >"$DIR/install.log" 2>&1
mariadbd --no-defaults --basedir=/usr --datadir="$DIR/data" --socket="$DIR/s.sock" --port="$PORT" \
  --bind-address=127.0.0.1 $user --local-infile=1 --log-bin=bin --binlog-format=ROW --server-id=1 \
  --innodb-buffer-pool-size=256M --innodb-log-file-size=256M --max-allowed-packet=256M \
  --innodb-flush-log-at-trx-commit=2 --character-set-server=utf8mb4 --skip-name-resolve \
  --pid-file="$DIR/pid" >"$DIR/server.log" 2>&1 &
pid=$!
set +e
read -r _
kill "$pid"
wait "$pid"
rm -rf "$DIR"
"#;

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let dir = tempfile::Builder::new()
            .prefix("sterna-mysql-")
            .tempdir()
            .expect("a directory")
            .keep();
        let shell = Command::new("sh")
            .args(["-c", SCRIPT])
            .env("DIR", &dir)
            .env("PORT", port.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let deadline = Instant::now() + Duration::from_secs(90);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                Instant::now() < deadline,
                "MariaDB does not start: see {}",
                dir.display()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        Server {
            port,
            _shell: shell,
        }
    })
}

pub fn port() -> u16 {
    server().port
}

/// A connection of the test's own, into `database` ("" = none).
pub async fn connect(database: &str) -> mysql_async::Conn {
    connect_at(port(), database).await
}

/// As [`connect`], to another server.
pub async fn connect_at(port: u16, database: &str) -> mysql_async::Conn {
    let options = mysql_async::OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some("root"))
        .prefer_socket(false)
        .db_name((!database.is_empty()).then_some(database));
    mysql_async::Conn::new(options)
        .await
        .expect("the test's server answers")
}

/// Runs statements, one a line, in `database`.
pub async fn run(database: &str, statements: &[&str]) {
    run_at(port(), database, statements).await;
}

/// As [`run`], on another server.
pub async fn run_at(port: u16, database: &str, statements: &[&str]) {
    let mut conn = connect_at(port, database).await;
    conn.query_drop("SET NAMES utf8mb4").await.expect("set");
    conn.query_drop("SET time_zone='+00:00', sql_mode='STRICT_ALL_TABLES,NO_AUTO_VALUE_ON_ZERO'")
        .await
        .expect("set");
    for statement in statements {
        conn.query_drop(*statement)
            .await
            .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }
    conn.disconnect().await.expect("closed");
}

/// The first cell of an answer.
pub async fn ask(database: &str, sql: &str) -> String {
    ask_at(port(), database, sql).await
}

/// As [`ask`], of another server.
pub async fn ask_at(port: u16, database: &str, sql: &str) -> String {
    let mut conn = connect_at(port, database).await;
    let cell: Option<Option<String>> = conn
        .query_first(sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    conn.disconnect().await.expect("closed");
    cell.flatten().unwrap_or_default()
}

/// A database pair `NAME_s`, `NAME_t`, empty, and the connectors to them.
pub async fn pair(name: &str) -> (Mysql, Mysql) {
    pair_at(port(), name).await
}

/// As [`pair`], on another server.
pub async fn pair_at(port: u16, name: &str) -> (Mysql, Mysql) {
    let (source, target) = (format!("{name}_s"), format!("{name}_t"));
    run_at(
        port,
        "",
        &[
            &format!("DROP DATABASE IF EXISTS {source}"),
            &format!("DROP DATABASE IF EXISTS {target}"),
            &format!("CREATE DATABASE {source} CHARACTER SET utf8mb4"),
            &format!("CREATE DATABASE {target} CHARACTER SET utf8mb4"),
        ],
    )
    .await;
    let open = |database: &str| {
        let endpoint = endpoint_at(port, database);
        Mysql::new(&endpoint, &Secrets::default()).expect("a valid URL")
    };
    (open(&source), open(&target))
}

pub fn endpoint(database: &str) -> Endpoint {
    endpoint_at(port(), database)
}

/// `database` as a URL has it.
pub fn endpoint_at(port: u16, database: &str) -> Endpoint {
    Endpoint {
        url: format!("mysql://root@127.0.0.1:{port}/{database}"),
        password: None,
    }
}

pub fn connector(database: &str) -> Mysql {
    Mysql::new(&endpoint(database), &Secrets::default()).expect("a valid URL")
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

/// The plan of one table, copied as it is.
pub async fn plan(source: &Mysql, table: &str) -> TablePlan {
    let inspection = source.inspect(Role::Source, &spec()).await;
    plan_of(&inspection.expect("inspected"), table)
}

/// As [`plan`], of what was seen before.
pub fn plan_of(inspection: &Inspection, table: &str) -> TablePlan {
    let mut tables = inspection.tables.iter();
    let schema = tables
        .find(|found| found.name == table)
        .expect("the table is there");
    as_it_is(schema)
}

/// The plan of a table that is copied as it is.
pub fn as_it_is(schema: &TableSchema) -> TablePlan {
    TablePlan {
        source: schema.clone(),
        shaped: None,
        target: schema.clone(),
        form: CellForm::Native,
        split: Split::Whole,
        columns: Vec::new(),
        rule: None,
    }
}

pub fn spec() -> JobSpec {
    JobSpec::new("test", endpoint("x"), endpoint("y"))
}

/// A task's work.
pub fn work(
    job: &JobUid,
    task: u32,
    epoch: u32,
    kind: TaskKind,
    tables: &[TablePlan],
) -> DefineWork {
    DefineWork {
        job: job.clone(),
        task: TaskNo(task),
        epoch: Epoch(epoch),
        kind,
        spec: spec(),
        tables: tables.to_vec(),
        objects: Vec::new(),
        current: worker::connector::Current::always(),
    }
}

/// As [`work`], in a mode.
pub fn work_in(mode: TargetMode, mut work: DefineWork) -> DefineWork {
    work.spec.target_mode = mode;
    work
}

pub fn whole(table: &TableSchema, canonical: &TableSchema, form: CellForm) -> ReadRequest {
    ReadRequest {
        table: table.clone(),
        canonical: canonical.clone(),
        form,
        key: Vec::new(),
        ranges: Vec::new(),
        losses: Vec::new(),
        pinned: false,
    }
}

/// The digest of what `request` reads.
pub async fn digest(connector: &Mysql, request: ReadRequest) -> Digest {
    let columns: Vec<DigestColumn> = request
        .canonical
        .copied_columns()
        .map(|column| DigestColumn::new(&column.canonical, request.form))
        .collect();
    let mut reader = connector.read(request).await.expect("opened");
    let (mut hasher, mut digest) = (RowHasher::default(), Digest::default());
    while let Some(batch) = reader.next().await.expect("read") {
        batch.digest_into(&columns, &mut hasher, &mut digest);
    }
    digest
}

/// The digest of ranges of a table.
pub async fn digest_of(
    connector: &Mysql,
    table: &TableSchema,
    key: &[String],
    ranges: Vec<KeyRange>,
) -> Digest {
    let mut request = whole(table, table, CellForm::Native);
    request.key = key.to_vec();
    request.ranges = ranges;
    digest(connector, request).await
}

/// Reads `table` at the source and loads it into `writer`; the caller prepares.
pub async fn load(source: &Mysql, plan: &TablePlan, writer: &mut dyn TargetWriter) -> Loaded {
    let columns: Vec<DigestColumn> = plan
        .source
        .copied_columns()
        .map(|column| DigestColumn::new(&column.canonical, CellForm::Native))
        .collect();
    let request = whole(&plan.source, &plan.source, CellForm::Native);
    let mut reader = source.read(request).await.expect("opened");
    let (mut hasher, mut loaded) = (RowHasher::default(), Loaded::default());
    while let Some(batch) = reader.next().await.expect("read") {
        batch.digest_into(&columns, &mut hasher, &mut loaded.digest);
        loaded.bytes += batch.bytes() as u64;
        writer.load(batch).await.expect("loaded");
    }
    loaded
}

/// Prepared transactions of one job.
pub async fn prepared(target: &Mysql, job: &JobUid) -> Vec<TxnId> {
    let mut listed = target.prepared().await.expect("listed");
    listed.retain(|txn| txn.job == *job);
    listed
}
