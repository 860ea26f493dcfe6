//! The binary `drayage-syncer`.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::program::run(drayage_syncer::run)
}
