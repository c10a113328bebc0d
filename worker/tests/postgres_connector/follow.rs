//! PostgreSQL as a source of changes: what the stream says is what happened, cell by cell as the
//! reader gives it; what is in the way is named.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

use common::change::{ChangeBatch, Op, Position, Secured};
use common::id::JobUid;
use common::job::JobSpec;
use common::plan::TablePlan;
use common::schema::CellForm;
use common::value::RowBatch;
use tokio::time::timeout;
use worker::connector::changes::Event;
use worker::connector::postgres::Postgres;
use worker::connector::{
    ChangeStream, Connector, Current, ReadRequest, Role, SecureWork, StreamRequest,
};

use crate::postgres::Server;
use crate::support::{connector, endpoint, job, plan};

pub type Row = Vec<Option<Vec<u8>>>;
/// Changed rows by table: (old, new).
pub type Sides = BTreeMap<String, (Vec<Row>, Vec<Row>)>;

/// A server of its own: a slot waits for every transaction that is open anywhere on its server.
pub fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| Server::start(&["max_replication_slots=40", "max_wal_senders=40"]))
}

pub const PATIENCE: Duration = Duration::from_secs(60);

/// Every table of a database in its native form, but those the job leaves out.
pub async fn plans(source: &Postgres, url: &str, form: CellForm) -> Vec<TablePlan> {
    let target = match form {
        CellForm::Native => url,
        CellForm::Canonical => "mysql://u@h/d",
    };
    let spec = JobSpec::new("follow", endpoint(url), endpoint(target));
    let inspection = source.inspect(Role::Source, &spec).await;
    let tables = inspection.expect("inspected").tables;
    tables.iter().map(|table| plan(table, form)).collect()
}

pub async fn secure(source: &Postgres, job: &JobUid, plans: &[TablePlan]) -> Secured {
    let work = work(job, plans);
    source.secure(work).await.expect("secured")
}

pub fn work(job: &JobUid, plans: &[TablePlan]) -> SecureWork {
    SecureWork {
        job: job.clone(),
        tables: plans.to_vec(),
        current: Current::always(),
    }
}

pub fn request(job: &JobUid, plans: &[TablePlan], from: &Secured) -> StreamRequest {
    StreamRequest {
        job: job.clone(),
        tables: plans.to_vec(),
        after: from.position.clone(),
        identity: from.identity.clone(),
    }
}

pub async fn open(
    source: &Postgres,
    job: &JobUid,
    plans: &[TablePlan],
    from: &Secured,
) -> Box<dyn ChangeStream> {
    let stream = source.changes(request(job, plans, from)).await;
    stream.expect("a stream")
}

/// All events until the stream is beyond `end`.
pub async fn until(stream: &mut dyn ChangeStream, end: &Position) -> Vec<Event> {
    let mut events = Vec::new();
    let all = async {
        loop {
            let event = stream.next().await.expect("an event");
            let (is_idle, at) = match &event {
                Event::Commit { position, .. } => (false, Some(position.order)),
                Event::Idle { position } => (true, Some(position.order)),
                Event::Drift(_) => (false, Some(end.order)),
                _ => (false, None),
            };
            if !is_idle {
                events.push(event);
            }
            if at.is_some_and(|order| order >= end.order) {
                return;
            }
        }
    };
    timeout(PATIENCE, all).await.expect("the log's end");
    events
}

pub fn rows(batch: &RowBatch) -> Vec<Row> {
    let mut cells = batch.cells();
    let mut row = || {
        let cells = (0..batch.columns()).map(|_| cells.next().expect("whole rows"));
        cells.map(|cell| cell.map(<[u8]>::to_vec)).collect()
    };
    (0..batch.rows()).map(|_| row()).collect()
}

/// All that the reader gives.
pub async fn read(source: &Postgres, plan: &TablePlan) -> Vec<Row> {
    let request = ReadRequest::source(plan, Vec::new(), Vec::new());
    let mut reader = source.read(request).await.expect("opened");
    let mut all = Vec::new();
    while let Some(batch) = reader.next().await.expect("read") {
        all.extend(rows(&batch));
    }
    all
}

