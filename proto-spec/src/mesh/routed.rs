//! Control unicast: messages to a node by its number, over as many hops as it takes \[MCU-1\].

use serde::{Deserialize, Serialize};

use super::hop_limit;
use crate::coding::{DecodeError, Reader, Wire};
use crate::id::{NodeNumber, SenderNumber, SessionId};
use crate::lsa::counted;
use crate::membership::{Membership, MembershipVersion};
use crate::tombstone::Tombstone;

/// Memberships in one message.
pub const MEMBERSHIPS_MAX: usize = 64;
/// Bytes of memberships that a sender puts in one message, so that it always fits.
pub const MEMBERSHIPS_BYTES_MAX: usize = 48 * 1024;
/// Nodes that carry one session: one more than an egress set can name, for the node itself.
pub const SESSION_NODES_MAX: usize = 65;
/// Sessions in one digest.
const DIGEST_SESSIONS_MAX: usize = 255;

/// What a home holds of one node for one session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DigestEntry {
    /// Whose membership.
    pub node: NodeNumber,
    /// Which.
    pub version: MembershipVersion,
}

impl Wire for DigestEntry {
    fn encode(&self, out: &mut Vec<u8>) {
        self.node.encode(out);
        self.version.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(DigestEntry { node: NodeNumber::decode(reader)?, version: MembershipVersion::decode(reader)? })
    }
}

/// What a home holds for one session \[MBR-6\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionDigest {
    /// The session.
    pub session: SessionId,
    /// Ascending by node.
    pub entries: Vec<DigestEntry>,
}

impl Wire for SessionDigest {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.entries.len() <= SESSION_NODES_MAX, "a session on {} nodes", self.entries.len());
        self.session.encode(out);
        out.push(self.entries.len() as u8);
        self.entries.iter().for_each(|entry| entry.encode(out));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let session = SessionId::decode(reader)?;
        let count = counted(reader, "nodes of a session", SESSION_NODES_MAX)?;
        let mut entries: Vec<DigestEntry> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = DigestEntry::decode(reader)?;
            if entries.last().is_some_and(|last| last.node >= entry.node) {
                return Err(DecodeError::Malformed("order of a session digest"));
            }
            entries.push(entry);
        }
        Ok(SessionDigest { session, entries })
    }
}

/// A node's word that it holds a membership \[MBR-4\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MembershipAck {
    /// The session.
    pub session: SessionId,
    /// Whose membership.
    pub node: NodeNumber,
    /// Which.
    pub version: MembershipVersion,
    /// Nodes with active members of the session that the acknowledging node knows of, ascending \[MBR-10\].
    pub known: Vec<NodeNumber>,
}

impl Wire for MembershipAck {
    fn encode(&self, out: &mut Vec<u8>) {
        assert!(self.known.len() <= SESSION_NODES_MAX, "a session on {} nodes", self.known.len());
        self.session.encode(out);
        self.node.encode(out);
        self.version.encode(out);
        put_nodes(out, &self.known);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(MembershipAck {
            session: SessionId::decode(reader)?,
            node: NodeNumber::decode(reader)?,
            version: MembershipVersion::decode(reader)?,
            known: nodes(reader)?,
        })
    }
}

/// A node's true load, told to brokers once a second \[MCU-3\].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LoadReport {
    /// Counts the node's reports.
    pub sequence: u64,
    /// Attachments now.
    pub attachments: u32,
    /// Attachments that it admits at most.
    pub capacity: u32,
    /// Bytes in its queues.
    pub queue_bytes: u64,
    /// Bytes that it forwarded in the last second.
    pub forwarded_bytes: u64,
    /// Whether it refuses new attachments.
    pub full: bool,
}

impl Wire for LoadReport {
    fn encode(&self, out: &mut Vec<u8>) {
        self.sequence.encode(out);
        self.attachments.encode(out);
        self.capacity.encode(out);
        self.queue_bytes.encode(out);
        self.forwarded_bytes.encode(out);
        out.push(u8::from(self.full));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(LoadReport {
            sequence: reader.u64()?,
            attachments: reader.u32()?,
            capacity: reader.u32()?,
            queue_bytes: reader.u64()?,
            forwarded_bytes: reader.u64()?,
            full: flag(reader)?,
        })
    }
}

