//! Latest-wins channels: only the newest complete update of each key matters, and nothing is repaired \[CHN-12\].
//!
//! Parts of one update travel as records of their own and arrive in order or not at all. Nothing here is sealed, queued
//! or timed; the data frame's replace key lets relays drop older updates whole.

use std::collections::BTreeMap;

use bytes::Bytes;
use proto_spec::channel::LatestHeader;
use proto_spec::frame::Replace;
use proto_spec::{DecodeError, Reader, Wire};

/// Keys of one channel: tiles of a screen, far more than are updated at once.
pub const KEYS_MAX: usize = 1_024;
/// Parts of one update: 16 MiB in parts of 32 KiB, a large screen uncompressed.
pub const PARTS_MAX: u16 = 512;
/// Bytes of updates that are not complete yet, over all keys: one large screen uncompressed.
pub const PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The sender's side: numbers updates and cuts them into parts.
#[derive(Debug, Default)]
pub struct LatestSender {
    updates: BTreeMap<u16, u32>,
}

/// One part, ready to be sealed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// For the data frame.
    pub replace: Replace,
    /// Header and bytes.
    pub plaintext: Vec<u8>,
}

impl LatestSender {
    /// The parts of a key's next update; `None` if it has more than [`PARTS_MAX`], the key is one too many, or the
    /// key's updates are used up.
    ///
    /// # Panics
    /// If `plaintext_max` leaves no room behind the header: our own bug.
    pub fn update(&mut self, key: u16, content: &[u8], plaintext_max: usize) -> Option<Vec<Part>> {
        let room = plaintext_max.checked_sub(LatestHeader::LENGTH).filter(|room| *room > 0);
        let room = room.expect("a record holds more than a header");
        let count = content.len().div_ceil(room).max(1);
        if count > usize::from(PARTS_MAX)
            || !self.updates.contains_key(&key) && self.updates.len() == KEYS_MAX
        {
            return None;
        }
        let number = self.updates.get(&key).map_or(Some(0), |number| number.checked_add(1))?;
        self.updates.insert(key, number);
        let chunk_of = |part: usize| &content[part * room..content.len().min((part + 1) * room)];
        let parts = (0..count).map(|part| {
            let header = LatestHeader { key, update: number, part: part as u16, last: part + 1 == count };
            let mut plaintext = header.to_bytes();
            plaintext.extend_from_slice(chunk_of(part));
            Part { replace: Replace { key, update: number, last: header.last }, plaintext }
        });
        Some(parts.collect())
    }
}

/// The receiver's side: of each key the newest complete update, once.
#[derive(Debug, Default)]
pub struct LatestReceiver {
    /// The update that is expected next at the earliest.
    keys: BTreeMap<u16, Key>,
    pending_bytes: usize,
}

#[derive(Debug, Default)]
struct Key {
    /// Updates below were delivered or overtaken.
    from: u64,
    /// The update that is being gathered, and its parts so far, in order.
    pending: Option<(u32, Vec<Bytes>)>,
}

impl Key {
    fn pending_bytes(&self) -> usize {
        self.pending.as_ref().map_or(0, |(_, parts)| parts.iter().map(Bytes::len).sum())
    }
}

impl LatestReceiver {
    /// Takes a record's plaintext; returns the key and content of an update that is complete with it.
    ///
    /// # Errors
    /// [`DecodeError`] when it is no part, or there are more keys, parts or bytes than allowed.
    pub fn handle(&mut self, plaintext: &Bytes) -> Result<Option<(u16, Vec<u8>)>, DecodeError> {
        let header = LatestHeader::decode(&mut Reader::new(plaintext))?;
        if header.part >= PARTS_MAX {
            return Err(too_long("parts of an update", usize::from(header.part) + 1, usize::from(PARTS_MAX)));
        }
        if !self.keys.contains_key(&header.key) && self.keys.len() == KEYS_MAX {
            return Err(too_long("keys of a channel", KEYS_MAX + 1, KEYS_MAX));
        }
        let content = plaintext.slice(LatestHeader::LENGTH..);
        let key = self.keys.entry(header.key).or_default();
        if u64::from(header.update) < key.from {
            return Ok(None);
        }
        if key.pending.as_ref().is_none_or(|(update, _)| *update < header.update) {
            self.pending_bytes -= key.pending_bytes();
            key.from = u64::from(header.update);
            key.pending = Some((header.update, Vec::new()));
        }
        let Some((_, parts)) = key.pending.as_mut() else { return Ok(None) };
        if parts.len() != usize::from(header.part) {
            return Ok(None);
        }
        if self.pending_bytes + content.len() > PENDING_BYTES_MAX {
            let length = self.pending_bytes + content.len();
            return Err(too_long("updates that are not complete", length, PENDING_BYTES_MAX));
        }
        self.pending_bytes += content.len();
        parts.push(content);
        if !header.last {
            return Ok(None);
        }
        self.pending_bytes -= key.pending_bytes();
        key.from = u64::from(header.update) + 1;
        let parts = key.pending.take().map(|(_, parts)| parts).unwrap_or_default();
        Ok(Some((header.key, parts.concat())))
    }
}

