//! Two-phase commit, fencing and recovery on real servers, with prepared transactions and without.

use std::time::{Duration, Instant};

use common::code::{Code, ErrorClass};
use common::epoch::{Epoch, TxnId};
use common::id::{JobUid, PartitionNo, TaskNo};
use common::job::JobSpec;
use common::plan::{Loaded, TablePlan};
use common::schema::CellForm;
use common::task::{ResolveUnit, TaskKind};
use common::value::RowBatch;
use worker::connector::postgres::Postgres;
use worker::connector::{Connector, DefineWork, Recovered, ResolveWork, TargetWriter};

use crate::postgres::Server;
use crate::support::{
    books, column, connector, database, endpoint, held_server, job, load, plan, server, table,
    text, txn,
};

pub struct Case {
    pub server: &'static Server,
    pub name: String,
    pub job: JobUid,
    pub source: Postgres,
    pub target: Postgres,
    pub plan: TablePlan,
}

impl Case {
    pub fn new(server: &'static Server, name: &str) -> Case {
        let source_name = format!("{name}_s");
        let source = database(server, &source_name);
        let target = database(server, name);
        let make = "CREATE TABLE t (id int PRIMARY KEY, c text);";
        server.sql(name, make);
        let fill = "INSERT INTO t SELECT g, 'row ' || g FROM generate_series(1, 1000) g";
        server.sql(&source_name, &format!("{make} {fill}"));
        let job = job();
        books(server, name, &job);
        let columns = vec![column("id", "integer", text()), column("c", "text", text())];
        Case {
            server,
            name: name.to_owned(),
            job,
            source,
            target,
            plan: plan(&table("t", columns), CellForm::Native),
        }
    }

    pub async fn writer(&self, epoch: u32) -> Box<dyn TargetWriter> {
        self.writer_of(0, epoch).await
    }

    pub async fn writer_of(&self, partition: u32, epoch: u32) -> Box<dyn TargetWriter> {
        let txn = txn(&self.job, partition, epoch);
        let writer = self.target.writer(txn, self.plan.clone());
        writer.await.expect("opened")
    }

    /// A writer that has loaded everything.
    pub async fn loaded(&self, epoch: u32) -> (Box<dyn TargetWriter>, Loaded) {
        let mut writer = self.writer(epoch).await;
        let begun = writer.begin(None).await.expect("begun");
        assert_eq!(begun, Recovered::Absent);
        let loaded = load(&self.source, &self.plan, writer.as_mut()).await;
        (writer, loaded)
    }

    pub async fn copied(&self, epoch: u32) {
        let (mut writer, loaded) = self.loaded(epoch).await;
        writer.prepare(loaded).await.expect("prepared");
        writer.commit().await.expect("committed");
    }

    pub fn rows(&self) -> String {
        self.server.sql(&self.name, "SELECT count(*) FROM t")
    }

    pub async fn prepared(&self) -> Vec<TxnId> {
        self.target.prepared().await.expect("listed")
    }

    /// Ends every session of Sterna in the target.
    fn terminate(&self) {
        let name = &self.name;
        self.server.sql(
            "postgres",
            &format!(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = \
                 '{name}' AND application_name = 'sterna'"
            ),
        );
    }

    async fn resolve(&self, epoch: u32, decided: Option<Epoch>, drop: bool) -> (u32, u32) {
        let resolved = self.try_resolve(0, epoch, decided, drop);
        resolved.await.expect("resolved")
    }

    pub async fn try_resolve(
        &self,
        partition: u32,
        epoch: u32,
        decided: Option<Epoch>,
        drop_bookkeeping: bool,
    ) -> worker::connector::Result<(u32, u32)> {
        let unit = ResolveUnit {
            partition: PartitionNo(partition),
            fence: Epoch(epoch),
            decided,
        };
        let resolve = ResolveWork {
            job: self.job.clone(),
            task: TaskNo(9),
            epoch: Epoch(1),
            units: vec![unit],
            drop_bookkeeping,
        };
        self.target.resolve(resolve).await
    }
}

