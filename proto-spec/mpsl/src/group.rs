//! Group keys: who is in the session, under which epoch, and how everybody comes to the same keys.
//!
//! ```text
//!  leader                                    member
//!  admit, remove, hourly -> new epoch  --->  epoch message: roster checked, secret unwrapped, keys derived
//!  held epochs, removals complete      <---  heartbeat every 5 s {nonce, epoch held}
//!  newest epoch again if behind        --->  answer {nonce, epoch, roster hash}: the lease to seal for 30 s
//! ```
//! `leader` and `member` are two roles of one session, so that a member can become the leader. Nothing here seals or
//! opens records, and nothing here decides who may join: that is the user's consent.

pub(crate) mod bases;
pub(crate) mod epoch;
pub(crate) mod heartbeat;
pub(crate) mod leader;
pub(crate) mod member;
pub(crate) mod roster;

use proto_spec::mpsl::Role;
use proto_spec::mpsl::epoch::PairwiseType;
use proto_spec::{DecodeError, SenderNumber, SessionId};
use thiserror::Error;

pub use bases::{BASES_REPEAT_MAX, BASES_REPEAT_MIN};
pub use heartbeat::{ABSENCE, HEARTBEAT_INTERVAL, SILENCE};
pub use leader::{EPOCH_REPEAT_MIN, PENDING_LIFETIME, PENDING_MAX, REKEY_INTERVAL};
pub use roster::RosterError;

use crate::keys::MemberPublicKey;
use crate::pairwise::PairwiseError;
use crate::suite::Suite;

/// Who we are in a session.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The session.
    pub session: SessionId,
    /// The suite that this build speaks.
    pub suite: Suite,
    /// Our sender number, from our ticket.
    pub number: SenderNumber,
    /// What we are.
    pub role: Role,
    /// What we call ourselves; at most `DISPLAY_NAME_MAX` bytes.
    pub name: String,
}

/// Why a handshake or pairwise packet was not accepted; nothing has changed then. The culprit is its sender or the
/// way here.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PacketError {
    /// No packet, or a message that is none.
    #[error("malformed: {0}")]
    Malformed(#[from] DecodeError),
    /// From a number that has not finished a handshake with us.
    #[error("pairwise packet from {0}, with whom we share no keys")]
    Stranger(SenderNumber),
    /// The pair's keys do not open it.
    #[error(transparent)]
    Pairwise(#[from] PairwiseError),
    /// The handshake refused it.
    #[error("handshake: {0}")]
    Handshake(#[from] crate::handshake::HandshakeError),
    /// A message of a type that is unknown or not for our side.
    #[error("pairwise message of type {0}, which is not for us")]
    NotForUs(u8),
    /// The roster may not follow the one held.
    #[error("epoch refused: {0}")]
    Roster(#[from] RosterError),
    /// The answer repeats no heartbeat of ours that is still open.
    #[error("answer to a heartbeat that we did not send or that was answered")]
    StaleAnswer,
}

/// A finished handshake's other end.
pub(crate) struct Joiner {
    pub(crate) number: SenderNumber,
    pub(crate) key: MemberPublicKey,
    pub(crate) role: Role,
    pub(crate) name: String,
    pub(crate) pairwise: crate::pairwise::Pairwise,
}

/// A new epoch, ready to be sealed and opened under.
pub(crate) struct Installed {
    pub(crate) keys: epoch::EpochKeys,
    /// In this roster and not in the one before.
    pub(crate) joined: Vec<SenderNumber>,
    /// In the one before and not in this one.
    pub(crate) gone: Vec<SenderNumber>,
}

/// A pairwise packet that waits to be sent.
pub(crate) struct Outgoing {
    pub(crate) to: SenderNumber,
    pub(crate) packet: Vec<u8>,
}

/// What is left of a pairwise packet for the session itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inbound {
    /// Handled.
    Nothing,
    /// For the layer above.
    Private { kind: u8, bytes: Vec<u8> },
    /// About membership.
    Notice(proto_spec::mpsl::epoch::Notice),
}

/// Reads `kind8` and bytes.
pub(crate) fn read_private(bytes: &[u8]) -> Result<Inbound, DecodeError> {
    let (kind, bytes) = bytes.split_first().ok_or(DecodeError::Truncated)?;
    Ok(Inbound::Private { kind: *kind, bytes: bytes.to_vec() })
}

/// Seals `kind8` and bytes for one pair.
pub(crate) fn seal_private(pairwise: &mut crate::pairwise::Pairwise, kind: u8, bytes: &[u8]) -> Vec<u8> {
    pairwise.seal(PairwiseType::Private as u8, &[&[kind], bytes].concat())
}
