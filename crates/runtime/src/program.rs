//! From `main` to the exit status: flags, logs, the runtime, signals and how an error is told.
//! Each program's `main` calls `run` with its own body; what the body does is not known here.

use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use tracing::{error, info, warn};

use crate::shutdown::Signals;
use crate::{Shutdown, duration, log};

/// The version of all programs.
pub const NUMBER: &str = env!("CARGO_PKG_VERSION");
/// The commit they were built from, or `unknown`.
pub const COMMIT: &str = env!("DRAYAGE_COMMIT");
/// What `--version` says: `0.1.0 (COMMIT)`.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("DRAYAGE_COMMIT"), ")");

/// How long blocking threads may take, once all else has ended, for short database writes to end too.
const LAST_WRITES: Duration = Duration::from_secs(1);

/// Flags that every program has.
#[derive(Debug, Clone, clap::Args)]
pub struct ProcessArgs {
    /// What is logged: a level, or levels by target such as `drayage_syncer=debug,info`
    #[arg(long, env = "DRAYAGE_LOG", default_value = "info", value_name = "FILTER", value_parser = log::filter)]
    log: String,
    /// How it is logged [default: text on a terminal, json elsewhere]
    #[arg(long, env = "DRAYAGE_LOG_FORMAT", value_enum)]
    log_format: Option<log::Format>,
    /// How long a stop waits for running work to be finished or handed back
    #[arg(long, env = "DRAYAGE_SHUTDOWN_GRACE", default_value = "20s", value_name = "DURATION", value_parser = duration::parse)]
    shutdown_grace: Duration,
}

/// A mistake of the person who configured the process; the message says what to do about it.
/// A body that returns it, anywhere in its chain, ends with status 2 and one line.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

