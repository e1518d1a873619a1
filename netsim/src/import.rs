//! A scenario from a mesh as it is: what `relayctl mesh export` wrote of one node's view.
//!
//! Owns what a scenario makes of an export; the export's form and its own rules are `proto-spec`'s. What an export does not
//! say is not made up without a word: each guess is a note.
//!
//! ```text
//!  nodes      number, failure domain, capacity, broker: as they are
//!  regions    the operators' words; a node that has none stands in one of its own
//!  round trips  between regions the median of their links; where there is none, the shortest way over others
//!  links      the pairs that are linked, unless all are
//!  load       attachments as sessions of two at those nodes, a part of them if there are many; or as arrivals
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proto_spec::NodeNumber;
use proto_spec::export::{ExportError, ExportNode, ExportRole, MeshExport};
use proto_spec::lsa::DrainState;
use sealcast_mesh::config::LINKS_MAX;

use crate::scenario::{
    ArrivalKind, Arrivals, Checks, EndpointPlan, Length, Load, LoadKind, NODES_MAX, NodePlan, Place, Reports,
    Scenario, SessionPlan, Standby,
};

/// Sessions that stand for a mesh's load: played with every packet, each costs time.
pub const SESSIONS_MAX: usize = 40;
/// How long an imported scenario lasts.
const DURATION: Duration = Duration::from_secs(60);
/// The same where endpoints arrive.
const ARRIVALS_DURATION: Duration = Duration::from_secs(600);
/// Half of the arriving sessions last no longer; the mean of this spread is 1.65 times that.
const LENGTH_MEDIAN: Duration = Duration::from_secs(300);
const LENGTH_MEAN_S: u64 = 495;
/// A scenario's round trips are within this.
const RTT_MS: std::ops::RangeInclusive<u64> = 1..=2_000;
/// The longest word of a scenario.
const WORD_LENGTH_MAX: usize = 48;

/// How load is to be played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum As {
    /// As sessions with every packet, for `netsim run`.
    Sessions,
    /// As endpoints that come and go, for `netsim compare`.
    Arrivals,
}

/// What came of an export.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Imported {
    /// The scenario.
    pub scenario: Scenario,
    /// What was guessed or left out, a sentence each.
    pub notes: Vec<String>,
}

/// Makes a scenario of an export's text; `name` instead of the mesh's own.
///
/// # Errors
/// A sentence: what is wrong with the export, and what to do.
pub fn import(text: &str, name: Option<&str>, load: As) -> Result<Imported, String> {
    let export = MeshExport::from_text(text).map_err(|error| match error {
        ExportError::Unreadable(error) if error.is_syntax() || error.is_eof() => {
            format!("not JSON ({error}): write it with `relayctl mesh export --file FILE`")
        }
        ExportError::Unreadable(error) => {
            format!("not an export of a mesh ({error}): write it with `relayctl mesh export --file FILE`")
        }
        ExportError::Version(_) => format!("{error}, or write it with the relayctl beside it"),
        ExportError::Wrong(_) => format!("{error}: write it anew with `relayctl mesh export --file FILE`"),
    })?;
    if export.nodes.is_empty() {
        return Err("it names no node: take the export at a node that is in the mesh".to_owned());
    }
    if export.nodes.len() > NODES_MAX {
        return Err(format!("it has {} nodes: a scenario has at most {NODES_MAX}", export.nodes.len()));
    }
    let name = match name {
        Some(name) if word(name) != name || name.is_empty() => {
            return Err(format!("{name} is no name: use lower-case letters, digits and dashes"));
        }
        Some(name) => name.to_owned(),
        None if word(&export.mesh).is_empty() => "imported".to_owned(),
        None => word(&export.mesh),
    };
    Ok(Import { regions: regions(&export.nodes), export, notes: Vec::new() }.scenario(name, load))
}

struct Import {
    export: MeshExport,
    /// Each node's region, in the order of the nodes, and their names.
    regions: (Vec<usize>, Vec<String>),
    notes: Vec<String>,
}

