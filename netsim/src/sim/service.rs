//! A node's time for its work: what reaches it is done one after the other, and each message takes its time.
//!
//! ```text
//!  message, unit, bytes, heartbeat ──► queue ──service time each──► the core, at last
//!  timers and news of connections ───► wait behind them, and cost nothing
//! ```
//! A node without a service time has no queue here, which is how all nodes are unless a scenario says otherwise. One that
//! has one says its heartbeats through its queue as well: who falls so far behind that a neighbour hears nothing in
//! time is taken for dead, and comes back. Never decides what a core would decide.

use std::time::Duration;

use proto_spec::{NodeNumber, Timestamp};

use super::network::pair;
use super::trunks::end;
use super::world::{Event, World};

/// What a message costs a slow node that has no service time of its own, in microseconds.
const SERVICE_US: u64 = 100;
/// Messages that wait at a node; for more no socket has room, and the connection that brings one breaks.
const WAITING_MAX: usize = 16_384;
/// A trunk is given a byte this often.
const BEAT: Duration = Duration::from_millis(150);
/// And is dead if it had none for so long.
const DEAF: Duration = Duration::from_millis(600);

/// A node's queue.
#[derive(Clone, Copy, Debug, Default)]
pub struct Service {
    own_us: u64,
    /// So many times as long as usual.
    times: u64,
    busy_until: Timestamp,
    waiting: usize,
    /// Whether heartbeats are planned.
    beats: bool,
}

impl Service {
    /// Each message takes so long; 0 for no time at all.
    pub(super) fn new(own_us: u64) -> Service {
        Service { own_us, times: 1, ..Service::default() }
    }

    /// What one message takes now.
    pub fn takes(&self) -> Duration {
        let us = if self.own_us == 0 && self.times > 1 { SERVICE_US } else { self.own_us };
        Duration::from_micros(us * self.times)
    }

    /// Whether it is slower than it should be.
    pub const fn is_slow(&self) -> bool {
        self.times > 1
    }

    /// Whether what reaches it may have to wait.
    pub(super) const fn is_at_work(&self) -> bool {
        self.own_us > 0 || self.times > 1 || self.waiting > 0
    }

    /// Messages that wait.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// What came before a process's start is gone with the one before it.
    pub(super) fn restart(&mut self) {
        *self = Service { own_us: self.own_us, times: self.times, ..Service::default() };
    }
}

impl Event {
    /// Whether the node has work with it.
    const fn is_work(&self) -> bool {
        matches!(
            self,
            Event::Message { .. }
                | Event::Unit { .. }
                | Event::Beaten { .. }
                | Event::People(crate::people::PeopleEvent::ToNode { .. })
        )
    }

    /// Which node's connection brought it.
    const fn brought_by(&self) -> Option<NodeNumber> {
        match self {
            Event::Message { from, .. } | Event::Unit { from, .. } => Some(*from),
            _ => None,
        }
    }
}

impl World {
    /// From now on a node takes so many times as long for each message; 1 is as before.
    pub fn set_slow(&mut self, number: NodeNumber, times: u64) {
        self.host_mut(number).service.times = times;
        self.excuse(number);
        self.begin_beats(number);
    }

    /// How long what reaches a node now takes until it is done.
    pub fn delay_at(&self, number: NodeNumber) -> Duration {
        let service = &self.hosts[&number].service;
        service.takes() + service.busy_until.since(self.now)
    }

    /// Puts something at the end of its node's queue; what it is the turn of, if anything is.
    pub(super) fn queue_up(&mut self, actor: NodeNumber, event: Event) -> Option<Event> {
        let now = self.now;
        let host = self.host_mut(actor);
        let event = match event {
            Event::Served { boot, event, .. } => {
                if boot == host.boot {
                    host.service.waiting -= 1;
                }
                return Some(*event);
            }
            event => event,
        };
        let takes = if event.is_work() { host.service.takes() } else { Duration::ZERO };
        if host.node.is_none() || takes.is_zero() && host.service.waiting == 0 {
            return Some(event);
        }
        if host.service.waiting >= WAITING_MAX
            && let Some(from) = event.brought_by()
        {
            self.end_here(actor, from);
            return Some(event);
        }
        host.service.waiting += 1;
        host.service.busy_until = host.service.busy_until.max(now) + takes;
        let (done, boot) = (host.service.busy_until, host.boot);
        self.schedule_at(done, Event::Served { at: actor, boot, event: Box::new(event) });
        None
    }

