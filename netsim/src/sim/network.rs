//! The network between things that stand somewhere: how long a way takes, what is heard, what is lost.
//!
//! Owns latencies and the faults of lines. Knows nothing of what travels. Everything is TCP: loss means delay and keeps
//! the order of one connection (head-of-line blocking); messages of different connections overtake each other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proto_spec::{NodeNumber, Timestamp};

use super::random::{Random, mix};
use super::trunks::DETECTION;

/// Least time that a lost segment costs: the first retransmission timeout of common systems.
const RETRANSMISSION_MIN: Duration = Duration::from_millis(200);
/// What a line between nodes carries, in bytes a second: a gigabit.
pub(super) const TRUNK_BYTES_PER_S: u64 = 125_000_000;

/// Two nodes, the lower first.
pub type Pair = (NodeNumber, NodeNumber);

/// Orders two nodes.
pub fn pair(a: NodeNumber, b: NodeNumber) -> Pair {
    (a.min(b), a.max(b))
}

/// Ways between regions and what is wrong with them.
#[derive(Debug)]
pub struct Network {
    seed: u64,
    /// Round trips between regions, in microseconds.
    rtt_us: Vec<Vec<u64>>,
    /// How much longer a single message may take, in percent of its way.
    jitter_percent: u64,
    /// How much longer the way of one pair may be than that of another of the same regions, in percent.
    spread_percent: u64,
    sites: BTreeMap<NodeNumber, usize>,
    /// (speaker, listener) pairs between which nothing is heard.
    muted: BTreeSet<(NodeNumber, NodeNumber)>,
    loss: BTreeMap<Pair, u64>,
    delay: BTreeMap<Pair, Duration>,
    random: Random,
}

impl Network {
    /// Lines between regions, nobody there yet.
    pub fn new(seed: u64, rtt_us: Vec<Vec<u64>>, jitter_percent: u64, spread_percent: u64) -> Network {
        Network {
            seed,
            rtt_us,
            jitter_percent,
            spread_percent,
            sites: BTreeMap::new(),
            muted: BTreeSet::new(),
            loss: BTreeMap::new(),
            delay: BTreeMap::new(),
            random: Random::stream(seed, "network", 0),
        }
    }

    /// A node stands in a region.
    pub fn place(&mut self, node: NodeNumber, region: usize) {
        self.sites.insert(node, region);
    }

    /// Where a node stands.
    pub fn region(&self, node: NodeNumber) -> usize {
        self.sites.get(&node).copied().unwrap_or(0)
    }

    /// One way between two nodes as long as nothing is wrong, without jitter.
    pub fn latency(&self, a: NodeNumber, b: NodeNumber) -> Duration {
        let base = self.rtt_us[self.region(a)][self.region(b)] / 2;
        let (low, high) = pair(a, b);
        let own = mix(self.seed ^ u64::from(low.value()) << 16 ^ u64::from(high.value()));
        Duration::from_micros(base + own % (base * self.spread_percent / 100 + 1))
    }

    /// One way between a user's region and a node, without jitter.
    pub fn access(&self, region: usize, node: NodeNumber) -> Duration {
        Duration::from_micros(self.rtt_us[region][self.region(node)] / 2)
    }

    /// Whether `to` hears what `from` says.
    pub fn hears(&self, from: NodeNumber, to: NodeNumber) -> bool {
        !self.muted.contains(&(from, to))
    }

    /// Whether both hear each other.
    pub fn joined(&self, a: NodeNumber, b: NodeNumber) -> bool {
        self.hears(a, b) && self.hears(b, a)
    }

    /// `to` hears no more of `from`, or again.
    pub fn set_muted(&mut self, from: NodeNumber, to: NodeNumber, muted: bool) {
        if muted {
            self.muted.insert((from, to));
        } else {
            self.muted.remove(&(from, to));
        }
    }

    /// Who does not hear whom.
    pub fn muted(&self) -> &BTreeSet<(NodeNumber, NodeNumber)> {
        &self.muted
    }

    /// So many of a hundred segments between two nodes are lost; 0 for none.
    pub fn set_loss(&mut self, a: NodeNumber, b: NodeNumber, percent: u64) {
        if percent == 0 {
            self.loss.remove(&pair(a, b));
        } else {
            self.loss.insert(pair(a, b), percent);
        }
    }

