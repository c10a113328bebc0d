//! The shell that moves rows.

pub mod connector;
pub mod secret;
