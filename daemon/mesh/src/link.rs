//! Links: which neighbours there are, what they cost, and when they carry traffic \[LNK-1\], \[LNK-2\].
//!
//! Never dials (see [`crate::peering`]) and never measures: the shell does both.

use proto_spec::{NodeNumber, Timestamp};
use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::config::{
    COST_MAX, COST_UNMEASURED, DIAL_BACKOFF_MAX, LINK_FAULTS_MAX, LINK_HOLD, LINK_MESSAGES_BURST,
    LINK_MESSAGES_RATE, LINKS_SPARE,
};
use crate::io::{Alarm, CloseReason, Output, Signer};
use crate::node::Node;
use crate::timers::Timer;

/// Below this cost the steps are all alike.
const COST_FINE: u32 = 40;
/// The smallest step: half a millisecond, well above what scheduling adds.
const COST_STEP: u32 = 5;

/// One link.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Link {
    pub(crate) peer: Signer,
    up_at: Timestamp,
    /// When it may carry traffic.
    pub(crate) usable_at: Timestamp,
    pub(crate) usable: bool,
    srtt_us: Option<u32>,
    pub(crate) cost: u16,
    bucket: Bucket,
    faults: u32,
}

/// A link as an operator sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkStatus {
    /// The neighbour.
    pub neighbor: NodeNumber,
    /// Whether it carries traffic.
    pub usable: bool,
    /// Smoothed round trip in microseconds, once measured.
    pub srtt_us: Option<u32>,
    /// What the LSA says, in tenths of a millisecond.
    pub cost: u16,
}

/// The cost to advertise for a smoothed round trip, given what is advertised now \[LNK-1\]: in steps of half a
/// millisecond, wider above 4 ms, and only once the value is a step outside its own.
pub fn quantised(srtt_us: u32, advertised: u16) -> u16 {
    let cost = (srtt_us / 100).clamp(1, u32::from(COST_MAX));
    let step =
        if cost < COST_FINE { COST_STEP } else { (1 << (31 - cost.leading_zeros())) / 8 }.max(COST_STEP);
    if cost.abs_diff(u32::from(advertised)) <= step + step / 2 {
        return advertised;
    }
    ((cost + step / 2) / step * step).max(COST_STEP) as u16
}

impl Link {
    fn new(peer: Signer, cost: u16, usable_at: Timestamp, now: Timestamp) -> Link {
        Link {
            peer,
            up_at: now,
            usable_at,
            usable: false,
            srtt_us: None,
            cost,
            bucket: Bucket::new(LINK_MESSAGES_RATE, LINK_MESSAGES_BURST, now),
            faults: 0,
        }
    }

    pub(crate) fn status(&self) -> LinkStatus {
        let Link { peer, usable, srtt_us, cost, .. } = self;
        LinkStatus { neighbor: peer.node, usable: *usable, srtt_us: *srtt_us, cost: *cost }
    }

    /// Smooths a sample in (RFC 6298's gain); true if the advertised cost changed, which one that is set never does.
    fn measure(&mut self, rtt_us: u32, is_set: bool) -> bool {
        let smoothed = match self.srtt_us {
            None => rtt_us,
            Some(srtt_us) => ((u64::from(srtt_us) * 7 + u64::from(rtt_us)) / 8) as u32,
        };
        self.srtt_us = Some(smoothed);
        if is_set {
            return false;
        }
        let before = self.cost;
        self.cost = quantised(smoothed, before);
        self.cost != before
    }
}

impl Node {
    pub(crate) fn link_up(&mut self, peer: Signer) {
        let (number, now) = (peer.node, self.now.mono);
        if let Some(reason) = self.refused_link(&peer) {
            return self.close(number, reason);
        }
        if self.links.contains_key(&number) {
            return;
        }
        if self.links.len() >= self.config.links_max + LINKS_SPARE && !self.make_room(number) {
            return self.close(number, CloseReason::TooMany);
        }
        let returning = self.past_links.contains_key(&number);
        let usable_at = if returning { now + LINK_HOLD } else { now };
        let cost = self.config.link_cost(number).unwrap_or(COST_UNMEASURED);
        self.links.insert(number, Link::new(peer, cost, usable_at, now));
        self.timers.no_later(Timer::Hold, usable_at);
        self.timers.no_later(Timer::Dial, now);
        self.greet(number);
    }

    /// Why a link may not be, if so.
    fn refused_link(&mut self, peer: &Signer) -> Option<CloseReason> {
        let number = peer.node;
        if number == self.identity.node {
            return Some(CloseReason::Own);
        }
        if self.config.neighbors_allowed.as_ref().is_some_and(|allowed| !allowed.contains(&number)) {
            return Some(CloseReason::NotAllowed);
        }
        if self.revoked.contains(&peer.certificate) {
            return Some(CloseReason::Revoked);
        }
        if self.lsdb.is_quarantined(number, &peer.key) {
            return Some(CloseReason::Cloned);
        }
        let owner =
            self.lsdb.signer(number).filter(|owner| owner.key != peer.key && owner.issued >= peer.issued)?;
        let alarm = Alarm::NumberInUse { node: number, kept: owner.certificate, refused: peer.certificate };
        self.alarm(alarm);
        Some(CloseReason::NumberInUse)
    }

