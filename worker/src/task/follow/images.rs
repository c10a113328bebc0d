//! The job's rules and the guards of the target's types on the rows of changes: what copied rows go
//! through, image by image. A row that leaves the filter is deleted, one that enters it inserted.

use std::collections::BTreeMap;

use common::change::net::{Net, Row, each};
use common::change::{ChangeBatch, ChangeCounts, Op};
use common::code::{Code, ErrorClass, Failure};
use common::id::TableNo;
use common::plan::TablePlan;
use common::transform::Transform;
use common::value::RowBatch;

use crate::connector::{Error, Result};
use crate::task::TaskContext;
use crate::task::shaped;

/// One table of the plan, as changes pass through it.
pub struct Table {
    pub plan: TablePlan,
    pub no: TableNo,
    /// Places of the change key in the rows that are written; empty = it has none.
    pub key: Vec<usize>,
    /// Columns of the rows that are written.
    pub columns: usize,
    transform: Option<Transform>,
}

/// A change that is ready to be gathered.
pub struct Image {
    pub op: Op,
    pub old: Option<Row>,
    pub new: Option<Row>,
    pub unchanged: Vec<u32>,
}

impl Table {
    pub fn new(ctx: &TaskContext, plan: TablePlan, no: TableNo) -> Result<Table> {
        let transform = shaped::transform(ctx, &plan)?;
        let rows = plan.rows();
        let names: Vec<&str> = rows.copied_columns().map(|c| c.name.as_str()).collect();
        let key = plan.change_key();
        let places = key
            .iter()
            .map(|name| names.iter().position(|known| known == name));
        let key: Option<Vec<usize>> = places.collect();
        let missing = || {
            let what = format!("the key of {} isn't among what is copied", rows.full_name());
            Error::permanent(Code::Internal, what)
        };
        Ok(Table {
            key: key.ok_or_else(missing)?,
            columns: names.len(),
            transform,
            plan,
            no,
        })
    }

    pub fn net(&self, strict: bool) -> Net {
        // What a filter let through before can't be known where only keys are logged.
        let filters = self.transform.as_ref().is_some_and(Transform::filters);
        Net::new(self.no, self.columns, self.key.clone(), strict && !filters)
    }

    /// The changes of a batch as they are applied, in order.
    pub fn images(&mut self, batch: &ChangeBatch, counts: &mut ChangeCounts) -> Result<Vec<Image>> {
        let mut images = Vec::with_capacity(batch.ops.len());
        for (op, old, new, unchanged) in each(batch) {
            match op {
                Op::Insert => counts.inserts += 1,
                Op::Update => counts.updates += 1,
                Op::Delete => counts.deletes += 1,
                Op::Truncate => {}
            }
            if self.key.is_empty() && (batch.old_is_key || !unchanged.is_empty()) {
                return Err(self.incomplete());
            }
            let image = Image {
                op,
                old,
                new,
                unchanged,
            };
            match self.transform.take() {
                None => images.push(image),
                Some(mut transform) => {
                    let shaped = self.shape(&mut transform, image, batch.old_is_key);
                    self.transform = Some(transform);
                    images.extend(shaped.map_err(permanent)?);
                }
            }
        }
        Ok(images)
    }

    fn incomplete(&self) -> Error {
        let table = self.plan.source.full_name();
        let what = format!("table {table} has no key, and its changes don't hold whole rows");
        Error::permanent(Code::LogUnusable, what)
    }

    fn shape(
        &self,
        transform: &mut Transform,
        image: Image,
        old_is_key: bool,
    ) -> std::result::Result<Option<Image>, Failure> {
        let Image {
            op,
            old,
            new,
            unchanged,
        } = image;
        if op == Op::Truncate {
            return Ok(Some(Image {
                op,
                old,
                new,
                unchanged,
            }));
        }
        if !unchanged.is_empty() && transform.looks_at_rows() {
            // What isn't logged can't be looked at; the source's server can be told to log it.
            let table = self.plan.source.full_name();
            let what = format!(
                "a change of {table} doesn't hold the large values it didn't touch, and the job's \
                 filter or computed columns need whole rows"
            );
            let fix =
                format!("ALTER TABLE {table} REPLICA IDENTITY FULL, then start the job again");
            return Err(Failure::new(Code::LogUnusable, what).fix(fix));
        }
        let key_only = |transform: &Transform, row: &Row| transform.key(row, &self.key);
        let old = match &old {
            None => None,
            Some(row) if old_is_key => Some(key_only(transform, row)?),
            Some(row) => transform.one(row)?,
        };
        let (new, unchanged) = match new {
            None => (None, unchanged),
            Some(row) => {
                let shaped = transform.one(&row)?;
                let places = unchanged
                    .iter()
                    .filter_map(|column| transform.place_of(*column));
                (shaped, places.collect())
            }
        };
        let op = match (&old, &new) {
            (None, None) => return Ok(None),
            (Some(_), None) => Op::Delete,
            (None, Some(_)) => Op::Insert,
            (Some(_), Some(_)) => Op::Update,
        };
        Ok(Some(Image {
            op,
            old,
            new,
            unchanged,
        }))
    }

    /// Rows read at the source, as they are written.
    pub fn rows(&mut self, batch: RowBatch) -> Result<RowBatch> {
        match &mut self.transform {
            Some(transform) => transform.apply(batch).map_err(permanent),
            None => Ok(batch),
        }
    }
}

/// All tables of a plan.
pub type Tables = BTreeMap<TableNo, Table>;

fn permanent(failure: Failure) -> Error {
    Error {
        class: ErrorClass::Permanent,
        failure,
    }
}
