//! Frames of admission: hello, ticket and proof, attached \[ATT-1\].

use crate::coding::{DecodeError, Reader, Wire, put_var};
use crate::id::{AttachSeq, SenderNumber, SessionId};
use crate::ticket::{TICKET_LENGTH_MAX, TicketKind};

/// First frame both ways: versions and who speaks \[FRM-6\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Oldest wire version spoken.
    pub version_min: u16,
    /// Newest wire version spoken.
    pub version_max: u16,
    /// Program and version, for logs at DEBUG; at most [`Hello::SOFTWARE_LENGTH_MAX`] bytes.
    pub software: String,
}

impl Hello {
    /// Longest name of a program.
    pub const SOFTWARE_LENGTH_MAX: usize = 64;

    /// The hello of this code.
    pub fn ours(software: &str) -> Hello {
        Hello {
            version_min: super::WIRE_VERSION,
            version_max: super::WIRE_VERSION,
            software: software.chars().take(Self::SOFTWARE_LENGTH_MAX / 4).collect(),
        }
    }

    /// The newest version both sides speak, `None` if there is none.
    pub fn common_version(&self, other: &Hello) -> Option<u16> {
        let newest = self.version_max.min(other.version_max);
        (newest >= self.version_min.max(other.version_min)).then_some(newest)
    }
}

impl Wire for Hello {
    fn encode(&self, out: &mut Vec<u8>) {
        self.version_min.encode(out);
        self.version_max.encode(out);
        put_var(out, self.software.as_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version_min = reader.u16()?;
        let version_max = reader.u16()?;
        if version_min > version_max {
            return Err(DecodeError::Malformed("version range"));
        }
        let software = reader.text("software name", Self::SOFTWARE_LENGTH_MAX)?.to_owned();
        Ok(Hello { version_min, version_max, software })
    }
}

/// Ticket, attachment sequence and proof of possession \[ATT-4\]. A second one on the same attachment turns a lobby
/// attachment into a member's, or renews a ticket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TicketFrame {
    /// The PASETO token, ASCII.
    pub ticket: String,
    /// Which attachment of this sender number it is.
    pub attach_seq: AttachSeq,
    /// Whether the attachment is to be a standby.
    pub standby: bool,
    /// Ed25519 signature over [`attach_proof_message`] by the attach key that the ticket names.
    pub proof: [u8; 64],
}

impl Wire for TicketFrame {
    fn encode(&self, out: &mut Vec<u8>) {
        put_var(out, self.ticket.as_bytes());
        self.attach_seq.encode(out);
        out.push(u8::from(self.standby));
        out.extend_from_slice(&self.proof);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let ticket = reader.text("ticket", TICKET_LENGTH_MAX)?;
        if !ticket.is_ascii() {
            return Err(DecodeError::Malformed("ticket"));
        }
        let ticket = ticket.to_owned();
        let attach_seq = AttachSeq::decode(reader)?;
        let standby = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return Err(DecodeError::Malformed("standby flag")),
        };
        Ok(TicketFrame { ticket, attach_seq, standby, proof: reader.array()? })
    }
}

/// What the proof of an attachment signs: label, exporter of this very connection, hash of the ticket, sequence \[ATT-5\].
pub fn attach_proof_message(exporter: &[u8; 32], ticket_hash: &[u8; 32], attach_seq: AttachSeq) -> Vec<u8> {
    let mut message = Vec::with_capacity(18 + 32 + 32 + 8);
    message.extend_from_slice(b"sealcast attach 1");
    message.extend_from_slice(exporter);
    message.extend_from_slice(ticket_hash);
    attach_seq.encode(&mut message);
    message
}

/// What the proof of a gateway call made with a ticket signs \[GW-7\].
pub fn ticket_call_message(exporter: &[u8; 32], ticket_hash: &[u8; 32]) -> Vec<u8> {
    let mut message = Vec::with_capacity(24 + 64);
    message.extend_from_slice(b"sealcast ticket call 1");
    message.extend_from_slice(exporter);
    message.extend_from_slice(ticket_hash);
    message
}

/// How an attachment of a session stands \[ATT-8\].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum PeerState {
    /// Not attached.
    Gone = 0,
    /// Attached and in fan-out.
    Active = 1,
    /// Attached, not in fan-out.
    Standby = 2,
    /// Attached with a lobby ticket; shown to the leader alone.
    Lobby = 3,
}

impl PeerState {
    fn from_u8(value: u8) -> Result<Self, DecodeError> {
        Ok(match value {
            0 => Self::Gone,
            1 => Self::Active,
            2 => Self::Standby,
            3 => Self::Lobby,
            _ => return Err(DecodeError::Malformed("peer state")),
        })
    }
}

/// Another endpoint of the session, by the relay's word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its sender number.
    pub number: SenderNumber,
    /// Whether it is attached.
    pub state: PeerState,
}

impl Wire for Peer {
    fn encode(&self, out: &mut Vec<u8>) {
        self.number.encode(out);
        out.push(self.state as u8);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Peer { number: SenderNumber::decode(reader)?, state: PeerState::from_u8(reader.u8()?)? })
    }
}

/// The node's answer to a valid ticket \[ATT-6\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attached {
    /// The session.
    pub session: SessionId,
    /// The endpoint's own number.
    pub number: SenderNumber,
    /// Lobby or member.
    pub kind: TicketKind,
    /// Echo of the ticket frame's.
    pub attach_seq: AttachSeq,
    /// The node's ping interval in milliseconds; three missed ones end the attachment.
    pub ping_ms: u32,
    /// Others already there, at most [`Attached::PEERS_MAX`]; empty in the lobby.
    pub peers: Vec<Peer>,
}

impl Attached {
    /// Members and lobby guests that a session can hold together.
    pub const PEERS_MAX: usize = 128;
}

impl Wire for Attached {
    fn encode(&self, out: &mut Vec<u8>) {
        self.session.encode(out);
        self.number.encode(out);
        out.push(self.kind as u8);
        self.attach_seq.encode(out);
        self.ping_ms.encode(out);
        assert!(self.peers.len() <= Self::PEERS_MAX, "{} peers in one session", self.peers.len());
        out.push(self.peers.len() as u8);
        for peer in &self.peers {
            peer.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let session = SessionId::decode(reader)?;
        let number = SenderNumber::decode(reader)?;
        let kind = TicketKind::from_u8(reader.u8()?).ok_or(DecodeError::Malformed("ticket kind"))?;
        let attach_seq = AttachSeq::decode(reader)?;
        let ping_ms = reader.u32()?;
        let count = usize::from(reader.u8()?);
        if count > Self::PEERS_MAX {
            return Err(DecodeError::TooLong { what: "peers", length: count, limit: Self::PEERS_MAX });
        }
        let peers = (0..count).map(|_| Peer::decode(reader)).collect::<Result<_, _>>()?;
        Ok(Attached { session, number, kind, attach_seq, ping_ms, peers })
    }
}
