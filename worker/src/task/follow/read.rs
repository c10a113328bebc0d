//! Reads a stream in a task of its own, so that the log is decoded while the target writes.

use std::sync::Arc;

use common::change::Position;
use common::code::Code;
use common::limits;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use crate::connector::changes::Event;
use crate::connector::{ChangeStream, Error, Result};

/// An event, and the memory it was allowed until it is taken.
type Weighed = (Event, OwnedSemaphorePermit);

/// The events of a stream, and where to say what is safe in the target.
pub struct Reading {
    events: mpsc::Receiver<Weighed>,
    safe: watch::Sender<Option<Position>>,
    task: JoinSet<Result<()>>,
}

impl Reading {
    pub fn start(stream: Box<dyn ChangeStream>) -> Reading {
        let (sender, events) = mpsc::channel(limits::FOLLOW_EVENTS_QUEUE);
        let (safe, said) = watch::channel(None);
        let mut task = JoinSet::new();
        task.spawn(pump(stream, sender, said));
        Reading { events, safe, task }
    }

    /// Waits for the next event; an error ends the stream.
    pub async fn next(&mut self) -> Result<Event> {
        if let Some(event) = self.event().await {
            return Ok(event);
        }
        let cut = || Error::transient(Code::Internal, "the stream of changes was cut short");
        match self.task.join_next().await {
            Some(Ok(Err(error))) => Err(error),
            _ => Err(cut()),
        }
    }

    /// Waits for the next event; None = the stream ended. Cancel safe.
    pub async fn event(&mut self) -> Option<Event> {
        self.events.recv().await.map(|(event, _)| event)
    }

    /// The next event, if one is there.
    pub fn at_hand(&mut self) -> Option<Event> {
        self.events.try_recv().ok().map(|(event, _)| event)
    }

    pub fn confirm(&self, position: &Position) {
        // The reader is gone only with its stream.
        let _ = self.safe.send(Some(position.clone()));
    }

    /// Hands the last confirmation on, and ends the stream.
    pub async fn end(mut self) {
        self.task.shutdown().await;
    }
}

async fn pump(
    mut stream: Box<dyn ChangeStream>,
    events: mpsc::Sender<Weighed>,
    mut safe: watch::Receiver<Option<Position>>,
) -> Result<()> {
    let budget = Arc::new(Semaphore::new(limits::FOLLOW_AHEAD_BYTES));
    loop {
        let event = stream.next().await?;
        let weight = match &event {
            Event::Rows(batch) => batch.rows.bytes().clamp(1, limits::FOLLOW_AHEAD_BYTES),
            _ => 1,
        };
        let permit = Arc::clone(&budget).acquire_many_owned(weight as u32).await;
        let Ok(permit) = permit else {
            return Ok(());
        };
        if events.send((event, permit)).await.is_err() {
            return Ok(());
        }
        if safe.has_changed().unwrap_or(false) {
            let position = safe.borrow_and_update().clone();
            if let Some(position) = position {
                stream.confirm(&position).await?;
            }
        }
    }
}
