//! The ways to the mesh: an attachment that is used, one that stands by on another node, and the attempts to make them
//! \[SES-12\] \[SES-16\].
//!
//! ```text
//!            main attempt                 spare attempt
//!  down --(pause over: Connect)--> active   standby --(active lost: activate)--> active
//!   ^------(failed, lost alone)------/ \--(move: ready elsewhere)--> retiring --(closed)--> gone
//! ```
//! Owns connections by role, the count of attachments, the pauses between attempts and the suspicion that a node is dead;
//! what travels is the session's.

mod attempt;
mod suspicion;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use proto_spec::frame::{Attached, Peer, PeerState};
use proto_spec::{AttachSeq, Now, SenderNumber, Timestamp};
use rand_chacha::ChaCha20Rng;

use super::nodes::{Nodes, Reached};
use crate::attach::{AttachClient, AttachEvent};
use crate::config::{
    BACK_OFF_MAX, FIRST_CONNECT_MAX, LASTING_MIN, MOVE_BACK_OFF_MAX, MOVE_MAX, MOVE_SHUN_MAX, READY_MAX,
    RETIRING_MAX, STANDBY_BACK_OFF_MAX,
};
use attempt::Attempt;
use suspicion::Suspicions;

/// Names one connection to a node, from the request to connect on; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Way(u32);

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a connection is used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// Everything is sent here.
    Active,
    /// Stands by, or is about to take over in a move.
    Other,
    /// Was active until a move; still received from.
    Retiring,
}

/// One connection with its node.
pub(super) struct Line {
    pub(super) way: Way,
    pub(super) node: Reached,
    pub(super) client: AttachClient,
    /// When the node accepted it.
    pub(super) accepted_at: Option<Timestamp>,
    /// When it is closed at the latest, once another took its place in a move.
    pub(super) retires_at: Option<Timestamp>,
    /// The node's word on others: from the frame that admitted, or from later ones.
    words: BTreeMap<SenderNumber, (PeerState, bool)>,
}

impl Line {
    fn new(way: Way, node: Reached, client: AttachClient) -> Line {
        Line { way, node, client, accepted_at: None, retires_at: None, words: BTreeMap::new() }
    }

    /// What the node says about others while it is not the one that counts.
    pub(super) fn note(&mut self, peer: Peer, changed: bool) {
        if self.words.len() < Attached::PEERS_MAX || self.words.contains_key(&peer.number) {
            self.words.insert(peer.number, (peer.state, changed));
        }
    }

    /// Members that the node shows as attached, and those that it said have gone since.
    pub(super) fn take_words(&mut self) -> Vec<(SenderNumber, bool)> {
        let words = std::mem::take(&mut self.words).into_iter();
        words
            .filter(|(_, (state, changed))| *changed || *state == PeerState::Active)
            .map(|(number, (state, _))| (number, state == PeerState::Active))
            .collect()
    }
}

/// What to connect to.
pub(super) struct Connect {
    pub(super) way: Way,
    pub(super) preferred: Vec<String>,
    pub(super) avoid: Vec<String>,
}

/// What a new connection becomes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Active,
    Standby,
    /// In a move: becomes active as soon as it is ready.
    Successor,
}

/// A fail-over that is not known to have worked.
pub(super) struct FailOver {
    /// Since when the node before was not heard.
    pub(super) since: Timestamp,
    pub(super) deadline: Timestamp,
    /// Whether it happened in a move.
    pub(super) moved: bool,
}

pub(super) struct Link {
    active: Option<Line>,
    other: Option<Line>,
    retiring: Option<Line>,
    main: Attempt,
    spare: Attempt,
    nodes: Nodes,
    last_way: u32,
    seq: u64,
    /// Since when there is no attachment that the node accepted.
    without_since: Option<Timestamp>,
    /// Whether it came back at once to an attachment that did not last either.
    returned: bool,
    attached_once: bool,
    give_up_after: Duration,
    /// Until when the active node's word to move may wait for another to be ready.
    moving_until: Option<Timestamp>,
    suspicions: Suspicions,
    pub(super) fail_over: Option<FailOver>,
}

