//! In-process tests: the router over a real store on a temporary file.
