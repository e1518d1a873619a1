//! What a receiver finds out about one stream: every line once, in order, whole, and how long it had to wait.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::DELAY_MS_MAX;
use crate::stream::Numbered;

/// One stream at one receiver.
#[derive(Debug)]
pub(crate) struct Check {
    first: u64,
    /// The number of the next line.
    next: u64,
    received: u64,
    doubled: u64,
    missed: u64,
    damaged: u64,
    total: u64,
    last_at: Option<Instant>,
    longest_gap: Duration,
    longest_gap_at: Option<Instant>,
    /// Lines by delay in milliseconds.
    delays: Vec<u32>,
    delay_max: Duration,
}

/// What a line meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    Right,
    /// The last of the stream, and all was right.
    Complete,
    Wrong,
}

/// As it is told.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub(crate) struct Report {
    /// The number of the first line that was heard.
    pub(crate) first: u64,
    pub(crate) received: u64,
    pub(crate) doubled: u64,
    pub(crate) missed: u64,
    pub(crate) damaged: u64,
    pub(crate) complete: bool,
    pub(crate) longest_gap_ms: f64,
    /// When the longest gap ended, in the program's time.
    pub(crate) longest_gap_at_ms: Option<f64>,
    pub(crate) delay_p50_ms: Option<usize>,
    pub(crate) delay_p99_ms: Option<usize>,
    pub(crate) delay_max_ms: Option<f64>,
}

impl Check {
    /// A stream from its first line; `first` is the number that is expected: 0, or the first seen by who came later.
    pub(crate) const fn new(first: u64) -> Check {
        Check {
            first,
            next: first,
            received: 0,
            doubled: 0,
            missed: 0,
            damaged: 0,
            total: 0,
            last_at: None,
            longest_gap: Duration::ZERO,
            longest_gap_at: None,
            delays: Vec::new(),
            delay_max: Duration::ZERO,
        }
    }

    /// A line arrived.
    pub(crate) fn heard(&mut self, now: Instant, line: &Numbered) -> Verdict {
        if let Some(last) = self.last_at.replace(now) {
            let gap = now - last;
            if gap > self.longest_gap {
                (self.longest_gap, self.longest_gap_at) = (gap, Some(now));
            }
        }
        if let Some(said_at) = line.said_at {
            let delay = now.saturating_duration_since(said_at);
            self.delay_max = self.delay_max.max(delay);
            if self.delays.is_empty() {
                self.delays = vec![0; DELAY_MS_MAX + 1];
            }
            self.delays[(delay.as_millis() as usize).min(DELAY_MS_MAX)] += 1;
        }
        self.total = line.total;
        if !line.whole {
            self.damaged += 1;
            return Verdict::Wrong;
        }
        if line.sequence < self.next {
            self.doubled += 1;
            return Verdict::Wrong;
        }
        self.received += 1;
        let missed = line.sequence - self.next;
        self.missed += missed;
        self.next = line.sequence + 1;
        match missed {
            0 if self.is_complete() => Verdict::Complete,
            0 => Verdict::Right,
            _ => Verdict::Wrong,
        }
    }

    pub(crate) const fn is_right(&self) -> bool {
        self.doubled == 0 && self.missed == 0 && self.damaged == 0
    }

    pub(crate) fn report(&self, start: Instant) -> Report {
        let measured = !self.delays.is_empty();
        Report {
            first: self.first,
            received: self.received,
            doubled: self.doubled,
            missed: self.missed,
            damaged: self.damaged,
            complete: self.is_complete(),
            longest_gap_ms: ms(self.longest_gap),
            longest_gap_at_ms: self.longest_gap_at.map(|at| ms(at - start)),
            delay_p50_ms: self.delay(50),
            delay_p99_ms: self.delay(99),
            delay_max_ms: measured.then(|| ms(self.delay_max)),
        }
    }

    const fn is_complete(&self) -> bool {
        self.is_right() && self.total > 0 && self.next == self.total
    }

    /// The delay in milliseconds that so many in a hundred lines stayed within.
    fn delay(&self, percent: u64) -> Option<usize> {
        let all: u64 = self.delays.iter().map(|count| u64::from(*count)).sum();
        let wanted = (all * percent).div_ceil(100).max(1);
        let mut sum = 0;
        self.delays.iter().position(|count| {
            sum += u64::from(*count);
            sum >= wanted
        })
    }
}

/// Milliseconds to the microsecond.
pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(sequence: u64, said_at: Option<Instant>) -> Numbered {
        Numbered { stream: "s".into(), sequence, total: 4, said_at, whole: true }
    }

    #[tokio::test(start_paused = true)]
    async fn gaps_and_delays_are_measured() {
        let start = Instant::now();
        let mut check = Check::new(0);
        for (sequence, wait) in [(0, 0), (1, 20), (2, 400), (3, 20)] {
            tokio::time::advance(Duration::from_millis(wait)).await;
            let said_at = Instant::now() - Duration::from_millis(wait / 2);
            let verdict = check.heard(Instant::now(), &line(sequence, Some(said_at)));
            assert_eq!(verdict, if sequence == 3 { Verdict::Complete } else { Verdict::Right });
        }
        let report = check.report(start);
        assert!(report.complete);
        assert_eq!((report.longest_gap_ms, report.longest_gap_at_ms), (400.0, Some(420.0)));
        assert_eq!(
            (report.delay_p50_ms, report.delay_p99_ms, report.delay_max_ms),
            (Some(10), Some(200), Some(200.0))
        );
    }

    #[tokio::test]
    async fn every_fault_is_found() {
        let now = Instant::now();
        let verdicts = |sequences: &[u64]| {
            let mut check = Check::new(0);
            let wrong =
                sequences.iter().filter(|of| check.heard(now, &line(**of, None)) == Verdict::Wrong).count();
            (wrong, check.doubled, check.missed, check.is_complete())
        };
        assert_eq!(verdicts(&[0, 1, 2, 3]), (0, 0, 0, true));
        assert_eq!(verdicts(&[0, 1, 1, 2, 3]), (1, 1, 0, false));
        assert_eq!(verdicts(&[0, 2, 3]), (1, 0, 1, false));
        assert_eq!(verdicts(&[0, 2, 1, 3]), (2, 1, 1, false));
        assert_eq!(verdicts(&[1, 2, 3]), (1, 0, 1, false));
        let mut check = Check::new(0);
        assert_eq!(check.heard(now, &Numbered { whole: false, ..line(0, None) }), Verdict::Wrong);
        assert_eq!((check.damaged, check.is_right()), (1, false));
    }
}
