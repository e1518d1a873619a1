//! Everything that goes into a node and comes out of it: closed, serialisable sets, so that a run can be recorded.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use proto_spec::lsa::DrainState;
use proto_spec::membership::{MemberKind, MembershipEntry};
use proto_spec::mesh::{Chain, LoadReport, Revocations};
use proto_spec::tombstone::Tombstone;
use proto_spec::{AttachSeq, NodeNumber, SenderNumber, SessionId, WallTime};
use serde::{Deserialize, Serialize};

use crate::config::Identity;
use crate::wired::Wired;

/// Names a request to the shell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct RequestId(pub u64);

/// Whom a verified leaf certificate names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Signer {
    /// The node's number.
    pub node: NodeNumber,
    /// Its key.
    pub key: [u8; 32],
    /// The certificate's name in revocation lists.
    pub certificate: [u8; 32],
    /// Start of the certificate's validity: decides when two keys claim one number \[LSA-11\].
    pub issued: WallTime,
    /// Its end.
    pub expires: WallTime,
}

/// What happens to a node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Input {
    /// A deadline of [`crate::Node::poll_timeout`] has come.
    Tick,
    /// A trunk is up: both its connections are proven to be this node's.
    LinkUp {
        /// Who, by the certificate of the connection.
        peer: Signer,
    },
    /// A trunk is down.
    LinkDown {
        /// To whom it led.
        peer: NodeNumber,
    },
    /// A node that was dialled, and whose own certificate is proven, refuses this one's as revoked \[LSA-15\].
    CalledRevoked {
        /// By whom.
        by: NodeNumber,
    },
    /// A round trip was measured.
    LinkRtt {
        /// To whom.
        peer: NodeNumber,
        /// How long, in microseconds.
        rtt_us: u32,
    },
    /// A message on a trunk's control connection.
    Message {
        /// The neighbour.
        from: NodeNumber,
        /// An encoded `MeshMessage`.
        bytes: Bytes,
    },
    /// The answer to [`Output::Sign`].
    Signed {
        /// Which request.
        request: RequestId,
        /// Ed25519 by the node's key.
        signature: Wired<[u8; 64]>,
    },
    /// The answer to [`Output::Verify`].
    Verdict {
        /// Which request.
        request: RequestId,
        /// What came out.
        verdict: Verdict,
    },
    /// A broker's chain to make known to all nodes, verified by the shell.
    BrokerChain(Wired<Chain>),
    /// A new revocation list, verified by the shell.
    Revocations {
        /// The list.
        list: Wired<Revocations>,
        /// The certificates that it names.
        revoked: BTreeSet<[u8; 32]>,
    },
    /// An endpoint is attached, or is attached in another way than before.
    Attached {
        /// Its session.
        session: SessionId,
        /// Number, kind, `attach_seq`, hash of the ticket.
        entry: MembershipEntry,
        /// Whether [`Output::Ready`] is wanted.
        ready: bool,
    },
    /// An endpoint is gone.
    Detached {
        /// Its session.
        session: SessionId,
        /// Its number.
        number: SenderNumber,
        /// Which attachment; another one of the number stays.
        attach_seq: AttachSeq,
    },
    /// A tombstone of the broker on this node, verified by the shell.
    Tombstone(Wired<Tombstone>),
    /// This node's load, once a second.
    Load(LoadReport),
    /// A node's wall clock was measured in a trunk's hello, whether the trunk is refused for it or not \[TRK-11\].
    Clock {
        /// Whose.
        peer: NodeNumber,
        /// How far it is ahead of this one's, in milliseconds.
        offset_ms: i64,
    },
    /// This node's certificate was renewed: the same number, the same key \[LSA-16\].
    Renewed(Identity),
    /// Go out of service.
    Drain {
        /// Within this time.
        within: Duration,
    },
    /// Stay in service after all.
    Undrain,
}

/// What the shell is asked to check.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ToVerify {
    /// A message signed by the leaf of a chain of this mesh; answered by [`Verdict::Signer`].
    ByChain {
        /// The chain, which itself is to be checked.
        chain: Wired<Chain>,
        /// What is signed.
        message: Vec<u8>,
        /// By whom it claims.
        signature: Wired<[u8; 64]>,
    },
    /// A message signed by a key; answered by [`Verdict::Valid`].
    ByKey {
        /// The Ed25519 key.
        key: [u8; 32],
        /// What is signed.
        message: Vec<u8>,
        /// The signature.
        signature: Wired<[u8; 64]>,
    },
    /// A broker's chain; answered by [`Verdict::Valid`].
    BrokerChain(Wired<Chain>),
    /// A revocation list; answered by [`Verdict::Revocations`].
    Revocations(Wired<Revocations>),
    /// A tombstone; answered by [`Verdict::Valid`].
    Tombstone(Wired<Tombstone>),
}

/// What the shell found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// As it should be.
    Valid,
    /// As it should be, signed by this node's certificate.
    Signer(Signer),
    /// As it should be, and these certificates are revoked.
    Revocations {
        /// The number inside the list.
        number: u64,
        /// SHA-256 of each revoked leaf.
        revoked: BTreeSet<[u8; 32]>,
    },
    /// The signature does not fit: whoever sent it misbehaves.
    Forged,
    /// The chain is expired, revoked or another mesh's: whoever sent it may not know yet.
    Refused,
}