    /// The way between two nodes is so much longer.
    pub fn set_delay(&mut self, a: NodeNumber, b: NodeNumber, by: Duration) {
        if by.is_zero() {
            self.delay.remove(&pair(a, b));
        } else {
            self.delay.insert(pair(a, b), by);
        }
    }

    /// No line is slow or lossy any more.
    pub fn clear_lines(&mut self) {
        self.loss.clear();
        self.delay.clear();
    }

    /// How long one message between two nodes takes, as things are; `None` if it is lost so often that the listener has
    /// given the connection up by then: whatever is sent behind it waits for it.
    pub fn transit(&mut self, from: NodeNumber, to: NodeNumber) -> Option<Duration> {
        let key = pair(from, to);
        let way = self.latency(from, to) + self.delay.get(&key).copied().unwrap_or_default();
        let loss = self.loss.get(&key).copied().unwrap_or(0);
        let takes = self.jittered(way);
        let (mut late, mut timeout) = (Duration::ZERO, RETRANSMISSION_MIN.max(way * 2));
        while loss > 0 && late <= DETECTION && self.random.percent(loss) {
            late += timeout;
            timeout *= 2;
        }
        (late <= DETECTION).then_some(takes + late)
    }

    /// How long one message takes whose way is so long.
    pub fn jittered(&mut self, way: Duration) -> Duration {
        let most = way.as_micros() as u64 * self.jitter_percent / 100;
        way + Duration::from_micros(self.random.range(0, most + 1))
    }
}

/// One direction of a connection: nothing arrives before what was sent earlier, and bytes take time to be sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lane {
    /// When the last byte so far has left.
    sent_at: Timestamp,
    /// When the last one so far arrives.
    arrives_at: Timestamp,
}

impl Lane {
    /// When a message that is sent now has left, and when it has arrived.
    pub(crate) fn send(
        &mut self,
        now: Timestamp,
        bytes: usize,
        bytes_per_s: Option<u64>,
        transit: Duration,
    ) -> Timestamp {
        let takes = bytes_per_s.map_or(0, |rate| bytes as u64 * 1_000_000_000 / rate.max(1));
        self.sent_at = self.sent_at.max(now) + Duration::from_nanos(takes);
        self.arrives_at = (self.sent_at + transit).max(self.arrives_at);
        self.arrives_at
    }

    /// When everything that was sent has arrived.
    pub(crate) const fn arrives_at(&self) -> Timestamp {
        self.arrives_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u16) -> NodeNumber {
        NodeNumber::new(number).unwrap()
    }

    #[test]
    fn a_lane_keeps_its_order_and_its_rate() {
        let at = |ms| Timestamp(Duration::from_millis(ms));
        let mut lane = Lane::default();
        assert_eq!(lane.send(at(0), 1_000, Some(100_000), Duration::from_millis(30)), at(40));
        assert_eq!(lane.send(at(1), 0, None, Duration::from_millis(1)), at(40), "none overtakes");
        assert_eq!(lane.send(at(2), 1_000, Some(100_000), Duration::from_millis(30)), at(50));
    }

    #[test]
    fn silence_has_a_direction_and_loss_is_delay() {
        let mut network = Network::new(1, vec![vec![10_000]], 0, 0);
        network.place(node(1), 0);
        network.place(node(2), 0);
        network.set_muted(node(1), node(2), true);
        assert!(!network.hears(node(1), node(2)) && network.hears(node(2), node(1)));
        assert_eq!(network.transit(node(1), node(2)), Some(Duration::from_millis(5)));
        network.set_loss(node(2), node(1), 50);
        let transits: Vec<_> = (0..100).map(|_| network.transit(node(1), node(2))).collect();
        let slowest = transits.iter().flatten().max().unwrap();
        assert!((Duration::from_millis(205)..DETECTION).contains(slowest));
        assert!(transits.contains(&None), "some are lost again and again until the listener gives up");
        network.clear_lines();
        assert_eq!(network.transit(node(1), node(2)), Some(Duration::from_millis(5)));
    }
}
