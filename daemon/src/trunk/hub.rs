//! Which trunks there are: claims of a pair \[TRK-12\], handles to those whose link is up.
//!
//! ```text
//!  claimed (hello) --data, up--> linked: what the overlay and the gateway may use --end--> forgotten
//! ```
//! Shared by the task that owns the connections, the tasks of the trunks and the port; opens and closes nothing itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use proto_spec::trunk::TrunkRefusal;
use proto_spec::{NodeNumber, Timestamp};
use sealcast_attach::{Limits, NodeMemory};
use sealcast_mesh::Input;
use sealcast_mesh::io::Signer;
use tokio::sync::{mpsc, oneshot};
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;

use super::config::{MESSAGES_BYTES_MAX, Settings};
use super::data::DataQueue;
use super::refusals::Refusals;
use super::swarm::Order;
use super::{Arrivals, TrunkStatus};
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::tls::Metered;
use crate::tls::mesh::{CurrentMesh, Peer};

/// A data connection on its way to its trunk.
pub(super) type DataStream = TlsStream<Metered>;
/// Held from just before a link is told to be up until it is told to be down, so that the ups and downs of one pair's
/// trunks never interleave.
pub(super) type Turn = Arc<tokio::sync::Mutex<()>>;

/// One trunk, as others reach it.
#[derive(Debug)]
pub(super) struct Neighbor {
    pub(super) peer: Peer,
    /// Where it is, as connected.
    pub(super) address: String,
    /// Whether this node dialled.
    pub(super) dialled: bool,
    /// The number that the dialler drew.
    pub(super) trunk: u64,
    /// What waits for the data connection.
    pub(super) data: DataQueue,
    messages: mpsc::Sender<Vec<u8>>,
    pub(super) message_bytes: AtomicUsize,
    /// Microseconds since start at which the last byte came.
    heard_us: AtomicU64,
    pub(super) rtt_us: AtomicU32,
    pub(super) offset_ms: AtomicI64,
    pub(super) sent: Traffic,
    pub(super) received: Traffic,
    arrival: Mutex<Option<oneshot::Sender<DataStream>>>,
    closing: OnceLock<TrunkRefusal>,
    pub(super) closed: CancellationToken,
}

/// Frames and bytes.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    frames: AtomicU64,
    bytes: AtomicU64,
}

