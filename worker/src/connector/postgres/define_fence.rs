//! Registers a definition task's session in the fence, and ends the sessions of older epochs.

use common::task::TaskKind;

use super::fence;
use super::session::{Host, Session};
use crate::connector::recovery::{self, books::gone};
use crate::connector::{DefineWork, Result};

/// A create task makes fence and ledger if need be; any other finds them, or its job is over.
pub async fn register(session: &mut Session, host: &Host, work: &DefineWork) -> Result<()> {
    let books = match work.kind {
        TaskKind::Create => fence::ensure(session, host).await?,
        _ => fence::find(session, host).await?.ok_or_else(gone)?,
    };
    recovery::register(session, &books, work).await
}
