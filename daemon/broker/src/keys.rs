//! The store's tables: how each key is spelled. Numbers are big-endian, so that their order is the keys'.
//!
//! ```text
//!  account/ID8              AccountRecord           session/ID16           SessionRecord
//!  email/ADDRESS            account id              live/ID16              creator's account
//!  credential/ID16          CredentialRecord        join/NUMBER4           JoinRecord
//!  held/ACCOUNT8 CRED16     when issued             tombstone/UNTIL8 ID16 NUM2  signed tombstone
//!  opened/ACCOUNT8 SESS16   when created            ended/TIME8 ID16       nothing: order of ending
//!  audit/INDEX8             link and record         checkpoint/INDEX8      signed checkpoint
//!  meta/audit-head          HeadRecord              meta/next-account      the next account's number
//!  meta/unknown-logins      how many
//! ```

use proto_spec::{SenderNumber, SessionId, SessionNumber, WallTime};

use crate::kv::{Key, Range};

fn key(table: &str, parts: &[&[u8]]) -> Key {
    let mut bytes = table.as_bytes().to_vec();
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    Key(bytes)
}

/// An account.
pub fn account(id: u64) -> Key {
    key("account/", &[&id.to_be_bytes()])
}

/// The account of a normalised address.
pub fn email(address: &str) -> Key {
    key("email/", &[address.as_bytes()])
}

/// A credential.
pub fn credential(id: &[u8; 16]) -> Key {
    key("credential/", &[id])
}

/// That an account holds a credential.
pub fn held(account: u64, credential: &[u8; 16]) -> Key {
    key("held/", &[&account.to_be_bytes(), credential])
}

/// That a live session was opened by an account.
pub fn opened(account: u64, session: SessionId) -> Key {
    key("opened/", &[&account.to_be_bytes(), &session.0])
}

/// A session.
pub fn session(id: SessionId) -> Key {
    key("session/", &[&id.0])
}

/// That a session lasts.
pub fn live(id: SessionId) -> Key {
    key("live/", &[&id.0])
}

/// When a session ended.
pub fn ended(time: WallTime, id: SessionId) -> Key {
    key("ended/", &[&time.0.to_be_bytes(), &id.0])
}

/// An open number.
pub fn join(number: SessionNumber) -> Key {
    key("join/", &[&number.value().to_be_bytes()])
}

/// A tombstone of a session (`None`) or member, in the order in which they are forgotten.
pub fn tombstone(keep_until: WallTime, id: SessionId, number: Option<SenderNumber>) -> Key {
    let number = number.map_or(0, SenderNumber::value);
    key("tombstone/", &[&keep_until.0.to_be_bytes(), &id.0, &number.to_be_bytes()])
}

/// An audit record.
pub fn audit(index: u64) -> Key {
    key("audit/", &[&index.to_be_bytes()])
}

/// A checkpoint on the audit.
pub fn checkpoint(index: u64) -> Key {
    key("checkpoint/", &[&index.to_be_bytes()])
}

/// The end of the audit. Watched by whoever follows it.
pub fn audit_head() -> Key {
    key("meta/audit-head", &[])
}

/// The next account's number.
pub fn next_account() -> Key {
    key("meta/next-account", &[])
}

/// Logins to addresses that nobody has: written so that they take as long as others.
pub fn unknown_logins() -> Key {
    key("meta/unknown-logins", &[])
}

/// All keys that start with `prefix` and come after `after`.
fn stretch(prefix: Key, after: Option<Key>, limit: usize) -> Range {
    let mut end = prefix.clone();
    // Every table ends with '/', whose successor ends the stretch; longer prefixes count up.
    while let Some(last) = end.0.pop() {
        if last < u8::MAX {
            end.0.push(last + 1);
            break;
        }
    }
    let start = match after {
        Some(mut key) => {
            key.0.push(0);
            key
        }
        None => prefix,
    };
    Range { start, end, limit, reverse: false }
}

/// Addresses after one.
pub fn emails_after(after: &str, limit: usize) -> Range {
    let after = (!after.is_empty()).then(|| email(after));
    stretch(key("email/", &[]), after, limit)
}

/// An account's credentials.
pub fn held_by(account: u64, limit: usize) -> Range {
    stretch(key("held/", &[&account.to_be_bytes()]), None, limit)
}

