//! Registers a definition task's session in the fence, and ends the sessions of older epochs.

use common::fault::Fault;
use common::task::TaskKind;

use super::session::{Host, Session};
use super::{fence, turn};
use crate::connector::recovery::{self, books};
use crate::connector::{DefineWork, Result};
use crate::faults;

/// A create task makes fence and ledger if need be; any other finds them, and a row of its job, or
/// its job is over.
pub async fn register(session: &mut Session, host: &Host, work: &DefineWork) -> Result<()> {
    if !matches!(work.kind, TaskKind::Create) {
        let books = fence::find(session, host).await?.ok_or_else(books::gone)?;
        recovery::register(session, &books, work).await?;
        return Ok(());
    }
    faults::point(Fault::CreateBeforeBooks).await?;
    turn::take(session, &work.job, &work.current, recovery::deadline()).await?;
    let books = fence::ensure(session, host, &work.current).await?;
    recovery::register(session, &books, work).await?;
    books.refuse_begun(session, &work.job).await?;
    faults::point(Fault::CreateAfterBooks).await
}
