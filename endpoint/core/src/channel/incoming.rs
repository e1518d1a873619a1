//! One incoming reliable channel: order, duplicates, what is held, and what to acknowledge.
//!
//! A record that was opened once is never opened again, so nothing within the granted window may be thrown away here.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use proto_spec::channel::{ACK_RANGES_MAX, Ack, AckRange, WINDOW_RECORDS_MAX, record_cost};
use proto_spec::{StreamId, Timestamp};

use super::limits::{ACK_COST, ACK_DELAY_MAX, ACK_RECORDS};

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Arrival {
    /// It, and perhaps others that waited for it, can be delivered.
    InOrder,
    /// It waits for others, or for the channel's start.
    Held,
    /// It was there already.
    Duplicate,
    /// It lies outside of what was granted.
    Outside,
}

/// One incoming reliable channel.
pub(super) struct Incoming {
    stream: StreamId,
    capacity: u64,
    /// The sequence that is delivered next; `None` until the channel's start is known.
    next: Option<u64>,
    held: BTreeMap<u64, Bytes>,
    held_cost: u64,
    /// Costs delivered and not yet taken by the application.
    untaken: u64,
    /// Costs of all that was delivered.
    delivered: u64,
    /// Up to which costs, counted as `delivered`, the sender was told that it may send.
    advertised: u64,
    ack_at: Option<Timestamp>,
    unacknowledged: u32,
    unacknowledged_cost: u64,
    newest_at: Timestamp,
    token: u32,
}

impl Incoming {
    pub(super) const fn new(stream: StreamId, capacity: u64) -> Incoming {
        Incoming {
            stream,
            capacity,
            next: None,
            held: BTreeMap::new(),
            held_cost: 0,
            untaken: 0,
            delivered: 0,
            advertised: 0,
            ack_at: None,
            unacknowledged: 0,
            unacknowledged_cost: 0,
            newest_at: Timestamp::ZERO,
            token: 0,
        }
    }

    /// Whether the channel's start is known.
    pub(super) const fn is_open(&self) -> bool {
        self.next.is_some()
    }

    /// The sequence that is delivered next.
    pub(super) fn next(&self) -> u64 {
        self.next.unwrap_or(0)
    }

    /// Nothing below `next` will come or matter; returns how many records were skipped that had been expected.
    pub(super) fn advance(&mut self, now: Timestamp, next: u64) -> u64 {
        let before = self.next;
        if before.is_some_and(|before| before >= next) {
            return 0;
        }
        self.next = Some(next);
        let kept = self.held.split_off(&next);
        let gone: u64 = self.held.values().map(|payload| record_cost(payload.len())).sum();
        self.held_cost -= gone;
        self.held = kept;
        self.ack_at = Some(now);
        before.map_or(0, |before| next - before)
    }

    /// A record arrived \[CHN-2\].
    pub(super) fn arrive(&mut self, now: Timestamp, sequence: u64, payload: Bytes) -> Arrival {
        let cost = record_cost(payload.len());
        let next = self.next();
        if sequence < next || self.held.contains_key(&sequence) {
            self.ack_at = Some(now);
            return Arrival::Duplicate;
        }
        // The last of all sequences has none behind it: no channel lives to see it.
        let too_far = sequence == u64::MAX || self.next.is_some() && sequence - next >= WINDOW_RECORDS_MAX;
        if too_far || self.held_cost + self.untaken + cost > self.capacity {
            return Arrival::Outside;
        }
        self.held.insert(sequence, payload);
        self.held_cost += cost;
        self.newest_at = now;
        if self.next.is_none() {
            return Arrival::Held;
        }
        self.unacknowledged += 1;
        self.unacknowledged_cost += cost;
        let gap = sequence > next || self.held.len() > 1;
        let many = self.unacknowledged >= ACK_RECORDS || self.unacknowledged_cost >= ACK_COST;
        let wait = if gap || many { Duration::ZERO } else { ACK_DELAY_MAX };
        let due = now + wait;
        self.ack_at = Some(self.ack_at.map_or(due, |earlier| earlier.min(due)));
        if sequence == next { Arrival::InOrder } else { Arrival::Held }
    }

    /// The next payload in order. It counts as untaken until [`Incoming::taken`].
    pub(super) fn deliver(&mut self) -> Option<(u64, Bytes)> {
        let next = self.next?;
        let payload = self.held.remove(&next)?;
        let cost = record_cost(payload.len());
        self.held_cost -= cost;
        self.untaken += cost;
        self.delivered += cost;
        self.next = Some(next + 1);
        Some((next, payload))
    }

