//! The process: everything it does is in the library's `run`.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::program::run(drayage_syncer::run)
}
