//! A node's own memberships: made from attachments, signed, told to homes and member nodes until they acknowledge
//! \[MBR-4\].

use std::collections::BTreeSet;

use proto_spec::membership::{MEMBERSHIP_ENTRIES_MAX, Membership, MembershipBody, MembershipEntry};
use proto_spec::mesh::MembershipAck;
use proto_spec::{AttachSeq, NodeNumber, SenderNumber, SessionId, Timestamp};

use super::{Own, Wait};
use crate::config::{
    READY_WAIT_MAX, READY_WAITS_MAX, SESSIONS_MAX, TELL_BACKOFF_MAX, TELL_BACKOFF_MIN, WITHDRAWN_KEEP,
};
use crate::home::homes;
use crate::io::Output;
use crate::node::{Node, Request};
use crate::timers::Timer;
use crate::wired::Wired;

impl Node {
    pub(crate) fn attached(&mut self, session: SessionId, entry: MembershipEntry, ready: bool) {
        let now = self.now.mono;
        let room = self.sessions.len() < SESSIONS_MAX;
        if !self.sessions.sessions.contains_key(&session) && !room {
            return self.counters.memberships_refused += 1;
        }
        self.ensure_session(session);
        let Some(held) = self.sessions.sessions.get_mut(&session) else { return };
        let own = held.own.get_or_insert_default();
        let known = own.entries.get(&entry.number).copied();
        if known.is_none() && own.entries.len() >= MEMBERSHIP_ENTRIES_MAX {
            return self.counters.memberships_refused += 1;
        }
        // The highest `attach_seq` is the newest attachment of a number, whatever the order of the inputs.
        if known.is_some_and(|known| known.attach_seq > entry.attach_seq) {
            return;
        }
        own.entries.insert(entry.number, entry);
        own.empty_since = None;
        own.dirty |= known != Some(entry) || own.current.is_none();
        held.idle_since = None;
        if ready {
            let deadline = now + READY_WAIT_MAX;
            if own.waits.len() >= READY_WAITS_MAX {
                own.waits.remove(0);
            }
            let version = own.current.as_ref().map(|current| current.0.body.version).filter(|_| !own.dirty);
            own.waits.push(Wait { number: entry.number, attach_seq: entry.attach_seq, deadline, version });
            self.sessions.ready.insert((deadline, session));
            self.timers.no_later(Timer::Ready, deadline);
        }
        self.sign_own(session);
        self.publish_session(session);
        self.check_ready(session);
    }

    pub(crate) fn detached(&mut self, session: SessionId, number: SenderNumber, attach_seq: AttachSeq) {
        let now = self.now.mono;
        let Some(own) = self.sessions.sessions.get_mut(&session).and_then(|session| session.own.as_mut())
        else {
            return;
        };
        if own.entries.get(&number).is_none_or(|entry| entry.attach_seq != attach_seq) {
            return;
        }
        own.entries.remove(&number);
        own.waits.retain(|wait| wait.number != number);
        own.dirty = true;
        if own.entries.is_empty() {
            own.empty_since = Some(now);
        }
        self.sign_own(session);
        self.publish_session(session);
    }

    /// A session of which this node knows nothing yet, with its homes.
    pub(super) fn ensure_session(&mut self, session: SessionId) {
        if !self.sessions.sessions.contains_key(&session) {
            let (now, homes) = (self.now.mono, homes(session, &self.home_list()));
            let heard = homes.nodes().map(|home| (home, now)).collect();
            let fresh = super::Session { homes, heard, ..super::Session::default() };
            self.sessions.sessions.insert(session, fresh);
        }
    }

    /// Asks for a signature of what has changed, one at a time for each session.
    pub(super) fn sign_own(&mut self, session: SessionId) {
        let node = self.identity.node;
        let sessions = &mut self.sessions;
        let Some(own) = sessions.sessions.get_mut(&session).and_then(|session| session.own.as_mut()) else {
            return;
        };
        if !own.dirty || own.signing {
            return;
        }
        if own.entries.is_empty() && own.current.is_none() && own.told.is_empty() {
            // Nobody has ever heard of it.
            return self.forget_own(session);
        }
        sessions.version.sequence += 1;
        let entries = own.entries.values().copied().collect();
        let body = MembershipBody { session, node, version: sessions.version, entries };
        own.dirty = false;
        own.signing = true;
        let message = body.signed_message();
        if !self.sign(message, Request::OwnMembership(Wired(body))) {
            if let Some(own) = self.own_mut(session) {
                own.dirty = true;
                own.signing = false;
            }
            self.tell_at(session, self.now.mono + TELL_BACKOFF_MIN);
        }
    }

