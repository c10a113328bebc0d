//! The core of Sterna: everything that decides, nothing that waits.
//!
//! Pure and deterministic: no runtime, no driver, no clock, no randomness, no unordered maps. Time,
//! ids and seeds are arguments. `observe (shell) -> decide (here) -> record (log) -> act (shell)`.
//!
//! | word | module |
//! |---|---|
//! | job, endpoint | [`job`] |
//! | catalog, columns, types | [`schema`], [`mapping`] |
//! | what may change on the way | [`fidelity`], [`rules`], [`transform`] |
//! | bucket, partition, plan | [`plan`], [`partition`], [`bounds`] |
//! | lease, epoch, transaction T | [`epoch`] |
//! | replicated state, commands | [`state`] |
//! | who works on what | [`schedule`], [`two_phase`], [`directive`] |
//! | changes, positions in a log | [`change`] |
//! | what is checked before, compared after | [`check`], [`verify`] |
//! | rows, canonical cells, digest | [`value`], [`json`], [`digest`] |
//! | bounds, waits, failures | [`limits`], [`retry`], [`detect`], [`code`], [`fault`] |

pub mod bounds;
pub mod change;
pub mod check;
pub mod code;
pub mod cut;
pub mod detect;
pub mod digest;
pub mod directive;
pub mod epoch;
pub mod fault;
pub mod fidelity;
pub mod id;
pub mod job;
pub mod job_file;
pub mod json;
pub mod limits;
pub mod mapping;
pub mod naming;
pub mod partition;
pub mod plan;
pub mod retry;
pub mod rules;
pub mod schedule;
pub mod schema;
pub mod shape;
pub mod state;
pub mod status;
pub mod task;
pub mod transform;
pub mod two_phase;
pub mod value;
pub mod verify;
pub mod view;
