//! Events to standard output: one JSON object a line, with the endpoint's `id` and the program's time. Bounded: who
//! cannot write waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde_json::{Value, json};
use tokio::io::{AsyncWrite, AsyncWriteExt, BufWriter};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::check::ms;
use crate::config::OUTPUT_LINES_MAX;

/// Where events go; cheap to clone.
#[derive(Clone)]
pub(crate) struct Output {
    lines: mpsc::Sender<String>,
    start: Instant,
    faulty: Arc<AtomicBool>,
}

impl Output {
    /// A writer of its own, which ends when all clones are gone.
    pub(crate) fn to(
        out: impl AsyncWrite + Unpin + Send + 'static,
        start: Instant,
    ) -> (Output, JoinHandle<()>) {
        let (lines, receiver) = mpsc::channel(OUTPUT_LINES_MAX);
        let writer = tokio::spawn(write(out, receiver));
        (Output { lines, start, faulty: Arc::default() }, writer)
    }

    /// Tells an event, an object with `event` in it.
    pub(crate) async fn tell(&self, id: Option<&str>, event: &impl Serialize) {
        let Ok(Value::Object(mut object)) = serde_json::to_value(event) else { return };
        object.insert("at_ms".to_owned(), json!(ms(self.start.elapsed())));
        if let Some(id) = id {
            object.insert("id".to_owned(), json!(id));
        }
        // Without a reader there is nobody to tell.
        let _ = self.lines.send(Value::Object(object).to_string()).await;
    }

    /// A command that cannot be carried out.
    pub(crate) async fn refuse(&self, id: Option<&str>, reason: &str) {
        self.tell(id, &json!({"event": "refused", "reason": reason})).await;
    }

    /// A check failed: the program will say so in its exit code.
    pub(crate) fn fault(&self) {
        self.faulty.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_faulty(&self) -> bool {
        self.faulty.load(Ordering::Relaxed)
    }
}

async fn write(out: impl AsyncWrite + Unpin, mut lines: mpsc::Receiver<String>) {
    let mut out = BufWriter::new(out);
    while let Some(line) = lines.recv().await {
        if out.write_all(line.as_bytes()).await.is_err() || out.write_all(b"\n").await.is_err() {
            return;
        }
        if lines.is_empty() && out.flush().await.is_err() {
            return;
        }
    }
    let _ = out.flush().await;
}