    /// The application has taken payloads of this cost: the sender is told once that makes a difference.
    pub(super) fn taken(&mut self, now: Timestamp, cost: u64) {
        self.untaken = self.untaken.saturating_sub(cost);
        let room = self.delivered + self.window();
        if room >= self.advertised + self.capacity / 4 {
            self.ack_at = Some(now);
        }
    }

    /// The sender asks.
    pub(super) const fn probed(&mut self, now: Timestamp, token: u32) {
        self.token = token;
        self.ack_at = Some(now);
    }

    /// An acknowledgement is wanted, whatever was said before.
    pub(super) const fn ask(&mut self, now: Timestamp) {
        self.ack_at = Some(now);
    }

    /// When the next acknowledgement is due; never before the channel's start is known.
    pub(super) fn ack_at(&self) -> Option<Timestamp> {
        self.ack_at.filter(|_| self.is_open())
    }

    /// The acknowledgement to send now \[CHN-4\].
    pub(super) fn acknowledge(&mut self, now: Timestamp) -> Ack {
        let next = self.next();
        let mut ranges: Vec<AckRange> = Vec::new();
        let mut end = next;
        for sequence in self.held.keys().copied() {
            let full = ranges.len() == ACK_RANGES_MAX;
            match ranges.last_mut() {
                Some(range) if sequence == end => range.length += 1,
                _ if full => break,
                _ => ranges.push(AckRange { gap: (sequence - end) as u32, length: 1 }),
            }
            end = sequence + 1;
        }
        let window = self.window();
        self.advertised = self.delivered + window;
        self.ack_at = None;
        self.unacknowledged = 0;
        self.unacknowledged_cost = 0;
        Ack {
            stream: self.stream,
            next,
            window: u32::try_from(window).unwrap_or(u32::MAX),
            delay_us: u32::try_from(now.since(self.newest_at).as_micros()).unwrap_or(u32::MAX),
            token: std::mem::take(&mut self.token),
            ranges,
        }
    }

    /// What is taken from `next` on. What is held out of order lies within, so it does not narrow it.
    const fn window(&self) -> u64 {
        self.capacity.saturating_sub(self.untaken)
    }

    #[cfg(test)]
    pub(super) const fn occupied(&self) -> u64 {
        self.held_cost + self.untaken
    }
}

#[cfg(test)]
mod tests {
    use proto_spec::channel::{CHAT_STREAM, RECORD_COST};

    use super::*;

    const NOW: Timestamp = Timestamp(Duration::from_secs(1));

    fn payload(length: usize) -> Bytes {
        Bytes::from(vec![7; length])
    }

    fn open(capacity: u64) -> Incoming {
        let mut channel = Incoming::new(CHAT_STREAM, capacity);
        channel.advance(NOW, 0);
        channel.acknowledge(NOW);
        channel
    }

    fn delivered(channel: &mut Incoming) -> Vec<u64> {
        std::iter::from_fn(|| channel.deliver()).map(|(sequence, _)| sequence).collect()
    }

    /// \[CHN-2\] \[CHN-11\]: a member may claim to be at the end of all sequences; nothing comes of it.
    #[test]
    fn the_end_of_all_sequences_is_never_reached() {
        for start in [u64::MAX, u64::MAX - 1] {
            let mut channel = Incoming::new(CHAT_STREAM, 10_000);
            assert_eq!(channel.arrive(NOW, u64::MAX, payload(1)), Arrival::Outside, "before the start");
            channel.advance(NOW, start);
            assert_eq!(channel.arrive(NOW, u64::MAX, payload(1)), Arrival::Outside);
            assert!(delivered(&mut channel).is_empty());
            let acknowledged = channel.acknowledge(NOW);
            assert_eq!((acknowledged.next, acknowledged.ranges), (start, vec![]));
        }
        let mut channel = Incoming::new(CHAT_STREAM, 10_000);
        channel.advance(NOW, u64::MAX - 1);
        assert_eq!(channel.arrive(NOW, u64::MAX - 1, payload(1)), Arrival::InOrder);
        assert_eq!(delivered(&mut channel), [u64::MAX - 1]);
    }

    /// \[CHN-2\]: in order, exactly once.
    #[test]
    fn records_are_delivered_in_order_and_once() {
        let mut channel = open(10_000);
        assert_eq!(channel.arrive(NOW, 1, payload(1)), Arrival::Held);
        assert_eq!(channel.arrive(NOW, 1, payload(1)), Arrival::Duplicate);
        assert!(delivered(&mut channel).is_empty());
        assert_eq!(channel.arrive(NOW, 0, payload(1)), Arrival::InOrder);
        assert_eq!(delivered(&mut channel), [0, 1]);
        assert_eq!(channel.arrive(NOW, 0, payload(1)), Arrival::Duplicate);
        assert_eq!(channel.arrive(NOW, 2, payload(1)), Arrival::InOrder);
        assert_eq!(delivered(&mut channel), [2]);
    }