#[tokio::test]
async fn a_lost_owner_s_transaction_ends_by_the_decision() {
    for (name, decided, rows) in [
        ("tp_commit", Some(Epoch(1)), Recovered::Committed(Epoch(1))),
        ("tp_abort", None, Recovered::Absent),
    ] {
        let case = Case::new(server(), name);
        let (mut writer, loaded) = case.loaded(1).await;
        writer.prepare(loaded).await.expect("prepared");
        drop(writer);
        assert_eq!(case.prepared().await, [txn(&case.job, 0, 1)]);
        assert_eq!(case.rows(), "0");
        let mut next = case.writer(2).await;
        assert_eq!(next.begin(decided).await.expect("begun"), rows, "{name}");
        assert_eq!(case.prepared().await, []);
        if rows == Recovered::Absent {
            let loaded = load(&case.source, &case.plan, next.as_mut()).await;
            next.prepare(loaded).await.expect("prepared");
            next.commit().await.expect("committed");
        }
        assert_eq!(case.rows(), "1000", "{name}");
    }
}

#[tokio::test]
async fn another_worker_commits_what_was_prepared() {
    let case = Case::new(server(), "tp_other");
    let (mut owner, loaded) = case.loaded(1).await;
    owner.prepare(loaded).await.expect("prepared");
    let mut other = case.writer(1).await;
    other.commit().await.expect("committed");
    assert_eq!(case.rows(), "1000");
    other.commit().await.expect("again is as good");
    let late = owner.commit().await;
    late.expect("the owner's late commit finds it done");
    owner.rollback().await.expect("nothing to undo");
    assert_eq!(case.rows(), "1000");
}

#[tokio::test]
async fn a_session_killed_before_the_commit() {
    let case = Case::new(server(), "tp_killed");
    let (mut owner, loaded) = case.loaded(1).await;
    owner.prepare(loaded).await.expect("prepared");
    case.terminate();
    owner.commit().await.expect("it was prepared");
    assert_eq!(case.rows(), "1000");
    assert_eq!(case.prepared().await, []);

    let case = Case::new(held_server(), "held_killed");
    let (mut owner, loaded) = case.loaded(1).await;
    owner.prepare(loaded).await.expect("complete");
    assert_eq!(case.rows(), "0");
    case.terminate();
    let error = owner.commit().await.expect_err("it was only held");
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    owner.rollback().await.expect("nothing is left");
    assert_eq!(case.rows(), "0");
    case.copied(2).await;
    assert_eq!(case.rows(), "1000");
}

#[tokio::test]
async fn a_server_killed_between_prepare_and_commit() {
    // A server of its own: it is killed.
    let server: &'static Server = Box::leak(Box::new(Server::start(&[])));
    let case = Case::new(server, "tp_crash");
    let (mut owner, loaded) = case.loaded(1).await;
    owner.prepare(loaded).await.expect("prepared");
    server.kill();
    let error = owner.commit().await.expect_err("nobody answers");
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    server.restart();
    owner.commit().await.expect("it was prepared");
    assert_eq!(case.rows(), "1000");
    assert_eq!(case.prepared().await, []);
    server.kill();
}

#[tokio::test]
async fn a_held_transaction_commits_on_its_session() {
    let case = Case::new(held_server(), "held");
    case.copied(1).await;
    assert_eq!(case.rows(), "1000");
    let mut other = case.writer(1).await;
    other.commit().await.expect("the ledger has it");
    let mut next = case.writer(2).await;
    let begun = next.begin(Some(Epoch(1))).await.expect("begun");
    assert_eq!(begun, Recovered::Committed(Epoch(1)));
}

#[tokio::test]
async fn a_live_owner_is_killed_and_fenced() {
    for (server, name) in [(server(), "tp_zombie"), (held_server(), "held_zombie")] {
        let case = Case::new(server, name);
        let (mut zombie, loaded) = case.loaded(1).await;
        let mut owner = case.writer(2).await;
        let started = Instant::now();
        assert_eq!(owner.begin(None).await.expect("begun"), Recovered::Absent);
        assert!(started.elapsed() < Duration::from_secs(20));
        let error = zombie.prepare(loaded).await;
        error.expect_err("its session is gone");
        zombie.rollback().await.expect("rolled back");
        let mut late = case.writer(1).await;
        let error = late.begin(None).await.expect_err("the fence is higher");
        assert_eq!(error.class, ErrorClass::Fenced);
        let loaded = load(&case.source, &case.plan, owner.as_mut()).await;
        owner.prepare(loaded).await.expect("prepared");
        owner.commit().await.expect("committed");
        assert_eq!(case.rows(), "1000");
        assert_eq!(case.prepared().await, []);
    }
}

