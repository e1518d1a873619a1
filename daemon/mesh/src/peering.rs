//! The neighbour rule \[LNK-3\]: whom a node wants to be linked with, at all sizes of a mesh.
//!
//! Ring successors and predecessors by number, then near nodes, then nodes at random; a full mesh below `links_max` is a
//! consequence. Decides and dials; never accepts (see [`crate::link`]).

use std::collections::BTreeSet;

use proto_spec::lsa::DrainState;
use proto_spec::{NodeNumber, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::{
    DIAL_BACKOFF_MAX, DIAL_BACKOFF_MIN, DIAL_YIELD, LINK_DROP_INTERVAL, NEAR_LINKS, RING_REACH,
    SEED_INTERVAL, SEED_INTERVAL_LINKED, SEEDS_MAX,
};
use crate::home::mix;
use crate::io::{CloseReason, Output};
use crate::node::Node;
use crate::timers::Timer;

/// A node that might be a neighbour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its number.
    pub node: NodeNumber,
    /// Whether it stands in the same region.
    pub same_region: bool,
    /// How far it is by the routes, `u32::MAX` if unknown.
    pub distance: u32,
    /// Whether a link with it ended lately: it may have had too many.
    pub lost: bool,
}

/// The `RING_REACH` next and previous numbers around the ring; `nodes` ascend and may or may not hold `me`.
pub fn ring(me: NodeNumber, nodes: &[NodeNumber]) -> BTreeSet<NodeNumber> {
    let others: Vec<NodeNumber> = nodes.iter().copied().filter(|node| *node != me).collect();
    let after = others.partition_point(|node| *node < me);
    let count = others.len();
    let reach = RING_REACH.min(count);
    (0..reach)
        .flat_map(|step| [others[(after + step) % count], others[(after + count - 1 - step) % count]])
        .collect()
}

/// Everybody to be linked with: at most `links_max`, the ring first.
pub fn wanted(me: NodeNumber, candidates: &[Candidate], links_max: usize) -> BTreeSet<NodeNumber> {
    let numbers: Vec<NodeNumber> = candidates.iter().map(|candidate| candidate.node).collect();
    if candidates.len() <= links_max {
        return numbers.into_iter().collect();
    }
    let mut wanted = ring(me, &numbers);
    let mut others: Vec<&Candidate> =
        candidates.iter().filter(|candidate| !wanted.contains(&candidate.node)).collect();
    let nearness = |candidate: &&Candidate| {
        (candidate.lost, !candidate.same_region, candidate.distance, pair(me, candidate.node))
    };
    others.sort_by_key(nearness);
    let near = NEAR_LINKS.min(links_max.saturating_sub(wanted.len()));
    wanted.extend(others.drain(..near).map(|candidate| candidate.node));
    // Both ends draw the same number for a pair, so that what one wants the other tends to want.
    others.sort_by_key(|candidate| (candidate.lost, pair(me, candidate.node)));
    // The last quarter is left to others who want this node.
    let random = links_sought(links_max).saturating_sub(wanted.len());
    wanted.extend(others.into_iter().take(random).map(|candidate| candidate.node));
    wanted
}

/// Links that a node looks for beyond its ring; the rest up to `links_max` it only accepts.
const fn links_sought(links_max: usize) -> usize {
    links_max - links_max / 4
}

fn pair(one: NodeNumber, other: NodeNumber) -> u64 {
    let (low, high) = (one.min(other), one.max(other));
    mix(u64::from(low.value()) << 16 | u64::from(high.value()))
}

/// What is known of the attempts to reach a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Dialling {
    attempts: u32,
    next_at: Timestamp,
}

impl Node {
    /// Dials whom the rule wants and who is due.
    pub(crate) fn dial(&mut self) {
        let now = self.now.mono;
        let mut wanted = self.wanted_links();
        if wanted.len() > RING_REACH * 2
            && self.links.len() >= links_sought(self.config.links_max)
            && !self.is_small()
        {
            let known: Vec<NodeNumber> = self.lsdb.nodes().collect();
            let needed =
                self.ring().union(&ring(self.identity.node, &known)).copied().collect::<BTreeSet<_>>();
            wanted.retain(|node| needed.contains(node));
        }
        wanted.retain(|node| !self.links.contains_key(node));
        let links = &self.links;
        self.dials.retain(|node, _| wanted.contains(node) || links.contains_key(node));
        for node in wanted {
            self.dial_one(node);
        }
        let unlinked = self.dials.iter().filter(|(node, _)| !self.links.contains_key(node));
        let next = unlinked.map(|(_, dialling)| dialling.next_at).min();
        if let Some(next) = next {
            self.timers.no_later(Timer::Dial, next);
        }
        self.dial_seeds();
        if self.links.len() > self.config.links_max {
            self.timers
                .no_later(Timer::Excess, self.link_dropped_at.map_or(now, |at| at + LINK_DROP_INTERVAL));
        }
    }

