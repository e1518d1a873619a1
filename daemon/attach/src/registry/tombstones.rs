//! What has ended and may not come back while tickets for it could still be valid \[ATT-11\].

use std::collections::BTreeMap;

use proto_spec::ticket::Claims;
use proto_spec::{Refusal, SenderNumber, SessionId, WallTime};

use crate::config::TOMBSTONES_MAX;

/// A session (`None`) or one number of it.
type Subject = (SessionId, Option<SenderNumber>);

#[derive(Debug, Default)]
pub(super) struct Tombstones {
    keep_until: BTreeMap<Subject, WallTime>,
    /// The same, soonest over first, so that the ones that matter least are forgotten first.
    by_end: BTreeMap<(WallTime, Subject), ()>,
}

impl Tombstones {
    pub(super) fn insert(
        &mut self,
        now: WallTime,
        session: SessionId,
        number: Option<SenderNumber>,
        keep_until: WallTime,
    ) {
        while let Some(((end, subject), ())) = self.by_end.first_key_value() {
            if *end > now && self.by_end.len() < TOMBSTONES_MAX {
                break;
            }
            self.keep_until.remove(subject);
            self.by_end.pop_first();
        }
        let subject = (session, number);
        let longest = self.keep_until.get(&subject).map_or(keep_until, |other| keep_until.max(*other));
        if let Some(other) = self.keep_until.insert(subject, longest) {
            self.by_end.remove(&(other, subject));
        }
        self.by_end.insert((longest, subject), ());
    }

    pub(super) fn check(&self, claims: &Claims, now: WallTime) -> Result<(), Refusal> {
        let ended = |number| self.keep_until.get(&(claims.session, number)).is_some_and(|end| *end > now);
        if ended(None) {
            return Err(Refusal::SessionEnded);
        }
        if ended(Some(claims.number)) {
            return Err(Refusal::MemberRemoved);
        }
        Ok(())
    }
}
