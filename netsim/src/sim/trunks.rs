//! Connections between nodes: how they come up, how each end learns that they are gone.
//!
//! ```text
//!  dial ──5 ways──► up ──┬─ reset, killed process ──► the other end knows after one way
//!                        ├─ silence of one direction ─► its listener gives up after DETECTION and resets
//!                        ├─ a segment lost too often ─► the same: all that is said behind it waits for it
//!                        └─ silence of both ──────────► each end gives up by itself
//! ```
//! The ends of a trunk know of its death at different times; until then what they say is held back or lost.

use std::time::Duration;

use proto_spec::{NodeNumber, Timestamp};
use sealcast_mesh::Input;
use sealcast_mesh::config::CLOCK_LEEWAY;

use super::authority::signer;
use super::network::{Lane, TRUNK_BYTES_PER_S, pair};
use super::world::{Event, World};

/// How long silence takes to be noticed: 600 ms and a heartbeat.
pub const DETECTION: Duration = Duration::from_millis(750);
/// One-way trips until both ends have proven themselves: TCP, TLS, the second connection.
const SETUP_WAYS: u32 = 5;
/// Whoever dials a node that is busier than this gives up.
const DIAL_MAX: Duration = Duration::from_secs(5);
/// Between two measurements of a round trip; and in the light profile, where nothing is sent that would change it.
const RTT_INTERVAL: Duration = Duration::from_secs(3);
const RTT_INTERVAL_LIGHT: Duration = Duration::from_secs(30);

/// A connection between two nodes; index 0 is the lower number's end, or what it says.
pub struct Trunk {
    /// Which connection of the pair.
    pub(super) id: u64,
    /// Whether each end takes it for alive.
    pub(super) up: [bool; 2],
    lanes: [Lane; 2],
    /// Since when nothing that an end says is heard.
    pub(super) quiet: [Option<Timestamp>; 2],
    /// When each end last said something; kept up for nodes that take their time alone.
    pub(super) said_at: [Timestamp; 2],
    /// What was said since; heard if the silence ends in time.
    held: [Vec<Event>; 2],
}

impl Trunk {
    /// Whether both ends take it for alive and hear each other.
    pub fn is_whole(&self) -> bool {
        self.up == [true; 2] && self.quiet == [None; 2]
    }
}

/// The index of an end.
pub(super) fn end(at: NodeNumber, peer: NodeNumber) -> usize {
    usize::from(at > peer)
}

impl World {
    pub(super) fn dial(&mut self, from: NodeNumber, to: NodeNumber) {
        let possible =
            from != to && self.is_awake(to) && self.network.joined(from, to) && self.plan.may_link(from, to);
        let queued = self.delay_at(from) + self.delay_at(to);
        if possible && queued < DIAL_MAX {
            let boots = (self.hosts[&from].boot, self.hosts[&to].boot);
            let setup = self.network.latency(from, to) * SETUP_WAYS + queued;
            self.schedule(setup, Event::Up { a: from, b: to, boots });
        }
    }

    pub(super) fn up(&mut self, a: NodeNumber, b: NodeNumber, boots: (u64, u64)) {
        let stands = |number: NodeNumber, boot| self.is_awake(number) && self.hosts[&number].boot == boot;
        if !stands(a, boots.0) || !stands(b, boots.1) || !self.network.joined(a, b) {
            return;
        }
        if self.revoked_at(b, a) && !self.revoked_at(a, b) {
            // The alert of TLS: who dialled has seen the other's certificate before.
            return self.input(a, Input::CalledRevoked { by: b });
        }
        self.tell_clocks(a, b);
        if self.refuse(a, b) {
            return;
        }
        let key = pair(a, b);
        if let Some(old) = self.trunks.get(&key) {
            if old.up == [true; 2] {
                return;
            }
            // One end has not noticed yet that it is gone.
            for (at, peer) in [(a, b), (b, a)] {
                self.end_here(at, peer);
            }
            self.trunks.remove(&key);
        }
        let id = self.next_id();
        let trunk = Trunk {
            id,
            up: [true; 2],
            lanes: Default::default(),
            quiet: [None; 2],
            said_at: [self.now; 2],
            held: Default::default(),
        };
        self.trunks.insert(key, trunk);
        self.changed_at = self.now;
        for (at, peer) in [(a, b), (b, a)] {
            let peer_is = signer(&self.hosts[&peer].identity);
            self.input(at, Input::LinkUp { peer: peer_is });
            let way = self.network.latency(a, b);
            self.schedule(way, Event::Rtt { at, peer, trunk: id });
        }
    }

    /// Each end is told how far the other's clock is ahead \[TRK-11\].
    fn tell_clocks(&mut self, a: NodeNumber, b: NodeNumber) {
        let ahead_ms = self.hosts[&b].wall_offset_ms - self.hosts[&a].wall_offset_ms;
        self.input(a, Input::Clock { peer: b, offset_ms: ahead_ms });
        self.input(b, Input::Clock { peer: a, offset_ms: -ahead_ms });
    }

