//! What other nodes say of a session: the newest of each node wins, and goes only for a reason \[MBR-7\].

use proto_spec::membership::{Membership, MembershipVersion};
use proto_spec::mesh::{MembershipAck, RoutedMessage, SESSION_NODES_MAX, SessionDigest};
use proto_spec::{NodeNumber, SessionId};

use super::{Held, Session};
use crate::config::{
    DEPARTED_KEEP, HOME_SILENCE_MAX, HOUSEKEEPING_INTERVAL, LINGER, MEMBERSHIPS_MAX, OMITTED_MAX,
    SESSIONS_MAX, WITHDRAWN_KEEP,
};
use crate::io::{Member, Output, SessionView, ToVerify};
use crate::node::{Node, Request};
use crate::timers::Timer;
use crate::wired::Wired;

impl Node {
    /// A membership from its owner, or passed on by a home.
    pub(crate) fn membership_received(
        &mut self,
        source: NodeNumber,
        acknowledge: bool,
        membership: Membership,
    ) {
        let (session, node, version) =
            (membership.body.session, membership.body.node, membership.body.version);
        if node == self.identity.node {
            return;
        }
        let held = self.sessions.sessions.get(&session);
        if held.is_none() && self.sessions.len() >= SESSIONS_MAX {
            return self.counters.memberships_refused += 1;
        }
        let known = held.and_then(|held| held.held.get(&node)).map(|held| held.body().version);
        if known.is_some_and(|known| known >= version) {
            self.counters.memberships_stale += 1;
            if known == Some(version) && (source == node || acknowledge) {
                self.acknowledge(source, &membership);
            }
            return;
        }
        let full = known.is_none() && held.is_some_and(|held| held.held.len() >= MEMBERSHIPS_MAX);
        let Some(signer) = self.lsdb.signer(node).copied().filter(|_| !full) else {
            return self.counters.memberships_refused += 1;
        };
        if self.is_outlived(node, version) {
            return self.counters.memberships_stale += 1;
        }
        if !self.sessions.verifying.insert((session, node, version)) {
            return;
        }
        let (message, signature) = (membership.body.signed_message(), Wired(membership.signature));
        let key = signer.key;
        let item = ToVerify::ByKey { key, message, signature };
        let request = Request::Membership { membership: Wired(membership), key, source, acknowledge };
        if !self.verify(item, request) {
            self.sessions.verifying.remove(&(session, node, version));
        }
    }

    pub(crate) fn membership_verified(
        &mut self,
        source: NodeNumber,
        acknowledge: bool,
        membership: Membership,
        key: &[u8; 32],
    ) {
        let now = self.now.mono;
        let (session, node, version) =
            (membership.body.session, membership.body.node, membership.body.version);
        if self.sessions.len() >= SESSIONS_MAX && !self.sessions.sessions.contains_key(&session) {
            return self.counters.memberships_refused += 1;
        }
        // Its node may have restarted, been revoked, or lost its number to another key while it was checked.
        let is_owner = self.lsdb.signer(node).is_some_and(|signer| signer.key == *key);
        if self.is_outlived(node, version) || !is_owner {
            return self.counters.memberships_stale += 1;
        }
        self.ensure_session(session);
        let in_reach = self.roster.contains(&node);
        let me = self.identity.node;
        let Some(held) = self.sessions.sessions.get_mut(&session) else { return };
        let known = held.held.get(&node);
        if known.is_some_and(|known| known.body().version >= version) {
            return self.counters.memberships_stale += 1;
        }
        if known.is_none() && held.held.len() >= MEMBERSHIPS_MAX {
            return self.counters.memberships_refused += 1;
        }
        let newcomer = known.is_none_or(|known| known.body().entries.is_empty());
        let withdrawn = membership.body.entries.is_empty();
        let fresh = Held {
            membership: Wired(membership.clone()),
            omitted_since: None,
            gone_since: (!in_reach).then_some(now),
            withdrawn_since: withdrawn.then_some(now),
        };
        held.held.insert(node, Box::new(fresh));
        self.sessions.largest = self.sessions.largest.max(held.held.len());
        if !held.carried() && !held.homes.includes(me) {
            held.idle_since.get_or_insert(now);
        }
        self.counters.memberships_accepted += 1;
        self.acknowledge(node, &membership);
        if acknowledge && source != node {
            self.acknowledge(source, &membership);
        }
        self.reflect(session, &membership, newcomer);
        if newcomer {
            self.tombstones_for(session, node);
            // The newcomer should hear of this node from itself.
            self.tell(session);
        }
        self.publish_session(session);
        self.check_ready(session);
    }

