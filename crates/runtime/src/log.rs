//! Logs on standard error: text for a person at a terminal, one flat JSON object a line for
//! everything else. `program` starts them. Events carry their own fields; spans are not printed.

use std::io::{self, IsTerminal};
use std::panic::PanicHookInfo;

use tracing_subscriber::EnvFilter;

/// Libraries that log as an error, at each try, what they also return: whoever called them tells it once.
const QUIET: &str = "kube_client::client::builder=off,rustls_platform_verifier=off";

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For a person.
    Text,
    /// One object a line: timestamp, level, target, message and the event's fields.
    Json,
}

/// Checks a filter such as `drayage_syncer=debug,info`; made for clap's `value_parser`.
pub(crate) fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| format!("{error}; try `info`"))
}

/// Starts writing what passes `filter`, and turns panics into log lines.
pub(crate) fn start(filter: &str, format: Option<Format>) {
    let terminal = io::stderr().is_terminal();
    let format = format.unwrap_or(if terminal { Format::Text } else { Format::Json });
    let filter = EnvFilter::new(format!("{QUIET},{filter}"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        Format::Text => lines.with_ansi(terminal).init(),
        Format::Json => {
            lines.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
        }
    }
    std::panic::set_hook(Box::new(panicked));
}

fn panicked(panic: &PanicHookInfo<'_>) {
    let payload = panic.payload();
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let location = panic.location().map(ToString::to_string);
    tracing::error!(location, "a part of the process panicked: {}", text.unwrap_or("without a text"));
}
