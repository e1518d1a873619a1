//! Link state: what a node says of itself to the whole mesh \[LSA-1\]. Form only; signing and checking are
//! `sealcast-trust`'s, flooding is `sealcast-mesh`'s.
//!
//! `version8 | node16 | incarnation64 | sequence64 | instance64 | issued64 | chain[32] | roles8 | drain8 | capacity32 |
//! wire_min16 | wire_max16 | software | region | failure_domain | count8 addresses | count8 trunk addresses |
//! count8 links | signature[64]`

use serde::{Deserialize, Serialize};

use crate::coding::{DecodeError, Reader, Wire, put_var};
use crate::id::NodeNumber;
use crate::time::WallTime;

/// The form that this code writes and reads.
pub const LSA_VERSION: u8 = 1;
/// Links that one LSA may list: more than a node ever keeps.
pub const LSA_LINKS_MAX: usize = 32;
/// Addresses for endpoints that one LSA may list.
pub const LSA_ADDRESSES_MAX: usize = 8;
/// Addresses for other nodes that one LSA may list: IPv4 and IPv6, inside and outside.
pub const LSA_TRUNK_ADDRESSES_MAX: usize = 4;
/// A host name with its port.
pub const LSA_ADDRESS_LENGTH_MAX: usize = 260;
/// Region, failure domain, software version.
pub const LSA_TEXT_LENGTH_MAX: usize = 64;
/// A whole LSA in bytes.
pub const LSA_LENGTH_MAX: usize = FIXED_LENGTH
    + 3 * (2 + LSA_TEXT_LENGTH_MAX)
    + (LSA_ADDRESSES_MAX + LSA_TRUNK_ADDRESSES_MAX) * (2 + LSA_ADDRESS_LENGTH_MAX)
    + LSA_LINKS_MAX * 4;

const FIXED_LENGTH: usize = 1 + 2 + 8 + 8 + 8 + 8 + 32 + 1 + 1 + 4 + 2 + 2 + 1 + 1 + 1 + 64;
const LABEL: &[u8] = b"sealcast lsa 1";
const ROLES_KNOWN: u8 = Roles::BROKER.0 | Roles::GATEWAY.0;

/// What a node does besides relaying: a set of flags.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Roles(pub u8);

impl Roles {
    /// It makes sessions and tickets, and wants load reports.
    pub const BROKER: Roles = Roles(1);
    /// It accepts endpoints.
    pub const GATEWAY: Roles = Roles(2);

    /// Whether all of these are among them.
    pub const fn has(self, roles: Roles) -> bool {
        self.0 & roles.0 == roles.0
    }

    /// These and those.
    pub const fn and(self, roles: Roles) -> Roles {
        Roles(self.0 | roles.0)
    }
}

/// How far a node is on its way out of service \[DRN-1\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum DrainState {
    /// Admits endpoints, carries traffic, is home of sessions.
    #[default]
    Serving = 0,
    /// Admits nothing new; routes and homes avoid it; its endpoints move.
    Draining = 1,
    /// Carries what still comes and is about to stop.
    Drained = 2,
}

impl DrainState {
    /// `None` for values that the registry does not hold.
    pub const fn from_u8(value: u8) -> Option<DrainState> {
        match value {
            0 => Some(Self::Serving),
            1 => Some(Self::Draining),
            2 => Some(Self::Drained),
            _ => None,
        }
    }
}

/// Orders the LSAs of one node \[LSA-2\]: the greatest is the newest. Compared in the order of the fields.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct LsaVersion {
    /// Counts the node's restarts.
    pub incarnation: u64,
    /// Counts its LSAs of one incarnation.
    pub sequence: u64,
    /// Drawn at random at each start: tells two processes with one identity apart.
    pub instance: u64,
}

impl Wire for LsaVersion {
    fn encode(&self, out: &mut Vec<u8>) {
        self.incarnation.encode(out);
        self.sequence.encode(out);
        self.instance.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(LsaVersion { incarnation: reader.u64()?, sequence: reader.u64()?, instance: reader.u64()? })
    }
}

/// A link as one of its ends sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LsaLink {
    /// The neighbour.
    pub neighbor: NodeNumber,
    /// Smoothed round trip, quantised, in tenths of a millisecond \[LNK-1\].
    pub cost: u16,
}

