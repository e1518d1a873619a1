//! Memberships: which endpoints of a session a node carries, in its own words \[MBR-1\]. Form only.
//!
//! `version8 | session[16] | node16 | incarnation64 | sequence64 | count8 | count x (number16, kind8, attach_seq64,
//! ticket[32]) | signature[64]`. One without entries withdraws.

use serde::{Deserialize, Serialize};

use crate::coding::{DecodeError, Reader, Wire};
use crate::id::{AttachSeq, NodeNumber, SenderNumber, SessionId};
use crate::lsa::counted;

/// The form that this code writes and reads.
pub const MEMBERSHIP_VERSION: u8 = 1;
/// Endpoints of one session on one node: 50 members, as many standbys, 16 guests, and room.
pub const MEMBERSHIP_ENTRIES_MAX: usize = 128;
/// A whole membership in bytes.
pub const MEMBERSHIP_LENGTH_MAX: usize =
    1 + 16 + 2 + 16 + 1 + MEMBERSHIP_ENTRIES_MAX * MembershipEntry::LENGTH + 64;

const LABEL: &[u8] = b"sealcast membership 1";

/// How an endpoint is attached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum MemberKind {
    /// A member in fan-out.
    Active = 1,
    /// Ready to take over, in no egress set.
    Standby = 2,
    /// A guest whom the leader alone reaches.
    Lobby = 3,
}

impl MemberKind {
    /// `None` for kinds that the registry does not hold.
    pub const fn from_u8(value: u8) -> Option<MemberKind> {
        match value {
            1 => Some(Self::Active),
            2 => Some(Self::Standby),
            3 => Some(Self::Lobby),
            _ => None,
        }
    }
}

/// Orders the memberships of one node: the greatest is the newest \[MBR-2\].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize)]
pub struct MembershipVersion {
    /// Counts the node's restarts.
    pub incarnation: u64,
    /// Counts its memberships, of all sessions together.
    pub sequence: u64,
}

impl Wire for MembershipVersion {
    fn encode(&self, out: &mut Vec<u8>) {
        self.incarnation.encode(out);
        self.sequence.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(MembershipVersion { incarnation: reader.u64()?, sequence: reader.u64()? })
    }
}

/// One endpoint on the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MembershipEntry {
    /// Its number in the session.
    pub number: SenderNumber,
    /// How it is attached.
    pub kind: MemberKind,
    /// Which of its attachments.
    pub attach_seq: AttachSeq,
    /// SHA-256 of the ticket that justifies it.
    pub ticket: [u8; 32],
}

impl MembershipEntry {
    const LENGTH: usize = 2 + 1 + 8 + 32;
}

/// A node's endpoints of one session, without the signature.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MembershipBody {
    /// The session.
    pub session: SessionId,
    /// Whose endpoints.
    pub node: NodeNumber,
    /// Which of its memberships.
    pub version: MembershipVersion,
    /// Its endpoints, ascending by number; none when it withdraws.
    pub entries: Vec<MembershipEntry>,
}

impl MembershipBody {
    /// What the node signs.
    pub fn signed_message(&self) -> Vec<u8> {
        let mut message = LABEL.to_vec();
        self.encode(&mut message);
        message
    }

    /// Whether packets for all members go to the node \[MBR-8\].
    pub fn has_active(&self) -> bool {
        self.entries.iter().any(|entry| entry.kind == MemberKind::Active)
    }
}

impl Wire for MembershipBody {
    fn encode(&self, out: &mut Vec<u8>) {
        let count = self.entries.len();
        assert!(count <= MEMBERSHIP_ENTRIES_MAX, "a membership of {count} endpoints");
        out.push(MEMBERSHIP_VERSION);
        self.session.encode(out);
        self.node.encode(out);
        self.version.encode(out);
        out.push(count as u8);
        for entry in &self.entries {
            entry.number.encode(out);
            out.push(entry.kind as u8);
            entry.attach_seq.encode(out);
            entry.ticket.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if reader.u8()? != MEMBERSHIP_VERSION {
            return Err(DecodeError::Malformed("membership version"));
        }
        let session = SessionId::decode(reader)?;
        let node = NodeNumber::decode(reader)?;
        let version = MembershipVersion::decode(reader)?;
        let count = counted(reader, "membership", MEMBERSHIP_ENTRIES_MAX)?;
        if reader.remaining() < count * MembershipEntry::LENGTH {
            return Err(DecodeError::Truncated);
        }
        let mut entries: Vec<MembershipEntry> = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = MembershipEntry {
                number: SenderNumber::decode(reader)?,
                kind: MemberKind::from_u8(reader.u8()?).ok_or(DecodeError::Malformed("member kind"))?,
                attach_seq: AttachSeq::decode(reader)?,
                ticket: reader.array()?,
            };
            if entries.last().is_some_and(|last| last.number >= entry.number) {
                return Err(DecodeError::Malformed("order of a membership"));
            }
            entries.push(entry);
        }
        Ok(MembershipBody { session, node, version, entries })
    }
}

/// A signed membership.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// What it says.
    pub body: MembershipBody,
    /// Ed25519 by the node over [`MembershipBody::signed_message`].
    pub signature: [u8; 64],
}

impl Wire for Membership {
    fn encode(&self, out: &mut Vec<u8>) {
        self.body.encode(out);
        out.extend_from_slice(&self.signature);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Membership { body: MembershipBody::decode(reader)?, signature: reader.array()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership(count: u16) -> Membership {
        let entries = (1..=count).map(|number| MembershipEntry {
            number: SenderNumber::new(number).unwrap(),
            kind: if number == 1 { MemberKind::Active } else { MemberKind::Standby },
            attach_seq: AttachSeq(7),
            ticket: [8; 32],
        });
        let body = MembershipBody {
            session: SessionId([1; 16]),
            node: NodeNumber::new(2).unwrap(),
            version: MembershipVersion { incarnation: 3, sequence: 4 },
            entries: entries.collect(),
        };
        Membership { body, signature: [5; 64] }
    }

    /// \[MBR-1\]: reads back at its limits; no prefix or extension of one is one.
    #[test]
    fn reads_back_at_the_limits() {
        let full = membership(MEMBERSHIP_ENTRIES_MAX as u16);
        let bytes = full.to_bytes();
        assert_eq!(bytes.len(), MEMBERSHIP_LENGTH_MAX);
        assert_eq!(Membership::from_bytes(&bytes), Ok(full));
        for cut in 0..bytes.len() {
            assert!(Membership::from_bytes(&bytes[..cut]).is_err());
        }
        let empty = membership(0);
        assert!(!empty.body.has_active() && membership(1).body.has_active());
        let mut long = empty.to_bytes();
        let count_at = long.len() - 65;
        long[count_at] = MEMBERSHIP_ENTRIES_MAX as u8 + 1;
        assert!(matches!(Membership::from_bytes(&long), Err(DecodeError::TooLong { .. })));
    }

    /// \[MBR-1\], \[MBR-2\]: numbers ascend, kinds are known, restarts count before sequences.
    #[test]
    fn refuses_what_it_cannot_be() {
        let mut doubled = membership(2);
        doubled.body.entries[1].number = doubled.body.entries[0].number;
        assert!(Membership::from_bytes(&doubled.to_bytes()).is_err());
        assert_eq!((MemberKind::from_u8(0), MemberKind::from_u8(4)), (None, None));
        let version = |incarnation, sequence| MembershipVersion { incarnation, sequence };
        assert!(version(2, 1) > version(1, 9) && version(1, 2) > version(1, 1));
    }
}