#[tokio::test]
async fn a_held_zombie_that_is_complete_is_killed_all_the_same() {
    let case = Case::new(held_server(), "held_complete");
    let (mut zombie, loaded) = case.loaded(1).await;
    zombie.prepare(loaded).await.expect("complete");
    case.copied(2).await;
    let error = zombie.commit().await.expect_err("the other one did it");
    assert_eq!(error.class, ErrorClass::Fenced, "{error}");
    assert_eq!(case.rows(), "1000");
}

#[tokio::test]
async fn a_zombie_that_was_not_killed_can_not_prepare() {
    let case = Case::new(server(), "tp_fence");
    let (mut zombie, loaded) = case.loaded(1).await;
    // As if the kill had not been allowed: only the fence is raised.
    let raise = "UPDATE sterna.fence SET epoch = 2 WHERE unit = 'p0'";
    case.server.sql(&case.name, raise);
    let error = zombie.prepare(loaded).await.expect_err("fenced");
    assert_eq!(error.class, ErrorClass::Fenced, "{error}");
    zombie.rollback().await.expect("rolled back");
    assert_eq!(case.prepared().await, []);
    assert_eq!(case.rows(), "0");
}

#[tokio::test]
async fn a_failed_transaction_is_neither_prepared_nor_committed() {
    for (server, name) in [(server(), "tp_dup"), (held_server(), "held_dup")] {
        let case = Case::new(server, name);
        let (mut writer, loaded) = case.loaded(1).await;
        let mut batch = RowBatch::new(2);
        batch.push(b"7");
        batch.push_null();
        let error = writer.load(batch).await.expect_err("7 is there");
        assert_eq!(error.failure.code, Code::TargetRejected);
        assert!(error.failure.what.contains("(id)=(7)"), "{error}");
        writer.prepare(loaded).await.expect_err("it is poisoned");
        writer.commit().await.expect_err("it is poisoned");
        writer.rollback().await.expect("rolled back");
        assert_eq!(case.rows(), "0");
        assert_eq!(case.prepared().await, []);
    }
}

#[tokio::test]
async fn a_deferred_constraint_fails_before_the_prepare() {
    for (server, name) in [(server(), "tp_defer"), (held_server(), "held_defer")] {
        let case = Case::new(server, name);
        case.server.sql(
            name,
            "ALTER TABLE t ADD EXCLUDE USING btree (length(c) WITH =) DEFERRABLE INITIALLY DEFERRED",
        );
        let (mut writer, loaded) = case.loaded(1).await;
        let error = writer.prepare(loaded).await.expect_err("not exclusive");
        assert_eq!(error.failure.code, Code::TargetRejected, "{error}");
        writer.rollback().await.expect("rolled back");
        assert_eq!(case.rows(), "0");
        assert_eq!(case.prepared().await, []);
    }
}

#[tokio::test]
async fn rows_that_did_not_arrive_are_noticed() {
    let case = Case::new(server(), "tp_count");
    let (mut writer, mut loaded) = case.loaded(1).await;
    loaded.digest.rows += 1;
    let error = writer.prepare(loaded).await;
    error.expect_err("one row is missing");
    writer.rollback().await.expect("rolled back");
    assert_eq!(case.rows(), "0");
}

