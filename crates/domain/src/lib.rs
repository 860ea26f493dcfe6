//! The words of the business and its rules; no I/O.
