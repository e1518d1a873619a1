//! The handshake M1 to M4: a joiner and the leader prove to each other that they know one code, and share keys that
//! hold as long as any of SRP, X25519 and ML-KEM does.
//!
//! ```text
//!   joiner                                   leader
//!   start ------------- M1 ----------------> a code is open, its keys are valid
//!   keys <------------- M2 ----------------- keys
//!   proves first ------ M3 ----------------> counts a guess, compares, checks the signature
//!   established <------ M4 ----------------- proved: the code is spent
//! ```
//!
//! Either side may end it with the one failure message, which says nothing more \[HSK-8\]. Packets in and out are whole
//! packets, from the kind byte on. Nothing here admits anybody: that is the leader's user's decision afterwards.

mod joiner;
mod leader;
mod transcript;

#[cfg(test)]
mod tests;

use proto_spec::DecodeError;
use proto_spec::mpsl::DISPLAY_NAME_MAX;
use proto_spec::mpsl::handshake::Message;
use thiserror::Error;

pub use joiner::{Established, Joiner, JoinerSetup, JoinerStep, ProofBudget};
pub use leader::{CodesFull, Leader, LeaderEvent, LeaderSetup, LeaderStep, Proved};

use crate::kem::KemError;
use crate::srp::SrpError;

/// Why a handshake ended. The sentences are for the side that sees them; the other side gets [`Self::reply`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum HandshakeError {
    /// Peer: its bytes are no handshake message.
    #[error(
        "the other side sent a malformed message ({0}); try again, and update both programs if it persists"
    )]
    Malformed(DecodeError),
    /// Peer: it speaks another version.
    #[error(
        "the other side speaks version {theirs} of the protocol, this program version {ours}; update the older one"
    )]
    Version {
        /// The version in M1.
        theirs: u8,
        /// Our version.
        ours: u8,
    },
    /// Peer: it was built for another suite.
    #[error(
        "the other side was built for cipher suite {theirs}, this program for {ours}; use programs of one build"
    )]
    Suite {
        /// The suite in M1.
        theirs: u8,
        /// Our suite.
        ours: u8,
    },
    /// Peer: session or sender numbers are not those of this conversation.
    #[error("the message belongs to another session or another sender; try again")]
    Misaddressed,
    /// No such code is open: never made, used, burnt, expired or closed.
    #[error("this code is not open (any more); ask for a new one")]
    NoSuchCode,
    /// Peer: a public value that must be refused.
    #[error("the other side sent an unacceptable key ({0})")]
    Srp(#[from] SrpError),
    /// Peer: a key that must be refused.
    #[error("the other side sent an unacceptable key ({0})")]
    Kem(#[from] KemError),
    /// Peer: a message that has no place here, or a second one where one is allowed.
    #[error("the other side sent a message out of order; try again")]
    OutOfOrder,
    /// Peer: it does not know the code.
    #[error("the code was wrong")]
    WrongProof,
    /// Peer: it knows the code, but its member key has signed something else.
    #[error("the other side's signature is wrong; ask for a new code")]
    WrongSignature,
    /// Peer: its number or key is in the roster already.
    #[error("a member with this number or key is in the session already; leave and join again")]
    AlreadyMember,
    /// The other side has ended it without a reason.
    #[error("the other side refused; check the code, or ask for a new one")]
    Refused,
    /// Nothing came in time.
    #[error("the other side did not answer in time; try again")]
    TimedOut,
    /// The joiner has sent as many proofs for this code as it may.
    #[error("this code was tried as often as is safe; ask for a new one")]
    BudgetSpent,
}

impl HandshakeError {
    /// What to send to the other side: the failure message, or nothing if it has ended the handshake itself or is not
    /// there \[HSK-8\].
    pub const fn reply(&self) -> Option<&'static [u8]> {
        match self {
            Self::Refused | Self::TimedOut => None,
            _ => Some(&Message::FAILURE),
        }
    }
}

/// A display name as it may stand in M3 and M4: without control characters, cut at [`DISPLAY_NAME_MAX`] bytes.
pub fn clean_display_name(name: &str) -> String {
    let mut clean: String = name.trim().chars().filter(|c| !c.is_control()).collect();
    let end =
        (0..=clean.len().min(DISPLAY_NAME_MAX)).rev().find(|at| clean.is_char_boundary(*at)).unwrap_or(0);
    clean.truncate(end);
    clean
}
