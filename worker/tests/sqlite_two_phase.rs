//! One partition's transaction: fence, ledger, held until the decision, gone with its process.

#[path = "support/cut.rs"]
mod cut;
mod sqlite_support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::code::{Code, ErrorClass};
use common::epoch::Epoch;
use common::id::{PartitionNo, TaskNo};
use common::job::TargetMode;
use common::plan::{Loaded, TablePlan};
use common::schema::CellForm;
use common::task::{ResolveUnit, TaskKind};
use sqlite_support::*;
use worker::connector::{Connector, Recovered, ResolveWork, Role, TargetWriter};

struct Job {
    _keep: tempfile::TempDir,
    source: Box<dyn Connector>,
    target: Box<dyn Connector>,
    to: PathBuf,
    plan: TablePlan,
}

impl Job {
    /// A source with 100 rows, a target where Create is done.
    async fn begun() -> Job {
        let (keep, from, to) = files();
        script(
            &from,
            "CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT);
             WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 100)
             INSERT INTO t SELECT i, 'v' || i FROM c;",
        )
        .await;
        let (source, target) = (connector(&from), connector(&to));
        let table = source
            .inspect(Role::Source, &any_spec())
            .await
            .expect("a source")
            .tables
            .remove(0);
        let plan = plan(&table, &table, CellForm::Native);
        let create = work(TaskKind::Create, 0, std::slice::from_ref(&plan));
        target.define(create.clone()).await.expect("created");
        target
            .define(create)
            .await
            .expect("a second Create finds its work done");
        Job {
            _keep: keep,
            source,
            target,
            to,
            plan,
        }
    }

    async fn writer(&self, epoch: u32) -> Box<dyn TargetWriter> {
        let writer = self.target.writer(txn(0, epoch), self.plan.clone()).await;
        writer.expect("a writer")
    }

    async fn loaded(&self, writer: &mut dyn TargetWriter) -> Loaded {
        assert_eq!(writer.begin(None).await.expect("begun"), Recovered::Absent);
        let request = whole(&self.plan.source, CellForm::Native);
        load(&*self.source, request, writer).await.expect("loaded")
    }

    async fn rows(&self) -> String {
        count(&self.to, "t").await
    }
}

