//! The digest of rows that pass by, as the source's canonical types define it: the same for a
//! copy and for reading either end again.

use common::digest::{Digest, RowHasher};
use common::limits;
use common::plan::Loaded;
use common::schema::{CellForm, TableSchema};
use common::value::{DigestColumn, RowBatch};

use crate::connector::{Error, Result};

/// Digest and size of what was read so far.
pub struct Fingerprint {
    columns: Vec<DigestColumn>,
    hasher: RowHasher,
    digest: Digest,
    bytes: u64,
}

impl Fingerprint {
    /// `rows` is [`common::plan::TablePlan::rows`], on whichever end they are read.
    pub fn new(rows: &TableSchema, form: CellForm) -> Fingerprint {
        let columns = rows.copied_columns();
        Fingerprint {
            columns: columns
                .map(|column| DigestColumn::new(&column.canonical, form))
                .collect(),
            hasher: RowHasher::default(),
            digest: Digest::default(),
            bytes: 0,
        }
    }

    /// Adds a batch and hands it back. A huge one is hashed off the async threads: a gigabyte
    /// takes a tenth of a second and more.
    pub async fn add(mut self, batch: RowBatch) -> Result<(Fingerprint, RowBatch)> {
        if batch.columns() != self.columns.len() {
            let what = format!(
                "a reader yields {} columns where the plan has {}",
                batch.columns(),
                self.columns.len()
            );
            return Err(Error::permanent(common::code::Code::Internal, what));
        }
        if batch.bytes() <= limits::BATCHES_IN_FLIGHT * limits::BATCH_BYTES {
            self.add_now(&batch);
            return Ok((self, batch));
        }
        let hashed = tokio::task::spawn_blocking(move || {
            self.add_now(&batch);
            (self, batch)
        });
        hashed.await.map_err(|_| {
            Error::transient(
                common::code::Code::Internal,
                "hashing a batch was cut short",
            )
        })
    }

    fn add_now(&mut self, batch: &RowBatch) {
        batch.digest_into(&self.columns, &mut self.hasher, &mut self.digest);
        self.bytes += batch.bytes() as u64;
    }

    pub fn finish(self) -> Loaded {
        Loaded {
            bytes: self.bytes,
            digest: self.digest,
        }
    }
}
