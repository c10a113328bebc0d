//! A job's turn at making its bookkeeping and tables: a named lock of the server, held by the
//! session of its create task from before the first look until the end. It makes that session
//! known while the fence has no row of it yet: a later owner of the task, or the job's end, kills
//! whoever holds it. A worker takes it and only then asks whether the task is still its own, so the
//! end of a job either finds its session here or has happened before that question.

use std::time::Instant;

use common::code::Code;
use common::id::JobUid;

use super::session::Session;
use crate::connector::recovery::{Server, SessionId};
use crate::connector::{Current, Error, Result};

/// 39 characters of the 64 a lock's name may have.
fn name(job: &JobUid) -> String {
    format!("'sterna-{job}'")
}

/// Takes the turn, from an older session of the same job if need be.
pub async fn take(
    session: &mut Session,
    job: &JobUid,
    current: &Current,
    deadline: Instant,
) -> Result<()> {
    let get = format!("SELECT GET_LOCK({}, 0)", name(job));
    loop {
        if session.cell(&get).await?.as_deref() == Some("1") {
            break;
        }
        if Instant::now() >= deadline {
            let what = "another session of the job's create task can't be ended";
            return Err(Error::transient(Code::InDoubt, what));
        }
        // A worker that was stopped meanwhile must not kill its successor's.
        current.still_ours().await?;
        evict(session, job, deadline).await?;
    }
    current.still_ours().await
}

/// Ends the session that has the job's turn, if one has.
pub async fn evict(session: &mut Session, job: &JobUid, deadline: Instant) -> Result<()> {
    let holder = format!("SELECT IS_USED_LOCK({})", name(job));
    let holder = session.cell(&holder).await?;
    if let Some(number) = holder.and_then(|id| id.parse().ok()) {
        let SessionId { started, .. } = session.id().await?;
        session
            .kill(SessionId { number, started }, deadline)
            .await?;
    }
    Ok(())
}
