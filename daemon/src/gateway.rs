//! Endpoint ↔ node: the tokio shell around `sealcast-attach`. One task per attachment moves bytes between its TLS
//! connection and the queues; every decision is the core's.
//!
//! ```text
//!  listener ──TLS stream, permit──► serve ─► Connection (one task)
//!                                              │ reads ► Attachment ► fan-out ► Outbox of each receiver ─┐
//!                                              │ │                                                       │
//!                                              │ └─► other nodes' part ──► Links (trunks)                │
//!  trunks ──Arrivals::packet──► Views ► the local part ─────────────────────────────────────────────────►┤
//!                                              │ writes ◄ Outbox (its own) ◄─────────────────────────────┘
//!                                              └ joins and leaves: Registry (one lock, control plane alone)
//!                                                     │ ▲
//!                                    attachments here ▼ │ members elsewhere, ready, path hints, ends
//!                                                    overlay
//! ```
//!
//! Never reads a packet, never waits while it holds a lock. Locks are leaves: each outbox's, the address limiter's, a
//! shard's of the views. The registry's is above the last alone.

mod accept;
mod beyond;
mod connection;
mod drain;
mod mesh;
mod outbox;
mod status;
mod tap;
mod views;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use parking::Lock;
use proto_spec::tombstone::{Tombstone, TombstoneBody};
use proto_spec::{SenderNumber, SessionId, WallTime};
use sealcast_attach::{AddressLimiter, Counters, Limits, NodeMemory, Notice, Registry};
use sealcast_trust::Verifier;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::tls::ServerStream;

pub use accept::AcceptPermit;
pub use beyond::Ways;
pub use status::GatewayStatus;
pub use tap::{Tap, TapDirection, TapError};

use beyond::Hops;
use connection::Connection;
use outbox::Outbox;
use views::Views;

/// Program and version in the node's hello.
const SOFTWARE: &str = concat!("relayd ", env!("CARGO_PKG_VERSION"));

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
    views: Views,
    ways: OnceLock<Ways>,
    hops: Hops,
    /// Told whenever the mesh may have to be told something.
    changed: Notify,
    /// Tombstones of this node's broker that the mesh has not been told of.
    buried: Lock<VecDeque<Tombstone>>,
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
            views: Views::default(),
            ways: OnceLock::new(),
            hops: Hops::default(),
            changed: Notify::new(),
            buried: Lock::default(),
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

    /// Limits and memory, for the queues towards other nodes: all count together \[FWD-10\].
    pub fn shared(&self) -> (Arc<Limits>, Arc<NodeMemory>) {
        (Arc::clone(&self.limits), Arc::clone(&self.memory))
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
        let now = self.clock.now().wall;
        self.change(|registry, notices| registry.tombstone(now, session, number, keep_until, notices));
    }

    /// Changes the registry, and tells whoever has to know.
    fn change<T>(&self, change: impl FnOnce(&mut Registry<Handle>, &mut Vec<Notice<Handle>>) -> T) -> T {
        let mut notices = Vec::new();
        let (outcome, changed) = {
            let mut registry = self.registry.lock();
            let outcome = change(&mut registry, &mut notices);
            (outcome, registry.has_changes())
        };
        if changed {
            self.changed.notify_one();
        }
        self.carry_out(notices);
        outcome
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

    #[derive(Debug, Default)]
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
