//! The verifier is tested as it is measured: faults planted one by one must be found and located,
//! what is equal must not be called different, whatever dies meanwhile; and what was found is repaired.

pub mod ask;
mod damage;
mod faults;
mod living;
mod memory;
mod mutations;
mod planted;
mod repaired;
mod rows;
mod schema;
mod thousand;
mod told;