const fn too_long(what: &'static str, length: usize, limit: usize) -> DecodeError {
    DecodeError::TooLong { what, length, limit }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAINTEXT_MAX: usize = LatestHeader::LENGTH + 4;

    fn parts(sender: &mut LatestSender, key: u16, content: &[u8]) -> Vec<Bytes> {
        let parts = sender.update(key, content, PLAINTEXT_MAX).unwrap();
        assert!(parts.iter().rev().skip(1).all(|part| !part.replace.last));
        assert!(parts.last().unwrap().replace.last);
        parts.into_iter().map(|part| part.plaintext.into()).collect()
    }

    fn feed(receiver: &mut LatestReceiver, parts: &[Bytes]) -> Vec<(u16, Vec<u8>)> {
        parts.iter().filter_map(|part| receiver.handle(part).unwrap()).collect()
    }

    /// \[CHN-12\]: complete updates arrive whole; empty ones too.
    #[test]
    fn updates_arrive_whole() {
        let (mut sender, mut receiver) = (LatestSender::default(), LatestReceiver::default());
        for content in [&b"123456789"[..], b"", b"abcd"] {
            let parts = parts(&mut sender, 7, content);
            assert_eq!(feed(&mut receiver, &parts), [(7, content.to_vec())]);
            assert!(feed(&mut receiver, &parts).is_empty(), "a repetition is nothing new");
        }
    }

    /// \[CHN-12\]: a newer update wins over an older one, whole or not.
    #[test]
    fn the_newest_wins() {
        let (mut sender, mut receiver) = (LatestSender::default(), LatestReceiver::default());
        let old = parts(&mut sender, 1, b"old old old");
        let new = parts(&mut sender, 1, b"new new");
        assert!(feed(&mut receiver, &old[..2]).is_empty());
        assert!(feed(&mut receiver, &new[..1]).is_empty());
        assert!(feed(&mut receiver, &old[2..]).is_empty());
        assert_eq!(feed(&mut receiver, &new[1..]), [(1, b"new new".to_vec())]);
        assert!(feed(&mut receiver, &old).is_empty());
        assert_eq!(receiver.pending_bytes, 0);
    }

    /// \[CHN-12\]: an update with a hole is never delivered, and makes way for the next.
    #[test]
    fn an_update_with_a_hole_is_not_delivered() {
        let (mut sender, mut receiver) = (LatestSender::default(), LatestReceiver::default());
        let mut holed = parts(&mut sender, 1, b"123456789");
        holed.remove(1);
        assert!(feed(&mut receiver, &holed).is_empty());
        let whole = parts(&mut sender, 1, b"whole");
        assert_eq!(feed(&mut receiver, &whole), [(1, b"whole".to_vec())]);
    }

    /// \[CHN-12\]: keys, parts and pending bytes at their limits.
    #[test]
    fn what_is_gathered_is_bounded() {
        let mut receiver = LatestReceiver::default();
        for key in 0..=KEYS_MAX as u16 {
            let header = LatestHeader { key, update: 0, part: 0, last: false };
            let result = receiver.handle(&header.to_bytes().into());
            assert_eq!(result.is_ok(), usize::from(key) < KEYS_MAX);
        }
        let header = LatestHeader { key: 0, update: 1, part: PARTS_MAX, last: false };
        assert!(receiver.handle(&header.to_bytes().into()).is_err());
        let mut big = LatestHeader { key: 0, update: 1, part: 0, last: false }.to_bytes();
        big.resize(LatestHeader::LENGTH + PENDING_BYTES_MAX, 0);
        assert!(receiver.handle(&big.into()).is_ok());
        let mut more = LatestHeader { key: 1, update: 1, part: 0, last: false }.to_bytes();
        more.push(0);
        assert!(receiver.handle(&more.into()).is_err() && receiver.pending_bytes == PENDING_BYTES_MAX);
        let content = vec![0; 4 * (usize::from(PARTS_MAX) + 1)];
        assert_eq!(LatestSender::default().update(1, &content, PLAINTEXT_MAX), None);
    }
}
