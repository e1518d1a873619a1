//! Which nodes an endpoint should attach to, best first, and why.
//!
//! Looks at the round trips that the endpoint measured, at each node's load, and at where its session is already. A
//! preference, never a fence: an endpoint may attach to any node of its mesh. Never measures anything itself and never
//! decides about drains or fail-over.

pub mod book;
pub mod place;

use std::collections::BTreeMap;

use proto_spec::{NodeNumber, Timestamp};
use rand_core::Rng;

pub use book::LoadBook;
pub use place::{NodeView, Placement, place};

/// Probe results looked at; an endpoint that sends more has the rest ignored.
pub const PROBES_MAX: usize = 64;
/// The way between two nodes when none is known: longer than any that is.
pub const WAY_UNKNOWN_US: u32 = 500_000;

/// A node by what changes slowly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its number.
    pub node: NodeNumber,
    /// Host name or address for endpoints, as its certificate names it.
    pub host: String,
    /// Its ports, in the order of the operator's preference.
    pub ports: Vec<u16>,
    /// What fails together with it; empty: nothing else does.
    pub failure_domain: String,
    /// Attachments that it admits at most, until a report says so.
    pub capacity: u32,
    /// Whether it admits nothing new.
    pub draining: bool,
}

/// A round trip that an endpoint measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The host as probed.
    pub host: String,
    /// The port that answered.
    pub port: u16,
    /// The round trip in microseconds.
    pub rtt_us: u32,
}

/// Where a session is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPlace {
    /// The nodes with active members.
    pub nodes: Vec<NodeNumber>,
    /// From each node the way to the farthest of them, in microseconds.
    pub ways_us: BTreeMap<NodeNumber, u32>,
}

/// A node to attach to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// Its number.
    pub node: NodeNumber,
    /// Its host.
    pub host: String,
    /// Its ports: those that answered first, quickest first, then the others.
    pub ports: Vec<u16>,
}

/// Where an endpoint should attach, with the reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Located {
    /// Best first.
    pub offered: Vec<Placed>,
    /// For a second attachment.
    pub standby: Option<Placed>,
    /// What was known of each node that was considered.
    pub views: Vec<NodeView>,
    /// What was thought of it.
    pub placement: Placement,
}

impl Located {
    /// The nodes for a ticket: those offered, then the standby, as many as a ticket may prefer.
    pub fn preferred(&self) -> Vec<NodeNumber> {
        let mut nodes: Vec<NodeNumber> = self.placement.offered.clone();
        nodes.extend(self.placement.standby.filter(|standby| !nodes.contains(standby)));
        nodes.truncate(proto_spec::ticket::TICKET_NODES_MAX);
        nodes
    }
}

/// Places one endpoint of a session among the sites; equal inputs and generators give equal answers.
pub fn locate(
    sites: &[Site],
    book: &LoadBook,
    session: &SessionPlace,
    probes: &[Probe],
    now: Timestamp,
    rng: &mut impl Rng,
) -> Located {
    let mut measured: BTreeMap<(&str, u16), u32> = BTreeMap::new();
    for probe in probes.iter().take(PROBES_MAX) {
        let shortest = measured.entry((probe.host.as_str(), probe.port)).or_insert(probe.rtt_us);
        *shortest = (*shortest).min(probe.rtt_us);
    }
    let rtt = |site: &Site, port: u16| measured.get(&(site.host.as_str(), port)).copied();
    let sites: Vec<&Site> = sites.iter().filter(|site| !site.ports.is_empty()).collect();
    let views: Vec<NodeView> = sites
        .iter()
        .map(|site| {
            let rtt_us = site.ports.iter().filter_map(|port| rtt(site, *port)).min();
            view(site, book, session, rtt_us, now)
        })
        .collect();
    let placement = place(&views, book.batch(now), rng);
    let placed = |node: NodeNumber| {
        let site = sites.iter().find(|site| site.node == node)?;
        let mut ports = site.ports.clone();
        ports.sort_by_key(|port| rtt(site, *port).unwrap_or(u32::MAX));
        Some(Placed { node, host: site.host.clone(), ports })
    };
    Located {
        offered: placement.offered.iter().filter_map(|node| placed(*node)).collect(),
        standby: placement.standby.and_then(placed),
        views,
        placement,
    }
}

fn view(
    site: &Site,
    book: &LoadBook,
    session: &SessionPlace,
    rtt_us: Option<u32>,
    now: Timestamp,
) -> NodeView {
    let heard = book.get(site.node);
    // Nodes whose operator named no domain fail alone.
    let failure_domain = if site.failure_domain.is_empty() {
        format!("node {}", site.node)
    } else {
        site.failure_domain.clone()
    };
    let tree_us = if session.nodes.is_empty() {
        0
    } else {
        session.ways_us.get(&site.node).copied().unwrap_or(WAY_UNKNOWN_US)
    };
    NodeView {
        node: site.node,
        failure_domain,
        rtt_us,
        tree_us,
        carries_session: session.nodes.contains(&site.node),
        capacity: heard.map_or(site.capacity, |heard| heard.report.capacity),
        reported: heard.map_or(0, |heard| heard.report.attachments),
        report_age_ms: heard.map_or(u64::MAX, |heard| heard.age_ms(now)),
        placed_since: heard.map_or(0, |heard| heard.placed_since),
        arrivals_per_minute: heard.map_or(0, |heard| heard.arrivals_per_minute),
        draining: site.draining,
        full: heard.is_some_and(|heard| heard.report.full),
    }
}

