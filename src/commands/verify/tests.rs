//! What verify makes of its arguments.