/// (operation, its rows) of a batch.
pub fn changes(batch: &ChangeBatch) -> Vec<(Op, Vec<Row>)> {
    let mut rows = rows(&batch.rows).into_iter();
    let each = batch.ops.iter();
    each.map(|op| (*op, rows.by_ref().take(op.rows()).collect()))
        .collect()
}

/// The changed rows of all batches; what they leave unchanged must have come from the old rows.
pub fn sides(plans: &[TablePlan], events: &[Event]) -> Sides {
    let mut sides = Sides::new();
    for event in events {
        let Event::Rows(batch) = event else { continue };
        let name = plans[batch.table.0 as usize].source.full_name();
        assert_eq!(batch.unchanged, [], "{name}");
        let (old, new) = sides.entry(name).or_default();
        for (op, mut rows) in changes(batch) {
            match op {
                Op::Insert => new.append(&mut rows),
                Op::Delete => old.append(&mut rows),
                Op::Update => {
                    new.extend(rows.pop());
                    old.extend(rows.pop());
                }
                Op::Truncate => panic!("nothing was truncated"),
            }
        }
    }
    sides
}

fn text(row: &Row) -> String {
    let cell = |cell: &Option<Vec<u8>>| match cell {
        Some(cell) => String::from_utf8_lossy(cell).into_owned(),
        None => "NULL".to_owned(),
    };
    row.iter().map(cell).collect::<Vec<_>>().join("|")
}

/// A batch in words: `update key 1|NULL -> 1|b`.
fn words(batch: &ChangeBatch) -> Vec<String> {
    let key = if batch.old_is_key { " key" } else { "" };
    let each = changes(batch).into_iter();
    each.map(|(op, rows)| match op {
        Op::Insert => format!("insert {}", text(&rows[0])),
        Op::Update => format!("update{key} {} -> {}", text(&rows[0]), text(&rows[1])),
        Op::Delete => format!("delete{key} {}", text(&rows[0])),
        Op::Truncate => "truncate".to_owned(),
    })
    .collect()
}

/// All events in words, a transaction a list.
pub fn story(plans: &[TablePlan], events: &[Event]) -> Vec<String> {
    let mut story = Vec::new();
    for event in events {
        match event {
            Event::Rows(batch) => {
                let name = &plans[batch.table.0 as usize].source.name;
                let lines = words(batch).into_iter();
                story.extend(lines.map(|line| format!("{name}: {line}")));
            }
            Event::Commit { .. } => story.push("commit".to_owned()),
            Event::Drift(drift) => story.push(format!("drift {}: {}", drift.name, drift.statement)),
            _ => {}
        }
    }
    story
}

/// What `script` does, in words; the database is there, `tables` are all of it.
async fn told(server: &Server, name: &str, form: CellForm, script: &str) -> Vec<String> {
    let source = connector(&server.url(name));
    let plans = plans(&source, &server.url(name), form).await;
    let plans: Vec<TablePlan> = match form {
        CellForm::Native => plans,
        CellForm::Canonical => roots(plans),
    };
    let job = job();
    let from = secure(&source, &job, &plans).await;
    server.sql(name, script);
    let end = source.log_end().await.expect("an end");
    let mut stream = open(&source, &job, &plans, &from).await;
    let events = until(stream.as_mut(), &end).await;
    source.release(&job).await.expect("released");
    assert_eq!(left(server, &job), "");
    story(&plans, &events)
}

/// Without partitions, which are read with their roots.
pub fn roots(plans: Vec<TablePlan>) -> Vec<TablePlan> {
    let is_leaf = |plan: &TablePlan| plan.source.member == Some(common::schema::Member::Leaf);
    plans.into_iter().filter(|plan| !is_leaf(plan)).collect()
}

/// The job's slot and publication, those that are there.
pub fn left(server: &Server, job: &JobUid) -> String {
    let sql = format!(
        "SELECT slot_name FROM pg_replication_slots WHERE slot_name = 'sterna_{job}' UNION ALL \
         SELECT pubname FROM pg_publication WHERE pubname = 'sterna_{job}'"
    );
    let databases = "SELECT datname FROM pg_database WHERE datallowconn";
    let databases = server.sql("postgres", databases);
    databases
        .lines()
        .map(|name| server.sql(name, &sql))
        .collect()
}

