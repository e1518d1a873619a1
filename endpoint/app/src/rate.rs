//! How fast a file moves, over the last few seconds. Sans-IO: the caller says what time it is.

use std::collections::VecDeque;
use std::time::Duration;

/// Over how long the rate is taken: long enough to be steady, short enough to tell a stall.
const WINDOW: Duration = Duration::from_secs(4);
/// Samples kept; progress comes a few times a second.
const SAMPLES_MAX: usize = 64;

/// A moving measurement of bytes per second.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Rate {
    samples: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// `done_bytes` have arrived by `now`.
    pub(crate) fn note(&mut self, now: Duration, done_bytes: u64) {
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back((now, done_bytes));
        while self.samples.len() > 2 && self.samples[1].0 + WINDOW < now {
            self.samples.pop_front();
        }
    }

    /// Bytes per second up to `now`, which falls while nothing is noted; `None` before there are two samples.
    pub(crate) fn bytes_per_s(&self, now: Duration) -> Option<u64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let span = now.max(last.0).saturating_sub(first.0);
        if self.samples.len() < 2 || span.is_zero() {
            return None;
        }
        Some((last.1.saturating_sub(first.1) as f64 / span.as_secs_f64()) as u64)
    }

    /// Until the rest has arrived at this rate; `None` when that cannot be said.
    pub(crate) fn left(&self, now: Duration, size_bytes: u64) -> Option<Duration> {
        let rate = self.bytes_per_s(now).filter(|rate| *rate > 0)?;
        Some(Duration::from_secs(size_bytes.saturating_sub(self.samples.back()?.1).div_ceil(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_the_last_seconds() {
        let mut rate = Rate::default();
        assert_eq!(rate.bytes_per_s(Duration::ZERO), None);
        for s in 0..10u64 {
            rate.note(Duration::from_secs(s), s * 1_000);
        }
        assert_eq!(rate.bytes_per_s(Duration::from_secs(9)), Some(1_000));
        assert_eq!(rate.left(Duration::from_secs(9), 19_000), Some(Duration::from_secs(10)));
        assert!(rate.bytes_per_s(Duration::from_secs(60)).unwrap() < 100);
    }
}
