//! From link state to routes: when they are computed, who is within reach, and what follows from a change.

use std::collections::BTreeSet;
use std::sync::Arc;

use proto_spec::NodeNumber;
use proto_spec::lsa::{DrainState, Roles};

use crate::config::{LOAD_BROKERS_MAX, SPF_DELAY, SPF_HOLD};
use crate::forward::Snapshot;
use crate::home::HomeCandidate;
use crate::io::Output;
use crate::node::Node;
use crate::spf::Vertex;
use crate::timers::Timer;

impl Node {
    /// Link state is not what it was: compute routes soon, but not too often \[SPF-3\].
    pub(crate) fn link_state_changed(&mut self) {
        let now = self.now.mono;
        let allowed = self.spf_run_at.map_or(now, |at| at + SPF_HOLD);
        self.timers.no_later(Timer::Spf, allowed.max(now + SPF_DELAY));
    }

    pub(crate) fn run_spf(&mut self) {
        self.counters.spf_runs += 1;
        self.spf_run_at = Some(self.now.mono);
        let me = self.identity.node;
        let in_force = self.lsdb.lsas().filter(|lsa| !self.lsdb.is_out(lsa.body.node));
        let vertices: Vec<Vertex<'_>> = in_force
            .map(|lsa| Vertex {
                node: lsa.body.node,
                avoid: lsa.body.drain != DrainState::Serving,
                links: &lsa.body.links,
            })
            .collect();
        let computed = self.spf_memory.routes(me, &vertices);
        let moved: BTreeSet<NodeNumber> = self
            .routes
            .iter()
            .filter(|before| {
                computed.get(before.destination).is_none_or(|after| after.next_hop != before.next_hop)
            })
            .map(|route| route.destination)
            .collect();
        if computed != *self.routes {
            self.routes_changed_at = self.now.mono;
            self.routes = Arc::new(computed);
            self.publish_routes();
        }
        self.roster_computed();
        self.hint(&moved);
        self.timers.no_later(Timer::Dial, self.now.mono);
    }

    /// Who is within reach, who may be home: sessions follow when either changed.
    fn roster_computed(&mut self) {
        let me = self.identity.node;
        let mut roster: BTreeSet<NodeNumber> = self.routes.iter().map(|route| route.destination).collect();
        roster.insert(me);
        let candidates = self.home_candidates(&roster);
        let joined: Vec<NodeNumber> = roster.difference(&self.roster).copied().collect();
        let changed = roster != self.roster;
        self.roster = roster;
        let is_broker = |node: &NodeNumber| {
            *node != me && self.lsdb.get(*node).is_some_and(|lsa| lsa.body.roles.has(Roles::BROKER))
        };
        self.brokers = self.roster.iter().copied().filter(is_broker).take(LOAD_BROKERS_MAX).collect();
        let homes_changed = candidates != self.home_candidates;
        self.home_candidates = candidates;
        if changed {
            self.sessions_rejoin(&joined);
        }
        if homes_changed {
            self.homes_changed();
        }
        if changed {
            self.publish_sessions();
        }
    }

    /// The nodes within reach that do not drain, each with a number for its failure domain. A mesh that drains as a
    /// whole keeps its homes.
    fn home_candidates(&self, roster: &BTreeSet<NodeNumber>) -> Vec<(NodeNumber, u32)> {
        let me = self.identity.node;
        let mut domains: Vec<&str> = Vec::new();
        let mut all = Vec::new();
        for node in roster {
            let (drain, domain) = if *node == me {
                (self.drain.state, self.config.failure_domain.as_str())
            } else {
                let Some(lsa) = self.lsdb.get(*node) else { continue };
                (lsa.body.drain, lsa.body.failure_domain.as_str())
            };
            all.push((*node, drain, domain));
            domains.push(domain);
        }
        domains.sort_unstable();
        domains.dedup();
        let number = |domain: &str| domains.binary_search(&domain).unwrap_or(0) as u32;
        let any_serving = all.iter().any(|(_, drain, _)| *drain == DrainState::Serving);
        all.iter()
            .filter(|(_, drain, _)| !any_serving || *drain == DrainState::Serving)
            .map(|(node, _, domain)| (*node, number(domain)))
            .collect()
    }

    pub(crate) fn home_list(&self) -> Vec<HomeCandidate> {
        self.home_candidates
            .iter()
            .map(|(node, domain)| HomeCandidate { node: *node, domain: *domain })
            .collect()
    }

    /// Drain state or failure domains changed without a new computation of routes.
    pub(crate) fn candidates_changed(&mut self) {
        let roster = self.roster.clone();
        let candidates = self.home_candidates(&roster);
        if candidates != self.home_candidates {
            self.home_candidates = candidates;
            self.homes_changed();
        }
    }

    /// A new snapshot for the hot path.
    pub(crate) fn publish_routes(&mut self) {
        let up: Vec<NodeNumber> =
            self.links.values().filter(|link| link.usable).map(|link| link.peer.node).collect();
        if up == self.snapshot.up && Arc::ptr_eq(&self.routes, &self.snapshot.routes) {
            return;
        }
        let version = self.snapshot.version + 1;
        let routes = Arc::clone(&self.routes);
        self.snapshot = Arc::new(Snapshot { version, node: self.identity.node, routes, up });
        self.output(Output::Routes { version });
    }

    /// Destinations behind a link that has just gone are reached another way, or not at all.
    pub(crate) fn hint_next_hop(&mut self, neighbor: NodeNumber) {
        let moved = self.routes.iter().filter(|route| route.next_hop == neighbor);
        let moved: BTreeSet<NodeNumber> = moved.map(|route| route.destination).collect();
        self.hint(&moved);
    }

    /// Tells sessions with members on these nodes that the path changed \[MBR-12\].
    fn hint(&mut self, moved: &BTreeSet<NodeNumber>) {
        if moved.is_empty() {
            return;
        }
        for (session, node) in self.sessions.touched_by(moved) {
            self.output(Output::PathHint { session, node });
        }
    }
}