    fn dial_one(&mut self, node: NodeNumber) {
        let now = self.now.mono;
        let waits = if node > self.identity.node { now } else { now + DIAL_YIELD };
        let dialling = self.dials.entry(node).or_insert(Dialling { attempts: 0, next_at: waits });
        if dialling.next_at > now {
            return;
        }
        let backoff = (DIAL_BACKOFF_MIN * (1 << dialling.attempts.min(10))).min(DIAL_BACKOFF_MAX);
        dialling.attempts += 1;
        // Half of it by chance, so that a mesh that comes back does not knock all at once.
        let half_ms = backoff.as_millis() as u64 / 2;
        let jitter = std::time::Duration::from_millis(half_ms + self.rng.below(half_ms));
        if let Some(dialling) = self.dials.get_mut(&node) {
            dialling.next_at = now + jitter;
        }
        let addresses = self.lsdb.get(node).map(|lsa| lsa.body.trunk_addresses.clone()).unwrap_or_default();
        self.output(Output::Dial { peer: Some(node), addresses });
    }

    fn dial_seeds(&mut self) {
        let now = self.now.mono;
        if self.config.seeds.is_empty() {
            return;
        }
        let interval = if self.links.is_empty() { SEED_INTERVAL } else { SEED_INTERVAL_LINKED };
        let due = self.seeds_dialled_at.map_or(now, |at| at + interval);
        if due <= now {
            self.seeds_dialled_at = Some(now);
            let known: BTreeSet<&String> = self
                .roster
                .iter()
                .filter_map(|node| self.lsdb.get(*node))
                .flat_map(|lsa| &lsa.body.trunk_addresses)
                .collect();
            let seeds = self.config.seeds.iter().take(SEEDS_MAX);
            let missing: Vec<String> = seeds.filter(|seed| !known.contains(seed)).cloned().collect();
            for seed in missing {
                self.output(Output::Dial { peer: None, addresses: vec![seed] });
            }
        }
        self.timers.no_later(Timer::Dial, due.max(now) + interval.min(SEED_INTERVAL));
    }

    /// Drops one link more than the node aims for, once a minute \[LNK-4\].
    pub(crate) fn drop_surplus(&mut self) {
        if self.links.len() <= self.config.links_max {
            return;
        }
        if let Some(surplus) = self.surplus_link() {
            self.link_dropped_at = Some(self.now.mono);
            self.close(surplus, CloseReason::Surplus);
        }
        if self.links.len() > self.config.links_max {
            self.timers.set(Timer::Excess, self.now.mono + LINK_DROP_INTERVAL);
        }
    }

    /// The link that is needed least: never one of the ring, rather one to a node that has others, rather one that the
    /// rule does not want.
    pub(crate) fn surplus_link(&self) -> Option<NodeNumber> {
        let (ring, wanted, me) = (self.ring(), self.wanted_links(), self.identity.node);
        let spare = self.links.keys().copied().filter(|node| !ring.contains(node));
        let has_others =
            |node: NodeNumber| self.lsdb.get(node).is_some_and(|lsa| lsa.body.links.len() > RING_REACH);
        spare.max_by_key(|node| (has_others(*node), !wanted.contains(node), pair(me, *node)))
    }

    /// Ring neighbours among the nodes within reach.
    pub(crate) fn ring(&self) -> BTreeSet<NodeNumber> {
        let allowed: Vec<NodeNumber> =
            self.roster.iter().copied().filter(|node| self.allowed(*node)).collect();
        ring(self.identity.node, &allowed)
    }

    /// Whom the rule wants among the nodes within reach, and the ring among all that are known: those out of reach may
    /// be behind a partition.
    fn wanted_links(&self) -> BTreeSet<NodeNumber> {
        let me = self.identity.node;
        let known: Vec<NodeNumber> =
            self.lsdb.nodes().filter(|node| *node != me && self.wants(*node)).collect();
        let candidate = |node: &NodeNumber| Candidate {
            node: *node,
            same_region: self.lsdb.get(*node).is_some_and(|lsa| lsa.body.region == self.config.region),
            distance: self.routes.distance(*node).unwrap_or(u32::MAX),
            lost: self.past_links.contains_key(node),
        };
        let links_max = self.config.links_max;
        let reachable: Vec<Candidate> =
            known.iter().filter(|node| self.roster.contains(node)).map(candidate).collect();
        let mut wanted = wanted(me, &reachable, links_max);
        if known.len() <= links_max {
            wanted.extend(known);
        } else {
            wanted.extend(ring(me, &known));
        }
        wanted
    }

