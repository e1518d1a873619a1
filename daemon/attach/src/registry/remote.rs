//! A session on other nodes, as the mesh's core publishes it \[MBR-8\].

use proto_spec::frame::PeerState;
use proto_spec::membership::MemberKind;
use proto_spec::{AttachSeq, NodeNumber, SenderNumber};

/// An endpoint of a session that is attached to another node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemoteMember {
    /// Its number.
    pub number: SenderNumber,
    /// How it is attached.
    pub kind: MemberKind,
    /// Which of its attachments.
    pub attach_seq: AttachSeq,
    /// Where.
    pub node: NodeNumber,
}

/// Everybody of a session who is attached elsewhere, by the nodes' own word.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Remote {
    /// The nodes with an active member, ascending, this one left out.
    pub egress: Vec<NodeNumber>,
    /// Everybody there: active ones, standbys and guests.
    pub members: Vec<RemoteMember>,
}

impl Remote {
    /// Whether nobody is elsewhere.
    pub fn is_empty(&self) -> bool {
        self.egress.is_empty() && self.members.is_empty()
    }

    pub(super) fn of(&self, number: SenderNumber) -> impl Iterator<Item = &RemoteMember> {
        self.members.iter().filter(move |member| member.number == number)
    }

    /// Whether another node has an attachment of this number, in fan-out, that is newer.
    pub(super) fn overtakes(&self, number: SenderNumber, seq: AttachSeq) -> bool {
        self.of(number).any(|member| member.kind == MemberKind::Active && member.attach_seq > seq)
    }
}

/// How a kind looks to peers.
pub(super) const fn state_of_kind(kind: MemberKind) -> PeerState {
    match kind {
        MemberKind::Active => PeerState::Active,
        MemberKind::Standby => PeerState::Standby,
        MemberKind::Lobby => PeerState::Lobby,
    }
}

/// How a state is called in memberships; nobody is listed as gone.
pub(super) const fn kind_of_state(state: PeerState) -> Option<MemberKind> {
    match state {
        PeerState::Active => Some(MemberKind::Active),
        PeerState::Standby => Some(MemberKind::Standby),
        PeerState::Lobby => Some(MemberKind::Lobby),
        PeerState::Gone => None,
    }
}
