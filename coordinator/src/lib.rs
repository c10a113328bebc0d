//! The coordinator: shell around the core.

pub mod raft;
