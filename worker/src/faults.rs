//! Acts at the fault points of `common::fault`: ends the process, waits, or lies, as armed by the
//! environment variable `STERNA_FAULT`. Names and grammar are the core's.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::code::Code;
use common::fault::{self, Action, Armed, Fault};

use crate::connector::{Error, Result};

static ARMED: OnceLock<std::result::Result<Vec<Point>, String>> = OnceLock::new();

struct Point {
    armed: Armed,
    hits: AtomicU32,
}

/// Arms the points the environment names; a text that can't be read is an error, not silence.
pub fn arm_from_environment() -> std::result::Result<(), String> {
    let armed = ARMED.get_or_init(|| match std::env::var("STERNA_FAULT") {
        Ok(text) => points(&text),
        Err(_) => Ok(Vec::new()),
    });
    armed.as_ref().map(|_| ()).map_err(Clone::clone)
}

fn points(text: &str) -> std::result::Result<Vec<Point>, String> {
    let armed = fault::parse(text)?;
    let point = |armed| Point {
        armed,
        hits: AtomicU32::new(0),
    };
    Ok(armed.into_iter().map(point).collect())
}

/// Passes a fault point. An error means "the work was done, the answer got lost".
pub async fn point(fault: Fault) -> Result<()> {
    let Some(Ok(points)) = ARMED.get() else {
        return Ok(());
    };
    match hit(points, fault) {
        None => Ok(()),
        Some(Action::Exit) => {
            tracing::warn!(%fault, "armed fault: the process ends");
            std::process::abort();
        }
        Some(Action::Stall(ms)) => {
            tracing::warn!(%fault, ms, "armed fault: stall");
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(())
        }
        Some(Action::LoseAnswer) => {
            tracing::warn!(%fault, "armed fault: the answer is lost");
            let what = format!("the answer was lost at the fault point {fault}");
            Err(Error::transient(Code::Internal, what))
        }
    }
}

fn hit(points: &[Point], fault: Fault) -> Option<Action> {
    let mut action = None;
    for point in points.iter().filter(|point| point.armed.fault == fault) {
        if point.hits.fetch_add(1, Ordering::Relaxed) + 1 == point.armed.after {
            action = Some(point.armed.action);
        }
    }
    action
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_acts_once_at_its_turn() {
        let points = points("worker-mid-load=stall:5@2").expect("valid");
        let hits: Vec<_> = (0..4).map(|_| hit(&points, Fault::WorkerMidLoad)).collect();
        assert_eq!(hits, [None, Some(Action::Stall(5)), None, None]);
        assert_eq!(hit(&points, Fault::WorkerBeforeBegin), None);
    }
}
