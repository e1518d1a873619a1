//! The work of a home: it holds the memberships of a session's nodes and passes each on to the others \[MBR-5\]. It
//! never decides anything.

use std::collections::BTreeMap;

use proto_spec::membership::Membership;
use proto_spec::mesh::{DigestEntry, RoutedMessage, SESSION_NODES_MAX, SessionDigest};
use proto_spec::{NodeNumber, SessionId};

use crate::config::HOME_DIGEST_INTERVAL;
use crate::home::homes;
use crate::node::Node;
use crate::timers::Timer;

/// Sessions in one digest message.
const DIGEST_SESSIONS_MAX: usize = 255;
/// Bytes of digests in one message, so that it always fits.
const DIGEST_BYTES_MAX: usize = 48 * 1024;

impl Node {
    /// Passes a membership on to the session's other nodes, and theirs to its owner if that is new.
    pub(super) fn reflect(&mut self, session: SessionId, membership: &Membership, newcomer: bool) {
        let (me, owner) = (self.identity.node, membership.body.node);
        let Some(held) = self.sessions.sessions.get(&session).filter(|held| held.homes.includes(me)) else {
            return;
        };
        let others: Vec<NodeNumber> = held.holders().filter(|node| *node != owner).collect();
        for node in &others {
            self.outbox.put(*node, false, membership.clone());
        }
        if newcomer && !membership.body.entries.is_empty() {
            for node in &others {
                if let Some(other) = held.held.get(node) {
                    self.outbox.put(owner, false, other.membership.0.clone());
                }
            }
        }
    }

    /// Sends what a node asked for.
    pub(crate) fn membership_requested(
        &mut self,
        source: NodeNumber,
        session: SessionId,
        nodes: &[NodeNumber],
    ) {
        let Some(held) = self.sessions.sessions.get(&session) else { return };
        for node in nodes {
            let own = held
                .own
                .as_ref()
                .filter(|_| *node == self.identity.node)
                .and_then(|own| own.current.as_ref());
            let wanted = own.or_else(|| held.held.get(node).map(|held| &held.membership));
            if let Some(membership) = wanted {
                self.outbox.put(source, false, membership.0.clone());
            }
        }
    }

    /// Tells the nodes of each session that this node is home of what it holds.
    pub(crate) fn send_home_digests(&mut self) {
        let me = self.identity.node;
        let mut messages: BTreeMap<NodeNumber, Vec<SessionDigest>> = BTreeMap::new();
        for (id, held) in self.sessions.sessions.iter().filter(|(_, held)| held.homes.includes(me)) {
            let mut entries: Vec<DigestEntry> = held
                .holders()
                .filter_map(|node| Some(DigestEntry { node, version: held.held.get(&node)?.body().version }))
                .collect();
            if let Some(current) =
                held.own.as_ref().filter(|_| held.carried()).and_then(|own| own.current.as_ref())
            {
                entries.push(DigestEntry { node: me, version: current.0.body.version });
                entries.sort_unstable_by_key(|entry| entry.node);
            }
            debug_assert!(
                entries.len() <= SESSION_NODES_MAX,
                "a session holds no more memberships than that"
            );
            // The other home is told as well: it holds what no carrier may know any more.
            let mut receivers: Vec<NodeNumber> = held.holders().chain(held.homes.nodes()).collect();
            receivers.sort_unstable();
            receivers.dedup();
            for to in receivers.into_iter().filter(|to| *to != me && self.roster.contains(to)) {
                messages
                    .entry(to)
                    .or_default()
                    .push(SessionDigest { session: *id, entries: entries.clone() });
            }
        }
        for (to, digests) in messages {
            let mut part = Vec::new();
            let mut bytes = 0;
            for digest in digests {
                let length = 17 + 18 * digest.entries.len();
                if part.len() == DIGEST_SESSIONS_MAX || bytes + length > DIGEST_BYTES_MAX {
                    self.unicast(to, RoutedMessage::HomeDigest(std::mem::take(&mut part)));
                    bytes = 0;
                }
                bytes += length;
                part.push(digest);
            }
            self.unicast(to, RoutedMessage::HomeDigest(part));
        }
        self.timers.set(Timer::HomeDigest, self.now.mono + HOME_DIGEST_INTERVAL);
    }

    /// The nodes that may be home changed: memberships go to the new homes at once \[MBR-9\].
    pub(crate) fn homes_changed(&mut self) {
        let (now, me) = (self.now.mono, self.identity.node);
        let candidates = self.home_list();
        let mut moved = Vec::new();
        for (id, session) in &mut self.sessions.sessions {
            let after = homes(*id, &candidates);
            if after == session.homes {
                continue;
            }
            let before = std::mem::replace(&mut session.homes, after);
            for home in after.nodes().filter(|home| !before.includes(*home)) {
                session.heard.insert(home, now);
                // It may have held the session before and let it go.
                if let Some(own) = &mut session.own {
                    own.told.remove(&home);
                }
            }
            session.heard.retain(|home, _| after.includes(*home));
            session.held.iter_mut().for_each(|(_, held)| held.omitted_since = None);
            if after.includes(me) {
                session.idle_since = None;
            } else if !session.carried() {
                session.idle_since = Some(now);
            }
            moved.push((*id, before, after));
        }
        for (session, before, after) in moved {
            if before.includes(me) && !after.includes(me) {
                self.prepare_handover(session);
            }
            self.tombstones_moved(session, before, after);
            self.tell(session);
        }
    }

    /// Nodes came back within reach: they may have dropped what this node said.
    pub(crate) fn sessions_rejoin(&mut self, joined: &[NodeNumber]) {
        let audience = |session: &super::Session| -> Vec<NodeNumber> {
            let Some(own) = session.own.as_ref() else { return Vec::new() };
            let told = joined.iter().copied().filter(|node| own.told.contains_key(node));
            told.chain(joined.iter().copied().filter(|node| session.homes.includes(*node))).collect()
        };
        let again: Vec<(SessionId, NodeNumber)> = self
            .sessions
            .sessions
            .iter()
            .flat_map(|(id, session)| audience(session).into_iter().map(|node| (*id, node)))
            .collect();
        for (session, node) in again {
            self.tell_again(session, node);
        }
        // A node that carries a session and was out of reach is told as any other that is not.
        let carried: Vec<SessionId> = self
            .sessions
            .sessions
            .iter()
            .filter(|(_, session)| {
                session.own.is_some() && session.holders().any(|node| joined.contains(&node))
            })
            .map(|(id, _)| *id)
            .collect();
        carried.into_iter().for_each(|session| self.tell(session));
    }

    /// Every membership that this node holds of a session, its own too.
    pub(crate) fn memberships_of(&self, session: SessionId) -> Vec<Membership> {
        let Some(held) = self.sessions.sessions.get(&session) else { return Vec::new() };
        held.held
            .values()
            .map(|held| held.membership.0.clone())
            .filter(|held| !held.body.entries.is_empty())
            .collect()
    }

    /// A session's homes as this node sees them.
    pub(crate) fn homes_of(&self, session: SessionId) -> crate::home::Homes {
        self.sessions
            .sessions
            .get(&session)
            .map_or_else(|| homes(session, &self.home_list()), |held| held.homes)
    }

    /// Nodes that carry a session, as a home knows them.
    pub(crate) fn holders_of(&self, session: SessionId) -> Vec<NodeNumber> {
        self.sessions.sessions.get(&session).map_or_else(Vec::new, |held| held.holders().collect())
    }
}
