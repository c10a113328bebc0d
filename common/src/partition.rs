//! The hash partitioner: `P_i = {x | H(x) mod N = i}`.
//!
//! Two kinds of H. **Bucketed** (any table with an orderable key): all rows of a bucket share
//! `H(x) = xxh3_64(job seed, table, bucket(x))`, so a partition is a few index range scans spread
//! over the key space and neighbouring ranges go to different workers. **By row**: `H` of the
//! canonical key itself, for tables that can't be cut by key and for sharded targets.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::bounds::Bounds;
use crate::schema::KeyRange;

/// H of a bucket.
pub fn hash_bucket(seed: u64, table: u32, bucket: u32) -> u64 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..12].copy_from_slice(&table.to_le_bytes());
    bytes[12..].copy_from_slice(&bucket.to_le_bytes());
    xxh3_64(&bytes)
}

/// H of a row: over its canonical key, encoded as a digest row (see [`crate::digest`]).
pub fn hash_row(seed: u64, canonical_key: &[u8]) -> u64 {
    xxh3_64_with_seed(canonical_key, seed)
}

/// The class i of `hash`, `0 <= i < n`.
pub fn class_of(hash: u64, n: u32) -> u32 {
    debug_assert!(n > 0);
    (hash % u64::from(n.max(1))) as u32
}

/// How a table's rows fall into partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Split {
    /// All rows are one partition, read in one scan.
    Whole,
    /// Buckets between `bounds`, hashed with `seed` into `n` classes.
    Bucketed {
        columns: Vec<String>,
        bounds: Bounds,
        n: u32,
        seed: u64,
    },
}

impl Split {
    /// N of the formula.
    pub fn n(&self) -> u32 {
        match self {
            Split::Whole => 1,
            Split::Bucketed { n, .. } => *n,
        }
    }

    pub fn buckets(&self) -> u32 {
        match self {
            Split::Whole => 1,
            Split::Bucketed { bounds, .. } => bounds.len() as u32 + 1,
        }
    }

    /// The half-open key range of one bucket. The first and the last are unbounded, and each
    /// begins where the one before ends: no key can fall between two.
    pub fn range(&self, bucket: u32) -> KeyRange {
        match self {
            Split::Whole => KeyRange::default(),
            Split::Bucketed { bounds, .. } => KeyRange {
                from: bucket
                    .checked_sub(1)
                    .and_then(|before| bounds.get(before as usize)),
                until: bounds.get(bucket as usize),
            },
        }
    }

    /// For each class that has at least one bucket: the class and its buckets, ascending.
    pub fn classes(&self, table: u32) -> Vec<(u32, Vec<u32>)> {
        let (n, seed) = match self {
            Split::Whole => (1, 0),
            Split::Bucketed { n, seed, .. } => (*n, *seed),
        };
        let mut by_class: Vec<Vec<u32>> = vec![Vec::new(); n as usize];
        for bucket in 0..self.buckets() {
            let class = class_of(hash_bucket(seed, table, bucket), n);
            by_class[class as usize].push(bucket);
        }
        (0..n)
            .zip(by_class)
            .filter(|(_, buckets)| !buckets.is_empty())
            .collect()
    }
}

/// Seeds tried for one table, and the tables small enough for that.
const SEEDS: u64 = 256;
const BUCKETS_TRIED_MAX: u32 = 4_096;

/// A seed under which `buckets` fall evenly into `n` classes. With few buckets a random one leaves
/// a third of the classes empty and others with three times their share, and the last partition to
/// end decides when the job ends; the best of some seeds costs microseconds.
pub fn even_seed(seed: u64, table: u32, buckets: u32, n: u32) -> u64 {
    if buckets > BUCKETS_TRIED_MAX {
        return seed;
    }
    let unevenness = |seed: u64| {
        let mut counts = vec![0u32; n as usize];
        for bucket in 0..buckets {
            counts[class_of(hash_bucket(seed, table, bucket), n) as usize] += 1;
        }
        let empty = counts.iter().filter(|count| **count == 0).count();
        (counts.into_iter().max(), empty)
    };
    let candidates = (0..SEEDS).map(|step| seed.wrapping_add(step));
    candidates
        .min_by_key(|candidate| unevenness(*candidate))
        .unwrap_or(seed)
}