impl Import {
    fn scenario(mut self, name: String, load: As) -> Imported {
        let rtt_ms = self.rtt_ms();
        let nodes = self.nodes();
        let links_allowed = self.links_allowed();
        let links_max = self.links_max();
        let (sessions, arrivals) = match load {
            As::Sessions => (self.sessions(), None),
            As::Arrivals => (Vec::new(), self.arrivals()),
        };
        let duration = if arrivals.is_some() { ARRIVALS_DURATION } else { DURATION };
        let chat = Load {
            session: None,
            from: None,
            kind: LoadKind::Chat { per_s: 1, bytes: 64 },
            start: Duration::ZERO,
            stop: duration,
        };
        let MeshExport { mesh, taken_by, taken_ms, .. } = &self.export;
        let scenario = Scenario {
            name,
            about: format!("The mesh {mesh} as node {taken_by} saw it at {taken_ms} ms since 1970."),
            duration,
            regions: self.regions.1.clone(),
            rtt_ms,
            jitter_percent: 10,
            nodes,
            links_max,
            links_allowed,
            link_costs_ms: BTreeMap::new(),
            joins_apart: None,
            drills: None,
            workload: if sessions.is_empty() { Vec::new() } else { vec![chat] },
            sessions,
            arrivals,
            reports: Reports { interval: Duration::from_secs(1), age: Duration::ZERO },
            faults: Vec::new(),
            checks: Checks::default(),
        };
        Imported { scenario, notes: self.notes }
    }

    fn nodes(&mut self) -> Vec<NodePlan> {
        let exported = self.export.nodes.clone();
        let is_broker = |node: &ExportNode| node.roles.contains(&ExportRole::Broker);
        if !exported.iter().any(is_broker) {
            let first = exported[0].number;
            self.notes.push(format!("no node is a broker: node {first} is made one"));
        }
        let none = !exported.iter().any(is_broker);
        let mut nodes = Vec::new();
        for (at, node) in exported.iter().enumerate() {
            let Some(number) = NodeNumber::new(node.number) else { continue };
            if node.drain != DrainState::Serving {
                self.notes.push(format!("node {number} was on its way out: here it serves"));
            }
            if node.capacity == 0 {
                self.notes.push(format!("node {number} admits nobody: here it admits one"));
            }
            let failure_domain = match node.failure_domain.as_str() {
                "" => format!("node-{number}"),
                domain => domain.to_owned(),
            };
            nodes.push(NodePlan {
                number,
                region: self.regions.0[at],
                failure_domain,
                capacity: node.capacity.max(1),
                broker: is_broker(node) || none && at == 0,
                service_us: 0,
            });
        }
        nodes
    }

    fn region_of(&self, number: u16) -> usize {
        let at = self.export.nodes.iter().position(|node| node.number == number);
        at.map_or(0, |at| self.regions.0[at])
    }

    /// Medians of what was measured; the rest by the shortest ways over others.
    fn rtt_ms(&mut self) -> Vec<Vec<u64>> {
        let count = self.regions.1.len();
        let mut measured: BTreeMap<(usize, usize), Vec<u32>> = BTreeMap::new();
        for link in &self.export.links {
            let (a, b) = (self.region_of(link.a), self.region_of(link.b));
            measured.entry((a.min(b), a.max(b))).or_default().push(link.rtt_us);
        }
        let mut rtt_ms: Vec<Vec<Option<u64>>> = vec![vec![None; count]; count];
        for ((a, b), all) in &mut measured {
            all.sort_unstable();
            let us = u64::from(all[all.len() / 2]);
            let ms = us.div_ceil(1_000).clamp(*RTT_MS.start(), *RTT_MS.end());
            (rtt_ms[*a][*b], rtt_ms[*b][*a]) = (Some(ms), Some(ms));
        }
        let pairs = |rtt_ms: &[Vec<Option<u64>>]| {
            (0..count)
                .flat_map(|a| (0..a).map(move |b| (a, b)))
                .filter(|(a, b)| rtt_ms[*a][*b].is_none())
                .count()
        };
        let unmeasured = pairs(&rtt_ms);
        // Floyd and Warshall, over what was measured alone.
        let direct = rtt_ms.clone();
        for over in 0..count {
            for a in 0..count {
                for b in 0..count {
                    let Some(way) = rtt_ms[a][over].zip(rtt_ms[over][b]).map(|(there, on)| there + on) else {
                        continue;
                    };
                    if a != b && direct[a][b].is_none() && rtt_ms[a][b].is_none_or(|known| way < known) {
                        rtt_ms[a][b] = Some(way.min(*RTT_MS.end()));
                    }
                }
            }
        }
        if unmeasured > 0 {
            self.notes.push(format!(
                "{unmeasured} pairs of regions have no link: their round trip is that over other regions"
            ));
        }
        let apart = pairs(&rtt_ms);
        let longest = rtt_ms.iter().flatten().flatten().max().copied().unwrap_or(*RTT_MS.start());
        if apart > 0 {
            self.notes.push(format!("{apart} pairs of regions have no way: {longest} ms, the longest known"));
        }
        let filled = rtt_ms.iter().enumerate().map(|(a, row)| {
            let known = row.iter().enumerate();
            known.map(|(b, ms)| ms.unwrap_or(if a == b { *RTT_MS.start() } else { longest })).collect()
        });
        filled.collect()
    }

