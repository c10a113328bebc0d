//! The session and the runner against a coordinator that is told what to say, with units that do
//! nothing but wait for a word.

use std::time::{Duration, Instant};

use common::directive::{Directive, Order, Outcome};
use common::epoch::{Epoch, Lease, Unit};
use common::id::{JobId, JobUid, PartitionNo, TableNo, TaskNo};
use common::plan::{Loaded, PartitionSpec};
use common::task::{TaskKind, TaskResult};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::fake::{Fake, Role, until};
use crate::task::{Ended, Stop, UnitInput, stopped};
use crate::{WorkerConfig, WorkerHandle, start_with};

const INSTANT: TaskNo = TaskNo(7);
const PANICKY: TaskNo = TaskNo(13);

/// A partition says "prepared" at once and waits; a task waits to be stopped.
fn stub(input: UnitInput) -> BoxFuture<'static, Ended> {
    async move {
        let lease = input.directive.lease;
        let mut word = input.word;
        match (input.directive.order, lease.unit) {
            (Order::Prepare { .. }, _) => {
                let sent = input.prepared.send((lease, Loaded::default())).await;
                sent.expect("the runner listens");
                let told = word
                    .wait_for(|word| word.commit || word.stop.is_some())
                    .await;
                let told = *told.expect("the runner lives");
                match told.stop {
                    _ if told.commit => Ended::Said(Outcome::Committed(lease.epoch)),
                    Some(Stop::Away) => Ended::Left,
                    _ => Ended::Said(Outcome::Released),
                }
            }
            (Order::Commit, _) => Ended::Said(Outcome::Committed(lease.epoch)),
            (_, Unit::Task(INSTANT)) => Ended::Said(Outcome::Task(TaskResult::Done)),
            (_, Unit::Task(PANICKY)) => panic!("as the test wants"),
            (Order::Run { .. }, _) => {
                stopped(&mut word).await;
                Ended::Said(Outcome::Released)
            }
        }
    }
    .boxed()
}

async fn worker(leaders: &[&Fake]) -> WorkerHandle {
    let addresses = leaders.iter().map(|leader| leader.address()).collect();
    let config = WorkerConfig::new("ann", addresses, 4);
    start_with(config, stub)
        .await
        .expect("the configuration is valid")
}

fn lease(unit: Unit) -> Lease {
    Lease {
        job: JobId(1),
        unit,
        epoch: Epoch(3),
    }
}

fn directive(lease: Lease, order: Order) -> Directive {
    let uid = JobUid::parse("0123456789abcdef0123456789abcdef").expect("32 hex digits");
    Directive { lease, uid, order }
}

fn partition() -> (Lease, Directive, Directive) {
    let lease = lease(Unit::Partition(PartitionNo(0)));
    let spec = PartitionSpec {
        partition: PartitionNo(0),
        table: TableNo(0),
        class: 0,
        columns: Vec::new(),
        ranges: Vec::new(),
    };
    let prepare = Order::Prepare {
        spec,
        decided: None,
    };
    (
        lease,
        directive(lease, prepare),
        directive(lease, Order::Commit),
    )
}

fn task(no: TaskNo) -> (Lease, Directive) {
    let lease = lease(Unit::Task(no));
    let task = TaskKind::Create;
    (lease, directive(lease, Order::Run { task }))
}

const LEADS: Role = Role::Leads { term: 5 };

#[tokio::test]
async fn a_partition_is_prepared_decided_committed_and_forgotten() {
    let leader = Fake::start(LEADS).await;
    let worker = worker(&[&leader]).await;
    let (lease, prepare, commit) = partition();
    leader.want(vec![prepare]);
    for repeat in 0..3 {
        let said = leader.ack(lease).await;
        assert_eq!(
            said,
            Outcome::Prepared(Loaded::default()),
            "report {repeat}"
        );
    }
    assert_eq!(worker.figures().running, 1);
    leader.want(vec![commit]);
    let committed = |report: &common::directive::Report| {
        report
            .acks
            .iter()
            .any(|ack| ack.outcome == Outcome::Committed(Epoch(3)))
    };
    let report = leader.report("CommitAck", committed).await;
    assert!(report.running.is_empty(), "{report:?}");
    leader.want(Vec::new());
    leader
        .report("silence", |report| report.acks.is_empty())
        .await;
    assert_eq!(worker.id(), Some(common::id::WorkerId(1)));
    worker.stop().await;
}

