//! What came of the cells: the table for people, the JSON for the closing note.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::kinds;
use super::matrix::Cell;
use super::phase::Phase;
use super::scene::Report;

/// How a cell ended.
pub enum Outcome {
    Done(Report),
    /// Not to be had on this machine.
    Skipped,
    Violated(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done(report) => {
                let recovery = report.recovery.unwrap_or_default().as_secs_f64();
                let (redone, all) = (report.redone, report.partitions);
                write!(
                    f,
                    "exact, {redone} of {all} redone, recovery {recovery:.2} s"
                )
            }
            Outcome::Skipped => write!(f, "skipped"),
            Outcome::Violated(why) => {
                let why: String = why.chars().take(600).collect();
                write!(f, "VIOLATED: {why}")
            }
        }
    }
}

#[derive(Default)]
pub struct Tally {
    cells: Vec<(Cell, Outcome)>,
}

/// One fault's figures.
#[derive(Default)]
struct Row {
    runs: BTreeMap<Phase, u32>,
    skipped: u32,
    violated: u32,
    redone: u64,
    partitions: u64,
    recovery: Vec<Duration>,
}

impl Tally {
    pub fn add(&mut self, cell: Cell, outcome: Outcome) {
        self.cells.push((cell, outcome));
    }

    /// What went wrong, with the line that repeats it.
    pub fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (cell, outcome) in &self.cells {
            if let Outcome::Violated(_) = outcome {
                found.push(format!("{outcome}\n  again: {}", cell.again()));
            }
        }
        found
    }

    fn rows(&self) -> BTreeMap<&'static str, Row> {
        let mut rows: BTreeMap<&'static str, Row> = BTreeMap::new();
        for (cell, outcome) in &self.cells {
            let row = rows.entry(cell.fault.name()).or_default();
            match outcome {
                Outcome::Skipped => row.skipped += 1,
                Outcome::Violated(_) => {
                    row.violated += 1;
                    *row.runs.entry(cell.phase).or_default() += 1;
                }
                Outcome::Done(report) => {
                    *row.runs.entry(cell.phase).or_default() += 1;
                    row.redone += report.redone;
                    row.partitions += report.partitions;
                    row.recovery.extend(report.recovery);
                }
            }
        }
        for row in rows.values_mut() {
            row.recovery.sort_unstable();
        }
        rows
    }

    pub fn json(&self) -> Value {
        let rows = self.rows();
        let faults = rows.iter().map(|(name, row)| {
            let runs = row.runs.iter();
            let runs: BTreeMap<_, _> = runs.map(|(phase, n)| (phase.name(), *n)).collect();
            json!({
                "fault": name, "runs": runs, "skipped": row.skipped, "violated": row.violated,
                "redone": row.redone, "partitions": row.partitions,
                "recovery_median_ms": row.median().as_millis() as u64,
                "recovery_worst_ms": row.worst().as_millis() as u64,
            })
        });
        let cells = self.cells.iter().map(|(cell, outcome)| {
            let report = match outcome {
                Outcome::Done(report) => Some(report),
                _ => None,
            };
            json!({
                "engine": cell.engine.name(), "phase": cell.phase.name(),
                "fault": cell.fault.name(), "seed": cell.seed, "outcome": outcome.to_string(),
                "redone": report.map(|r| r.redone),
                "wall_ms": report.map(|r| r.wall.as_millis() as u64),
                "recovery_ms": report.and_then(|r| r.recovery).map(|r| r.as_millis() as u64),
            })
        });
        json!({
            "faults": faults.collect::<Vec<_>>(),
            "cells": cells.collect::<Vec<_>>(),
            "violations": self.violations(),
        })
    }
}

impl Row {
    fn median(&self) -> Duration {
        let middle = self.recovery.len() / 2;
        self.recovery.get(middle).copied().unwrap_or_default()
    }

    fn worst(&self) -> Duration {
        self.recovery.last().copied().unwrap_or_default()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{:<38}", "runs per cell")?;
        for phase in Phase::ALL {
            let name: String = phase.name().chars().take(7).collect();
            write!(f, "{name:>8}")?;
        }
        writeln!(
            f,
            "{:>9}{:>9}{:>9}{:>7}",
            "redone", "median", "worst", "bad"
        )?;
        let rows = self.rows();
        for fault in kinds::all() {
            let Some(row) = rows.get(fault.name()) else {
                continue;
            };
            write!(f, "{:<38}", fault.name())?;
            for phase in Phase::ALL {
                match row.runs.get(&phase) {
                    Some(n) => write!(f, "{n:>8}")?,
                    None => write!(f, "{:>8}", "-")?,
                }
            }
            let share = format!("{}", row.redone);
            let (median, worst) = (row.median().as_secs_f64(), row.worst().as_secs_f64());
            writeln!(
                f,
                "{share:>9}{median:>8.2}s{worst:>8.2}s{:>7}",
                row.violated
            )?;
        }
        let runs: u32 = rows.values().flat_map(|row| row.runs.values()).sum();
        let skipped: u32 = rows.values().map(|row| row.skipped).sum();
        let violated: u32 = rows.values().map(|row| row.violated).sum();
        let redone: u64 = rows.values().map(|row| row.redone).sum();
        let partitions: u64 = rows.values().map(|row| row.partitions).sum();
        write!(
            f,
            "{runs} runs, {skipped} skipped, {redone} of {partitions} partitions redone, \
             {violated} violations"
        )
    }
}
