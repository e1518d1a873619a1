//! Egress sets and the header of data frames between nodes \[EGR-1\]: which nodes a packet is for.
//!
//! `hop_limit8 | ingress16 | count8 | count x node16 | session[16] | data frames`. Form only; who gets a copy is
//! `sealcast-mesh`'s.

use smallvec::SmallVec;

use crate::coding::{DecodeError, Reader, Wire};
use crate::id::{NodeNumber, SessionId};

/// Nodes that one packet may be for \[EGR-2\]: a session of 50 members and its standbys fits with room.
pub const EGRESS_NODES_MAX: usize = 64;
/// Hops of a packet at most \[EGR-3\]: twice what the cheapest way takes in a mesh of a thousand nodes, whatever its links
/// cost. It ends what circles while nodes do not agree, and nothing else.
pub const HOP_LIMIT: u8 = 32;
/// The longest header.
pub const TRUNK_HEADER_LENGTH_MAX: usize = 1 + 2 + 1 + 2 * EGRESS_NODES_MAX + 16;

/// The nodes that a packet is for: 1 to [`EGRESS_NODES_MAX`] in ascending order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct EgressSet(SmallVec<[NodeNumber; 8]>);

impl EgressSet {
    /// Sorts the nodes and drops doubles; `None` if there is none or there are too many.
    pub fn new(nodes: impl IntoIterator<Item = NodeNumber>) -> Option<EgressSet> {
        let mut nodes: SmallVec<[NodeNumber; 8]> = nodes.into_iter().collect();
        nodes.sort_unstable();
        nodes.dedup();
        (1..=EGRESS_NODES_MAX).contains(&nodes.len()).then_some(EgressSet(nodes))
    }

    /// A set of one.
    pub fn one(node: NodeNumber) -> EgressSet {
        EgressSet(SmallVec::from_slice(&[node]))
    }

    /// The nodes in ascending order.
    pub fn nodes(&self) -> &[NodeNumber] {
        &self.0
    }

    /// Whether the packet is for this node.
    pub fn contains(&self, node: NodeNumber) -> bool {
        self.0.binary_search(&node).is_ok()
    }

    /// Adds a node that is greater than all the others; `false` if it is not, or the set is full.
    pub fn push(&mut self, node: NodeNumber) -> bool {
        let fits = self.0.len() < EGRESS_NODES_MAX && self.0.last().is_none_or(|last| *last < node);
        if fits {
            self.0.push(node);
        }
        fits
    }
}

impl Wire for EgressSet {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.0.len() as u8);
        self.0.iter().for_each(|node| node.encode(out));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = usize::from(reader.u8()?);
        if count == 0 {
            return Err(DecodeError::Malformed("empty egress set"));
        }
        if count > EGRESS_NODES_MAX {
            return Err(DecodeError::TooLong { what: "egress set", length: count, limit: EGRESS_NODES_MAX });
        }
        let mut set = EgressSet(SmallVec::with_capacity(count));
        for _ in 0..count {
            if !set.push(NodeNumber::decode(reader)?) {
                return Err(DecodeError::Malformed("order of an egress set"));
            }
        }
        Ok(set)
    }
}

/// What stands before a run of data frames on a trunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrunkHeader {
    /// Hops that the packet may still make, at most [`HOP_LIMIT`].
    pub hop_limit: u8,
    /// The node where it entered the mesh.
    pub ingress: NodeNumber,
    /// The nodes that this copy is for.
    pub egress: EgressSet,
    /// The session, by which an egress node finds its members.
    pub session: SessionId,
}

impl Wire for TrunkHeader {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.hop_limit);
        self.ingress.encode(out);
        self.egress.encode(out);
        self.session.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let hop_limit = reader.u8()?;
        if hop_limit > HOP_LIMIT {
            return Err(DecodeError::Malformed("hop limit"));
        }
        Ok(TrunkHeader {
            hop_limit,
            ingress: NodeNumber::decode(reader)?,
            egress: EgressSet::decode(reader)?,
            session: SessionId::decode(reader)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(range: std::ops::RangeInclusive<u16>) -> impl Iterator<Item = NodeNumber> {
        range.map(|number| NodeNumber::new(number).unwrap())
    }

    /// \[EGR-2\]: 1 to 64 nodes, ascending, none twice.
    #[test]
    fn sets_end_where_the_clause_says() {
        let full = EgressSet::new(nodes(1..=64)).unwrap();
        assert_eq!(EgressSet::from_bytes(&full.to_bytes()), Ok(full.clone()));
        assert!(EgressSet::new(nodes(1..=65)).is_none());
        let mut long = full.to_bytes();
        long[0] = 65;
        long.extend_from_slice(&[0, 65]);
        assert!(matches!(EgressSet::from_bytes(&long), Err(DecodeError::TooLong { .. })));
        assert!(EgressSet::new(nodes(1..=1).take(0)).is_none());
        assert!(EgressSet::from_bytes(&[0]).is_err());
        assert!(EgressSet::from_bytes(&[2, 0, 2, 0, 1]).is_err(), "descending");
        assert!(EgressSet::from_bytes(&[2, 0, 2, 0, 2]).is_err(), "twice");
        assert!(EgressSet::from_bytes(&[1, 0, 0]).is_err(), "node 0");
        let set = EgressSet::new(nodes(1..=9).chain(nodes(3..=4))).unwrap();
        assert_eq!(set.nodes().len(), 9);
        assert!(set.contains(NodeNumber::new(9).unwrap()) && !set.contains(NodeNumber::new(10).unwrap()));
    }

    /// \[EGR-1\], \[EGR-3\]: reads back, no cut of one is one, and no copy starts with more hops than allowed.
    #[test]
    fn headers_read_back() {
        let header = TrunkHeader {
            hop_limit: HOP_LIMIT,
            ingress: NodeNumber::new(7).unwrap(),
            egress: EgressSet::new(nodes(1..=64)).unwrap(),
            session: SessionId([9; 16]),
        };
        let mut bytes = header.to_bytes();
        assert_eq!(bytes.len(), TRUNK_HEADER_LENGTH_MAX);
        assert_eq!(TrunkHeader::from_bytes(&bytes), Ok(header));
        for cut in 0..bytes.len() {
            assert!(TrunkHeader::from_bytes(&bytes[..cut]).is_err());
        }
        bytes[0] = HOP_LIMIT + 1;
        assert!(TrunkHeader::from_bytes(&bytes).is_err());
    }
}
