//! The documented /v1 endpoints.

use clap::Parser;
use runtime::Shutdown;
use runtime::program::ProcessArgs;

/// The flags of `drayage-api`.
#[derive(Debug, Parser)]
#[command(name = "drayage-api", version = runtime::program::VERSION, about)]
pub struct Args {
    #[command(flatten)]
    process: ProcessArgs,
}

impl AsRef<ProcessArgs> for Args {
    fn as_ref(&self) -> &ProcessArgs {
        &self.process
    }
}

/// Runs until the shutdown.
pub async fn run(_args: Args, shutdown: Shutdown) -> anyhow::Result<()> {
    shutdown.begun().await;
    Ok(())
}
