//! What `sterna plan` asks of both ends, in its own process: the same look as the inspect task takes,
//! without a job, a lease or a coordinator. Changes nothing.

use common::code::Failure;
use common::job::JobSpec;
use common::plan::Plan;
use common::schema::Catalog;

use crate::connector::{self, Result};
use crate::secret::Secrets;
use crate::task::inspect;

/// What a job would find.
pub struct Preview {
    /// What the plan is made from.
    pub catalog: Catalog,
    /// Those of the catalog's notes that are about the target.
    pub target_notes: Vec<String>,
    /// What else would stop the job: tables that are at the target already.
    pub problems: Vec<Failure>,
}

/// Looks at both ends. `slots` is how many partitions the job's workers will copy at a time.
pub async fn preview(spec: &JobSpec, secrets: &Secrets, slots: u32) -> Result<Preview> {
    let source = connector::open(&spec.source, secrets)?;
    let target = connector::open(&spec.target, secrets)?;
    let mut seen = inspect::look(&*source, &*target, spec).await?;
    let problems = seen.in_the_way.take().into_iter().collect();
    let target_notes = seen.target_notes.clone();
    Ok(Preview {
        catalog: seen.catalog(&*source, spec, slots).await?,
        target_notes,
        problems,
    })
}

/// The statements that would define the plan's tables at an empty target, in order. Opens no
/// connection.
pub fn ddl(spec: &JobSpec, secrets: &Secrets, plan: &Plan) -> Result<Vec<String>> {
    Ok(connector::open(&spec.target, secrets)?.ddl(plan))
}
