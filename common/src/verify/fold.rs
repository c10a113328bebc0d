//! Rows folded into digests per bucket of the key's hash: `bucket = H(canonical key) mod B`.