impl Link {
    /// Wants to connect at once; gives up after so long without an attachment.
    pub(super) fn new(now: Now, nodes: Nodes, give_up_after: Duration) -> Link {
        let mut main = Attempt::default();
        main.wait_until(now.mono);
        Link {
            active: None,
            other: None,
            retiring: None,
            main,
            spare: Attempt::default(),
            nodes,
            last_way: 0,
            seq: 0,
            without_since: Some(now.mono),
            returned: false,
            attached_once: false,
            give_up_after,
            moving_until: None,
            suspicions: Suspicions::default(),
            fail_over: None,
        }
    }

    // ---- getters ----

    /// The attachment that everything is sent on.
    pub(super) fn client(&mut self) -> Option<&mut AttachClient> {
        self.active.as_mut().map(|line| &mut line.client)
    }

    /// As [`Link::client`].
    pub(super) fn attached(&self) -> Option<&AttachClient> {
        self.active.as_ref().map(|line| &line.client)
    }

    /// The active attachment.
    pub(super) const fn active(&mut self) -> Option<&mut Line> {
        self.active.as_mut()
    }

    /// The standby, or the successor in a move.
    pub(super) const fn other(&mut self) -> Option<&mut Line> {
        self.other.as_mut()
    }

    /// The address of the active attachment's node.
    pub(super) fn address(&self) -> Option<String> {
        self.active.as_ref().map(|line| line.node.address.clone())
    }

    pub(super) fn part(&self, way: Way) -> Option<Part> {
        let is = |line: &Option<Line>| line.as_ref().is_some_and(|line| line.way == way);
        if is(&self.active) {
            Some(Part::Active)
        } else if is(&self.other) {
            Some(Part::Other)
        } else {
            is(&self.retiring).then_some(Part::Retiring)
        }
    }

    pub(super) fn line(&mut self, way: Way) -> Option<&mut Line> {
        self.lines().find(|line| line.way == way)
    }

    /// All connections.
    pub(super) fn lines(&mut self) -> impl Iterator<Item = &mut Line> {
        self.active.iter_mut().chain(&mut self.other).chain(&mut self.retiring)
    }

    /// The next thing that a connection tells; the active one's first.
    pub(super) fn poll_event(&mut self) -> Option<(Way, AttachEvent)> {
        self.lines().find_map(|line| Some((line.way, line.client.poll_event()?)))
    }

    pub(super) fn is_connecting(&self, way: Way) -> bool {
        self.main.is_connecting(way) || self.spare.is_connecting(way)
    }

    /// Whether there is an attachment that a node has accepted.
    pub(super) const fn is_accepted(&self) -> bool {
        self.without_since.is_none()
    }

    /// Whether the active node said to move, and that is not done.
    pub(super) const fn is_moving(&self) -> bool {
        self.moving_until.is_some()
    }

    /// Whether a node other than the active one is known at all.
    pub(super) fn knows_others(&self, now: Now) -> bool {
        self.nodes.others_at(now.mono, self.used()).is_some()
    }

    /// Whether a node is known that has not refused, for the active attachment or for one beside it.
    pub(super) fn has_free_node(&self, now: Now, part: Part) -> bool {
        let used = self.used().filter(|_| part != Part::Active);
        self.nodes.has_others(now.mono, used)
    }

    /// Whether this is the attempt for the active attachment.
    pub(super) fn is_main(&self, way: Way) -> bool {
        self.main.is_connecting(way)
    }

    // ---- connecting ----

    /// What to connect to, if it is time.
    pub(super) fn connect_due(&mut self, now: Now, rng: &mut ChaCha20Rng) -> Option<Connect> {
        if self.active.is_none() {
            self.main.due_at().filter(|at| *at <= now.mono)?;
            let way = self.next_way();
            let mut preferred = self.main.connect(way);
            preferred.extend(self.nodes.addresses(now.mono, None));
            let free = self.nodes.has_others(now.mono, None);
            let avoid = if free { self.nodes.avoided(now.mono, None) } else { Vec::new() };
            return Some(Connect { way, preferred, avoid });
        }
        if !self.wants_other() {
            if self.spare.due_at().is_some() {
                self.spare.rest();
            }
            return None;
        }
        let free_at = self.nodes.others_at(now.mono, self.used())?;
        if self.spare.state == attempt::State::Idle {
            self.spare.back_off(now.mono, rng, Duration::ZERO, STANDBY_BACK_OFF_MAX);
        }
        let due_at = self.spare.due_at()?;
        if due_at < free_at {
            self.spare.wait_until(free_at);
        }
        if due_at.max(free_at) > now.mono {
            return None;
        }
        let used = self.used();
        let (others, avoid) = (self.nodes.addresses(now.mono, used), self.nodes.avoided(now.mono, used));
        let way = self.next_way();
        let mut preferred = self.spare.connect(way);
        preferred.extend(others);
        preferred.retain(|address| !avoid.contains(address));
        Some(Connect { way, preferred, avoid })
    }