    /// Whether a membership is of a process of its node that is no more \[MBR-4\].
    fn is_outlived(&self, node: NodeNumber, version: MembershipVersion) -> bool {
        self.lsdb.get(node).is_some_and(|lsa| lsa.body.version.incarnation > version.incarnation)
    }

    /// A node's number belongs to another key: nothing that was said under it holds \[LSA-11\].
    pub(crate) fn node_replaced(&mut self, node: NodeNumber) {
        self.node_restarted(node, u64::MAX);
    }

    /// A node has restarted: what its earlier process said is over.
    pub(crate) fn node_restarted(&mut self, node: NodeNumber, incarnation: u64) {
        let mut changed = Vec::new();
        for (id, session) in &mut self.sessions.sessions {
            if session.held.get(&node).is_some_and(|held| held.body().version.incarnation < incarnation) {
                session.held.remove(&node);
                changed.push(*id);
            }
        }
        self.counters.memberships_departed += changed.len() as u64;
        changed.into_iter().for_each(|id| self.publish_session(id));
    }

    fn acknowledge(&mut self, to: NodeNumber, membership: &Membership) {
        let body = &membership.body;
        let mut known = Vec::new();
        if let Some(held) = self.sessions.sessions.get(&body.session) {
            let active = held.held.iter().filter(|(_, held)| held.body().has_active()).map(|(node, _)| *node);
            known.extend(active.take(SESSION_NODES_MAX - 1));
            let own = held.own.as_ref().and_then(|own| own.current.as_ref());
            if own.is_some_and(|own| own.0.body.has_active()) {
                known.push(self.identity.node);
                known.sort_unstable();
            }
        }
        let ack = MembershipAck { session: body.session, node: body.node, version: body.version, known };
        self.unicast(to, RoutedMessage::MembershipAck(ack));
    }

    /// What a home says it holds, held against what this node holds \[MBR-6\].
    pub(crate) fn home_digest_received(&mut self, home: NodeNumber, digest: &SessionDigest) {
        let (now, me, id) = (self.now.mono, self.identity.node, digest.session);
        let listed = |node: NodeNumber| {
            digest
                .entries
                .binary_search_by_key(&node, |entry| entry.node)
                .ok()
                .map(|at| digest.entries[at].version)
        };
        let carried = self.sessions.sessions.get(&id).is_some_and(Session::carried);
        if let Some(version) = listed(me) {
            let current = self.sessions.sessions.get(&id).and_then(|held| held.own.as_ref());
            let current = current.and_then(|own| own.current.as_ref()).map(|current| current.0.body.version);
            if !carried || current.is_some_and(|current| current < version) {
                self.correct_own(id, version);
            }
            if current.is_some_and(|current| current > version) {
                self.tell_again(id, home);
            }
        } else if carried {
            self.tell_again(id, home);
        }
        if !carried && !self.sessions.sessions.get(&id).is_some_and(|held| held.homes.includes(me)) {
            return;
        }
        let lsdb = &self.lsdb;
        let Some(held) = self.sessions.sessions.get_mut(&id) else { return };
        held.heard.insert(home, now);
        held.heard.retain(|node, _| held.homes.includes(*node));
        let mut lacking = Vec::new();
        for entry in digest.entries.iter().filter(|entry| entry.node != me) {
            match held.held.get_mut(&entry.node) {
                Some(known) => {
                    known.omitted_since = None;
                    if known.body().version < entry.version {
                        lacking.push(entry.node);
                    }
                }
                None if lsdb.signer(entry.node).is_some() => lacking.push(entry.node),
                None => {}
            }
        }
        let mut gone = Vec::new();
        if held.homes.includes(home) {
            for (node, known) in held.held.iter_mut().filter(|(node, _)| listed(**node).is_none()) {
                let since = *known.omitted_since.get_or_insert(now);
                if now.since(since) >= OMITTED_MAX {
                    gone.push(*node);
                }
            }
        }
        for node in &gone {
            held.held.remove(node);
        }
        self.counters.memberships_omitted += gone.len() as u64;
        if !lacking.is_empty() {
            self.unicast(home, RoutedMessage::MembershipRequest { session: id, nodes: lacking });
        }
        if !gone.is_empty() {
            self.publish_session(id);
        }
    }

