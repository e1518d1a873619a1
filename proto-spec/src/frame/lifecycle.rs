//! Frames that change where or whether an endpoint is attached.

use super::Peer;
use crate::coding::{DecodeError, Reader, Wire, put_var};
use crate::error::Refusal;
use crate::id::{NodeNumber, SenderNumber};

/// Addresses that a node may name for another.
const ADDRESSES_MAX: usize = 8;
/// A host name with its port: 253 and 6 characters.
const ADDRESS_LENGTH_MAX: usize = 260;

fn put_addresses(out: &mut Vec<u8>, addresses: &[String]) {
    assert!(addresses.len() <= ADDRESSES_MAX, "{} addresses of one node", addresses.len());
    out.push(addresses.len() as u8);
    addresses.iter().for_each(|address| put_var(out, address.as_bytes()));
}

fn addresses(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let count = usize::from(reader.u8()?);
    if count > ADDRESSES_MAX {
        return Err(DecodeError::TooLong { what: "addresses", length: count, limit: ADDRESSES_MAX });
    }
    (0..count).map(|_| Ok(reader.text("address", ADDRESS_LENGTH_MAX)?.to_owned())).collect()
}

/// Attach to another node, before admission \[ATT-9\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Redirect {
    /// Where, as `host:port`; at most eight.
    pub addresses: Vec<String>,
}

impl Wire for Redirect {
    fn encode(&self, out: &mut Vec<u8>) {
        put_addresses(out, &self.addresses);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Redirect { addresses: addresses(reader)? })
    }
}

/// Attach elsewhere and then detach here: the node drains \[ATT-10\].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Move {
    /// Time left in milliseconds.
    pub deadline_ms: u32,
    /// Where to, as `host:port`; empty to use the standby or the ticket's list.
    pub addresses: Vec<String>,
}

impl Wire for Move {
    fn encode(&self, out: &mut Vec<u8>) {
        self.deadline_ms.encode(out);
        put_addresses(out, &self.addresses);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Move { deadline_ms: reader.u32()?, addresses: addresses(reader)? })
    }
}

/// A member came or went, by the relay's word \[ATT-8\]: a hint, never an authority.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Presence {
    /// Who, and how it now stands.
    pub peer: Peer,
}

impl Wire for Presence {
    fn encode(&self, out: &mut Vec<u8>) {
        self.peer.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Presence { peer: Peer::decode(reader)? })
    }
}

/// A path to members changed: unacknowledged data should be probed for at once \[FLW-5\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathHint {
    /// The node that became unreachable or changed its route, 0 on the wire for "not told".
    pub node: Option<NodeNumber>,
}

impl Wire for PathHint {
    fn encode(&self, out: &mut Vec<u8>) {
        self.node.map_or(0, NodeNumber::value).encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(PathHint { node: NodeNumber::new(reader.u16()?) })
    }
}

/// The session is over \[ATT-11\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ended {
    /// [`Refusal::SessionEnded`] or [`Refusal::MemberRemoved`].
    pub reason: Refusal,
    /// The member who was removed, `None` when the whole session ended.
    pub number: Option<SenderNumber>,
}

impl Wire for Ended {
    fn encode(&self, out: &mut Vec<u8>) {
        self.reason.encode(out);
        self.number.map_or(0, SenderNumber::value).encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Ended { reason: Refusal::decode(reader)?, number: SenderNumber::new(reader.u16()?) })
    }
}

/// Why the node closes the connection \[ERR-1\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorFrame {
    /// The reason.
    pub refusal: Refusal,
    /// When to try again, in milliseconds; 0 for "as you like".
    pub retry_after_ms: u32,
}

impl Wire for ErrorFrame {
    fn encode(&self, out: &mut Vec<u8>) {
        self.refusal.encode(out);
        self.retry_after_ms.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(ErrorFrame { refusal: Refusal::decode(reader)?, retry_after_ms: reader.u32()? })
    }
}
