//! The mesh as the calls need it: a handle to overlay and trunks, and what follows from link state for placement, for
//! forwarding and for administrators. Computes; never changes a route.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use proto_spec::lsa::{DrainState, Lsa, Roles};
use proto_spec::{NodeNumber, SessionId};
use sealcast_mesh::Input;
use sealcast_mesh::spf::{self, Routes, Vertex};
use sealcast_placement::{SessionPlace, Site};

use crate::overlay::{MeshView, Overlay};
use crate::trunk::{PeerConnection, TrunkStatus, Trunks};

/// Costs are tenths of a millisecond.
pub(super) const COST_US: u32 = 100;

/// Overlay and trunks as the calls use them; a trait, so that tests bring a mesh of their own.
pub trait MeshAccess: Send + Sync + 'static {
    /// The mesh as this node knows it.
    fn view(&self) -> Arc<MeshView>;
    /// The nodes with active members of a session.
    fn nodes_of(&self, session: SessionId) -> Vec<NodeNumber>;
    /// The trunks that are up.
    fn trunks(&self) -> Vec<TrunkStatus>;
    /// Hands an input to the overlay's core.
    fn order(&self, input: Input) -> BoxFuture<'_, ()>;
    /// Opens a gRPC connection to a node.
    fn call<'a>(
        &'a self,
        to: NodeNumber,
        addresses: &'a [String],
    ) -> BoxFuture<'a, io::Result<PeerConnection>>;
}

/// The real one.
#[derive(Clone, Debug)]
pub struct Meshed {
    /// Knows the mesh.
    pub overlay: Overlay,
    /// Reaches other nodes.
    pub trunks: Trunks,
}

impl MeshAccess for Meshed {
    fn view(&self) -> Arc<MeshView> {
        self.overlay.view()
    }

    fn nodes_of(&self, session: SessionId) -> Vec<NodeNumber> {
        self.overlay.nodes_of(session)
    }

    fn trunks(&self) -> Vec<TrunkStatus> {
        self.trunks.status()
    }

    fn order(&self, input: Input) -> BoxFuture<'_, ()> {
        Box::pin(self.overlay.input(input))
    }

    fn call<'a>(
        &'a self,
        to: NodeNumber,
        addresses: &'a [String],
    ) -> BoxFuture<'a, io::Result<PeerConnection>> {
        Box::pin(self.trunks.call(to, addresses))
    }
}

/// A mesh of one node without an overlay: it knows of nobody, and orders lead nowhere.
#[derive(Debug)]
pub struct Lone {
    view: Arc<MeshView>,
}

impl Lone {
    /// Of this node.
    pub fn new(number: NodeNumber) -> Lone {
        let view = MeshView {
            number,
            lsas: Vec::new(),
            roster: vec![number],
            links: Vec::new(),
            drain: DrainState::Serving,
            counters: sealcast_mesh::Counters::default(),
            alarms: Vec::new(),
            revocations: 0,
        };
        Lone { view: Arc::new(view) }
    }
}

impl MeshAccess for Lone {
    fn view(&self) -> Arc<MeshView> {
        Arc::clone(&self.view)
    }

    fn nodes_of(&self, _session: SessionId) -> Vec<NodeNumber> {
        Vec::new()
    }

    fn trunks(&self) -> Vec<TrunkStatus> {
        Vec::new()
    }

    fn order(&self, _input: Input) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    fn call<'a>(
        &'a self,
        _to: NodeNumber,
        _addresses: &'a [String],
    ) -> BoxFuture<'a, io::Result<PeerConnection>> {
        Box::pin(std::future::ready(Err(io::Error::new(
            io::ErrorKind::NotConnected,
            "this node has no trunks",
        ))))
    }
}

/// The name of a drain state as administrators see it.
pub(super) const fn drain_name(drain: DrainState) -> &'static str {
    match drain {
        DrainState::Serving => "serving",
        DrainState::Draining => "draining",
        DrainState::Drained => "drained",
    }
}

/// What follows from one view of the mesh.
#[derive(Debug)]
pub(super) struct Topology {
    pub(super) view: Arc<MeshView>,
    /// This node's routes, as its link state makes them.
    pub(super) routes: Routes,
    /// From each node that was asked for, the way to every other, in microseconds; filled as it is asked for.
    ways: Mutex<BTreeMap<NodeNumber, Arc<BTreeMap<NodeNumber, u32>>>>,
}

