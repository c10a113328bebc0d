//! Asks whether the source has moved since the mark taken before the copy. A source on the
//! target's own server moves by our writes: that reads as unknown, never as unmoved.
//!
//! What has moved may have been altered too. Reading the rows again proves the columns that were
//! copied; of one that was added meanwhile nothing else would tell.

use common::code::Code;
use common::schema::{SourceMark, TableSchema};
use common::task::{Settled, TaskResult};

use crate::connector::{Connector, Error, Result, Role};
use crate::task::TaskContext;

pub async fn run(ctx: &TaskContext, before: Option<SourceMark>) -> Result<TaskResult> {
    let source = ctx.source()?;
    let now = match &before {
        Some(_) => source.mark().await?,
        None => None,
    };
    if before.is_some() && now == before {
        return Ok(TaskResult::Settled(Settled::Unmoved));
    }
    if !ctx.job.spec.allow_changing_source {
        refuse_altered(ctx, &*source).await?;
    }
    Ok(TaskResult::Settled(Settled::Unknown))
}

/// An error that names a table whose columns aren't those of the plan any more.
async fn refuse_altered(ctx: &TaskContext, source: &dyn Connector) -> Result<()> {
    let found = source.inspect(Role::Source, &ctx.job.spec).await?;
    for table in &ctx.plan()?.tables {
        let planned = &table.source;
        let same =
            |other: &&TableSchema| other.name == planned.name && other.schema == planned.schema;
        let now = found.tables.iter().find(same);
        let kept = now.is_some_and(|now| {
            let names = |table: &TableSchema| -> Vec<String> {
                table
                    .columns
                    .iter()
                    .map(|column| column.name.clone())
                    .collect()
            };
            names(now) == names(planned)
        });
        if !kept {
            let what = format!(
                "table {} was altered at the source while it was copied: its columns are not \
                 those of the plan",
                planned.full_name()
            );
            return Err(Error::permanent(Code::SourceChanged, what));
        }
    }
    Ok(())
}
