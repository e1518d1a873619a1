//! Property 1: the copies of a unit form a tree once all agree, and never make more hops than they may.

use proto_spec::NodeNumber;
use proto_spec::egress::{HOP_LIMIT, TrunkHeader};

use super::Property;
use crate::sim::World;

impl World {
    /// A node handles a unit: not again, and not after too many hops.
    pub(crate) fn check_visit(&mut self, id: u64, at: NodeNumber, header: &TrunkHeader) {
        let Some(trace) = self.packets.get(&id) else { return };
        let (visits, sent_at, copies) =
            (trace.visits.get(&at).copied().unwrap_or(0), trace.sent_at, trace.copies as usize);
        if header.hop_limit > HOP_LIMIT {
            let what = format!("unit {id} came to node {at} with {} hops left", header.hop_limit);
            return self.violated(Property::CopyTree, what);
        }
        // Each of its destinations makes a way of at most so many hops; whatever routes say, no more copies can be.
        let most = usize::from(HOP_LIMIT) * (self.plan.nodes.len() - 1).max(1);
        if copies > most {
            let what = format!("unit {id} was copied {copies} times, {most} are possible");
            return self.violated(Property::CopyTree, what);
        }
        if visits > 1 && self.calm(sent_at) {
            let what = format!("unit {id} came to node {at} {visits} times although all agree");
            self.violated(Property::CopyTree, what);
        }
    }
}
