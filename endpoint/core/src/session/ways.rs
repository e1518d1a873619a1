//! What becomes of the session when a connection fails, a node falls silent, goes out of service or sends elsewhere
//! \[SES-17\] \[SES-18\] \[SES-19\] \[SES-20\]. Which connection plays which part is the link's.

use std::time::Duration;

use proto_spec::frame::{Attached, Move, Peer};
use proto_spec::ticket::TicketKind;
use proto_spec::{Now, Refusal, Timestamp};

use super::ending::Phase;
use super::link::{Part, Way};
use super::{Endpoint, Output, State};
use crate::attach::Lost;
use crate::config::MOVE_SHUN_MAX;
use crate::event::{Event, Reattachment};
use crate::security::Security;

impl<S: Security> Endpoint<S> {
    // ---- connecting ----

    /// A connection did not come about, or is of no use; `sentence` says why if a user should know.
    pub(super) fn not_connected(&mut self, now: Now, way: Way, sentence: Option<String>) {
        if !self.link.is_connecting(way) {
            return;
        }
        if self.link.attached().is_some() {
            return self.link.spare_failed(now, &mut self.rng, way);
        }
        if let Some(sentence) = sentence {
            self.unreachable = sentence;
        }
        if self.link.is_main(way) {
            self.link_down(now, Duration::ZERO, false);
        } else {
            // The other attempt goes on.
            self.link.spare_failed(now, &mut self.rng, way);
        }
    }

    /// The shell lost a connection.
    pub(super) fn disconnected(&mut self, now: Now, way: Way) {
        match self.link.part(way) {
            Some(Part::Active) => {
                self.unreachable = "the connection to the relay was lost".to_owned();
                self.active_lost(now, now.mono, Duration::ZERO, false);
            }
            Some(Part::Other) => self.link.other_lost(now, &mut self.rng, Duration::ZERO, false),
            Some(Part::Retiring) => self.link.retired(),
            None => {}
        }
    }

    /// A connection is of no more use, by its node's word or silence.
    pub(super) fn lost(&mut self, now: Now, way: Way, lost: Lost) {
        let Some(part) = self.link.part(way) else { return };
        self.outputs.push_back(Output::Disconnect(way));
        if part == Part::Retiring {
            return self.link.retired();
        }
        let seq = self.link.line(way).map(|line| line.client.seq());
        // A later attachment of one's own is no stranger's.
        let overtaken = matches!(lost.fatal(), Some(Refusal::StaleAttachment | Refusal::Superseded))
            && seq.is_some_and(|seq| self.link.is_overtaken(seq));
        if let Some(refusal) = lost.fatal().filter(|_| !overtaken) {
            let word = match refusal {
                Refusal::SessionEnded => "ended",
                Refusal::MemberRemoved => "removed",
                _ => "refused",
            };
            if part == Part::Active || word != "refused" {
                return self.told_end(word, refusal.sentence());
            }
        }
        let mut pause = Duration::ZERO;
        let mut elsewhere = false;
        if let Lost::Refused(error) = &lost {
            pause = Duration::from_millis(u64::from(error.retry_after_ms)).min(self.config.reconnect_max);
            if matches!(error.refusal, Refusal::Draining | Refusal::NodeFull | Refusal::Shed) {
                self.link.shun(now, way, pause);
                elsewhere = self.link.has_free_node(now, part);
            }
        }
        if part == Part::Other {
            return self.link.other_lost(now, &mut self.rng, pause, elsewhere);
        }
        self.unreachable = match lost {
            Lost::Refused(error) => error.refusal.sentence().to_owned(),
            Lost::Violated(error) => {
                format!("the relay broke the protocol ({error}): update the older of the two")
            }
            Lost::Silent => "the relay does not answer".to_owned(),
            Lost::Stuck => "the connection to the relay is stuck".to_owned(),
        };
        self.active_lost(now, now.mono, pause, elsewhere);
    }