    /// Whether the whole mesh fits `links_max`.
    fn is_small(&self) -> bool {
        self.lsdb.len() <= self.config.links_max + 1
    }

    fn allowed(&self, node: NodeNumber) -> bool {
        self.config.neighbors_allowed.as_ref().is_none_or(|allowed| allowed.contains(&node))
    }

    fn wants(&self, node: NodeNumber) -> bool {
        self.allowed(node)
            && self.lsdb.get(node).is_some_and(|lsa| lsa.body.drain != DrainState::Drained)
            && !self.lsdb.is_out(node)
    }
}

#[cfg(test)]
mod tests {
    use proto_spec::egress::HOP_LIMIT;
    use proto_spec::lsa::LsaLink;

    use super::*;
    use crate::spf::{Vertex, routes};

    fn node(number: u16) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    fn candidates(count: u16, me: u16) -> Vec<Candidate> {
        (1..=count)
            .filter(|number| *number != me)
            .map(|number| Candidate {
                node: node(number),
                same_region: number % 5 == me % 5,
                distance: u32::from(number),
                lost: false,
            })
            .collect()
    }

    /// \[LNK-3\]: the ring is symmetric, so both ends want a ring link; small meshes are full.
    #[test]
    fn the_ring_is_symmetric_and_small_meshes_are_full() {
        let all: Vec<NodeNumber> = [1, 2, 5, 9, 70, 71, 500].map(node).to_vec();
        for one in &all {
            assert_eq!(ring(*one, &all).len(), 4);
            for other in ring(*one, &all) {
                assert!(ring(other, &all).contains(one), "{one} and {other}");
            }
        }
        assert_eq!(ring(node(1), &all[..2]).len(), 1);
        assert!(ring(node(1), &all[..1]).is_empty());
        assert_eq!(wanted(node(3), &candidates(17, 3), 16).len(), 16);
    }

    /// \[LNK-3\]: a large mesh: at most `links_max`, the ring among them, room left for others; when every node follows
    /// the rule the graph stays connected without any two nodes.
    #[test]
    fn large_meshes_stay_within_bounds_and_connected() {
        let (count, links_max) = (200u16, 16);
        let links: Vec<BTreeSet<NodeNumber>> =
            (1..=count).map(|me| wanted(node(me), &candidates(count, me), links_max)).collect();
        for (at, wants) in links.iter().enumerate() {
            let me = node(at as u16 + 1);
            assert!(wants.len() <= links_max && wants.len() >= 12);
            let all: Vec<NodeNumber> = (1..=count).map(node).collect();
            assert!(ring(me, &all).is_subset(wants));
        }
        let gone = [node(100), node(101)];
        let mut seen = BTreeSet::from([node(1)]);
        let mut queue = vec![node(1)];
        while let Some(at) = queue.pop() {
            for next in links[usize::from(at.value()) - 1].iter().filter(|next| !gone.contains(next)) {
                if seen.insert(*next) {
                    queue.push(*next);
                }
            }
        }
        assert_eq!(seen.len(), usize::from(count) - 2);
    }

    /// \[EGR-3\]: where costs differ much and near is no region, the cheapest way has many more hops than the shortest; it
    /// stays well within the hop limit.
    #[test]
    fn the_cheapest_ways_are_within_the_hop_limit() {
        let (count, links_max) = (1_000u16, 8);
        let alike = |me: u16| -> Vec<Candidate> {
            candidates(count, me)
                .into_iter()
                .map(|candidate| Candidate { same_region: true, distance: u32::MAX, ..candidate })
                .collect()
        };
        let mut links: Vec<BTreeSet<NodeNumber>> =
            (1..=count).map(|me| wanted(node(me), &alike(me), links_max)).collect();
        for me in 1..=count {
            for other in links[usize::from(me) - 1].clone() {
                links[usize::from(other.value()) - 1].insert(node(me));
            }
        }
        // Round trips of 1 to 80 ms.
        let cost = |a: NodeNumber, b: NodeNumber| 10 + (mix(pair(a, b)) % 790) as u16;
        let links: Vec<Vec<LsaLink>> = links
            .iter()
            .zip(1..)
            .map(|(links, me)| {
                let link =
                    |neighbor: &NodeNumber| LsaLink { neighbor: *neighbor, cost: cost(node(me), *neighbor) };
                links.iter().map(link).collect()
            })
            .collect();
        let vertices: Vec<Vertex<'_>> =
            links.iter().zip(1..).map(|(links, me)| Vertex { node: node(me), avoid: false, links }).collect();
        let all = (1..=count).step_by(125).map(|me| routes(node(me), &vertices));
        let longest = all.flat_map(|routes| routes.iter().map(|route| route.hops).max()).max().unwrap();
        assert!((9..=HOP_LIMIT * 3 / 4).contains(&longest), "{longest}");
    }
}
