//! Reads one table whole, at the target or again at the source, and says its digest. The state
//! compares it with what was read while copying.

use common::id::TableNo;
use common::task::TaskResult;

use crate::connector::{ReadRequest, Result};
use crate::meter::Wait;
use crate::metrics::Side;
use crate::task::TaskContext;
use crate::task::fingerprint::Fingerprint;

pub async fn run(ctx: &TaskContext, table: TableNo, at_source: bool) -> Result<TaskResult> {
    let table = ctx.table(table)?;
    let form = table.form;
    let mut fingerprint = Fingerprint::new(table.rows(), form);
    let (connector, wait) = match at_source {
        true => (ctx.source()?, Wait::Source),
        false => (ctx.target()?, Wait::Target),
    };
    let request = match at_source {
        true => ReadRequest::source(&table, Vec::new(), Vec::new()),
        false => ReadRequest::target(&table),
    };
    let mut reader = ctx.meter.timed(wait, connector.read(request)).await?;
    while let Some(batch) = ctx.meter.timed(wait, reader.next()).await? {
        let (rows, bytes) = (batch.rows() as u64, batch.bytes() as u64);
        (fingerprint, _) = fingerprint.add(batch).await?;
        ctx.meter.add_rows(rows, bytes);
        ctx.shared.metrics.add_rows(Side::Read, rows, bytes);
    }
    Ok(TaskResult::Digested(fingerprint.finish().digest))
}