/// What a node wants done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Output {
    /// Connect to a node.
    Dial {
        /// Which; `None` for whoever is there.
        peer: Option<NodeNumber>,
        /// Where; the shell may know more.
        addresses: Vec<String>,
    },
    /// End a trunk.
    Close {
        /// Which.
        peer: NodeNumber,
        /// Why.
        reason: CloseReason,
    },
    /// Send on a trunk's control connection.
    Send {
        /// The neighbour.
        to: NodeNumber,
        /// An encoded `MeshMessage`; several neighbours get the same.
        bytes: Bytes,
    },
    /// Sign with the node's key.
    Sign {
        /// Answered by [`Input::Signed`].
        request: RequestId,
        /// What.
        message: Vec<u8>,
    },
    /// Check.
    Verify {
        /// Answered by [`Input::Verdict`].
        request: RequestId,
        /// What.
        item: ToVerify,
    },
    /// [`crate::Node::snapshot`] is new: hand it to the forwarding tasks.
    Routes {
        /// Its version.
        version: u64,
    },
    /// A session that this node carries is on other nodes than before.
    Session {
        /// Which.
        session: SessionId,
        /// Where.
        view: SessionView,
    },
    /// Tell the session's endpoints on this node that a path changed.
    PathHint {
        /// The session.
        session: SessionId,
        /// The node that became unreachable or is reached another way.
        node: NodeNumber,
    },
    /// The session's nodes know this attachment \[MBR-10\].
    Ready {
        /// The session.
        session: SessionId,
        /// The endpoint.
        number: SenderNumber,
        /// Its attachment.
        attach_seq: AttachSeq,
        /// Whether all acknowledged; `false` when time ran out.
        complete: bool,
    },
    /// A session or a member has ended: tell the attachments' side.
    Tombstone(Wired<Tombstone>),
    /// A broker's chain was learnt.
    BrokerChain(Wired<Chain>),
    /// A newer revocation list is in force.
    Revocations(Wired<Revocations>),
    /// A node's load, for the broker here.
    Load {
        /// Whose.
        from: NodeNumber,
        /// What.
        report: LoadReport,
    },
    /// The node's drain state changed.
    Drain(DrainState),
    /// A drained node's neighbours route around it: the program may end.
    MayStop,
    /// Something that an operator should know.
    Alarm(Alarm),
    /// A clock that an [`Alarm::Clock`] spoke of agrees again, or was not heard of for long.
    ClockSettled {
        /// Whose.
        peer: NodeNumber,
    },
}

/// Why a trunk is closed; the labels are the counter's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// It leads to this node itself.
    Own,
    /// The operator does not allow it.
    NotAllowed,
    /// This node has as many as it may.
    TooMany,
    /// More than `links_max`, and not needed.
    Surplus,
    /// Another key owns the number.
    NumberInUse,
    /// The identity runs twice.
    Cloned,
    /// The certificate is revoked.
    Revoked,
    /// Too many malformed or forged messages.
    Misbehaved,
}

/// What an operator should know; each names its culprit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Alarm {
    /// Two certificates claim one node number \[LSA-11\].
    NumberInUse {
        /// The number.
        node: NodeNumber,
        /// The certificate that keeps it.
        kept: [u8; 32],
        /// The one that is refused.
        refused: [u8; 32],
    },
    /// One identity runs in two places \[LSA-12\]: the addresses that each has named.
    Cloned {
        /// The number.
        node: NodeNumber,
        /// Where the one is reached.
        addresses: Vec<String>,
        /// Where the other is reached.
        other_addresses: Vec<String>,
    },
    /// This node's own certificate is revoked: it leaves at once \[LSA-14\].
    Revoked {
        /// This node.
        node: NodeNumber,
        /// The certificate.
        certificate: [u8; 32],
        /// The node by whose word, where no list that this one has says so \[LSA-15\].
        by: Option<NodeNumber>,
    },
    /// Two wall clocks are too far apart for a trunk \[TRK-11\]; stands until [`Output::ClockSettled`], and a newer one of
    /// the same node replaces it.
    Clock {
        /// Which of the two disagrees with most, as far as it can be told.
        odd: Option<NodeNumber>,
        /// The other node.
        peer: NodeNumber,
        /// How far its clock is ahead of this one's, in milliseconds.
        offset_ms: i64,
    },
    /// More nodes than a mesh may have.
    TooManyNodes,
    /// A neighbour sent forged or malformed messages.
    Misbehaved {
        /// Who.
        node: NodeNumber,
    },
}

/// An endpoint of a session on another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Member {
    /// Its number.
    pub number: SenderNumber,
    /// How it is attached.
    pub kind: MemberKind,
    /// Which of its attachments.
    pub attach_seq: AttachSeq,
    /// Where.
    pub node: NodeNumber,
}

/// Where else a session is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SessionView {
    /// The live nodes with an active member, ascending, this one left out: the egress set \[MBR-8\].
    pub egress: Vec<NodeNumber>,
    /// Everybody there, by node and number; guests among them, whom their leader alone may reach.
    pub members: Vec<Member>,
}
