//! Reads one table whole, at the target or again at the source, and says its digest. The state
//! compares it with what was read while copying.

use common::digest::Digest;
use common::fault::Fault;
use common::id::TableNo;
use common::plan::TablePlan;
use common::task::TaskResult;

use crate::connector::{ReadRequest, Result};
use crate::faults;
use crate::meter::Wait;
use crate::metrics::Side;
use crate::task::TaskContext;
use crate::task::fingerprint::Fingerprint;
use crate::task::shaped;

pub async fn run(ctx: &TaskContext, table: TableNo, at_source: bool) -> Result<TaskResult> {
    let table = ctx.table(table)?;
    let digest = digest(ctx, &table, at_source).await?;
    Ok(TaskResult::Digested(digest))
}

/// The digest of all rows of a table at one end.
pub async fn digest(ctx: &TaskContext, table: &TablePlan, at_source: bool) -> Result<Digest> {
    let form = table.form;
    let mut fingerprint = Fingerprint::new(table.rows(), form);
    let wait = if at_source {
        Wait::Source
    } else {
        Wait::Target
    };
    let mut reader = match at_source {
        true => {
            let transform = shaped::transform(ctx, table)?;
            let source = ctx.source()?;
            let request = ReadRequest::source(table, Vec::new(), Vec::new());
            // What is left out was counted when it was copied.
            let opening = shaped::read(&*source, request, transform, |_| {});
            ctx.meter.timed(wait, opening).await?
        }
        false => {
            let target = ctx.target()?;
            let opening = target.read(ReadRequest::target(table));
            ctx.meter.timed(wait, opening).await?
        }
    };
    while let Some(batch) = ctx.meter.timed(wait, reader.next()).await? {
        let (rows, bytes) = (batch.rows() as u64, batch.bytes() as u64);
        (fingerprint, _) = fingerprint.add(batch).await?;
        ctx.meter.add_rows(rows, bytes);
        ctx.shared.metrics.add_rows(Side::Read, rows, bytes);
        faults::point(Fault::VerifyMidway).await?;
    }
    Ok(fingerprint.finish().digest)
}
