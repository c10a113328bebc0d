//! The worker's metrics: counted here, exposed as OpenMetrics text. No label holds a value of a
//! row, a password or an address.

use std::sync::atomic::AtomicU64;

use common::directive::Outcome;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Labels = Vec<(&'static str, &'static str)>;

/// The end rows were counted at.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    Read,
    Written,
    /// Read, and not written because the job's filter is not true for them.
    LeftOut,
}

/// All metrics of one worker.
pub struct Metrics {
    registry: Registry,
    rows: Family<Labels, Counter>,
    bytes: Family<Labels, Counter>,
    units: Family<Labels, Counter>,
    running: Gauge,
    sessions: Counter,
    stale: Counter,
    self_stops: Counter,
    memory: Gauge<u64, AtomicU64>,
}

impl Metrics {
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("sterna_worker");
        let (rows, bytes, units) = (Family::default(), Family::default(), Family::default());
        let (running, memory) = (Gauge::default(), Gauge::default());
        let (sessions, stale) = (Counter::default(), Counter::default());
        let self_stops = Counter::default();
        registry.register(
            "rows",
            "Rows read, written, and left out by a filter",
            Family::clone(&rows),
        );
        registry.register("cell_bytes", "Bytes of their cells", Family::clone(&bytes));
        let help = "Units that ended, by kind and outcome";
        registry.register("units", help, Family::clone(&units));
        registry.register(
            "units_running",
            "Units that run now",
            Gauge::clone(&running),
        );
        let help = "Times this worker attached to a leader";
        registry.register("sessions", help, Counter::clone(&sessions));
        let help = "Directives of an older term, ignored";
        registry.register("stale_directives", help, Counter::clone(&stale));
        let help = "Times all work was stopped because no leader was heard";
        registry.register("self_stops", help, Counter::clone(&self_stops));
        let help = "Resident memory of the process, bytes";
        registry.register("resident_memory_bytes", help, memory.clone());
        Metrics {
            registry,
            rows,
            bytes,
            units,
            running,
            sessions,
            stale,
            self_stops,
            memory,
        }
    }

    pub fn add_rows(&self, side: Side, rows: u64, bytes: u64) {
        let side = match side {
            Side::Read => "read",
            Side::Written => "written",
            Side::LeftOut => "left_out",
        };
        let labels = vec![("side", side)];
        self.rows.get_or_create(&labels).inc_by(rows);
        self.bytes.get_or_create(&labels).inc_by(bytes);
    }

    pub fn unit_started(&self) {
        self.running.inc();
    }

    /// `outcome` None = a prepared transaction was left to whoever is told to commit it.
    pub fn unit_ended(&self, kind: &'static str, outcome: Option<&Outcome>) {
        self.running.dec();
        let outcome = match outcome {
            None => "left",
            Some(Outcome::Prepared(_)) => "prepared",
            Some(Outcome::Committed(_)) => "committed",
            Some(Outcome::Task(_)) => "done",
            Some(Outcome::Failed { .. }) => "failed",
            Some(Outcome::Released) => "released",
        };
        let labels = vec![("kind", kind), ("outcome", outcome)];
        self.units.get_or_create(&labels).inc();
    }

    pub fn session_opened(&self) {
        self.sessions.inc();
    }

    pub fn stale_directives(&self) {
        self.stale.inc();
    }

    pub fn self_stopped(&self) {
        self.self_stops.inc();
    }

    pub fn rows_written(&self) -> u64 {
        let labels = vec![("side", "written")];
        self.rows.get_or_create(&labels).get()
    }

    /// OpenMetrics text.
    pub fn text(&self) -> String {
        self.memory.set(resident_bytes());
        let mut text = String::new();
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}

/// Resident memory of this process; 0 where the system doesn't tell.
pub fn resident_bytes() -> u64 {
    const PAGE_BYTES: u64 = 4096;
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else {
        return 0;
    };
    let pages = statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * PAGE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_what_was_counted() {
        let metrics = Metrics::new();
        metrics.add_rows(Side::Written, 3, 30);
        metrics.unit_started();
        metrics.unit_ended("partition", Some(&Outcome::Released));
        let text = metrics.text();
        assert!(
            text.contains(r#"sterna_worker_rows_total{side="written"} 3"#),
            "{text}"
        );
        let units = r#"sterna_worker_units_total{kind="partition",outcome="released"} 1"#;
        assert!(text.contains(units), "{text}");
        assert_eq!(metrics.rows_written(), 3);
        assert!(resident_bytes() > 0);
    }
}
