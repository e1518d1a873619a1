//! Control messages that cross several nodes, in the light profile: taken to their last hop in one event. Each node on the
//! way decides by its own routes, as it would; what it does not do is to read and write the message again.
//!
//! A fault that happens while such a message is under way finds it on its last hop.

use std::time::Duration;

use bytes::Bytes;
use proto_spec::NodeNumber;
use proto_spec::mesh::MeshMessage;

use super::world::{Event, World};

impl World {
    /// Carries a message that a node sends to a neighbour on towards its destination, as long as the nodes on the way stand
    /// and know one. False if it is none of those, or goes no further than the neighbour.
    pub(super) fn carry_over(&mut self, from: NodeNumber, to: NodeNumber, bytes: &Bytes) -> bool {
        let Some((destination, hop_limit)) = MeshMessage::routed_to(bytes).filter(|(end, _)| *end != to)
        else {
            return false;
        };
        let (mut before, mut at, mut left) = (from, to, hop_limit);
        let mut takes = self.passes(before, at);
        while at != destination && left > 0 {
            let Some(so_far) = takes else { return false };
            let core = self.hosts.get(&at).filter(|host| !host.paused).and_then(|host| host.node.as_ref());
            let next = core.and_then(|core| core.routes().next_hop(destination, Some(before)).ok());
            let Some(next) = next else { return false };
            (before, at, left) = (at, next, left - 1);
            takes = self.passes(before, at).map(|more| so_far + more);
        }
        let Some((takes, trunk)) = takes.zip(self.trunk_id(before, at)).filter(|_| at == destination) else {
            return false;
        };
        let bytes = MeshMessage::with_hops_left(bytes, left).into();
        self.schedule(takes, Event::Message { from: before, to: at, trunk, bytes });
        true
    }

    /// How long a message takes from a node to its neighbour, if they are joined.
    fn passes(&mut self, from: NodeNumber, to: NodeNumber) -> Option<Duration> {
        let whole = self.trunks.get(&super::network::pair(from, to)).is_some_and(super::Trunk::is_whole);
        if whole { self.network.transit(from, to) } else { None }
    }
}