    /// \[CHN-5\]: in order they wait a little, at a gap or after some they do not.
    #[test]
    fn acknowledgements_wait_unless_there_is_news() {
        let mut channel = open(1_000_000);
        channel.arrive(NOW, 0, payload(1));
        delivered(&mut channel);
        assert_eq!(channel.ack_at(), Some(NOW + ACK_DELAY_MAX));
        channel.arrive(NOW, 2, payload(1));
        assert_eq!(channel.ack_at(), Some(NOW));
        let ack = channel.acknowledge(NOW);
        assert_eq!((ack.next, ack.ranges.len()), (1, 1));
        channel.arrive(NOW, 1, payload(1));
        assert_eq!(channel.ack_at(), Some(NOW));
        delivered(&mut channel);
        channel.acknowledge(NOW);
        for sequence in 3..3 + u64::from(ACK_RECORDS) {
            assert_ne!(channel.ack_at(), Some(NOW));
            channel.arrive(NOW, sequence, payload(1));
            delivered(&mut channel);
        }
        assert_eq!(channel.ack_at(), Some(NOW));
    }

    /// \[CHN-4\]: ranges describe what is held; no more than fit.
    #[test]
    fn ranges_describe_what_is_held() {
        let mut channel = open(1_000_000);
        for sequence in [1, 2, 5, 7, 8, 9] {
            channel.arrive(NOW, sequence, payload(1));
        }
        let ranges = channel.acknowledge(NOW).ranges;
        let expected = [(1, 2), (2, 1), (1, 3)].map(|(gap, length)| AckRange { gap, length });
        assert_eq!(ranges, expected);
        for sequence in (11..200).step_by(2) {
            channel.arrive(NOW, sequence, payload(1));
        }
        assert_eq!(channel.acknowledge(NOW).ranges.len(), ACK_RANGES_MAX);
    }

    /// \[CHN-6\]: what is held and untaken never exceeds the capacity, and what is taken is granted again.
    #[test]
    fn capacity_is_kept() {
        let capacity = 4 * (100 + RECORD_COST);
        let mut channel = open(capacity);
        assert_eq!(u64::from(channel.acknowledge(NOW).window), capacity);
        for sequence in 0..4 {
            assert_eq!(channel.arrive(NOW, sequence, payload(100)), Arrival::InOrder);
            delivered(&mut channel);
        }
        assert_eq!(channel.arrive(NOW, 4, payload(100)), Arrival::Outside);
        assert_eq!(channel.occupied(), capacity);
        assert_eq!(channel.acknowledge(NOW).window, 0);
        channel.taken(NOW, 100 + RECORD_COST);
        assert_eq!(channel.ack_at(), Some(NOW));
        assert_eq!(u64::from(channel.acknowledge(NOW).window), 100 + RECORD_COST);
        assert_eq!(channel.arrive(NOW, 4, payload(100)), Arrival::InOrder);
    }

    /// \[CHN-6\]: at the window's edge, and one beyond.
    #[test]
    fn records_beyond_the_window_are_refused() {
        let mut channel = open(u64::MAX / 2);
        assert_eq!(channel.arrive(NOW, WINDOW_RECORDS_MAX - 1, payload(1)), Arrival::Held);
        assert_eq!(channel.arrive(NOW, WINDOW_RECORDS_MAX, payload(1)), Arrival::Outside);
        assert_eq!(channel.arrive(NOW, u64::MAX, payload(1)), Arrival::Outside);
    }

    /// \[CHN-8\]: what comes before the channel's start is known waits for it.
    #[test]
    fn records_before_the_start_wait() {
        let mut channel = Incoming::new(CHAT_STREAM, 10_000);
        assert_eq!(channel.arrive(NOW, 7, payload(1)), Arrival::Held);
        assert_eq!(channel.arrive(NOW, 6, payload(1)), Arrival::Held);
        assert_eq!(channel.arrive(NOW, 3, payload(1)), Arrival::Held);
        assert_eq!(channel.ack_at(), None);
        assert_eq!(channel.advance(NOW, 6), 0);
        assert_eq!(delivered(&mut channel), [6, 7]);
        assert_eq!(channel.acknowledge(NOW).next, 8);
        assert_eq!(channel.occupied(), 2 * (1 + RECORD_COST));
    }

    /// \[CHN-11\]: a skip is counted, and never goes back.
    #[test]
    fn a_skip_is_counted() {
        let mut channel = open(10_000);
        channel.arrive(NOW, 4, payload(1));
        assert_eq!(channel.advance(NOW, 4), 4);
        assert_eq!(delivered(&mut channel), [4]);
        assert_eq!(channel.advance(NOW, 2), 0);
        assert_eq!(channel.next(), 5);
    }
}