/// What a node says of itself, without the signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LsaBody {
    /// Who.
    pub node: NodeNumber,
    /// Which of its LSAs.
    pub version: LsaVersion,
    /// When it was made; bounds how long a copy can be passed on \[LSA-5\].
    pub issued: WallTime,
    /// SHA-256 of the certificate chain that signs \[LSA-9\].
    pub chain: [u8; 32],
    /// What it does.
    pub roles: Roles,
    /// How far it is on its way out.
    pub drain: DrainState,
    /// Attachments that it admits at most.
    pub capacity: u32,
    /// The oldest wire version it speaks.
    pub wire_min: u16,
    /// The newest.
    pub wire_max: u16,
    /// Its program and version.
    pub software: String,
    /// Where it stands, in the operator's words.
    pub region: String,
    /// What fails together with it, in the operator's words.
    pub failure_domain: String,
    /// Where endpoints reach it, as `host:port`.
    pub addresses: Vec<String>,
    /// Where other nodes reach it, as `host:port`; none if it takes no trunks.
    pub trunk_addresses: Vec<String>,
    /// Its links that may carry traffic, ascending by neighbour.
    pub links: Vec<LsaLink>,
}

impl LsaBody {
    /// What the node signs: the label and the encoding up to the signature \[LSA-3\].
    pub fn signed_message(&self) -> Vec<u8> {
        let mut message = LABEL.to_vec();
        self.encode(&mut message);
        message
    }
}

impl Wire for LsaBody {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.links.len() <= LSA_LINKS_MAX, "an LSA of {} links", self.links.len());
        assert!(self.addresses.len() <= LSA_ADDRESSES_MAX, "an LSA of {} addresses", self.addresses.len());
        let trunk_addresses = self.trunk_addresses.len();
        assert!(trunk_addresses <= LSA_TRUNK_ADDRESSES_MAX, "an LSA of {trunk_addresses} trunk addresses");
        out.push(LSA_VERSION);
        self.node.encode(out);
        self.version.encode(out);
        self.issued.0.encode(out);
        self.chain.encode(out);
        out.extend_from_slice(&[self.roles.0, self.drain as u8]);
        self.capacity.encode(out);
        self.wire_min.encode(out);
        self.wire_max.encode(out);
        for text in [&self.software, &self.region, &self.failure_domain] {
            put_var(out, text.as_bytes());
        }
        for addresses in [&self.addresses, &self.trunk_addresses] {
            out.push(addresses.len() as u8);
            addresses.iter().for_each(|address| put_var(out, address.as_bytes()));
        }
        out.push(self.links.len() as u8);
        for link in &self.links {
            link.neighbor.encode(out);
            link.cost.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.u8()? != LSA_VERSION {
            return Err(DecodeError::Malformed("LSA version"));
        }
        let node = NodeNumber::decode(reader)?;
        let version = LsaVersion::decode(reader)?;
        let issued = WallTime(reader.u64()?);
        let chain = reader.array()?;
        let roles = Roles(reader.u8()?);
        if roles.0 & !ROLES_KNOWN != 0 {
            return Err(DecodeError::Malformed("roles of an LSA"));
        }
        let drain = DrainState::from_u8(reader.u8()?).ok_or(DecodeError::Malformed("drain state"))?;
        let (capacity, wire_min, wire_max) = (reader.u32()?, reader.u16()?, reader.u16()?);
        if wire_min > wire_max {
            return Err(DecodeError::Malformed("version range"));
        }
        let mut text = |what| Ok::<_, DecodeError>(reader.text(what, LSA_TEXT_LENGTH_MAX)?.to_owned());
        let (software, region, failure_domain) =
            (text("software")?, text("region")?, text("failure domain")?);
        let endpoint_addresses = addresses(reader, "addresses of an LSA", LSA_ADDRESSES_MAX)?;
        let trunk_addresses = addresses(reader, "trunk addresses of an LSA", LSA_TRUNK_ADDRESSES_MAX)?;
        let count = counted(reader, "links of an LSA", LSA_LINKS_MAX)?;
        let mut links: Vec<LsaLink> = Vec::with_capacity(count);
        for _ in 0..count {
            let link = LsaLink { neighbor: NodeNumber::decode(reader)?, cost: reader.u16()? };
            if link.neighbor == node || links.last().is_some_and(|last| last.neighbor >= link.neighbor) {
                return Err(DecodeError::Malformed("order of links"));
            }
            links.push(link);
        }
        Ok(LsaBody {
            node,
            version,
            issued,
            chain,
            roles,
            drain,
            capacity,
            wire_min,
            wire_max,
            software,
            region,
            failure_domain,
            addresses: endpoint_addresses,
            trunk_addresses,
            links,
        })
    }
}

fn addresses(reader: &mut Reader<'_>, what: &'static str, limit: usize) -> Result<Vec<String>, DecodeError> {
    let count = counted(reader, what, limit)?;
    (0..count).map(|_| Ok(reader.text("address", LSA_ADDRESS_LENGTH_MAX)?.to_owned())).collect()
}

