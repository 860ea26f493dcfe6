//! The documented /v1 endpoints.
