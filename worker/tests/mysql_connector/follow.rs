//! The stream of changes of real servers: whole transactions, from any position, by name where it
//! can't be.

use std::time::Duration;

use common::change::{Op, Position, Secured};
use common::id::JobUid;
use common::plan::TablePlan;
use mysql_async::prelude::Queryable;
use tokio::time::timeout;
use worker::connector::changes::{ChangeStream, Event, SecureWork, StreamRequest};
use worker::connector::mysql::Mysql;
use worker::connector::{Connector, Current};

use crate::mysql9::Mysql9;
use crate::server::{connect_at, job, pair_at, plan, port, run_at};

const DEADLINE: Duration = Duration::from_secs(60);

/// A job that follows one database of a server.
pub struct Followed {
    pub port: u16,
    pub database: String,
    pub source: Mysql,
    pub job: JobUid,
    pub tables: Vec<TablePlan>,
    pub identity: String,
}

/// A transaction as it is told here: `table+row`, `table-row`, `table:old>new`.
pub type Told = Vec<String>;

impl Followed {
    /// Makes the tables, each by its statement, and secures P0.
    pub async fn begin(port: u16, name: &str, tables: &[(&str, &str)]) -> (Followed, Secured) {
        let (source, _) = pair_at(port, name).await;
        let database = format!("{name}_s");
        let mut plans = Vec::new();
        for (table, statement) in tables {
            run_at(port, &database, &[statement]).await;
            plans.push(plan(&source, table).await);
        }
        let job = job();
        let mut followed = Followed {
            port,
            database,
            source,
            job,
            tables: plans,
            identity: String::new(),
        };
        let secured = followed.secure().await;
        followed.identity = secured.identity.clone();
        (followed, secured)
    }

    pub async fn secure(&self) -> Secured {
        let work = SecureWork {
            job: self.job.clone(),
            tables: self.tables.clone(),
            current: Current::always(),
        };
        let secured = timeout(DEADLINE, self.source.secure(work)).await;
        secured.expect("in time").expect("secured")
    }

    pub async fn run(&self, statements: &[&str]) {
        run_at(self.port, &self.database, statements).await;
    }

    pub async fn open(&self, after: &Position) -> worker::connector::Result<Box<dyn ChangeStream>> {
        let request = StreamRequest {
            job: self.job.clone(),
            tables: self.tables.clone(),
            after: after.clone(),
            identity: self.identity.clone(),
        };
        self.source.changes(request).await
    }

    /// Everything from a position to where the log ends now, and the position there.
    pub async fn all(&self, after: &Position) -> (Vec<Told>, Position) {
        let mut stream = self.open(after).await.expect("opened");
        self.rest(&mut stream).await
    }

