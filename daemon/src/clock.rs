//! The clocks of the process, read here and handed to the cores with each input. Never waits.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use proto_spec::{Now, Timestamp, WallTime};

/// Monotonic time since start and wall-clock time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    /// By how much the wall clock is set ahead; in tests alone.
    ahead: Duration,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    pub fn start() -> Clock {
        Clock { started: Instant::now(), ahead: Duration::ZERO }
    }

    /// The same with a wall clock that is wrong.
    #[cfg(test)]
    pub(crate) fn set_ahead(self, ahead: Duration) -> Clock {
        Clock { ahead, ..self }
    }

    /// Both clocks now.
    pub fn now(&self) -> Now {
        Now { mono: Timestamp(self.started.elapsed()), wall: wall_now().plus(self.ahead) }
    }

    /// The instant a monotonic timestamp stands for, for timers of the runtime.
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.started + at.0
    }
}

/// The wall clock. A clock before 1970 reads as 1970: nothing signed is valid then.
fn wall_now() -> WallTime {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clocks_go_forward() {
        let clock = Clock::start();
        let first = clock.now();
        let second = clock.now();
        assert!(second.mono >= first.mono);
        assert!(first.wall.seconds() > 1_700_000_000, "{first:?}");
        assert!(clock.instant(second.mono) >= clock.instant(first.mono));
    }
}