/// What one node says to another, however far away.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RoutedMessage {
    /// Memberships of one or more sessions, by their owner or passed on; type 1.
    Memberships {
        /// Whether whoever passes them on wants the acknowledgements too \[DRN-2\].
        acknowledge: bool,
        /// 1 to [`MEMBERSHIPS_MAX`].
        memberships: Vec<Membership>,
    },
    /// See [`MembershipAck`]; type 2.
    MembershipAck(MembershipAck),
    /// What the sender, a home, holds for sessions that the receiver carries; type 3.
    HomeDigest(Vec<SessionDigest>),
    /// Send me these nodes' memberships of a session; type 4.
    MembershipRequest {
        /// The session.
        session: SessionId,
        /// Whose, ascending.
        nodes: Vec<NodeNumber>,
    },
    /// A broker's word that a session or a member is over \[MBR-11\]; type 5.
    Tombstone(Tombstone),
    /// The tombstone of a session, or of one of its members, is kept; type 6.
    TombstoneAck {
        /// The session.
        session: SessionId,
        /// The member, `None` for the session.
        number: Option<SenderNumber>,
    },
    /// See [`LoadReport`]; type 7.
    Load(LoadReport),
}

impl Wire for RoutedMessage {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Memberships { acknowledge, memberships } => {
                let count = memberships.len();
                assert!((1..=MEMBERSHIPS_MAX).contains(&count), "a message of {count} memberships");
                out.extend_from_slice(&[1, u8::from(*acknowledge), count as u8]);
                memberships.iter().for_each(|membership| membership.encode(out));
            }
            Self::MembershipAck(ack) => {
                out.push(2);
                ack.encode(out);
            }
            Self::HomeDigest(sessions) => {
                assert!(sessions.len() <= DIGEST_SESSIONS_MAX, "a digest of {} sessions", sessions.len());
                out.extend_from_slice(&[3, sessions.len() as u8]);
                sessions.iter().for_each(|session| session.encode(out));
            }
            Self::MembershipRequest { session, nodes } => {
                out.push(4);
                session.encode(out);
                put_nodes(out, nodes);
            }
            Self::Tombstone(tombstone) => {
                out.push(5);
                tombstone.encode(out);
            }
            Self::TombstoneAck { session, number } => {
                out.push(6);
                session.encode(out);
                number.map_or(0, SenderNumber::value).encode(out);
            }
            Self::Load(report) => {
                out.push(7);
                report.encode(out);
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match reader.u8()? {
            1 => {
                let acknowledge = flag(reader)?;
                let count = counted(reader, "memberships", MEMBERSHIPS_MAX)?;
                if count == 0 {
                    return Err(DecodeError::Malformed("no membership"));
                }
                let memberships = (0..count).map(|_| Membership::decode(reader)).collect::<Result<_, _>>()?;
                Self::Memberships { acknowledge, memberships }
            }
            2 => Self::MembershipAck(MembershipAck::decode(reader)?),
            3 => {
                let count = usize::from(reader.u8()?);
                Self::HomeDigest((0..count).map(|_| SessionDigest::decode(reader)).collect::<Result<_, _>>()?)
            }
            4 => Self::MembershipRequest { session: SessionId::decode(reader)?, nodes: nodes(reader)? },
            5 => Self::Tombstone(Tombstone::decode(reader)?),
            6 => Self::TombstoneAck {
                session: SessionId::decode(reader)?,
                number: SenderNumber::new(reader.u16()?),
            },
            7 => Self::Load(LoadReport::decode(reader)?),
            _ => return Err(DecodeError::Malformed("routed message type")),
        })
    }
}