    /// What the shells refuse: clocks too far apart, a certificate that is revoked.
    fn refuse(&self, a: NodeNumber, b: NodeNumber) -> bool {
        let (one, other) = (&self.hosts[&a], &self.hosts[&b]);
        let apart_ms = one.wall_offset_ms.abs_diff(other.wall_offset_ms);
        u128::from(apart_ms) > CLOCK_LEEWAY.as_millis() || self.revoked_at(a, b) || self.revoked_at(b, a)
    }

    /// Whether the list in force at one node names another's certificate.
    fn revoked_at(&self, at: NodeNumber, other: NodeNumber) -> bool {
        self.hosts[&at].revoked.contains(&self.hosts[&other].identity.certificate)
    }

    /// Neighbours by connections that this end takes for alive.
    pub(crate) fn trunk_peers(&self, at: NodeNumber) -> Vec<NodeNumber> {
        let peers = self.trunks.iter().filter_map(|((a, b), trunk)| {
            let peer = if *a == at {
                *b
            } else if *b == at {
                *a
            } else {
                return None;
            };
            trunk.up[end(at, peer)].then_some(peer)
        });
        peers.collect()
    }

    /// One end takes the connection for dead from now on, and says so to the other if that hears it.
    pub(super) fn end_here(&mut self, at: NodeNumber, peer: NodeNumber) {
        let Some(id) = self.take_down(at, peer) else { return };
        self.changed_at = self.now;
        self.input(at, Input::LinkDown { peer });
        self.tell_the_other_end(at, peer, id);
    }

    /// Marks an end as down; the connection's id if it was up.
    fn take_down(&mut self, at: NodeNumber, peer: NodeNumber) -> Option<u64> {
        let key = pair(at, peer);
        let trunk = self.trunks.get_mut(&key)?;
        if !std::mem::replace(&mut trunk.up[end(at, peer)], false) {
            return None;
        }
        let id = trunk.id;
        if trunk.up == [false; 2]
            && let Some(gone) = self.trunks.remove(&key)
        {
            // Nobody listens any more; what was held back is counted as lost where it would have arrived.
            for event in gone.held.into_iter().flatten() {
                self.schedule(Duration::ZERO, event);
            }
        }
        Some(id)
    }

    /// The end at `at` is down: the other hears of it, or has to notice by itself.
    fn tell_the_other_end(&mut self, at: NodeNumber, peer: NodeNumber, id: u64) {
        if !self.trunks.contains_key(&pair(at, peer)) {
            return;
        }
        if self.network.hears(at, peer) && !self.hosts[&at].paused {
            let way = self.network.latency(at, peer);
            self.down(peer, at, id, way);
        }
        self.fall_silent(at, peer);
    }

    /// A node closes a trunk with a reason: what it said before still arrives.
    pub(super) fn close_trunk(&mut self, at: NodeNumber, peer: NodeNumber) {
        self.changed_at = self.now;
        let Some(last) =
            self.trunks.get(&pair(at, peer)).map(|trunk| trunk.lanes[end(at, peer)].arrives_at())
        else {
            return;
        };
        let Some(id) = self.take_down(at, peer) else { return };
        if !self.trunks.contains_key(&pair(at, peer)) {
            return;
        }
        if self.network.hears(at, peer) {
            let way = self.network.latency(at, peer).max(last.since(self.now));
            self.down(peer, at, id, way);
        }
        self.fall_silent(at, peer);
    }

    /// The process is gone: every neighbour sees a reset, or silence.
    pub(super) fn trunks_of_the_dead(&mut self, number: NodeNumber) {
        for peer in self.trunk_peers(number) {
            if let Some(id) = self.take_down(number, peer) {
                self.tell_the_other_end(number, peer, id);
            }
        }
    }

    /// The end at `at` learns after a while that the connection is gone.
    pub(super) fn down(&mut self, at: NodeNumber, peer: NodeNumber, trunk: u64, after: Duration) {
        let boot = self.hosts[&at].boot;
        self.schedule(after, Event::Down { at, peer, trunk, boot });
    }

    pub(super) fn went_down(&mut self, at: NodeNumber, peer: NodeNumber, trunk: u64) {
        if self.trunks.get(&pair(at, peer)).is_some_and(|found| found.id == trunk) {
            self.end_here(at, peer);
        }
    }

    /// Nothing that `from` says to `to` is heard from now on.
    pub(super) fn fall_silent(&mut self, from: NodeNumber, to: NodeNumber) {
        let now = self.now;
        let Some(trunk) = self.trunks.get_mut(&pair(from, to)) else { return };
        if trunk.up[end(to, from)] && trunk.quiet[end(from, to)].is_none() {
            trunk.quiet[end(from, to)] = Some(now);
            let id = trunk.id;
            self.schedule(DETECTION, Event::Silent { at: to, speaker: from, trunk: id, since: now });
        }
    }

