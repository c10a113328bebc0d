//! What a finished comparison is told as.