    /// The active attachment is no more: the standby takes over \[SES-17\], or a new one is looked for \[SES-12\].
    fn active_lost(&mut self, now: Now, since: Timestamp, pause_min: Duration, elsewhere: bool) {
        if self.link.fail_over(now, since).is_none() {
            return self.link_down(now, pause_min, elsewhere);
        }
        if self.attached_as == Some(TicketKind::Member) {
            self.channels.attached(now.mono);
        }
        self.apply_words(now);
        if let Some(security) = &mut self.security {
            security.reattached(now);
        }
    }

    /// The attachment or the attempt is over; the session goes on and looks for another.
    fn link_down(&mut self, now: Now, pause_min: Duration, elsewhere: bool) {
        self.attached_as = None;
        self.channels.detached();
        self.members.forget_presence();
        if self.link.down(now, &mut self.rng, pause_min, elsewhere) {
            self.without_attachment();
        }
    }

    fn without_attachment(&mut self) {
        self.channels.detached();
        self.members.forget_presence();
        self.members_changed = true;
        self.enter(State::Reconnecting);
    }

    /// Before admission the node names others \[ATT-9\]: the attempt goes there, once \[SES-20\].
    pub(super) fn redirected(&mut self, now: Now, way: Way, addresses: Vec<String>) {
        let Some(part) = self.link.part(way) else { return };
        let admitted = self.link.line(way).is_some_and(|line| line.client.kind().is_some());
        if admitted || part == Part::Retiring {
            return;
        }
        self.outputs.push_back(Output::Disconnect(way));
        if self.link.redirected(now, part, addresses) {
            // A standby may have taken over before its node said so.
            if part == Part::Active && self.attached_as.take().is_some() {
                self.without_attachment();
            }
            return;
        }
        self.link.shun(now, way, Duration::ZERO);
        let elsewhere = self.link.has_free_node(now, part);
        if part == Part::Other {
            return self.link.other_lost(now, &mut self.rng, Duration::ZERO, elsewhere);
        }
        self.unreachable = Refusal::NodeFull.sentence().to_owned();
        self.active_lost(now, now.mono, Duration::ZERO, elsewhere);
    }

    // ---- the second attachment ----

    /// The node of the standby, or of the successor in a move, accepted the ticket.
    pub(super) fn other_attached(&mut self, now: Now, attached: Attached) {
        let moving = self.link.is_moving();
        let Some(line) = self.link.other() else { return };
        line.accepted_at.get_or_insert(now.mono);
        attached.peers.into_iter().for_each(|peer| line.note(peer, false));
        if line.client.round_trip().is_none() {
            line.client.ping(now);
        }
        // A guest is in no fan-out, so no node has to be ready for it.
        if moving && attached.kind == TicketKind::Lobby {
            self.switch(now);
        }
    }

    /// Whether others are there, as the node of this connection says.
    pub(super) fn presence_told(&mut self, now: Now, way: Way, peer: Peer) {
        match self.link.part(way) {
            Some(Part::Active) => self.presence(now, peer),
            Some(Part::Other) => {
                if let Some(line) = self.link.other() {
                    line.note(peer, true);
                }
            }
            Some(Part::Retiring) | None => {}
        }
    }

    /// Takes over what the node of the now active attachment said about others while it was not asked.
    fn apply_words(&mut self, now: Now) {
        let words = self.link.active().map(|line| line.take_words()).unwrap_or_default();
        for (number, active) in words {
            self.members_changed |= self.members.presence(number, active);
            if !active {
                self.channels.member_present(now.mono, number, false);
            }
        }
    }

    /// The session's nodes know an attachment.
    pub(super) fn ready(&mut self, now: Now, way: Way) {
        match self.link.part(way) {
            Some(Part::Active) => {
                let failed_over = self.link.fail_over.is_some();
                self.failed_over(now);
                let fresh = self.link.active().is_some_and(|line| line.accepted_at == Some(now.mono));
                if self.attached_as == Some(TicketKind::Member) && (failed_over || !fresh) {
                    // What was sent to here meanwhile went nowhere.
                    self.channels.way_renewed(now.mono);
                }
            }
            Some(Part::Other) if self.link.is_moving() => self.switch(now),
            _ => {}
        }
    }