    pub(crate) fn own_membership_signed(&mut self, body: MembershipBody, signature: [u8; 64]) {
        let now = self.now.mono;
        let session = body.session;
        let Some(own) = self.own_mut(session) else { return };
        own.signing = false;
        let version = body.version;
        for wait in own.waits.iter_mut().filter(|wait| wait.version.is_none()) {
            let has =
                |entry: &MembershipEntry| (entry.number, entry.attach_seq) == (wait.number, wait.attach_seq);
            if body.entries.iter().any(has) {
                wait.version = Some(version);
            }
        }
        own.current = Some(Wired(Membership { body, signature }));
        for (_, told) in own.told.iter_mut() {
            told.tries = 0;
            told.next_at = now;
        }
        self.sign_own(session);
        self.tell(session);
        self.check_ready(session);
    }

    /// Whom a session's membership is for: its homes, and the nodes that carry it too.
    fn audience(&self, session: SessionId) -> BTreeSet<NodeNumber> {
        let Some(held) = self.sessions.sessions.get(&session) else { return BTreeSet::new() };
        let everyone = held.homes.nodes().chain(held.holders());
        everyone.filter(|node| *node != self.identity.node && self.roster.contains(node)).collect()
    }

    /// Tells those who have not acknowledged and are due: member nodes directly, so that they need not wait for a home.
    pub(super) fn tell(&mut self, session: SessionId) {
        let now = self.now.mono;
        let audience = self.audience(session);
        let Some(own) = self.own_mut(session) else { return };
        own.told.retain(|node, _| audience.contains(node));
        let Some(Wired(current)) = own.current.clone() else { return };
        let version = current.body.version;
        let (mut due, mut next) = (Vec::new(), None::<Timestamp>);
        for node in &audience {
            let told = own.told.entry(*node).or_default();
            if told.acknowledged.is_some_and(|acknowledged| acknowledged >= version) {
                continue;
            }
            if told.next_at <= now {
                told.next_at = now + (TELL_BACKOFF_MIN * (1 << told.tries.min(10))).min(TELL_BACKOFF_MAX);
                told.tries += 1;
                due.push(*node);
            }
            next = Some(next.map_or(told.next_at, |next| next.min(told.next_at)));
        }
        let over = own.entries.is_empty() && !own.dirty && !own.signing;
        let withdrawn = over && own.empty_since.is_none_or(|at| now.since(at) >= WITHDRAWN_KEEP);
        for node in due {
            self.outbox.put(node, false, current.clone());
        }
        if withdrawn {
            return self.forget_own(session);
        }
        if let Some(next) = next {
            self.tell_at(session, next);
        }
    }

    fn tell_at(&mut self, session: SessionId, at: Timestamp) {
        let Some(own) = self.own_mut(session) else { return };
        let before = own.tell_at.replace(at);
        if let Some(before) = before {
            self.sessions.tell.remove(&(before, session));
        }
        self.sessions.tell.insert((at, session));
        self.timers.no_later(Timer::Tell, at);
    }

    pub(crate) fn tell_due(&mut self) {
        let now = self.now.mono;
        while let Some((at, session)) = self.sessions.tell.first().copied() {
            if at > now {
                return self.timers.no_later(Timer::Tell, at);
            }
            self.sessions.tell.remove(&(at, session));
            if let Some(own) = self.own_mut(session) {
                own.tell_at = None;
            }
            self.sign_own(session);
            self.tell(session);
        }
    }

    /// Forgets that a node ever acknowledged: it may have dropped what it held.
    pub(super) fn tell_again(&mut self, session: SessionId, node: NodeNumber) {
        if let Some(own) = self.own_mut(session) {
            own.told.remove(&node);
        }
        self.tell(session);
    }

    fn forget_own(&mut self, session: SessionId) {
        let now = self.now.mono;
        let Some(held) = self.sessions.sessions.get_mut(&session) else { return };
        if let Some(at) = held.own.take().and_then(|own| own.tell_at) {
            self.sessions.tell.remove(&(at, session));
        }
        held.idle_since = Some(now);
        self.publish_session(session);
    }

    pub(crate) fn membership_acked(&mut self, source: NodeNumber, ack: MembershipAck) {
        if ack.node != self.identity.node {
            return self.handed_over(source, &ack);
        }
        let session = ack.session;
        let Some(own) = self.own_mut(session) else { return };
        // One never told has nothing to acknowledge.
        let Some(told) = own.told.get_mut(&source) else { return };
        told.acknowledged = told.acknowledged.max(Some(ack.version));
        told.known = ack.known;
        self.check_ready(session);
        self.tell(session);
    }

