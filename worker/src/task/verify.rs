//! Reads one table, or a part of it, at the target or again at the source, and says its digest. The state
//! compares it with what was read while copying.

use common::digest::Digest;
use common::fault::Fault;
use common::id::TableNo;
use common::plan::{PartitionSpec, TablePlan};
use common::schema::KeyRange;
use common::task::TaskResult;

use crate::connector::{ReadRequest, Result};
use crate::faults;
use crate::meter::Wait;
use crate::metrics::Side;
use crate::task::TaskContext;
use crate::task::examine::range::at_target;
use crate::task::fingerprint::Fingerprint;
use crate::task::shaped;

/// `spec`: only these ranges of it.
pub async fn run(
    ctx: &TaskContext,
    table: TableNo,
    at_source: bool,
    spec: Option<PartitionSpec>,
) -> Result<TaskResult> {
    let table = ctx.table(table)?;
    let (columns, ranges) = match spec {
        Some(spec) => (spec.columns, spec.ranges),
        None => (Vec::new(), Vec::new()),
    };
    let digest = digest_of(ctx, &table, at_source, columns, ranges).await?;
    Ok(TaskResult::Digested(digest))
}

/// The digest of all rows of a table at one end.
pub async fn digest(ctx: &TaskContext, table: &TablePlan, at_source: bool) -> Result<Digest> {
    digest_of(ctx, table, at_source, Vec::new(), Vec::new()).await
}

/// The digest of the rows in ranges of the source's key columns; no range = all rows.
async fn digest_of(
    ctx: &TaskContext,
    table: &TablePlan,
    at_source: bool,
    columns: Vec<String>,
    ranges: Vec<KeyRange>,
) -> Result<Digest> {
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
            let request = ReadRequest::source(table, columns, ranges);
            // What is left out was counted when it was copied.
            let opening = shaped::read(&*source, request, transform, |_| {});
            ctx.meter.timed(wait, opening).await?
        }
        false => {
            let target = ctx.target()?;
            let opening = target.read(at_target(ctx, table, &columns, &ranges));
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