impl Traffic {
    pub(super) fn add(&self, frames: u64, bytes: u64) {
        self.frames.fetch_add(frames, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    fn read(&self) -> (u64, u64) {
        (self.frames.load(Relaxed), self.bytes.load(Relaxed))
    }
}

/// The other ends of a neighbour's channels, for its task.
pub(super) struct Ends {
    pub(super) messages: mpsc::Receiver<Vec<u8>>,
    pub(super) arrival: oneshot::Receiver<DataStream>,
}

impl Neighbor {
    pub(super) fn new(
        hub: &Hub,
        peer: Peer,
        address: String,
        dialled: bool,
        trunk: u64,
    ) -> (Arc<Neighbor>, Ends) {
        let (messages, messages_end) = mpsc::channel(super::config::MESSAGES_MAX);
        let (arrival, arrival_end) = oneshot::channel();
        let neighbor = Neighbor {
            peer,
            address,
            dialled,
            trunk,
            data: DataQueue::new(Arc::clone(&hub.memory), Arc::clone(&hub.metrics)),
            messages,
            message_bytes: AtomicUsize::new(0),
            heard_us: AtomicU64::new(hub.now_us()),
            rtt_us: AtomicU32::new(0),
            offset_ms: AtomicI64::new(0),
            sent: Traffic::default(),
            received: Traffic::default(),
            arrival: Mutex::new(Some(arrival)),
            closing: OnceLock::new(),
            closed: CancellationToken::new(),
        };
        (Arc::new(neighbor), Ends { messages: messages_end, arrival: arrival_end })
    }

    pub(super) fn number(&self) -> NodeNumber {
        self.peer.number
    }

    /// How the overlay knows it.
    pub(super) fn signer(&self) -> Signer {
        let identity = &self.peer.identity;
        Signer {
            node: self.peer.number,
            key: identity.key,
            certificate: identity.certificate,
            issued: identity.not_before,
            expires: identity.not_after,
        }
    }

    /// Something came over one of its connections \[TRK-10\].
    pub(super) fn hear(&self, now_us: u64) {
        self.heard_us.store(now_us, Relaxed);
    }

    /// For how long nothing did.
    pub(super) fn silence(&self, now_us: u64) -> Duration {
        Duration::from_micros(now_us.saturating_sub(self.heard_us.load(Relaxed)))
    }

    /// Ends it, for the first reason that is given.
    pub(super) fn close(&self, reason: TrunkRefusal) {
        let _ = self.closing.set(reason);
        self.closed.cancel();
    }

    /// Why it is being ended.
    pub(super) fn closing(&self) -> TrunkRefusal {
        self.closing.get().copied().unwrap_or(TrunkRefusal::Leaving)
    }

    /// Queues a message for the control connection; `false` if there is no room.
    pub(super) fn send(&self, message: Vec<u8>) -> bool {
        let length = message.len();
        let before = self.message_bytes.fetch_add(length, Relaxed);
        let queued = before + length <= MESSAGES_BYTES_MAX && self.messages.try_send(message).is_ok();
        if !queued {
            self.message_bytes.fetch_sub(length, Relaxed);
        }
        queued
    }

    fn status(&self) -> TrunkStatus {
        let rtt_us = self.rtt_us.load(Relaxed);
        TrunkStatus {
            peer: self.peer.number,
            address: self.address.clone(),
            rtt_us: (rtt_us > 0).then_some(rtt_us),
            clock_offset_ms: self.offset_ms.load(Relaxed),
            queue_bytes: self.data.bytes() as u64,
            sent: self.sent.read(),
            received: self.received.read(),
            dropped: self.data.dropped(),
        }
    }
}

#[derive(Debug)]
struct Claim {
    neighbor: Arc<Neighbor>,
    turn: Turn,
}

type Links = BTreeMap<NodeNumber, Arc<Neighbor>>;

/// What all parts of the trunks are handed.
pub(super) struct Shared {
    pub(super) number: NodeNumber,
    pub(super) mesh: String,
    pub(super) settings: Settings,
    pub(super) clock: Clock,
    pub(super) tls: CurrentMesh,
    pub(super) metrics: Arc<Metrics>,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) arrivals: Arc<dyn Arrivals>,
    pub(super) limits: Arc<Limits>,
    pub(super) memory: Arc<NodeMemory>,
    pub(super) stop: CancellationToken,
}

/// What they know of each other.
pub(super) struct Hub {
    shared: Shared,
    pub(super) refusals: Refusals,
    pub(super) orders: mpsc::Sender<Order>,
    /// One a node, bounded by the control connections.
    claims: Mutex<BTreeMap<NodeNumber, Claim>>,
    /// Those whose link is up: read by each packet, so never locked.
    links: ArcSwap<Links>,
}

impl std::ops::Deref for Hub {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Hub {
    pub(super) fn new(shared: Shared, orders: mpsc::Sender<Order>) -> Hub {
        Hub {
            refusals: Refusals::new(Arc::clone(&shared.metrics), shared.clock),
            shared,
            orders,
            claims: Mutex::default(),
            links: ArcSwap::from_pointee(Links::new()),
        }
    }

    /// Microseconds of the monotonic clock.
    pub(super) fn now_us(&self) -> u64 {
        micros(self.clock.now().mono)
    }

    /// Whether there is a trunk to a node, or one is about to be.
    pub(super) fn is_claimed(&self, node: NodeNumber) -> bool {
        self.claims().contains_key(&node)
    }

    /// Whether a trunk was dialled at this address.
    pub(super) fn is_reached_at(&self, address: &str) -> bool {
        self.claims().values().any(|claim| claim.neighbor.dialled && claim.neighbor.address == address)
    }

    /// Makes a trunk the one of its pair, ending the one that it replaces \[TRK-12\].
    ///
    /// # Errors
    /// Why the other one stays.
    pub(super) fn claim(&self, newcomer: &Arc<Neighbor>) -> Result<Turn, TrunkRefusal> {
        let mut claims = self.claims();
        let Some(claim) = claims.get_mut(&newcomer.number()) else {
            let turn = Turn::default();
            let claim = Claim { neighbor: Arc::clone(newcomer), turn: Arc::clone(&turn) };
            claims.insert(newcomer.number(), claim);
            return Ok(turn);
        };
        let reason = replaces(self.number, &claim.neighbor, newcomer)?;
        claim.neighbor.close(reason);
        claim.neighbor = Arc::clone(newcomer);
        Ok(Arc::clone(&claim.turn))
    }