#[tokio::test]
async fn a_leader_change_keeps_units_running_and_is_found_by_its_hint() {
    let (first, second) = (Fake::start(LEADS).await, Fake::start(Role::Mute).await);
    let worker = worker(&[&first]).await;
    let (lease, wanted) = task(TaskNo(0));
    first.want(vec![wanted.clone()]);
    first
        .report("a running task", |report| report.running == [lease])
        .await;
    second.role(Role::Leads { term: 6 });
    second.want(vec![wanted]);
    let changed = Instant::now();
    first.role(Role::Follows(Some(second.address())));
    second
        .report("a report", |report| report.running == [lease])
        .await;
    assert!(
        changed.elapsed() < Duration::from_secs(1),
        "{:?}",
        changed.elapsed()
    );
    let text = worker.metrics_text();
    assert!(
        !text.contains("sterna_worker_units_total{"),
        "a unit ended: {text}"
    );
    worker.stop().await;
}

#[tokio::test]
async fn directives_of_an_older_term_are_ignored() {
    let (new, old) = (
        Fake::start(LEADS).await,
        Fake::start(Role::Leads { term: 4 }).await,
    );
    let worker = worker(&[&new]).await;
    let (lease, wanted) = task(TaskNo(0));
    new.want(vec![wanted.clone()]);
    new.report("a running task", |report| report.running == [lease])
        .await;
    // The old leader wants nothing of this worker.
    new.role(Role::Follows(Some(old.address())));
    until("the old leader to be tried", || {
        (old.sessions() > 0).then_some(())
    })
    .await;
    until("its directives to be ignored", || {
        let text = worker.metrics_text();
        (!text.contains("stale_directives_total 0")).then_some(())
    })
    .await;
    assert_eq!(worker.figures().running, 1);
    new.forget();
    new.role(Role::Leads { term: 6 });
    new.report("the same task", |report| report.running == [lease])
        .await;
    worker.stop().await;
}

#[tokio::test]
async fn without_a_leader_work_stops_by_itself_and_is_accounted_for_later() {
    let leader = Fake::start(LEADS).await;
    leader.self_stop_ms(400);
    let worker = worker(&[&leader]).await;
    let ((task, run), (part, prepare, commit)) = (task(TaskNo(0)), partition());
    leader.want(vec![run.clone(), prepare.clone()]);
    leader
        .report("both running", |report| report.running.len() == 2)
        .await;
    leader.role(Role::Follows(None));
    until("the units to stop", || {
        (worker.figures().running == 0).then_some(())
    })
    .await;
    leader.forget();
    leader.role(Role::Leads { term: 6 });
    assert_eq!(leader.ack(task).await, Outcome::Released);
    let left = leader.ack(part).await;
    assert_eq!(
        left,
        Outcome::Prepared(Loaded::default()),
        "it stays prepared in the target"
    );
    assert_eq!(worker.figures().running, 0, "no lease is run twice");
    leader.want(vec![commit]);
    let committed = |report: &common::directive::Report| {
        report
            .acks
            .iter()
            .any(|ack| ack.outcome == Outcome::Committed(Epoch(3)))
    };
    leader
        .report("the commit of what was left", committed)
        .await;
    worker.stop().await;
}

#[tokio::test]
async fn a_commit_for_a_lease_never_seen_is_carried_out() {
    let leader = Fake::start(LEADS).await;
    let worker = worker(&[&leader]).await;
    let (lease, _, commit) = partition();
    leader.want(vec![commit]);
    assert_eq!(leader.ack(lease).await, Outcome::Committed(Epoch(3)));
    worker.stop().await;
}

