//! Drain: how a node leaves without anybody losing anything \[DRN-1\].
//!
//! ```text
//! serving ──Drain──► draining ──endpoints gone, homes handed over, or deadline──► drained ──routes stable──► MayStop
//!    ▲                  │
//!    └─────Undrain──────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proto_spec::lsa::DrainState;
use proto_spec::membership::MembershipVersion;
use proto_spec::mesh::MembershipAck;
use proto_spec::{NodeNumber, SessionId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::{DRAIN_GRACE_MAX, DRAIN_STABLE, Identity, REVOKED_WORD_WAIT, TELL_BACKOFF_MIN};
use crate::io::{Alarm, Output};
use crate::node::Node;
use crate::timers::Timer;

/// How far the node is on its way out.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Drain {
    pub(crate) state: DrainState,
    deadline: Option<Timestamp>,
    drained_at: Option<Timestamp>,
    /// When the LSA that says `drained` was made.
    pub(crate) announced_at: Option<Timestamp>,
    stopped: bool,
    /// Memberships that this node held as a home, and the successors that have not acknowledged them.
    handover: BTreeMap<(SessionId, NodeNumber), (MembershipVersion, BTreeSet<NodeNumber>)>,
}

/// What is held of this node's own certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) enum Standing {
    /// Nothing against it.
    #[default]
    Good,
    /// A node says that it is revoked, and no link carries traffic, which would show otherwise \[LSA-15\].
    Doubted { by: NodeNumber },
    /// It is revoked.
    Revoked,
}

impl Node {
    pub(crate) fn start_drain(&mut self, within: Duration) {
        let deadline = self.now.mono + within;
        if self.drain.state != DrainState::Serving {
            // Told again: the nearer deadline counts.
            self.drain.deadline = self.drain.deadline.map(|set| set.min(deadline));
            return;
        }
        self.drain = Drain { state: DrainState::Draining, deadline: Some(deadline), ..Drain::default() };
        self.output(Output::Drain(DrainState::Draining));
        self.own_changed(true);
        self.candidates_changed();
        self.timers.set(Timer::Drain, deadline);
    }

    /// This node's certificate is revoked, by the list in force \[LSA-14\] or by another node's word: nobody takes its
    /// packets any more, so that its endpoints are to be elsewhere at once, and no word of an operator here brings it back.
    pub(crate) fn leave_revoked(&mut self, by: Option<NodeNumber>) {
        if std::mem::replace(&mut self.standing, Standing::Revoked) == Standing::Revoked {
            return;
        }
        let Identity { node, certificate, .. } = self.identity;
        self.start_drain(Duration::ZERO);
        self.alarm(Alarm::Revoked { node, certificate, by });
    }

    /// Somebody who was dialled holds this node's certificate for revoked \[LSA-15\]. One node alone may be wrong, or lie;
    /// who carries traffic is in the mesh all the same.
    pub(crate) fn called_revoked(&mut self, by: NodeNumber) {
        if self.standing == Standing::Good && !self.links.values().any(|link| link.usable) {
            self.standing = Standing::Doubted { by };
            self.timers.set(Timer::Doubt, self.now.mono + REVOKED_WORD_WAIT);
        }
    }

    /// A neighbour has taken the certificate, and not only to close the trunk at once.
    pub(crate) fn drop_doubt(&mut self) {
        if matches!(self.standing, Standing::Doubted { .. }) {
            self.standing = Standing::Good;
        }
    }

    /// Nobody has taken it for long enough.
    pub(crate) fn heed_doubt(&mut self) {
        if let Standing::Doubted { by } = self.standing {
            self.leave_revoked(Some(by));
        }
    }

    pub(crate) fn stop_drain(&mut self) {
        if self.drain.state != DrainState::Draining {
            return;
        }
        self.drain = Drain::default();
        self.output(Output::Drain(DrainState::Serving));
        self.own_changed(true);
        self.candidates_changed();
    }

    /// This node was home of a session and is no more: its successors are to have what it holds \[DRN-2\].
    pub(crate) fn prepare_handover(&mut self, session: SessionId) {
        if self.drain.state == DrainState::Serving {
            // The others re-send; only who leaves makes sure.
            return;
        }
        let me = self.identity.node;
        let homes = self.homes_of(session);
        for membership in self.memberships_of(session) {
            let body = &membership.body;
            let successors: BTreeSet<NodeNumber> =
                homes.nodes().filter(|home| *home != me && *home != body.node).collect();
            if !successors.is_empty() {
                self.drain.handover.insert((session, body.node), (body.version, successors));
            }
        }
        self.timers.no_later(Timer::Handover, self.now.mono);
    }

    /// Sends what successors have not acknowledged, again each second.
    pub(crate) fn hand_over(&mut self) {
        if self.drain.state == DrainState::Serving {
            self.drain.handover.clear();
        }
        let mut handover = std::mem::take(&mut self.drain.handover);
        handover.retain(|(session, node), (version, successors)| {
            successors.retain(|successor| self.roster.contains(successor));
            let held = self.memberships_of(*session).into_iter().find(|held| held.body.node == *node);
            let Some(membership) = held else { return false };
            *version = membership.body.version.min(*version);
            for successor in &*successors {
                self.outbox.put(*successor, true, membership.clone());
            }
            !successors.is_empty()
        });
        self.drain.handover = handover;
        if !self.drain.handover.is_empty() {
            self.timers.no_later(Timer::Handover, self.now.mono + TELL_BACKOFF_MIN);
        }
    }

    pub(crate) fn handed_over(&mut self, source: NodeNumber, ack: &MembershipAck) {
        let key = (ack.session, ack.node);
        let Some((version, successors)) = self.drain.handover.get_mut(&key) else { return };
        if ack.version >= *version {
            successors.remove(&source);
            if successors.is_empty() {
                self.drain.handover.remove(&key);
            }
        }
    }

    /// Goes on to the next state when its time has come; called after every input.
    pub(crate) fn drain_step(&mut self) {
        let now = self.now.mono;
        match self.drain.state {
            DrainState::Serving => {}
            DrainState::Draining => {
                let over = self.drain.deadline.is_some_and(|deadline| now >= deadline);
                let empty = self.sessions.none_own() && self.drain.handover.is_empty();
                if over || empty {
                    self.drain.state = DrainState::Drained;
                    self.drain.drained_at = Some(now);
                    self.output(Output::Drain(DrainState::Drained));
                    self.own_changed(true);
                    self.timers.set(Timer::Originate, now);
                    self.timers.set(Timer::Drain, now + DRAIN_STABLE);
                    // The LSA goes out with this input, not with the next.
                    self.originate();
                }
            }
            DrainState::Drained if !self.drain.stopped => {
                let drained_at = self.drain.drained_at.unwrap_or(now);
                let latest = drained_at + DRAIN_GRACE_MAX;
                let stable = self
                    .drain
                    .announced_at
                    .map(|announced| announced.max(self.routes_changed_at) + DRAIN_STABLE);
                if now >= latest || stable.is_some_and(|stable| now >= stable) {
                    self.drain.stopped = true;
                    self.output(Output::MayStop);
                } else {
                    self.timers.no_later(Timer::Drain, stable.unwrap_or(latest).min(latest));
                }
            }
            DrainState::Drained => {}
        }
    }
}
