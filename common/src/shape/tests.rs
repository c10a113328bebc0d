//! Shaping: what rules make of tables, and every mistake at once.
