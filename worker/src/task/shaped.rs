//! Rows of the source after the job's rules and the guards of the target's types: what is written,
//! and what every digest is about. Knows no rule itself, see `common::transform`.

use std::collections::BTreeMap;

use async_trait::async_trait;
use common::code::{Code, ErrorClass, Failure};
use common::plan::TablePlan;
use common::rules::{Mask, TableRule};
use common::transform::Transform;
use common::value::RowBatch;
use secrecy::ExposeSecret;

use crate::connector::{Connector, Error, ReadRequest, Result, SourceReader};
use crate::secret::Secrets;
use crate::task::TaskContext;

/// What rows go through on their way; None = they travel as they are read.
pub fn transform(ctx: &TaskContext, table: &TablePlan) -> Result<Option<Transform>> {
    let salts = match &table.rule {
        Some(rule) => salts(rule, &ctx.shared.secrets)?,
        None => BTreeMap::new(),
    };
    Transform::compile(table, &salts).map_err(permanent)
}

/// The salts of a rule's masked columns, by column.
pub fn salts(rule: &TableRule, secrets: &Secrets) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut salts = BTreeMap::new();
    for change in &rule.columns {
        let Some(Mask::Hash { salt }) = &change.mask else {
            continue;
        };
        let (table, column) = (&rule.table, &change.column);
        let found = secrets.find(salt).map_err(|error| {
            let what = format!("the salt of {table}.{column}: {}", error.failure.what);
            Error::permanent(error.failure.code, what)
        })?;
        if found.expose_secret().is_empty() {
            let what = format!("the salt of {table}.{column} is empty");
            return Err(Error::permanent(Code::AccessDenied, what));
        }
        salts.insert(column.clone(), found.expose_secret().as_bytes().to_vec());
    }
    Ok(salts)
}

/// Opens the source's rows as they are written.
pub async fn read(
    source: &dyn Connector,
    request: ReadRequest,
    transform: Option<Transform>,
    left_out: impl Fn(u64) + Send + 'static,
) -> Result<Box<dyn SourceReader>> {
    let reader = source.read(request).await?;
    Ok(match transform {
        None => reader,
        Some(transform) => Box::new(Shaped {
            reader,
            transform: Some(transform),
            left_out: Box::new(left_out),
        }),
    })
}

struct Shaped {
    reader: Box<dyn SourceReader>,
    /// None while it is at work, and after an error.
    transform: Option<Transform>,
    left_out: Box<dyn Fn(u64) + Send>,
}

#[async_trait]
impl SourceReader for Shaped {
    fn snapshot(&self) -> Option<String> {
        self.reader.snapshot()
    }

    async fn next(&mut self) -> Result<Option<RowBatch>> {
        while let Some(batch) = self.reader.next().await? {
            let Some(mut transform) = self.transform.take() else {
                let what = "rows were asked for after a rule had failed";
                return Err(Error::permanent(Code::Internal, what));
            };
            let before = transform.left_out();
            // Off the async threads: an expression takes microseconds a row, a batch has thousands.
            let work = tokio::task::spawn_blocking(move || {
                let batch = transform.apply(batch);
                (transform, batch)
            });
            let (transform, batch) = work
                .await
                .map_err(|_| Error::transient(Code::Internal, "a rule was cut short"))?;
            (self.left_out)(transform.left_out() - before);
            self.transform = Some(transform);
            let batch = batch.map_err(permanent)?;
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
        Ok(None)
    }
}

fn permanent(failure: Failure) -> Error {
    Error {
        class: ErrorClass::Permanent,
        failure,
    }
}
