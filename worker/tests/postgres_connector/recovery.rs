//! Recovery that is itself cut off, comes late, or finds its bookkeeping gone: with prepared
//! transactions and with held ones.

use common::code::{Code, ErrorClass};
use common::epoch::Epoch;
use worker::connector::Recovered;

use crate::cut::cut;
use crate::support::{held_server, load, server, txn};
use crate::two_phase::Case;

/// A take-over that is cut off at every point is followed by another, which finds what it should.
#[tokio::test]
async fn a_take_over_cut_off_anywhere_is_repeated() {
    for (server, name) in [(server(), "rc_cut"), (held_server(), "held_cut")] {
        let case = Case::new(server, name);
        let (mut old, loaded) = case.loaded(1).await;
        old.prepare(loaded).await.expect("prepared");
        let mut epoch = 1;
        for polls in 1.. {
            assert_eq!(case.rows(), "0");
            // A dead owner and one that is still connected, in turn.
            let alive = (polls % 2 == 0).then_some(old);
            let mut middle = case.writer(epoch + 1).await;
            let whole = cut(polls, middle.begin(None)).await;
            drop(middle);
            let mut next = case.writer(epoch + 2).await;
            assert_eq!(next.begin(None).await.expect("begun"), Recovered::Absent);
            assert_eq!(case.prepared().await, [], "{polls}");
            if let Some(mut zombie) = alive {
                zombie.commit().await.expect_err("it was rolled back");
            }
            let loaded = load(&case.source, &case.plan, next.as_mut()).await;
            next.prepare(loaded).await.expect("prepared");
            (old, epoch) = (next, epoch + 2);
            if let Some(whole) = whole {
                assert_eq!(whole.expect("begun"), Recovered::Absent);
                assert!(polls > 10, "cut at few points: {polls}");
                break;
            }
        }
        old.commit().await.expect("committed");
        assert_eq!(case.rows(), "1000");
    }
}

#[tokio::test]
async fn a_commit_by_decision_cut_off_anywhere_is_repeated() {
    let case = Case::new(server(), "rc_decided");
    for polls in 1.. {
        let part = polls as u32;
        let mut old = case.writer_of(part, 1).await;
        old.begin(None).await.expect("begun");
        let loaded = load(&case.source, &case.plan, old.as_mut()).await;
        old.prepare(loaded).await.expect("prepared");
        drop(old);
        let decided = Some(Epoch(1));
        // Every way that commits what was decided.
        let whole = commit_cut(&case, polls, part).await;
        let mut next = case.writer_of(part, 3).await;
        let begun = next.begin(decided).await.expect("begun");
        assert_eq!(begun, Recovered::Committed(Epoch(1)), "{polls}");
        assert_eq!(case.rows(), "1000", "{polls}");
        assert_eq!(case.prepared().await, [], "{polls}");
        case.server.sql(&case.name, "DELETE FROM t");
        if whole && polls > 40 {
            break;
        }
    }
}

/// True if it was not cut off.
async fn commit_cut(case: &Case, polls: usize, part: u32) -> bool {
    let decided = Some(Epoch(1));
    let done = match polls % 3 {
        0 => {
            let resolve = cut(polls, case.try_resolve(part, 2, decided, false)).await;
            resolve.map(|ended| ended.map(drop))
        }
        1 => {
            let mut other = case.writer_of(part, 1).await;
            cut(polls, other.commit()).await
        }
        _ => {
            let mut next = case.writer_of(part, 2).await;
            let begun = cut(polls, next.begin(decided)).await;
            begun.map(|begun| begun.map(drop))
        }
    };
    done.map(|done| done.expect("done")).is_some()
}

/// A resolver that wakes after the job was resumed finds newer owners at work.
#[tokio::test]
async fn a_late_resolver_leaves_newer_owners_alone() {
    let case = Case::new(server(), "rc_late");
    let (mut owner, loaded) = case.loaded(3).await;
    owner.prepare(loaded).await.expect("prepared");
    let late = case.try_resolve(0, 2, None, false).await;
    assert_eq!(late.expect_err("stale").class, ErrorClass::Fenced);
    // The partition had not begun when that resolver was sent.
    let late = case.try_resolve(7, 2, None, false).await;
    assert_eq!(late.expect_err("stale").class, ErrorClass::Fenced);
    assert_eq!(case.prepared().await, [txn(&case.job, 0, 3)]);
    owner.commit().await.expect("its session was left alone");
    assert_eq!(case.rows(), "1000");
    case.try_resolve(7, 3, None, true).await.expect("resolved");
    let left = "SELECT count(*) FROM pg_class WHERE relname IN ('fence', 'ledger')";
    assert_eq!(case.server.sql(&case.name, left), "0");

    // Held, T is known by its session alone: the fence row says that it is newer.
    let case = Case::new(held_server(), "held_late");
    let (mut owner, loaded) = case.loaded(3).await;
    owner.prepare(loaded).await.expect("complete");
    let late = case.try_resolve(0, 2, None, false).await;
    assert_eq!(late.expect_err("stale").class, ErrorClass::Fenced);
    owner.commit().await.expect("its session was left alone");
    assert_eq!(case.rows(), "1000");
}

/// Bookkeeping that somebody removed stops the job by name: an owner is told, not only a zombie.
#[tokio::test]
async fn bookkeeping_that_is_gone_is_named() {
    let case = Case::new(server(), "rc_gone");
    for (statement, epoch) in [
        ("DELETE FROM sterna.fence", 1),
        ("DROP TABLE sterna.fence, sterna.ledger", 2),
    ] {
        if epoch == 2 {
            crate::support::books(case.server, &case.name, &case.job);
        }
        let (mut writer, loaded) = case.loaded(epoch).await;
        case.server.sql(&case.name, statement);
        let error = writer.prepare(loaded).await.expect_err("no fence");
        assert_eq!(error.class, ErrorClass::Permanent, "{error}");
        assert_eq!(error.failure.code, Code::TargetRejected);
        assert!(error.failure.what.contains("bookkeeping"), "{error}");
        writer.rollback().await.expect("rolled back");
        let mut next = case.writer(9).await;
        let error = next.begin(None).await.expect_err("no fence");
        assert_eq!(error.class, ErrorClass::Permanent, "{error}");
        assert_eq!(case.rows(), "0");
    }
}
