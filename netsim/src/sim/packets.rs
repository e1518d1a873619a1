//! Units of data from node to node: a header and whatever stands behind it, forwarded by the core's own function.

use std::collections::BTreeMap;

use proto_spec::egress::{EgressSet, HOP_LIMIT, TrunkHeader};
use proto_spec::membership::MemberKind;
use proto_spec::{NodeNumber, SessionId, Timestamp};
use sealcast_attach::Run;
use sealcast_mesh::{DropReason, forward};

use super::bug::Bug;
use super::world::{Event, World};
use crate::check::Property;

/// Something under way between nodes.
#[derive(Debug)]
pub struct Unit {
    /// Which.
    pub(crate) id: u64,
    /// As on the wire.
    pub(crate) header: TrunkHeader,
    /// Frames of one endpoint, class and destination; `None` for a bare packet.
    pub(crate) run: Option<Run>,
}

/// What became of one unit.
#[derive(Clone, Default, Debug)]
pub struct PacketTrace {
    /// How often each node has handled it.
    pub visits: BTreeMap<NodeNumber, u32>,
    /// How often each node with an active member has got it for that.
    pub delivered: BTreeMap<NodeNumber, u32>,
    /// Copies delivered to nodes without an active member.
    pub stale: u32,
    /// Destinations that it did not reach, with why.
    pub dropped: Vec<(NodeNumber, DropReason)>,
    /// Copies on the way.
    pub under_way: u32,
    /// Copies made.
    pub copies: u32,
    /// When it was sent.
    pub sent_at: Timestamp,
    /// Whether somebody wants it kept when it has arrived.
    pub kept: bool,
}

impl World {
    /// An endpoint on a node sends a bare packet to all of its session; returns the packet's id.
    pub fn send_packet(&mut self, from: NodeNumber, session: SessionId) -> u64 {
        let id = self.next_id();
        self.packets.insert(id, PacketTrace { kept: true, sent_at: self.now, ..PacketTrace::default() });
        let view = self.hosts[&from].node.as_ref().and_then(|node| node.session(session));
        let egress = view.map(|view| view.egress.clone()).unwrap_or_default();
        if let Some(egress) = EgressSet::new(egress) {
            self.inject(id, from, TrunkHeader { hop_limit: HOP_LIMIT, ingress: from, egress, session }, None);
        }
        id
    }

    /// Frames of an endpoint leave their first node for others.
    pub(crate) fn send_frames(&mut self, from: NodeNumber, session: SessionId, egress: EgressSet, run: Run) {
        let id = self.next_id();
        self.packets.insert(id, PacketTrace { sent_at: self.now, ..PacketTrace::default() });
        let header = TrunkHeader { hop_limit: HOP_LIMIT, ingress: from, egress, session };
        self.inject(id, from, header, Some(run));
    }

    fn inject(&mut self, id: u64, from: NodeNumber, header: TrunkHeader, run: Option<Run>) {
        self.pass_on(from, None, Unit { id, header, run });
        self.settle_packet(id);
    }

    pub(super) fn unit_arrives(&mut self, from: NodeNumber, to: NodeNumber, trunk: u64, mut unit: Unit) {
        let id = unit.id;
        if let Some(trace) = self.packets.get_mut(&id) {
            trace.under_way -= 1;
        }
        if self.listens(to, from, trunk) {
            // From here on it presses on nobody behind.
            unit.run = unit.run.and_then(|run| self.people.gateway_of(to, &self.hosts).arrived(&run));
            if self.misbehaves(Bug::SkipDedup, 3) {
                let (header, run) = (unit.header.clone(), unit.run.clone());
                self.pass_on(to, Some(from), Unit { id, header, run });
            }
            self.pass_on(to, Some(from), unit);
        }
        self.settle_packet(id);
    }

    /// What a node does with a unit: its own part to its members, a copy to each next hop.
    fn pass_on(&mut self, at: NodeNumber, arrived_on: Option<NodeNumber>, unit: Unit) {
        let Unit { id, header, run } = unit;
        let Some(node) = self.hosts[&at].node.as_ref() else { return };
        let snapshot = node.snapshot();
        let mut copies = forward(&snapshot, arrived_on, &header);
        self.trace.event(self.now.0.as_nanos() as u64, id);
        if self.misbehaves(Bug::WrongNextHop, 5)
            && let Some(copy) = copies.copies.first_mut()
            && let Some(wrong) = snapshot.up().iter().find(|peer| **peer != copy.to)
        {
            copy.to = *wrong;
        }
        copies.local |= self.misbehaves(Bug::DeliverToStranger, 10);
        let carries = self.carries(at, header.session);
        if let Some(trace) = self.packets.get_mut(&id) {
            *trace.visits.entry(at).or_default() += 1;
            if copies.local && carries {
                *trace.delivered.entry(at).or_default() += 1;
                if let Some(recorder) = &mut self.recorder {
                    recorder.arrived(header.ingress, at, self.now.since(trace.sent_at));
                }
            } else if copies.local {
                trace.stale += 1;
            }
            trace.dropped.extend(copies.dropped.iter().copied());
        }
        self.check_visit(id, at, &header);
        if copies.local {
            self.check_node_delivery(id, at, header.session, carries);
        }
        for copy in copies.copies {
            if Some(copy.to) == arrived_on {
                let what = format!("node {at} sent unit {id} back to node {}, where it came from", copy.to);
                self.violated(Property::CopyTree, what);
            }
            if let Some(trace) = self.packets.get_mut(&id) {
                trace.copies += 1;
            }
            let Some(trunk) = self.trunk_id(at, copy.to) else { continue };
            let header = TrunkHeader { hop_limit: copies.hop_limit, egress: copy.egress, ..header.clone() };
            let run = run.clone();
            let bytes = run.as_ref().map_or(64, |run| run.bytes().len());
            if let Some(trace) = self.packets.get_mut(&id) {
                trace.under_way += 1;
            }
            let unit = Unit { id, header, run };
            self.say(at, copy.to, bytes, Event::Unit { from: at, to: copy.to, trunk, unit });
        }
        if copies.local
            && let Some(run) = run
        {
            self.deliver_frames(at, header.session, run);
        }
    }

    /// Forgets a unit that has arrived everywhere, once it has been looked at.
    fn settle_packet(&mut self, id: u64) {
        if self.packets.get(&id).is_some_and(|trace| trace.under_way == 0 && !trace.kept) {
            self.packets.remove(&id);
        }
    }

    /// Whether a node has an active member of a session, in truth.
    pub fn carries(&self, number: NodeNumber, session: SessionId) -> bool {
        let mut attached = self.hosts[&number].attached_to(session);
        attached.any(|entry| entry.kind == MemberKind::Active)
    }
}
