//! Where log lines go and how they look. Lines above DEBUG name no person, address or code; that is each caller's duty.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;

use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, reload};

use crate::config::{Log, LogFormat};

/// Changes the level of a log that runs. Cheap to clone; the default changes nothing.
#[derive(Clone, Default)]
pub struct Levels(Option<Arc<dyn Fn(EnvFilter) -> bool + Send + Sync>>);

impl fmt::Debug for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Levels").field(&self.0.is_some()).finish()
    }
}

impl Levels {
    /// Another level or filter from now on; whether there is a log that took it.
    pub fn set(&self, level: &str) -> bool {
        self.0.as_ref().is_some_and(|set| set(filter(level)))
    }
}

/// Starts logging to stderr. Later calls change nothing.
pub fn start(log: &Log) -> Levels {
    let json = match log.format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let colour =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(colour);
    let lines = if json { lines.json().flatten_event(true).boxed() } else { lines.boxed() };
    let (level, handle) = reload::Layer::new(filter(&log.level));
    // A second start in one process (tests) keeps the first one's settings.
    let _ = tracing_subscriber::registry().with(level).with(lines).try_init();
    Levels(Some(Arc::new(move |filter| handle.reload(filter).is_ok())))
}

fn filter(level: &str) -> EnvFilter {
    EnvFilter::builder().parse_lossy(level)
}
