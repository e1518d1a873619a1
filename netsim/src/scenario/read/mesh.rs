//! `[mesh]`: who may be linked and what links cost; and whether everybody finds room.

use std::collections::{BTreeMap, BTreeSet};

use proto_spec::NodeNumber;
use sealcast_mesh::config::{COST_MAX, LINKS_MAX};
use toml::Spanned;

use super::file::{self, File};
use super::{Outcome, Reader, Table, table};
use crate::scenario::COSTS_PER_MS;

/// What the file says of links.
pub(super) struct Links {
    pub(super) max: usize,
    pub(super) allowed: Option<BTreeSet<(NodeNumber, NodeNumber)>>,
    pub(super) costs_ms: BTreeMap<(NodeNumber, NodeNumber), u64>,
}

impl Reader<'_> {
    pub(super) fn links(&self, raw: Option<&Spanned<file::Mesh>>) -> Outcome<Links> {
        let mut links = Links { max: 16, allowed: None, costs_ms: BTreeMap::new() };
        let Some(raw) = raw else { return Ok(links) };
        let table = table("mesh", raw);
        links.max = raw.get_ref().links_max.unwrap_or(links.max);
        if !(1..=LINKS_MAX).contains(&links.max) {
            return Err(self.source.refuse(&table, "links_max", &format!("give 1 to {LINKS_MAX}")));
        }
        if let Some(pairs) = &raw.get_ref().links_allowed {
            links.allowed = Some(self.allowed(&table, pairs)?);
        }
        for (a, b, cost_ms) in &raw.get_ref().link_costs_ms {
            let refuse = |sentence: &str| Err(self.source.refuse(&table, "link_costs_ms", sentence));
            let pair = self.pair(&table, "link_costs_ms", *a, *b)?;
            let most = u64::from(COST_MAX) / COSTS_PER_MS;
            if !(1..=most).contains(cost_ms) {
                return refuse(&format!("a link costs 1 to {most} ms"));
            }
            if links.allowed.as_ref().is_some_and(|allowed| !allowed.contains(&pair)) {
                return refuse(&format!("links_allowed leaves out {a} and {b}: they have no link"));
            }
            if links.costs_ms.insert(pair, *cost_ms).is_some() {
                return refuse(&format!("{a} and {b} are named twice: a link has one cost"));
            }
        }
        Ok(links)
    }

    /// Two different nodes, the lower number first.
    fn pair(&self, table: &Table, key: &str, a: u16, b: u16) -> Outcome<(NodeNumber, NodeNumber)> {
        let (a, b) = (self.number(table, key, a)?, self.number(table, key, b)?);
        if a == b {
            return Err(self.source.refuse(table, key, "a node has no link with itself"));
        }
        Ok((a.min(b), a.max(b)))
    }

    /// Pairs over which every node reaches every other.
    fn allowed(&self, table: &Table, pairs: &[[u16; 2]]) -> Outcome<BTreeSet<(NodeNumber, NodeNumber)>> {
        let allowed: BTreeSet<(NodeNumber, NodeNumber)> =
            pairs.iter().map(|[a, b]| self.pair(table, "links_allowed", *a, *b)).collect::<Outcome<_>>()?;
        let mut reached = BTreeSet::from([self.nodes[0].number]);
        while let Some(next) = allowed.iter().find_map(|(a, b)| {
            let (has_a, has_b) = (reached.contains(a), reached.contains(b));
            (has_a != has_b).then_some(if has_a { *b } else { *a })
        }) {
            reached.insert(next);
        }
        if let Some(apart) = self.nodes.iter().find(|node| !reached.contains(&node.number)) {
            let sentence = format!("nothing leads to node {}: allow a link with it", apart.number);
            return Err(self.source.refuse(table, "links_allowed", &sentence));
        }
        Ok(allowed)
    }

    /// Whoever attaches to a node by name finds room there, and all together find it in the mesh.
    pub(super) fn everybody_fits(&self, raw: &File) -> Outcome<()> {
        let mut wanted: BTreeMap<NodeNumber, u64> = BTreeMap::new();
        let mut room: BTreeMap<NodeNumber, u64> = BTreeMap::new();
        room.extend(self.nodes.iter().map(|node| (node.number, u64::from(node.capacity))));
        let capacity: u64 = room.values().sum();
        let mut attachments = 0;
        for session in &raw.session {
            let sessions = u64::from(session.get_ref().count.unwrap_or(1));
            for endpoint in &session.get_ref().endpoint {
                let (table, endpoint) = (table("session.endpoint", endpoint), endpoint.get_ref());
                let count = sessions * u64::from(endpoint.count.unwrap_or(1));
                for (key, node) in [("node", endpoint.node), ("standby_node", endpoint.standby_node)] {
                    let Some(node) = node.and_then(NodeNumber::new) else { continue };
                    let here = wanted.entry(node).or_default();
                    *here += count;
                    let here = *here;
                    if room.get(&node).is_some_and(|room| here > *room) {
                        let sentence =
                            format!("{here} attachments are wanted at node {node}: raise its capacity");
                        return Err(self.source.refuse(&table, key, &sentence));
                    }
                }
                attachments += count;
                if attachments > capacity {
                    let sentence =
                        format!("{attachments} endpoints are too many for all nodes: raise capacities");
                    return Err(self.source.refuse(&table, "count", &sentence));
                }
            }
        }
        Ok(())
    }
}
