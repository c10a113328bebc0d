//! The source keeps living: it is changed while it is copied and followed, and what arrives is
//! whole transactions, each exactly once. `workload` (harness) changes, its auditor watches the
//! target, the judge compares at the end.

mod bench;
mod command;
mod drift;
pub mod ends;
mod itself;
pub mod living;
mod moment;
mod pairs;
mod refused;
mod rest;
