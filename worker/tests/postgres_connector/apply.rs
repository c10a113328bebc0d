//! PostgreSQL as a target of changes.

use common::change::Mark;
use common::code::{Code, ErrorClass};
use common::epoch::Epoch;
use common::id::{JobUid, TableNo, TaskNo};
use common::job::JobSpec;
use common::plan::TablePlan;
use common::schema::CellForm;
use common::task::TaskKind;
use worker::connector::postgres::Postgres;
use worker::connector::{
    ApplyWork, Connector, Current, DefineWork, ReadRequest, Role, TargetApplier,
};

use crate::net::{Dice, Model, Row, none, push, rows, text};
use crate::support::{database, endpoint, job, plan, server};

pub struct Case {
    pub name: String,
    pub job: JobUid,
    pub source: Postgres,
    pub target: Postgres,
    pub plans: Vec<TablePlan>,
}

pub fn spec() -> JobSpec {
    let nowhere = endpoint("postgres://u@h/d");
    JobSpec::new("apply", nowhere.clone(), nowhere)
}

async fn plan_of(source: &Postgres, table: &str) -> TablePlan {
    let inspected = source.inspect(Role::Source, &spec()).await;
    let inspected = inspected.expect("inspected");
    let found = inspected.tables.iter().find(|found| found.name == table);
    plan(found.expect("the table is there"), CellForm::Native)
}

fn work(job: &JobUid, task: u32, kind: TaskKind, tables: &[TablePlan]) -> DefineWork {
    DefineWork {
        job: job.clone(),
        task: TaskNo(task),
        epoch: Epoch(1),
        kind,
        spec: spec(),
        tables: tables.to_vec(),
        objects: Vec::new(),
        current: Current::always(),
    }
}

impl Case {
    /// Tables made at the source by `ddl`, and by a create task at the target.
    async fn new(name: &str, ddl: &str, tables: &[&str]) -> Case {
        let (from, to) = (format!("{name}_s"), format!("{name}_t"));
        let (source, target) = (database(server(), &from), database(server(), &to));
        server().sql(&from, ddl);
        let mut plans = Vec::new();
        for table in tables {
            plans.push(plan_of(&source, table).await);
        }
        let job = job();
        let create = work(&job, 0, TaskKind::Create, &plans);
        target.define(create).await.expect("created");
        for (no, table) in (900..).zip((0..plans.len() as u32).map(TableNo)) {
            let key = work(&job, no, TaskKind::Key { table }, &plans);
            target.define(key).await.expect("its key is made");
        }
        Case {
            name: name.to_owned(),
            job,
            source,
            target,
            plans,
        }
    }

    pub fn work(&self, epoch: u32, lane: u32) -> ApplyWork {
        ApplyWork {
            job: self.job.clone(),
            task: TaskNo(3),
            epoch: Epoch(epoch),
            lane,
            tables: self.plans.clone(),
            current: Current::always(),
        }
    }

    async fn applier(&self, epoch: u32, lane: u32) -> Box<dyn TargetApplier> {
        let applier = self.target.applier(self.work(epoch, lane)).await;
        applier.expect("opened")
    }

    async fn begun(&self, epoch: u32, lane: u32) -> Box<dyn TargetApplier> {
        let mut applier = self.applier(epoch, lane).await;
        applier.begin().await.expect("begun");
        applier
    }

    fn ask(&self, sql: &str) -> String {
        server()
            .sql(&format!("{}_t", self.name), sql)
            .trim()
            .to_owned()
    }
}

pub async fn read(
    connector: &Postgres,
    request: ReadRequest,
) -> worker::connector::Result<Vec<Row>> {
    let mut all = Vec::new();
    let mut reader = connector.read(request).await?;
    while let Some(batch) = reader.next().await? {
        all.extend(rows(&batch));
    }
    all.sort();
    Ok(all)
}

const SIMPLE: &str = "CREATE TABLE t (id BIGINT PRIMARY KEY, u VARCHAR(30) NOT NULL UNIQUE, \
                      a INT, b VARCHAR(50))";

fn one(id: u64, strict: bool) -> common::change::net::NetChanges {
    let mut net = none(0, 4, 1);
    push(&mut net.inserts, &[text(id), text(id), text(1), None]);
    net.strict = strict;
    net
}

#[tokio::test]
async fn random_sets_leave_what_the_model_has() {
    {
        let mut case = Case::new("ap_random", SIMPLE, &["t"]).await;
        case.plans[0].form = CellForm::Canonical;
        let index = TaskKind::Index { table: TableNo(0) };
        let index = work(&case.job, 1, index, &case.plans);
        case.target.define(index).await.expect("indexed");
        let (mut model, mut dice) = (Model::default(), Dice(7));
        let mut applier = case.begun(1, 0).await;
        for round in 0..30u64 {
            let size = if round % 3 == 0 { 400 } else { 5 };
            let net = model.step(&mut dice, size);
            let missed = applier.apply(net).await.expect("applied");
            assert!(missed.is_empty());
            if round % 4 == 3 {
                let mark = format!("mark '{round}\\");
                applier.commit(&[(0, mark)]).await.expect("committed");
            }
        }
        applier
            .commit(&[(0, "end".into())])
            .await
            .expect("committed");
        let there = read(&case.target, ReadRequest::target(&case.plans[0])).await;
        assert!(there.expect("read") == model.sorted(), "rows");
        let marks = case.applier(2, 0).await.begin().await.expect("begun");
        assert_eq!(marks.lanes.get(&0).map(String::as_str), Some("end"));
    }
}

