//! Messages between nodes on the control connection of a trunk \[MCU-1\]: `type8 | body`.
//!
//! Those between neighbours flood link state; `routed` carries a message to any node by its number.

mod routed;

pub use routed::{
    DigestEntry, LoadReport, MEMBERSHIPS_BYTES_MAX, MEMBERSHIPS_MAX, MembershipAck, Routed, RoutedMessage,
    SESSION_NODES_MAX, SessionDigest,
};

use crate::coding::{DecodeError, Reader, Wire, put_var};
use crate::egress::HOP_LIMIT;
use crate::id::NodeNumber;
use crate::lsa::{LSA_VERSION, Lsa, LsaVersion, counted};

/// A whole message: a digest of every LSA fits.
pub const MESH_MESSAGE_LENGTH_MAX: usize = 64 * 1024;
/// Nodes that one mesh may have: twice what it is made for.
pub const MESH_NODES_MAX: usize = 2_048;
/// Certificates of one chain: leaf, issuing key, root.
pub const CHAIN_CERTIFICATES_MAX: usize = 3;
/// One certificate in bytes.
pub const CHAIN_CERTIFICATE_LENGTH_MAX: usize = 8 * 1024;
/// Brokers whose certificates a mesh passes on.
pub const BROKER_CHAINS_MAX: usize = 32;
/// A revocation list in bytes: a thousand entries of a CRL.
pub const REVOCATIONS_LENGTH_MAX: usize = 60_000;

/// A message type \[MCU-1\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum MeshMessageType {
    /// A node's link state.
    Lsa = 1,
    /// The chain behind LSAs or tickets.
    Chain = 2,
    /// What the mesh CA has revoked.
    Revocations = 3,
    /// What the sender holds.
    Digest = 4,
    /// What the sender lacks.
    Request = 5,
    /// To any node.
    Routed = 16,
}

impl MeshMessageType {
    /// All of them.
    pub const ALL: [MeshMessageType; 6] =
        [Self::Lsa, Self::Chain, Self::Revocations, Self::Digest, Self::Request, Self::Routed];

    /// `None` for types that the registry does not hold.
    pub fn from_u8(value: u8) -> Option<MeshMessageType> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == value)
    }
}

/// Whose certificate chain it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum ChainKind {
    /// A node's, cited by its LSAs.
    Node = 1,
    /// A broker's, cited by its tickets.
    Broker = 2,
}

/// A certificate chain \[LSA-9\]: DER, leaf first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// Whose.
    pub kind: ChainKind,
    /// Leaf first; 1 to [`CHAIN_CERTIFICATES_MAX`].
    pub certificates: Vec<Vec<u8>>,
}

impl Wire for Chain {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(
            self.certificates.len() <= CHAIN_CERTIFICATES_MAX,
            "{} certificates",
            self.certificates.len()
        );
        out.extend_from_slice(&[self.kind as u8, self.certificates.len() as u8]);
        self.certificates.iter().for_each(|certificate| put_var(out, certificate));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = match reader.u8()? {
            1 => ChainKind::Node,
            2 => ChainKind::Broker,
            _ => return Err(DecodeError::Malformed("chain kind")),
        };
        let count = counted(reader, "certificates of a chain", CHAIN_CERTIFICATES_MAX)?;
        if count == 0 {
            return Err(DecodeError::Malformed("empty chain"));
        }
        let certificate = |_| Ok(reader.var("certificate", CHAIN_CERTIFICATE_LENGTH_MAX)?.to_vec());
        Ok(Chain { kind, certificates: (0..count).map(certificate).collect::<Result<_, DecodeError>>()? })
    }
}

/// A numbered revocation list \[LSA-10\]: the highest number is in force.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Revocations {
    /// Which list; must equal the number inside the signed list.
    pub number: u64,
    /// The list as the mesh CA signed it.
    pub list: Vec<u8>,
}

impl Wire for Revocations {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.list.len() <= REVOCATIONS_LENGTH_MAX, "a revocation list of {} bytes", self.list.len());
        self.number.encode(out);
        put_var(out, &self.list);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Revocations {
            number: reader.u64()?,
            list: reader.var("revocation list", REVOCATIONS_LENGTH_MAX)?.to_vec(),
        })
    }
}

/// What a node holds \[LSA-8\]; its neighbour sends what is newer or missing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Digest {
    /// The number of its revocation list, 0 for none.
    pub revocations: u64,
    /// Hashes of the brokers' chains, ascending.
    pub brokers: Vec<[u8; 32]>,
    /// The LSAs, ascending by node.
    pub lsas: Vec<(NodeNumber, LsaVersion)>,
}

