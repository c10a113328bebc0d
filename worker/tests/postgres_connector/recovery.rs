//! Recovery that is itself cut off, comes late, or finds its bookkeeping gone: with prepared
//! transactions and with held ones.

use common::code::{Code, ErrorClass};
use common::epoch::Epoch;
use worker::connector::Recovered;

use crate::cut::cut;
use crate::support::{connector, held_server, load, server, txn};
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

/// What an administrator does in the middle is named, or waited for; then the next owner goes on.
#[tokio::test]
async fn rights_taken_away_are_named_and_come_back() {
    let mut case = Case::new(server(), "rc_rights");
    let (server, name) = (case.server, case.name.clone());
    server.sql(
        &name,
        "CREATE ROLE rights LOGIN; GRANT ALL ON TABLE t TO rights;
         GRANT ALL ON SCHEMA sterna TO rights; GRANT ALL ON ALL TABLES IN SCHEMA sterna TO rights",
    );
    case.target = connector(&format!(
        "postgres://rights@127.0.0.1:{}/{name}",
        server.port
    ));
    let mut epoch = 0;
    for (take, give, class, code) in [
        (
            "ALTER ROLE rights NOLOGIN",
            "ALTER ROLE rights LOGIN",
            ErrorClass::Permanent,
            Code::AccessDenied,
        ),
        (
            "ALTER ROLE rights CONNECTION LIMIT 0",
            "ALTER ROLE rights CONNECTION LIMIT -1",
            ErrorClass::Transient,
            Code::Unreachable,
        ),
        (
            "REVOKE UPDATE ON sterna.fence FROM rights",
            "GRANT UPDATE ON sterna.fence TO rights",
            ErrorClass::Permanent,
            Code::TargetRejected,
        ),
        (
            "REVOKE INSERT ON t FROM rights",
            "GRANT INSERT ON t TO rights",
            ErrorClass::Permanent,
            Code::Privileges,
        ),
    ] {
        epoch += 1;
        server.sql(&name, take);
        let mut denied = case.writer(epoch).await;
        let error = match denied.begin(None).await {
            Ok(_) => {
                let mut batch = common::value::RowBatch::new(2);
                batch.push(b"5000");
                batch.push_null();
                denied.load(batch).await.expect_err(take)
            }
            Err(error) => error,
        };
        assert_eq!((error.class, error.failure.code), (class, code), "{error}");
        server.sql(&name, give);
        denied.rollback().await.expect("nothing is left");
    }
    case.copied(epoch + 1).await;
    assert_eq!(case.rows(), "1000");
}

/// A statement that waits is cancelled, or waits too long: T is rolled back and begins again.
#[tokio::test]
async fn a_cancelled_load_is_tried_again() {
    let case = Case::new(server(), "rc_cancel");
    let (server, name) = (case.server, case.name.clone());
    for (epoch, cancel) in [(1, true), (2, false)] {
        let mut writer = case.writer(epoch).await;
        writer.begin(None).await.expect("begun");
        let lock = std::thread::spawn({
            let (name, cancel) = (name.clone(), cancel);
            move || {
                let cancel = match cancel {
                    true => {
                        "DO $$ BEGIN FOR i IN 1..400 LOOP PERFORM pg_sleep(0.01);
                           PERFORM pg_stat_clear_snapshot();
                           EXIT WHEN (SELECT bool_or(pg_cancel_backend(pid)) FROM pg_stat_activity
                             WHERE datname = current_database() AND wait_event_type = 'Lock');
                         END LOOP; END $$;"
                    }
                    false => "SELECT pg_sleep(5);",
                };
                let script =
                    format!("BEGIN; LOCK TABLE t; SELECT pg_advisory_lock(1); {cancel} COMMIT");
                server.sql(&name, &script)
            }
        });
        let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted";
        while server.sql(&name, held) == "0" {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let mut batch = common::value::RowBatch::new(2);
        batch.push(b"5000");
        batch.push_null();
        let error = writer.load(batch).await.expect_err("it can't go on");
        assert_eq!(error.class, ErrorClass::Transient, "{error}");
        assert_eq!(error.failure.code, Code::TargetRejected, "{error}");
        writer.rollback().await.expect("rolled back");
        lock.join().expect("unlocked");
    }
    case.copied(3).await;
    assert_eq!(case.rows(), "1000");
}