/// A message with its way: `source16 | destination16 | hop_limit8 | type8 | body`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Routed {
    /// Who says it.
    pub source: NodeNumber,
    /// To whom.
    pub destination: NodeNumber,
    /// Hops that it may still make.
    pub hop_limit: u8,
    /// What.
    pub message: RoutedMessage,
}

impl Wire for Routed {
    fn encode(&self, out: &mut Vec<u8>) {
        self.source.encode(out);
        self.destination.encode(out);
        out.push(self.hop_limit);
        self.message.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Routed {
            source: NodeNumber::decode(reader)?,
            destination: NodeNumber::decode(reader)?,
            hop_limit: hop_limit(reader)?,
            message: RoutedMessage::decode(reader)?,
        })
    }
}

fn flag(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Malformed("flag")),
    }
}

fn put_nodes(out: &mut Vec<u8>, nodes: &[NodeNumber]) {
    out.push(nodes.len() as u8);
    nodes.iter().for_each(|node| node.encode(out));
}

fn nodes(reader: &mut Reader<'_>) -> Result<Vec<NodeNumber>, DecodeError> {
    let count = counted(reader, "nodes of a session", SESSION_NODES_MAX)?;
    let mut nodes: Vec<NodeNumber> = Vec::with_capacity(count);
    for _ in 0..count {
        let node = NodeNumber::decode(reader)?;
        if nodes.last().is_some_and(|last| *last >= node) {
            return Err(DecodeError::Malformed("order of nodes"));
        }
        nodes.push(node);
    }
    Ok(nodes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{MESH_MESSAGE_LENGTH_MAX, MeshMessage};

    fn node(number: u16) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    fn routed(message: RoutedMessage) -> MeshMessage {
        MeshMessage::Routed(Routed { source: node(1), destination: node(2), hop_limit: 8, message })
    }

    /// \[MCU-1\]: each kind reads back, and no cut of one is one.
    #[test]
    fn each_kind_reads_back() {
        let session = SessionId([7; 16]);
        let version = MembershipVersion { incarnation: 1, sequence: 2 };
        let entries = vec![DigestEntry { node: node(3), version }, DigestEntry { node: node(4), version }];
        for message in [
            RoutedMessage::MembershipAck(MembershipAck {
                session,
                node: node(3),
                version,
                known: vec![node(3), node(9)],
            }),
            RoutedMessage::HomeDigest(vec![SessionDigest { session, entries: entries.clone() }]),
            RoutedMessage::MembershipRequest { session, nodes: vec![node(1)] },
            RoutedMessage::TombstoneAck { session, number: None },
            RoutedMessage::Load(LoadReport {
                sequence: 1,
                attachments: 2,
                capacity: 3,
                ..LoadReport::default()
            }),
        ] {
            let message = routed(message);
            let bytes = message.to_bytes();
            assert_eq!(MeshMessage::from_bytes(&bytes), Ok(message));
            for cut in 0..bytes.len() {
                assert!(MeshMessage::from_bytes(&bytes[..cut]).is_err());
            }
        }
        let doubled = SessionDigest { session, entries: vec![entries[0]; 2] };
        assert!(SessionDigest::from_bytes(&doubled.to_bytes()).is_err());
        let full = SessionDigest {
            session,
            entries: (1..=SESSION_NODES_MAX as u16).map(|n| DigestEntry { node: node(n), version }).collect(),
        };
        assert_eq!(SessionDigest::from_bytes(&full.to_bytes()), Ok(full.clone()));
        assert!(full.to_bytes().len() * 40 < MESH_MESSAGE_LENGTH_MAX, "many sessions fit a message");
    }

    /// \[MCU-2\]: a message never starts with more hops than allowed.
    #[test]
    fn hop_limits_are_checked() {
        let mut bytes = routed(RoutedMessage::Load(LoadReport::default())).to_bytes();
        assert!(MeshMessage::from_bytes(&bytes).is_ok());
        bytes[5] = crate::egress::HOP_LIMIT + 1;
        assert!(MeshMessage::from_bytes(&bytes).is_err());
    }
}
