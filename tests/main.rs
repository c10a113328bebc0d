//! The integration tests: real processes, real servers, real faults. One binary, so that the
//! servers are started once; `scripts/test` runs it with the right number of threads.
//!
//! Every test gets its own directory, ports and MariaDB (from a pool), and judges the result by
//! `harness::oracle`, which shares no code with the copier.

mod badinput;
mod checked;
mod cli;
mod clone;
mod cluster;
mod coercion;
mod faults;
mod follow;
mod harness;
mod memory;
mod pairs;
mod plan;
mod prove;
mod quoting;
mod random;
mod replaced;
mod resume;
mod rules;
mod selftest;
mod torture;
mod types;
mod zombie_create;