#[tokio::test]
async fn resolve_leaves_nothing_behind() {
    let case = Case::new(server(), "tp_resolve");
    let (mut writer, loaded) = case.loaded(1).await;
    writer.prepare(loaded).await.expect("prepared");
    assert_eq!(case.resolve(2, None, false).await, (0, 1));
    assert_eq!(case.resolve(2, None, false).await, (0, 0));
    let error = case.writer(1).await.begin(None).await.expect_err("fenced");
    assert_eq!(error.class, ErrorClass::Fenced);
    let (mut writer, loaded) = case.loaded(3).await;
    writer.prepare(loaded).await.expect("prepared");
    drop(writer);
    assert_eq!(case.resolve(4, Some(Epoch(3)), true).await, (1, 0));
    assert_eq!(case.rows(), "1000");
    let left = "SELECT count(*) FROM pg_namespace WHERE nspname = 'sterna'";
    assert_eq!(case.server.sql(&case.name, left), "0");
    assert_eq!(case.resolve(5, None, true).await, (0, 0), "on nothing");
    let mut late = case.writer(9).await;
    let error = late.begin(None).await.expect_err("the job ended");
    assert_eq!(error.class, ErrorClass::Permanent);
}

#[tokio::test]
async fn a_dropped_load_leaves_no_rows_and_no_lock() {
    for (server, name) in [(server(), "tp_drop"), (held_server(), "held_drop")] {
        let case = Case::new(server, name);
        let (writer, _) = case.loaded(1).await;
        drop(writer);
        case.copied(2).await;
        assert_eq!(case.rows(), "1000");
    }
}

#[tokio::test]
async fn without_a_schema_of_its_own_the_books_stand_beside_the_data() {
    let server = server();
    let mut case = Case::new(server, "tp_beside");
    server.sql(
        "tp_beside",
        "DROP SCHEMA sterna CASCADE; CREATE ROLE humble LOGIN; GRANT ALL ON TABLE t TO humble;
         GRANT ALL ON SCHEMA public TO humble",
    );
    let url = format!("postgres://humble@127.0.0.1:{}/tp_beside", server.port);
    case.target = connector(&url);
    let spec = JobSpec::new("test", endpoint(&url), endpoint(&url));
    let work = DefineWork {
        job: case.job.clone(),
        task: TaskNo(0),
        epoch: Epoch(1),
        kind: TaskKind::Create,
        spec,
        tables: Vec::new(),
        objects: Vec::new(),
        current: worker::connector::Current::always(),
    };
    case.target.define(work).await.expect("created");
    let (mut writer, loaded) = case.loaded(1).await;
    writer.prepare(loaded).await.expect("prepared");
    drop(writer);
    let mut next = case.writer(2).await;
    let begun = next.begin(Some(Epoch(1))).await.expect("begun");
    assert_eq!(begun, Recovered::Committed(Epoch(1)));
    let books = "SELECT count(*) FROM pg_class WHERE relkind = 'r' AND relname IN \
                 ('sterna_fence', 'sterna_ledger')";
    assert_eq!(server.sql("tp_beside", books), "2");
    assert_eq!(case.resolve(3, None, true).await, (0, 0));
    assert_eq!(server.sql("tp_beside", books), "0");
    assert_eq!(case.rows(), "1000");
}

#[tokio::test]
async fn triggers_do_not_change_rows_on_their_way() {
    let case = Case::new(server(), "tp_trigger");
    case.server.sql(
        "tp_trigger",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.c := 'changed'; \
         RETURN NEW; END $$; CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f();
         CREATE TABLE other (id int PRIMARY KEY); ALTER TABLE t ADD FOREIGN KEY (id) REFERENCES \
         other",
    );
    case.copied(1).await;
    let changed = "SELECT count(*) FROM t WHERE c = 'changed'";
    assert_eq!(case.server.sql("tp_trigger", changed), "0");
}

#[tokio::test]
async fn a_load_cut_off_half_way_can_be_rolled_back() {
    let case = Case::new(server(), "tp_cut");
    let mut writer = case.writer(1).await;
    writer.begin(None).await.expect("begun");
    let mut batch = RowBatch::new(2);
    batch.push(b"1");
    batch.push(&vec![b'x'; 30 << 20]);
    let load = writer.load(batch);
    let cut = tokio::time::timeout(Duration::from_millis(3), load).await;
    cut.expect_err("30 MiB take longer");
    writer.rollback().await.expect("rolled back");
    case.copied(2).await;
    assert_eq!(case.rows(), "1000");
}
