//! From where an image is pulled, why, and the patch that says so; pure.
