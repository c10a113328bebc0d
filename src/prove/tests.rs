//! Reports of comparisons made by hand.
