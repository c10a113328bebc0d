//! Order-independent fingerprint of a set of rows.
//!
//! `Digest = (count, sum over rows of xxh3_128(row) mod 2^128)`, the row being its cells in column
//! order, each `0x00` for NULL or `tag, length (u64, little-endian), bytes`. A sum, never xor: two
//! equal rows would cancel out under xor, and `CONCAT`-style encodings without lengths make
//! different rows equal (both measured on real data). Digests of disjoint sets add up, so the
//! digest of a table is the sum over its partitions.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Count and sum of 128-bit row hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    pub rows: u64,
    #[serde(with = "hex128")]
    pub sum: u128,
}

impl Digest {
    /// Adds one row, given its encoded cells (see [`RowHasher`]).
    pub fn add_hash(&mut self, hash: u128) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(hash);
    }
}

impl Add for Digest {
    type Output = Digest;
    fn add(self, other: Digest) -> Digest {
        Digest {
            rows: self.rows + other.rows,
            sum: self.sum.wrapping_add(other.sum),
        }
    }
}

impl AddAssign for Digest {
    fn add_assign(&mut self, other: Digest) {
        *self = *self + other;
    }
}

impl Sub for Digest {
    type Output = Digest;
    fn sub(self, other: Digest) -> Digest {
        Digest {
            rows: self.rows.wrapping_sub(other.rows),
            sum: self.sum.wrapping_sub(other.sum),
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:032x}", self.rows, self.sum)
    }
}

/// Cells longer than this are hashed as they come instead of being copied together first.
const INLINE_BYTES_MAX: usize = 64 << 10;

/// Hashes one row at a time, reusing one buffer.
#[derive(Default)]
pub struct RowHasher {
    buffer: Vec<u8>,
    streaming: Option<Box<Xxh3>>,
}

impl RowHasher {
    /// Appends a NULL cell to the current row.
    pub fn null(&mut self) {
        self.write(&[0]);
    }

    /// Appends a cell: the canonical type's tag (never 0) and the canonical bytes.
    pub fn cell(&mut self, tag: u8, bytes: &[u8]) {
        debug_assert_ne!(tag, 0, "0 is the tag of NULL");
        self.write(&[tag]);
        self.write(&(bytes.len() as u64).to_le_bytes());
        self.write(bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(hasher) = &mut self.streaming {
            hasher.update(bytes);
        } else if self.buffer.len() + bytes.len() > INLINE_BYTES_MAX {
            let mut hasher = Box::new(Xxh3::new());
            hasher.update(&self.buffer);
            hasher.update(bytes);
            self.buffer.clear();
            self.streaming = Some(hasher);
        } else {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Ends the row and returns its hash; the next cell starts a new row.
    pub fn finish(&mut self) -> u128 {
        match self.streaming.take() {
            Some(hasher) => hasher.digest128(),
            None => {
                let hash = xxh3_128(&self.buffer);
                self.buffer.clear();
                hash
            }
        }
    }
}

/// 128-bit sums as 32 hex digits in text formats (JSON has no such number), 16 bytes in binary ones.
mod hex128 {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(sum: &u128, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() {
            s.serialize_str(&format!("{sum:032x}"))
        } else {
            s.serialize_bytes(&sum.to_be_bytes())
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<u128, D::Error> {
        if d.is_human_readable() {
            let text = String::deserialize(d)?;
            u128::from_str_radix(&text, 16).map_err(D::Error::custom)
        } else {
            d.deserialize_bytes(Sixteen)
        }
    }

    struct Sixteen;
    impl serde::de::Visitor<'_> for Sixteen {
        type Value = u128;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("16 bytes")
        }
        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<u128, E> {
            let bytes = bytes
                .try_into()
                .map_err(|_| E::invalid_length(bytes.len(), &self))?;
            Ok(u128::from_be_bytes(bytes))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: &[Option<&[u8]>]) -> u128 {
        let mut hasher = RowHasher::default();
        for cell in cells {
            match cell {
                Some(bytes) => hasher.cell(1, bytes),
                None => hasher.null(),
            }
        }
        hasher.finish()
    }

    fn digest(rows: &[u128]) -> Digest {
        let mut digest = Digest::default();
        rows.iter().for_each(|hash| digest.add_hash(*hash));
        digest
    }

    #[test]
    fn order_does_not_matter_and_everything_else_does() {
        let (a, b) = (row(&[Some(b"a"), None]), row(&[Some(b"b"), Some(b"")]));
        assert_eq!(digest(&[a, b]), digest(&[b, a]));
        assert_ne!(
            digest(&[a, a]),
            digest(&[]),
            "two equal rows must not cancel out"
        );
        assert_ne!(
            row(&[Some(b"ab"), Some(b"c")]),
            row(&[Some(b"a"), Some(b"bc")])
        );
        assert_ne!(row(&[Some(b"")]), row(&[None]));
        assert_eq!(digest(&[a]) + digest(&[b]), digest(&[a, b]));
        assert_eq!(digest(&[a, b]) - digest(&[b]), digest(&[a]));
    }

    #[test]
    fn long_cells_hash_the_same_whole_or_in_pieces() {
        let long = vec![7u8; INLINE_BYTES_MAX * 2];
        let mut whole = vec![1u8];
        whole.extend_from_slice(&(long.len() as u64).to_le_bytes());
        whole.extend_from_slice(&long);
        assert_eq!(row(&[Some(&long)]), xxh3_128(&whole));
        let mut hasher = RowHasher::default();
        hasher.cell(1, &long);
        hasher.finish();
        hasher.cell(1, b"a");
        assert_eq!(
            hasher.finish(),
            row(&[Some(b"a")]),
            "a long row leaves nothing behind"
        );
    }
}