/// Keeps the newest [`Topology`], as views change twice a second at most and calls come more often.
#[derive(Debug, Default)]
pub(super) struct TopologyCache(Mutex<Option<Arc<Topology>>>);

impl TopologyCache {
    pub(super) fn of(&self, view: Arc<MeshView>) -> Arc<Topology> {
        let mut cached = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some(topology) if Arc::ptr_eq(&topology.view, &view) => Arc::clone(topology),
            _ => {
                let topology = Arc::new(Topology::new(view));
                *cached = Some(Arc::clone(&topology));
                topology
            }
        }
    }
}

impl Topology {
    pub(super) fn new(view: Arc<MeshView>) -> Topology {
        let routes = spf::routes(view.number, &vertices(&view));
        Topology { view, routes, ways: Mutex::default() }
    }

    /// A node's link state.
    pub(super) fn lsa(&self, node: NodeNumber) -> Option<&Lsa> {
        let at = self.view.lsas.binary_search_by_key(&node, |lsa| lsa.body.node).ok()?;
        Some(&self.view.lsas[at])
    }

    /// Another node's routes, as this node computes them.
    pub(super) fn routes_of(&self, node: NodeNumber) -> Routes {
        if node == self.view.number { self.routes.clone() } else { spf::routes(node, &vertices(&self.view)) }
    }

    /// The nodes with a broker besides this one: those that serve first, then by the way, then by number \[GW-14\].
    pub(super) fn brokers(&self) -> Vec<NodeNumber> {
        let mut brokers: Vec<(DrainState, u32, NodeNumber)> = self
            .view
            .lsas
            .iter()
            .map(|lsa| &lsa.body)
            .filter(|body| body.roles.has(Roles::BROKER) && body.node != self.view.number)
            .filter_map(|body| Some((body.drain, self.routes.distance(body.node)?, body.node)))
            .collect();
        brokers.sort_unstable();
        brokers.into_iter().map(|(.., node)| node).collect()
    }

    /// Where a session is, for placement.
    pub(super) fn session_place(&self, nodes: Vec<NodeNumber>) -> SessionPlace {
        let mut ways_us: BTreeMap<NodeNumber, u32> = BTreeMap::new();
        for (index, node) in nodes.iter().enumerate() {
            let ways = self.ways_from(*node);
            if index == 0 {
                ways_us = (*ways).clone();
                continue;
            }
            // A node that one of them cannot reach has no way to the farthest.
            ways_us.retain(|to, farthest| match ways.get(to) {
                Some(way) => {
                    *farthest = (*farthest).max(*way);
                    true
                }
                None => false,
            });
        }
        SessionPlace { nodes, ways_us }
    }

    fn ways_from(&self, node: NodeNumber) -> Arc<BTreeMap<NodeNumber, u32>> {
        let mut kept = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let ways = kept.entry(node).or_insert_with(|| {
            let ways = spf::distances(node, &vertices(&self.view));
            Arc::new(ways.into_iter().map(|(to, cost)| (to, cost.saturating_mul(COST_US))).collect())
        });
        Arc::clone(ways)
    }

    /// The nodes that endpoints may be sent to, this one left out: the shell knows it better.
    pub(super) fn sites(&self) -> Vec<Site> {
        let reached = |node: NodeNumber| self.view.roster.binary_search(&node).is_ok();
        self.view
            .lsas
            .iter()
            .filter(|lsa| lsa.body.node != self.view.number && reached(lsa.body.node))
            .filter(|lsa| lsa.body.roles.has(Roles::GATEWAY))
            .filter_map(site)
            .collect()
    }
}

/// Where other nodes reach a node \[LSA-1\].
pub(super) fn trunk_addresses(lsa: &Lsa) -> Vec<String> {
    lsa.body.trunk_addresses.clone()
}

/// The graph of the nodes within reach.
fn vertices(view: &MeshView) -> Vec<Vertex<'_>> {
    view.lsas
        .iter()
        .filter(|lsa| view.roster.binary_search(&lsa.body.node).is_ok())
        .map(|lsa| Vertex {
            node: lsa.body.node,
            avoid: lsa.body.drain != DrainState::Serving,
            links: &lsa.body.links,
        })
        .collect()
}

