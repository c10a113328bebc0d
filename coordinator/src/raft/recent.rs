//! The newest log entries in memory: each is read back at once, to be applied and to be sent to
//! every follower, and reading a large one takes longer than writing it.

use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

use super::types::LogEntry;

const ENTRIES_MAX: usize = 512;
const BYTES_MAX: usize = 32 << 20;

/// A run of entries without gaps, ending with the newest.
#[derive(Default)]
pub(crate) struct Recent {
    /// With their written size.
    entries: VecDeque<(LogEntry, usize)>,
    bytes: usize,
}

impl Recent {
    pub(crate) fn push(&mut self, entry: LogEntry, bytes: usize) {
        let next = self.entries.back().map(|(last, _)| last.log_id.index + 1);
        if next.is_some_and(|next| next != entry.log_id.index) {
            self.clear();
        }
        self.bytes += bytes;
        self.entries.push_back((entry, bytes));
        while self.entries.len() > ENTRIES_MAX || self.bytes > BYTES_MAX {
            match self.entries.pop_front() {
                Some((_, bytes)) => self.bytes -= bytes,
                None => break,
            }
        }
    }

    /// Entries were removed or replaced.
    pub(crate) fn clear(&mut self) {
        *self = Recent::default();
    }

    /// The range until `bytes_max` is passed, if all of it is here.
    pub(crate) fn get(
        &self,
        range: (Bound<u64>, Bound<u64>),
        bytes_max: usize,
    ) -> Option<Vec<LogEntry>> {
        let first = self.entries.front()?.0.log_id.index;
        let end = first + self.entries.len() as u64;
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(_) | Bound::Unbounded => return None,
        };
        let until = match range.end_bound() {
            Bound::Included(last) => last.checked_add(1)?,
            Bound::Excluded(until) => *until,
            Bound::Unbounded => end,
        };
        if from < first || until > end || from > until {
            return None;
        }
        let mut bytes = 0;
        let mut taken = Vec::new();
        for no in (from - first)..(until - first) {
            let (entry, size) = self.entries.get(usize::try_from(no).ok()?)?;
            taken.push(entry.clone());
            bytes += size;
            if bytes >= bytes_max {
                break;
            }
        }
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, EntryPayload};

    use super::super::types::LogId;
    use super::*;

    fn entry(index: u64) -> LogEntry {
        LogEntry {
            log_id: LogId::new(CommittedLeaderId::new(1, 1), index),
            payload: EntryPayload::Blank,
        }
    }

    fn indexes(recent: &Recent, from: u64, until: u64, bytes_max: usize) -> Option<Vec<u64>> {
        let range = (Bound::Included(from), Bound::Excluded(until));
        let entries = recent.get(range, bytes_max)?;
        Some(entries.iter().map(|entry| entry.log_id.index).collect())
    }

    #[test]
    fn only_a_whole_range_is_answered() {
        let mut recent = Recent::default();
        assert_eq!(indexes(&recent, 0, 1, 100), None);
        (5..9).for_each(|index| recent.push(entry(index), 10));
        assert_eq!(indexes(&recent, 5, 9, 100), Some(vec![5, 6, 7, 8]));
        assert_eq!(indexes(&recent, 6, 9, 20), Some(vec![6, 7]));
        assert_eq!(indexes(&recent, 4, 9, 100), None);
        assert_eq!(indexes(&recent, 6, 10, 100), None);
        recent.push(entry(20), 10);
        assert_eq!(indexes(&recent, 8, 9, 100), None, "a gap begins a new run");
        assert_eq!(indexes(&recent, 20, 21, 100), Some(vec![20]));
    }

    #[test]
    fn it_is_bounded() {
        let mut recent = Recent::default();
        (0..2_000).for_each(|index| recent.push(entry(index), 1));
        assert_eq!(recent.entries.len(), ENTRIES_MAX);
        recent.push(entry(2_000), BYTES_MAX);
        assert!(recent.bytes <= BYTES_MAX);
        recent.push(entry(2_001), BYTES_MAX + 1);
        assert!(recent.entries.is_empty());
    }
}