#[tokio::test]
async fn every_kind_of_change_is_told() {
    let server = server();
    server.create("kinds");
    server.sql(
        "kinds",
        "CREATE TABLE t (id int PRIMARY KEY, v text, big text); ALTER TABLE t ALTER big SET \
         STORAGE EXTERNAL; INSERT INTO t VALUES (1, 'a', repeat('x', 5000)); CREATE TABLE f (a \
         int, b text); ALTER TABLE f REPLICA IDENTITY FULL; CREATE TABLE u (a int, b text NOT NULL, \
         c int, PRIMARY KEY (b, a)); INSERT INTO u VALUES (1, 'x', 5)",
    );
    let told = told(
        server,
        "kinds",
        CellForm::Native,
        "BEGIN; INSERT INTO t VALUES (2, E'tab\\there', NULL); UPDATE t SET v = NULL WHERE id = 2; \
         UPDATE t SET id = 3 WHERE id = 2; DELETE FROM t WHERE id = 3; COMMIT; \
         BEGIN; INSERT INTO t VALUES (9, 'never', ''); ROLLBACK; \
         INSERT INTO f VALUES (1, 'one'), (1, 'one'); UPDATE f SET b = NULL; DELETE FROM f; \
         UPDATE u SET c = 6; UPDATE u SET a = 2; TRUNCATE t, u RESTART IDENTITY CASCADE",
    )
    .await;
    assert_eq!(
        told,
        [
            "t: insert 2|tab\\there|NULL",
            "t: update key 2|NULL|NULL -> 2|NULL|NULL",
            "t: update key 2|NULL|NULL -> 3|NULL|NULL",
            "t: delete key 3|NULL|NULL",
            "commit",
            "f: insert 1|one",
            "f: insert 1|one",
            "commit",
            "f: update 1|one -> 1|NULL",
            "f: update 1|one -> 1|NULL",
            "commit",
            "f: delete 1|NULL",
            "f: delete 1|NULL",
            "commit",
            "u: update key 1|x|NULL -> 1|x|6",
            "commit",
            "u: update key 1|x|NULL -> 2|x|6",
            "commit",
            "t: truncate",
            "u: truncate",
            "commit",
        ]
    );
}

#[tokio::test]
async fn big_values_that_did_not_change_are_not_in_the_log() {
    let server = server();
    server.create("toast");
    let sql = "CREATE TABLE t (id int PRIMARY KEY, n int, big text, other text); ALTER TABLE t \
               ALTER big SET STORAGE EXTERNAL, ALTER other SET STORAGE EXTERNAL; INSERT INTO t \
               VALUES (1, 1, repeat('b', 9000), repeat('o', 9000))";
    server.sql("toast", sql);
    let source = connector(&server.url("toast"));
    let plans = plans(&source, &server.url("toast"), CellForm::Native).await;
    let job = job();
    let from = secure(&source, &job, &plans).await;
    let script = "UPDATE t SET n = 2; UPDATE t SET other = repeat('p', 9000); ALTER TABLE t \
                  REPLICA IDENTITY FULL; UPDATE t SET n = 3; UPDATE t SET id = 2";
    server.sql("toast", script);
    let end = source.log_end().await.expect("an end");
    let events = until(open(&source, &job, &plans, &from).await.as_mut(), &end).await;
    let batches = events.iter().filter_map(|event| match event {
        Event::Rows(batch) => Some(batch),
        _ => None,
    });
    let batches: Vec<&ChangeBatch> = batches.collect();
    let unchanged: Vec<_> = batches
        .iter()
        .map(|batch| batch.unchanged.clone())
        .collect();
    assert_eq!(
        unchanged,
        [vec![(1, 2), (1, 3)], vec![(1, 2)], vec![], vec![]]
    );
    let lengths = |batch: &ChangeBatch| -> Vec<usize> {
        let rows = rows(&batch.rows);
        rows[1]
            .iter()
            .map(|cell| cell.as_ref().map_or(0, Vec::len))
            .collect()
    };
    // With the whole old row in the log there is nothing that isn't in it.
    assert_eq!(lengths(batches[1]), [1, 1, 0, 9000]);
    assert_eq!(lengths(batches[2]), [1, 1, 9000, 9000]);
    assert!(batches[0].old_is_key && !batches[3].old_is_key);
    source.release(&job).await.expect("released");
}

