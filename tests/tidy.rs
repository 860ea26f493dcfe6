//! Holds the code to the floors that ARCHITECTURE.md draws.
