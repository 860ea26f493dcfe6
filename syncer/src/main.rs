//! The binary `drayage-syncer`, and the one errand that it runs beside.

use std::process::ExitCode;

fn main() -> ExitCode {
    match std::env::args_os().nth(1) {
        Some(errand) if errand == "make-keys" => runtime::program::run(drayage_syncer::keys::run),
        _ => runtime::program::run(drayage_syncer::run),
    }
}
