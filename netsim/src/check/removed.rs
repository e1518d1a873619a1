//! Property 12: a removed member reads nothing that was said after its removal, and what it says is taken by nobody who
//! knows of it [GRP-9] [GRP-11].

use std::collections::BTreeMap;
use std::time::Duration;

use proto_spec::{SenderNumber, Timestamp};

use super::Property;
use super::delivery::PersonId;
use crate::sim::World;

/// Whoever has not heard of the removal seals nothing any more after this.
const HEARD_MAX: Duration = Duration::from_secs(30);

/// Who was removed.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    dismissed: BTreeMap<PersonId, Dismissed>,
}

#[derive(Debug)]
struct Dismissed {
    number: SenderNumber,
    by: PersonId,
    at: Timestamp,
    /// Since when each of the others knows.
    known: BTreeMap<PersonId, Timestamp>,
}

impl Removed {
    /// A leader's user removes a member.
    pub(crate) fn dismiss(&mut self, who: PersonId, number: SenderNumber, by: PersonId, at: Timestamp) {
        self.dismissed.insert(who, Dismissed { number, by, at, known: BTreeMap::new() });
    }

    /// A member is told that this number is out.
    pub(crate) fn known(&mut self, to: PersonId, of: PersonId, at: Timestamp) {
        if let Some(dismissed) = self.dismissed.get_mut(&of) {
            dismissed.known.entry(to).or_insert(at);
        }
    }
}

impl Dismissed {
    /// From when on nothing that somebody says may be read.
    fn deaf_to(&self, from: PersonId) -> Timestamp {
        let latest = self.at + HEARD_MAX;
        let known = if from == self.by { Some(self.at) } else { self.known.get(&from).copied() };
        known.map_or(latest, |known| known.min(latest))
    }
}

impl World {
    /// A line is shown to a user.
    pub(crate) fn check_line(&mut self, to: PersonId, from: PersonId, line: u64) {
        let removed = &self.checkers.removed.dismissed;
        let name = |who: PersonId| &self.people.persons[who].name;
        let mut found = Vec::new();
        if let (Some(dismissed), Some(said)) = (removed.get(&to), self.checkers.delivery.said_at(from, line))
            && said > dismissed.deaf_to(from)
        {
            found.push(format!(
                "{} reads line {line} of {}, said {} ms after its removal",
                name(to),
                name(from),
                said.since(dismissed.at).as_millis()
            ));
        }
        if let Some(dismissed) = removed.get(&from)
            && let Some(known) = dismissed.known.get(&to)
        {
            let ms = self.now.since(*known).as_millis();
            found.push(format!(
                "{} takes line {line} of number {}, {ms} ms after it was told of its removal",
                name(to),
                dismissed.number
            ));
        }
        for what in found {
            self.violated(Property::Removed, what);
        }
    }
}
