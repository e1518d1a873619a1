//! What the mesh has been told of this node's attachments, and what it has yet to be told.
//!
//! Changes are not queued but compared: of each number the newest state counts, so what waits is bounded by who is or
//! was attached, and nothing is lost however slow the listener is.

use std::collections::BTreeMap;

use proto_spec::membership::{MemberKind, MembershipEntry};
use proto_spec::{AttachSeq, SenderNumber, SessionId};

/// What the mesh is to be told \[MBR-1\].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// An endpoint is attached, or in another way than before.
    Attached {
        /// Its session.
        session: SessionId,
        /// Number, kind, sequence, hash of the ticket.
        entry: MembershipEntry,
        /// Whether its endpoint waits for `ready` \[MBR-10\].
        ready: bool,
    },
    /// An endpoint is gone.
    Detached {
        /// Its session.
        session: SessionId,
        /// Its number.
        number: SenderNumber,
        /// Which attachment the mesh had been told of.
        attach_seq: AttachSeq,
    },
}

type Key = (SessionId, SenderNumber);

#[derive(Debug, Default)]
pub(super) struct Told {
    entries: BTreeMap<Key, MembershipEntry>,
    /// Numbers that may have changed, and whether `ready` is waited for.
    dirty: BTreeMap<Key, bool>,
}

impl Told {
    pub(super) fn touch(&mut self, session: SessionId, number: SenderNumber, ready: bool) {
        *self.dirty.entry((session, number)).or_default() |= ready;
    }

    pub(super) fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The next change; `now` tells how a number is attached here.
    pub(super) fn poll(&mut self, now: impl Fn(Key) -> Option<MembershipEntry>) -> Option<Change> {
        while let Some((key, ready)) = self.dirty.pop_first() {
            let (session, number) = key;
            let (now, told) = (now(key), self.entries.get(&key).copied());
            // The mesh takes no older attachment for a newer one: the newer goes first. So does one that is no more.
            if let Some(told) = told
                && now.is_none_or(|entry| entry.attach_seq < told.attach_seq)
            {
                self.entries.remove(&key);
                if now.is_some() {
                    self.dirty.insert(key, ready);
                }
                return Some(Change::Detached { session, number, attach_seq: told.attach_seq });
            }
            let Some(entry) = now else { continue };
            let ready = ready && entry.kind == MemberKind::Active;
            if ready || told != Some(entry) {
                self.entries.insert(key, entry);
                return Some(Change::Attached { session, entry, ready });
            }
        }
        None
    }
}
