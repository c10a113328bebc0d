//! What the leader observes of the cluster now: never logged, lost with the leader.

use std::collections::BTreeMap;

use crate::detect::Health;
use crate::directive::Progress;
use crate::epoch::Lease;
use crate::id::{Millis, WorkerId};

/// Input of `schedule` beside the state.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    pub now: Millis,
    /// Workers this leader knows, by health.
    pub workers: BTreeMap<WorkerId, WorkerView>,
}

/// One worker as last reported.
#[derive(Clone, Debug)]
pub struct WorkerView {
    pub health: Health,
    /// It asked for no more work.
    pub draining: bool,
    pub memory_bytes: u64,
    pub progress: BTreeMap<Lease, Progress>,
}