impl Wire for Digest {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.lsas.len() <= MESH_NODES_MAX, "a digest of {} LSAs", self.lsas.len());
        assert!(self.brokers.len() <= BROKER_CHAINS_MAX, "a digest of {} brokers", self.brokers.len());
        self.revocations.encode(out);
        out.push(self.brokers.len() as u8);
        self.brokers.iter().for_each(|hash| hash.encode(out));
        (self.lsas.len() as u16).encode(out);
        for (node, version) in &self.lsas {
            node.encode(out);
            version.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let revocations = reader.u64()?;
        let brokers = hashes(reader, "brokers of a digest", BROKER_CHAINS_MAX)?;
        let count = usize::from(reader.u16()?);
        if count > MESH_NODES_MAX {
            return Err(DecodeError::TooLong { what: "digest", length: count, limit: MESH_NODES_MAX });
        }
        if reader.remaining() < count * 26 {
            return Err(DecodeError::Truncated);
        }
        let mut lsas: Vec<(NodeNumber, LsaVersion)> = Vec::with_capacity(count);
        for _ in 0..count {
            let node = NodeNumber::decode(reader)?;
            if lsas.last().is_some_and(|(last, _)| *last >= node) {
                return Err(DecodeError::Malformed("order of a digest"));
            }
            lsas.push((node, LsaVersion::decode(reader)?));
        }
        Ok(Digest { revocations, brokers, lsas })
    }
}

fn hashes(reader: &mut Reader<'_>, what: &'static str, limit: usize) -> Result<Vec<[u8; 32]>, DecodeError> {
    let count = counted(reader, what, limit)?;
    let mut hashes: Vec<[u8; 32]> = Vec::with_capacity(count);
    for _ in 0..count {
        let hash = reader.array()?;
        if hashes.last().is_some_and(|last| *last >= hash) {
            return Err(DecodeError::Malformed(what));
        }
        hashes.push(hash);
    }
    Ok(hashes)
}

/// Any message between neighbours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MeshMessage {
    /// See [`MeshMessageType::Lsa`].
    Lsa(Lsa),
    /// See [`MeshMessageType::Chain`].
    Chain(Chain),
    /// See [`MeshMessageType::Revocations`].
    Revocations(Revocations),
    /// See [`MeshMessageType::Digest`].
    Digest(Digest),
    /// The hash of a chain that the sender lacks \[LSA-9\].
    Request([u8; 32]),
    /// See [`MeshMessageType::Routed`].
    Routed(Routed),
}

/// What stands before the message in one that is routed: its type, whence, whither, how many hops are left.
const ROUTED_HEAD: usize = 6;

impl MeshMessage {
    /// Whose LSA an encoded message carries, found without decoding it: so that one that is known to the last byte need
    /// not be decoded again. `None` for other messages. Says nothing about whether the rest is well-formed.
    pub fn lsa_origin(message: &[u8]) -> Option<NodeNumber> {
        let mut reader = Reader::new(message);
        let is_lsa = reader.u8().ok()? == MeshMessageType::Lsa as u8 && reader.u8().ok()? == LSA_VERSION;
        is_lsa.then(|| NodeNumber::decode(&mut reader).ok()).flatten()
    }

    /// Whither an encoded message is routed, and how many hops it has left, found without decoding it; `None` if it is for
    /// the neighbour alone. Says nothing about whether the rest is well-formed.
    pub fn routed_to(message: &[u8]) -> Option<(NodeNumber, u8)> {
        let head = message.first_chunk::<ROUTED_HEAD>()?;
        let destination = NodeNumber::new(u16::from_be_bytes([head[3], head[4]]))?;
        (head[0] == MeshMessageType::Routed as u8).then_some((destination, head[5]))
    }

    /// A copy of a routed message with so many hops left.
    ///
    /// # Panics
    /// If [`MeshMessage::routed_to`] says nothing of it: a bug of the caller.
    pub fn with_hops_left(message: &[u8], left: u8) -> Vec<u8> {
        assert!(MeshMessage::routed_to(message).is_some(), "a message to a neighbour has no hops");
        let mut copy = message.to_vec();
        copy[ROUTED_HEAD - 1] = left;
        copy
    }
}