    /// What a connection that stands becomes; `None` if it is of no use: the node is in use already, or nobody asked
    /// for it.
    pub(super) fn place(&mut self, way: Way, node: &Reached) -> Option<Place> {
        if !self.is_connecting(way) {
            return None;
        }
        self.nodes.reached(node);
        match (&self.active, &self.other) {
            (None, _) => Some(Place::Active),
            (Some(active), None) if active.node.certificate != node.certificate => {
                Some(if self.is_moving() { Place::Successor } else { Place::Standby })
            }
            (Some(_), _) => None,
        }
    }

    /// The number of the attachment that begins: one more than any before, whatever became of them \[SES-12\].
    pub(super) fn next_seq(&mut self) -> AttachSeq {
        self.seq += 1;
        AttachSeq(self.seq)
    }

    /// Whether a later attempt was given a higher sequence.
    pub(super) fn is_overtaken(&self, seq: AttachSeq) -> bool {
        seq < AttachSeq(self.seq)
    }

    /// Uses a connection as [`Link::place`] said.
    pub(super) fn up(&mut self, way: Way, node: Reached, client: AttachClient, place: Place) {
        let by_main = self.main.is_connecting(way);
        if by_main { &mut self.main } else { &mut self.spare }.rest();
        let line = Some(Line::new(way, node, client));
        match place {
            Place::Active => self.active = line,
            Place::Standby | Place::Successor => self.other = line,
        }
    }

    /// The node accepted the ticket of the active attachment; returns how long there was none, `None` if it was
    /// accepted already or for the first time.
    pub(super) fn accepted(&mut self, now: Now) -> Option<Duration> {
        let since = self.without_since.take();
        if let Some(line) = &mut self.active {
            line.accepted_at.get_or_insert(now.mono);
        }
        let again = std::mem::replace(&mut self.attached_once, true);
        since.filter(|_| again).map(|since| now.mono.since(since))
    }

    /// An attempt came to nothing that was not, or is not any more, for the active attachment.
    pub(super) fn spare_failed(&mut self, now: Now, rng: &mut ChaCha20Rng, way: Way) {
        if self.main.is_connecting(way) || self.active.is_none() {
            if self.is_main(way) { &mut self.main } else { &mut self.spare }.rest();
        } else {
            self.pause_spare(now, rng, Duration::ZERO, false);
        }
    }

    /// The standby or successor is lost; `at_once`: others are tried without a pause.
    pub(super) fn other_lost(&mut self, now: Now, rng: &mut ChaCha20Rng, pause_min: Duration, at_once: bool) {
        self.suspicions.drop();
        let lost = self.other.take();
        if let Some(line) = &lost {
            self.nodes.lost(now.mono, &line.node, self.active.as_ref().map(|active| &active.node));
        }
        let lasted = lost.and_then(|line| line.accepted_at);
        if lasted.is_some_and(|at| now.mono.since(at) >= LASTING_MIN) {
            self.spare.succeeded();
        }
        self.pause_spare(now, rng, pause_min, at_once);
    }

    fn pause_spare(&mut self, now: Now, rng: &mut ChaCha20Rng, pause_min: Duration, at_once: bool) {
        // In a move nobody waits longer than has to be.
        let max = if self.is_moving() { MOVE_BACK_OFF_MAX } else { STANDBY_BACK_OFF_MAX };
        if at_once {
            self.spare.wait_until(now.mono);
        } else {
            self.spare.back_off(now.mono, rng, pause_min, max);
        }
    }

