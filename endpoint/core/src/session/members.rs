//! Who is in the session: the leader's signed roster, with the relay's word on presence beside it, and at a customer
//! whom its user has accepted \[SES-7\].

use std::collections::{BTreeMap, BTreeSet};

use proto_spec::SenderNumber;

use crate::event::Member;
use crate::security::RosterEntry;

#[derive(Default)]
pub(super) struct Members {
    known: BTreeMap<SenderNumber, RosterEntry>,
    present: BTreeSet<SenderNumber>,
    said_goodbye: BTreeSet<SenderNumber>,
    accepted: BTreeSet<SenderNumber>,
    denied: BTreeSet<SenderNumber>,
}

/// How a roster differs from the one before.
pub(super) struct Change {
    pub(super) joined: Vec<SenderNumber>,
    pub(super) left: Vec<Departed>,
}

/// A member that is in no roster any more.
pub(super) struct Departed {
    pub(super) number: SenderNumber,
    pub(super) name: String,
    /// Without a goodbye of its own.
    pub(super) removed: bool,
}

impl Members {
    pub(super) fn update(&mut self, roster: &[RosterEntry]) -> Change {
        let fresh: BTreeMap<_, _> = roster.iter().map(|entry| (entry.number, entry.clone())).collect();
        let joined = fresh.keys().filter(|number| !self.known.contains_key(number)).copied().collect();
        let gone: Vec<_> =
            self.known.values().filter(|old| !fresh.contains_key(&old.number)).cloned().collect();
        let left = gone
            .into_iter()
            .map(|old| {
                self.present.remove(&old.number);
                self.accepted.remove(&old.number);
                self.denied.remove(&old.number);
                let removed = !self.said_goodbye.remove(&old.number);
                Departed { number: old.number, name: old.name, removed }
            })
            .collect();
        self.known = fresh;
        Change { joined, left }
    }

    pub(super) fn contains(&self, number: SenderNumber) -> bool {
        self.known.contains_key(&number)
    }

    pub(super) fn entry(&self, number: SenderNumber) -> Option<&RosterEntry> {
        self.known.get(&number)
    }

    /// As a member calls itself, or its number.
    pub(super) fn name(&self, number: SenderNumber) -> String {
        self.known.get(&number).map_or_else(|| format!("member {number}"), |entry| entry.name.clone())
    }

    pub(super) fn others(&self, me: SenderNumber) -> impl Iterator<Item = SenderNumber> + '_ {
        self.known.keys().copied().filter(move |number| *number != me)
    }

    /// A member said that it leaves.
    pub(super) fn goodbye(&mut self, number: SenderNumber) {
        if self.known.contains_key(&number) {
            self.said_goodbye.insert(number);
        }
    }

    /// The relay's word; whether what is shown changed.
    pub(super) fn presence(&mut self, number: SenderNumber, active: bool) -> bool {
        let changed = if active { self.present.insert(number) } else { self.present.remove(&number) };
        changed && self.known.contains_key(&number)
    }

    /// Everybody's presence anew, as a fresh attachment tells it.
    pub(super) fn forget_presence(&mut self) {
        self.present.clear();
    }

    pub(super) fn accept(&mut self, number: SenderNumber) {
        self.denied.remove(&number);
        self.accepted.insert(number);
    }

    pub(super) fn deny(&mut self, number: SenderNumber) {
        self.denied.insert(number);
    }

    /// Members that the user has not accepted, and of them one that was denied.
    pub(super) fn unaccepted(&self, me: SenderNumber) -> (usize, Option<SenderNumber>) {
        let open: Vec<_> = self.others(me).filter(|number| !self.accepted.contains(number)).collect();
        (open.len(), open.iter().find(|number| self.denied.contains(number)).copied())
    }

    /// As shown, by number.
    pub(super) fn list(&self, me: SenderNumber, leader: SenderNumber, attached: bool) -> Vec<Member> {
        self.known.values().map(|entry| self.shown(entry, me, leader, attached)).collect()
    }

    pub(super) fn member(
        &self,
        number: SenderNumber,
        me: SenderNumber,
        leader: SenderNumber,
    ) -> Option<Member> {
        self.known.get(&number).map(|entry| self.shown(entry, me, leader, true))
    }

    fn shown(&self, entry: &RosterEntry, me: SenderNumber, leader: SenderNumber, attached: bool) -> Member {
        let own = entry.number == me;
        Member {
            number: entry.number,
            name: entry.name.clone(),
            role: entry.role,
            me: own,
            leader: entry.number == leader,
            present: if own { attached } else { attached && self.present.contains(&entry.number) },
        }
    }
}
