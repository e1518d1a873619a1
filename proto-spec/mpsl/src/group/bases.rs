//! Our own base statement: what it says, who has not acknowledged it, when it is repeated \[REC-12\].

use std::collections::BTreeSet;
use std::time::Duration;

use proto_spec::frame::Destination;
use proto_spec::mpsl::epoch::{ChannelBase, SessionRecord};
use proto_spec::{SenderNumber, Timestamp, Wire};

/// First pause before a statement is repeated to those who have not acknowledged it.
pub const BASES_REPEAT_MIN: Duration = Duration::from_secs(1);
/// Pauses double up to this; it bounds what an absent member costs.
pub const BASES_REPEAT_MAX: Duration = Duration::from_secs(5);

/// The statement of the present epoch.
#[derive(Debug, Default)]
pub(crate) struct OwnBases {
    /// `None` until the layer above has said where its channels stand.
    statement: Option<Vec<u8>>,
    waiting: BTreeSet<SenderNumber>,
    others: usize,
    repeat_at: Timestamp,
    pause: Duration,
}

impl OwnBases {
    /// A new epoch with these other members: nothing is stated yet.
    pub(crate) fn reset(&mut self, others: impl Iterator<Item = SenderNumber>) {
        self.statement = None;
        self.waiting = others.collect();
        self.others = self.waiting.len();
    }

    /// Sets what is to be stated; later calls in one epoch change nothing.
    pub(crate) fn state(&mut self, now: Timestamp, bases: Vec<ChannelBase>) {
        if self.statement.is_none() {
            self.statement = Some(SessionRecord::Bases(bases).to_bytes());
            self.repeat_at = now;
            self.pause = BASES_REPEAT_MIN;
        }
    }

    /// Whether records may be sealed.
    pub(crate) const fn stated(&self) -> bool {
        self.statement.is_some()
    }

    /// Members that have not acknowledged.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = SenderNumber> + '_ {
        self.waiting.iter().copied()
    }

    /// A member can be reached now: if it waits, the statement is due at once.
    pub(crate) fn reachable(&mut self, now: Timestamp, member: SenderNumber) {
        if self.waiting.contains(&member) {
            self.repeat_at = now;
            self.pause = BASES_REPEAT_MIN;
        }
    }

    pub(crate) fn acknowledged(&mut self, by: SenderNumber) {
        self.waiting.remove(&by);
    }

    /// The statement and whom it goes to, if it is due.
    pub(crate) fn due(&mut self, now: Timestamp) -> Option<(Vec<u8>, Destination)> {
        let statement =
            self.statement.clone().filter(|_| !self.waiting.is_empty() && now >= self.repeat_at)?;
        self.repeat_at = now + self.pause;
        self.pause = (self.pause * 2).min(BASES_REPEAT_MAX);
        let to = if self.waiting.len() == self.others {
            Destination::All
        } else {
            Destination::Members(self.waiting.iter().copied().collect())
        };
        Some((statement, to))
    }

    /// When it is due again.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        (self.statement.is_some() && !self.waiting.is_empty()).then_some(self.repeat_at)
    }
}
