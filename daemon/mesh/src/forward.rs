//! The hot path: to whom a packet goes next. Explicit multicast as in BIER (RFC 8279) and Xcast (RFC 5058) \[EGR-4\]:
//! the packet names its egress nodes, and a node in between keeps nothing of any session.
//!
//! A pure function of an immutable snapshot; the daemon's tasks and the simulator call the very same.

use std::sync::Arc;

use proto_spec::NodeNumber;
use proto_spec::egress::{EgressSet, TrunkHeader};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::spf::{Coverage, Route, Routes};

/// Routes and the links that are up, as of one moment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    pub(crate) version: u64,
    pub(crate) node: NodeNumber,
    pub(crate) routes: Arc<Routes>,
    /// Ascending.
    pub(crate) up: Vec<NodeNumber>,
}

/// Why a destination gets no copy; the labels are the counters'.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum DropReason {
    /// No node of this number is within reach.
    Unreachable,
    /// Its next hop is down and there is no backup: repaired end to end.
    NextHopDown,
    /// The only way leads back over the link on which the packet came \[EGR-5\].
    NoReturn,
    /// The packet made all the hops it may \[EGR-3\].
    HopLimit,
}

/// One copy for a neighbour.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copy {
    /// The neighbour.
    pub to: NodeNumber,
    /// The nodes that this copy is for.
    pub egress: EgressSet,
}

/// What becomes of a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Copies {
    /// Whether this node's own members get it.
    pub local: bool,
    /// The hop limit of the copies.
    pub hop_limit: u8,
    /// At most one for each neighbour.
    pub copies: SmallVec<[Copy; 4]>,
    /// The destinations that get none.
    pub dropped: SmallVec<[(NodeNumber, DropReason); 2]>,
}

/// Decides what becomes of a packet that came from the neighbour `arrived_on`, or from this node's own endpoints.
pub fn forward(snapshot: &Snapshot, arrived_on: Option<NodeNumber>, header: &TrunkHeader) -> Copies {
    let mut result = Copies {
        local: false,
        hop_limit: header.hop_limit.saturating_sub(1),
        copies: SmallVec::new(),
        dropped: SmallVec::new(),
    };
    for destination in header.egress.nodes() {
        if *destination == snapshot.node {
            result.local = true;
            continue;
        }
        if header.hop_limit == 0 {
            result.dropped.push((*destination, DropReason::HopLimit));
            continue;
        }
        match snapshot.next_hop(*destination, arrived_on) {
            Err(reason) => result.dropped.push((*destination, reason)),
            Ok(to) => match result.copies.iter_mut().find(|copy| copy.to == to) {
                // The sets are read in ascending order, so each part ascends as well.
                Some(copy) => {
                    let pushed = copy.egress.push(*destination);
                    debug_assert!(pushed, "a part of a set is no longer than the set");
                }
                None => result.copies.push(Copy { to, egress: EgressSet::one(*destination) }),
            },
        }
    }
    result
}

impl Snapshot {
    pub(crate) fn empty(node: NodeNumber) -> Snapshot {
        Snapshot { version: 0, node, routes: Arc::default(), up: Vec::new() }
    }

    /// The neighbour on the way to a node: the next hop, or at once the backup while that is down \[EGR-6\].
    ///
    /// # Errors
    /// Why there is none.
    pub fn next_hop(
        &self,
        destination: NodeNumber,
        arrived_on: Option<NodeNumber>,
    ) -> Result<NodeNumber, DropReason> {
        let Some(Route { next_hop, backup, .. }) = self.routes.get(destination) else {
            return Err(DropReason::Unreachable);
        };
        let is_up = |node: &NodeNumber| self.up.binary_search(node).is_ok();
        let returns = |node: &NodeNumber| arrived_on == Some(*node);
        if is_up(next_hop) && !returns(next_hop) {
            return Ok(*next_hop);
        }
        match backup {
            Some(backup) if is_up(backup) && !returns(backup) => Ok(*backup),
            _ if is_up(next_hop) || backup.as_ref().is_some_and(is_up) => Err(DropReason::NoReturn),
            _ => Err(DropReason::NextHopDown),
        }
    }

