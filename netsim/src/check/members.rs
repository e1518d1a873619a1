//! Property 2: only members get a session's packets: no endpoint without a ticket for it ever, no node without a member
//! once all agree.

use proto_spec::{NodeNumber, SessionId};

use super::Property;
use crate::sim::World;

impl World {
    /// A node takes a unit for its own members.
    pub(crate) fn check_node_delivery(&mut self, id: u64, at: NodeNumber, session: SessionId, carries: bool) {
        if carries || self.has_guest(at, session) {
            return;
        }
        self.checkers.stale_copies += 1;
        let Some(sent_at) = self.packets.get(&id).map(|trace| trace.sent_at) else { return };
        if self.calm(sent_at) {
            let what = format!("unit {id} came to node {at}, which has no member of its session");
            self.violated(Property::Members, what);
        }
    }

    /// Whether somebody of the session is attached there at all.
    fn has_guest(&self, at: NodeNumber, session: SessionId) -> bool {
        self.hosts[&at].attached_to(session).next().is_some()
    }

    /// Frames of a session go to an attachment: it must have shown a ticket for it.
    pub(crate) fn check_endpoint_delivery(
        &mut self,
        at: NodeNumber,
        session: SessionId,
        admitted_to: Option<SessionId>,
    ) {
        if admitted_to != Some(session) {
            let what = format!("node {at} hands frames of a session to an endpoint of another, or of none");
            self.violated(Property::Members, what);
        }
    }
}