    /// Drops a link that nobody needs for one that the ring needs, or that may join two parts of the mesh.
    fn make_room(&mut self, newcomer: NodeNumber) -> bool {
        if self.roster.contains(&newcomer) && !self.ring().contains(&newcomer) {
            return false;
        }
        let Some(surplus) = self.surplus_link() else { return false };
        self.close(surplus, CloseReason::Surplus);
        true
    }

    pub(crate) fn link_down(&mut self, peer: NodeNumber) {
        let Some(link) = self.links.remove(&peer) else { return };
        self.past_links.insert(peer, self.now.mono);
        // Who hangs up at once is not called again at once.
        if self.now.mono.since(link.up_at) >= DIAL_BACKOFF_MAX {
            self.dials.remove(&peer);
        }
        self.timers.no_later(Timer::Dial, self.now.mono);
        if link.usable {
            self.publish_routes();
            self.hint_next_hop(peer);
            self.own_changed(true);
        }
    }

    pub(crate) fn link_rtt(&mut self, peer: NodeNumber, rtt_us: u32) {
        let is_set = self.config.link_cost(peer).is_some();
        let Some(link) = self.links.get_mut(&peer) else { return };
        if link.measure(rtt_us, is_set) && link.usable {
            self.own_changed(false);
        }
    }

    /// Lets links carry traffic whose hold has ended.
    pub(crate) fn end_holds(&mut self) {
        let now = self.now.mono;
        let mut changed = false;
        for link in self.links.values_mut().filter(|link| !link.usable) {
            if link.usable_at <= now {
                link.usable = true;
                changed = true;
            } else {
                self.timers.no_later(Timer::Hold, link.usable_at);
            }
        }
        if changed {
            self.drop_doubt();
            self.publish_routes();
            self.own_changed(false);
        }
    }

    /// Closes a trunk and forgets its link.
    pub(crate) fn close(&mut self, peer: NodeNumber, reason: CloseReason) {
        self.counters.links_closed += 1;
        self.output(Output::Close { peer, reason });
        self.link_down(peer);
    }

    /// Whether a message of this neighbour may be looked at.
    pub(crate) fn admit_message(&mut self, from: NodeNumber) -> bool {
        let now = self.now.mono;
        let Some(link) = self.links.get_mut(&from) else {
            self.counters.messages_unlinked += 1;
            return false;
        };
        let admitted = link.bucket.take(now);
        if !admitted {
            self.counters.messages_shed += 1;
        }
        admitted
    }

    /// Counts a message that no honest neighbour sends.
    pub(crate) fn link_fault(&mut self, from: NodeNumber) {
        let Some(link) = self.links.get_mut(&from) else { return };
        link.faults += 1;
        if link.faults >= LINK_FAULTS_MAX {
            self.alarm(Alarm::Misbehaved { node: from });
            self.close(from, CloseReason::Misbehaved);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// \[LNK-1\]: a cost that is set does not follow what is measured.
    #[test]
    fn a_cost_that_is_set_stays() {
        let (issued, expires) = (proto_spec::WallTime(1), proto_spec::WallTime(2));
        let node = NodeNumber::new(2).unwrap();
        let peer = Signer { node, key: [1; 32], certificate: [2; 32], issued, expires };
        let mut link = Link::new(peer, 205, Timestamp::ZERO, Timestamp::ZERO);
        assert!(!link.measure(70_000, true));
        assert_eq!((link.cost, link.srtt_us), (205, Some(70_000)));
        assert!(link.measure(70_000, false) && link.cost > 600);
    }

    /// \[LNK-1\]: jitter inside a step moves nothing; a real change does; steps widen with the round trip.
    #[test]
    fn costs_are_quantised_with_hysteresis() {
        let ten = quantised(10_000, COST_UNMEASURED);
        assert!(ten.abs_diff(100) <= 6, "{ten}");
        for jitter_us in [9_400, 9_700, 10_300, 10_700] {
            assert_eq!(quantised(jitter_us, ten), ten, "{jitter_us} us");
        }
        assert!(quantised(13_000, ten) > ten && quantised(6_000, ten) < ten);
        assert_eq!(quantised(100, COST_UNMEASURED), 5);
        assert_eq!(quantised(0, 5), 5);
        assert_eq!(quantised(800, 5), 5);
        assert!(quantised(u32::MAX, 5) > 30_000, "the largest cost fits twice into a sum");
        for us in (0..1_000_000).step_by(777) {
            let cost = quantised(us, u16::MAX);
            assert_eq!(quantised(us, cost), cost, "the quantised value is its own step");
        }
    }
}