/// N of a table: `ceil(bytes / partition_bytes)`, at least the number of slots for a table worth
/// splitting, never more than it has buckets.
pub fn partitions_of(bytes: u64, partition_bytes: u64, split_bytes_min: u64, slots: u32) -> u32 {
    let by_size = bytes
        .div_ceil(partition_bytes.max(1))
        .clamp(1, u64::from(u32::MAX)) as u32;
    if bytes < split_bytes_min {
        by_size
    } else {
        by_size.max(slots)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use crate::schema::KeyBound;

    use super::*;

    fn split(bounds: &[u32], n: u32, seed: u64) -> Split {
        let bounds = bounds
            .iter()
            .map(|b| KeyBound(vec![b.to_string()]))
            .collect();
        Split::Bucketed {
            columns: vec!["id".into()],
            bounds,
            n,
            seed,
        }
    }

    fn number(bound: &Option<KeyBound>) -> Option<u32> {
        bound.as_ref().map(|b| b.0[0].parse().expect("a number"))
    }

    proptest! {
        #[test]
        fn ranges_are_gap_free_and_every_key_is_in_exactly_one_partition(
            bounds in prop::collection::btree_set(0u32..1000, 0..40),
            n in 1u32..20, seed: u64, keys in prop::collection::vec(0u32..1000, 1..50),
        ) {
            let bounds: Vec<u32> = bounds.into_iter().collect();
            let split = split(&bounds, n, seed);
            let mut previous: Option<KeyBound> = None;
            for bucket in 0..split.buckets() {
                let range = split.range(bucket);
                prop_assert_eq!(range.from.is_none(), bucket == 0);
                prop_assert_eq!(&range.from, &previous);
                prop_assert_eq!(range.until.is_none(), bucket + 1 == split.buckets());
                previous = range.until;
            }
            let classes = split.classes(3);
            for key in keys {
                let holders = classes.iter().flat_map(|(class, buckets)| {
                    buckets.iter().filter(|bucket| {
                        let range = split.range(**bucket);
                        number(&range.from).is_none_or(|from| from <= key)
                            && number(&range.until).is_none_or(|until| key < until)
                    }).map(move |_| *class)
                });
                prop_assert_eq!(holders.count(), 1);
            }
            let all: BTreeSet<u32> = classes.iter().flat_map(|(_, b)| b.clone()).collect();
            prop_assert_eq!(all.len() as u32, split.buckets());
            for (class, buckets) in &classes {
                for bucket in buckets {
                    prop_assert_eq!(hash_bucket(seed, 3, *bucket) % u64::from(n), u64::from(*class));
                }
            }
        }

        #[test]
        fn a_row_hash_spreads_over_all_classes(seed: u64, n in 1u32..16) {
            let mut seen = BTreeSet::new();
            for key in 0u32..2000 {
                seen.insert(class_of(hash_row(seed, &key.to_be_bytes()), n));
            }
            prop_assert_eq!(seen.len() as u32, n);
        }
    }

    #[test]
    fn an_even_seed_spreads_few_buckets() {
        for n in [2u32, 3, 4, 6] {
            let seed = even_seed(7, 0, n, n);
            let bounds: Vec<u32> = (1..n).collect();
            let classes = split(&bounds, n, seed).classes(0);
            assert!(
                classes.len() as u32 + 1 >= n,
                "{n} buckets in {} classes",
                classes.len()
            );
        }
    }

    #[test]
    fn n_follows_size_and_slots() {
        let (partition, min) = (64 << 20, 8 << 20);
        assert_eq!(partitions_of(0, partition, min, 12), 1);
        assert_eq!(partitions_of(min - 1, partition, min, 12), 1);
        assert_eq!(partitions_of(min, partition, min, 12), 12);
        assert_eq!(partitions_of(10 << 30, partition, min, 12), 160);
    }
}
