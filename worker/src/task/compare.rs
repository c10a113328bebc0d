//! Compares a table that was written to while it was followed: all of its rows at the source, then
//! all at the target. If they differ, the source's log says whether it was written to beyond what
//! the target stands for; only where it wasn't is the difference one.

use std::time::Duration;

use common::change::{LogOrder, Secured};
use common::id::TableNo;
use common::limits::COMPARE_LOG_DEADLINE_MS;
use common::task::{Compared, TaskResult};
use tokio::time::timeout;

use crate::connector::changes::Event;
use crate::connector::{Connector, Result, StreamRequest};
use crate::task::{TaskContext, verify};

pub async fn run(ctx: &TaskContext, no: TableNo, at: Secured) -> Result<TaskResult> {
    let table = ctx.table(no)?;
    let at_source = verify::digest(ctx, &table, true).await?;
    let at_target = verify::digest(ctx, &table, false).await?;
    let mut compared = Compared {
        at_source,
        at_target,
        written_since: false,
    };
    if at_source != at_target {
        let source = ctx.source()?;
        // Past everything that reading can have seen.
        let end = source.log_end().await?.order;
        compared.written_since = end > at.position.order && {
            let looking = written_since(ctx, &*source, no, at, end);
            let limit = Duration::from_millis(COMPARE_LOG_DEADLINE_MS);
            match timeout(limit, looking).await {
                Ok(Ok(written)) => written,
                // Not known: then the difference proves nothing.
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the log beyond the target's position can't be read");
                    true
                }
                Err(_) => true,
            }
        };
    }
    Ok(TaskResult::Compared(compared))
}

/// Whether the log has a change of the table between `at` and `end`.
async fn written_since(
    ctx: &TaskContext,
    source: &dyn Connector,
    no: TableNo,
    at: Secured,
    end: LogOrder,
) -> Result<bool> {
    let request = StreamRequest {
        job: ctx.job.uid.clone(),
        tables: ctx.plan()?.tables.clone(),
        after: at.position,
        identity: at.identity,
    };
    let mut stream = source.changes(request).await?;
    loop {
        match stream.next().await? {
            Event::Rows(batch) if batch.table == no => return Ok(true),
            Event::Drift(_) => return Ok(true),
            Event::Begin(_) | Event::Rows(_) => {}
            Event::Commit { position, .. } | Event::Idle { position } => {
                if position.order >= end {
                    return Ok(false);
                }
            }
        }
    }
}