#[tokio::test]
async fn what_does_not_fit_is_named_where_counts_are_strict() {
    {
        let case = Case::new("ap_strict", SIMPLE, &["t"]).await;
        let mut applier = case.begun(1, 0).await;
        for id in 0..300 {
            applier.apply(one(id * 2, true)).await.expect("applied");
        }
        applier.commit(&[(0, "1".into())]).await.expect("committed");
        let mut gone = none(0, 4, 1);
        (100..110).for_each(|id| push(&mut gone.deletes, &[text(id * 2)]));
        push(&mut gone.deletes, &[text(211)]);
        let error = applier.apply(gone.clone()).await.expect_err("211 is odd");
        assert_eq!(error.failure.code, Code::ReplayMismatch, "{error}");
        assert!(error.failure.what.contains("id = \"211\""), "{error}");
        applier.commit(&[]).await.expect_err("poisoned");
        let mut applier = case.begun(1, 0).await;
        let error = applier.apply(one(4, true)).await.expect_err("it is there");
        assert_eq!(error.failure.code, Code::ReplayMismatch, "{error}");
        assert!(error.failure.what.contains("(4)"), "{error}");
        // Many rows come by another way.
        let mut many = none(0, 4, 1);
        for id in 0..200 {
            push(
                &mut many.inserts,
                &[text(id * 2 + 1), text(id * 2 + 1), None, None],
            );
        }
        push(&mut many.inserts, &[text(8), text("x"), None, None]);
        let mut applier = case.begun(1, 0).await;
        let error = applier.apply(many).await.expect_err("8 is there");
        assert_eq!(error.failure.code, Code::ReplayMismatch, "{error}");
        let mut patch = none(0, 4, 1);
        patch.patches.push(common::change::net::Patch {
            key: vec![b"7".to_vec()],
            cells: vec![(2, text(5))],
        });
        let mut applier = case.begun(1, 0).await;
        let error = applier
            .apply(patch.clone())
            .await
            .expect_err("7 isn't there");
        assert_eq!(error.failure.code, Code::ReplayMismatch, "{error}");
        let mut applier = case.begun(1, 0).await;
        (patch.strict, gone.strict) = (false, false);
        let missed = applier.apply(patch).await.expect("returned");
        assert_eq!(missed, [[b"7".to_vec()]]);
        assert!(applier.apply(gone).await.expect("applied").is_empty());
        applier.commit(&[(0, "2".into())]).await.expect("committed");
        assert_eq!(case.ask("SELECT COUNT(*) FROM t"), "290");
    }
}

#[tokio::test]
async fn a_zombie_commits_nothing_and_its_successor_reads_the_truth() {
    {
        let case = Case::new("ap_zombie", SIMPLE, &["t"]).await;
        let mut first = case.begun(1, 0).await;
        first.apply(one(1, true)).await.expect("applied");
        first.commit(&[(0, "one".into())]).await.expect("committed");
        first.apply(one(2, true)).await.expect("applied");
        // Its successor: a later epoch, then the same one after some doubt.
        for epoch in [2, 2] {
            let mut next = case.applier(epoch, 0).await;
            let marks = next.begin().await.expect("begun");
            assert_eq!(marks.lanes[&0], "one");
            let error = first.commit(&[(0, "two".into())]).await.expect_err("ended");
            assert_ne!(error.class, ErrorClass::Permanent, "{error}");
            assert_eq!(case.ask("SELECT COUNT(*) FROM t"), "1");
            next.apply(one(2, true)).await.expect("applied");
            first = next;
        }
        let mut old = case.applier(1, 0).await;
        let error = old.begin().await.expect_err("an older epoch");
        assert_eq!(error.class, ErrorClass::Fenced);
        let books = ["DELETE FROM sterna.fence", "DELETE FROM sterna.follow"];
        let books: Vec<String> = books
            .iter()
            .map(|sql| format!("{sql} WHERE job = '{}'", case.job))
            .collect();
        case.ask(&books.join("; "));
        first.commit(&[(0, "x".into())]).await.expect_err("gone");
        assert_eq!(case.ask("SELECT COUNT(*) FROM t"), "1");
    }
}

