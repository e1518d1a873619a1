//! Endpoints that come and go: how many, how long, from where; and how late brokers hear of loads.

use std::time::Duration;

/// Sessions that arrive, in place of sessions by name. All regions' weights are parts of their sum.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arrivals {
    /// How the rate goes.
    pub kind: ArrivalKind,
    /// Sessions a minute: throughout, before and after a crowd, or where a day is at its height.
    pub sessions_per_min: u64,
    /// How many of them come from each region.
    pub weights: Vec<u64>,
    /// How many of a session's further endpoints are in the first one's region; the others are by weight.
    pub together_percent: u64,
    /// A session's endpoints come within this of the first.
    pub join: Duration,
    /// The largest session; sizes are Pareto from 2.
    pub size_max: u64,
    /// Their exponent, in hundredths.
    pub size_alpha_percent: u64,
    /// How long sessions last.
    pub length: Length,
    /// Half of all sessions last no longer.
    pub length_median: Duration,
    /// None lasts longer.
    pub length_max: Duration,
}

/// How the rate of arrivals goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ArrivalKind {
    /// Evenly.
    Poisson,
    /// Many times as many for a while.
    FlashCrowd {
        /// When it begins.
        at: Duration,
        /// How long it lasts.
        lasts: Duration,
        /// How many times as many.
        times: u64,
        /// Where alone; `None` for everywhere.
        region: Option<usize>,
    },
    /// Up and down, at another hour in each region.
    Diurnal {
        /// From height to height.
        day: Duration,
        /// When each region is at its height.
        peaks: Vec<Duration>,
        /// What is left of the rate at the lowest.
        low_percent: u64,
    },
}

/// How the lengths of sessions are spread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// With the standard deviation of the logarithm, in hundredths.
    Lognormal(u64),
    /// With the exponent, in hundredths.
    Pareto(u64),
}

/// How brokers hear of loads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reports {
    /// Each node reports this often.
    pub interval: Duration,
    /// So old is a report when it is heard.
    pub age: Duration,
}
