//! Rows of differing buckets paired by key, and what each pair comes to.
