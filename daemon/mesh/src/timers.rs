//! When each part of the node wants to be called: one deadline for each purpose.

use std::collections::BTreeMap;

use proto_spec::Timestamp;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub(crate) enum Timer {
    Hold,
    Originate,
    Refresh,
    Parked,
    Age,
    Digest,
    Spf,
    Dial,
    Excess,
    Tell,
    HomeDigest,
    Housekeeping,
    Ready,
    Tombstones,
    Handover,
    Drain,
    Doubt,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Timers(BTreeMap<Timer, Timestamp>);

impl Timers {
    pub(crate) fn set(&mut self, timer: Timer, at: Timestamp) {
        self.0.insert(timer, at);
    }

    /// Sets it unless it is set for earlier.
    pub(crate) fn no_later(&mut self, timer: Timer, at: Timestamp) {
        let set = self.0.entry(timer).or_insert(at);
        *set = (*set).min(at);
    }

    /// Takes the earliest that is due.
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<Timer> {
        let (at, timer) = self.0.iter().map(|(timer, at)| (*at, *timer)).min()?;
        (at <= now).then(|| {
            self.0.remove(&timer);
            timer
        })
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.0.values().min().copied()
    }
}
