//! Property 7: each session in the broker's store has an owner, a provider's account, that is known to hold it as long as
//! it lasts; and no number of a session is ever given to two endpoints.

use std::collections::{BTreeMap, BTreeSet};

use proto_spec::{SenderNumber, SessionId};
use sealcast_broker::record::{AccountRecord, AccountRole, SessionRecord, decode};
use sealcast_broker::{Key, keys};

use super::Property;
use crate::sim::World;

/// How the keys of sessions start in the store.
const TABLE: &[u8] = b"session/";

/// What the broker has said of sessions.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    known: BTreeSet<SessionId>,
    /// The attach key that each number was given to.
    given: BTreeMap<(SessionId, SenderNumber), [u8; 32]>,
}

impl World {
    /// The broker has changed its store.
    pub(crate) fn check_store(&mut self, changed: &[Key]) {
        for key in changed {
            let id = key.0.strip_prefix(TABLE).and_then(|id| <[u8; 16]>::try_from(id).ok());
            for what in id.map(|id| self.faults_of(SessionId(id))).unwrap_or_default() {
                self.violated(Property::Sessions, what);
            }
        }
    }

    fn faults_of(&mut self, id: SessionId) -> Vec<String> {
        let store = &self.people.broker.store;
        // Forgotten after a year.
        let Some(bytes) = store.get(&keys::session(id)) else { return Vec::new() };
        let Some(session) = decode::<SessionRecord>(bytes) else {
            return vec![format!("session {id:?} cannot be read")];
        };
        let owner = store.get(&keys::account(session.account)).and_then(decode::<AccountRecord>);
        let held = store.get(&keys::opened(session.account, id)).is_some();
        let live = store.get(&keys::live(id)).is_some();
        let lasts = session.ended.is_none();
        let mut faults = Vec::new();
        // An account may be removed later; its sessions last until they end.
        let may_open = owner.is_some_and(|owner| owner.roles.contains(&AccountRole::Provider));
        if self.checkers.sessions.known.insert(id) && !may_open {
            faults.push(format!("session {id:?} was opened by account {}, no provider's", session.account));
        }
        if held != lasts || live != lasts {
            let is = if lasts { "lasts" } else { "has ended" };
            faults.push(format!(
                "session {id:?} {is}; among its account's: {held}, among those that last: {live}"
            ));
        }
        let mut before = 0;
        for member in &session.members {
            let number = member.number.value();
            if number <= before || u32::from(number) >= session.next_number {
                faults.push(format!("session {id:?} has number {number} after {before}"));
            }
            before = number;
        }
        faults
    }

    /// The broker has given a number of a session to whoever holds this key.
    pub(crate) fn check_number(&mut self, session: SessionId, number: SenderNumber, key: [u8; 32]) {
        let before = *self.checkers.sessions.given.entry((session, number)).or_insert(key);
        if before != key {
            let what = format!("number {number} of session {session:?} was given to two endpoints");
            self.violated(Property::Sessions, what);
        }
    }
}
