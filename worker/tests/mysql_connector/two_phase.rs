//! Two-phase commit, fencing and recovery on a real server.

use std::time::{Duration, Instant};

use common::code::ErrorClass;
use common::epoch::Epoch;
use common::id::{JobUid, PartitionNo, TaskNo};
use common::job::{Endpoint, SecretRef};
use common::plan::{Loaded, TablePlan};
use common::task::{ResolveUnit, TaskKind};
use common::value::RowBatch;
use secrecy::SecretString;
use worker::connector::mysql::Mysql;
use worker::connector::{Connector, Recovered, ResolveWork, Role, TargetWriter};
use worker::secret::Secrets;

use crate::mysql9::Mysql9;
use crate::server::{ask_at, job, load, pair_at, plan, port, prepared, run_at, spec, txn, work};

/// Both servers; MySQL's may be off.
pub fn servers() -> Vec<u16> {
    let mysql = Mysql9::shared().map(|server| server.port);
    [port()].into_iter().chain(mysql).collect()
}

pub struct Case {
    port: u16,
    pub name: &'static str,
    pub job: JobUid,
    pub source: Mysql,
    pub target: Mysql,
    pub plan: TablePlan,
}

impl Case {
    pub async fn new(port: u16, name: &'static str) -> Case {
        let (source, target) = pair_at(port, name).await;
        run_at(
            port,
            &format!("{name}_s"),
            &[
                "CREATE TABLE t (id INT PRIMARY KEY, c VARCHAR(20))",
                "INSERT INTO t WITH RECURSIVE s AS (SELECT 1 AS seq UNION ALL SELECT seq + 1 FROM \
                 s WHERE seq < 1000) SELECT seq, CONCAT('row ', seq) FROM s",
            ],
        )
        .await;
        let (job, plan) = (job(), plan(&source, "t").await);
        let tables = [plan.clone()];
        target
            .define(work(&job, 0, 1, TaskKind::Create, &tables))
            .await
            .expect("created");
        Case {
            port,
            name,
            job,
            source,
            target,
            plan,
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

    pub async fn rows(&self) -> String {
        ask_at(
            self.port,
            &format!("{}_t", self.name),
            "SELECT COUNT(*) FROM t",
        )
        .await
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
    for port in servers() {
        for (name, decided, rows) in [
            ("tp_commit", Some(Epoch(1)), Recovered::Committed(Epoch(1))),
            ("tp_abort", None, Recovered::Absent),
        ] {
            let case = Case::new(port, name).await;
            let (mut writer, loaded) = case.loaded(1).await;
            writer.prepare(loaded).await.expect("prepared");
            drop(writer);
            assert_eq!(
                prepared(&case.target, &case.job).await,
                [txn(&case.job, 0, 1)]
            );
            assert_eq!(case.rows().await, "0");
            let mut next = case.writer(2).await;
            assert_eq!(next.begin(decided).await.expect("begun"), rows, "{name}");
            assert_eq!(prepared(&case.target, &case.job).await, []);
            if rows == Recovered::Absent {
                let loaded = load(&case.source, &case.plan, next.as_mut()).await;
                next.prepare(loaded).await.expect("prepared");
                next.commit().await.expect("committed");
            }
            assert_eq!(case.rows().await, "1000", "{name}");
        }
    }
}

#[tokio::test]
async fn another_worker_commits_what_was_prepared() {
    for port in servers() {
        let case = Case::new(port, "tp_other").await;
        let (mut owner, loaded) = case.loaded(1).await;
        owner.prepare(loaded).await.expect("prepared");
        // The owner is still connected: MariaDB says 1397 until its session is killed.
        let mut other = case.writer(1).await;
        other.commit().await.expect("committed");
        assert_eq!(case.rows().await, "1000");
        other.commit().await.expect("again is as good");
        owner
            .commit()
            .await
            .expect("the owner's late commit finds it done");
        owner.rollback().await.expect("nothing to undo");
        assert_eq!(case.rows().await, "1000");
    }
}

#[tokio::test]
async fn a_live_owner_is_killed_and_fenced() {
    for port in servers() {
        let case = Case::new(port, "tp_zombie").await;
        let (mut zombie, loaded) = case.loaded(1).await;
        let mut owner = case.writer(2).await;
        let started = Instant::now();
        assert_eq!(owner.begin(None).await.expect("begun"), Recovered::Absent);
        assert!(started.elapsed() < Duration::from_secs(20));
        zombie
            .prepare(loaded)
            .await
            .expect_err("its session is gone");
        zombie.rollback().await.expect("rolled back");
        let mut late = case.writer(1).await;
        let error = late.begin(None).await.expect_err("the fence is higher");
        assert_eq!(error.class, ErrorClass::Fenced);
        let loaded = load(&case.source, &case.plan, owner.as_mut()).await;
        owner.prepare(loaded).await.expect("prepared");
        owner.commit().await.expect("committed");
        assert_eq!(case.rows().await, "1000");
        assert_eq!(prepared(&case.target, &case.job).await, []);
    }
}

#[tokio::test]
async fn a_zombie_that_was_not_killed_can_not_prepare() {
    for port in servers() {
        let case = Case::new(port, "tp_fence").await;
        let (mut zombie, loaded) = case.loaded(1).await;
        // As if the kill had not been allowed: only the fence is raised.
        let raise = format!(
            "UPDATE sterna.fence SET epoch = 2 WHERE job = '{}' AND unit = 'p0'",
            case.job
        );
        run_at(port, "", &[&raise]).await;
        let error = zombie.prepare(loaded).await.expect_err("fenced");
        assert_eq!(error.class, ErrorClass::Fenced, "{error}");
        zombie.rollback().await.expect("rolled back");
        assert_eq!(prepared(&case.target, &case.job).await, []);
        assert_eq!(case.rows().await, "0");
    }
}

#[tokio::test]
async fn rows_that_did_not_arrive_are_noticed() {
    for port in servers() {
        let case = Case::new(port, "tp_count").await;
        let (mut writer, mut loaded) = case.loaded(1).await;
        loaded.digest.rows += 1;
        writer
            .prepare(loaded)
            .await
            .expect_err("one row is missing");
        writer.rollback().await.expect("rolled back");
        assert_eq!(case.rows().await, "0");
    }
}

#[tokio::test]
async fn a_duplicate_key_is_an_error() {
    for port in servers() {
        let case = Case::new(port, "tp_duplicate").await;
        let (mut writer, _) = case.loaded(1).await;
        let mut batch = RowBatch::new(2);
        batch.push(b"7");
        batch.push_null();
        let error = writer.load(batch).await.expect_err("7 is there");
        assert_eq!(error.class, ErrorClass::Permanent);
        assert!(error.failure.what.contains("Duplicate"), "{error}");
        writer.rollback().await.expect("rolled back");
        assert_eq!(case.rows().await, "0");
    }
}

#[tokio::test]
async fn resolve_leaves_nothing_behind() {
    for port in servers() {
        let case = Case::new(port, "tp_resolve").await;
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
        assert_eq!(case.rows().await, "1000");
        let left = format!(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'sterna' AND EXISTS \
         (SELECT 1 FROM information_schema.processlist WHERE info LIKE '%{}%' AND id <> \
         CONNECTION_ID())",
            case.job
        );
        assert_eq!(ask_at(port, "", &left).await, "0");
        assert_eq!(
            case.resolve(5, None, true).await,
            (0, 0),
            "again, on nothing"
        );
        let error = case
            .writer(9)
            .await
            .begin(None)
            .await
            .expect_err("the job ended");
        assert_eq!(error.class, ErrorClass::Permanent);
    }
}

#[tokio::test]
async fn a_dropped_load_leaves_no_rows_and_no_lock() {
    for port in servers() {
        let case = Case::new(port, "tp_drop").await;
        let (writer, _) = case.loaded(1).await;
        drop(writer);
        let (mut writer, loaded) = case.loaded(2).await;
        writer.prepare(loaded).await.expect("prepared");
        writer.commit().await.expect("committed");
        assert_eq!(case.rows().await, "1000");
    }
}

#[tokio::test]
async fn without_a_database_of_its_own_the_books_stand_beside_the_data() {
    for port in servers() {
        let (source, _) = pair_at(port, "tp_beside").await;
        run_at(
            port,
            "tp_beside_s",
            &[
                "CREATE TABLE t (id INT PRIMARY KEY)",
                "INSERT INTO t VALUES (1), (2)",
                "DROP USER IF EXISTS 'humble'@'%'",
                "CREATE USER 'humble'@'%' IDENTIFIED BY 'pw'",
                "GRANT ALL ON tp_beside_t.* TO 'humble'@'%'",
                // MariaDB lists prepared transactions to everybody.
                "/*!80000 GRANT XA_RECOVER_ADMIN ON *.* TO 'humble'@'%' */ /*M! SELECT 1 */",
            ],
        )
        .await;
        let mut secrets = Secrets::default();
        secrets.insert("target", SecretString::from("pw"));
        let url = format!("mysql://humble@127.0.0.1:{port}/tp_beside_t");
        let endpoint = Endpoint {
            url,
            password: Some(SecretRef::Session("target".into())),
        };
        let target = Mysql::new(&endpoint, &secrets).expect("valid");
        target
            .inspect(Role::Target, &spec())
            .await
            .expect("a usable target");
        let (job, plan) = (job(), plan(&source, "t").await);
        let case = Case {
            port,
            name: "tp_beside",
            job,
            source,
            target,
            plan,
        };
        let tables = [case.plan.clone()];
        let create = work(&case.job, 0, 1, TaskKind::Create, &tables);
        case.target.define(create).await.expect("created");
        let (mut writer, loaded) = case.loaded(1).await;
        writer.prepare(loaded).await.expect("prepared");
        drop(writer);
        let mut next = case.writer(2).await;
        let begun = next.begin(Some(Epoch(1))).await.expect("begun");
        assert_eq!(begun, Recovered::Committed(Epoch(1)));
        let books = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = \
                 'tp_beside_t' AND table_name LIKE 'sterna%'";
        assert_eq!(ask_at(port, "", books).await, "3");
        assert_eq!(case.resolve(3, None, true).await, (0, 0));
        assert_eq!(ask_at(port, "", books).await, "0");
        assert_eq!(case.rows().await, "2");
    }
}
