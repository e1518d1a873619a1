//! The receiving side of records: keys by (epoch, sender) \[REC-3\], the order of checks, and what each check leaves behind.
//!
//! ```text
//! header, hop -> epoch (newer: held; older: grace) -> key -> counter -> open -> signature -> counter marked -> body
//! ```
//! A counter is marked only once everything before it has passed \[REC-10\].

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use proto_spec::mpsl::epoch::ChannelBase;
use proto_spec::packet::{PacketKind, RecordHeader, RecordKind};
use proto_spec::{DecodeError, EpochId, Reader, SenderNumber, StreamId, Timestamp, TrafficClass, Wire};

use super::compress::{Content, read_body};
use super::replay::{BaseSet, ReplayWindow, Stale};
use super::{
    OpenError, RECORD_PREFIX_LENGTH, SESSION_STREAM, SIGNATURE_LENGTH, STREAMS_MAX, must_be_signed, nonce,
    signed_message,
};
use crate::suite::{PacketKey, Suite};

/// How long records of the epoch before open directly, unless somebody left or was removed \[GRP-11\].
pub const OLD_EPOCH_GRACE: Duration = Duration::from_secs(10);
/// How long an older epoch's keys live for carried records \[REC-14\].
pub const OLD_EPOCH_KEYS: Duration = Duration::from_secs(120);
/// Older epochs kept at once: a burst of joins makes many, and each costs a key per member.
pub const OLD_EPOCHS_MAX: usize = 16;

/// An opened record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    /// Who sealed it: certain if `signed`, else certain only to be a member of the group.
    pub sender: SenderNumber,
    /// Its class.
    pub class: TrafficClass,
    /// Its channel.
    pub stream: StreamId,
    /// Its counter: of the older record if one was carried.
    pub counter: u64,
    /// Signed inside the seal.
    pub signed: bool,
    /// The epoch that it was sealed under: of the older record if one was carried.
    pub epoch: EpochId,
    /// Arrived inside a record of a newer epoch.
    pub carried: bool,
    content: Content,
    body: Range<usize>,
}

impl Opened {
    /// The plaintext, in the buffers that were passed to `open`.
    pub fn plaintext<'a>(&self, packet: &'a [u8], spill: &'a [u8]) -> &'a [u8] {
        match &self.content {
            Content::InPlace(range) => &packet[self.body.clone()][range.clone()],
            Content::Spilled => spill,
        }
    }
}

/// Opens what the other members send.
pub(crate) struct Opener {
    suite: Suite,
    /// Newest first.
    pub(super) epochs: Vec<ReceiveEpoch>,
    pub(super) peers: BTreeMap<SenderNumber, Peer>,
}

/// The receive keys of one epoch.
pub(super) struct ReceiveEpoch {
    pub(super) id: EpochId,
    roster_hash: [u8; 32],
    keys: Vec<ReceiveKey>,
    /// `None` for the newest.
    superseded: Option<Superseded>,
}

/// One member's key for one epoch.
pub(crate) struct ReceiveKey {
    pub(crate) sender: SenderNumber,
    pub(crate) verifying: VerifyingKey,
    pub(crate) key: PacketKey,
}

struct Superseded {
    direct_until: Timestamp,
    drop_at: Timestamp,
}

/// What is known of one sender's counters, for as long as it is a member.
pub(super) struct Peer {
    windows: Vec<Option<Box<ReplayWindow>>>,
    pub(super) bases: Option<PeerBases>,
}

/// A sender's statement for the newest epoch, or for one before until the newest's arrives.
pub(super) struct PeerBases {
    epoch: EpochId,
    stated: [u64; STREAMS_MAX],
    /// One for each stream that may still bring older records; none for a joiner.
    sets: Vec<(StreamId, BaseSet)>,
}

/// A record after its header has been checked and before anything is decrypted.
struct Parsed {
    header: RecordHeader,
    header_bytes: [u8; RecordHeader::LENGTH],
}

