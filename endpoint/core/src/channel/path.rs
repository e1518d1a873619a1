//! What a sender knows of the way to one member in one class: round trip, congestion window, bytes on their way.
//!
//! Beneath lies TCP to the node and TCP to the member, so loss means an overfull queue at the member's node: the window
//! halves once a round trip, as in RFC 6582, and loss detection follows RFC 9002 sections 5 and 6. Never sends anything.

use std::collections::BTreeMap;
use std::time::Duration;

use proto_spec::channel::WINDOW_INITIAL;
use proto_spec::{SenderNumber, Timestamp, TrafficClass};

use super::limits::{
    ACK_DELAY_MAX, CONGESTION_STEP, CONGESTION_WINDOW_MIN, LOSS_DELAY_MIN, PROBE_INTERVAL_MAX, RTT_INITIAL,
    SILENCE_MIN, SILENCE_ROUND_TRIPS, congestion_window_max,
};

/// The ways to all members.
#[derive(Default)]
pub(super) struct Paths {
    paths: BTreeMap<(SenderNumber, TrafficClass), Path>,
}

impl Paths {
    /// The way to a member; made on first use.
    pub(super) fn path(&mut self, member: SenderNumber, class: TrafficClass) -> &mut Path {
        self.paths.entry((member, class)).or_insert_with(|| Path::new(class))
    }

    /// Forgets a member that left.
    pub(super) fn forget(&mut self, member: SenderNumber) {
        self.paths.retain(|(number, _), _| *number != member);
    }
}

/// The way to one member in one class.
pub(super) struct Path {
    smoothed: Duration,
    variation: Duration,
    latest: Duration,
    sampled: bool,
    window: u64,
    window_max: u64,
    threshold: u64,
    recovery_since: Option<Timestamp>,
    flight: u64,
}

impl Path {
    fn new(class: TrafficClass) -> Path {
        let window_max = congestion_window_max(class);
        Path {
            smoothed: RTT_INITIAL,
            variation: RTT_INITIAL / 2,
            latest: RTT_INITIAL,
            sampled: false,
            window: window_max.min(WINDOW_INITIAL.max(CONGESTION_WINDOW_MIN)),
            window_max,
            threshold: window_max,
            recovery_since: None,
            flight: 0,
        }
    }

    /// Whether a record of this cost may be sent now; with nothing on its way, always.
    pub(super) const fn has_room(&self, cost: u64) -> bool {
        self.flight == 0 || self.flight + cost <= self.window
    }

    /// After how long a record is lost that a later one overtook.
    pub(super) fn loss_delay(&self) -> Duration {
        (self.smoothed.max(self.latest) * 9 / 8).max(LOSS_DELAY_MIN)
    }

    /// How long a member may stay silent about what it lacks before the way to it is suspected \[SES-18\].
    pub(super) fn silence_max(&self) -> Duration {
        (self.smoothed * SILENCE_ROUND_TRIPS).max(SILENCE_MIN)
    }

    /// How long to wait for a sign of life, after so many waits in vain.
    pub(super) fn probe_delay(&self, in_vain: u32) -> Duration {
        let once = self.smoothed + self.variation * 4 + ACK_DELAY_MAX * 2;
        (once * (1 << in_vain.min(8))).min(PROBE_INTERVAL_MAX)
    }

    /// How long a repair may take before it counts as lost itself. It waits behind all that was sent before, and that may
    /// have doubled since the newest sample: a line that is measured to be slow is given the time, without a bound.
    pub(super) fn repair_delay(&self) -> Duration {
        self.probe_delay(0).max(self.latest * 2)
    }

    /// A record was sent.
    pub(super) const fn sent(&mut self, cost: u64) {
        self.flight += cost;
    }

    /// Records arrived: the window grows if it was in use.
    pub(super) fn arrived(&mut self, cost: u64) {
        let in_use = self.flight >= self.window / 2;
        self.flight = self.flight.saturating_sub(cost);
        if !in_use {
            return;
        }
        let grown = if self.window < self.threshold {
            self.window + cost
        } else {
            self.window + (CONGESTION_STEP * cost / self.window).max(1)
        };
        self.window = grown.min(self.window_max);
    }