#[tokio::test]
async fn a_drain_finishes_what_was_given_and_stopping_gives_everything_back() {
    let leader = Fake::start(LEADS).await;
    let worker = worker(&[&leader]).await;
    let ((running, run), (late, wanted)) = (task(TaskNo(0)), task(TaskNo(1)));
    leader.want(vec![run.clone()]);
    leader
        .report("a running task", |report| report.running == [running])
        .await;
    let drained = async {
        leader.report("draining", |report| report.draining).await;
        leader.want(vec![run, wanted]);
        let both = [running, late];
        leader
            .report("both are begun", |report| report.running == both)
            .await;
        let stopped = async {
            assert_eq!(leader.ack(running).await, Outcome::Released);
            assert_eq!(leader.ack(late).await, Outcome::Released);
            leader.want(Vec::new());
        };
        futures::future::join(worker.stop(), stopped).await;
    };
    futures::future::join(worker.drain(), drained).await;
}

#[tokio::test]
async fn a_unit_that_panics_is_a_transient_failure_and_others_go_on() {
    let leader = Fake::start(LEADS).await;
    let worker = worker(&[&leader]).await;
    let ((broken, run), (fine, other)) = (task(PANICKY), task(INSTANT));
    leader.want(vec![run, other]);
    let said = leader.ack(broken).await;
    assert!(matches!(said, Outcome::Failed { .. }), "{said:?}");
    assert_eq!(leader.ack(fine).await, Outcome::Task(TaskResult::Done));
    worker.stop().await;
}

#[tokio::test]
async fn a_mute_leader_is_left_for_one_that_speaks() {
    let (mute, other) = (
        Fake::start(LEADS).await,
        Fake::start(Role::Follows(None)).await,
    );
    let worker = worker(&[&mute, &other]).await;
    mute.report("a report", |_| true).await;
    mute.role(Role::Mute);
    other.role(Role::Leads { term: 6 });
    other.report("a report", |_| true).await;
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_without_a_leader_stops_at_once() {
    let nobody = Fake::start(Role::Follows(None)).await;
    let worker = worker(&[&nobody]).await;
    let asked = Instant::now();
    worker.stop().await;
    assert!(
        asked.elapsed() < Duration::from_secs(1),
        "{:?}",
        asked.elapsed()
    );
}

#[tokio::test]
async fn a_lease_that_was_taken_away_is_not_begun_again() {
    let leader = Fake::start(LEADS).await;
    let worker = worker(&[&leader]).await;
    let (lease, run) = task(TaskNo(0));
    leader.want(vec![run.clone()]);
    leader
        .report("a running task", |report| report.running == [lease])
        .await;
    leader.want(Vec::new());
    leader
        .report("it ended", |report| report.running.is_empty())
        .await;
    // An older set, sent again.
    leader.want(vec![run.clone()]);
    assert_eq!(leader.ack(lease).await, Outcome::Released);
    assert_eq!(worker.figures().running, 0, "it was begun again");
    // The next epoch is another lease.
    let mut next = run.clone();
    next.lease.epoch = next.lease.epoch.next();
    leader.want(vec![next.clone()]);
    leader
        .report("the next epoch", |report| report.running == [next.lease])
        .await;
    leader.want(vec![run]);
    assert_eq!(leader.ack(lease).await, Outcome::Released);
    worker.stop().await;
}

#[tokio::test]
async fn what_was_taken_away_is_still_committed_when_the_decision_says_so() {
    let leader = Fake::start(LEADS).await;
    let worker = worker(&[&leader]).await;
    let (lease, prepare, commit) = partition();
    leader.want(vec![prepare.clone()]);
    leader.ack(lease).await;
    leader.want(Vec::new());
    leader
        .report("it ended", |report| report.running.is_empty())
        .await;
    leader.want(vec![prepare]);
    assert_eq!(leader.ack(lease).await, Outcome::Released);
    leader.want(vec![commit]);
    let committed = |report: &common::directive::Report| {
        let mut acks = report.acks.iter();
        acks.any(|ack| ack.outcome == Outcome::Committed(Epoch(3)))
    };
    leader.report("the commit", committed).await;
    worker.stop().await;
}