impl Opener {
    pub(crate) fn new(suite: Suite) -> Self {
        Opener { suite, epochs: Vec::new(), peers: BTreeMap::new() }
    }

    /// Makes `id` the newest epoch. Counters of members that stay are kept, everything of those gone is dropped.
    pub(crate) fn install(
        &mut self,
        now: Timestamp,
        id: EpochId,
        roster_hash: [u8; 32],
        others: Vec<ReceiveKey>,
        left_or_removed: bool,
    ) {
        let direct_until = if left_or_removed { now } else { now + OLD_EPOCH_GRACE };
        for epoch in &mut self.epochs {
            let superseded =
                epoch.superseded.get_or_insert(Superseded { direct_until, drop_at: now + OLD_EPOCH_KEYS });
            superseded.direct_until = superseded.direct_until.min(direct_until);
            epoch.keys.retain(|key| others.iter().any(|other| other.sender == key.sender));
        }
        self.peers.retain(|sender, _| others.iter().any(|other| other.sender == *sender));
        for other in &others {
            self.peers.entry(other.sender).or_insert_with(Peer::new);
        }
        self.epochs.truncate(OLD_EPOCHS_MAX);
        self.epochs.insert(0, ReceiveEpoch { id, roster_hash, keys: others, superseded: None });
    }

    /// The newest epoch.
    pub(crate) fn newest(&self) -> Option<EpochId> {
        self.epochs.first().map(|epoch| epoch.id)
    }

