//! The end of a job in a file: no transaction of an older epoch is open, for the write lock is ours,
//! and none can begin, for the fences are raised; then, if asked, no bookkeeping.

use std::path::Path;

use common::epoch::Unit;
use common::fault::Fault;
use common::limits;

use super::fence;
use super::session::{Access, Session};
use crate::connector::{ResolveWork, Result, Role};
use crate::faults;

/// Runs a resolve task; repeatable. SQLite has nothing prepared, so nothing to end.
pub async fn run(path: &Path, work: &ResolveWork) -> Result<(u32, u32)> {
    let mut session = Session::open(path, Role::Target, Access::Write, 2).await?;
    let resolved = resolve(&mut session, work).await;
    if resolved.is_err() {
        // Closing does it as well, so the answer doesn't matter.
        let _ = session.rollback().await;
    }
    session.close().await;
    resolved?;
    if work.drop_bookkeeping {
        faults::point(Fault::ResolveAfterForget).await?;
    }
    Ok((0, 0))
}

/// All in one transaction.
async fn resolve(session: &mut Session, work: &ResolveWork) -> Result<()> {
    session.begin_write(limits::BEGIN_DEADLINE_MS).await?;
    if fence::exists(session).await? && fence::knows(session, &work.job).await? {
        for unit in &work.units {
            let name = Unit::Partition(unit.partition).to_string();
            fence::raise(session, &work.job, &name, unit.fence).await?;
        }
        faults::point(Fault::ResolveMidway).await?;
        if work.drop_bookkeeping {
            faults::point(Fault::ResolveBeforeForget).await?;
            fence::forget(session, &work.job).await?;
        }
    }
    session.commit().await
}
