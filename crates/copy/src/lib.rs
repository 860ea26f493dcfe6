//! Moves one image from a source to a destination.