    /// Erases older epochs' keys that are drained or out of time.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        let newest = self.newest();
        let peers = &self.peers;
        self.epochs.retain(|epoch| match &epoch.superseded {
            None => true,
            Some(superseded) if now >= superseded.drop_at => false,
            Some(superseded) => {
                now < superseded.direct_until
                    || !epoch.keys.iter().all(|key| peers[&key.sender].drained(newest))
            }
        });
    }

    /// When [`Opener::expire`] has something to do.
    pub(crate) fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        let superseded = self.epochs.iter().filter_map(|epoch| epoch.superseded.as_ref());
        superseded
            .map(|times| if now < times.direct_until { times.direct_until } else { times.drop_at })
            .min()
    }

    /// Whether a packet of the newest epoch is one of `sender`'s that states its bases for the first time.
    pub(crate) fn state_bases(
        &mut self,
        sender: SenderNumber,
        epoch: EpochId,
        bases: &[ChannelBase],
    ) -> bool {
        let Some(peer) = self.peers.get_mut(&sender) else { return false };
        if self.epochs.first().is_none_or(|newest| newest.id != epoch)
            || peer.bases.as_ref().is_some_and(|bases| bases.epoch == epoch)
        {
            return false;
        }
        let older_keys =
            self.epochs[1..].iter().any(|older| older.keys.iter().any(|key| key.sender == sender));
        peer.fix_bases(epoch, bases, older_keys);
        true
    }

    /// Opens a record packet in place. On failure the packet's bytes are of no use any more.
    pub(crate) fn open(
        &mut self,
        now: Timestamp,
        hop_sender: SenderNumber,
        hop_class: TrafficClass,
        packet: &mut [u8],
        spill: &mut Vec<u8>,
    ) -> Result<Opened, OpenError> {
        let parsed = self.parse(packet)?;
        let header = &parsed.header;
        // \[REC-13\]
        if header.sender != hop_sender {
            return Err(OpenError::HopMismatch("sender"));
        }
        if header.class != hop_class {
            return Err(OpenError::HopMismatch("class"));
        }
        let position =
            self.epochs.iter().position(|epoch| epoch.id == header.epoch).ok_or(OpenError::OldEpoch)?;
        let epoch = &self.epochs[position];
        match &epoch.superseded {
            Some(superseded) if now >= superseded.direct_until => return Err(OpenError::OldEpoch),
            // A carrier is re-wrapped at each change, so one of an older epoch brings nothing that will not come.
            Some(_) if header.kind == RecordKind::Carried => return Err(OpenError::OldEpoch),
            _ => {}
        }
        let key = epoch.key(header.sender).ok_or(OpenError::NotAMember)?;
        let peer = self.peers.get(&header.sender).ok_or(OpenError::NotAMember)?;
        peer.check_direct(header, position == 0)?;
        let body = unseal(epoch, key, &parsed, &mut packet[RECORD_PREFIX_LENGTH..])?;
        let body = RECORD_PREFIX_LENGTH..RECORD_PREFIX_LENGTH + body;
        if header.kind == RecordKind::Carried {
            return self.open_carried(header, packet, body, spill);
        }
        let peer = self.peers.get_mut(&parsed.header.sender).ok_or(OpenError::NotAMember)?;
        peer.mark(parsed.header.stream, parsed.header.counter);
        opened(&parsed.header, false, packet, body, spill)
    }

    /// Reads the header of the record packet and checks what needs no key.
    fn parse(&self, packet: &[u8]) -> Result<Parsed, OpenError> {
        let (kind, record) = packet.split_first().ok_or(OpenError::Malformed(DecodeError::Truncated))?;
        if *kind != PacketKind::Record as u8 {
            return Err(OpenError::Malformed(DecodeError::Malformed("packet kind: not a record")));
        }
        self.parse_record(record)
    }

    /// As `parse`, for the record that follows a packet kind or is carried.
    fn parse_record(&self, record: &[u8]) -> Result<Parsed, OpenError> {
        let mut reader = Reader::new(record);
        let header = RecordHeader::decode(&mut reader)?;
        if header.suite != self.suite.value() {
            return Err(OpenError::Suite);
        }
        if header.stream.0 as usize >= STREAMS_MAX {
            return Err(OpenError::Malformed(DecodeError::Malformed("stream of a record")));
        }
        if header.kind == RecordKind::Plain && must_be_signed(header.class) {
            return Err(OpenError::Unsigned);
        }
        if header.stream == SESSION_STREAM
            && (header.class != TrafficClass::Control || header.kind != RecordKind::Signed)
        {
            return Err(OpenError::Unsigned);
        }
        Ok(Parsed { header_bytes: header.to_array(), header })
    }

    /// The header of a record that is to be opened from inside another, and the keys for it.
    pub(super) fn open_inner(
        &self,
        record: &mut [u8],
        admit: impl FnOnce(&RecordHeader) -> Result<(), OpenError>,
    ) -> Result<(RecordHeader, usize), OpenError> {
        let parsed = self.parse_record(record)?;
        admit(&parsed.header)?;
        let not_open = OpenError::Carried(super::CarriedRefusal::EpochNotOpen);
        let epoch = self.epochs[1..].iter().find(|epoch| epoch.id == parsed.header.epoch).ok_or(not_open)?;
        let key = epoch.key(parsed.header.sender).ok_or(not_open)?;
        let body = unseal(epoch, key, &parsed, &mut record[RecordHeader::LENGTH..])?;
        Ok((parsed.header, body))
    }
}

/// Decrypts `ciphertext | tag` and checks the signature of a signed or carried record; returns the body's length.
fn unseal(
    epoch: &ReceiveEpoch,
    key: &ReceiveKey,
    parsed: &Parsed,
    sealed: &mut [u8],
) -> Result<usize, OpenError> {
    let nonce = nonce(&parsed.header_bytes);
    let opened = key.key.open_sealed(&nonce, &parsed.header_bytes, sealed).map_err(|_| OpenError::Forged)?;
    if parsed.header.kind == RecordKind::Plain {
        return Ok(opened.len());
    }
    let (body, signature) = opened.split_last_chunk::<SIGNATURE_LENGTH>().ok_or(OpenError::WrongSignature)?;
    let message = signed_message(&epoch.roster_hash, &parsed.header_bytes, body);
    key.verifying
        .verify_strict(&message, &Signature::from_bytes(signature))
        .map_err(|_| OpenError::WrongSignature)?;
    Ok(body.len())
}

