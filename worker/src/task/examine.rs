//! Compares one range of a table at both ends, row by row.
//!
//! First both ends are folded into buckets by the key's hash, which needs the same memory for any
//! range. Only if buckets differ are the hashes of their rows read again and paired, a bounded
//! number at a time; what is left is looked at again, because either end may have been written to
//! meanwhile; and of what is a difference then, some rows are read to be told of.

mod again;
pub(crate) mod range;

use common::code::Code;
use common::limits::{DIFFERENCES_PER_RANGE, PAIRED_ROWS_MAX};
use common::plan::PartitionSpec;
use common::task::TaskResult;
use common::verify::fold::{Buckets, buckets_for};
use common::verify::pair::{Suspect, counts, pair};
use common::verify::{Class, Difference, Examined};

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
    let (mut examined, suspects) = compare(range).await?;
    let mut told: Vec<Suspect> = suspects;
    // What can be mended is told first.
    told.sort_by_key(|suspect| (suspect.class == Class::Representation, suspect.key));
    told.truncate(DIFFERENCES_PER_RANGE);
    examined.listed = list(range, &told).await?;
    Ok(examined)
}

/// Compares the range: what it came to, without the list, and every row that differs.
pub(crate) async fn compare(range: &Range<'_>) -> Result<(Examined, Vec<Suspect>)> {
    if let Some(same) = range.folded_by_servers().await? {
        let examined = Examined {
            at_source: same,
            at_target: same,
            ..Examined::default()
        };
        return Ok((examined, Vec::new()));
    }
    let count = buckets_for(range.rows_estimate());
    let fold = async |end: End| {
        let mut buckets = Buckets::new(count);
        range.hashes(end, |row| buckets.add(row)).await?;
        Ok::<_, Error>(buckets)
    };
    let (at_source, at_target) = tokio::try_join!(fold(End::Source), fold(End::Target))?;
    let mut examined = Examined {
        at_source: at_source.digest(),
        at_target: at_target.digest(),
        ..Examined::default()
    };
    let differing = at_source.differing(&at_target);
    if differing.is_empty() {
        return Ok((examined, Vec::new()));
    }
    let mut suspects = Vec::new();
    for group in groups(&differing, PAIRED_ROWS_MAX) {
        suspects.extend(paired(range, &at_source, &group).await?);
    }
    let suspects = again::look(range, suspects).await?;
    examined.counts = counts(&suspects);
    Ok((examined, suspects))
}

/// Runs of buckets with at most about `most` rows of both ends together.
fn groups(differing: &[(usize, u64)], most: u64) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut held = u64::MAX;
    for (place, rows) in differing {
        match groups.last_mut() {
            Some(group) if held.saturating_add(*rows) <= most => {
                group.push(*place);
                held += rows;
            }
            _ => {
                groups.push(vec![*place]);
                held = *rows;
            }
        }
    }
    groups
}

/// Reads the rows of some buckets again and pairs them.
async fn paired(range: &Range<'_>, like: &Buckets, group: &[usize]) -> Result<Vec<Suspect>> {
    let wanted: std::collections::HashSet<usize> = group.iter().copied().collect();
    let collect = async |end: End| {
        let mut rows = Vec::new();
        let keep = |row: common::verify::fold::Hashes| {
            if wanted.contains(&like.place(row.key)) {
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
async fn list(range: &Range<'_>, suspects: &[Suspect]) -> Result<Vec<Difference>> {
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
    use super::groups;

    #[test]
    fn groups_hold_a_bounded_number_of_rows() {
        let differing = [(1, 40), (2, 50), (5, 20), (7, 500), (9, 1)];
        let expected: Vec<Vec<usize>> = vec![vec![1, 2], vec![5], vec![7], vec![9]];
        assert_eq!(groups(&differing, 100), expected);
        assert!(groups(&[], 100).is_empty());
    }
}
