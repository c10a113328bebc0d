//! Transforms: what rules and guards do to rows.
