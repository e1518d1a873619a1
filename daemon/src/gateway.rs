//! Endpoint ↔ node: the tokio shell around `sealcast-attach`. One task per attachment moves bytes between its TLS
//! connection and the queues; every decision is the core's.
//!
//! ```text
//!  listener ──TLS stream, permit──► serve ─► Connection (one task)
//!                                              │ reads ► Attachment ► fan-out ► Outbox of each receiver ─┐
//!                                              │ writes ◄ Outbox (its own) ◄─────────────────────────────┘
//!                                              └ joins and leaves: Registry (one leaf lock, control plane alone)
//! ```
//!
//! Never reads a packet, never waits while it holds a lock. Locks are leaves: the registry's, each outbox's, the
//! address limiter's.

mod accept;
mod connection;
mod outbox;
mod status;
mod tap;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking::Lock;
use proto_spec::frame::{ControlFrame, Move};
use proto_spec::tombstone::TombstoneBody;
use proto_spec::{Refusal, SenderNumber, SessionId, WallTime};
use sealcast_attach::{AddressLimiter, Counters, Limits, NodeMemory, Notice, Registry};
use sealcast_trust::Verifier;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::tls::ServerStream;

pub use accept::AcceptPermit;
pub use status::GatewayStatus;
pub use tap::{Tap, TapDirection, TapError};

use connection::Connection;
use outbox::Outbox;

/// Program and version in the node's hello.
const SOFTWARE: &str = concat!("relayd ", env!("CARGO_PKG_VERSION"));
/// After a drain's deadline: how long the last error frames may take.
const DRAIN_LAST_WORDS: Duration = Duration::from_secs(2);

type Handle = Arc<Outbox>;

/// The data plane of one node, shared by all its attachments.
#[derive(Debug)]
pub struct Gateway {
    limits: Arc<Limits>,
    verifier: Arc<ArcSwap<Verifier>>,
    clock: Clock,
    memory: Arc<NodeMemory>,
    counters: Arc<Counters>,
    registry: Lock<Registry<Handle>>,
    addresses: Lock<AddressLimiter>,
    tap: Option<Tap>,
    connections: AtomicUsize,
    /// Told whenever a connection ends.
    ended: Notify,
}

impl Gateway {
    /// An idle gateway. `verifier` holds the brokers' keys and may be swapped at any time; `tap` is for
    /// `relayd dev` alone.
    pub fn new(
        limits: Limits,
        verifier: Arc<ArcSwap<Verifier>>,
        clock: Clock,
        tap: Option<Tap>,
    ) -> Arc<Gateway> {
        let limits = Arc::new(limits);
        Arc::new(Gateway {
            memory: NodeMemory::new(limits.node_queue_bytes_max),
            counters: Arc::default(),
            registry: Lock::new(Registry::new(Arc::clone(&limits))),
            addresses: Lock::new(AddressLimiter::new(Arc::clone(&limits))),
            limits,
            verifier,
            clock,
            tap,
            connections: AtomicUsize::new(0),
            ended: Notify::new(),
        })
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The node's counters of refusals and drops.
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Ends a session, or one number of it, by a tombstone whose signature has been checked
    /// (`sealcast_trust::tombstone::verify`) or that this node's own broker made.
    pub fn tombstone(&self, body: &TombstoneBody) {
        self.end(body.session, body.number, body.keep_until);
    }

    /// As [`Gateway::tombstone`], from its parts: nobody named comes back until `keep_until`.
    pub fn end(&self, session: SessionId, number: Option<SenderNumber>, keep_until: WallTime) {
        let mut notices = Vec::new();
        let now = self.clock.now();
        self.registry.lock().tombstone(now.wall, session, number, keep_until, &mut notices);
        self.carry_out(notices);
    }

    /// Goes out of service \[ATT-10\]: admits nothing new, asks everybody to attach elsewhere, waits until all have
    /// gone or `deadline` is over, then ends the rest as resumable.
    pub async fn drain(&self, deadline: Duration) {
        let handles = {
            let mut registry = self.registry.lock();
            registry.drain();
            registry.handles()
        };
        let frame = ControlFrame::Move(Move {
            deadline_ms: u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX),
            addresses: Vec::new(),
        });
        let now = self.clock.now().mono;
        handles.iter().for_each(|handle| handle.push_control(now, &frame));
        if tokio::time::timeout(deadline, self.gone()).await.is_ok() {
            return;
        }
        let handles = self.registry.lock().handles();
        handles.iter().for_each(|handle| handle.end(Refusal::Draining, None));
        // Half-open connections end by their own deadline or with the process.
        let _ = tokio::time::timeout(DRAIN_LAST_WORDS, self.gone()).await;
    }

    /// Waits until no connection is left.
    async fn gone(&self) {
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

    fn carry_out(&self, notices: Vec<Notice<Handle>>) {
        let now = self.clock.now().mono;
        for notice in notices {
            match notice {
                Notice::Send { to, frame } => to.push_control(now, &frame),
                Notice::End { to, refusal, ended } => to.end(refusal, ended),
            }
        }
    }
}

/// Serves one endpoint from the end of its TLS handshake (ALPN `sealcast/1`) until its connection is closed. The
/// permit of [`Gateway::accept`] counts it as half open until a valid ticket.
///
/// The future is small; everything of the connection is in one box.
pub async fn serve(tls: ServerStream, permit: AcceptPermit, gateway: Arc<Gateway>) {
    gateway.connections.fetch_add(1, Ordering::SeqCst);
    let _gone = Gone(Arc::clone(&gateway));
    Connection::new(tls, permit, gateway).await;
}

/// Counts a connection off, also when its task is dropped.
struct Gone(Arc<Gateway>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
        self.0.ended.notify_waiters();
    }
}

/// A mutex that a panic elsewhere does not poison for all: the data under it is changed in one step or not at all.
mod parking {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    #[derive(Debug)]
    pub(super) struct Lock<T>(Mutex<T>);

    impl<T> Lock<T> {
        pub(super) fn new(value: T) -> Lock<T> {
            Lock(Mutex::new(value))
        }

        pub(super) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}

#[cfg(test)]
mod tests;