impl Wire for MeshMessage {
    fn encode(&self, out: &mut Vec<u8>) {
        let mut put = |kind: MeshMessageType, body: &dyn Fn(&mut Vec<u8>)| {
            out.push(kind as u8);
            body(out);
        };
        match self {
            Self::Lsa(lsa) => put(MeshMessageType::Lsa, &|out| lsa.encode(out)),
            Self::Chain(chain) => put(MeshMessageType::Chain, &|out| chain.encode(out)),
            Self::Revocations(list) => put(MeshMessageType::Revocations, &|out| list.encode(out)),
            Self::Digest(digest) => put(MeshMessageType::Digest, &|out| digest.encode(out)),
            Self::Request(hash) => put(MeshMessageType::Request, &|out| hash.encode(out)),
            Self::Routed(routed) => put(MeshMessageType::Routed, &|out| routed.encode(out)),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = reader.remaining();
        if length > MESH_MESSAGE_LENGTH_MAX {
            return Err(DecodeError::TooLong {
                what: "mesh message",
                length,
                limit: MESH_MESSAGE_LENGTH_MAX,
            });
        }
        let kind =
            MeshMessageType::from_u8(reader.u8()?).ok_or(DecodeError::Malformed("mesh message type"))?;
        Ok(match kind {
            MeshMessageType::Lsa => Self::Lsa(Lsa::decode(reader)?),
            MeshMessageType::Chain => Self::Chain(Chain::decode(reader)?),
            MeshMessageType::Revocations => Self::Revocations(Revocations::decode(reader)?),
            MeshMessageType::Digest => Self::Digest(Digest::decode(reader)?),
            MeshMessageType::Request => Self::Request(reader.array()?),
            MeshMessageType::Routed => Self::Routed(Routed::decode(reader)?),
        })
    }
}

pub(crate) fn hop_limit(reader: &mut Reader<'_>) -> Result<u8, DecodeError> {
    let limit = reader.u8()?;
    if limit > HOP_LIMIT { Err(DecodeError::Malformed("hop limit")) } else { Ok(limit) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    /// \[MCU-1\]: types that the registry does not hold are refused, and a digest of every node fits a message.
    #[test]
    fn messages_keep_their_limits() {
        for value in 0..=u8::MAX {
            let known = MeshMessageType::ALL.iter().any(|kind| *kind as u8 == value);
            assert_eq!(MeshMessageType::from_u8(value).is_some(), known);
        }
        let lsas = (1..=MESH_NODES_MAX as u16).map(|number| (node(number), LsaVersion::default())).collect();
        let brokers = (0..BROKER_CHAINS_MAX as u8).map(|byte| [byte; 32]).collect();
        let digest = MeshMessage::Digest(Digest { revocations: 1, brokers, lsas });
        let bytes = digest.to_bytes();
        assert!(bytes.len() <= MESH_MESSAGE_LENGTH_MAX);
        assert_eq!(MeshMessage::from_bytes(&bytes), Ok(digest));
        let mut long = bytes;
        long.resize(MESH_MESSAGE_LENGTH_MAX + 1, 0);
        assert!(matches!(MeshMessage::from_bytes(&long), Err(DecodeError::TooLong { .. })));
    }

    /// What is read off a message without decoding it is what decoding finds.
    #[test]
    fn heads_tell_what_is_inside() {
        let routed = |hop_limit| {
            let message = RoutedMessage::Load(LoadReport::default());
            MeshMessage::Routed(Routed { source: node(1), destination: node(700), hop_limit, message })
                .to_bytes()
        };
        assert_eq!(MeshMessage::routed_to(&routed(9)), Some((node(700), 9)));
        assert_eq!(MeshMessage::with_hops_left(&routed(9), 8), routed(8));
        assert_eq!(MeshMessage::lsa_origin(&routed(9)), None);
        let request = MeshMessage::Request([1; 32]).to_bytes();
        assert_eq!((MeshMessage::routed_to(&request), MeshMessage::lsa_origin(&request)), (None, None));
        let head = [MeshMessageType::Lsa as u8, LSA_VERSION, 2, 188];
        assert_eq!(MeshMessage::lsa_origin(&head), Some(node(700)));
        assert_eq!(MeshMessage::lsa_origin(&head[..3]), None);
    }

    /// \[LSA-8\], \[LSA-9\], \[LSA-10\]: order and limits of digests, chains and lists.
    #[test]
    fn digests_chains_and_lists_refuse_what_they_cannot_be() {
        let digest = Digest { lsas: vec![(node(2), LsaVersion::default()); 2], ..Digest::default() };
        assert!(Digest::from_bytes(&digest.to_bytes()).is_err(), "one node twice");
        let digest = Digest { brokers: vec![[1; 32]; 2], ..Digest::default() };
        assert!(Digest::from_bytes(&digest.to_bytes()).is_err(), "one broker twice");
        let chain =
            |count, length| Chain { kind: ChainKind::Node, certificates: vec![vec![1; length]; count] };
        let full = chain(CHAIN_CERTIFICATES_MAX, CHAIN_CERTIFICATE_LENGTH_MAX);
        assert_eq!(Chain::from_bytes(&full.to_bytes()), Ok(full));
        assert!(Chain::from_bytes(&chain(1, CHAIN_CERTIFICATE_LENGTH_MAX + 1).to_bytes()).is_err());
        assert!(Chain::from_bytes(&chain(0, 0).to_bytes()).is_err());
        assert!(Chain::from_bytes(&[3, 1, 0, 0]).is_err(), "chain kind 3");
        let list = Revocations { number: 1, list: vec![2; REVOCATIONS_LENGTH_MAX] };
        assert_eq!(Revocations::from_bytes(&list.to_bytes()), Ok(list.clone()));
        let mut long = list.to_bytes();
        long[8..10].copy_from_slice(&(REVOCATIONS_LENGTH_MAX as u16 + 1).to_be_bytes());
        long.push(0);
        assert!(matches!(Revocations::from_bytes(&long), Err(DecodeError::TooLong { .. })));
    }
}
