//! Where an endpoint goes: it asks a broker, passes over the dead, is sent on by who is full.
//!
//! Decides nothing by itself: the policy names nodes, and a node admits by its own true load.

use proto_spec::{NodeNumber, Timestamp};
use sealcast_placement::place::{NodeView, place};
use sealcast_placement::{SessionPlace, Site};

use super::{Node, World};
use crate::balance::policy::Asked;

/// Nodes that a full one looks at for an endpoint, as in relayd.
const ELSEWHERE_MAX: usize = 32;

impl World<'_> {
    pub(super) fn find(&mut self, who: usize, now: Timestamp) -> Option<usize> {
        let session = self.session(who);
        let broker = self.broker(who)?;
        self.consult_mesh(broker);
        let named = self.ask(who, broker, &session, now);
        let first = *named.iter().find(|node| self.nodes[**node].alive)?;
        if self.has_room(first) {
            return Some(first);
        }
        self.counts.redirected += 1;
        let second = self.elsewhere(first, broker, &session, now)?;
        self.has_room(second).then_some(second)
    }

    fn has_room(&self, node: usize) -> bool {
        let node = &self.nodes[node];
        node.alive && node.load < node.capacity
    }

    /// The nearest broker that lives; among equals by session.
    fn broker(&self, who: usize) -> Option<usize> {
        let endpoint = &self.demand.endpoints[who];
        let rtt = |broker: &usize| {
            self.scenario.rtt_ms[endpoint.region][self.nodes[self.brokers[*broker].node].region]
        };
        let living = || (0..self.brokers.len()).filter(|broker| self.nodes[self.brokers[*broker].node].alive);
        let best = living().map(|broker| rtt(&broker)).min()?;
        let equals: Vec<usize> = living().filter(|broker| rtt(broker) == best).collect();
        Some(equals[endpoint.session as usize % equals.len()])
    }

    fn ask(&mut self, who: usize, broker: usize, session: &SessionPlace, now: Timestamp) -> Vec<usize> {
        let region = self.demand.endpoints[who].region;
        let known: Vec<usize> = (0..self.nodes.len()).filter(|at| self.nodes[*at].known).collect();
        let some: Vec<Site>;
        let sites = if known.len() == self.sites.len() {
            &self.sites[..]
        } else {
            some = known.iter().map(|at| self.sites[*at].clone()).collect();
            &some[..]
        };
        let rtt_us: Vec<u64> =
            known.iter().map(|at| self.scenario.rtt_ms[region][self.nodes[*at].region] * 1_000).collect();
        let broker = &mut self.brokers[broker];
        let asked = Asked {
            sites,
            book: &broker.book,
            session,
            probes: &self.probes[region],
            rtt_us: &rtt_us,
            now,
            turn: broker.turns[region],
        };
        let named = self.policy.choose(&asked, &mut self.random);
        broker.turns[region] += 1;
        if let Some(first) = named.first() {
            broker.book.placed(sites[*first].node, now);
        }
        named.into_iter().map(|at| known[at]).collect()
    }

    /// Where a full node sends an endpoint, under every policy: as `relayd` does, by placement from where it stands.
    fn elsewhere(
        &mut self,
        from: usize,
        broker: usize,
        session: &SessionPlace,
        now: Timestamp,
    ) -> Option<usize> {
        let here = self.nodes[from].region;
        let view = |(index, node): (usize, &Node)| {
            let heard = self.brokers[broker].book.get(node.number);
            NodeView {
                node: node.number,
                failure_domain: self.sites[index].failure_domain.clone(),
                rtt_us: Some((self.ways_ms[here][node.region] * 1_000) as u32),
                tree_us: 0,
                carries_session: session.nodes.contains(&node.number),
                capacity: node.capacity as u32,
                reported: heard.map_or(0, |heard| heard.report.attachments),
                report_age_ms: heard.map_or(u64::MAX, |heard| heard.age_ms(now)),
                placed_since: 0,
                arrivals_per_minute: 0,
                draining: false,
                full: heard.is_some_and(|heard| heard.report.full),
            }
        };
        let others = self.nodes.iter().enumerate().filter(|(index, node)| *index != from && node.known);
        let mut views: Vec<NodeView> = others.map(view).collect();
        views.sort_by_key(|view| (view.rtt_us, view.node));
        views.truncate(ELSEWHERE_MAX);
        let placement = place(&views, 1, &mut self.random);
        let alive =
            |number: &NodeNumber| self.nodes.iter().position(|node| node.number == *number && node.alive);
        placement.offered.iter().find_map(alive)
    }

    /// The nodes with endpoints of this one's session, and the way from each node to the farthest of them.
    fn session(&self, who: usize) -> SessionPlace {
        let members = self.demand.sessions[self.demand.endpoints[who].session as usize].clone();
        let mut at: Vec<usize> = members.filter_map(|member| self.endpoints[member].at).collect();
        at.sort_unstable();
        at.dedup();
        let way = |from: &Node, to: usize| self.way_ms(from.number, from.region, to) * 1_000;
        let farthest = |node: &Node| {
            let farthest = at.iter().map(|to| way(node, *to)).max().unwrap_or(0);
            (node.number, farthest as u32)
        };
        let ways_us = if at.is_empty() { Vec::new() } else { self.nodes.iter().map(farthest).collect() };
        SessionPlace {
            nodes: at.iter().map(|node| self.nodes[*node].number).collect(),
            ways_us: ways_us.into_iter().collect(),
        }
    }

    fn way_ms(&self, from: NodeNumber, region: usize, to: usize) -> u64 {
        let to = &self.nodes[to];
        if to.number == from { 0 } else { self.ways_ms[region][to.region] }
    }

    /// From the session's first endpoint to this one, and the least that any two nodes could make of it.
    pub(super) fn count_way(&mut self, who: usize, node: usize) {
        let first = self.demand.sessions[self.demand.endpoints[who].session as usize].start;
        let Some(there) = self.endpoints[first].at.filter(|_| first != who) else { return };
        let (from, to) = (self.demand.endpoints[first].region, self.demand.endpoints[who].region);
        let rtt = |region: usize, node: &Node| self.scenario.rtt_ms[region][node.region];
        let here = &self.nodes[node];
        self.counts.way_ms +=
            rtt(from, &self.nodes[there]) + self.way_ms(here.number, here.region, there) + rtt(to, here);
        // A way over the mesh is no shorter than one over a single node, by the shortest ways between regions.
        let least = self
            .nodes
            .iter()
            .filter(|node| node.alive)
            .map(|node| self.ways_ms[from][node.region] + self.ways_ms[node.region][to]);
        self.counts.way_least_ms += least.min().unwrap_or(0);
    }
}
