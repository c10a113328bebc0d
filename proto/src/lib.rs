//! The wire. Message types are generated from `sterna/v1/*.proto`; `convert` turns the messages of
//! the data path into the core's types and back. Nobody else knows prost.

mod convert;

pub use convert::{ConvertError, from_json, to_json};

/// Generated messages and services.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("sterna.v1");
}

/// Metadata key under which a follower names the leader's address.
pub const LEADER_KEY: &str = "sterna-leader";
/// Metadata key of a JSON `common::code::Failure`.
pub const FAILURE_KEY: &str = "sterna-failure-bin";
/// Metadata key of a request that was forwarded once already.
pub const FORWARDED_KEY: &str = "sterna-forwarded";

/// Puts a failure into a status, for the client to unpack with [`failure_of`].
pub fn status_of(code: tonic::Code, failure: &common::code::Failure) -> tonic::Status {
    let mut status = tonic::Status::new(code, failure.to_string());
    let value = tonic::metadata::MetadataValue::from_bytes(&to_json(failure));
    status.metadata_mut().insert_bin(FAILURE_KEY, value);
    status
}

/// The failure inside a status, if there is one.
pub fn failure_of(status: &tonic::Status) -> Option<common::code::Failure> {
    let value = status.metadata().get_bin(FAILURE_KEY)?;
    from_json("failure", &value.to_bytes().ok()?).ok()
}