    /// A fail-over is known to have worked, or counts as such.
    fn failed_over(&mut self, now: Now) {
        if let Some(over) = self.link.fail_over.take() {
            let how = if over.moved { Reattachment::Moved } else { Reattachment::Standby };
            self.tell_reattached(now.mono.since(over.since), how);
        }
    }

    pub(super) fn tell_reattached(&mut self, gap: Duration, how: Reattachment) {
        let node = self.link.address();
        self.tell(Event::Reattached { gap_ms: gap.as_millis() as u64, how, node });
    }

    // ---- moving ----

    /// A node goes out of service \[ATT-10\] \[SES-19\].
    pub(super) fn told_to_move(&mut self, now: Now, way: Way, to: Move) {
        let time = Duration::from_millis(u64::from(to.deadline_ms));
        match self.link.part(way) {
            Some(Part::Active) => {
                if !self.link.move_away(now, time, to.addresses) {
                    self.outputs.push_back(Output::Disconnect(way));
                    self.unreachable = Refusal::Draining.sentence().to_owned();
                    self.link_down(now, Duration::ZERO, false);
                }
            }
            Some(Part::Other) => {
                self.link.shun(now, way, time.min(MOVE_SHUN_MAX));
                // As long as there is no better one it still does.
                if self.link.has_free_node(now, Part::Other) {
                    self.outputs.push_back(Output::Disconnect(way));
                    self.link.other_lost(now, &mut self.rng, Duration::ZERO, true);
                }
            }
            Some(Part::Retiring) | None => {}
        }
    }

    /// The successor is ready: everything is sent there from now on.
    fn switch(&mut self, now: Now) {
        if let Some(way) = self.link.switch(now) {
            self.outputs.push_back(Output::Disconnect(way));
        }
        self.attached_as = self.link.attached().and_then(|client| client.kind());
        self.channels.switched(now.mono);
        self.apply_words(now);
        self.tell_reattached(Duration::ZERO, Reattachment::Moved);
        if let Some(security) = &mut self.security {
            security.reattached(now);
        }
    }

    // ---- silence ----

    /// A way between nodes has changed: what may have got lost is repeated \[FLW-5\], and it may be the own node that is
    /// gone.
    pub(super) fn path_hinted(&mut self, now: Now) {
        self.channels.path_hinted(now.mono);
        self.link.suspect(now);
    }

    /// When the silence of members makes the own node suspect.
    pub(super) fn suspicion_at(&mut self) -> Option<Timestamp> {
        let from = self.link.may_suspect_at()?;
        self.channels.unheard_at().map(|at| at.max(from))
    }

    /// Fails over if the own node is dead although its connection stands.
    pub(super) fn judge(&mut self, now: Now) {
        if self.is_over() {
            return;
        }
        let Some(since) = self.link.judge(now) else { return };
        let dead = self.link.active().map(|line| line.way);
        self.outputs.extend(dead.map(Output::Disconnect));
        self.unreachable = "the relay does not answer".to_owned();
        self.active_lost(now, since, Duration::ZERO, false);
        self.settle(now);
    }

    pub(super) fn ways_timeout(&mut self, now: Now) {
        if let Some(way) = self.link.retiring_due(now) {
            self.outputs.push_back(Output::Disconnect(way));
        }
        if self.link.is_move_due(now) {
            if self.link.other().is_some_and(|line| line.accepted_at.is_some()) {
                self.switch(now);
            } else {
                self.link.give_up_moving();
            }
        }
        if self.link.fail_over.as_ref().is_some_and(|over| over.deadline <= now.mono) {
            self.failed_over(now);
        }
        if matches!(self.phase, Phase::Live) && self.suspicion_at().is_some_and(|at| at <= now.mono) {
            self.link.suspect(now);
        }
        self.judge(now);
    }
}
