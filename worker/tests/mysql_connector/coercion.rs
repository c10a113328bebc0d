//! Values a server would cut, clamp, round or zero are errors that name them.
