//! Being told to stop: Ctrl-C, termination, a closed terminal. Each is one message; the interface decides what the
//! first and the second mean.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How long leaving politely may take, before the program stops anyway.
pub(crate) const LEAVE_MAX: Duration = Duration::from_secs(8);

/// A message for each signal that asks the program to stop.
pub(crate) fn signals() -> std::io::Result<mpsc::Receiver<()>> {
    let (asked, receiver) = mpsc::channel(4);
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signal = signal(kind)?;
        let asked = asked.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() {
                // Full means that it was asked often enough.
                if asked.try_send(()).is_err() && asked.is_closed() {
                    return;
                }
            }
        });
    }
    Ok(receiver)
}
