//! Rates: so many at once, so many a second. In thousandths of a token, so that it is exact on every platform.

use proto_spec::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Bucket {
    rate: u32,
    burst: u32,
    millis: u64,
    filled_at: Timestamp,
}

impl Bucket {
    pub(crate) fn new(rate: u32, burst: u32, now: Timestamp) -> Bucket {
        Bucket { rate, burst, millis: u64::from(burst) * 1_000, filled_at: now }
    }

    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        let elapsed_ms = now.since(self.filled_at).as_millis() as u64;
        if elapsed_ms > 0 {
            self.filled_at = now;
            let full = u64::from(self.burst) * 1_000;
            self.millis = self.millis.saturating_add(elapsed_ms.saturating_mul(self.rate.into())).min(full);
        }
        let fits = self.millis >= 1_000;
        if fits {
            self.millis -= 1_000;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn burst_then_rate() {
        let at = |ms| Timestamp(Duration::from_millis(ms));
        let mut bucket = Bucket::new(2, 3, at(0));
        assert_eq!((0..5).filter(|_| bucket.take(at(0))).count(), 3);
        assert!(!bucket.take(at(499)));
        assert!(bucket.take(at(1_000)));
        assert_eq!((0..9).filter(|_| bucket.take(at(1_000_000))).count(), 3, "never above the burst");
    }
}
