//! Where partitions lie: the key ranges of one or of some together.

use crate::id::PartitionNo;
use crate::partition::Split;
use crate::plan::PartitionSpec;
use crate::schema::KeyRange;
use crate::state::Job;
use crate::task::Part;

impl Job {
    /// x of a partition.
    pub fn partition_spec(&self, no: PartitionNo) -> Option<PartitionSpec> {
        let end = PartitionNo(no.0 + 1);
        self.spec_of(Part { first: no, end })
    }

    /// x of some partitions of one table together.
    pub fn spec_of(&self, part: Part) -> Option<PartitionSpec> {
        let these = part.first.0 as usize..part.end.0 as usize;
        let layout = self.index.layout.get(these)?;
        let (table, class, _) = layout.first()?;
        let split = &self.plan.as_ref()?.table(*table).split;
        let mut buckets: Vec<u32> = layout.iter().flat_map(|(_, _, of)| of).copied().collect();
        buckets.sort_unstable();
        let (columns, ranges) = match split {
            Split::Whole => (Vec::new(), Vec::new()),
            Split::Bucketed { columns, .. } => (
                columns.clone(),
                merge(&buckets).map(|(a, b)| span(split, a, b)).collect(),
            ),
        };
        Some(PartitionSpec {
            partition: part.first,
            table: *table,
            class: *class,
            columns,
            ranges,
        })
    }
}

/// Runs of neighbouring buckets: one scan each.
fn merge(buckets: &[u32]) -> impl Iterator<Item = (u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for bucket in buckets {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *bucket => *last = *bucket,
            _ => runs.push((*bucket, *bucket)),
        }
    }
    runs.into_iter()
}

fn span(split: &Split, first: u32, last: u32) -> KeyRange {
    KeyRange {
        from: split.range(first).from,
        until: split.range(last).until,
    }
}
