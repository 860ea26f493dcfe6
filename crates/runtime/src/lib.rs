//! What any long-running process needs: logs, signals, TLS, HTTP serving, health, metrics.
//! The three programs call it. Nothing here knows what they do: no tables, pods or images.

pub mod admin;
pub mod duration;
pub mod log;
pub mod program;
pub mod reload;
pub mod server;
pub mod shutdown;
pub mod tls;

pub use shutdown::Shutdown;