/// An account's live sessions.
pub fn opened_by(account: u64, limit: usize) -> Range {
    stretch(key("opened/", &[&account.to_be_bytes()]), None, limit)
}

/// All sessions after one.
pub fn sessions_after(after: Option<SessionId>, limit: usize) -> Range {
    stretch(key("session/", &[]), after.map(session), limit)
}

/// Live sessions after one.
pub fn live_after(after: Option<SessionId>, limit: usize) -> Range {
    stretch(key("live/", &[]), after.map(live), limit)
}

/// Sessions that ended, the oldest first.
pub fn ended_oldest(limit: usize) -> Range {
    stretch(key("ended/", &[]), None, limit)
}

/// Tombstones, those first that are over first.
pub fn tombstones_oldest(limit: usize) -> Range {
    tombstones_after(None, limit)
}

/// All tombstones after one: what a node loads when it starts, and watches.
pub fn tombstones_after(after: Option<Key>, limit: usize) -> Range {
    stretch(key("tombstone/", &[]), after, limit)
}

/// Prefix of the tombstones' keys, for a watch.
pub const TOMBSTONE_PREFIX: &[u8] = b"tombstone/";

/// Audit records from an index on.
pub fn audit_from(index: u64, limit: usize) -> Range {
    Range { start: audit(index), end: key("audit0", &[]), limit, reverse: false }
}

/// Checkpoints on records `from..=to`.
pub fn checkpoints_between(from: u64, to: u64, limit: usize) -> Range {
    Range { start: checkpoint(from), end: checkpoint(to.saturating_add(1)), limit, reverse: false }
}

/// The session id at the end of a key of `live` or `session` or `opened` or `ended`.
pub(crate) fn session_of(key: &Key) -> Option<SessionId> {
    key.0.last_chunk::<16>().map(|id| SessionId(*id))
}

/// The time that follows the table's name in a key of `ended` or `tombstone`.
pub(crate) fn time_of(key: &Key) -> Option<WallTime> {
    let table = key.0.iter().position(|byte| *byte == b'/')?;
    key.0[table + 1..].first_chunk::<8>().map(|time| WallTime(u64::from_be_bytes(*time)))
}

/// The credential id at the end of a key of `held`.
pub(crate) fn credential_of(key: &Key) -> Option<[u8; 16]> {
    key.0.last_chunk::<16>().copied()
}

/// The index at the end of a key of `audit` or `checkpoint`.
pub(crate) fn index_of(key: &Key) -> Option<u64> {
    key.0.last_chunk::<8>().map(|index| u64::from_be_bytes(*index))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(range: &Range, key: &Key) -> bool {
        range.start <= *key && *key < range.end
    }

    #[test]
    fn stretches_hold_their_table_and_nothing_else() {
        let id = SessionId([0xff; 16]);
        assert!(holds(&live_after(None, 1), &live(id)));
        assert!(!holds(&live_after(Some(id), 1), &live(id)));
        assert!(!holds(&live_after(None, 1), &session(id)));
        assert!(holds(&held_by(u64::MAX, 1), &held(u64::MAX, &[0xff; 16])));
        assert!(!holds(&held_by(7, 1), &held(8, &[0; 16])));
        assert!(!holds(&held_by(0xff, 1), &held(0x100, &[0; 16])));
        assert!(holds(&audit_from(5, 1), &audit(u64::MAX)));
        assert!(!holds(&audit_from(5, 1), &audit(4)));
        assert!(holds(&emails_after("a@b", 1), &email("a@b.c")));
        assert!(!holds(&emails_after("a@b", 1), &email("a@b")));
        assert!(holds(&ended_oldest(1), &ended(WallTime(u64::MAX), id)));
        assert!(!holds(&ended_oldest(1), &email("ended@b")));
        assert_eq!(time_of(&ended(WallTime(9), id)), Some(WallTime(9)));
        assert_eq!(time_of(&tombstone(WallTime(8), id, None)), Some(WallTime(8)));
        assert_eq!(session_of(&ended(WallTime(9), id)), Some(id));
    }

    #[test]
    fn keys_print_without_what_they_hold() {
        assert_eq!(format!("{:?}", email("alice@example.org")), "Key(email/..)");
    }
}
