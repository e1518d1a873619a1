//! A scenario with its endpoints placed by another policy, to be played with every packet.
//!
//! Decides before the run, so that worlds of several policies differ in nothing else: the first endpoints of all sessions
//! join at once, then the second ones, and so on; loads are heard in between. Endpoints with a node of their own keep it.

use proto_spec::mesh::LoadReport;
use proto_spec::{NodeNumber, Timestamp};
use sealcast_placement::{LoadBook, PROBES_MAX, Probe, SessionPlace, Site};

use super::policy::{Asked, Policy};
use crate::scenario::{NodePlan, Place, Scenario};
use crate::sim::Random;

/// Between one round of joins and the next, in seconds.
const ROUND_S: u64 = 1;

/// The same scenario under a policy. `None` if no endpoint leaves it to one.
pub fn pinned(scenario: &Scenario, policy: Policy, seed: u64) -> Option<Scenario> {
    let placed = |place: Place| !matches!(place, Place::Node(_));
    let endpoints = || scenario.sessions.iter().flat_map(|session| &session.endpoints);
    if !endpoints().any(|endpoint| placed(endpoint.at)) {
        return None;
    }
    let mut pinned = scenario.clone();
    let mut random = Random::stream(seed, "policy", 0);
    let mut asking = Asking::new(scenario);
    let rounds = scenario.sessions.iter().map(|session| session.endpoints.len()).max().unwrap_or(0);
    for round in 0..rounds {
        asking.hear();
        for session in 0..pinned.sessions.len() {
            let Some(endpoint) = pinned.sessions[session].endpoints.get(round) else { continue };
            let (region, at) = (endpoint.region, endpoint.at);
            let number = match at {
                Place::Node(number) => Some(number),
                _ => asking.ask(policy, region, &pinned.sessions[session].endpoints[..round], &mut random),
            };
            // Where all are full, the first takes it, or refuses it in the run.
            let number = number.unwrap_or(scenario.nodes[0].number);
            pinned.sessions[session].endpoints[round].at = Place::Node(number);
            asking.attached(number);
        }
    }
    Some(pinned)
}

/// How endpoints that all have a node are spread: the highest load over the mean of all nodes, by capacity, in percent; and
/// the 99th percentile of round trips to the own node, in milliseconds.
pub fn spread(scenario: &Scenario) -> (u64, u64) {
    let mut loads = vec![0_u64; scenario.nodes.len()];
    let mut rtts_ms = Vec::new();
    for endpoint in scenario.sessions.iter().flat_map(|session| &session.endpoints) {
        let Place::Node(number) = endpoint.at else { continue };
        let Some(at) = scenario.nodes.iter().position(|node| node.number == number) else { continue };
        loads[at] += 1;
        rtts_ms.push(scenario.rtt_ms[endpoint.region][scenario.nodes[at].region]);
    }
    rtts_ms.sort_unstable();
    let all: u64 = loads.iter().sum();
    let capacity: u64 = scenario.nodes.iter().map(|node| u64::from(node.capacity)).sum();
    let over_mean = |(load, node): (&u64, &NodePlan)| {
        (load * capacity * 100).checked_div(u64::from(node.capacity) * all).unwrap_or(0)
    };
    let highest = loads.iter().zip(&scenario.nodes).map(over_mean).max().unwrap_or(0);
    (highest, crate::check::delivery::at_percent(&rtts_ms, 99).copied().unwrap_or(0))
}

/// The broker that is asked.
struct Asking<'a> {
    scenario: &'a Scenario,
    sites: Vec<Site>,
    book: LoadBook,
    loads: Vec<u32>,
    /// How many asked from each region.
    turns: Vec<u64>,
    now: Timestamp,
    reports: u64,
}

