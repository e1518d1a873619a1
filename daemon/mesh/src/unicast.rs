//! Control unicast: messages to a node by its number, routed as data is \[MCU-1\].

use std::collections::BTreeMap;

use proto_spec::egress::HOP_LIMIT;
use proto_spec::lsa::Roles;
use proto_spec::membership::Membership;
use proto_spec::mesh::{
    LoadReport, MEMBERSHIPS_BYTES_MAX, MEMBERSHIPS_MAX, MeshMessage, Routed, RoutedMessage,
};
use proto_spec::{NodeNumber, Wire};
use serde::{Deserialize, Serialize};

use crate::forward::DropReason;
use crate::io::Output;
use crate::node::Node;
use crate::wired::Wired;

/// Memberships that are to go out when the input has been handled: several to one node share a message.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Outbox(BTreeMap<(NodeNumber, bool), Vec<Wired<Membership>>>);

impl Outbox {
    pub(crate) fn put(&mut self, to: NodeNumber, acknowledge: bool, membership: Membership) {
        self.0.entry((to, acknowledge)).or_default().push(Wired(membership));
    }
}

impl Node {
    /// Sends a message to any node but this one.
    pub(crate) fn unicast(&mut self, destination: NodeNumber, message: RoutedMessage) {
        let source = self.identity.node;
        if destination == source {
            return;
        }
        self.route(None, Routed { source, destination, hop_limit: HOP_LIMIT, message });
    }

    /// One on its way to another node: hops are counted, and it never goes back \[MCU-2\].
    pub(crate) fn routed_received(&mut self, from: NodeNumber, mut routed: Routed) {
        if routed.destination == self.identity.node {
            return self.unicast_received(routed.source, routed.message);
        }
        if routed.hop_limit == 0 {
            return self.counters.unicast_hop_limit += 1;
        }
        routed.hop_limit -= 1;
        self.counters.unicast_forwarded += 1;
        self.route(Some(from), routed);
    }

    fn route(&mut self, arrived_on: Option<NodeNumber>, routed: Routed) {
        match self.snapshot.next_hop(routed.destination, arrived_on) {
            Ok(to) => self.send(to, &MeshMessage::Routed(routed)),
            // A neighbour is reached although no route leads there yet.
            Err(DropReason::Unreachable) if self.links.contains_key(&routed.destination) => {
                self.send(routed.destination, &MeshMessage::Routed(routed));
            }
            Err(_) => self.counters.unicast_unroutable += 1,
        }
    }

    fn unicast_received(&mut self, source: NodeNumber, message: RoutedMessage) {
        match message {
            RoutedMessage::Memberships { acknowledge, memberships } => {
                for membership in memberships {
                    self.membership_received(source, acknowledge, membership);
                }
            }
            RoutedMessage::MembershipAck(ack) => self.membership_acked(source, ack),
            RoutedMessage::HomeDigest(sessions) => {
                for session in sessions {
                    self.home_digest_received(source, &session);
                }
            }
            RoutedMessage::MembershipRequest { session, nodes } => {
                self.membership_requested(source, session, &nodes);
            }
            RoutedMessage::Tombstone(tombstone) => self.tombstone_received(source, tombstone),
            RoutedMessage::TombstoneAck { session, number } => self.tombstone_acked(source, session, number),
            RoutedMessage::Load(report) => self.output(Output::Load { from: source, report }),
        }
    }

    /// Sends what has gathered, as few messages as hold it.
    pub(crate) fn flush_outbox(&mut self) {
        for ((to, acknowledge), waiting) in std::mem::take(&mut self.outbox.0) {
            let mut memberships = Vec::new();
            let mut bytes = 0;
            for Wired(membership) in waiting {
                let length = membership.to_bytes().len();
                if memberships.len() == MEMBERSHIPS_MAX || bytes + length > MEMBERSHIPS_BYTES_MAX {
                    let memberships = std::mem::take(&mut memberships);
                    self.unicast(to, RoutedMessage::Memberships { acknowledge, memberships });
                    bytes = 0;
                }
                bytes += length;
                memberships.push(membership);
            }
            if !memberships.is_empty() {
                self.unicast(to, RoutedMessage::Memberships { acknowledge, memberships });
            }
        }
    }

    /// Tells every broker within reach how this node is \[MCU-3\]: not flooded.
    pub(crate) fn report_load(&mut self, report: LoadReport) {
        let me = self.identity.node;
        for broker in self.brokers.clone() {
            self.unicast(broker, RoutedMessage::Load(report));
        }
        if self.config.roles.has(Roles::BROKER) {
            self.output(Output::Load { from: me, report });
        }
    }
}
