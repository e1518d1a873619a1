//! What overlay and gateway need of trunks, as one small trait: tests join nodes in memory.

use proto_spec::egress::TrunkHeader;
use proto_spec::{NodeNumber, Timestamp};
use sealcast_attach::Run;
use sealcast_mesh::CloseReason;

use crate::trunk::Trunks;

/// The neighbours. Nothing here blocks.
pub trait Links: Send + Sync + 'static {
    /// Tries to reach a node; `None` for whoever answers there.
    fn dial(&self, peer: Option<NodeNumber>, addresses: Vec<String>);

    /// Ends a trunk, and says why to the other side.
    fn close(&self, peer: NodeNumber, reason: CloseReason);

    /// Sends a `MeshMessage` on the control connection.
    fn send(&self, to: NodeNumber, message: Vec<u8>);

    /// Queues one copy of a run for a neighbour; `false` if there is no trunk to it.
    fn push(&self, now: Timestamp, to: NodeNumber, header: &TrunkHeader, run: Run) -> bool;
}

impl Links for Trunks {
    fn dial(&self, peer: Option<NodeNumber>, addresses: Vec<String>) {
        Trunks::dial(self, peer, addresses);
    }

    fn close(&self, peer: NodeNumber, reason: CloseReason) {
        Trunks::close(self, peer, reason);
    }

    fn send(&self, to: NodeNumber, message: Vec<u8>) {
        Trunks::send(self, to, message);
    }

    fn push(&self, now: Timestamp, to: NodeNumber, header: &TrunkHeader, run: Run) -> bool {
        Trunks::push(self, now, to, header, run)
    }
}
