//! The harness of the end-to-end tests: starts real servers as processes and speaks to them as a
//! person would. The behaviours and the demo call it; it knows Drayage by its flags and URLs only.

pub mod certificates;
pub mod claim;
pub mod cluster;
pub mod disk;
pub mod faults;
pub mod image;
pub mod node;
pub mod process;
pub mod prometheus;
pub mod registry;
pub mod scene;
pub mod services;
