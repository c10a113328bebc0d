//! Recovery that is itself cut off, comes late, or finds its bookkeeping gone.

use common::code::{Code, ErrorClass};
use common::epoch::Epoch;
use common::job::{Endpoint, SecretRef};
use common::task::TaskKind;
use secrecy::SecretString;
use worker::connector::mysql::Mysql;
use worker::connector::{Connector, Recovered};
use worker::secret::Secrets;

use crate::cut::cut;
use crate::server::{ask_at, load, prepared, run_at, txn, work};
use crate::two_phase::{Case, servers};

/// A take-over that is cut off at every point is followed by another, which finds what it should.
#[tokio::test]
async fn a_take_over_cut_off_anywhere_is_repeated() {
    for port in servers() {
        let case = Case::new(port, "rc_cut").await;
        let (mut old, loaded) = case.loaded(1).await;
        old.prepare(loaded).await.expect("prepared");
        let mut epoch = 1;
        for polls in 1.. {
            assert_eq!(case.rows().await, "0");
            // A dead owner and one that is still connected, in turn.
            let alive = (polls % 2 == 0).then_some(old);
            let mut middle = case.writer(epoch + 1).await;
            let whole = cut(polls, middle.begin(None)).await;
            drop(middle);
            let mut next = case.writer(epoch + 2).await;
            assert_eq!(next.begin(None).await.expect("begun"), Recovered::Absent);
            assert_eq!(prepared(&case.target, &case.job).await, [], "{polls}");
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
        assert_eq!(case.rows().await, "1000");
    }
}

#[tokio::test]
async fn a_commit_by_decision_cut_off_anywhere_is_repeated() {
    for port in servers() {
        let case = Case::new(port, "rc_decided").await;
        for polls in 1.. {
            let part = polls as u32;
            let mut old = case.writer_of(part, 1).await;
            old.begin(None).await.expect("begun");
            let loaded = load(&case.source, &case.plan, old.as_mut()).await;
            old.prepare(loaded).await.expect("prepared");
            drop(old);
            let decided = Some(Epoch(1));
            // Every way that commits what was decided.
            let mut middle = case.writer_of(part, 2).await;
            let whole = match polls % 3 {
                0 => cut(polls, case.try_resolve(part, 2, decided, false))
                    .await
                    .map(|ended| ended.map(drop)),
                1 => {
                    middle = case.writer_of(part, 1).await;
                    cut(polls, middle.commit()).await
                }
                _ => cut(polls, middle.begin(decided))
                    .await
                    .map(|begun| begun.map(drop)),
            };
            drop(middle);
            let mut next = case.writer_of(part, 3).await;
            let begun = next.begin(decided).await.expect("begun");
            assert_eq!(begun, Recovered::Committed(Epoch(1)), "{polls}");
            assert_eq!(case.rows().await, "1000", "{polls}");
            assert_eq!(prepared(&case.target, &case.job).await, [], "{polls}");
            run_at(port, "rc_decided_t", &["DELETE FROM t"]).await;
            if let Some(whole) = whole {
                whole.expect("done");
                if polls > 60 {
                    break;
                }
            }
        }
    }
}

/// A resolver that wakes after the job was resumed finds newer owners at work.
#[tokio::test]
async fn a_late_resolver_leaves_newer_owners_alone() {
    for port in servers() {
        let case = Case::new(port, "rc_late").await;
        let (mut owner, loaded) = case.loaded(3).await;
        owner.prepare(loaded).await.expect("prepared");
        let late = case.try_resolve(0, 2, None, false).await;
        assert_eq!(late.expect_err("stale").class, ErrorClass::Fenced);
        // The partition had not begun when that resolver was sent.
        let late = case.try_resolve(7, 2, None, false).await;
        assert_eq!(late.expect_err("stale").class, ErrorClass::Fenced);
        assert_eq!(
            prepared(&case.target, &case.job).await,
            [txn(&case.job, 0, 3)]
        );
        owner.commit().await.expect("its session was left alone");
        assert_eq!(case.rows().await, "1000");
        // What is left of a partition that is committed goes, whatever its epoch.
        case.try_resolve(7, 3, None, true).await.expect("resolved");
        let books = ask_at(
            port,
            "",
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'sterna' AND \
             table_name = 'fence'",
        )
        .await;
        if books == "1" {
            let rows = format!(
                "SELECT COUNT(*) FROM sterna.fence WHERE job = '{}'",
                case.job
            );
            assert_eq!(ask_at(port, "", &rows).await, "0");
        }
    }
}

/// Bookkeeping that somebody removed stops the job by name: an owner is told, not only a zombie.
#[tokio::test]
async fn bookkeeping_that_is_gone_is_named() {
    for port in servers() {
        let case = Case::new(port, "rc_gone").await;
        let (mut writer, loaded) = case.loaded(1).await;
        let delete = format!("DELETE FROM sterna.fence WHERE job = '{}'", case.job);
        run_at(port, "", &[&delete]).await;
        let error = writer.prepare(loaded).await.expect_err("no fence");
        assert_eq!(error.class, ErrorClass::Permanent, "{error}");
        assert_eq!(error.failure.code, Code::TargetRejected);
        assert!(error.failure.what.contains("bookkeeping"), "{error}");
        writer.rollback().await.expect("rolled back");
        let mut next = case.writer(2).await;
        let error = next.begin(None).await.expect_err("no fence");
        assert_eq!(error.class, ErrorClass::Permanent, "{error}");
        let index = TaskKind::Index {
            table: common::id::TableNo(0),
        };
        let tables = [case.plan.clone()];
        let define = case.target.define(work(&case.job, 1, 1, index, &tables));
        let error = define.await.expect_err("no row of the job");
        assert_eq!(error.class, ErrorClass::Permanent, "{error}");
        assert_eq!(case.rows().await, "0");
    }
}

/// A session of a server's other life is nobody's: its number may be anybody's by now.
#[tokio::test]
async fn a_session_of_another_life_is_not_killed() {
    for port in servers() {
        let case = Case::new(port, "rc_life").await;
        let (mut bystander, loaded) = case.loaded(1).await;
        let record = format!(
            "UPDATE sterna.fence SET session_start = session_start - 1 WHERE job = '{}'",
            case.job
        );
        run_at(port, "", &[&record]).await;
        let mut other = case.writer(2).await;
        assert_eq!(other.begin(None).await.expect("begun"), Recovered::Absent);
        let error = bystander.prepare(loaded).await.expect_err("fenced");
        assert_eq!(error.class, ErrorClass::Fenced, "not killed: {error}");
        bystander.rollback().await.expect("rolled back");
    }
}

/// The connector of a user who is not root.
async fn as_user(port: u16, case: &mut Case, user: &str) {
    let drop = format!("DROP USER IF EXISTS '{user}'@'%'");
    let create = format!("CREATE USER '{user}'@'%' IDENTIFIED BY 'pw'");
    let grant = format!("GRANT ALL ON *.* TO '{user}'@'%'");
    run_at(port, "", &[&drop, &create, &grant]).await;
    let mut secrets = Secrets::default();
    secrets.insert("target", SecretString::from("pw"));
    let endpoint = Endpoint {
        url: format!("mysql://{user}@127.0.0.1:{port}/{}_t", case.name),
        password: Some(SecretRef::Session("target".into())),
    };
    case.target = Mysql::new(&endpoint, &secrets).expect("valid");
}

/// What an administrator does in the middle is named, or waited for; then the next owner goes on.
#[tokio::test]
async fn rights_taken_away_are_named_and_come_back() {
    for port in servers() {
        let mut case = Case::new(port, "rc_rights").await;
        as_user(port, &mut case, "rights").await;
        for (take, give, class, code) in [
            (
                "ALTER USER 'rights'@'%' IDENTIFIED BY 'other'",
                "ALTER USER 'rights'@'%' IDENTIFIED BY 'pw'",
                ErrorClass::Permanent,
                Code::AccessDenied,
            ),
            (
                "ALTER USER 'rights'@'%' ACCOUNT LOCK",
                "ALTER USER 'rights'@'%' ACCOUNT UNLOCK",
                ErrorClass::Permanent,
                Code::AccessDenied,
            ),
            (
                "REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'rights'@'%'",
                "GRANT ALL ON *.* TO 'rights'@'%'",
                ErrorClass::Permanent,
                Code::Privileges,
            ),
            (
                "ALTER USER 'rights'@'%' WITH MAX_CONNECTIONS_PER_HOUR 1",
                "ALTER USER 'rights'@'%' WITH MAX_CONNECTIONS_PER_HOUR 0",
                ErrorClass::Transient,
                Code::Unreachable,
            ),
        ] {
            run_at(port, "", &[take]).await;
            let mut denied = case.writer(1).await;
            if class == ErrorClass::Transient {
                // The first one of the hour.
                drop(denied.begin(None).await);
                denied = case.writer(1).await;
            }
            let error = denied.begin(None).await.expect_err(take);
            assert_eq!((error.class, error.failure.code), (class, code), "{error}");
            assert!(!error.to_string().contains("pw"), "{error}");
            run_at(port, "", &[give]).await;
        }
        let (mut writer, loaded) = case.loaded(2).await;
        writer.prepare(loaded).await.expect("prepared");
        writer.commit().await.expect("committed");
        assert_eq!(case.rows().await, "1000");
    }
}

/// The server rolls the whole of T back, for a deadlock or at a word of its administrator.
#[tokio::test]
async fn a_killed_load_is_tried_again() {
    for port in servers() {
        let case = Case::new(port, "rc_killed").await;
        let (mut writer, _) = case.loaded(1).await;
        // The load waits for this lock, and is killed while it does.
        let mut rival = crate::server::connect_at(port, "rc_killed_t").await;
        use mysql_async::prelude::Queryable;
        for sql in ["BEGIN", "INSERT INTO t VALUES (5000, 'rival')"] {
            rival.query_drop(sql).await.expect(sql);
        }
        let mut batch = common::value::RowBatch::new(2);
        batch.push(b"5000");
        batch.push_null();
        let kill = async {
            let find = "SELECT CONCAT('KILL QUERY ', id) FROM information_schema.processlist WHERE \
                        info LIKE 'LOAD DATA%rc_killed_t%' OR info LIKE 'INSERT INTO %rc_killed_t%'";
            let kill = loop {
                let kill: Option<String> = rival.query_first(find).await.expect("asked");
                match kill {
                    Some(kill) => break kill,
                    None => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
                }
            };
            rival.query_drop(&kill).await.expect("killed");
        };
        let deadline = std::time::Duration::from_secs(20);
        let both = futures::future::join(writer.load(batch), kill);
        let (loaded, ()) = tokio::time::timeout(deadline, both).await.expect("in time");
        let error = loaded.expect_err("it was killed");
        assert_eq!(error.class, ErrorClass::Transient, "{error}");
        assert_eq!(error.failure.code, Code::TargetRejected, "{error}");
        drop(rival);
        writer.rollback().await.expect("rolled back");
        let (mut next, loaded) = case.loaded(2).await;
        next.prepare(loaded).await.expect("prepared");
        next.commit().await.expect("committed");
        assert_eq!(case.rows().await, "1000");
    }
}
