//! Compares one range of a table at both ends, row by row.
//!
//! First both ends are folded into buckets by the key's hash, which needs the same memory for any
//! range. Only if buckets differ are the hashes of their rows read again and paired, a bounded
//! number at a time; what is left is looked at again, because either end may have been written to
//! meanwhile; and of what is a difference then, some rows are read to be told of.

mod again;
pub(crate) mod range;

use std::collections::HashSet;

use common::code::Code;
use common::limits::{DIFFERENCES_PER_RANGE, PAIRED_ROWS_MAX};
use common::plan::PartitionSpec;
use common::task::TaskResult;
use common::verify::fold::{Buckets, Hashes, buckets_for};
use common::verify::pair::{Suspect, counts, pair};
use common::verify::{Difference, Examined};

use self::range::{End, Range};
use crate::connector::{Error, Result};
use crate::task::TaskContext;

pub async fn run(
    ctx: &TaskContext,
    spec: Option<PartitionSpec>,
    pace: Option<u64>,
) -> Result<TaskResult> {
    let Some(spec) = spec else {
        let what = "a range without bounds was ordered to be examined";
        return Err(Error::permanent(Code::Internal, what));
    };
    let table = ctx.table(spec.table)?;
    let range = Range::new(ctx, table, spec.columns, spec.ranges, pace)?;
    let examined = examine(&range).await?;
    Ok(TaskResult::Examined(Box::new(examined)))
}

/// Compares the range and tells of what differs.
pub(crate) async fn examine(range: &Range<'_>) -> Result<Examined> {
    let mut told = Vec::new();
    let mut comparison = Comparison::begin(range).await?;
    while let Some(suspects) = comparison.next().await? {
        let room = DIFFERENCES_PER_RANGE - told.len();
        told.extend(suspects.into_iter().take(room));
    }
    let mut examined = comparison.examined;
    examined.listed = list(range, &told).await?;
    Ok(examined)
}

/// A range whose differences are found part by part, so that their number doesn't matter.
pub(crate) struct Comparison<'a, 'b> {
    range: &'a Range<'b>,
    /// What was found so far, without a list.
    pub examined: Examined,
    like: Buckets,
    parts: Vec<Part>,
}

impl<'a, 'b> Comparison<'a, 'b> {
    /// Folds both ends.
    pub async fn begin(range: &'a Range<'b>) -> Result<Comparison<'a, 'b>> {
        let mut comparison = Comparison {
            range,
            examined: Examined::default(),
            like: Buckets::new(buckets_for(range.rows_estimate())),
            parts: Vec::new(),
        };
        if let Some(same) = range.folded_by_servers().await? {
            comparison.examined.at_source = same;
            comparison.examined.at_target = same;
            return Ok(comparison);
        }
        let fold = async |end: End| {
            let mut buckets = comparison.like.clone();
            range.hashes(end, |row| buckets.add(row)).await?;
            Ok::<_, Error>(buckets)
        };
        let (at_source, at_target) = tokio::try_join!(fold(End::Source), fold(End::Target))?;
        comparison.examined.at_source = at_source.digest();
        comparison.examined.at_target = at_target.digest();
        comparison.parts = parts(&at_source.differing(&at_target), PAIRED_ROWS_MAX);
        // Taken from the end.
        comparison.parts.reverse();
        Ok(comparison)
    }

    /// The next rows that differ, looked at again; None = there are no more.
    pub async fn next(&mut self) -> Result<Option<Vec<Suspect>>> {
        let Some(part) = self.parts.pop() else {
            return Ok(None);
        };
        let suspects = paired(self.range, &self.like, &part).await?;
        let suspects = again::look(self.range, suspects).await?;
        self.examined.counts.merge(&counts(&suspects));
        Ok(Some(suspects))
    }
}

/// Rows that are paired at a time: those of some buckets, or of one a slice by the key's hash.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    buckets: Vec<usize>,
    slice: u64,
    slices: u64,
}

/// Parts with at most about `most` rows of both ends together.
fn parts(differing: &[(usize, u64)], most: u64) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    let mut held = u64::MAX;
    for (place, rows) in differing {
        let slices = rows.div_ceil(most).max(1);
        match parts.last_mut() {
            Some(part) if held.saturating_add(*rows) <= most => {
                part.buckets.push(*place);
                held += rows;
            }
            _ => {
                parts.extend((0..slices).map(|slice| Part {
                    buckets: vec![*place],
                    slice,
                    slices,
                }));
                held = if slices > 1 { u64::MAX } else { *rows };
            }
        }
    }
    parts
}

/// Reads the rows of a part again and pairs them.
async fn paired(range: &Range<'_>, like: &Buckets, part: &Part) -> Result<Vec<Suspect>> {
    let wanted: HashSet<usize> = part.buckets.iter().copied().collect();
    let collect = async |end: End| {
        let mut rows = Vec::new();
        let keep = |row: Hashes| {
            let here = row.key as u64 % part.slices == part.slice;
            if here && wanted.contains(&like.place(row.key)) {
                rows.push(row);
            }
        };
        range.hashes(end, keep).await?;
        Ok::<_, Error>(rows)
    };
    let (mut source, mut target) = tokio::try_join!(collect(End::Source), collect(End::Target))?;
    Ok(pair(&mut source, &mut target))
}

/// Tells of some of the rows: their keys, columns and values.
pub(crate) async fn list(range: &Range<'_>, suspects: &[Suspect]) -> Result<Vec<Difference>> {
    if suspects.is_empty() {
        return Ok(Vec::new());
    }
    let (source, target) = tokio::try_join!(
        range.shown(End::Source, suspects),
        range.shown(End::Target, suspects)
    )?;
    let told = suspects.iter().map(|suspect| {
        let (one, two) = (source.get(&suspect.key), target.get(&suspect.key));
        range.tell(*suspect, one, two)
    });
    Ok(told.collect())
}

#[cfg(test)]
mod tests {
    use super::{Part, parts};

    #[test]
    fn parts_hold_a_bounded_number_of_rows() {
        let differing = [(1, 40), (2, 50), (5, 20), (7, 250), (9, 1)];
        let of = |buckets: &[usize], slice, slices| Part {
            buckets: buckets.to_vec(),
            slice,
            slices,
        };
        let expected = vec![
            of(&[1, 2], 0, 1),
            of(&[5], 0, 1),
            of(&[7], 0, 3),
            of(&[7], 1, 3),
            of(&[7], 2, 3),
            of(&[9], 0, 1),
        ];
        assert_eq!(parts(&differing, 100), expected);
        assert!(parts(&[], 100).is_empty());
    }
}
