//! The events of the state as a stream of JSON lines: the present ones, and with `follow` those
//! to come. Read in small pieces, so that a long journal is neither copied at once nor keeps the
//! state locked.

use std::collections::VecDeque;

use common::id::JobId;
use common::state::State;
use common::status::event_line;
use futures::{Stream, stream};
use proto::v1;
use tokio::sync::watch;
use tonic::Status;

use crate::shared::Shared;

/// Events read under one lock.
const PIECE: usize = 256;

/// Where one reader is.
pub(crate) struct Reader {
    shared: Shared,
    applied: watch::Receiver<u64>,
    after: u64,
    job: Option<JobId>,
    follow: bool,
    lines: VecDeque<Vec<u8>>,
}

impl Reader {
    pub fn new(shared: Shared, after: u64, job: Option<JobId>, follow: bool) -> Reader {
        Reader {
            applied: shared.consensus.applied(),
            shared,
            after,
            job,
            follow,
            lines: VecDeque::new(),
        }
    }

    pub fn stream(self) -> impl Stream<Item = Result<v1::JsonReply, Status>> + Send {
        stream::unfold(self, |mut reader| async move {
            let json = reader.next().await?;
            Some((Ok(v1::JsonReply { json }), reader))
        })
    }

    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            self.applied.borrow_and_update();
            if self.fill() {
                continue;
            }
            if !self.follow {
                return None;
            }
            tokio::select! {
                () = self.shared.stop.cancelled() => return None,
                changed = self.applied.changed() => if changed.is_err() { return None },
            }
        }
    }

    /// Reads the next piece; false if there is none.
    fn fill(&mut self) -> bool {
        let (after, job) = (self.after, self.job);
        let (read, lines) = self.shared.consensus.with_state(|state: &State| {
            let mut lines = VecDeque::new();
            let mut read = after;
            for event in state.events_after(after).take(PIECE) {
                read = event.seq;
                if job.is_none() || event.job == job {
                    lines.push_back(proto::to_json(&event_line(state, event)));
                }
            }
            (read, lines)
        });
        let any = read > after;
        self.after = read;
        self.lines = lines;
        any
    }
}
