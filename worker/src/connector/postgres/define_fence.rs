//! Registers a definition task's session in the fence, and ends the sessions of older epochs.

use std::time::{Duration, Instant};

use common::code::{Code, ErrorClass, Failure};
use common::fault::Fault;
use common::limits;
use common::task::TaskKind;

use super::fence::{Books, Claim, Raised, SessionId, gone};
use super::prepared;
use super::session::{Host, Session};
use super::turn;
use crate::connector::{DefineWork, Error, Result};
use crate::faults;

/// A create task makes fence and ledger if need be; any other finds them, and a row of its job, or
/// its job is over.
pub async fn register(session: &mut Session, host: &Host, work: &DefineWork) -> Result<()> {
    let creates = matches!(work.kind, TaskKind::Create);
    let deadline = Instant::now() + Duration::from_millis(limits::BEGIN_DEADLINE_MS);
    if creates {
        faults::point(Fault::CreateBeforeBooks).await?;
        turn::take(session, &work.job, &work.current, deadline).await?;
    }
    let books = match creates {
        true => Books::ensure(session, host, &work.current).await?,
        false => Books::find(session, host).await?.ok_or_else(gone)?,
    };
    let unit = work.task.to_string();
    let claim = Claim {
        epoch: work.epoch,
        session: SessionId {
            pid: session.facts.pid,
            started: session.facts.started,
        },
    };
    // Register first, kill then: whoever registers later than us finds us and kills us.
    let before = books.holder(session, &work.job, &unit).await?;
    work.current.still_ours().await?;
    let raised = books.raise(session, &work.job, &unit, claim, creates);
    match raised.await? {
        Raised::Done => {}
        Raised::Higher(epoch) => return Err(Error::fenced(epoch, work.epoch)),
        Raised::Gone => return Err(gone()),
    }
    if let Some(before) = before {
        prepared::kill(session, before.session, deadline).await?;
    }
    if !creates {
        return Ok(());
    }
    if books.has_partitions(session, &work.job).await? {
        let what = "partitions of the job have begun at the target: its tables are made";
        return Err(Error {
            class: ErrorClass::Fenced,
            failure: Failure::new(Code::Internal, what),
        });
    }
    faults::point(Fault::CreateAfterBooks).await
}
