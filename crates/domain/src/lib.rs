//! The words of the business and its rules. Everything above speaks in these types;
//! nothing here does I/O or reads a clock, and `wire` alone knows a wire format. Time is an argument.

pub mod access;
pub mod algorithm;
pub mod credentials;
pub mod fact;
pub mod labels;
pub mod pod;
pub mod push;
pub mod reference;
pub mod registry;
pub mod version;
mod wire;

/// A moment, with at least millisecond precision.
pub use jiff::Timestamp;
