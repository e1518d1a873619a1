//! What a world is made of: nodes and where they stand, the ways between regions, who may be linked.

use std::collections::{BTreeMap, BTreeSet};

use proto_spec::NodeNumber;

use super::network::{Pair, pair};
use crate::scenario::{COSTS_PER_MS, Scenario};

/// A node to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeSpec {
    /// Its number.
    pub number: NodeNumber,
    /// Where it stands, as an index of [`Plan::rtt_us`].
    pub region: usize,
    /// What fails together with it.
    pub failure_domain: String,
    /// Attachments that it admits.
    pub capacity: u32,
    /// Whether it has a broker.
    pub broker: bool,
    /// What each message costs it, in microseconds.
    pub service_us: u64,
}

/// A world to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Everything is drawn from it.
    pub seed: u64,
    /// The nodes, ascending.
    pub nodes: Vec<NodeSpec>,
    /// Round trips between regions in microseconds, symmetric.
    pub rtt_us: Vec<Vec<u64>>,
    /// How much longer a single message may take, in percent of its way.
    pub jitter_percent: u64,
    /// How much longer one pair's way may be than another's of the same regions, in percent.
    pub spread_percent: u64,
    /// Links that a node aims for.
    pub links_max: usize,
    /// The only pairs that may be linked; `None` for all.
    pub allowed: Option<BTreeSet<Pair>>,
    /// What links cost where it is set, in tenths of a millisecond.
    pub link_costs: BTreeMap<Pair, u16>,
    /// Whether nodes tell their load.
    pub loads: bool,
    /// Whether endpoints are flows: no packets of theirs, and nothing is kept for looking at later.
    pub light: bool,
}

impl Plan {
    /// Nodes 1 to `nodes` in three regions and four failure domains, ways of 0.5 to 40 ms, a broker at node 1.
    pub fn new(seed: u64, nodes: u16) -> Plan {
        Plan::with_ways(seed, nodes, (500, 40_000))
    }

    /// The same with ways in this range of microseconds, one way.
    pub fn with_ways(seed: u64, nodes: u16, (low_us, high_us): (u64, u64)) -> Plan {
        let spec = |value: u16| {
            let number = NodeNumber::new(value)?;
            let failure_domain = format!("domain {}", value % 4);
            let (capacity, broker, service_us) = (10_000, value == 1, 0);
            Some(NodeSpec { number, region: 0, failure_domain, capacity, broker, service_us })
        };
        let spread_percent = high_us.saturating_sub(low_us) * 100 / low_us.max(1);
        Plan {
            seed,
            nodes: (1..=nodes).filter_map(spec).collect(),
            rtt_us: vec![vec![2 * low_us]],
            jitter_percent: 10,
            spread_percent,
            links_max: 16,
            allowed: None,
            link_costs: BTreeMap::new(),
            loads: false,
            light: false,
        }
    }

    /// The same, with these pairs alone linked.
    #[must_use]
    pub fn linked(mut self, pairs: &[(u16, u16)]) -> Plan {
        let numbers = |(a, b): &(u16, u16)| Some(pair(NodeNumber::new(*a)?, NodeNumber::new(*b)?));
        self.allowed = Some(pairs.iter().filter_map(numbers).collect());
        self
    }

    /// The same, with brokers at these nodes alone.
    #[must_use]
    pub fn with_brokers(mut self, brokers: &[u16]) -> Plan {
        for node in &mut self.nodes {
            node.broker = brokers.contains(&node.number.value());
        }
        self
    }

    /// A scenario's mesh.
    pub fn of(scenario: &Scenario, seed: u64) -> Plan {
        let spec = |node: &crate::scenario::NodePlan| NodeSpec {
            number: node.number,
            region: node.region,
            failure_domain: node.failure_domain.clone(),
            capacity: node.capacity,
            broker: node.broker,
            service_us: node.service_us,
        };
        let cost = |(pair, ms): (&Pair, &u64)| (*pair, (ms * COSTS_PER_MS) as u16);
        Plan {
            seed,
            nodes: scenario.nodes.iter().map(spec).collect(),
            rtt_us: scenario.rtt_ms.iter().map(|row| row.iter().map(|ms| ms * 1_000).collect()).collect(),
            jitter_percent: scenario.jitter_percent,
            spread_percent: 0,
            links_max: scenario.links_max,
            allowed: scenario.links_allowed.clone(),
            link_costs: scenario.link_costs_ms.iter().map(cost).collect(),
            loads: true,
            light: false,
        }
    }

    /// What a node's links cost where it is set, by neighbour.
    pub fn link_costs_of(&self, number: NodeNumber) -> Vec<(NodeNumber, u16)> {
        let ends = self.link_costs.iter().flat_map(|((a, b), cost)| [(*a, *b, *cost), (*b, *a, *cost)]);
        ends.filter(|(at, ..)| *at == number).map(|(_, peer, cost)| (peer, cost)).collect()
    }

    /// Whether two nodes may be linked.
    pub fn may_link(&self, a: NodeNumber, b: NodeNumber) -> bool {
        self.allowed.as_ref().is_none_or(|pairs| pairs.contains(&pair(a, b)))
    }
}
