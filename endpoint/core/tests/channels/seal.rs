//! Records without cryptography, but with every rule of the real ones that channels can run into: nothing is opened
//! twice, old epochs close, newer ones wait, carried records need their epoch's key and their sender's base.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proto_spec::{EpochId, Now, SenderNumber, StreamId, Timestamp, TrafficClass};
use sealcast_endpoint_core::security::{Opened, RosterEntry, Seal, SealError};
use std::time::Duration;

const GRACE: Duration = Duration::from_secs(10);
const KEYS_KEPT: Duration = Duration::from_secs(120);
const HEADER: usize = 29;
const CARRIED: u8 = 2;

/// Why a record was not opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    Replayed,
    /// Of an epoch that is over or was never held.
    Old,
    /// Of an epoch that is not installed yet: comes again when it is.
    Newer,
    /// Carried, and its own epoch's key is gone or was never held.
    Unopenable,
}

struct Key {
    epoch: EpochId,
    until_direct: Option<Timestamp>,
    until: Option<Timestamp>,
}

pub(crate) struct TestSeal {
    me: SenderNumber,
    keys: Vec<Key>,
    counters: BTreeMap<StreamId, u64>,
    seen: BTreeSet<(SenderNumber, StreamId, u64)>,
    bases_known: BTreeSet<SenderNumber>,
    /// While set, nothing can be sealed.
    pub(crate) silenced: bool,
    /// Largest packet sealed.
    pub(crate) longest: usize,
}

impl TestSeal {
    pub(crate) fn new(me: SenderNumber) -> TestSeal {
        TestSeal {
            me,
            keys: Vec::new(),
            counters: BTreeMap::new(),
            seen: BTreeSet::new(),
            bases_known: BTreeSet::new(),
            silenced: false,
            longest: 0,
        }
    }

    pub(crate) fn newest(&self) -> Option<EpochId> {
        self.keys.last().map(|key| key.epoch)
    }

    pub(crate) fn install(&mut self, now: Timestamp, epoch: EpochId, departed: bool) {
        if let Some(last) = self.keys.last_mut() {
            last.until_direct = Some(if departed { now } else { now + GRACE });
            last.until = Some(now + KEYS_KEPT);
        }
        if departed {
            self.keys.iter_mut().for_each(|key| key.until_direct = Some(now));
        }
        self.keys.push(Key { epoch, until_direct: None, until: None });
        self.bases_known.clear();
    }

    pub(crate) fn bases_known(&mut self, from: SenderNumber) {
        self.bases_known.insert(from);
    }

    pub(crate) fn open(&mut self, now: Timestamp, packet: &Bytes) -> Result<Opened, Refused> {
        self.keys.retain(|key| key.until.is_none_or(|until| now < until));
        let header = Header::read(packet);
        let newest = self.newest().ok_or(Refused::Newer)?;
        if header.epoch.count > newest.count {
            return Err(Refused::Newer);
        }
        let key = self.keys.iter().find(|key| key.epoch == header.epoch).ok_or(Refused::Old)?;
        if key.until_direct.is_some_and(|until| now >= until) {
            return Err(Refused::Old);
        }
        let place = (header.sender, header.stream, header.counter);
        if self.seen.contains(&place) {
            return Err(Refused::Replayed);
        }
        if header.kind != CARRIED {
            self.seen.insert(place);
            return Ok(header.opened(packet.slice(HEADER..)));
        }
        if header.epoch != newest {
            return Err(Refused::Old);
        }
        if !self.bases_known.contains(&header.sender) {
            return Err(Refused::Newer);
        }
        self.seen.insert(place);
        let inner_packet = packet.slice(HEADER..);
        let inner = Header::read(&inner_packet);
        assert_ne!(inner.kind, CARRIED, "a nested record");
        assert_eq!((inner.sender, inner.stream), (header.sender, header.stream));
        assert!(inner.epoch.count < header.epoch.count, "a record of this epoch was carried");
        if !self.keys.iter().any(|key| key.epoch == inner.epoch) {
            return Err(Refused::Unopenable);
        }
        if !self.seen.insert((inner.sender, inner.stream, inner.counter)) {
            return Err(Refused::Replayed);
        }
        Ok(inner.opened(inner_packet.slice(HEADER..)))
    }

    fn put(
        &mut self,
        kind: u8,
        class: TrafficClass,
        stream: StreamId,
        content: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, SealError> {
        if self.silenced {
            return Err(SealError::Silenced);
        }
        let epoch = self.newest().ok_or(SealError::NoEpoch)?;
        let counter = self.counters.entry(stream).or_default();
        out.extend_from_slice(&[3, kind, class as u8]);
        out.extend_from_slice(&self.me.value().to_be_bytes());
        out.extend_from_slice(&epoch.to_u64().to_be_bytes());
        out.extend_from_slice(&stream.0.to_be_bytes());
        out.extend_from_slice(&counter.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(content);
        self.longest = self.longest.max(out.len());
        *counter += 1;
        Ok(*counter - 1)
    }
}

impl Seal for TestSeal {
    fn seal(
        &mut self,
        _now: Now,
        class: TrafficClass,
        stream: StreamId,
        signed: bool,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, SealError> {
        assert!(plaintext.len() <= self.plaintext_max());
        self.put(u8::from(signed), class, stream, plaintext, out)
    }

    fn carry(&mut self, _now: Now, old: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let header = Header::read(&Bytes::copy_from_slice(old));
        assert_eq!(header.sender, self.me);
        assert_ne!(header.kind, CARRIED, "a carried record was to be carried");
        assert_ne!(Some(header.epoch), self.newest(), "a record of this epoch was to be carried");
        self.put(CARRIED, header.class, header.stream, old, out).map(|_| ())
    }

    fn epoch(&self) -> Option<EpochId> {
        self.newest()
    }

    fn number(&self) -> SenderNumber {
        self.me
    }

    fn roster(&self) -> &[RosterEntry] {
        &[]
    }

    fn plaintext_max(&self) -> usize {
        PLAINTEXT_MAX
    }
}

pub(crate) const PLAINTEXT_MAX: usize = 60_000;

struct Header {
    kind: u8,
    class: TrafficClass,
    sender: SenderNumber,
    epoch: EpochId,
    stream: StreamId,
    counter: u64,
}

impl Header {
    fn read(packet: &Bytes) -> Header {
        assert_eq!(packet[0], 3);
        Header {
            kind: packet[1],
            class: TrafficClass::from_u8(packet[2]).unwrap(),
            sender: SenderNumber::new(u16::from_be_bytes(packet[3..5].try_into().unwrap())).unwrap(),
            epoch: EpochId::from_u64(u64::from_be_bytes(packet[5..13].try_into().unwrap())).unwrap(),
            stream: StreamId(u32::from_be_bytes(packet[13..17].try_into().unwrap())),
            counter: u64::from_be_bytes(packet[17..25].try_into().unwrap()),
        }
    }

    fn opened(self, payload: Bytes) -> Opened {
        Opened {
            sender: self.sender,
            stream: self.stream,
            class: self.class,
            counter: self.counter,
            signed: self.kind == 1,
            payload,
        }
    }
}