#[cfg(test)]
mod tests {
    use proto_spec::mesh::LoadReport;
    use rand_chacha::ChaCha20Rng;
    use rand_core::SeedableRng as _;

    use super::place::Verdict;
    use super::*;

    fn number(number: u16) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    fn site(node: u16) -> Site {
        Site {
            node: number(node),
            host: format!("n{node}"),
            ports: vec![8200, 443, 80],
            failure_domain: String::new(),
            capacity: 100,
            draining: false,
        }
    }

    fn probe(host: &str, port: u16, rtt_ms: u32) -> Probe {
        Probe { host: host.into(), port, rtt_us: rtt_ms * 1_000 }
    }

    fn book(reports: &[(u16, u32)]) -> LoadBook {
        let mut book = LoadBook::new();
        for (node, attachments) in reports {
            let report = LoadReport {
                sequence: 1,
                attachments: *attachments,
                capacity: 100,
                full: *attachments >= 100,
                ..LoadReport::default()
            };
            book.heard(number(*node), report, Timestamp::default());
        }
        book
    }

    fn located(sites: &[Site], book: &LoadBook, session: &SessionPlace, probes: &[Probe]) -> Located {
        locate(sites, book, session, probes, Timestamp::default(), &mut ChaCha20Rng::seed_from_u64(3))
    }

    fn numbers(placed: &[Placed]) -> Vec<u16> {
        placed.iter().map(|node| node.node.value()).collect()
    }

    #[test]
    fn ports_that_answered_come_first() {
        let probes = [probe("n1", 80, 9), probe("n1", 443, 7), probe("n1", 9999, 1)];
        let here = located(&[site(1)], &book(&[(1, 0)]), &SessionPlace::default(), &probes);
        assert_eq!(here.offered[0].ports, [443, 80, 8200]);
        let unmeasured = located(&[site(1)], &book(&[(1, 0)]), &SessionPlace::default(), &[]);
        assert_eq!(unmeasured.offered[0].ports, [8200, 443, 80]);
        assert_eq!((here.standby, here.placement.considered[0].rtt_us), (None, Some(7_000)));
    }

    /// \[PLC-1\]
    #[test]
    fn full_draining_and_silent_nodes_are_left_out() {
        let mut sites: Vec<Site> = (1..=5).map(site).collect();
        sites[1].draining = true;
        sites[4].ports.clear();
        let found = located(&sites, &book(&[(1, 99), (2, 0), (3, 100)]), &SessionPlace::default(), &[]);
        assert_eq!(numbers(&found.offered), [1]);
        assert_eq!(found.standby, None);
        let verdicts: Vec<Verdict> = found.placement.considered.iter().map(|node| node.verdict).collect();
        assert_eq!(verdicts, [Verdict::Chosen, Verdict::Draining, Verdict::Full, Verdict::Unheard]);
        assert!(located(&[], &LoadBook::new(), &SessionPlace::default(), &[]).offered.is_empty());
        let unheard = located(&sites[..1], &LoadBook::new(), &SessionPlace::default(), &[]);
        assert_eq!(numbers(&unheard.offered), [1], "where nobody has reported, silence is no reason");
    }

    /// \[PLC-2\]: the way to the session counts, and its nodes compete from afar.
    #[test]
    fn the_sessions_nodes_draw() {
        let sites = [site(1), site(2), site(3)];
        let session = SessionPlace {
            nodes: vec![number(3)],
            ways_us: [(number(1), 90_000), (number(2), 20_000), (number(3), 0)].into(),
        };
        let probes = [probe("n1", 443, 10), probe("n2", 443, 12), probe("n3", 443, 60)];
        let found = located(&sites, &book(&[(1, 0), (2, 0), (3, 0)]), &session, &probes);
        let costs: Vec<u64> = found.placement.considered.iter().map(|node| node.cost_us).collect();
        assert_eq!(costs, [100_000, 32_000, 60_000]);
        assert!(found.views[2].carries_session);
        assert_eq!(found.offered.len(), 3);
        assert_eq!(found.preferred().len(), 3, "the standby is one of them");
        let unknown = SessionPlace { ways_us: BTreeMap::new(), ..session };
        let lost = located(&sites, &book(&[]), &unknown, &probes);
        assert_eq!(lost.views[0].tree_us, WAY_UNKNOWN_US);
    }

    #[test]
    fn probes_beyond_the_limit_are_ignored() {
        let mut probes = vec![probe("n1", 443, 50); PROBES_MAX];
        probes.push(probe("n1", 443, 1));
        let found = located(&[site(1)], &LoadBook::new(), &SessionPlace::default(), &probes);
        assert_eq!(found.views[0].rtt_us, Some(50_000));
    }
}
