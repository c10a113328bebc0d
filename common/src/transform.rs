//! Rows on their way from the source's columns to the ones that are written: the job's rules, and
//! the values the target can't hold. What is written is what is digested.

use std::collections::BTreeMap;

use crate::code::Failure;
use crate::plan::TablePlan;
use crate::value::RowBatch;

/// The changes to one table's rows, ready to be made.
#[derive(Debug)]
pub struct Transform {}

impl Transform {
    /// None = rows travel as they are read. `salts` holds the salt of each masked column (by the
    /// source's name), read where the rows are.
    pub fn compile(
        _table: &TablePlan,
        _salts: &BTreeMap<String, Vec<u8>>,
    ) -> Result<Option<Transform>, Failure> {
        Ok(None)
    }

    /// The batch as it goes on; may have fewer rows, and none at all.
    pub fn apply(&mut self, batch: RowBatch) -> Result<RowBatch, Failure> {
        Ok(batch)
    }
}
