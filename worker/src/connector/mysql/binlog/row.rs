//! Row events to cells of the plan.

use common::change::ChangeBatch;
use common::code::Code;
use common::id::TableNo;
use common::plan::TablePlan;
use mysql_common::binlog::events::{RowsEventData, TableMapEvent};

use crate::connector::{Error, Result};

/// Decodes the row events of one table.
pub struct RowDecoder;

impl RowDecoder {
    pub fn new(_table: &TablePlan, _no: TableNo, _mariadb: bool) -> Result<RowDecoder> {
        Err(Error::permanent(Code::NotBuilt, "decoding row events"))
    }

    /// Appends the event's rows to a batch of this table.
    pub fn decode(
        &mut self,
        _map: &TableMapEvent<'_>,
        _rows: &RowsEventData<'_>,
        _batch: &mut ChangeBatch,
    ) -> Result<()> {
        Err(Error::permanent(Code::NotBuilt, "decoding row events"))
    }
}
