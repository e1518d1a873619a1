//! What the broker asks of a store: keys in order, conditional commits; and where a session is, of the overlay. Both are the
//! shell's.

use std::collections::BTreeMap;

use proto_spec::SessionId;
use sealcast_placement::SessionPlace;

/// A key; keys order as bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub Vec<u8>);

impl std::fmt::Debug for Key {
    /// A key may hold an e-mail address or a number: only its table is printed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let table = self.0.split(|byte| *byte == b'/').next().unwrap_or_default();
        write!(f, "Key({}/..)", String::from_utf8_lossy(table))
    }
}

/// A stretch of keys from `start` to before `end`, in their order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Range {
    /// First key.
    pub start: Key,
    /// One past the last key.
    pub end: Key,
    /// Entries at most.
    pub limit: usize,
    /// From the end instead of from the start.
    pub reverse: bool,
}

/// Something to be read before a decision can be made.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Read {
    /// One key.
    Point(Key),
    /// A stretch of keys.
    Range(Range),
    /// Where a session is; not of the store, and no condition of a commit.
    Session(SessionId),
}

/// The condition of a commit: this key still has this value, or still none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compare {
    /// The key.
    pub key: Key,
    /// Its value as read, `None` for absent.
    pub expected: Option<Vec<u8>>,
}

/// One change of a commit; all of them happen or none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Op {
    /// Writes a value.
    Put(Key, Vec<u8>),
    /// Removes a key.
    Delete(Key),
}

impl Op {
    /// The key that is changed.
    pub const fn key(&self) -> &Key {
        match self {
            Op::Put(key, _) | Op::Delete(key) => key,
        }
    }
}

/// What has been read for one decision.
#[derive(Clone, Debug, Default)]
pub struct ReadSet {
    points: BTreeMap<Key, Option<Vec<u8>>>,
    ranges: BTreeMap<Range, Vec<(Key, Vec<u8>)>>,
    sessions: BTreeMap<SessionId, SessionPlace>,
}

impl ReadSet {
    /// Nothing read yet.
    pub fn new() -> ReadSet {
        ReadSet::default()
    }

    /// Notes a key's value.
    pub fn insert(&mut self, key: Key, value: Option<Vec<u8>>) {
        self.points.insert(key, value);
    }

    /// Notes the entries of a stretch.
    pub fn insert_range(&mut self, range: Range, entries: Vec<(Key, Vec<u8>)>) {
        self.ranges.insert(range, entries);
    }

    /// Notes where a session is.
    pub fn insert_session(&mut self, session: SessionId, place: SessionPlace) {
        self.sessions.insert(session, place);
    }

    pub(crate) fn session(&self, session: SessionId) -> Option<&SessionPlace> {
        self.sessions.get(&session)
    }

    /// `None` when the key has not been read, `Some(None)` when it is absent.
    pub(crate) fn point(&self, key: &Key) -> Option<Option<&[u8]>> {
        self.points.get(key).map(Option::as_deref)
    }

    pub(crate) fn range(&self, range: &Range) -> Option<&[(Key, Vec<u8>)]> {
        self.ranges.get(range).map(Vec::as_slice)
    }
}
