//! What the scenarios stand on: servers, processes, clusters, data, and an independent judge.

pub mod cluster;
pub mod dataset;
pub mod disk;
pub mod dumps;
pub mod lab;
pub mod lan;
pub mod leftovers;
pub mod literal;
pub mod mysql9;
pub mod oracle;
pub mod oracle_schema;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod server;
pub mod wait;
pub mod workload;
