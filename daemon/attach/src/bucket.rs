//! Token buckets: a sustained rate with a burst \[FLW-4\]. Rate 0 means no limit.

use std::sync::Mutex;
use std::time::Duration;

use proto_spec::Timestamp;

const NANOS: i128 = 1_000_000_000;

/// A bucket of bytes. May fall into debt when it is charged after the fact.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    rate_bytes: u64,
    burst_bytes: u64,
    /// In billionths of a byte, so that no rate is rounded away.
    level: i128,
    filled_at: Timestamp,
}

impl TokenBucket {
    /// A full bucket; `rate_bytes` is per second, 0 for no limit.
    pub fn new(rate_bytes: u64, burst_bytes: u64, now: Timestamp) -> TokenBucket {
        TokenBucket { rate_bytes, burst_bytes, level: i128::from(burst_bytes) * NANOS, filled_at: now }
    }

    /// Whole bytes that may be taken now; `u64::MAX` without a limit.
    pub fn available(&mut self, now: Timestamp) -> u64 {
        if self.rate_bytes == 0 {
            return u64::MAX;
        }
        self.fill(now);
        u64::try_from(self.level.max(0) / NANOS).unwrap_or(u64::MAX)
    }

    /// Takes bytes, into debt if need be; never deeper than a hundred bursts, so that a bucket always recovers.
    pub fn charge(&mut self, now: Timestamp, bytes: u64) {
        if self.rate_bytes == 0 {
            return;
        }
        self.fill(now);
        let floor = -100 * i128::from(self.burst_bytes.max(1)) * NANOS;
        self.level = (self.level - i128::from(bytes) * NANOS).max(floor);
    }

    /// Takes bytes if all of them are there.
    pub fn try_take(&mut self, now: Timestamp, bytes: u64) -> bool {
        let enough = self.available(now) >= bytes;
        if enough {
            self.charge(now, bytes);
        }
        enough
    }

    /// When `bytes` will be there; `now` or earlier if they are.
    pub fn ready_at(&mut self, now: Timestamp, bytes: u64) -> Timestamp {
        if self.rate_bytes == 0 {
            return now;
        }
        self.fill(now);
        let missing = i128::from(bytes.min(self.burst_bytes)) * NANOS - self.level;
        if missing <= 0 {
            return now;
        }
        let nanos = missing / i128::from(self.rate_bytes) + 1;
        now + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn fill(&mut self, now: Timestamp) {
        let elapsed = now.since(self.filled_at).as_nanos().min(1 << 62) as i128;
        if elapsed > 0 {
            self.filled_at = now;
            let gained = elapsed.saturating_mul(i128::from(self.rate_bytes));
            self.level = self.level.saturating_add(gained).min(i128::from(self.burst_bytes) * NANOS);
        }
    }
}

/// A bucket that several attachments charge: a session's or an account's. Its lock is a leaf.
#[derive(Debug)]
pub struct SharedBucket(Mutex<TokenBucket>);

impl SharedBucket {
    /// A full bucket of one second's burst.
    pub fn new(rate_bytes: u64, now: Timestamp) -> SharedBucket {
        SharedBucket(Mutex::new(TokenBucket::new(rate_bytes, rate_bytes, now)))
    }

    /// As [`TokenBucket::charge`].
    pub fn charge(&self, now: Timestamp, bytes: u64) {
        self.lock().charge(now, bytes);
    }

    /// When the bucket is out of debt.
    pub fn ready_at(&self, now: Timestamp) -> Timestamp {
        self.lock().ready_at(now, 0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, TokenBucket> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp(Duration::from_millis(ms))
    }

    #[test]
    fn burst_then_rate() {
        let mut bucket = TokenBucket::new(1_000, 500, at(0));
        assert!(bucket.try_take(at(0), 500));
        assert!(!bucket.try_take(at(0), 1));
        assert!(!bucket.try_take(at(99), 100));
        assert!(bucket.try_take(at(100), 100));
        assert_eq!(bucket.available(at(10_000)), 500);
    }

    #[test]
    fn debt_is_paid_off_in_time() {
        let mut bucket = TokenBucket::new(1_000, 100, at(0));
        bucket.charge(at(0), 1_100);
        assert_eq!(bucket.available(at(500)), 0);
        let ready = bucket.ready_at(at(500), 0);
        assert!(ready >= at(1_000) && ready < at(1_001));
        assert_eq!(bucket.available(at(1_100)), 100);
    }

    #[test]
    fn no_rate_is_no_limit() {
        let mut bucket = TokenBucket::new(0, 0, at(0));
        bucket.charge(at(0), u64::MAX);
        assert_eq!(bucket.available(at(0)), u64::MAX);
        assert_eq!(bucket.ready_at(at(3), 9), at(3));
    }
}
