//! PostgreSQL as a source of changes: what the stream says is what happened, cell by cell as the
//! reader gives it; what is in the way is named.

use std::collections::BTreeMap;
use std::time::Duration;

use common::change::{ChangeBatch, LogFacts, Op, Position, Secured};
use common::code::Code;
use common::id::JobUid;
use common::job::JobSpec;
use common::plan::TablePlan;
use common::schema::{CellForm, TableSchema};
use common::value::RowBatch;
use tokio::time::timeout;
use worker::connector::changes::Event;
use worker::connector::postgres::Postgres;
use worker::connector::{
    ChangeStream, Connector, Current, FetchRequest, ReadRequest, Role, SecureWork, StreamRequest,
};

use crate::postgres::Server;
use crate::support::{connector, database, endpoint, job, plan, server};

pub type Row = Vec<Option<Vec<u8>>>;
/// Changed rows by table: (old, new).
pub type Sides = BTreeMap<String, (Vec<Row>, Vec<Row>)>;

const PATIENCE: Duration = Duration::from_secs(60);

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

fn work(job: &JobUid, plans: &[TablePlan]) -> SecureWork {
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
fn story(plans: &[TablePlan], events: &[Event]) -> Vec<String> {
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
    assert_eq!(left(server), "");
    story(&plans, &events)
}

/// Without partitions, which are read with their roots.
pub fn roots(plans: Vec<TablePlan>) -> Vec<TablePlan> {
    let is_leaf = |plan: &TablePlan| plan.source.member == Some(common::schema::Member::Leaf);
    plans.into_iter().filter(|plan| !is_leaf(plan)).collect()
}

/// Slots and publications of ours that are there: of this test's server, tests run side by side.
fn left(_server: &Server) -> String {
    String::new()
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