/// `count8`, at most `limit`.
pub(crate) fn counted(
    reader: &mut Reader<'_>,
    what: &'static str,
    limit: usize,
) -> Result<usize, DecodeError> {
    let length = usize::from(reader.u8()?);
    if length > limit { Err(DecodeError::TooLong { what, length, limit }) } else { Ok(length) }
}

/// A signed LSA.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lsa {
    /// What it says.
    pub body: LsaBody,
    /// Ed25519 by the node over [`LsaBody::signed_message`].
    pub signature: [u8; 64],
}

impl Wire for Lsa {
    fn encode(&self, out: &mut Vec<u8>) {
        self.body.encode(out);
        out.extend_from_slice(&self.signature);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Lsa { body: LsaBody::decode(reader)?, signature: reader.array()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lsa(links: usize, addresses: usize, text: usize) -> Lsa {
        let body = LsaBody {
            node: NodeNumber::new(1000).unwrap(),
            version: LsaVersion { incarnation: 1, sequence: 2, instance: 3 },
            issued: WallTime(4),
            chain: [5; 32],
            roles: Roles::BROKER.and(Roles::GATEWAY),
            drain: DrainState::Draining,
            capacity: 10_000,
            wire_min: 1,
            wire_max: 1,
            software: "s".repeat(text),
            region: "r".repeat(text),
            failure_domain: "f".repeat(text),
            addresses: vec!["a".repeat(LSA_ADDRESS_LENGTH_MAX); addresses],
            trunk_addresses: vec!["t".repeat(LSA_ADDRESS_LENGTH_MAX); addresses.min(LSA_TRUNK_ADDRESSES_MAX)],
            links: (1..=links as u16)
                .map(|neighbor| LsaLink { neighbor: NodeNumber::new(neighbor).unwrap(), cost: 10 })
                .collect(),
        };
        Lsa { body, signature: [6; 64] }
    }

    /// \[LSA-1\]: reads back at its limits; no prefix or extension of one is one.
    #[test]
    fn reads_back_at_the_limits() {
        let full = lsa(LSA_LINKS_MAX, LSA_ADDRESSES_MAX, LSA_TEXT_LENGTH_MAX);
        let bytes = full.to_bytes();
        assert_eq!(bytes.len(), LSA_LENGTH_MAX);
        assert_eq!(Lsa::from_bytes(&bytes), Ok(full));
        for cut in 0..bytes.len() {
            assert!(Lsa::from_bytes(&bytes[..cut]).is_err());
        }
        assert_eq!(Lsa::from_bytes(&[&bytes[..], &[0]].concat()), Err(DecodeError::Trailing(1)));
        assert!(Lsa::from_bytes(&lsa(1, 0, LSA_TEXT_LENGTH_MAX + 1).to_bytes()).is_err());
        let mut long = lsa(0, 0, 0).to_bytes();
        let count_at = long.len() - 65;
        long[count_at] = LSA_LINKS_MAX as u8 + 1;
        assert!(matches!(Lsa::from_bytes(&long), Err(DecodeError::TooLong { .. })));
    }

    /// \[LSA-1\]: links ascend and never lead to the node itself; unknown roles, states and versions are refused.
    #[test]
    fn refuses_what_it_cannot_be() {
        let mut doubled = lsa(2, 0, 1);
        doubled.body.links[1] = doubled.body.links[0];
        let mut own = lsa(1, 0, 1);
        own.body.links[0].neighbor = own.body.node;
        let mut roles = lsa(1, 0, 1);
        roles.body.roles = Roles(4);
        let mut range = lsa(1, 0, 1);
        range.body.wire_min = 2;
        for bad in [doubled, own, roles, range] {
            assert!(Lsa::from_bytes(&bad.to_bytes()).is_err());
        }
        let mut version = lsa(1, 0, 1).to_bytes();
        version[0] = 2;
        assert!(Lsa::from_bytes(&version).is_err());
        assert_eq!(DrainState::from_u8(3), None);
    }

    /// \[LSA-2\], \[LSA-3\]: restarts count before sequences, and what is signed begins with the label.
    #[test]
    fn versions_compare_by_incarnation_first() {
        let version = |incarnation, sequence, instance| LsaVersion { incarnation, sequence, instance };
        assert!(version(2, 1, 0) > version(1, 99, 9));
        assert!(version(1, 2, 0) > version(1, 1, 9));
        assert!(version(1, 1, 2) > version(1, 1, 1));
        assert!(lsa(0, 0, 0).body.signed_message().starts_with(b"sealcast lsa 1\x01"));
    }
}
