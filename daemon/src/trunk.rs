//! Node <-> node: trunks, the two mutually authenticated connections that carry a link.
//!
//! ```text
//!  overlay --dial, close, send--> Trunks --LinkUp, LinkDown, LinkRtt, Message--> overlay's inputs
//!  gateway --push (one copy)----> data queue of a neighbour ==TCP+TLS==> neighbour --Arrivals::packet--> its gateway
//!  broker's gateway --call------> gRPC over mutual TLS ==================> the broker node's PeerConnection queue
//! ```
//! Never decides whom to be linked with, what a message means or where a packet goes: that is the overlay's core.

use std::fmt;
use std::io;

use proto_spec::egress::TrunkHeader;
use proto_spec::{NodeNumber, Timestamp};
use sealcast_attach::Run;
use sealcast_mesh::CloseReason;

/// Takes what comes over the data connections.
pub trait Arrivals: Send + Sync + 'static {
    /// Whole data frames of one sender, class and destination, behind one header. Must not block.
    fn packet(&self, from: NodeNumber, header: TrunkHeader, run: Run);
}

/// A byte stream to or from another node after mutual TLS, for gRPC.
pub trait PeerBytes: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> PeerBytes for T {}

/// A gRPC connection between two nodes of the mesh, both proven by their certificates.
pub struct PeerConnection {
    /// The node at the other end, from the leaf of its chain.
    pub peer: NodeNumber,
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

/// All trunks of a node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Trunks {}

impl Trunks {
    /// Tries to reach a node; `None` for whoever answers there.
    pub fn dial(&self, _peer: Option<NodeNumber>, _addresses: Vec<String>) {}

    /// Ends a trunk, and says why to the other side.
    pub fn close(&self, _peer: NodeNumber, _reason: CloseReason) {}

    /// Sends a `MeshMessage` on the control connection; dropped and counted if there is none or its queue is full.
    pub fn send(&self, _to: NodeNumber, _message: Vec<u8>) {}

    /// Queues one copy of a run for a neighbour; `false` if there is no trunk to it (the caller counts the drop).
    pub fn push(&self, _now: Timestamp, _to: NodeNumber, _header: &TrunkHeader, _run: Run) -> bool {
        false
    }

    /// Opens a gRPC connection to a node at one of its trunk addresses, over mutual TLS.
    ///
    /// # Errors
    /// The system's, or TLS's: the node's certificate is another's, revoked, of another mesh.
    pub async fn call(&self, _to: NodeNumber, _addresses: &[String]) -> io::Result<PeerConnection> {
        Err(io::Error::new(io::ErrorKind::NotConnected, "this node has no trunks"))
    }

    /// Every trunk that is up, ascending by neighbour.
    pub fn status(&self) -> Vec<TrunkStatus> {
        Vec::new()
    }
}
