//! The verifier is tested as it is measured: faults planted one by one must be found and located,
//! and what is equal must not be called different; whatever dies meanwhile.

pub mod ask;
mod faults;
mod living;
mod memory;
mod mutations;
mod planted;
mod rows;
mod told;
