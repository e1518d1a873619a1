//! Refusals: wire code, counter name and sentence, held once for every program \[ERR-1\].

use std::fmt;

use crate::coding::{DecodeError, Reader, Wire};

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal, $resumable:literal, $sentence:literal;)*) => {
        /// Why a node ended or refused an attachment \[ERR-2\].
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u16)]
        pub enum Refusal {
            $($(#[$doc])* $name = $code,)*
        }

        impl Refusal {
            /// All of them, in the order of their codes.
            pub const ALL: &'static [Refusal] = &[$(Refusal::$name),*];

            /// `None` for codes that the registry does not hold.
            pub const fn from_code(code: u16) -> Option<Refusal> {
                match code {
                    $($code => Some(Refusal::$name),)*
                    _ => None,
                }
            }

            /// The counter's label; never changes once released.
            pub const fn label(self) -> &'static str {
                match self { $(Refusal::$name => $label,)* }
            }

            /// Whether the same endpoint may attach again with the same ticket.
            pub const fn resumable(self) -> bool {
                match self { $(Refusal::$name => $resumable,)* }
            }

            /// One sentence for the user: what happened and what to do.
            pub const fn sentence(self) -> &'static str {
                match self { $(Refusal::$name => $sentence,)* }
            }
        }
    };
}

refusals! {
    /// No wire version in common.
    UnknownVersion = 1, "unknown_version", false,
        "This program and the relay speak different protocol versions: update the older of the two.";
    /// A frame that is not what it claims to be.
    Malformed = 2, "malformed", false,
        "The relay received a malformed frame: update this program, or check what sits between it and the relay.";
    /// A frame above its limit.
    TooLong = 3, "too_long", false,
        "A frame was longer than the relay accepts: update this program.";
    /// No progress in the time allowed.
    TooSlow = 4, "too_slow", true,
        "The connection was too slow for the relay: check the network and try again.";
    /// A frame of a right type at a wrong moment.
    OutOfOrder = 5, "out_of_order", false,
        "A frame came at the wrong moment: update this program.";
    /// Not a ticket, or one with fields that cannot be.
    TicketMalformed = 6, "ticket_malformed", false,
        "The ticket cannot be read: ask for the session again.";
    /// Outside its validity.
    TicketExpired = 7, "ticket_expired", false,
        "The ticket has expired: join the session again, and check this machine's clock.";
    /// Not signed by a broker of this mesh.
    TicketForeign = 8, "ticket_foreign", false,
        "The ticket comes from another mesh: use the invite file of the mesh that holds the session.";
    /// The proof of possession does not fit ticket and connection.
    ProofWrong = 9, "proof_wrong", false,
        "The proof for the ticket is wrong for this connection: the ticket belongs to another endpoint.";
    /// A tombstone ends the session.
    SessionEnded = 10, "session_ended", false,
        "The session has ended.";
    /// A tombstone ends this member.
    MemberRemoved = 11, "member_removed", false,
        "You have been removed from the session.";
    /// The node admits no more attachments.
    NodeFull = 12, "node_full", true,
        "The relay is full: try again in a moment.";
    /// Too many connections from one address.
    AddressLimited = 13, "address_limited", true,
        "Too many connections from your network: wait a minute and try again.";
    /// An ingress rate was exceeded beyond its burst.
    RateExceeded = 14, "rate_exceeded", true,
        "This program sent more than its rate allows; it will slow down and attach again.";
    /// Control or interactive traffic could not be delivered to this endpoint in time.
    FellBehind = 15, "fell_behind", true,
        "This connection could not keep up; attaching again.";
    /// A newer attachment of the same sender number took over.
    Superseded = 16, "superseded", false,
        "This session was continued on a newer connection.";
    /// The `attach_seq` is not newer than one already seen.
    StaleAttachment = 17, "stale_attachment", false,
        "A newer connection of this session exists already.";
    /// More bytes of a class than granted.
    CreditExceeded = 18, "credit_exceeded", false,
        "This program sent more than the relay granted: update it.";
    /// A lobby attachment sent more than it may, or to another than the leader.
    LobbyLimited = 19, "lobby_limited", false,
        "More was sent than a guest who is not admitted yet may send.";
    /// The sender number in a data frame is not the attachment's.
    WrongSender = 20, "wrong_sender", false,
        "A frame named another sender: update this program.";
    /// The session holds as many members as it may.
    SessionFull = 21, "session_full", true,
        "The session is full: somebody has to leave first.";
    /// The node admits nothing new while it drains.
    Draining = 22, "draining", true,
        "The relay is going out of service: attaching to another.";
    /// A limit of the whole node's memory was reached.
    Shed = 23, "shed", true,
        "The relay is overloaded: try again in a moment.";
    /// The node failed.
    Internal = 24, "internal", true,
        "The relay failed: try again, and tell its administrator.";
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for Refusal {}

impl From<DecodeError> for Refusal {
    fn from(error: DecodeError) -> Refusal {
        match error {
            DecodeError::TooLong { .. } => Refusal::TooLong,
            _ => Refusal::Malformed,
        }
    }
}

impl Wire for Refusal {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(*self as u16).to_be_bytes());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Refusal::from_code(reader.u16()?).ok_or(DecodeError::Malformed("refusal code"))
    }
}
