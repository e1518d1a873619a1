//! Node <-> node: trunks, the two mutually authenticated connections that carry a link.
//!
//! ```text
//!  overlay --dial, close, send--> Trunks --LinkUp, LinkDown, LinkRtt, Message--> overlay's inputs
//!  gateway --push (one copy)----> data queue of a neighbour ==TCP+TLS==> neighbour --Arrivals::packet--> its gateway
//!  broker's gateway --call------> gRPC over mutual TLS ==================> the broker node's PeerConnection queue
//! ```
//! Never decides whom to be linked with, what a message means or where a packet goes: that is the overlay's core.

mod accept;
mod behaviour;
mod calls;
pub mod config;
mod data;
mod dial;
mod handler;
mod hub;
mod neighbor;
mod protocol;
mod refusals;
mod swarm;
mod transport;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::sync::Arc;

use proto_spec::egress::TrunkHeader;
use proto_spec::trunk::TrunkRefusal;
use proto_spec::{NodeNumber, Timestamp};
use sealcast_attach::{Limits, NodeMemory, Run};
use sealcast_mesh::{CloseReason, Input};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::metrics::{Metrics, TrunkDirection};
use crate::tls::mesh::{CurrentMesh, Purpose};

use accept::Doors;
use calls::CallStream;
pub use config::Settings;
use dial::Dialled;
use hub::Hub;
use swarm::{Order, Owner};

/// Takes what comes over the data connections.
pub trait Arrivals: Send + Sync + 'static {
    /// Whole data frames of one sender, class and destination, behind one header. Must not block.
    fn packet(&self, from: NodeNumber, header: TrunkHeader, run: Run);
}

/// A byte stream to or from another node after mutual TLS, for gRPC.
pub trait PeerBytes: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> PeerBytes for T {}

/// A gRPC connection between two nodes of the mesh, both proven by their certificates \[TRK-17\].
pub struct PeerConnection {
    /// The node at the other end, from the leaf of its chain.
    pub peer: NodeNumber,
    /// Its certificate's name in revocation lists.
    pub certificate: [u8; 32],
    /// HTTP/2 in the clear of TLS.
    pub stream: Box<dyn PeerBytes>,
}

impl fmt::Debug for PeerConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerConnection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// One trunk as an operator sees it.
#[derive(Clone, Debug)]
pub struct TrunkStatus {
    /// The neighbour.
    pub peer: NodeNumber,
    /// Where it is, as connected.
    pub address: String,
    /// Round trip in microseconds, once measured.
    pub rtt_us: Option<u32>,
    /// Its wall clock less ours, in milliseconds, as measured at the hello.
    pub clock_offset_ms: i64,
    /// Bytes that wait for it.
    pub queue_bytes: u64,
    /// Frames and bytes sent and received on the data connection.
    pub sent: (u64, u64),
    /// The same, received.
    pub received: (u64, u64),
    /// Frames dropped at its queue.
    pub dropped: u64,
}

/// Everything that trunks are made of.
pub struct Parts {
    /// The port for other nodes, bound.
    pub listener: TcpListener,
    /// What the operator set.
    pub settings: Settings,
    /// What the node presents and trusts; may be swapped at any time.
    pub tls: CurrentMesh,
    /// This node.
    pub number: NodeNumber,
    /// The mesh's name.
    pub mesh: String,
    /// The clock of the process.
    pub clock: Clock,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where the overlay hears of links and messages, which wait for a place in it. While it is full a trunk reads no
    /// further messages, but stays up. Round trips are dropped when it is full.
    pub inputs: mpsc::Sender<Input>,
    /// Where packets go.
    pub arrivals: Arc<dyn Arrivals>,
    /// Where gRPC connections of other nodes go; one that finds no place is refused.
    pub calls: mpsc::Sender<PeerConnection>,
    /// Bounds of attachments, as the classes' credits.
    pub limits: Arc<Limits>,
    /// What all queues of the node hold.
    pub memory: Arc<NodeMemory>,
    /// Ends it all; trunks say so first.
    pub stop: CancellationToken,
    /// Every task, to be waited for after `stop`.
    pub tasks: TaskTracker,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").field("number", &self.number).finish_non_exhaustive()
    }
}

/// All trunks of a node. Cheap to clone. The default has none: a mesh of one.
#[derive(Clone, Debug, Default)]
pub struct Trunks {
    hub: Option<Arc<Hub>>,
}

