//! Time as the cores see it: handed in with each input, never read \[CON-6\].

use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A point on the monotonic clock of one process, counted from its start. Drives every timer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
pub struct Timestamp(pub Duration);

impl Timestamp {
    /// The process's start.
    pub const ZERO: Timestamp = Timestamp(Duration::ZERO);

    /// Time since `earlier`; zero if that lies ahead.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;

    fn add(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(duration))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;

    fn sub(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(duration))
    }
}

/// Wall-clock time in milliseconds since the Unix epoch. Serves the validity of signed things and audit, no timer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WallTime(pub u64);

impl WallTime {
    /// Whole seconds since the Unix epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000
    }

    /// This time and a duration later.
    pub const fn plus(self, duration: Duration) -> WallTime {
        WallTime(self.0.saturating_add(duration.as_millis() as u64))
    }

    /// This time less a duration.
    pub const fn minus(self, duration: Duration) -> WallTime {
        WallTime(self.0.saturating_sub(duration.as_millis() as u64))
    }
}

/// The two clocks of a node or endpoint at the moment of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Now {
    /// For timers.
    pub mono: Timestamp,
    /// For validity of signed things.
    pub wall: WallTime,
}