    /// The active connection or an attempt for one is gone, and nothing takes its place; `pause_min` is what the node
    /// asked for, `elsewhere` whether others are tried at once. Whether an accepted attachment was lost by it.
    pub(super) fn down(
        &mut self,
        now: Now,
        rng: &mut ChaCha20Rng,
        pause_min: Duration,
        elsewhere: bool,
    ) -> bool {
        let was_accepted = self.without_since.is_none();
        self.without_since.get_or_insert(now.mono);
        self.moving_until = None;
        self.fail_over = None;
        self.suspicions.drop();
        let lasted = self.active.take().and_then(|line| line.accepted_at);
        if lasted.is_some_and(|at| now.mono.since(at) >= LASTING_MIN) {
            self.main.succeeded();
            self.returned = false;
        }
        // Once: a node that accepts and drops each time must not be stormed.
        let at_once = was_accepted && pause_min.is_zero() && !std::mem::replace(&mut self.returned, true);
        if at_once || elsewhere {
            self.main.wait_until(now.mono);
        } else {
            self.main.back_off(now.mono, rng, pause_min, BACK_OFF_MAX);
        }
        was_accepted
    }

    /// A node that has accepted nothing names others \[SES-20\]: whether they are tried at once.
    pub(super) fn redirected(&mut self, now: Now, part: Part, addresses: Vec<String>) -> bool {
        self.nodes.named(&addresses);
        match part {
            Part::Active => {
                self.without_since.get_or_insert(now.mono);
                let followed = self.main.redirected(now.mono, addresses);
                if followed {
                    self.active = None;
                }
                followed
            }
            Part::Other => {
                let followed = self.spare.redirected(now.mono, addresses);
                if followed {
                    self.other = None;
                }
                followed
            }
            Part::Retiring => false,
        }
    }

    /// The node of a connection is left out while others are known.
    pub(super) fn shun(&mut self, now: Now, way: Way, time: Duration) {
        if let Some(node) = self.line(way).map(|line| line.node.clone()) {
            self.nodes.shun(now.mono, &node, time);
        }
    }

    // ---- fail-over and move ----

    /// The active attachment is lost: another takes its place at once \[SES-17\], and what waited goes there. The lost
    /// connection, or `None` if there is no other.
    pub(super) fn fail_over(&mut self, now: Now, since: Timestamp) -> Option<Way> {
        let mut lost = self.active.take_if(|_| self.other.is_some())?;
        let mut line = self.other.take()?;
        if line.client.is_standby() {
            let seq = self.next_seq();
            line.client.activate(seq);
        }
        for (header, packet) in lost.client.take_waiting() {
            line.client.send(header, packet);
        }
        self.nodes.lost(now.mono, &lost.node, Some(&line.node));
        let moved = self.moving_until.take().is_some();
        self.fail_over = Some(FailOver { since, deadline: now.mono + READY_MAX, moved });
        self.took_over(line);
        Some(lost.way)
    }

    /// The active node goes out of service within `time`: activates the standby, or looks for a successor \[SES-19\].
    /// `false` where no other node is known.
    pub(super) fn move_away(&mut self, now: Now, time: Duration, addresses: Vec<String>) -> bool {
        self.nodes.named(&addresses);
        let Some(active) = &self.active else { return false };
        if !self.knows_others(now) {
            return false;
        }
        self.nodes.shun(now.mono, &active.node, time.min(MOVE_SHUN_MAX));
        let again = self.moving_until.replace(now.mono + time.min(MOVE_MAX)).is_some();
        if again {
            return true;
        }
        if self.other.as_ref().is_some_and(|line| line.client.is_standby()) {
            let seq = self.next_seq();
            if let Some(line) = &mut self.other {
                line.client.activate(seq);
            }
        } else if self.other.is_none() && !matches!(self.spare.state, attempt::State::Connecting(_)) {
            self.spare.try_first(now.mono, addresses);
        }
        true
    }

    /// The time to move is over.
    pub(super) fn is_move_due(&self, now: Now) -> bool {
        self.moving_until.is_some_and(|until| until <= now.mono)
    }

    /// Nothing came of a move: the active attachment is used until its node ends it.
    pub(super) const fn give_up_moving(&mut self) {
        self.moving_until = None;
    }