/// Reads the body of a record whose counter has been marked.
pub(super) fn opened(
    header: &RecordHeader,
    carried: bool,
    packet: &[u8],
    body: Range<usize>,
    spill: &mut Vec<u8>,
) -> Result<Opened, OpenError> {
    let content = read_body(&packet[body.clone()], spill).map_err(|_| OpenError::MalformedBody)?;
    Ok(Opened {
        sender: header.sender,
        class: header.class,
        stream: header.stream,
        counter: header.counter,
        signed: header.kind == RecordKind::Signed,
        epoch: header.epoch,
        carried,
        content,
        body,
    })
}

impl ReceiveEpoch {
    fn key(&self, sender: SenderNumber) -> Option<&ReceiveKey> {
        let index = self.keys.binary_search_by_key(&sender, |key| key.sender).ok()?;
        self.keys.get(index)
    }
}

impl Peer {
    fn new() -> Self {
        Peer { windows: (0..STREAMS_MAX).map(|_| None).collect(), bases: None }
    }

    /// Whether a directly sealed record's counter is acceptable; `newest` says under which epoch.
    fn check_direct(&self, header: &RecordHeader, newest: bool) -> Result<(), OpenError> {
        if let Some(bases) = self.bases.as_ref().filter(|bases| header.counter < bases.stated(header.stream))
        {
            if newest && bases.epoch == header.epoch {
                return Err(OpenError::BelowBase);
            }
            // Within the grace, an older record may have come carried already.
            if bases.set(header.stream).is_some_and(|set| !set.is_missing(header.counter)) {
                return Err(OpenError::Replayed);
            }
        }
        match &self.windows[header.stream.0 as usize] {
            None => Ok(()),
            Some(window) => window.check(header.counter).map_err(|stale| match stale {
                Stale::Replayed => OpenError::Replayed,
                Stale::TooOld => OpenError::TooOld,
            }),
        }
    }

    /// Notes an opened record in the window and in the set, wherever it came from.
    pub(super) fn mark(&mut self, stream: StreamId, counter: u64) {
        self.windows[stream.0 as usize].get_or_insert_with(|| Box::new(ReplayWindow::new())).mark(counter);
        if let Some(bases) = self.bases.as_mut().filter(|bases| counter < bases.stated(stream)) {
            let sets = bases.sets.iter_mut().filter(|(of, _)| *of == stream);
            sets.for_each(|(_, set)| set.mark(counter));
        }
    }

    fn fix_bases(&mut self, epoch: EpochId, bases: &[ChannelBase], older_keys: bool) {
        let mut stated = [0; STREAMS_MAX];
        let mut sets = Vec::new();
        for base in bases {
            stated[base.stream.0 as usize] = base.counter;
            if older_keys && base.counter > 0 {
                let window =
                    self.windows[base.stream.0 as usize].get_or_insert_with(|| Box::new(ReplayWindow::new()));
                let before = self.bases.as_ref().and_then(|bases| bases.set(base.stream));
                sets.push((base.stream, BaseSet::fixed_at(base.counter, window, before)));
            }
        }
        self.bases = Some(PeerBases { epoch, stated, sets });
    }

    /// Whether this sender's older records have all been opened, as far as its statement for `newest` says.
    fn drained(&self, newest: Option<EpochId>) -> bool {
        self.bases.as_ref().is_some_and(|bases| {
            Some(bases.epoch) == newest && bases.sets.iter().all(|(_, set)| set.drained())
        })
    }
}

impl PeerBases {
    pub(super) fn epoch(&self) -> EpochId {
        self.epoch
    }

    /// The stated counter of a channel.
    pub(super) fn stated(&self, stream: StreamId) -> u64 {
        self.stated[stream.0 as usize]
    }

    pub(super) fn set(&self, stream: StreamId) -> Option<&BaseSet> {
        self.sets.iter().find(|(of, _)| *of == stream).map(|(_, set)| set)
    }
}