impl Trunks {
    /// Serves the port and whoever is dialled, until [`Parts::stop`].
    ///
    /// # Errors
    /// The certificate's key or the trunk address cannot be used, or multicast DNS cannot be had.
    pub fn start(parts: Parts) -> io::Result<Trunks> {
        let (orders, orders_end) = mpsc::channel(config::ORDERS_MAX);
        let (control, incoming) = mpsc::channel(config::INCOMING_MAX);
        let Parts { listener, calls, tasks, stop, .. } = parts;
        let hub = Arc::new(Hub::new(
            hub::Shared {
                number: parts.number,
                mesh: parts.mesh,
                settings: parts.settings,
                clock: parts.clock,
                tls: parts.tls,
                metrics: parts.metrics,
                inputs: parts.inputs,
                arrivals: parts.arrivals,
                limits: parts.limits,
                memory: parts.memory,
                stop: stop.clone(),
            },
            orders,
        ));
        let owner = Owner::new(Arc::clone(&hub), incoming, orders_end, TaskTracker::new())?;
        tasks.spawn(owner.run());
        let doors = Doors::new(Arc::clone(&hub), control, calls, tasks.clone());
        tasks.spawn(accept::serve(listener, Arc::new(doors), stop));
        Ok(Trunks { hub: Some(hub) })
    }

    /// Tries to reach a node; `None` for whoever answers there.
    pub fn dial(&self, peer: Option<NodeNumber>, addresses: Vec<String>) {
        if let Some(hub) = &self.hub {
            // The overlay asks again until there is a link.
            let _ = hub.orders.try_send(Order::Dial { peer, addresses });
        }
    }

    /// Ends a trunk, and says why to the other side.
    pub fn close(&self, peer: NodeNumber, reason: CloseReason) {
        if let Some(hub) = &self.hub {
            hub.close(peer, refusal_of(reason));
        }
    }

    /// Sends a `MeshMessage` on the control connection; dropped and counted if there is none or its queue is full.
    pub fn send(&self, to: NodeNumber, message: Vec<u8>) {
        let Some(hub) = &self.hub else { return };
        let sent = hub.link(to).is_some_and(|neighbor| neighbor.send(message));
        if !sent {
            hub.metrics.trunk_message_dropped(TrunkDirection::Out);
        }
    }

    /// Queues one copy of a run for a neighbour; `false` if there is no trunk to it (the caller counts the drop). What a
    /// full queue drops is counted here.
    pub fn push(&self, _now: Timestamp, to: NodeNumber, header: &TrunkHeader, run: Run) -> bool {
        let Some(hub) = &self.hub else { return false };
        hub.with_link(to, |neighbor| neighbor.data.push(header, run)).is_some()
    }

    /// Opens a gRPC connection to a node at one of its trunk addresses, over mutual TLS.
    ///
    /// # Errors
    /// The system's, or TLS's: the node's certificate is another's, revoked, of another mesh.
    pub async fn call(&self, to: NodeNumber, addresses: &[String]) -> io::Result<PeerConnection> {
        let Some(hub) = &self.hub else {
            return Err(io::Error::new(io::ErrorKind::NotConnected, "this node has no trunks"));
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the node names no trunk address");
        for address in addresses {
            match dial::connect(hub, address, Purpose::Calls, Some(to)).await {
                Ok(Dialled { stream, peer }) => return Ok(CallStream::between(hub, stream, peer, None)),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Every trunk that is up, ascending by neighbour.
    pub fn status(&self) -> Vec<TrunkStatus> {
        self.hub.as_ref().map(|hub| hub.status()).unwrap_or_default()
    }
}

/// What the other end is told.
const fn refusal_of(reason: CloseReason) -> TrunkRefusal {
    match reason {
        CloseReason::Own => TrunkRefusal::Own,
        CloseReason::NotAllowed => TrunkRefusal::NotAllowed,
        CloseReason::TooMany => TrunkRefusal::TooMany,
        CloseReason::Surplus => TrunkRefusal::Surplus,
        CloseReason::NumberInUse => TrunkRefusal::NumberInUse,
        CloseReason::Cloned => TrunkRefusal::Cloned,
        CloseReason::Revoked => TrunkRefusal::Revoked,
        CloseReason::Misbehaved => TrunkRefusal::Misbehaved,
    }
}
