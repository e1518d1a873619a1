//! Tickets: signed, short-lived admission to one session \[TKT-1\]. Form only; signing and checking are `sealcast-trust`'s.

use serde::{Deserialize, Serialize};

use crate::id::{NodeNumber, SenderNumber, SessionId};
use crate::time::WallTime;

/// A token as text.
pub const TICKET_LENGTH_MAX: usize = 2_048;
/// Nodes that a ticket may prefer.
pub const TICKET_NODES_MAX: usize = 4;
/// PASETO purpose and version of a ticket.
pub const TICKET_HEADER: &str = "v4.public.";
/// The implicit assertion of every ticket, so that no other token signed by a broker can pass for one \[TKT-2\].
pub const TICKET_IMPLICIT: &[u8] = b"sealcast ticket 1";

/// What a ticket admits to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum TicketKind {
    /// Reaches the session's leader alone.
    Lobby = 1,
    /// A member of the session.
    Member = 2,
}

impl TicketKind {
    /// `None` for kinds that the registry does not hold.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Lobby),
            2 => Some(Self::Member),
            _ => None,
        }
    }
}

/// A ticket's claims \[TKT-3\]: the JSON payload of the token.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The mesh's name.
    pub mesh: String,
    /// The session.
    pub session: SessionId,
    /// The endpoint's number in it.
    pub number: SenderNumber,
    /// Lobby or member.
    pub kind: TicketKind,
    /// Provider or customer.
    pub role: Role,
    /// The leader's number, the only one a lobby guest reaches.
    pub leader: SenderNumber,
    /// The endpoint's Ed25519 attach key, hexadecimal.
    #[serde(with = "hex_key")]
    pub attach_key: [u8; 32],
    /// When it was issued.
    pub issued: WallTime,
    /// When it ends.
    pub expires: WallTime,
    /// Sustained ingress in bytes per second, all classes together; 0 for the node's own limit.
    pub rate_bytes: u64,
    /// The account that is charged (an opaque number, no name); 0 for none.
    pub account: u64,
    /// Nodes to prefer, best first: a preference, not a fence.
    pub nodes: Vec<NodeNumber>,
}

/// What an endpoint is in a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum Role {
    /// Gives support; logged in at the broker.
    Provider = 1,
    /// Is helped; needs no account.
    Customer = 2,
}

impl Role {
    /// `None` for roles that the registry does not hold.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::Provider),
            2 => Some(Self::Customer),
            _ => None,
        }
    }

    /// As shown and written in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Customer => "customer",
        }
    }
}

/// Which key signed a ticket: the token's footer \[TKT-4\].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Footer {
    /// SHA-256 of the broker's certificate (DER), hexadecimal.
    #[serde(with = "hex_key")]
    pub broker: [u8; 32],
}

mod hex_key {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(key: &[u8; 32], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&key.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 32], D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(D::Error::custom("not 64 hexadecimal digits"));
        }
        let mut key = [0u8; 32];
        for (byte, pair) in key.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(D::Error::custom)?;
            *byte = u8::from_str_radix(pair, 16).map_err(D::Error::custom)?;
        }
        Ok(key)
    }
}