    /// What the session's endpoints here need to know, if it changed \[MBR-8\].
    pub(crate) fn publish_session(&mut self, session: SessionId) {
        let Some(held) = self.sessions.sessions.get_mut(&session) else { return };
        let view = if held.carried() {
            let live: Vec<&Held> = held
                .held
                .iter()
                .filter(|(node, _)| self.roster.contains(node))
                .map(|(_, held)| &**held)
                .collect();
            let active = live.iter().filter(|held| held.body().has_active());
            let member = |held: &&Held| {
                let node = held.body().node;
                let entries = held.body().entries.clone();
                entries.into_iter().map(move |entry| Member {
                    number: entry.number,
                    kind: entry.kind,
                    attach_seq: entry.attach_seq,
                    node,
                })
            };
            let egress = active.map(|held| held.body().node).collect();
            Some(SessionView { egress, members: live.iter().flat_map(member).collect() })
        } else {
            None
        };
        if held.published != view {
            held.published.clone_from(&view);
            let view = view.unwrap_or_default();
            self.output(Output::Session { session, view });
        }
    }

    /// The roster changed: every egress set may.
    pub(crate) fn publish_sessions(&mut self) {
        let now = self.now.mono;
        let sessions = self.sessions.sessions.values_mut();
        for (_, held) in sessions.flat_map(|session| session.held.iter_mut()) {
            let in_reach = self.roster.contains(&held.membership.0.body.node);
            held.gone_since = if in_reach { None } else { held.gone_since.or(Some(now)) };
        }
        for session in self.sessions.sessions.keys().copied().collect::<Vec<_>>() {
            self.publish_session(session);
            self.check_ready(session);
        }
    }

    /// Lets go what has lost its reason, and reminds homes that have gone quiet.
    pub(crate) fn keep_house(&mut self) {
        let (now, me) = (self.now.mono, self.identity.node);
        let mut departed = 0;
        let (mut changed, mut quiet) = (Vec::new(), Vec::new());
        for (id, session) in &mut self.sessions.sessions {
            let before = session.held.len();
            session.held.retain(|_, held| {
                let gone = held.gone_since.is_some_and(|at| now.since(at) >= DEPARTED_KEEP);
                let over = held.withdrawn_since.is_some_and(|at| now.since(at) >= WITHDRAWN_KEEP);
                departed += u64::from(gone);
                !gone && !over
            });
            if session.held.len() != before {
                changed.push(*id);
            }
            if session.carried() {
                for home in session.homes.nodes().filter(|home| *home != me && self.roster.contains(home)) {
                    let heard = session.heard.entry(home).or_insert(now);
                    if now.since(*heard) >= HOME_SILENCE_MAX {
                        *heard = now;
                        quiet.push((*id, home));
                    }
                }
            }
        }
        self.counters.memberships_departed += departed;
        for id in changed {
            self.publish_session(id);
        }
        for (id, home) in quiet {
            self.tell_again(id, home);
        }
        let withdrawing: Vec<SessionId> = self
            .sessions
            .sessions
            .iter()
            .filter(|(_, session)| session.own.is_some() && !session.carried())
            .map(|(id, _)| *id)
            .collect();
        withdrawing.into_iter().for_each(|id| self.tell(id));
        self.sessions.sessions.retain(|_, session| {
            let home = session.homes.includes(me) && !session.held.is_empty();
            let lingers = session.idle_since.is_none_or(|at| now.since(at) < LINGER);
            session.own.is_some() || home || (lingers && !session.held.is_empty())
        });
        self.timers.set(Timer::Housekeeping, now + HOUSEKEEPING_INTERVAL);
    }
}