    /// A node that takes time for its work says its heartbeats through its queue.
    pub(super) fn begin_beats(&mut self, number: NodeNumber) {
        let host = self.host_mut(number);
        if host.node.is_none() || host.service.beats || host.service.takes().is_zero() {
            return;
        }
        host.service.beats = true;
        let boot = host.boot;
        self.heard_of(number);
        self.schedule(BEAT, Event::Beat { at: number, boot });
    }

    /// It is time for a heartbeat, and for the neighbours to look how old the last one is.
    pub(super) fn beat(&mut self, at: NodeNumber, boot: u64) {
        let host = self.host_mut(at);
        if host.boot != boot || host.node.is_none() {
            return;
        }
        if host.service.takes().is_zero() && host.service.waiting == 0 {
            host.service.beats = false;
            return;
        }
        self.schedule(BEAT, Event::Beat { at, boot });
        if self.hosts[&at].paused {
            // Who hears nothing of it then counts by itself.
            return self.heard_of(at);
        }
        for peer in self.trunk_peers(at) {
            let said_at = self.trunks.get(&pair(at, peer)).map(|trunk| trunk.said_at[end(at, peer)]);
            if said_at.is_some_and(|said_at| self.now.since(said_at) > DEAF) {
                self.tell(|| format!("{peer} hears no more of {at}, which is slow"));
                self.end_here(peer, at);
            }
        }
        if self.queue_up(at, Event::Beaten { at, boot }).is_some() {
            self.heard_of(at);
        }
    }

    /// Every neighbour hears something of a node.
    pub(super) fn heard_of(&mut self, at: NodeNumber) {
        let now = self.now;
        for ((a, b), trunk) in &mut self.trunks {
            if *a == at || *b == at {
                let peer = if *a == at { *b } else { *a };
                trunk.said_at[end(at, peer)] = now;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::{Plan, node};

    /// Three nodes with an operator who makes one slow: its links cost more by what it takes.
    #[test]
    fn links_of_a_slow_node_cost_more() {
        let mut world = World::started(Plan::with_ways(1, 3, (2_000, 2_000)));
        let cost = |world: &World| {
            let lsa = world.node(1).lsa(node(1)).unwrap();
            lsa.body.links.iter().map(|link| (link.neighbor, link.cost)).collect::<Vec<_>>()
        };
        let before = cost(&world);
        world.set_slow(node(3), 100);
        assert_eq!(world.host(3).service.takes(), Duration::from_millis(10));
        world.run_for(Duration::from_secs(90));
        let after = cost(&world);
        assert_eq!(before[0], after[0], "the others' link is as it was");
        assert!(after[1].1 >= before[1].1 + 80, "{before:?} {after:?}");
        world.set_slow(node(3), 1);
        world.run_for(Duration::from_secs(120));
        assert!(cost(&world)[1].1 <= before[1].1 + 15 && world.host(3).service.waiting() == 0);
    }

    /// Messages are done in order, each after the one before it, and a node that cannot keep up is taken for dead.
    #[test]
    fn a_node_that_cannot_keep_up_is_lost_and_comes_back() {
        let mut world = World::started(Plan::with_ways(1, 3, (2_000, 2_000)));
        assert_eq!(world.groups().len(), 1);
        // A second for each message: its own heartbeats are too many.
        world.set_slow(node(3), 10_000);
        world.run_for(Duration::from_secs(20));
        assert_eq!(world.node(1).roster().len(), 2, "the two others go on");
        assert!(world.host(3).service.waiting() > 0);
        world.set_slow(node(3), 1);
        world.kill(node(3));
        world.start(node(3));
        world.run_for(Duration::from_secs(30));
        assert_eq!(world.node(1).roster().len(), 3);
        assert!(world.violations.is_empty(), "{:?}", world.violations);
    }
}
