//! Whether the own node is dead although its connection stands \[SES-18\]: asks both nodes and compares their silence.
//! Never ends anything by itself.

use proto_spec::{Now, Timestamp};

use super::Line;
use crate::config::{SUSPICION_MIN, SUSPICION_PAUSE, SUSPICION_ROUND_TRIPS};

/// Suspicions of one endpoint, one at a time.
#[derive(Default)]
pub(super) struct Suspicions {
    open: Option<Open>,
    /// Not before this.
    next_from: Timestamp,
    /// A hint came before its time.
    wanted: bool,
}

struct Open {
    /// What had been heard of either when they were asked.
    active_heard: u64,
    standby_heard: u64,
    deadline: Timestamp,
    expired: bool,
}

impl Suspicions {
    /// There is a reason: pings both nodes, or later if the last suspicion has just ended.
    pub(super) fn raise(&mut self, now: Now, active: &mut Line, standby: &mut Line) {
        if self.open.is_some() {
            return;
        }
        if now.mono < self.next_from {
            self.wanted = true;
            return;
        }
        self.wanted = false;
        let patience = active
            .client
            .round_trip()
            .map_or(SUSPICION_MIN, |round_trip| (round_trip * SUSPICION_ROUND_TRIPS).max(SUSPICION_MIN));
        self.open = Some(Open {
            active_heard: active.client.heard(),
            standby_heard: standby.client.heard(),
            deadline: now.mono + patience,
            expired: false,
        });
        active.client.ping(now);
        standby.client.ping(now);
    }

    /// Whether the active attachment's node is dead by all that is known: it stayed silent, the standby's did not.
    pub(super) fn judge(&mut self, now: Now, active: &Line, standby: &Line) -> bool {
        let Some(open) = &mut self.open else { return false };
        if active.client.heard() != open.active_heard {
            self.open = None;
            self.next_from = now.mono + SUSPICION_PAUSE;
            return false;
        }
        open.expired = open.deadline <= now.mono;
        open.expired && standby.client.heard() != open.standby_heard
    }

    /// One of the two is gone: there is nothing to compare.
    pub(super) const fn drop(&mut self) {
        self.open = None;
        self.wanted = false;
    }

    /// Whether a reason that came too early is to be followed now.
    pub(super) fn is_due(&self, now: Now) -> bool {
        self.wanted && self.open.is_none() && self.next_from <= now.mono
    }

    /// From when on a new suspicion may be raised; `None` while there is one.
    pub(super) fn may_raise_at(&self) -> Option<Timestamp> {
        self.open.is_none().then_some(self.next_from)
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        match &self.open {
            Some(open) => (!open.expired).then_some(open.deadline),
            None => self.wanted.then_some(self.next_from),
        }
    }
}
