//! Why a connection between two nodes is refused or a trunk ends: wire code, counter name and sentence \[TRK-5\].

use std::fmt;

use crate::coding::{DecodeError, Reader, Wire};

macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $label:literal, $sentence:literal;)*) => {
        /// Why a node refuses another's connection, or ends a trunk \[TRK-3\], \[TRK-13\].
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum TrunkRefusal {
            $($(#[$doc])* $name = $code,)*
        }

        impl TrunkRefusal {
            /// All of them, in the order of their codes.
            pub const ALL: &'static [TrunkRefusal] = &[$(TrunkRefusal::$name),*];

            /// `None` for codes that the registry does not hold.
            pub const fn from_code(code: u16) -> Option<TrunkRefusal> {
                match code {
                    $($code => Some(TrunkRefusal::$name),)*
                    _ => None,
                }
            }

            /// The counter's label; never changes once released.
            pub const fn label(self) -> &'static str {
                match self { $(TrunkRefusal::$name => $label,)* }
            }

            /// One sentence for the operator: what is wrong and what to do.
            pub const fn sentence(self) -> &'static str {
                match self { $(TrunkRefusal::$name => $sentence,)* }
            }
        }
    };
}

refusals! {
    /// No wire version in common.
    UnknownVersion = 1, "unknown_version",
        "the nodes speak different wire versions: update the older of the two";
    /// Bytes that are not what they claim to be.
    Malformed = 2, "malformed",
        "what was received is not what nodes say to each other: check what sits between the nodes";
    /// No progress in the time allowed.
    TooSlow = 3, "too_slow",
        "the connection made no progress in time: check the network between the nodes";
    /// TLS without one of the application protocols of nodes.
    UnknownProtocol = 4, "unknown_protocol",
        "the connection speaks no protocol of nodes: endpoints and administrators have ports of their own";
    /// Certified by another CA, or of another mesh's name.
    OtherMesh = 5, "other_mesh",
        "the certificate comes from another mesh: issue one for this mesh";
    /// Signed by itself.
    SelfSigned = 6, "self_signed",
        "the certificate is self-signed: issue one with `relayctl pki issue`";
    /// Its time is over.
    Expired = 7, "expired",
        "the certificate has expired: renew it, and check both clocks";
    /// Its time has not come.
    NotYetValid = 8, "not_yet_valid",
        "the certificate is not valid yet: check both clocks";
    /// On the revocation list.
    Revoked = 9, "revoked",
        "the certificate has been revoked: issue a new one if the node is to return";
    /// A broker's or an administrator's certificate, or a CA's.
    WrongRole = 10, "wrong_role",
        "the certificate is not a node's: use the one that was issued for the node";
    /// The leaf names nobody.
    IdentityAbsent = 11, "identity_absent",
        "the leaf certificate names no node: issue one with `relayctl pki issue`";
    /// The key is not Ed25519.
    WrongKey = 12, "wrong_key",
        "the certificate's key is not Ed25519: issue a new one with `relayctl pki issue`";
    /// Another node than the one that was sought, or a hello that disagrees with the certificate.
    WrongNode = 13, "wrong_node",
        "another node answers there: check the trunk addresses of both";
    /// The node itself.
    Own = 14, "own",
        "the address leads to the node itself, or its certificate is used twice: check seeds and certificates";
    /// Another certificate holds the number.
    NumberInUse = 15, "number_in_use",
        "two certificates claim one node number: take one of the two out of service";
    /// The wall clocks disagree.
    Clock = 16, "clock",
        "the wall clocks are more than five minutes apart: set them by NTP";
    /// More connections than the node takes.
    TooMany = 17, "too_many",
        "the node has as many connections as it takes";
    /// The operator does not want this neighbour.
    NotAllowed = 18, "not_allowed",
        "mesh.neighbors_allowed leaves the node out";
    /// More links than wanted.
    Surplus = 19, "surplus",
        "the link is not needed";
    /// One identity runs twice.
    Cloned = 20, "cloned",
        "one identity runs in two places: end one of the two";
    /// Forged or malformed messages.
    Misbehaved = 21, "misbehaved",
        "the node sent forged or malformed messages";
    /// There is a trunk between the two already.
    Duplicate = 22, "duplicate",
        "there is a trunk between the two nodes already";
    /// Nothing was heard for too long.
    Silent = 23, "silent",
        "nothing was heard for too long";
    /// The node ends.
    Leaving = 24, "leaving",
        "the node ends";
}

impl fmt::Display for TrunkRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

impl std::error::Error for TrunkRefusal {}

impl Wire for TrunkRefusal {
    fn encode(&self, out: &mut Vec<u8>) {
        u16::from(*self as u8).encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        TrunkRefusal::from_code(reader.u16()?).ok_or(DecodeError::Malformed("trunk refusal"))
    }
}
