//! Sessions over nodes: each node owns its membership of a session; everybody merges what the owners say \[MBR-2\].
//!
//! No common version, no election, nothing to diverge. This file has the state and a node's own memberships; `merge`
//! has those of others, `reflect` the work of a home. Never looks at tickets: the attachments' side has checked them.

mod merge;
mod own;
mod reflect;

use std::collections::{BTreeMap, BTreeSet};

use litemap::LiteMap;
use proto_spec::membership::{Membership, MembershipEntry, MembershipVersion};
use proto_spec::{AttachSeq, NodeNumber, SenderNumber, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::home::Homes;
use crate::io::SessionView;
use crate::wired::Wired;

/// All sessions that this node carries or is home of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Sessions {
    sessions: BTreeMap<SessionId, Session>,
    /// Counts this node's memberships, of all sessions.
    version: MembershipVersion,
    /// When a session's membership is to be told again.
    tell: BTreeSet<(Timestamp, SessionId)>,
    /// Sessions that wait for acknowledgements of a move, by deadline.
    ready: BTreeSet<(Timestamp, SessionId)>,
    /// Memberships being verified, so that a second copy is not verified as well.
    verifying: BTreeSet<(SessionId, NodeNumber, MembershipVersion)>,
    /// The most memberships that any session has ever held.
    largest: usize,
}

/// One session. There are many, with a few entries in each map: sorted lists of references take a quarter of what trees
/// would.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Session {
    own: Option<Box<Own>>,
    /// What other nodes say.
    held: LiteMap<NodeNumber, Box<Held>>,
    homes: Homes,
    /// When each home last said what it holds, or became home.
    heard: LiteMap<NodeNumber, Timestamp>,
    published: Option<SessionView>,
    /// Neither carried nor at home here since.
    idle_since: Option<Timestamp>,
}

/// This node's membership.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Own {
    entries: LiteMap<SenderNumber, MembershipEntry>,
    /// The newest signed one; what `entries` say unless `dirty`.
    current: Option<Wired<Membership>>,
    dirty: bool,
    signing: bool,
    /// Empty since, for a withdrawal.
    empty_since: Option<Timestamp>,
    told: LiteMap<NodeNumber, Told>,
    waits: Vec<Wait>,
    /// The key of this session in `Sessions::tell`.
    tell_at: Option<Timestamp>,
}

/// How far one node knows this node's membership.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Told {
    acknowledged: Option<MembershipVersion>,
    /// Nodes with active members that it knows of.
    known: Vec<NodeNumber>,
    tries: u32,
    next_at: Timestamp,
}

/// An endpoint that wants to know when all nodes know its attachment.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Wait {
    number: SenderNumber,
    attach_seq: AttachSeq,
    deadline: Timestamp,
    /// The first signed membership with the attachment in it.
    version: Option<MembershipVersion>,
}

/// Another node's membership.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Held {
    membership: Wired<Membership>,
    /// Left out by a live home, and listed by none, since.
    omitted_since: Option<Timestamp>,
    /// Its node is out of reach since.
    gone_since: Option<Timestamp>,
    /// Withdrawn since.
    withdrawn_since: Option<Timestamp>,
}

impl Held {
    fn body(&self) -> &proto_spec::membership::MembershipBody {
        &self.membership.0.body
    }
}

impl Sessions {
    pub(crate) fn new(incarnation: u64) -> Sessions {
        Sessions {
            sessions: BTreeMap::new(),
            version: MembershipVersion { incarnation, sequence: 0 },
            tell: BTreeSet::new(),
            ready: BTreeSet::new(),
            verifying: BTreeSet::new(),
            largest: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// The most memberships that any session has ever held.
    pub(crate) const fn largest(&self) -> usize {
        self.largest
    }

    /// Whether no endpoint is attached here and everybody has been told.
    pub(crate) fn none_own(&self) -> bool {
        let told = |own: &Own| own.entries.is_empty() && !own.dirty && !own.signing && own.tell_at.is_none();
        self.sessions.values().all(|session| session.own.as_deref().is_none_or(told))
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    pub(crate) fn view(&self, session: SessionId) -> Option<&SessionView> {
        self.sessions.get(&session)?.published.as_ref()
    }

    pub(crate) fn own(&self, session: SessionId) -> Option<&Membership> {
        let own = self.sessions.get(&session)?.own.as_ref()?;
        own.current.as_ref().map(|current| &current.0).filter(|_| !own.entries.is_empty())
    }

    /// The mesh knows a later incarnation of this node: go on from there.
    pub(crate) fn jump(&mut self, incarnation: u64) {
        if incarnation > self.version.incarnation {
            self.version = MembershipVersion { incarnation, sequence: 0 };
        }
    }

    /// Whatever the verdict, a membership is no longer being verified.
    pub(crate) fn checked(&mut self, membership: &Membership) {
        let body = &membership.body;
        self.verifying.remove(&(body.session, body.node, body.version));
    }

    /// Sessions with endpoints here, each with one of these nodes that carries it too.
    pub(crate) fn touched_by(&self, nodes: &BTreeSet<NodeNumber>) -> Vec<(SessionId, NodeNumber)> {
        let mut touched = Vec::new();
        for (id, session) in self.sessions.iter().filter(|(_, session)| session.carried()) {
            let others = session.held.values().filter(|held| !held.body().entries.is_empty());
            touched.extend(
                others
                    .map(|held| held.body().node)
                    .filter(|node| nodes.contains(node))
                    .map(|node| (*id, node)),
            );
        }
        touched
    }
}

impl Session {
    /// Whether an endpoint is attached here.
    fn carried(&self) -> bool {
        self.own.as_ref().is_some_and(|own| !own.entries.is_empty())
    }

    /// Other nodes with endpoints of the session.
    fn holders(&self) -> impl Iterator<Item = NodeNumber> {
        self.held.iter().filter(|(_, held)| !held.body().entries.is_empty()).map(|(node, _)| *node)
    }
}
