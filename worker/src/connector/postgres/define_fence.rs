//! Registers a definition task's session in the fence, and ends the sessions of older epochs.

use std::time::{Duration, Instant};

use common::limits;
use common::task::TaskKind;

use super::fence::{Books, Claim, Raised, SessionId, gone};
use super::prepared;
use super::session::{Host, Session};
use crate::connector::{DefineWork, Error, Result};

/// A create task makes fence and ledger if need be; any other finds them, or its job is over.
pub async fn register(session: &mut Session, host: &Host, work: &DefineWork) -> Result<()> {
    let creates = matches!(work.kind, TaskKind::Create);
    let books = match creates {
        true => Books::ensure(session, host).await?,
        false => Books::find(session, host).await?.ok_or_else(gone)?,
    };
    let unit = work.task.to_string();
    let deadline = Instant::now() + Duration::from_millis(limits::BEGIN_DEADLINE_MS);
    let claim = Claim {
        epoch: work.epoch,
        session: SessionId {
            pid: session.facts.pid,
            started: session.facts.started,
        },
    };
    // Register first, kill then: whoever registers later than us finds us and kills us.
    let before = books.holder(session, &work.job, &unit).await?;
    match books.raise(session, &work.job, &unit, claim, true).await? {
        Raised::Done => {}
        Raised::Higher(epoch) => return Err(Error::fenced(epoch, work.epoch)),
        Raised::Gone => return Err(gone()),
    }
    if let Some(before) = before {
        prepared::kill(session, before.session, deadline).await?;
    }
    Ok(())
}
