//! What administrators and metrics see of the data plane.

use proto_spec::{Refusal, SessionId, TrafficClass};
use sealcast_attach::registry::SessionStatus;
use sealcast_attach::{ClassCount, DropReason};

use super::Gateway;

/// The data plane at one moment.
#[derive(Clone, Debug)]
pub struct GatewayStatus {
    /// Attachments with a valid ticket.
    pub attachments: usize,
    /// The most there may be.
    pub attachments_max: usize,
    /// Sessions with somebody attached here.
    pub sessions: usize,
    /// Connections without a valid ticket.
    pub half_open: usize,
    /// Bytes in all queues.
    pub queue_bytes: u64,
    /// Traffic since the start, in the order of [`TrafficClass::ALL`].
    pub traffic: [ClassCount; 4],
    /// Refusals since the start, every reason.
    pub refusals: Vec<(Refusal, u64)>,
    /// Frames dropped since the start, every class and reason.
    pub drops: Vec<(TrafficClass, DropReason, u64)>,
    /// Frames dropped on the way to other nodes since the start, every class and reason.
    pub hop_drops: Vec<(TrafficClass, &'static str, u64)>,
}

impl Gateway {
    /// Everything counted, now.
    pub fn status(&self) -> GatewayStatus {
        let half_open = self.addresses.lock().half_open();
        let registry = self.registry.lock();
        GatewayStatus {
            attachments: registry.attachments(),
            attachments_max: self.limits.attachments_max,
            sessions: registry.sessions(),
            half_open,
            queue_bytes: self.memory.bytes(),
            traffic: registry.traffic(),
            refusals: self.counters.refusals().collect(),
            drops: self.counters.drops().collect(),
            hop_drops: self.hops.drops(),
        }
    }

    /// One session's attachments and traffic here; `None` if nobody of it is attached.
    pub fn session(&self, session: SessionId) -> Option<SessionStatus> {
        self.registry.lock().session(session)
    }

    /// All sessions with somebody attached here.
    pub fn sessions(&self) -> Vec<SessionStatus> {
        self.registry.lock().all_sessions().collect()
    }
}