    /// It is heard again, if nobody has given up: what was said meanwhile arrives now.
    pub(super) fn speak_again(&mut self, from: NodeNumber, to: NodeNumber) {
        if !self.network.hears(from, to) || self.hosts[&from].paused {
            return;
        }
        let speaker = end(from, to);
        let Some(trunk) = self.trunks.get_mut(&pair(from, to)) else { return };
        if !trunk.up[speaker] {
            return;
        }
        trunk.quiet[speaker] = None;
        let held = std::mem::take(&mut trunk.held[speaker]);
        for event in held {
            self.say(from, to, 0, event);
        }
    }

    /// The listener has heard nothing for too long, if the silence is still the same.
    pub(super) fn silent(&mut self, at: NodeNumber, speaker: NodeNumber, trunk: u64, since: Timestamp) {
        let still = self.trunks.get(&pair(at, speaker)).is_some_and(|found| {
            found.id == trunk && found.up[end(at, speaker)] && found.quiet[end(speaker, at)] == Some(since)
        });
        if still {
            self.tell(|| format!("{at} hears no more of {speaker}"));
            self.end_here(at, speaker);
        }
    }

    /// Puts something on the connection between two nodes, if there is one that the speaker takes for alive.
    pub(super) fn say(&mut self, from: NodeNumber, to: NodeNumber, bytes: usize, event: Event) {
        let transit = self.network.transit(from, to);
        if transit.is_none() {
            self.fall_silent(from, to);
        }
        let (now, speaker) = (self.now, end(from, to));
        let Some(trunk) = self.trunks.get_mut(&pair(from, to)) else { return };
        if !trunk.up[speaker] {
            return;
        }
        let Some(transit) = transit.filter(|_| trunk.quiet[speaker].is_none()) else {
            return trunk.held[speaker].push(event);
        };
        trunk.said_at[speaker] = now;
        let at = trunk.lanes[speaker].send(now, bytes, Some(TRUNK_BYTES_PER_S), transit);
        self.schedule_at(at, event);
    }

    /// The connection that `from` would use, if it takes one for alive.
    pub(super) fn trunk_id(&self, from: NodeNumber, to: NodeNumber) -> Option<u64> {
        let trunk = self.trunks.get(&pair(from, to))?;
        trunk.up[end(from, to)].then_some(trunk.id)
    }

    /// Whether what arrives on this connection is still looked at.
    pub(super) fn listens(&self, at: NodeNumber, from: NodeNumber, id: u64) -> bool {
        self.trunks.get(&pair(at, from)).is_some_and(|trunk| trunk.id == id && trunk.up[end(at, from)])
    }

    pub(super) fn measure(&mut self, at: NodeNumber, peer: NodeNumber, trunk: u64) {
        if self.listens(at, peer, trunk) {
            if self.trunks[&pair(at, peer)].is_whole()
                && let Some(there) = self.network.transit(at, peer)
                && let Some(back) = self.network.transit(peer, at)
            {
                // Both ends look at it when they come to it.
                let rtt = there + back + self.delay_at(at) + self.delay_at(peer);
                self.input(at, Input::LinkRtt { peer, rtt_us: rtt.as_micros() as u32 });
            }
            let interval = if self.plan.light { RTT_INTERVAL_LIGHT } else { RTT_INTERVAL };
            self.schedule(interval, Event::Rtt { at, peer, trunk });
        }
    }

    /// Nothing that `from` says is heard by `to` any more, or again.
    pub fn set_silence(&mut self, from: NodeNumber, to: NodeNumber, silent: bool) {
        if from == to || self.network.hears(from, to) != silent {
            return;
        }
        self.network.set_muted(from, to, silent);
        self.changed_at = self.now;
        if silent { self.fall_silent(from, to) } else { self.speak_again(from, to) }
    }

    /// Separates two nodes in silence, or joins them again.
    pub fn set_cut(&mut self, a: NodeNumber, b: NodeNumber, cut: bool) {
        self.set_silence(a, b, cut);
        self.set_silence(b, a, cut);
    }

    /// Separates these nodes from all others.
    pub fn partition(&mut self, side: &[NodeNumber]) {
        for a in side {
            for b in self.numbers().into_iter().filter(|b| !side.contains(b)) {
                self.set_cut(*a, b, true);
            }
        }
    }

    /// Everybody hears everybody, and no line is slow or lossy.
    pub fn heal(&mut self) {
        self.network.clear_lines();
        for (from, to) in self.network.muted().clone() {
            self.set_silence(from, to, false);
        }
    }
}