    /// The pairs that are linked, unless all are, or some node would be left alone.
    fn links_allowed(&mut self) -> Option<BTreeSet<(NodeNumber, NodeNumber)>> {
        let count = self.export.nodes.len();
        let links = &self.export.links;
        if links.len() == count * (count - 1) / 2 {
            return None;
        }
        let mut reached = BTreeSet::from([self.export.nodes[0].number]);
        while let Some(link) =
            links.iter().find(|link| reached.contains(&link.a) != reached.contains(&link.b))
        {
            reached.extend([link.a, link.b]);
        }
        if reached.len() < count {
            self.notes.push("the links do not join all nodes: here any two may be linked".to_owned());
            return None;
        }
        self.notes.push("only nodes that were linked may be: links_allowed says which".to_owned());
        let pair = |(a, b)| Some((NodeNumber::new(a)?, NodeNumber::new(b)?));
        Some(links.iter().filter_map(|link| pair((link.a, link.b))).collect())
    }

    /// The product's usual aim, or what the busiest node has.
    fn links_max(&self) -> usize {
        let mut links: BTreeMap<u16, usize> = BTreeMap::new();
        for link in &self.export.links {
            *links.entry(link.a).or_default() += 1;
            *links.entry(link.b).or_default() += 1;
        }
        links.values().max().copied().unwrap_or(0).clamp(16, LINKS_MAX)
    }

    fn attachments(&self) -> u64 {
        self.export.nodes.iter().filter_map(|node| node.load).map(|load| u64::from(load.attachments)).sum()
    }

    /// Sessions of two, whose seats are spread over the nodes as attachments are.
    fn sessions(&mut self) -> Vec<SessionPlan> {
        let all = self.attachments();
        let count = (all / 2).min(SESSIONS_MAX as u64);
        if all == 0 {
            self.notes.push("nobody was attached, or no load was known: there are no sessions".to_owned());
            return Vec::new();
        }
        let seats = count.max(1) * 2;
        if seats < all {
            self.notes.push(format!("{seats} endpoints stand for the {all} attachments"));
        }
        // Each seat is at the node in whose part of all attachments its middle lies.
        let mut places = Vec::new();
        let mut before = 0;
        for (at, node) in self.export.nodes.iter().enumerate() {
            before += node.load.map_or(0, |load| u64::from(load.attachments));
            while (places.len() as u64) < seats && (2 * places.len() as u64 + 1) * all <= 2 * seats * before {
                places.push(at);
            }
        }
        let (providers, customers) = places.split_at(places.len() / 2);
        let endpoint = |name: &str, at: usize| EndpointPlan {
            name: name.to_owned(),
            group: name.to_owned(),
            customer: name == "customer",
            region: self.regions.0[at],
            at: NodeNumber::new(self.export.nodes[at].number).map_or(Place::Placement, Place::Node),
            standby: Standby::Apart,
            downstream_kib_s: None,
        };
        let session = |(index, (provider, customer)): (usize, (&usize, &usize))| SessionPlan {
            name: format!("session-{}", index + 1),
            group: format!("session-{}", index + 1),
            endpoints: vec![endpoint("provider", *provider), endpoint("customer", *customer)],
        };
        providers.iter().zip(customers).enumerate().map(session).collect()
    }

