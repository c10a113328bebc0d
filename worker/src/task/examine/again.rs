//! Rows that differed are looked at again: between reading the one end and the other, either may
//! have been written to.
//!
//! A row that is the same at both ends by then is equal. One that both ends hold as they did at the
//! look before is a difference. What keeps changing is in flight: neither is proven.
//!
//! Where a job follows, a round reads the source, waits until the target stands for what the
//! source's log held then, reads the target, and reads the source again: a row is equal if the
//! target has it as the source had it before or after, and differs only if the source held it
//! unchanged around the target's reading, at two rounds alike. A difference is one as of that
//! position, not of a moment between.

use std::collections::BTreeMap;
use std::time::Duration;

use common::id::JobUid;
use common::job::Purpose;
use common::limits::{LOOK_AGAIN_MS, LOOK_AGAIN_ROUNDS, POSITION_WAIT_MS};
use common::verify::Class;
use common::verify::pair::{Rows, Suspect, classes, state};
use tokio::time::{Instant, sleep};

use super::range::{End, Range};
use crate::connector::Result;

/// The suspects that are differences, and those of which nothing is proven.
pub async fn look(range: &Range<'_>, suspects: Vec<Suspect>) -> Result<Vec<Suspect>> {
    let representation = |suspect: &&Suspect| suspect.class == Class::Representation;
    let mut settled: Vec<Suspect> = suspects.iter().filter(representation).copied().collect();
    let following = match &range.ctx.job.spec.purpose {
        Purpose::Verify(options) => options.following.clone(),
        _ => None,
    };
    // What was held at the look before; where the target follows, the first look proves nothing.
    let mut open: BTreeMap<u128, Option<u128>> = { suspects.iter() }
        .filter(|suspect| !representation(suspect))
        .map(|suspect| (suspect.key, following.is_none().then_some(suspect.state)))
        .collect();
    for round in 0..LOOK_AGAIN_ROUNDS {
        if open.is_empty() {
            break;
        }
        if round > 0 {
            sleep(Duration::from_millis(LOOK_AGAIN_MS)).await;
        }
        // A target that lags too far behind proves nothing.
        let Some(seen) = read(range, following.as_ref(), &open).await? else {
            break;
        };
        open.retain(|key, last| {
            let [one, two, three] = [0, 1, 2].map(|at| seen.rows(at, *key));
            if one == two || two == three {
                return false;
            }
            let now = state(&one, &two);
            if one == three && *last == Some(now) {
                settled.extend(classes(*key, &one, &two));
                return false;
            }
            *last = Some(now);
            true
        });
    }
    settled.extend(open.keys().map(|key| Suspect {
        class: Class::InFlight,
        key: *key,
        copies: 1,
        state: 0,
    }));
    Ok(settled)
}

/// (key, row) of open keys, sorted: the source before, the target, the source after; where nobody
/// follows the first stands for the third.
struct Seen(Vec<Vec<(u128, u128)>>);

impl Seen {
    fn rows(&self, at: usize, key: u128) -> Rows {
        let rows = self.0.get(at).unwrap_or(&self.0[0]);
        let first = rows.partition_point(|row| row.0 < key);
        let mut found = Rows::new();
        for (_, row) in rows[first..].iter().take_while(|row| row.0 == key) {
            *found.entry(*row).or_default() += 1;
        }
        found
    }
}

/// None: the target didn't get to where it had to.
async fn read(
    range: &Range<'_>,
    following: Option<&JobUid>,
    open: &BTreeMap<u128, Option<u128>>,
) -> Result<Option<Seen>> {
    let Some(job) = following else {
        let (source, target) = tokio::try_join!(
            rows_of(range, End::Source, open),
            rows_of(range, End::Target, open)
        )?;
        return Ok(Some(Seen(vec![source, target])));
    };
    let before = rows_of(range, End::Source, open).await?;
    if !is_at_target(range, job).await? {
        return Ok(None);
    }
    let target = rows_of(range, End::Target, open).await?;
    let after = rows_of(range, End::Source, open).await?;
    Ok(Some(Seen(vec![before, target, after])))
}

async fn rows_of(
    range: &Range<'_>,
    end: End,
    open: &BTreeMap<u128, Option<u128>>,
) -> Result<Vec<(u128, u128)>> {
    let mut found = Vec::new();
    let keep = |row: common::verify::fold::Hashes| {
        if open.contains_key(&row.key) {
            found.push((row.key, row.row));
        }
    };
    range.hashes(end, keep).await?;
    found.sort_unstable();
    Ok(found)
}

/// Waits until the target stands for what the source's log holds now; false = it didn't in time.
async fn is_at_target(range: &Range<'_>, job: &JobUid) -> Result<bool> {
    let end = range.ctx.source()?.log_end().await?;
    let target = range.ctx.target()?;
    let deadline = Instant::now() + Duration::from_millis(POSITION_WAIT_MS);
    while Instant::now() < deadline {
        let mark = target.follow_mark(job).await?;
        if mark.is_some_and(|mark| mark.position.order >= end.order) {
            return Ok(true);
        }
        sleep(Duration::from_millis(50)).await;
    }
    tracing::info!(
        position = end.text,
        "the job that follows didn't get there in time"
    );
    Ok(false)
}
