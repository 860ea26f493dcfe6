//! From where an image is pulled, why, and the patch that says so. Pure: the webhook feeds a [`Table`]
//! with facts and asks [`mutate`] about pods, the api asks [`Table::decide`] to explain.
//! No I/O, no clock, no runtime.

pub mod decision;
pub mod images;
mod key;
#[cfg(test)]
mod ledger;
pub mod patch;
pub mod table;

pub use decision::Decision;
pub use patch::{Mutation, mutate};
pub use table::Table;
