//! Where log lines go and how they look. Lines above DEBUG name no person, address or code; that is each caller's duty.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging to stderr. Later calls change nothing.
pub fn start(log: &Log) {
    let filter = EnvFilter::builder().parse_lossy(&log.level);
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let colour =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colour);
    // A second start in one process (tests) keeps the first one's settings.
    let _ = if json { builder.json().flatten_event(true).try_init() } else { builder.try_init() };
}
