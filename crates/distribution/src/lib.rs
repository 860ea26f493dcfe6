//! Speaks the OCI distribution protocol to one registry with one login.