#[tokio::test]
async fn partitions_are_their_roots_rows_for_another_engine() {
    let server = server();
    server.create("parts");
    server.sql(
        "parts",
        "CREATE TABLE r (id int, y int, v text, PRIMARY KEY (id, y)) PARTITION BY RANGE (y); \
         CREATE TABLE r1 PARTITION OF r FOR VALUES FROM (0) TO (10); CREATE TABLE r2 (v text, y int \
         NOT NULL, id int NOT NULL); ALTER TABLE r ATTACH PARTITION r2 FOR VALUES FROM (10) TO \
         (20)",
    );
    let script = "INSERT INTO r VALUES (1, 1, 'a'), (2, 11, 'b'); UPDATE r SET y = 12 WHERE id = 1; \
                  CREATE TABLE r3 PARTITION OF r FOR VALUES FROM (20) TO (30); INSERT INTO r VALUES \
                  (3, 21, 'c'); TRUNCATE r";
    let canonical = told(server, "parts", CellForm::Canonical, script).await;
    assert_eq!(
        canonical,
        [
            "r: insert 1|1|a",
            "r: insert 2|11|b",
            "commit",
            "r: delete key 1|1|NULL",
            "r: insert 1|12|a",
            "commit",
            "r: insert 3|21|c",
            "commit",
            "r: truncate",
            "commit"
        ]
    );
    // With one table for each partition a new one is a change of the schema.
    server.sql("parts", "DROP TABLE r3");
    let native = told(server, "parts", CellForm::Native, script).await;
    let expected = [
        "r1: insert 1|1|a",
        "r2: insert b|11|2",
        "commit",
        "r1: delete key 1|1|NULL",
        "r2: insert a|12|1",
        "commit",
        "drift public.r3: it is no table of the job: made, renamed or attached since",
    ];
    assert_eq!(native, expected);
}

#[tokio::test]
async fn prepared_transactions_come_when_they_are_decided() {
    let server = Server::start(&[]);
    server.create("prepared");
    server.sql("prepared", "CREATE TABLE t (id int PRIMARY KEY)");
    let told = told(
        &server,
        "prepared",
        CellForm::Native,
        "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'a'; BEGIN; INSERT INTO t VALUES (2); \
         PREPARE TRANSACTION 'b'; INSERT INTO t VALUES (3); ROLLBACK PREPARED 'b'; COMMIT PREPARED \
         'a'",
    )
    .await;
    assert_eq!(told, ["t: insert 3", "commit", "t: insert 1", "commit"]);
}

#[tokio::test]
async fn other_columns_are_told_before_their_rows() {
    let server = server();
    server.create("drift");
    server.sql("drift", "CREATE TABLE t (id int PRIMARY KEY, v varchar(5))");
    let source = connector(&server.url("drift"));
    let tables = plans(&source, &server.url("drift"), CellForm::Native).await;
    let job = job();
    let from = secure(&source, &job, &tables).await;
    server.sql(
        "drift",
        "INSERT INTO t VALUES (1, 'a'); ALTER TABLE t ADD c int; INSERT INTO t VALUES (2, 'b', 3)",
    );
    let end = source.log_end().await.expect("an end");
    let mut stream = open(&source, &job, &tables, &from).await;
    let events = until(stream.as_mut(), &end).await;
    drop(stream);
    let now = "drift t: columns are now id integer, v character varying(5), c integer";
    assert_eq!(story(&tables, &events), ["t: insert 1|a", "commit", now]);
    let Some(Event::Drift(drift)) = events.last() else {
        panic!("{events:?}");
    };
    let after = Secured {
        position: drift.position.clone(),
        identity: from.identity.clone(),
    };
    let tables = plans(&source, &server.url("drift"), CellForm::Native).await;
    let events = until(open(&source, &job, &tables, &after).await.as_mut(), &end).await;
    assert_eq!(story(&tables, &events), ["t: insert 2|b|3", "commit"]);
    server.sql(
        "drift",
        "ALTER TABLE t ALTER v TYPE text; INSERT INTO t VALUES (3)",
    );
    let end = source.log_end().await.expect("an end");
    let events = until(open(&source, &job, &tables, &after).await.as_mut(), &end).await;
    let told = story(&tables, &events);
    assert_eq!(
        told[2],
        "drift t: columns are now id integer, v text, c integer"
    );
    source.release(&job).await.expect("released");
}
