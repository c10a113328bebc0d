//! When a coordinator calls an election, and how long it waits for others.
//!
//! The library draws its election timeout once and adds its leader lease (the band's upper end) to
//! it while a leader was known; a voter refuses candidates for as long as its own lease. So bands
//! are spaced by rank, to keep two members from standing at once, and close together, to keep the
//! lease of the last from outliving the patience of the first. With three members the first
//! candidate stands 0.95 to 1.4 s after the leader's last word.

use std::collections::BTreeSet;
use std::time::Duration;

use common::limits::REPORT_INTERVAL_MS;
use openraft::{Config, SnapshotPolicy};

use super::types::Metrics;

/// The library ticks every one and a half of these.
pub(crate) const HEARTBEAT_MS: u64 = 150;
const ELECTION_MS: u64 = 450;
const BAND_MS: u64 = 40;
const BAND_SPACING_MS: u64 = 90;
/// More members than this share bands.
const RANKS: u64 = 7;

/// A connection attempt to another coordinator.
pub(crate) const CONNECT_DEADLINE: Duration = Duration::from_millis(500);
/// A question to another coordinator.
pub(crate) const ASK_DEADLINE: Duration = Duration::from_millis(500);
/// One message of entries. The library gives up after a heartbeat and asks again; the message
/// itself goes on, or a large one would never arrive.
pub(crate) const APPEND_DEADLINE: Duration = Duration::from_secs(20);
/// A whole snapshot, sent and installed.
pub(crate) const SNAPSHOT_DEADLINE: Duration = Duration::from_secs(120);
/// Until a proposal is applied.
pub(crate) const PROPOSE_DEADLINE: Duration = Duration::from_secs(10);
/// Until a quorum has confirmed who leads.
pub(crate) const CONFIRM_DEADLINE: Duration = Duration::from_secs(2);
/// Between two attempts at that.
pub(crate) const CONFIRM_PAUSE: Duration = Duration::from_millis(30);
/// Until a change of the membership is applied.
pub(crate) const MEMBERSHIP_DEADLINE: Duration = Duration::from_secs(10);
/// Until a new member has what the others have.
pub(crate) const CATCH_UP_DEADLINE: Duration = Duration::from_secs(60);
/// Until another member has taken over.
pub(crate) const TRANSFER_DEADLINE: Duration = Duration::from_secs(3);
/// Attempts of the successor. A leader of long standing votes for it at once; its own lease, if it
/// was elected just now, and those of the others have run out by the last.
pub(crate) const TAKE_LEAD_ATTEMPTS: u32 = 9;
pub(crate) const TAKE_LEAD_WAIT: Duration = Duration::from_millis(250);
/// Between two looks at the addresses given to `--join`.
pub(crate) const IDENTIFY_INTERVAL: Duration = Duration::from_millis(REPORT_INTERVAL_MS);
/// A leader that spoke this lately is there, however long its last entry takes to write.
pub(crate) const LEADER_NEAR: Duration = Duration::from_millis(600);
/// A leader that no quorum has answered for this long no longer counts as leading.
pub(crate) const QUORUM_SILENCE_MS: u64 = 1_500;
/// After this long without a leader the watchdog calls an election, whatever the timers say.
pub(crate) const WATCHDOG_AFTER: Duration = Duration::from_millis(3_000);
/// The watchdog waits up to this much more, at random, so that two don't bark together.
pub(crate) const WATCHDOG_JITTER_MS: u64 = 800;
/// Between two looks of the watchdog.
pub(crate) const WATCHDOG_INTERVAL: Duration = Duration::from_millis(150);

/// Bytes appended since the last compaction that call for the next one, however few entries.
pub(crate) const LOG_BYTES_MAX: u64 = 128 << 20;
/// Entries kept behind a snapshot for members that are a little behind.
const KEEP_MAX: u64 = 500;

/// The library's configuration for the member of that rank.
pub(crate) fn config(rank: u64, snapshot_every: u64) -> Config {
    let every = snapshot_every.max(1);
    let election_timeout_min = ELECTION_MS + BAND_SPACING_MS * (rank % RANKS);
    Config {
        cluster_name: "sterna".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min,
        election_timeout_max: election_timeout_min + BAND_MS,
        install_snapshot_timeout: SNAPSHOT_DEADLINE.as_millis() as u64,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(every),
        max_in_snapshot_log_to_keep: (every / 4).min(KEEP_MAX),
        replication_lag_threshold: every.saturating_mul(2),
        purge_batch_size: 1,
        ..Config::default()
    }
}

/// The place of `own` among `all`: of its name among the members, or, before they are known, of its
/// address among those it was told to join.
pub(crate) fn rank<'a>(own: &str, all: impl Iterator<Item = &'a str>) -> u64 {
    let before: BTreeSet<&str> = all.filter(|other| *other < own).collect();
    before.len() as u64
}

/// A number nobody can foresee, below `below`.
pub(crate) fn random(below: u64) -> u64 {
    let (_, low) = uuid::Uuid::now_v7().as_u64_pair();
    low % below.max(1)
}

/// This node leads in the term of its vote, and a quorum has answered it lately.
pub(crate) fn is_leading(metrics: &Metrics) -> bool {
    metrics.running_state.is_ok()
        && metrics.state == openraft::ServerState::Leader
        && metrics
            .millis_since_quorum_ack
            .is_some_and(|ms| ms < QUORUM_SILENCE_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands_do_not_overlap_and_no_lease_outlives_the_first_candidate() {
        let bands: Vec<_> = (0..5).map(|rank| config(rank, 5_000)).collect();
        for pair in bands.windows(2) {
            assert!(pair[0].election_timeout_max < pair[1].election_timeout_min);
        }
        let first = bands[0].election_timeout_max + bands[0].election_timeout_min;
        assert!(bands.iter().all(|band| band.election_timeout_max < first));
        for band in bands {
            band.validate().expect("a valid configuration");
        }
    }

    #[test]
    fn ranks_follow_the_names() {
        let members = ["c3", "c1", "c2"];
        let ranks: Vec<_> = members
            .iter()
            .map(|name| rank(name, members.into_iter()))
            .collect();
        assert_eq!(ranks, [2, 0, 1]);
        assert_eq!(rank("c1", [].into_iter()), 0);
    }
}