    /// Counts the snapshots of a node.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whose it is.
    pub const fn node(&self) -> NodeNumber {
        self.node
    }

    /// The routes in it.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// The neighbours whose links carry traffic, ascending.
    pub fn up(&self) -> &[NodeNumber] {
        &self.up
    }

    /// How well next hops are backed up.
    pub fn coverage(&self) -> Coverage {
        self.routes.coverage()
    }
}

#[cfg(test)]
mod tests {
    use proto_spec::SessionId;
    use proto_spec::lsa::LsaLink;

    use super::*;
    use crate::spf::{Vertex, routes};

    fn node(number: u16) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    /// 1 is linked with 2 and 3; 2 and 3 with each other and with 4.
    fn snapshot(up: &[u16]) -> Snapshot {
        let links = |neighbors: &[u16]| -> Vec<LsaLink> {
            neighbors
                .iter()
                .map(|neighbor| LsaLink { neighbor: node(*neighbor), cost: 10 * neighbor })
                .collect()
        };
        let all = [links(&[2, 3]), links(&[1, 3, 4]), links(&[1, 2, 4]), links(&[2, 3])];
        let vertices: Vec<Vertex<'_>> = all
            .iter()
            .zip(1..)
            .map(|(links, number)| Vertex { node: node(number), avoid: false, links })
            .collect();
        let routes = Arc::new(routes(node(1), &vertices));
        Snapshot { version: 1, node: node(1), routes, up: up.iter().map(|number| node(*number)).collect() }
    }

    fn header(hop_limit: u8, egress: &[u16]) -> TrunkHeader {
        let egress = EgressSet::new(egress.iter().map(|number| node(*number))).unwrap();
        TrunkHeader { hop_limit, ingress: node(9), egress, session: SessionId([0; 16]) }
    }

    fn told(copies: &Copies) -> Vec<(u16, Vec<u16>)> {
        let numbers = |set: &EgressSet| set.nodes().iter().map(|node| node.value()).collect();
        copies.copies.iter().map(|copy| (copy.to.value(), numbers(&copy.egress))).collect()
    }

    /// \[EGR-4\]: one copy for each next hop with its part of the set, and the node's own part.
    #[test]
    fn one_copy_for_each_next_hop() {
        let copies = forward(&snapshot(&[2, 3]), None, &header(8, &[1, 2, 3, 4]));
        assert!(copies.local && copies.dropped.is_empty());
        assert_eq!(copies.hop_limit, 7);
        assert_eq!(told(&copies), [(2, vec![2, 4]), (3, vec![3])]);
        let unknown = forward(&snapshot(&[2, 3]), None, &header(8, &[7]));
        assert_eq!(unknown.dropped[..], [(node(7), DropReason::Unreachable)]);
    }

    /// \[EGR-6\]: the backup is used as soon as the next hop's link is down; without one the copy is dropped.
    #[test]
    fn backups_are_used_at_once() {
        assert_eq!(told(&forward(&snapshot(&[3]), None, &header(8, &[2, 3, 4]))), [(3, vec![2, 3, 4])]);
        let cut = forward(&snapshot(&[]), None, &header(8, &[2]));
        assert_eq!(cut.dropped[..], [(node(2), DropReason::NextHopDown)]);
    }

    /// \[EGR-5\]: no copy goes back where the packet came from.
    #[test]
    fn nothing_returns() {
        let copies = forward(&snapshot(&[2, 3]), Some(node(2)), &header(8, &[4]));
        assert_eq!(told(&copies), [(3, vec![4])]);
        let only_way = forward(&snapshot(&[2]), Some(node(2)), &header(8, &[4]));
        assert_eq!(only_way.dropped[..], [(node(4), DropReason::NoReturn)]);
    }

    /// \[EGR-3\]: a packet without hops left is delivered here and goes no further.
    #[test]
    fn hops_run_out() {
        let copies = forward(&snapshot(&[2, 3]), None, &header(0, &[1, 2]));
        assert!(copies.local && copies.copies.is_empty());
        assert_eq!(copies.dropped[..], [(node(2), DropReason::HopLimit)]);
        assert_eq!(forward(&snapshot(&[2, 3]), None, &header(1, &[2])).hop_limit, 0);
    }
}
