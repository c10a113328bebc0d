//! A job's turn at making its bookkeeping and tables: a lock of the server by name, held by the
//! session of its create task from before the first look until the end. It makes that session
//! known while the fence has no row of it yet: a later owner of the task, or the job's end, ends
//! whoever holds it. A worker takes it and only then asks whether the task is still its own, so the
//! end of a job either finds its session here or has happened before that question.

use std::time::Instant;

use common::code::Code;
use common::id::JobUid;

use super::{Server, deadline};
use crate::connector::{Current, Error, Result};

/// Takes the turn, from an older session of the same job if need be.
pub async fn take<S: Server>(server: &mut S, job: &JobUid, current: &Current) -> Result<()> {
    let deadline = deadline();
    while !server.try_turn(job).await? {
        if Instant::now() >= deadline {
            let what = "another session of the job's create task can't be ended";
            return Err(Error::transient(Code::InDoubt, what));
        }
        // A worker that was stopped meanwhile must not end its successor's.
        current.still_ours().await?;
        evict(server, job).await?;
    }
    current.still_ours().await
}

/// Ends the session that has the job's turn, if one has.
pub async fn evict<S: Server>(server: &mut S, job: &JobUid) -> Result<()> {
    match server.turn_holder(job).await? {
        Some(holder) => Ok(server.kill(holder, deadline()).await?),
        None => Ok(()),
    }
}