    /// The successor takes over; the attachment before says goodbye behind what waits for it, and is still received
    /// from. Returns a connection that is of no more use.
    pub(super) fn switch(&mut self, now: Now) -> Option<Way> {
        let line = self.other.take()?;
        let before = self.active.take().map(|mut before| {
            before.client.detach();
            before.retires_at = Some(now.mono + RETIRING_MAX);
            before
        });
        self.moving_until = None;
        self.took_over(line);
        std::mem::replace(&mut self.retiring, before).map(|line| line.way)
    }

    /// The attachment that was active before a move is closed.
    pub(super) fn retired(&mut self) {
        self.retiring = None;
    }

    /// The attachment that was active before a move has had its time.
    pub(super) fn retiring_due(&mut self, now: Now) -> Option<Way> {
        let due = |line: &mut Line| line.retires_at.is_some_and(|at| at <= now.mono);
        self.retiring.take_if(due).map(|line| line.way)
    }

    /// There is a reason to think that the active node is dead \[SES-18\].
    pub(super) fn suspect(&mut self, now: Now) {
        if let (Some(active), Some(standby)) = (&mut self.active, &mut self.other)
            && standby.accepted_at.is_some()
        {
            self.suspicions.raise(now, active, standby);
        }
    }

    /// From when on the active node may be suspected because members stay silent; `None` without a standby, or while
    /// it is suspected.
    pub(super) fn may_suspect_at(&self) -> Option<Timestamp> {
        self.other.as_ref().filter(|line| line.accepted_at.is_some())?;
        self.suspicions.may_raise_at()
    }

    /// Whether the active node is dead although its connection stands; since when it was not heard.
    pub(super) fn judge(&mut self, now: Now) -> Option<Timestamp> {
        if self.suspicions.is_due(now) {
            self.suspect(now);
        }
        let (Some(active), Some(standby)) = (&self.active, &self.other) else { return None };
        self.suspicions.judge(now, active, standby).then(|| active.client.heard_at())
    }

    /// Says goodbye to every node.
    pub(super) fn detach(&mut self) {
        self.lines().for_each(|line| line.client.detach());
    }

    // ---- time ----

    /// Whether to stop trying \[SES-13\].
    pub(super) fn is_hopeless(&self, now: Now) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now.mono)
    }

    /// `trying`: whether another attempt is wanted at all; nobody waits for one while the session takes leave.
    pub(super) fn poll_timeout(&self, trying: bool) -> Option<Timestamp> {
        let attempts = match &self.active {
            None => self.main.due_at(),
            Some(_) if self.wants_other() => self.spare.due_at(),
            Some(_) => None,
        };
        let tries = attempts.into_iter().chain(self.deadline()).filter(|_| trying);
        let lines = self.active.iter().chain(&self.other).chain(&self.retiring);
        let own = [
            self.moving_until,
            self.fail_over.as_ref().map(|over| over.deadline),
            self.retiring.as_ref().and_then(|line| line.retires_at),
            self.suspicions.poll_timeout(),
        ];
        tries
            .chain(lines.filter_map(|line| line.client.poll_timeout()))
            .chain(own.into_iter().flatten())
            .min()
    }

    fn deadline(&self) -> Option<Timestamp> {
        let limit =
            if self.attached_once { self.give_up_after } else { FIRST_CONNECT_MAX.min(self.give_up_after) };
        self.without_since.map(|since| since + limit)
    }

    fn took_over(&mut self, line: Line) {
        self.active = Some(line);
        self.spare.succeeded();
        self.spare.rest();
        self.suspicions.drop();
    }

    /// Whether a second attachment is wanted and none is there: for a member always, for a guest in a move.
    fn wants_other(&self) -> bool {
        let member =
            |line: &Line| line.accepted_at.is_some() && (self.is_moving() || line.client.is_member());
        self.other.is_none() && self.active.as_ref().is_some_and(member)
    }

    fn next_way(&mut self) -> Way {
        self.last_way += 1;
        Way(self.last_way)
    }

    fn used(&self) -> Option<&Reached> {
        self.active.as_ref().map(|line| &line.node)
    }
}

#[cfg(test)]
mod tests;
