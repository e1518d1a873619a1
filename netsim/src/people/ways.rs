//! The ways from nodes to a session's other nodes, by link state, as a node with a broker tells them to its broker.

use std::collections::BTreeMap;

use proto_spec::NodeNumber;
use proto_spec::lsa::DrainState;
use sealcast_mesh::spf::{Vertex, distances};

use crate::sim::World;

/// Costs are counted in tenths of a millisecond.
const COST_US: u32 = 100;

impl World {
    /// From each node the way to the farthest of these, in microseconds; who cannot reach them all is left out.
    pub(super) fn ways_to(&self, nodes: &[NodeNumber]) -> BTreeMap<NodeNumber, u32> {
        let broker = self.broker_node().and_then(|number| self.hosts[&number].node.as_ref());
        let Some(broker) = broker else { return BTreeMap::new() };
        let vertices: Vec<Vertex<'_>> = broker
            .roster()
            .iter()
            .filter_map(|number| broker.lsa(*number))
            .map(|lsa| Vertex {
                node: lsa.body.node,
                avoid: lsa.body.drain != DrainState::Serving,
                links: &lsa.body.links,
            })
            .collect();
        let mut farthest: Option<BTreeMap<NodeNumber, u32>> = None;
        for node in nodes {
            let ways: BTreeMap<NodeNumber, u32> = distances(*node, &vertices)
                .into_iter()
                .map(|(to, cost)| (to, cost.saturating_mul(COST_US)))
                .collect();
            farthest = Some(match farthest {
                None => ways,
                Some(farthest) => farthest
                    .into_iter()
                    .filter_map(|(to, way)| Some((to, way.max(*ways.get(&to)?))))
                    .collect(),
            });
        }
        farthest.unwrap_or_default()
    }
}
