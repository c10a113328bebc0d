//! Target modes.
