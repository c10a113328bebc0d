//! Acts at the fault points of this process. Armed by `STERNA_FAULT`, read once; a point that
//! isn't armed costs one load. Only what a blocking caller can do: end, or wait.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use common::fault::{Action, Armed, Fault, parse};

struct Point {
    armed: Armed,
    passed: AtomicU32,
}

fn points() -> &'static [Point] {
    static POINTS: OnceLock<Vec<Point>> = OnceLock::new();
    POINTS.get_or_init(|| {
        let text = std::env::var("STERNA_FAULT").unwrap_or_default();
        let armed = parse(&text).unwrap_or_else(|error| {
            tracing::error!(%error, "STERNA_FAULT can't be read; no fault point is armed");
            Vec::new()
        });
        let passed = || AtomicU32::new(0);
        armed
            .into_iter()
            .map(|armed| Point {
                armed,
                passed: passed(),
            })
            .collect()
    })
}

/// Blocks or ends the process, if `fault` is armed.
pub(crate) fn hit(fault: Fault) {
    for point in points().iter().filter(|point| point.armed.fault == fault) {
        if point.passed.fetch_add(1, Ordering::Relaxed) + 1 != point.armed.after {
            continue;
        }
        match point.armed.action {
            // As kill -9 leaves it: nothing is flushed, nobody is told.
            Action::Exit => std::process::abort(),
            Action::Stall(ms) => std::thread::sleep(Duration::from_millis(ms)),
            Action::LoseAnswer => {}
        }
    }
}
