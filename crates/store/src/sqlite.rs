//! Every SQL statement, for SQLite. Functions take a connection (read) or a transaction (write) and the
//! words of the business; the async doors above call them on threads that may block.

pub(crate) mod algorithms;
pub(crate) mod builds;
mod columns;
pub(crate) mod connection;
mod dependents;
pub(crate) mod evidence;
pub(crate) mod follow;
pub(crate) mod holds;
pub(crate) mod inventory;
pub(crate) mod keys;
mod migrate;
pub(crate) mod open;
pub(crate) mod pods;
pub(crate) mod pushes;
pub(crate) mod queue;
pub(crate) mod registries;
pub(crate) mod statistics;
pub(crate) mod versions;
pub(crate) mod watch;
mod writer;
