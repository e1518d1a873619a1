//! How the gateway goes out of service \[ATT-10\], and how it comes back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use proto_spec::Refusal;
use proto_spec::frame::{ControlFrame, Move};

use super::Gateway;

/// After a drain's deadline: how long the last error frames may take.
const DRAIN_LAST_WORDS: Duration = Duration::from_secs(2);

impl Gateway {
    /// Goes out of service \[ATT-10\]: admits nothing new, asks everybody to attach elsewhere and names nodes that can
    /// take them, waits until all have gone or `deadline` is over, then ends the rest as resumable.
    pub async fn drain(&self, deadline: Duration) {
        let handles = {
            let mut registry = self.registry.lock();
            registry.drain();
            registry.handles()
        };
        let now = self.clock.now().mono;
        let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
        let batch = handles.len() as u64;
        for (session, handle) in handles {
            let addresses = self.addresses_elsewhere(session, batch);
            handle.push_control(now, &ControlFrame::Move(Move { deadline_ms, addresses }));
        }
        if tokio::time::timeout(deadline, self.gone()).await.is_ok() {
            return;
        }
        let handles = self.registry.lock().handles();
        handles.iter().for_each(|(_, handle)| handle.end(Refusal::Draining, None));
        // Half-open connections end by their own deadline or with the process.
        let _ = tokio::time::timeout(DRAIN_LAST_WORDS, self.gone()).await;
    }

    /// Admits again; who has been asked to move may do so all the same.
    pub fn undrain(&self) {
        self.registry.lock().undrain();
    }

    /// Waits until no connection is left.
    pub(super) async fn gone(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.connections.load(Ordering::SeqCst) == 0 {
                return;
            }
            ended.await;
        }
    }
}