    /// Gives the claim up, unless another trunk has taken it over.
    pub(super) fn forget(&self, neighbor: &Arc<Neighbor>) {
        let mut claims = self.claims();
        if claims.get(&neighbor.number()).is_some_and(|claim| Arc::ptr_eq(&claim.neighbor, neighbor)) {
            claims.remove(&neighbor.number());
        }
    }

    /// Hands a data connection to the trunk that it names; `false` if there is none that waits for it \[TRK-14\].
    pub(super) fn hand_data(&self, peer: &Peer, trunk: u64, stream: DataStream) -> bool {
        let claims = self.claims();
        let Some(Claim { neighbor, .. }) = claims.get(&peer.number) else { return false };
        if neighbor.dialled
            || neighbor.trunk != trunk
            || neighbor.peer.identity.certificate != peer.identity.certificate
        {
            return false;
        }
        let arrival = neighbor.arrival.lock().unwrap_or_else(PoisonError::into_inner).take();
        arrival.is_some_and(|arrival| arrival.send(stream).is_ok())
    }

    /// The link is up: others may use the trunk.
    pub(super) fn publish(&self, neighbor: &Arc<Neighbor>) {
        self.links.rcu(|links| {
            let mut links = Links::clone(links);
            links.insert(neighbor.number(), Arc::clone(neighbor));
            links
        });
        self.metrics.trunks(self.links.load().len());
    }

    /// The link is down.
    pub(super) fn withdraw(&self, neighbor: &Arc<Neighbor>) {
        self.links.rcu(|links| {
            let mut links = Links::clone(links);
            if links.get(&neighbor.number()).is_some_and(|held| Arc::ptr_eq(held, neighbor)) {
                links.remove(&neighbor.number());
            }
            links
        });
        self.metrics.trunks(self.links.load().len());
        neighbor.data.end();
    }

    /// A trunk whose link is up.
    pub(super) fn link(&self, node: NodeNumber) -> Option<Arc<Neighbor>> {
        self.links.load().get(&node).cloned()
    }

    /// Calls `f` with a trunk whose link is up, without counting a reference: the hot path.
    pub(super) fn with_link<T>(&self, node: NodeNumber, f: impl FnOnce(&Neighbor) -> T) -> Option<T> {
        self.links.load().get(&node).map(|neighbor| f(neighbor))
    }

    pub(super) fn status(&self) -> Vec<TrunkStatus> {
        self.links.load().values().map(|neighbor| neighbor.status()).collect()
    }

    /// Ends the trunk to a node, whether its link is up or not.
    pub(super) fn close(&self, node: NodeNumber, reason: TrunkRefusal) {
        if let Some(claim) = self.claims().get(&node) {
            claim.neighbor.close(reason);
        }
    }

    /// A node's clock was looked at \[TRK-11\]; whose is wrong, the overlay tells.
    ///
    /// # Errors
    /// The trunk is refused.
    pub(super) async fn judge_clock(&self, peer: NodeNumber, offset_ms: i64) -> Result<(), TrunkRefusal> {
        // The overlay ends with the node; nobody is left to care then.
        let _ = self.inputs.send(Input::Clock { peer, offset_ms }).await;
        if u128::from(offset_ms.unsigned_abs()) <= super::config::CLOCK_OFFSET_MAX.as_millis() {
            Ok(())
        } else {
            Err(TrunkRefusal::Clock)
        }
    }

    fn claims(&self) -> MutexGuard<'_, BTreeMap<NodeNumber, Claim>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Microseconds since the process's start.
pub(super) fn micros(at: Timestamp) -> u64 {
    u64::try_from(at.0.as_micros()).unwrap_or(u64::MAX)
}

/// Whether a new trunk takes the place of the old one of its pair, and what the old one is told \[TRK-12\].
fn replaces(own: NodeNumber, old: &Neighbor, new: &Neighbor) -> Result<TrunkRefusal, TrunkRefusal> {
    if old.peer.identity.key != new.peer.identity.key {
        let later = new.peer.identity.not_before > old.peer.identity.not_before;
        return if later { Ok(TrunkRefusal::NumberInUse) } else { Err(TrunkRefusal::NumberInUse) };
    }
    let takes = !new.dialled && (!old.dialled || new.number() < own);
    if takes { Ok(TrunkRefusal::Duplicate) } else { Err(TrunkRefusal::Duplicate) }
}