fn site(lsa: &Lsa) -> Option<Site> {
    let split = |address: &String| {
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Some((host, port.parse::<u16>().ok()?))
    };
    let addresses: Vec<(String, u16)> = lsa.body.addresses.iter().filter_map(split).collect();
    let (host, _) = addresses.first()?.clone();
    // A node has one name for endpoints; what stands under another is another way to the same ports.
    let ports = addresses.into_iter().filter(|(other, _)| *other == host).map(|(_, port)| port).collect();
    Some(Site {
        node: lsa.body.node,
        host,
        ports,
        failure_domain: lsa.body.failure_domain.clone(),
        capacity: lsa.body.capacity,
        draining: lsa.body.drain != DrainState::Serving,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use proto_spec::WallTime;
    use proto_spec::lsa::{LsaBody, LsaLink, LsaVersion};

    use super::*;

    pub(crate) fn number(value: u16) -> NodeNumber {
        NodeNumber::new(value).unwrap()
    }

    /// Link state of a node: its links with their costs in milliseconds, and whether it has a broker.
    pub(crate) fn lsa(node: u16, links: &[(u16, u16)], broker: bool) -> Lsa {
        let mut links: Vec<LsaLink> = links
            .iter()
            .map(|(neighbor, ms)| LsaLink { neighbor: number(*neighbor), cost: ms * 10 })
            .collect();
        links.sort_by_key(|link| link.neighbor);
        let body = LsaBody {
            node: number(node),
            version: LsaVersion { incarnation: 1, sequence: 2, instance: 3 },
            issued: WallTime(1),
            chain: [0; 32],
            roles: if broker { Roles::BROKER.and(Roles::GATEWAY) } else { Roles::GATEWAY },
            drain: DrainState::Serving,
            capacity: 100,
            wire_min: 1,
            wire_max: 1,
            software: "relayd test".into(),
            region: "here".into(),
            failure_domain: format!("rack {}", node % 2),
            addresses: vec![format!("n{node}.example:8200"), format!("n{node}.example:443")],
            trunk_addresses: vec![format!("n{node}.example:8203")],
            links,
        };
        Lsa { body, signature: [0; 64] }
    }

    pub(crate) fn view(me: u16, lsas: Vec<Lsa>) -> Arc<MeshView> {
        let lone = Lone::new(number(me)).view;
        let roster = lsas.iter().map(|lsa| lsa.body.node).collect();
        Arc::new(MeshView { lsas, roster, ..(*lone).clone() })
    }

    /// 1 - 2 - 3 in a line, 10 ms and 20 ms, brokers at 2 and 3.
    fn line() -> Topology {
        Topology::new(view(
            1,
            vec![lsa(1, &[(2, 10)], false), lsa(2, &[(1, 10), (3, 20)], true), lsa(3, &[(2, 20)], true)],
        ))
    }

    /// \[GW-14\]: the nearest broker first, those that drain last.
    #[test]
    fn brokers_are_taken_by_the_way() {
        assert_eq!(line().brokers(), [number(2), number(3)]);
        let mut lsas = line().view.lsas.clone();
        lsas[1].body.drain = DrainState::Draining;
        assert_eq!(Topology::new(view(1, lsas.clone())).brokers(), [number(3), number(2)]);
        lsas[2].body.links.clear();
        assert_eq!(Topology::new(view(1, lsas)).brokers(), [number(2)], "one without a way is none");
    }

    /// \[PLC-2\]: the way to the farthest of a session's nodes.
    #[test]
    fn sessions_are_as_far_as_their_farthest_node() {
        let place = line().session_place(vec![number(1), number(3)]);
        // Each hop costs a millisecond besides.
        let expected = [(number(1), 32_000), (number(2), 21_000), (number(3), 32_000)];
        assert_eq!(place.ways_us, expected.into());
        assert!(line().session_place(Vec::new()).ways_us.is_empty());
        assert!(line().session_place(vec![number(9)]).ways_us.is_empty());
    }

    #[test]
    fn sites_are_the_other_gateways_within_reach() {
        let sites = line().sites();
        let told: Vec<(u16, &str, &[u16])> =
            sites.iter().map(|site| (site.node.value(), site.host.as_str(), &site.ports[..])).collect();
        assert_eq!(told, [(2, "n2.example", &[8200, 443][..]), (3, "n3.example", &[8200, 443])]);
        let mut odd = lsa(4, &[], false);
        odd.body.addresses = vec!["[2001:db8::1]:8200".into(), "nonsense".into(), "other:443".into()];
        let site = site(&odd).unwrap();
        assert_eq!((site.host.as_str(), site.ports), ("2001:db8::1", vec![8200]));
        odd.body.addresses.clear();
        assert!(super::site(&odd).is_none());
    }
}
