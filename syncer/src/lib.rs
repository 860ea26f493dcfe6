//! Performs pushes and records their status.