async fn count(path: &Path, table: &str) -> String {
    texts(path, &format!("SELECT count(*) || '' FROM {table}"))
        .await
        .remove(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_and_ledger_come_together_or_not_at_all() {
    let job = Job::begun().await;
    let mut writer = job.writer(1).await;
    let loaded = job.loaded(&mut *writer).await;
    writer.prepare(loaded).await.expect("prepared");
    assert_eq!(job.rows().await, "0", "nobody sees it before the decision");
    assert!(job.target.prepared().await.expect("asked").is_empty());
    writer.commit().await.expect("committed");
    writer
        .commit()
        .await
        .expect("committing again changes nothing");
    assert_eq!(job.rows().await, "100");
    let ledger =
        "SELECT part || ' ' || epoch || ' ' || row_count || ' ' || digest FROM sterna_ledger";
    let expected = format!("0 1 100 {:032x}", loaded.digest.sum);
    assert_eq!(texts(&job.to, ledger).await, [expected]);
    // Whoever comes later learns it from the ledger.
    let mut second = job.writer(2).await;
    assert_eq!(
        second.begin(None).await.expect("asked"),
        Recovered::Committed(Epoch(1))
    );
    job.writer(1)
        .await
        .commit()
        .await
        .expect("the ledger has it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_transaction_dies_with_its_writer() {
    let job = Job::begun().await;
    let mut writer = job.writer(1).await;
    let loaded = job.loaded(&mut *writer).await;
    writer.prepare(loaded).await.expect("prepared");
    drop(writer);
    let lost = job.writer(1).await.commit().await.expect_err("it is gone");
    assert_eq!(lost.class, ErrorClass::Transient, "{lost}");
    let mut again = job.writer(2).await;
    let loaded = job.loaded(&mut *again).await;
    assert_eq!(job.rows().await, "0");
    again.prepare(loaded).await.expect("prepared");
    again.commit().await.expect("committed");
    assert_eq!(job.rows().await, "100");
}

/// A take-over, a commit and a resolve that are cut off at every point: what follows finds either
/// all of T or nothing of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_cut_off_anywhere_is_repeated() {
    let job = Job::begun().await;
    let mut epoch = 1;
    for polls in 1..=12 {
        let mut old = job.writer(epoch).await;
        let loaded = job.loaded(&mut *old).await;
        old.prepare(loaded).await.expect("complete");
        drop(old);
        let mut middle = job.writer(epoch + 1).await;
        let whole = cut::cut(polls, middle.begin(None)).await;
        drop(middle);
        let resolve = ResolveWork {
            job: uid(),
            task: TaskNo(9),
            epoch: Epoch(1),
            units: vec![ResolveUnit {
                partition: PartitionNo(0),
                fence: Epoch(epoch + 2),
                decided: None,
            }],
            drop_bookkeeping: false,
        };
        let _ = cut::cut(polls, job.target.resolve(resolve.clone())).await;
        job.target.resolve(resolve).await.expect("resolved");
        let mut late = job.writer(epoch + 1).await;
        let error = late.begin(None).await.expect_err("the fence is higher");
        assert_eq!(error.class, ErrorClass::Fenced);
        let mut next = job.writer(epoch + 3).await;
        let loaded = job.loaded(&mut *next).await;
        next.prepare(loaded).await.expect("complete");
        let _ = cut::cut(polls, next.commit()).await;
        drop(next);
        // The next owner asks the ledger, and so does whoever finishes.
        let mut after = job.writer(epoch + 4).await;
        let begun = after.begin(Some(Epoch(epoch + 3))).await.expect("begun");
        after.rollback().await.expect("nothing is left");
        match begun {
            Recovered::Committed(by) => {
                assert_eq!((by, job.rows().await), (Epoch(epoch + 3), "100".to_owned()));
                script(&job.to, "DELETE FROM t; DELETE FROM sterna_ledger").await;
            }
            Recovered::Absent => assert_eq!(job.rows().await, "0", "{polls}"),
        }
        epoch += 5;
        if whole.is_some() && polls > 8 {
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rolling_back_leaves_nothing() {
    let job = Job::begun().await;
    let mut writer = job.writer(1).await;
    let loaded = job.loaded(&mut *writer).await;
    writer.prepare(loaded).await.expect("prepared");
    writer.rollback().await.expect("rolled back");
    writer.rollback().await.expect("twice is once");
    assert_eq!(
        (job.rows().await, count(&job.to, "sterna_ledger").await),
        ("0".into(), "0".into())
    );
    job.writer(1)
        .await
        .rollback()
        .await
        .expect("there is nothing to roll back");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_epoch_is_fenced() {
    let job = Job::begun().await;
    let mut newer = job.writer(3).await;
    let loaded = job.loaded(&mut *newer).await;
    newer.prepare(loaded).await.expect("prepared");
    newer.rollback().await.expect("rolled back");
    // The fence was raised before T was opened, so it stands although T is gone.
    let fenced = job.writer(2).await.begin(None).await;
    assert_eq!(fenced.expect_err("too old").class, ErrorClass::Fenced);
    let units = vec![ResolveUnit {
        partition: PartitionNo(0),
        fence: Epoch(4),
        decided: None,
    }];
    let resolve = ResolveWork {
        job: uid(),
        task: TaskNo(9),
        epoch: Epoch(1),
        units,
        drop_bookkeeping: false,
    };
    assert_eq!(job.target.resolve(resolve).await.expect("resolved"), (0, 0));
    let fenced = job.writer(3).await.begin(None).await;
    assert_eq!(fenced.expect_err("too old").class, ErrorClass::Fenced);
    assert_eq!(
        job.writer(4).await.begin(None).await.expect("the newest"),
        Recovered::Absent
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_writer_waits_for_the_first() {
    let job = Job::begun().await;
    let mut first = job.writer(1).await;
    let loaded = job.loaded(&mut *first).await;
    first.prepare(loaded).await.expect("prepared");
    let mut second = job.writer(2).await;
    let waiting = tokio::spawn(async move { second.begin(None).await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished(), "the file has one writer");
    first.commit().await.expect("committed");
    let recovered = waiting.await.expect("no panic").expect("its turn");
    assert_eq!(recovered, Recovered::Committed(Epoch(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_row_is_never_prepared() {
    let job = Job::begun().await;
    let mut writer = job.writer(1).await;
    let mut loaded = job.loaded(&mut *writer).await;
    loaded.digest.rows += 1;
    let refused = writer
        .prepare(loaded)
        .await
        .expect_err("one row is missing");
    assert_eq!(refused.failure.code, Code::ValueChanged);
    writer.commit().await.expect_err("poisoned");
    writer.rollback().await.expect("rolled back");
    assert_eq!(job.rows().await, "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_there_already_poisons_the_transaction() {
    let job = Job::begun().await;
    script(&job.to, "INSERT INTO t VALUES (50, 'mine')").await;
    let mut writer = job.writer(1).await;
    assert_eq!(writer.begin(None).await.expect("begun"), Recovered::Absent);
    let request = whole(&job.plan.source, CellForm::Native);
    let refused = load(&*job.source, request, &mut *writer)
        .await
        .expect_err("a key twice");
    assert_eq!(refused.failure.code, Code::TargetRejected);
    writer
        .prepare(Loaded::default())
        .await
        .expect_err("poisoned");
    writer.rollback().await.expect("rolled back");
    assert_eq!(texts(&job.to, "SELECT v FROM t").await, ["mine"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_at_the_end_is_nothing() {
    let job = Job::begun().await;
    let end = ResolveWork {
        job: uid(),
        task: TaskNo(9),
        epoch: Epoch(1),
        units: Vec::new(),
        drop_bookkeeping: true,
    };
    job.target.resolve(end.clone()).await.expect("resolved");
    job.target.resolve(end).await.expect("twice is once");
    let ours = "SELECT name FROM sqlite_master WHERE name LIKE 'sterna%'";
    assert_eq!(texts(&job.to, ours).await.len(), 0);
    let zombie = job
        .writer(1)
        .await
        .begin(None)
        .await
        .expect_err("the job has ended");
    assert_eq!(zombie.class, ErrorClass::Permanent);
    let late = work(
        TaskKind::ForeignKeys {
            table: common::id::TableNo(0),
        },
        5,
        &[],
    );
    job.target
        .define(late)
        .await
        .expect_err("the job has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn target_modes_do_what_they_say() {
    let job = Job::begun().await;
    script(&job.to, "INSERT INTO t VALUES (1, 'mine')").await;
    let plans = std::slice::from_ref(&job.plan);
    let mut create = work(TaskKind::Create, 7, plans);
    let refused = job
        .target
        .define(create.clone())
        .await
        .expect_err("not empty");
    assert_eq!(refused.failure.code, Code::TargetNotEmpty);
    for (task, mode, left) in [
        (8, TargetMode::Append, "1"),
        (9, TargetMode::Truncate, "0"),
        (10, TargetMode::Recreate, "0"),
    ] {
        script(&job.to, "INSERT OR REPLACE INTO t VALUES (1, 'mine')").await;
        create.task = TaskNo(task);
        create.spec.target_mode = mode;
        job.target.define(create.clone()).await.expect("done");
        assert_eq!(job.rows().await, left, "{mode:?}");
    }
    script(&job.to, "ALTER TABLE t ADD COLUMN more").await;
    create.task = TaskNo(11);
    create.spec.target_mode = TargetMode::Append;
    let refused = job.target.define(create).await.expect_err("other columns");
    assert_eq!(refused.failure.code, Code::TargetDiffers);
}