    /// Records are no longer waited for.
    pub(super) const fn given_up(&mut self, cost: u64) {
        self.flight = self.flight.saturating_sub(cost);
    }

    /// A record that arrived in `round_trip`, of which the receiver held it for `held`.
    pub(super) fn sample(&mut self, round_trip: Duration, held: Duration) {
        let sample = round_trip.saturating_sub(held.min(round_trip));
        self.latest = sample;
        if self.sampled {
            self.variation = (self.variation * 3 + self.smoothed.abs_diff(sample)) / 4;
            self.smoothed = (self.smoothed * 7 + sample) / 8;
        } else {
            (self.smoothed, self.variation, self.sampled) = (sample, sample / 2, true);
        }
    }

    /// A record sent at `sent_at` was dropped on its way: cuts the window, once a round trip.
    pub(super) fn lost(&mut self, now: Timestamp, sent_at: Timestamp) {
        if self.recovery_since.is_some_and(|since| sent_at <= since) {
            return;
        }
        self.recovery_since = Some(now);
        self.threshold = (self.window / 2).max(CONGESTION_WINDOW_MIN.min(self.window_max));
        self.window = self.threshold;
    }

    /// Probe after probe went unanswered: starts small again.
    pub(super) fn silent(&mut self) {
        self.threshold = (self.window / 2).max(CONGESTION_WINDOW_MIN.min(self.window_max));
        self.window = CONGESTION_WINDOW_MIN.min(self.window_max);
    }

    #[cfg(test)]
    pub(super) const fn flight(&self) -> u64 {
        self.flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(Duration::from_millis(ms))
    }

    /// \[CHN-6\]: whatever arrives, a window stays between its bounds.
    #[test]
    fn windows_stay_within_their_bounds() {
        for class in TrafficClass::ALL {
            let mut path = Path::new(class);
            for _ in 0..10_000 {
                while path.has_room(1_000) {
                    path.sent(1_000);
                }
                assert!(path.flight() <= congestion_window_max(class));
                path.arrived(1_000);
            }
            assert_eq!(path.window, congestion_window_max(class));
            for time in 0..100 {
                path.lost(at(time), at(time));
            }
            assert_eq!(path.window, CONGESTION_WINDOW_MIN.min(congestion_window_max(class)));
        }
    }

    /// \[CHN-7\]: one cut a round trip, however many records of it were dropped.
    #[test]
    fn a_round_trip_cuts_once() {
        let mut path = Path::new(TrafficClass::Bulk);
        path.window = 400_000;
        path.lost(at(10), at(1));
        assert_eq!(path.window, 200_000);
        path.lost(at(11), at(9));
        assert_eq!(path.window, 200_000);
        path.lost(at(30), at(11));
        assert_eq!(path.window, 100_000);
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let mut path = Path::new(TrafficClass::Bulk);
        let before = path.window;
        path.sent(1_000);
        path.arrived(1_000);
        assert_eq!(path.window, before);
    }

    #[test]
    fn round_trips_are_smoothed_without_the_receivers_delay() {
        let mut path = Path::new(TrafficClass::Control);
        path.sample(Duration::from_millis(60), Duration::from_millis(20));
        assert_eq!(path.smoothed, Duration::from_millis(40));
        path.sample(Duration::from_millis(120), Duration::ZERO);
        assert_eq!(path.smoothed, Duration::from_millis(50));
        assert!(path.probe_delay(3) > path.probe_delay(0));
        assert_eq!(path.probe_delay(30), PROBE_INTERVAL_MAX);
        path.sample(Duration::from_millis(1), Duration::from_secs(9));
        assert_eq!(path.latest, Duration::ZERO);
    }

    /// \[CHN-7\]: a repair through a deep queue is waited for, until something arrives that was fast.
    #[test]
    fn repairs_are_waited_for_as_long_as_records_take() {
        let mut path = Path::new(TrafficClass::Bulk);
        path.sample(Duration::from_secs(20), Duration::ZERO);
        assert_eq!(path.repair_delay(), Duration::from_secs(40));
        path.sample(Duration::from_millis(40), Duration::ZERO);
        assert!(path.repair_delay() <= PROBE_INTERVAL_MAX);
    }
}