impl UsageError {
    /// An error that tells the reader what to change.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Runs a program to its end: 0 after a clean stop, 1 for a failure, 2 for a usage error.
///
/// A stop that outlasts its grace is still clean, since whatever is left must survive a crash
/// anyway; a second signal ends the process at once with 1.
pub fn run<A>(body: impl AsyncFnOnce(A, Shutdown) -> anyhow::Result<()>) -> ExitCode
where
    A: clap::Parser + AsRef<ProcessArgs>,
{
    let args = match A::try_parse() {
        Ok(args) => args,
        Err(refusal) => return refused(&refusal),
    };
    let process: &ProcessArgs = args.as_ref();
    log::start(&process.log, process.log_format);
    let shutdown = Shutdown::new(process.shutdown_grace);
    match execute(shutdown, async |shutdown| body(args, shutdown).await) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_usage(&error) => {
            eprintln!("error: {}", one_line(&error));
            ExitCode::from(2)
        }
        Err(error) => {
            error!("{}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn execute(shutdown: Shutdown, body: impl AsyncFnOnce(Shutdown) -> anyhow::Result<()>) -> anyhow::Result<()> {
    // A second call in one process, as in tests, finds the provider of the first.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Runtime::new()?;
    let result = runtime.block_on(until_stopped(&shutdown, body));
    // Within the grace: whoever sent the signal kills what outlasts it.
    runtime.shutdown_timeout(LAST_WRITES.min(shutdown.left()));
    result
}

async fn until_stopped(
    shutdown: &Shutdown,
    body: impl AsyncFnOnce(Shutdown) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut body = std::pin::pin!(body(shutdown.clone()));
    tokio::select! {
        result = &mut body => return result,
        signal = signals.next() => info!(signal, "stopping"),
    }
    shutdown.begin();
    tokio::select! {
        result = &mut body => result,
        () = tokio::time::sleep(shutdown.left()) => {
            warn!("stopped with work left that was not handed back within --shutdown-grace");
            Ok(())
        }
        signal = signals.next() => anyhow::bail!("a second signal ({signal}) ended the process at once"),
    }
}

fn is_usage(error: &anyhow::Error) -> bool {
    // A context is found by `downcast_ref`, a source inside another error's chain by `chain`.
    error.downcast_ref::<UsageError>().is_some() || error.chain().any(|cause| cause.is::<UsageError>())
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn refused(refusal: &clap::Error) -> ExitCode {
    if matches!(refusal.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Whoever closed standard output early has read enough.
        let _closed = refusal.print();
        return ExitCode::SUCCESS;
    }
    eprintln!("{}", refusal_line(refusal));
    ExitCode::from(2)
}

/// Clap's refusal in one line. A refused value is not repeated: it may hold a credential.
fn refusal_line(refusal: &clap::Error) -> String {
    use clap::error::ContextKind;
    let flag = refusal.get(ContextKind::InvalidArg);
    if let (Some(flag), Some(reason)) = (flag, std::error::Error::source(refusal)) {
        return format!("error: {flag}: {reason} (--help tells more)");
    }
    let text = refusal.render().to_string();
    let text = text.split("\n\nUsage:").next().unwrap_or_default();
    let text = text.split("\n\nFor more information").next().unwrap_or_default();
    format!("{} (--help tells more)", text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Args {
        #[arg(long, value_parser = |_: &str| Err::<String, _>("a host is needed, such as registry:5000"))]
        registry: Option<String>,
        #[arg(long, required = true)]
        key: String,
        #[command(flatten)]
        process: ProcessArgs,
    }

    fn refusal(arguments: &[&str]) -> String {
        refusal_line(&Args::try_parse_from([&["program"], arguments].concat()).unwrap_err())
    }

    #[test]
    fn a_usage_error_is_found_anywhere_in_the_chain() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] UsageError);
        let usage = || UsageError::new("give --key-file");
        assert!(is_usage(&usage().into()));
        assert!(is_usage(&anyhow::Error::new(usage()).context("opening the store")));
        assert!(is_usage(&anyhow::anyhow!("cause").context(usage()).context("opening the store")));
        assert!(is_usage(&Err::<(), _>(Outer(usage())).context("more").unwrap_err()));
        assert!(!is_usage(&anyhow::anyhow!("the disk is full")));
    }

    #[test]
    fn an_error_chain_is_told_in_one_line() {
        let error = anyhow::anyhow!("no such\nfile").context("reading the key");
        assert_eq!(one_line(&error), "reading the key: no such file");
    }

    #[test]
    fn a_missing_flag_is_told_in_one_line() {
        let line = refusal(&[]);
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(line.contains("--key <KEY>"), "{line}");
    }

    #[test]
    fn a_refused_value_is_not_repeated() {
        let line = refusal(&["--key", "k", "--registry", "http://user:pass@host"]);
        assert!(line.contains("--registry") && line.contains("a host is needed"), "{line}");
        assert!(!line.contains("pass"), "{line}");
    }

    #[test]
    fn every_program_takes_the_flags_of_a_process() {
        let args = Args::try_parse_from([
            "program",
            "--key",
            "k",
            "--log",
            "a=debug,info",
            "--shutdown-grace",
            "5s",
        ])
        .unwrap();
        assert_eq!(args.process.shutdown_grace, Duration::from_secs(5));
        assert!(refusal(&["--key", "k", "--log", "a=loud"]).contains("--log"));
        assert!(refusal(&["--key", "k", "--log-format", "xml"]).contains("[possible values: text, json]"));
    }

    #[test]
    fn a_shutdown_ends_at_its_grace_with_success() {
        let shutdown = Shutdown::new(Duration::ZERO);
        let result = execute(shutdown, async |shutdown| {
            shutdown.begin();
            shutdown.begun().await;
            Ok(())
        });
        assert!(result.is_ok());
    }

    #[test]
    fn a_blocking_thread_that_hangs_does_not_outlast_the_grace() {
        let (held, hangs) = std::sync::mpsc::channel::<()>();
        let start = std::time::Instant::now();
        let result = execute(Shutdown::new(Duration::ZERO), async |shutdown| {
            tokio::task::spawn_blocking(move || hangs.recv());
            shutdown.begin();
            Ok(())
        });
        assert!(result.is_ok() && start.elapsed() < LAST_WRITES);
        drop(held);
    }
}
