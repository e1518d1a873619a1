//! Tombstones: a broker's word that a session or a member is over, brought to every node that carries it through the
//! session's homes \[MBR-11\]. Kept until the tickets that they end have expired.

use std::collections::BTreeMap;

use proto_spec::mesh::RoutedMessage;
use proto_spec::tombstone::Tombstone;
use proto_spec::{NodeNumber, SenderNumber, SessionId, Timestamp, WallTime};
use serde::{Deserialize, Serialize};

use crate::config::{
    TELL_BACKOFF_MAX, TELL_BACKOFF_MIN, TOMBSTONE_COPIES_MAX, TOMBSTONE_TRIES_MAX, TOMBSTONES_MAX,
};
use crate::home::Homes;
use crate::io::{Output, ToVerify};
use crate::node::{Node, Request};
use crate::timers::Timer;
use crate::wired::Wired;

type Key = (SessionId, Option<SenderNumber>);

/// What is over, and who still has to be told.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Tombstones {
    kept: BTreeMap<Key, Kept>,
    copies: BTreeMap<(NodeNumber, Key), Copy>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Kept {
    tombstone: Wired<Tombstone>,
    /// Made by the broker on this node.
    made_here: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Copy {
    tries: u32,
    next_at: Timestamp,
}

impl Tombstones {
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn copies(&self) -> usize {
        self.copies.len()
    }

    fn make_room(&mut self, wall: WallTime) -> bool {
        if self.kept.len() >= TOMBSTONES_MAX {
            self.kept.retain(|_, kept| kept.tombstone.0.body.keep_until > wall);
        }
        self.kept.len() < TOMBSTONES_MAX
    }
}

impl Node {
    /// The broker here ended something.
    pub(crate) fn tombstone_made(&mut self, tombstone: Tombstone) {
        let session = tombstone.body.session;
        if self.keep_tombstone(tombstone, true) {
            let homes = self.homes_of(session);
            self.tombstones_to(session, homes.nodes().collect());
            self.tombstones_at_home(session);
        }
    }

    pub(crate) fn tombstone_received(&mut self, source: NodeNumber, tombstone: Tombstone) {
        let key = (tombstone.body.session, tombstone.body.number);
        if self.tombstones.kept.contains_key(&key) {
            return self.unicast(source, RoutedMessage::TombstoneAck { session: key.0, number: key.1 });
        }
        if tombstone.body.keep_until > self.now.wall {
            let item = ToVerify::Tombstone(Wired(tombstone.clone()));
            self.verify(item, Request::Tombstone { tombstone: Wired(tombstone), source });
        }
    }

    pub(crate) fn tombstone_verified(&mut self, source: NodeNumber, tombstone: Tombstone) {
        let (session, number) = (tombstone.body.session, tombstone.body.number);
        if self.keep_tombstone(tombstone.clone(), false) {
            self.output(Output::Tombstone(Wired(tombstone)));
            self.tombstones_at_home(session);
        }
        if self.tombstones.kept.contains_key(&(session, number)) {
            self.unicast(source, RoutedMessage::TombstoneAck { session, number });
        }
    }

    pub(crate) fn tombstone_acked(
        &mut self,
        source: NodeNumber,
        session: SessionId,
        number: Option<SenderNumber>,
    ) {
        self.tombstones.copies.remove(&(source, (session, number)));
    }

    /// True if it is new here.
    fn keep_tombstone(&mut self, tombstone: Tombstone, made_here: bool) -> bool {
        let key = (tombstone.body.session, tombstone.body.number);
        if self.tombstones.kept.contains_key(&key) {
            return false;
        }
        if !self.tombstones.make_room(self.now.wall) {
            self.counters.tombstones_shed += 1;
            return false;
        }
        self.counters.tombstones_kept += 1;
        self.tombstones.kept.insert(key, Kept { tombstone: Wired(tombstone), made_here });
        true
    }

    /// A home passes a session's tombstones on to every node that carries it, and to the other home.
    fn tombstones_at_home(&mut self, session: SessionId) {
        let homes = self.homes_of(session);
        if homes.includes(self.identity.node) {
            let mut to = self.holders_of(session);
            to.extend(homes.nodes());
            self.tombstones_to(session, to);
        }
    }

    /// A node turned up with a session that may be over.
    pub(crate) fn tombstones_for(&mut self, session: SessionId, node: NodeNumber) {
        if self.homes_of(session).includes(self.identity.node) {
            self.tombstones_to(session, vec![node]);
        }
    }

    /// The session has other homes: whoever made a tombstone, or was home, tells the new ones.
    pub(crate) fn tombstones_moved(&mut self, session: SessionId, before: Homes, after: Homes) {
        let range = (session, None)..=(session, SenderNumber::new(u16::MAX));
        let made_here = self.tombstones.kept.range(range).any(|(_, kept)| kept.made_here);
        if made_here || before.includes(self.identity.node) {
            self.tombstones_to(session, after.nodes().filter(|home| !before.includes(*home)).collect());
        }
    }

    fn tombstones_to(&mut self, session: SessionId, nodes: Vec<NodeNumber>) {
        let now = self.now.mono;
        let range = (session, None)..=(session, SenderNumber::new(u16::MAX));
        let keys: Vec<Key> = self.tombstones.kept.range(range).map(|(key, _)| *key).collect();
        for node in nodes.into_iter().filter(|node| *node != self.identity.node) {
            for key in &keys {
                if self.tombstones.copies.len() < TOMBSTONE_COPIES_MAX {
                    self.tombstones.copies.entry((node, *key)).or_insert(Copy { tries: 0, next_at: now });
                }
            }
        }
        if !keys.is_empty() {
            self.timers.no_later(Timer::Tombstones, now);
        }
    }

    pub(crate) fn tombstones_due(&mut self) {
        let (now, wall) = (self.now.mono, self.now.wall);
        let mut due = Vec::new();
        let kept = &self.tombstones.kept;
        self.tombstones.copies.retain(|(node, key), copy| {
            let Some(held) = kept.get(key).filter(|kept| kept.tombstone.0.body.keep_until > wall) else {
                return false;
            };
            if copy.next_at <= now {
                copy.next_at = now + (TELL_BACKOFF_MIN * (1 << copy.tries.min(10))).min(TELL_BACKOFF_MAX);
                copy.tries += 1;
                due.push((*node, held.tombstone.0.clone()));
            }
            copy.tries <= TOMBSTONE_TRIES_MAX
        });
        for (node, tombstone) in due {
            self.unicast(node, RoutedMessage::Tombstone(tombstone));
        }
        if let Some(next) = self.tombstones.copies.values().map(|copy| copy.next_at).min() {
            self.timers.no_later(Timer::Tombstones, next);
        }
    }
}