#[tokio::test]
async fn an_owner_that_hangs_with_the_fence_changed_is_ended() {
    let case = Case::new("ap_hang", SIMPLE, &["t"]).await;
    drop(case.begun(1, 0).await);
    let whose = format!("WHERE job = '{}' AND unit = 'tf0'", case.job);
    let script = format!(
        "UPDATE sterna.fence SET session = pg_backend_pid(), session_start = (SELECT (extract(epoch \
         FROM backend_start) * 1000000)::int8 FROM pg_stat_activity WHERE pid = pg_backend_pid()) \
         {whose}; BEGIN; UPDATE sterna.fence SET n = 77 {whose}; INSERT INTO t VALUES (9, '9', 9, \
         '9'); SELECT pg_sleep(60); COMMIT"
    );
    let zombie = std::thread::spawn(move || server().try_sql("ap_hang_t", &script));
    let hangs = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = \
         'ap_hang_t'";
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while case.ask(hangs) != "1" {
        assert!(std::time::Instant::now() < deadline, "it never hung");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    drop(case.begun(2, 0).await);
    zombie.join().expect("joined").expect_err("ended");
    assert_eq!(case.ask("SELECT COUNT(*) FROM t"), "0");
}

#[tokio::test]
async fn two_lanes_have_marks_of_their_own() {
    {
        let case = Case::new("ap_lanes", SIMPLE, &["t"]).await;
        let (mut left, mut right) = (case.begun(1, 0).await, case.begun(1, 1).await);
        left.apply(one(1, true)).await.expect("applied");
        right.apply(one(2, true)).await.expect("applied");
        let done = right.commit(&[(1, "right".into())]).await;
        done.expect("committed");
        left.rollback().await.expect("rolled back");
        left.apply(one(3, true)).await.expect("applied");
        left.commit(&[(0, "left".into())]).await.expect("committed");
        let on = serde_json::to_string(&Mark::default()).expect("text");
        let alone = left.commit(&[(0, on.clone())]).await;
        alone.expect("a mark alone");
        let seen = case.target.follow_mark(&case.job).await.expect("read");
        assert_eq!(seen, Some(Mark::default()));
        let marks = case.applier(2, 0).await.begin().await.expect("begun");
        assert_eq!((&*marks.lanes[&0], &*marks.lanes[&1]), (&*on, "right"));
        let there = case.ask("SELECT string_agg(id::text, ',' ORDER BY id) FROM t");
        assert_eq!(there, "2,3");
    }
}

#[tokio::test]
async fn copies_without_a_key_go_one_by_one() {
    {
        let ddl = "CREATE TABLE n (a json, b VARCHAR(9), c float8)";
        let case = Case::new("ap_copies", ddl, &["n"]).await;
        let mut applier = case.begun(1, 0).await;
        let row = |b: &str| vec![None, text(b), text("-0")];
        let mut net = none(0, 3, 3);
        for b in ["x", "x", "X", "x ", "x"] {
            push(&mut net.inserts, &row(b));
        }
        applier.apply(net).await.expect("applied");
        let mut net = none(0, 3, 3);
        (0..2).for_each(|_| push(&mut net.deletes, &row("x")));
        applier.apply(net.clone()).await.expect("applied");
        applier.commit(&[]).await.expect("committed");
        let left =
            "SELECT string_agg(encode(b::bytea, 'hex'), ',' ORDER BY b COLLATE \"C\") FROM n";
        assert_eq!(case.ask(left), "58,78,7820");
        let error = applier.apply(net).await.expect_err("one is left");
        assert_eq!(error.failure.code, Code::ReplayMismatch, "{error}");
        drop(case.source);
    }
}

#[tokio::test]
async fn a_table_gets_what_the_source_added() {
    {
        let case = Case::new("ap_alter", SIMPLE, &["t"]).await;
        let mut applier = case.begun(1, 0).await;
        applier.apply(one(1, true)).await.expect("applied");
        applier.commit(&[]).await.expect("committed");
        server().sql(
            "ap_alter_s",
            "ALTER TABLE t ADD COLUMN c INT NOT NULL DEFAULT 7, ALTER b TYPE VARCHAR(90); CREATE \
             TABLE t2 (id INT PRIMARY KEY, x INT); CREATE INDEX x ON t2 (x)",
        );
        let t = plan_of(&case.source, "t").await;
        let t2 = plan_of(&case.source, "t2").await;
        for _ in 0..2 {
            let altered = applier.alter(Some(&case.plans[0]), &t).await;
            altered.expect("altered");
            applier.alter(None, &t2).await.expect("made");
        }
        let mut net = none(0, 5, 1);
        push(
            &mut net.inserts,
            &[text(2), text(2), text(1), None, text(8)],
        );
        applier.apply(net).await.expect("applied");
        let mut net = none(1, 2, 1);
        push(&mut net.inserts, &[text(2), text(2)]);
        applier.apply(net).await.expect("applied");
        applier.commit(&[]).await.expect("committed");
        let there = "SELECT string_agg(id || '=' || c, ',' ORDER BY id) FROM t";
        assert_eq!(case.ask(there), "1=7,2=8");
        assert_eq!(case.ask("SELECT COUNT(*) FROM t2"), "1");
    }
}