    /// As many a minute as keep up the load, from where it is.
    fn arrivals(&mut self) -> Option<Arrivals> {
        let all = self.attachments();
        if all == 0 {
            self.notes.push("nobody was attached, or no load was known: nobody arrives".to_owned());
            return None;
        }
        let mut weights = vec![0; self.regions.1.len()];
        for (at, node) in self.export.nodes.iter().enumerate() {
            weights[self.regions.0[at]] += node.load.map_or(0, |load| u64::from(load.attachments));
        }
        let most = weights.iter().copied().max().unwrap_or(1);
        // Weights are at most a million.
        weights.iter_mut().for_each(|weight| *weight = weight.div_ceil(most.div_ceil(1_000_000)));
        self.notes.push(
            "users are where their nodes are; sessions are of two, of 5 minutes in the middle".to_owned(),
        );
        Some(Arrivals {
            kind: ArrivalKind::Poisson,
            sessions_per_min: (all * 60).div_ceil(2 * LENGTH_MEAN_S),
            weights,
            together_percent: 50,
            join: Duration::from_secs(20),
            size_max: 2,
            size_alpha_percent: 200,
            length: Length::Lognormal(100),
            length_median: LENGTH_MEDIAN,
            length_max: Duration::from_secs(3_600),
        })
    }
}

/// Each node's region, and the regions' names.
fn regions(nodes: &[ExportNode]) -> (Vec<usize>, Vec<String>) {
    let mut words: Vec<String> = Vec::new();
    let mut regions: BTreeMap<String, usize> = BTreeMap::new();
    let own = |node: &ExportNode| format!("node-{}", node.number);
    let mut all = Vec::new();
    for node in nodes {
        let said = if word(&node.region).is_empty() { own(node) } else { node.region.clone() };
        let next = regions.len();
        let index = *regions.entry(said.clone()).or_insert(next);
        if index == next {
            let plain = word(&said);
            // Two may differ in what a word cannot show.
            let taken = words.contains(&plain);
            words.push(if taken { own(node) } else { plain });
        }
        all.push(index);
    }
    (all, words)
}