impl<'a> Asking<'a> {
    fn new(scenario: &'a Scenario) -> Asking<'a> {
        let site = |node: &NodePlan| Site {
            node: node.number,
            host: format!("n{}", node.number),
            ports: vec![443],
            failure_domain: node.failure_domain.clone(),
            capacity: node.capacity,
            draining: false,
        };
        Asking {
            scenario,
            sites: scenario.nodes.iter().map(site).collect(),
            book: LoadBook::new(),
            loads: vec![0; scenario.nodes.len()],
            turns: vec![0; scenario.regions.len()],
            now: Timestamp::ZERO,
            reports: 0,
        }
    }

    /// Every node reports.
    fn hear(&mut self) {
        self.now = self.now + std::time::Duration::from_secs(ROUND_S);
        self.reports += 1;
        for (node, load) in self.scenario.nodes.iter().zip(&self.loads) {
            let report = LoadReport {
                sequence: self.reports,
                attachments: *load,
                capacity: node.capacity,
                full: *load >= node.capacity,
                ..LoadReport::default()
            };
            self.book.heard(node.number, report, self.now);
        }
    }

    fn attached(&mut self, number: NodeNumber) {
        if let Some(at) = self.sites.iter().position(|site| site.node == number) {
            self.loads[at] += 1;
        }
    }

    fn ask(
        &mut self,
        policy: Policy,
        region: usize,
        before: &[crate::scenario::EndpointPlan],
        random: &mut Random,
    ) -> Option<NodeNumber> {
        let Scenario { nodes, rtt_ms, .. } = self.scenario;
        let rtt_us: Vec<u64> = nodes.iter().map(|node| rtt_ms[region][node.region] * 1_000).collect();
        let probe =
            |(site, us): (&Site, &u64)| Probe { host: site.host.clone(), port: 443, rtt_us: *us as u32 };
        let mut probes: Vec<Probe> = self.sites.iter().zip(&rtt_us).map(probe).collect();
        probes.sort_by_key(|probe| probe.rtt_us);
        probes.truncate(PROBES_MAX);
        let asked = Asked {
            sites: &self.sites,
            book: &self.book,
            session: &self.place_of(before),
            probes: &probes,
            rtt_us: &rtt_us,
            now: self.now,
            turn: self.turns[region],
        };
        let chosen = policy.choose(&asked, random).first().map(|at| self.sites[*at].node);
        self.turns[region] += 1;
        if let Some(number) = chosen {
            self.book.placed(number, self.now);
        }
        chosen
    }

    /// Where a session is by now, and the way from each node to the farthest of it.
    fn place_of(&self, before: &[crate::scenario::EndpointPlan]) -> SessionPlace {
        let at = |place: Place| match place {
            Place::Node(number) => self.scenario.nodes.iter().find(|node| node.number == number),
            _ => None,
        };
        let there: Vec<&NodePlan> = before.iter().filter_map(|endpoint| at(endpoint.at)).collect();
        let way_us = |from: &NodePlan, to: &NodePlan| {
            if from.number == to.number { 0 } else { self.scenario.rtt_ms[from.region][to.region] * 500 }
        };
        let farthest = |from: &NodePlan| {
            let ways = there.iter().map(|to| way_us(from, to));
            Some((from.number, ways.max()? as u32))
        };
        let mut nodes: Vec<NodeNumber> = there.iter().map(|node| node.number).collect();
        nodes.sort_unstable();
        nodes.dedup();
        SessionPlace { nodes, ways_us: self.scenario.nodes.iter().filter_map(farthest).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario() -> Scenario {
        Scenario::load("region-outage").unwrap()
    }

    fn nodes(scenario: &Scenario) -> Vec<u16> {
        let endpoints = scenario.sessions.iter().flat_map(|session| &session.endpoints);
        endpoints
            .map(|endpoint| match endpoint.at {
                Place::Node(number) => number.value(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn everybody_is_placed_as_the_policy_says() {
        for policy in Policy::ALL {
            let pinned = pinned(&scenario(), policy, 4).unwrap();
            assert_eq!(pinned, super::pinned(&scenario(), policy, 4).unwrap(), "equal seeds, equal places");
            let (over_mean, rtt_ms) = spread(&pinned);
            assert!((100..=600).contains(&over_mean) && rtt_ms >= 2, "{policy:?}: {over_mean} {rtt_ms}");
            // Ours may look at the session as well; all others choose among near nodes alone.
            assert!(policy == Policy::OURS || rtt_ms == 2, "{policy:?}: {:?}", nodes(&pinned));
        }
        // Two near nodes for each region: in turn.
        let turns = nodes(&pinned(&scenario(), Policy::RoundRobin, 4).unwrap());
        let providers: Vec<u16> = turns.iter().step_by(3).copied().collect();
        assert_eq!(providers, [3, 4, 3]);
    }

    #[test]
    fn own_nodes_are_kept() {
        let mut scenario = scenario();
        let six = NodeNumber::new(6).unwrap();
        scenario.sessions[0].endpoints[0].at = Place::Node(six);
        let random = pinned(&scenario, Policy::Random, 4).unwrap();
        assert_eq!(nodes(&random)[0], 6);
        assert!(pinned(&random, Policy::Nearest, 4).is_none(), "nobody is left to be placed");
    }
}
