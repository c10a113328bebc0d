//! What the target's schema has otherwise than planned.