    pub async fn rest(&self, stream: &mut Box<dyn ChangeStream>) -> (Vec<Told>, Position) {
        let end = self.source.log_end().await.expect("there is one");
        let mut found = Vec::new();
        loop {
            match one(stream, &self.tables).await {
                Ok(One::Whole(told, position)) => {
                    found.push(told);
                    if position.order >= end.order {
                        return (found, position);
                    }
                }
                Ok(One::Idle(position)) if position.order >= end.order => {
                    return (found, position);
                }
                Ok(One::Idle(_)) => {}
                Ok(One::Drift(statement)) => panic!("drift: {statement}"),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The error that a stream from `after` ends with, or the statement of a drift.
    pub async fn failure(&self, after: &Position) -> Result<String, worker::connector::Error> {
        let mut stream = self.open(after).await?;
        loop {
            if let One::Drift(statement) = one(&mut stream, &self.tables).await? {
                return Ok(statement);
            }
        }
    }
}

enum One {
    Whole(Told, Position),
    Idle(Position),
    Drift(String),
}

/// The next transaction, whole; or what comes between.
async fn one(
    stream: &mut Box<dyn ChangeStream>,
    tables: &[TablePlan],
) -> Result<One, worker::connector::Error> {
    let mut told: Option<Told> = None;
    loop {
        let event = timeout(DEADLINE, stream.next()).await.expect("in time")?;
        match event {
            Event::Begin(_) => assert!(told.replace(Vec::new()).is_none(), "begun twice"),
            Event::Rows(batch) => {
                let told = told.as_mut().expect("begun");
                let name = &tables[batch.table.0 as usize].source.name;
                let columns = batch.rows.columns();
                let cells: Vec<String> = batch
                    .rows
                    .cells()
                    .map(|cell| match cell {
                        Some(cell) if cell.len() > 100 => format!("{} bytes", cell.len()),
                        Some(cell) => String::from_utf8_lossy(cell).into_owned(),
                        None => "NULL".to_owned(),
                    })
                    .collect();
                let mut rows = cells.chunks(columns).map(|row| row.join(","));
                for op in &batch.ops {
                    let mut next = || rows.next().expect("a row for each image");
                    told.push(match op {
                        Op::Insert => format!("{name}+{}", next()),
                        Op::Delete => format!("{name}-{}", next()),
                        Op::Update => format!("{name}:{}>{}", next(), next()),
                        Op::Truncate => format!("{name} truncated"),
                    });
                }
                assert!(rows.next().is_none(), "rows without an operation");
            }
            Event::Commit { position, .. } => {
                return Ok(One::Whole(told.expect("begun"), position));
            }
            Event::Idle { position } => {
                assert!(told.is_none(), "idle within a transaction");
                return Ok(One::Idle(position));
            }
            Event::Drift(drift) => return Ok(One::Drift(drift.statement)),
        }
    }
}

pub const TABLES: [(&str, &str); 2] = [
    ("a", "CREATE TABLE a (id INT PRIMARY KEY, v VARCHAR(20))"),
    ("b", "CREATE TABLE b (id INT PRIMARY KEY, v LONGTEXT)"),
];

pub fn told(transactions: &[&[&str]]) -> Vec<Told> {
    let words = |words: &&[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    transactions.iter().map(words).collect()
}

async fn whole_transactions(port: u16) {
    let (followed, p0) = Followed::begin(port, "whole_tx", &TABLES).await;
    followed
        .run(&[
            "CREATE TABLE other (id INT PRIMARY KEY)",
            "INSERT INTO other VALUES (1)",
            "INSERT INTO a VALUES (1, 'one'), (2, 'two')",
            "BEGIN",
            "UPDATE a SET v = 'uno' WHERE id = 1",
            "INSERT INTO other VALUES (2)",
            "INSERT INTO b VALUES (7, NULL)",
            "SAVEPOINT s",
            "INSERT INTO b VALUES (8, 'gone')",
            "ROLLBACK TO s",
            "DELETE FROM a WHERE id = 2",
            "COMMIT",
            "BEGIN",
            "INSERT INTO a VALUES (3, 'never')",
            "ROLLBACK",
            "FLUSH BINARY LOGS",
            "CREATE INDEX i ON other (id)",
            "CREATE TABLE IF NOT EXISTS a (id INT PRIMARY KEY)",
            "CREATE VIEW w AS SELECT * FROM a",
            "UPDATE a SET id = 4 WHERE id = 1",
            "TRUNCATE b",
        ])
        .await;
    let expected = told(&[
        &["a+1,one", "a+2,two"],
        &["a:1,one>1,uno", "b+7,NULL", "a-2,two"],
        &["a:1,uno>4,uno"],
        &["b truncated"],
    ]);
    let (found, end) = followed.all(&p0.position).await;
    assert_eq!(found, expected);
    // From any position between, exactly what follows.
    let mut stream = followed.open(&p0.position).await.expect("opened");
    let mut seen = 0;
    while seen < expected.len() {
        if let One::Whole(_, position) = one(&mut stream, &followed.tables).await.expect("read") {
            seen += 1;
            let (rest, _) = followed.all(&position).await;
            assert_eq!(rest, expected[seen..], "after {position}");
        }
    }
    assert_eq!(followed.all(&end).await.0, told(&[]));
    let state = followed.source.log_state(&followed.job, &p0.position).await;
    let all = state.expect("known").behind_bytes;
    let state = followed.source.log_state(&followed.job, &end).await;
    // Other tests write to the server's log meanwhile.
    let rest = state.expect("known").behind_bytes;
    assert!(all > rest + 500, "{all} and {rest} bytes");
    followed
        .source
        .release(&followed.job)
        .await
        .expect("released");
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_transactions_come_from_mariadb() {
    whole_transactions(port()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_transactions_come_from_mysql() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    whole_transactions(server.port).await;
}

/// A branch is prepared, others commit meanwhile, the stream is opened again, it is committed.
async fn prepared_transactions(port: u16) {
    let (followed, p0) = Followed::begin(port, "xa_follow", &TABLES).await;
    let database = &followed.database;
    for (xid, row) in [
        ("one", "(1, 'xa')"),
        ("two", "(2, 'xa')"),
        ("three", "(3, 'xa')"),
    ] {
        let mut conn = connect_at(port, database).await;
        for statement in [
            format!("XA START '{xid}','b',7"),
            format!("INSERT INTO a VALUES {row}"),
            format!("XA END '{xid}','b',7"),
            format!("XA PREPARE '{xid}','b',7"),
        ] {
            conn.query_drop(statement).await.expect("prepared");
        }
        conn.disconnect().await.expect("closed");
    }
    followed.run(&["INSERT INTO a VALUES (10, 'x')"]).await;
    let (found, middle) = followed.all(&p0.position).await;
    assert_eq!(found, told(&[&["a+10,x"]]));
    assert!(middle.text.contains(" from "), "{middle}");
    let finish = |sql: &'static str| async move {
        // The server may still be busy with the session that prepared it.
        let deadline = std::time::Instant::now() + DEADLINE;
        let mut conn = connect_at(port, "").await;
        while let Err(error) = conn.query_drop(sql).await {
            assert!(std::time::Instant::now() < deadline, "{sql}: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    finish("XA COMMIT 'two','b',7").await;
    followed
        .run(&["FLUSH BINARY LOGS", "INSERT INTO a VALUES (11, 'y')"])
        .await;
    let (found, later) = followed.all(&middle).await;
    assert_eq!(found, told(&[&["a+2,xa"], &["a+11,y"]]));
    assert!(later.text.contains(" from "), "{later}");
    finish("XA ROLLBACK 'one','b',7").await;
    finish("XA COMMIT 'three','b',7").await;
    for (start, expected) in [
        (&later, told(&[&["a+3,xa"]])),
        (&middle, told(&[&["a+2,xa"], &["a+11,y"], &["a+3,xa"]])),
        (
            &p0.position,
            told(&[&["a+10,x"], &["a+2,xa"], &["a+11,y"], &["a+3,xa"]]),
        ),
    ] {
        let (found, end) = followed.all(start).await;
        assert_eq!(found, expected, "from {start}");
        assert!(!end.text.contains(" from "), "{end}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transactions_come_when_they_commit_at_mariadb() {
    prepared_transactions(port()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_transactions_come_when_they_commit_at_mysql() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    prepared_transactions(server.port).await;
}

/// P0 waits for what was open at it, and only for that.
async fn open_transactions(port: u16, waits_for_ordinary: bool) {
    let (followed, _) = Followed::begin(port, "p0_wait", &TABLES).await;
    let mut conn = connect_at(port, &followed.database).await;
    for prepared in [false, true] {
        let (begin, rest): (&str, &[&str]) = match prepared {
            true => ("XA START 'p0'", &["XA END 'p0'", "XA PREPARE 'p0'"]),
            false => ("BEGIN", &[]),
        };
        conn.query_drop(begin).await.expect("begun");
        conn.query_drop("INSERT INTO a VALUES (1, 'open')")
            .await
            .expect("inserted");
        for statement in rest {
            conn.query_drop(*statement).await.expect("prepared");
        }
        let early = timeout(Duration::from_secs(1), followed.secure())
            .await
            .is_ok();
        assert_eq!(
            early,
            !prepared && !waits_for_ordinary,
            "prepared: {prepared}"
        );
        let end = if prepared {
            "XA ROLLBACK 'p0'"
        } else {
            "ROLLBACK"
        };
        let (secured, ended) = tokio::join!(followed.secure(), async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            conn.query_drop(end).await
        });
        ended.expect("ended");
        assert_eq!(followed.all(&secured.position).await.0, told(&[]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn securing_waits_for_prepared_transactions_of_mariadb() {
    open_transactions(port(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn securing_waits_for_open_transactions_of_mysql() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    open_transactions(server.port, true).await;
}

async fn drift(port: u16) {
    let (followed, p0) = Followed::begin(port, "drift_follow", &TABLES).await;
    followed
        .run(&[
            "INSERT INTO a VALUES (1, 'x')",
            "ALTER TABLE a ADD COLUMN w INT",
            "INSERT INTO a VALUES (2, 'y', 3)",
        ])
        .await;
    let statement = followed.failure(&p0.position).await.expect("a drift");
    assert_eq!(statement, "ALTER TABLE a ADD COLUMN w INT");
    // The tables as they are then, from beyond the statement.
    let mut stream = followed.open(&p0.position).await.expect("opened");
    let beyond = loop {
        match timeout(DEADLINE, stream.next()).await.expect("in time") {
            Ok(Event::Drift(drift)) => break drift.position,
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    };
    let now = vec![
        plan(&followed.source, "a").await,
        plan(&followed.source, "b").await,
    ];
    let followed = Followed {
        tables: now,
        ..followed
    };
    assert_eq!(followed.all(&beyond).await.0, told(&[&["a+2,y,3"]]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_table_stops_the_stream_of_mariadb() {
    drift(port()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_table_stops_the_stream_of_mysql() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    drift(server.port).await;
}

async fn large_rows(port: u16) {
    let (followed, p0) = Followed::begin(port, "large_follow", &TABLES).await;
    followed
        .run(&[
            "INSERT INTO b VALUES (1, REPEAT('x', 20 << 20))",
            "INSERT INTO a VALUES (1, 'after')",
            "BEGIN",
            "INSERT INTO b VALUES (2, REPEAT('y', 40 << 20))",
            "INSERT INTO b VALUES (3, REPEAT('z', 40 << 20))",
            "INSERT INTO b VALUES (4, 'small')",
            "COMMIT",
        ])
        .await;
    let (found, _) = followed.all(&p0.position).await;
    let expected = told(&[
        &["b+1,20971520 bytes"],
        &["a+1,after"],
        &["b+2,41943040 bytes", "b+3,41943040 bytes", "b+4,small"],
    ]);
    assert_eq!(found, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_larger_than_a_packet_come_from_mariadb() {
    large_rows(port()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_larger_than_a_packet_come_from_mysql() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    large_rows(server.port).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_transactions_come_from_mysql() {
    let Some(server) = Mysql9::shared() else {
        return;
    };
    let (followed, p0) = Followed::begin(server.port, "zip_follow", &TABLES).await;
    followed
        .run(&[
            "SET SESSION binlog_transaction_compression = ON",
            "INSERT INTO a VALUES (1, 'one')",
            "BEGIN",
            "INSERT INTO b VALUES (1, REPEAT('x', 2000000))",
            "UPDATE a SET v = 'uno'",
            "COMMIT",
            "SET SESSION binlog_transaction_compression = OFF",
            "DELETE FROM a",
        ])
        .await;
    let expected = told(&[
        &["a+1,one"],
        &["b+1,2000000 bytes", "a:1,one>1,uno"],
        &["a-1,uno"],
    ]);
    assert_eq!(followed.all(&p0.position).await.0, expected);
}
