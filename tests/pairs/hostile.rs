//! The part of each torture database that another engine can hold.