    /// Says that an attachment is known everywhere, once it is \[MBR-10\]: another home has acknowledged, and so has
    /// every live node with an active member that this node or any that acknowledged knows of.
    pub(super) fn check_ready(&mut self, session: SessionId) {
        let me = self.identity.node;
        let Some(held) = self.sessions.sessions.get(&session) else { return };
        let Some(own) = held.own.as_ref().filter(|own| !own.waits.is_empty()) else { return };
        let mut members: BTreeSet<NodeNumber> =
            held.held.iter().filter(|(_, held)| held.body().has_active()).map(|(node, _)| *node).collect();
        members.extend(own.told.values().flat_map(|told| told.known.iter().copied()));
        members.retain(|node| *node != me && self.roster.contains(node));
        // Where this node is a home itself, the other one may know of somebody whose word is still on its way here.
        let other_homes: Vec<NodeNumber> =
            held.homes.nodes().filter(|home| *home != me && self.roster.contains(home)).collect();
        let done: Vec<(SenderNumber, AttachSeq)> = own
            .waits
            .iter()
            .filter(|wait| {
                let Some(version) = wait.version else { return false };
                let knows = |node: &NodeNumber| {
                    own.told
                        .get(node)
                        .and_then(|told| told.acknowledged)
                        .is_some_and(|known| known >= version)
                };
                let home = other_homes.iter().any(knows) || other_homes.is_empty();
                home && members.iter().all(knows)
            })
            .map(|wait| (wait.number, wait.attach_seq))
            .collect();
        self.end_waits(session, &done, true);
    }

    fn end_waits(&mut self, session: SessionId, done: &[(SenderNumber, AttachSeq)], complete: bool) {
        let Some(own) = self.own_mut(session) else { return };
        own.waits.retain(|wait| !done.contains(&(wait.number, wait.attach_seq)));
        for (number, attach_seq) in done {
            let (number, attach_seq) = (*number, *attach_seq);
            self.output(Output::Ready { session, number, attach_seq, complete });
        }
    }

    /// Calls those ready who have waited long enough.
    pub(crate) fn ready_due(&mut self) {
        let now = self.now.mono;
        while let Some((deadline, session)) = self.sessions.ready.first().copied() {
            if deadline > now {
                return self.timers.no_later(Timer::Ready, deadline);
            }
            self.sessions.ready.remove(&(deadline, session));
            let Some(own) = self.own_mut(session) else { continue };
            let over = own.waits.iter().filter(|wait| wait.deadline <= now);
            let done: Vec<_> = over.map(|wait| (wait.number, wait.attach_seq)).collect();
            self.end_waits(session, &done, false);
        }
    }

    /// Signs everything anew under the incarnation that this node has taken.
    pub(crate) fn sign_all_own(&mut self) {
        let carried = self.sessions.sessions.iter_mut().filter(|(_, session)| session.own.is_some());
        let ids: Vec<SessionId> = carried
            .map(|(id, session)| {
                if let Some(own) = &mut session.own {
                    own.dirty = true;
                }
                *id
            })
            .collect();
        ids.into_iter().for_each(|session| self.sign_own(session));
    }

    /// A home holds something of this node that it should not, or something newer than this process has made.
    pub(super) fn correct_own(
        &mut self,
        session: SessionId,
        listed: proto_spec::membership::MembershipVersion,
    ) {
        let now = self.now.mono;
        let version = &mut self.sessions.version;
        if listed > *version {
            *version = listed;
        }
        self.ensure_session(session);
        let Some(held) = self.sessions.sessions.get_mut(&session) else { return };
        let own = held.own.get_or_insert_default();
        if own.entries.is_empty() && own.empty_since.is_none() {
            own.empty_since = Some(now);
        }
        // Something has been said in this node's name: what is said now must be signed, an empty list too.
        let stale = own.current.as_ref().is_none_or(|current| current.0.body.version < listed);
        if stale && !own.signing {
            own.dirty = true;
            for home in held.homes.nodes().filter(|home| *home != self.identity.node) {
                own.told.entry(home).or_default();
            }
            self.sign_own(session);
        }
    }

    pub(super) fn own_mut(&mut self, session: SessionId) -> Option<&mut Own> {
        self.sessions.sessions.get_mut(&session)?.own.as_deref_mut()
    }
}