/// Lower-case letters, digits and dashes alone.
fn word(text: &str) -> String {
    let plain = |symbol: char| if symbol.is_ascii_alphanumeric() { symbol.to_ascii_lowercase() } else { '-' };
    let dashed: String = text.chars().map(plain).take(WORD_LENGTH_MAX).collect();
    dashed.trim_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use proto_spec::export::{EXPORT_VERSION, ExportLink, ExportLoad};

    use super::*;
    use crate::play::{Options, Verdict, play};

    fn node(number: u16, region: &str, attachments: u32) -> ExportNode {
        ExportNode {
            number,
            roles: if number == 2 {
                vec![ExportRole::Broker, ExportRole::Gateway]
            } else {
                vec![ExportRole::Gateway]
            },
            drain: DrainState::Serving,
            region: region.to_owned(),
            failure_domain: if number == 1 { String::new() } else { format!("Rack {number}") },
            capacity: 500,
            software: "relayd 0.1.0".to_owned(),
            load: Some(ExportLoad {
                attachments,
                queue_bytes: 0,
                forwarded_bytes: 9,
                full: false,
                age_ms: 400,
            }),
        }
    }

    /// By the types that relayctl writes it with.
    fn export() -> MeshExport {
        let link = |a, b, rtt_us| ExportLink { a, b, rtt_us };
        MeshExport {
            version: EXPORT_VERSION,
            mesh: "Help Desk".to_owned(),
            taken_ms: 1_700_000_000_000,
            taken_by: 2,
            nodes: vec![node(1, "EU West", 30), node(2, "EU West", 10), node(3, "us", 20), node(7, "", 0)],
            links: vec![link(1, 2, 1_800), link(1, 3, 81_200), link(2, 3, 79_400), link(3, 7, 12_000)],
        }
    }

    fn imported(export: &MeshExport) -> Imported {
        let imported = import(&export.to_text(), None, As::Sessions).unwrap();
        let text = imported.scenario.to_text();
        assert_eq!(
            Scenario::parse("imported", &text).unwrap_or_else(|error| panic!("{error}")),
            imported.scenario
        );
        imported
    }

    #[test]
    fn a_mesh_becomes_a_scenario_that_plays() {
        let Imported { scenario, notes } = imported(&export());
        assert_eq!(scenario.name, "help-desk");
        assert_eq!(scenario.regions, ["eu-west", "us", "node-7"]);
        // The median of two links; measured; over node 3.
        assert_eq!(scenario.rtt_ms, [[2, 82, 94], [82, 1, 12], [94, 12, 1]]);
        let domains: Vec<&str> = scenario.nodes.iter().map(|node| node.failure_domain.as_str()).collect();
        assert_eq!(domains, ["node-1", "Rack 2", "Rack 3", "Rack 7"]);
        assert!(scenario.nodes[1].broker && !scenario.nodes[0].broker && scenario.nodes[0].capacity == 500);
        assert_eq!(scenario.links_allowed.as_ref().map(BTreeSet::len), Some(4));
        // Sixty attachments are thirty sessions; half of all endpoints are at node 1, as attachments are.
        assert_eq!(scenario.sessions.len(), 30);
        let at = |number: u16| {
            let place = Place::Node(NodeNumber::new(number).unwrap());
            let endpoints = scenario.sessions.iter().flat_map(|session| &session.endpoints);
            endpoints.filter(|endpoint| endpoint.at == place).count()
        };
        assert_eq!([at(1), at(2), at(3), at(7)], [30, 10, 20, 0]);
        assert!(notes.iter().any(|note| note.contains("no link")), "{notes:?}");
        let mut short = scenario;
        short.sessions.truncate(3);
        let report = play(&short, Options { seed: 1, ..Options::default() });
        assert_eq!(report.verdict, Verdict::Held, "{:?}", report.violations);
    }

    #[test]
    fn a_large_load_is_thinned_out_and_told() {
        let mut export = export();
        for node in &mut export.nodes {
            node.load = node.load.map(|load| ExportLoad { attachments: load.attachments * 100, ..load });
        }
        let Imported { scenario, notes } = imported(&export);
        assert_eq!(scenario.sessions.len(), SESSIONS_MAX);
        assert!(notes.iter().any(|note| note.contains("80 endpoints stand for the 6000")), "{notes:?}");
        let arrivals = import(&export.to_text(), Some("busy"), As::Arrivals).unwrap().scenario;
        let read = Scenario::parse("busy", &arrivals.to_text()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read, arrivals);
        let come = arrivals.arrivals.unwrap();
        assert_eq!(come.weights, [4_000, 2_000, 0]);
        // Two each, of 8 minutes and a quarter in the mean: 6,000 at any time.
        assert_eq!(come.sessions_per_min * 2 * LENGTH_MEAN_S / 60, 6_006);
    }

    #[test]
    fn what_an_export_does_not_say_is_noted() {
        let mut export = export();
        export.links.clear();
        export.nodes.iter_mut().for_each(|node| {
            node.roles.clear();
            node.load = None;
            node.region.clear();
        });
        export.nodes[2].drain = DrainState::Drained;
        export.nodes[3].capacity = 0;
        let Imported { scenario, notes } = imported(&export);
        assert_eq!(scenario.regions, ["node-1", "node-2", "node-3", "node-7"]);
        assert!(scenario.nodes[0].broker && scenario.links_allowed.is_none() && scenario.sessions.is_empty());
        for words in
            ["made one", "on its way out", "admits nobody", "no way", "do not join", "nobody was attached"]
        {
            assert!(notes.iter().any(|note| note.contains(words)), "{words}: {notes:?}");
        }
    }

    #[test]
    fn what_is_no_export_is_refused_with_what_to_do() {
        let refused = |text: &str| import(text, None, As::Sessions).unwrap_err();
        assert!(refused("nodes: none").contains("not JSON") && refused("{").contains("relayctl mesh export"));
        assert!(refused("{\"version\": 1}").contains("not an export"));
        let text = export().to_text();
        assert!(refused(&text.replace("\"version\": 1", "\"version\": 9")).contains("version 9"));
        let mut empty = export();
        empty.nodes.clear();
        empty.links.clear();
        assert!(refused(&empty.to_text()).contains("names no node"));
        let mut wrong = export();
        wrong.nodes.swap(0, 1);
        assert!(refused(&wrong.to_text()).contains("do not ascend"));
        assert!(import(&text, Some("Not A Word"), As::Sessions).unwrap_err().contains("lower-case"));
    }
}
