//! What a session says: events in order, and errors of calls that do not fit.

use proto_spec::frame::Destination;
use proto_spec::mpsl::Role;
use proto_spec::mpsl::epoch::ChannelBase;
use proto_spec::{EpochId, SenderNumber, SessionNumber, TrafficClass};
use thiserror::Error;

use crate::handshake::{CodesFull, HandshakeError};

/// What happened, in order.
#[derive(Debug)]
pub enum Event {
    /// Send a packet.
    Transmit {
        /// To whom.
        to: Destination,
        /// In which class.
        class: TrafficClass,
        /// A whole packet, from its kind byte on.
        packet: Vec<u8>,
    },
    /// Leader: somebody knows a code. Ask the user, then `admit` or `refuse`.
    JoinerProved {
        /// Its number.
        number: SenderNumber,
        /// What it calls itself.
        name: String,
        /// What the code was made for.
        role: Role,
    },
    /// Leader: a joiner waited too long for a decision, or gave way to others.
    JoinerExpired {
        /// Its number.
        number: SenderNumber,
    },
    /// Leader: somebody sent a wrong proof.
    GuessFailed {
        /// The code.
        code: SessionNumber,
        /// Who sent it.
        from: SenderNumber,
        /// Guesses left; at 0 the code is burnt.
        left: u8,
    },
    /// Leader: a joiner has used the code.
    CodeSpent {
        /// The code.
        code: SessionNumber,
    },
    /// Leader: the code's time is over.
    CodeExpired {
        /// The code.
        code: SessionNumber,
    },
    /// Leader: a joiner's handshake ended.
    HandshakeFailed {
        /// Its number.
        from: SenderNumber,
        /// Why.
        reason: HandshakeError,
    },
    /// Member: we are in the roster for the first time.
    Joined,
    /// The roster has changed.
    RosterChanged {
        /// New members.
        joined: Vec<SenderNumber>,
        /// Members that left or were removed.
        gone: Vec<SenderNumber>,
    },
    /// Everything is sealed under this epoch from here on. Call `state_bases`, drain `poll_held`, and carry what is
    /// not acknowledged once its own epoch's grace is over.
    EpochInstalled {
        /// The epoch.
        epoch: EpochId,
        /// Somebody left or was removed: older records do not open directly any more, carry at once.
        left_or_removed: bool,
    },
    /// A member stated where its channels stand in the newest epoch. Channels not named start at 0.
    Bases {
        /// The member.
        sender: SenderNumber,
        /// The epoch.
        epoch: EpochId,
        /// Its channels.
        bases: Vec<ChannelBase>,
    },
    /// Every member holds our base statement of this epoch.
    BasesHeld,
    /// Leader: every member's heartbeat is on an epoch without the removed member.
    RemovalComplete {
        /// The removed member.
        number: SenderNumber,
    },
    /// A private message between leader and member.
    Private {
        /// From whom.
        from: SenderNumber,
        /// The upper layer's kind.
        kind: u8,
        /// Its bytes.
        bytes: Vec<u8>,
    },
    /// Leader: a member says that it leaves; it has been taken out.
    MemberLeft {
        /// The member.
        number: SenderNumber,
    },
    /// Leader: a member was absent for ten minutes; it has been taken out.
    MemberAbsent {
        /// The member.
        number: SenderNumber,
    },
    /// Member: the leader's user said no.
    Refused,
    /// Member: the leader has taken us out.
    Removed,
    /// Member: the leader has ended the session.
    Ended,
    /// Member: 30 seconds without an answer; nothing can be sealed.
    Silenced,
    /// Member: the leader answers; records can be sealed.
    Resumed,
}

/// A call that does not fit. The culprit is the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum CallError {
    /// Only the leader can.
    #[error("only the session's leader can do this")]
    NotLeader,
    /// No joiner waits, or no member has, this number.
    #[error("nobody here has number {0}")]
    Unknown(SenderNumber),
    /// As many members as a session may have.
    #[error("the session is full")]
    Full,
    /// As many codes as may be open.
    #[error(transparent)]
    Codes(#[from] CodesFull),
}
