//! The end-to-end layer without any protection: plain bytes, for the simulator and for tests of everything above.
//!
//! It keeps the shape of the real one: codes with five guesses, admission, epochs with rosters, bases, records that a
//! member of a later epoch does not open. No program links it into a session.

mod wire;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use proto_spec::packet::{PacketKind, RecordHeader, RecordKind};
use proto_spec::ticket::Role;
use proto_spec::{
    EpochId, Now, Reader, SenderNumber, SessionNumber, StreamId, Timestamp, TrafficClass, Wire,
};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sealcast_mpsl::JoinCode;
use sealcast_mpsl::handshake::ProofBudget;

use crate::event::CodeEnd;
use crate::security::{
    Base, CodeRefused, Identity, JoinFailure, OpenError, Opened, RosterEntry, Seal, SealError, Security,
    SecurityEvent,
};
use wire::Message;

/// Between two repetitions of what was not acknowledged.
const REPEAT: Duration = Duration::from_secs(1);
/// A joiner gives up after this without a word from the leader.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Wrong guesses that burn a code.
const GUESSES: u32 = 5;
/// Codes open at once.
const CODES_MAX: usize = 8;
/// A code's life.
const CODE_LIFE: Duration = Duration::from_secs(600);
/// Records of a newer epoch that are kept, in bytes.
const HELD_BYTES_MAX: usize = 256 * 1024;
/// The longest plaintext of a record, as in the real layer.
const PLAINTEXT_MAX: usize = sealcast_mpsl::record::PADDED_PLAINTEXT_LENGTH_MAX;

/// Plain bytes in place of MPSL.
pub struct Null {
    identity: Identity,
    rng: ChaCha20Rng,
    leader: SenderNumber,
    joining: Option<Joining>,
    codes: BTreeMap<SessionNumber, OpenCode>,
    proved: BTreeMap<SenderNumber, (String, Role)>,
    roster: Vec<RosterEntry>,
    epoch: Option<EpochId>,
    first_epoch: Option<EpochId>,
    counters: BTreeMap<u32, u64>,
    bases: Vec<(StreamId, u64)>,
    without_epoch: BTreeSet<SenderNumber>,
    without_bases: BTreeSet<SenderNumber>,
    removing: BTreeSet<SenderNumber>,
    held: VecDeque<(SenderNumber, TrafficClass, BytesMut)>,
    held_bytes: usize,
    events: VecDeque<SecurityEvent>,
    repeat_at: Option<Timestamp>,
}

struct Joining {
    code: JoinCode,
    attempts: u8,
    give_up: Timestamp,
    answered: bool,
}

struct OpenCode {
    code: JoinCode,
    role: Role,
    guesses: u32,
    expires: Timestamp,
}

impl Null {
    fn new(identity: Identity, leader: SenderNumber) -> Null {
        Null {
            rng: ChaCha20Rng::from_seed(identity.seed),
            identity,
            leader,
            joining: None,
            codes: BTreeMap::new(),
            proved: BTreeMap::new(),
            roster: Vec::new(),
            epoch: None,
            first_epoch: None,
            counters: BTreeMap::new(),
            bases: Vec::new(),
            without_epoch: BTreeSet::new(),
            without_bases: BTreeSet::new(),
            removing: BTreeSet::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            events: VecDeque::new(),
            repeat_at: None,
        }
    }
}

impl Seal for Null {
    fn seal(
        &mut self,
        _now: Now,
        class: TrafficClass,
        stream: StreamId,
        signed: bool,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, SealError> {
        if plaintext.len() > PLAINTEXT_MAX {
            return Err(SealError::TooLong);
        }
        let kind = if signed { RecordKind::Signed } else { RecordKind::Plain };
        self.record(class, kind, stream, plaintext, out)
    }

    fn carry(&mut self, _now: Now, old: &[u8], out: &mut Vec<u8>) -> Result<(), SealError> {
        let (header, _) = split_record(old).ok_or(SealError::NotCarriable)?;
        if header.kind == RecordKind::Carried || header.sender != self.identity.number {
            return Err(SealError::NotCarriable);
        }
        self.record(header.class, RecordKind::Carried, header.stream, old, out).map(|_| ())
    }

    fn epoch(&self) -> Option<EpochId> {
        self.epoch
    }

    fn number(&self) -> SenderNumber {
        self.identity.number
    }

    fn roster(&self) -> &[RosterEntry] {
        &self.roster
    }

    fn plaintext_max(&self) -> usize {
        PLAINTEXT_MAX
    }
}

impl Security for Null {
    fn create(_now: Now, identity: Identity) -> Null {
        let number = identity.number;
        let mut null = Null::new(identity, number);
        null.roster = vec![null.entry()];
        null.next_epoch(false);
        null
    }

    fn join(
        now: Now,
        identity: Identity,
        leader: SenderNumber,
        code: &JoinCode,
        budget: ProofBudget,
    ) -> Null {
        let mut null = Null::new(identity, leader);
        null.joining = Some(Joining {
            code: code.clone(),
            attempts: budget.left(),
            give_up: now.mono + JOIN_TIMEOUT,
            answered: false,
        });
        null.ask(now);
        null
    }

    fn open(
        &mut self,
        _now: Now,
        from: SenderNumber,
        class: TrafficClass,
        packet: BytesMut,
    ) -> Result<Option<Opened>, OpenError> {
        let (header, _) = split_record(&packet).ok_or(OpenError::Malformed)?;
        if header.sender != from || header.class != class {
            return Err(OpenError::Forged);
        }
        if self.epoch.is_none_or(|epoch| header.epoch.count > epoch.count) {
            if self.held_bytes + packet.len() <= HELD_BYTES_MAX {
                self.held_bytes += packet.len();
                self.held.push_back((from, class, packet));
            }
            return Ok(None);
        }
        self.open_known(packet.freeze()).map(Some)
    }

    fn poll_held(&mut self, _now: Now) -> Option<Opened> {
        for _ in 0..self.held.len() {
            let (from, class, packet) = self.held.pop_front()?;
            let known = split_record(&packet)
                .is_some_and(|(header, _)| self.epoch.is_some_and(|epoch| header.epoch.count <= epoch.count));
            if !known {
                self.held.push_back((from, class, packet));
                continue;
            }
            self.held_bytes -= packet.len();
            if let Ok(opened) = self.open_known(packet.freeze()) {
                return Some(opened);
            }
        }
        None
    }

    fn handle_packet(&mut self, now: Now, from: SenderNumber, packet: &[u8]) {
        let Ok(message) = Message::from_bytes(packet) else { return };
        match message {
            Message::Ask { code, phrase, name } => self.asked(now, from, code, &phrase, name),
            Message::Answer { right } => self.answered(right),
            Message::Epoch { epoch, entries } if from == self.leader => self.install(now, epoch, entries),
            Message::EpochHeld { epoch } if Some(epoch) == self.epoch => {
                self.without_epoch.remove(&from);
                if self.without_epoch.is_empty() {
                    for number in std::mem::take(&mut self.removing) {
                        self.events.push_back(SecurityEvent::RemovalComplete { number });
                    }
                }
            }
            Message::Refused if from == self.leader => self.fail(JoinFailure::Denied),
            Message::Removed if from == self.leader => self.events.push_back(SecurityEvent::Removed),
            Message::Ended if from == self.leader => self.events.push_back(SecurityEvent::Ended),
            Message::Leaving => self.events.push_back(SecurityEvent::Leaving { number: from }),
            Message::Private { kind, bytes } => {
                self.events.push_back(SecurityEvent::Private { from, kind, bytes: bytes.into() });
            }
            Message::Bases { epoch, bases } if Some(epoch) == self.epoch => {
                self.transmit(vec![from], Message::BasesHeld { epoch });
                self.events.push_back(SecurityEvent::Bases { sender: from, bases });
            }
            Message::BasesHeld { epoch } if Some(epoch) == self.epoch => {
                self.without_bases.remove(&from);
            }
            _ => {}
        }
    }

    fn handle_timeout(&mut self, now: Now) {
        let expired: Vec<_> = self
            .codes
            .iter()
            .filter(|(_, code)| code.expires <= now.mono)
            .map(|(number, _)| *number)
            .collect();
        expired.into_iter().for_each(|number| self.end_code(number, CodeEnd::Expired));
        if self.repeat_at.is_none_or(|due| now.mono < due) {
            return;
        }
        self.repeat_at = None;
        if let Some(joining) = &self.joining {
            if joining.give_up <= now.mono && !joining.answered {
                return self.fail(JoinFailure::NoAnswer);
            }
            self.ask(now);
        }
        self.tell_epoch(now);
        self.tell_bases(now);
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.codes.values().map(|code| code.expires).chain(self.repeat_at).min()
    }

    fn poll_event(&mut self) -> Option<SecurityEvent> {
        self.events.pop_front()
    }

    fn reattached(&mut self, now: Now) {
        if self.joining.is_some() {
            self.ask(now);
        }
    }

    fn member_reachable(&mut self, now: Now, number: SenderNumber) {
        if self.without_bases.contains(&number) {
            self.tell_bases(now);
        }
    }

    fn leader(&self) -> SenderNumber {
        self.leader
    }

    fn state_bases(&mut self, now: Now, bases: &[(StreamId, u64)]) {
        self.bases = bases.to_vec();
        self.without_bases = self.others().collect();
        self.tell_bases(now);
    }

    fn open_code(&mut self, now: Now, number: SessionNumber, role: Role) -> Result<JoinCode, CodeRefused> {
        if self.leader != self.identity.number {
            return Err(CodeRefused::NotLeader);
        }
        if self.codes.len() >= CODES_MAX {
            return Err(CodeRefused::TooMany);
        }
        let code = JoinCode::generate(number, &mut self.rng);
        let open = OpenCode { code: code.clone(), role, guesses: 0, expires: now.mono + CODE_LIFE };
        self.codes.insert(number, open);
        Ok(code)
    }

    fn close_code(&mut self, _now: Now, number: SessionNumber) {
        self.end_code(number, CodeEnd::Closed);
    }

    fn admit(&mut self, now: Now, joiner: SenderNumber) {
        let Some((name, role)) = self.proved.remove(&joiner) else { return };
        self.roster.push(RosterEntry { number: joiner, name, role });
        self.roster.sort_by_key(|entry| entry.number);
        self.next_epoch(false);
        self.tell_epoch(now);
    }

    fn refuse(&mut self, _now: Now, joiner: SenderNumber) {
        if self.proved.remove(&joiner).is_some() {
            self.transmit(vec![joiner], Message::Refused);
        }
    }

    fn remove(&mut self, now: Now, number: SenderNumber) {
        let codes: Vec<_> = self.codes.keys().copied().collect();
        codes.into_iter().for_each(|code| self.end_code(code, CodeEnd::Closed));
        self.transmit(vec![number], Message::Removed);
        self.removing.insert(number);
        self.depart(now, number);
    }

    fn member_left(&mut self, now: Now, number: SenderNumber) {
        self.depart(now, number);
    }

    fn send_private(&mut self, _now: Now, to: SenderNumber, kind: u8, bytes: &[u8]) {
        self.transmit(vec![to], Message::Private { kind, bytes: bytes.to_vec() });
    }

    fn leave(&mut self, _now: Now) {
        self.transmit(vec![self.leader], Message::Leaving);
    }

    fn end(&mut self, _now: Now) {
        let others: Vec<_> = self.others().collect();
        if !others.is_empty() {
            self.transmit(others, Message::Ended);
        }
    }
}

impl Null {
    fn entry(&self) -> RosterEntry {
        RosterEntry {
            number: self.identity.number,
            name: self.identity.display_name.clone(),
            role: self.identity.role,
        }
    }

    fn others(&self) -> impl Iterator<Item = SenderNumber> + '_ {
        self.roster.iter().map(|entry| entry.number).filter(|number| *number != self.identity.number)
    }

    fn transmit(&mut self, to: Vec<SenderNumber>, message: Message) {
        let packet = Bytes::from(message.to_bytes());
        self.events.push_back(SecurityEvent::Transmit { to, class: TrafficClass::Control, packet });
    }

    fn repeat(&mut self, now: Now) {
        self.repeat_at = Some(now.mono + REPEAT);
    }

    fn record(
        &mut self,
        class: TrafficClass,
        kind: RecordKind,
        stream: StreamId,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<u64, SealError> {
        let epoch = self.epoch.ok_or(SealError::NoEpoch)?;
        let counter = self.counters.entry(stream.0).or_default();
        let header = RecordHeader {
            suite: 0,
            class,
            kind,
            sender: self.identity.number,
            epoch,
            stream,
            counter: *counter,
        };
        *counter += 1;
        out.push(PacketKind::Record as u8);
        header.encode(out);
        out.extend_from_slice(payload);
        Ok(header.counter)
    }

    fn open_known(&self, packet: Bytes) -> Result<Opened, OpenError> {
        let (header, _) = split_record(&packet).ok_or(OpenError::Malformed)?;
        let joined = self.first_epoch.ok_or(OpenError::NoKey)?;
        let member = self.roster.iter().any(|entry| entry.number == header.sender);
        if !member || header.epoch.count < joined.count {
            return Err(OpenError::NoKey);
        }
        let payload = packet.slice(1 + RecordHeader::LENGTH..);
        if header.kind != RecordKind::Carried {
            return Ok(Opened {
                sender: header.sender,
                stream: header.stream,
                class: header.class,
                counter: header.counter,
                signed: header.kind == RecordKind::Signed,
                payload,
            });
        }
        match split_record(&payload) {
            Some((inner, _)) if inner.kind != RecordKind::Carried && inner.sender == header.sender => {
                self.open_known(payload)
            }
            _ => Err(OpenError::Forged),
        }
    }

    fn ask(&mut self, now: Now) {
        self.repeat(now);
        let Some(joining) = &mut self.joining else { return };
        if joining.answered {
            return;
        }
        if joining.attempts == 0 {
            return self.fail(JoinFailure::WrongCode);
        }
        let message = Message::Ask {
            code: joining.code.number.value(),
            phrase: joining.code.words.phrase().as_str().to_owned(),
            name: self.identity.display_name.clone(),
        };
        self.transmit(vec![self.leader], message);
    }

    fn asked(&mut self, now: Now, from: SenderNumber, code: u32, phrase: &str, name: String) {
        if self.proved.contains_key(&from) || self.roster.iter().any(|entry| entry.number == from) {
            return self.transmit(vec![from], Message::Answer { right: true });
        }
        let open = SessionNumber::new(code).and_then(|number| self.codes.get_mut(&number));
        let Some(open) = open else { return self.transmit(vec![from], Message::Answer { right: false }) };
        let (number, role) = (open.code.number, open.role);
        let right = open.code.words.phrase().as_str() == phrase;
        if !right {
            open.guesses += 1;
        }
        let left = GUESSES - open.guesses;
        self.transmit(vec![from], Message::Answer { right });
        if right {
            self.end_code(number, CodeEnd::Used);
            self.proved.insert(from, (name.clone(), role));
            self.events.push_back(SecurityEvent::JoinerProved { number: from, name, role });
        } else {
            self.events.push_back(SecurityEvent::WrongGuess { left });
            if left == 0 {
                self.end_code(number, CodeEnd::Guessed);
            }
        }
        self.repeat(now);
    }

    fn answered(&mut self, right: bool) {
        let Some(joining) = &mut self.joining else { return };
        if !right {
            return self.fail(JoinFailure::WrongCode);
        }
        if !joining.answered {
            joining.answered = true;
            self.events.push_back(SecurityEvent::Proved);
        }
    }

    fn fail(&mut self, reason: JoinFailure) {
        if self.joining.take().is_some() {
            self.events.push_back(SecurityEvent::JoinFailed { reason });
        }
    }

    fn end_code(&mut self, number: SessionNumber, reason: CodeEnd) {
        if let Some(open) = self.codes.remove(&number) {
            self.events.push_back(SecurityEvent::CodeEnded { code: number, role: open.role, reason });
        }
    }

    fn depart(&mut self, now: Now, number: SenderNumber) {
        let before = self.roster.len();
        self.roster.retain(|entry| entry.number != number);
        if self.roster.len() < before {
            self.next_epoch(true);
            self.tell_epoch(now);
            if self.without_epoch.is_empty() {
                for number in std::mem::take(&mut self.removing) {
                    self.events.push_back(SecurityEvent::RemovalComplete { number });
                }
            }
        }
    }

    fn next_epoch(&mut self, departed: bool) {
        let count = self.epoch.map_or(1, |epoch| epoch.count + 1);
        let epoch = EpochId { term: 0, leader: self.identity.number, count };
        self.epoch = Some(epoch);
        self.first_epoch.get_or_insert(epoch);
        self.without_epoch = self.others().collect();
        self.events.push_back(SecurityEvent::EpochInstalled { epoch, departed });
    }

    fn tell_epoch(&mut self, now: Now) {
        let Some(epoch) = self.epoch else { return };
        if self.leader == self.identity.number && !self.without_epoch.is_empty() {
            let to = self.without_epoch.iter().copied().collect();
            self.transmit(to, Message::Epoch { epoch, entries: self.roster.clone() });
            self.repeat(now);
        }
    }

    fn tell_bases(&mut self, now: Now) {
        let Some(epoch) = self.epoch else { return };
        if !self.without_bases.is_empty() {
            let to = self.without_bases.iter().copied().collect();
            let bases =
                self.bases.iter().map(|(stream, sequence)| Base { stream: *stream, sequence: *sequence });
            self.transmit(to, Message::Bases { epoch, bases: bases.collect() });
            self.repeat(now);
        }
    }

    fn install(&mut self, now: Now, epoch: EpochId, entries: Vec<RosterEntry>) {
        if self.epoch.is_some_and(|held| epoch.count < held.count) {
            return;
        }
        self.transmit(vec![self.leader], Message::EpochHeld { epoch });
        if self.epoch == Some(epoch) {
            return;
        }
        self.joining = None;
        let departed = self.roster.iter().any(|old| !entries.contains(old));
        self.epoch = Some(epoch);
        self.first_epoch.get_or_insert(epoch);
        self.roster = entries;
        self.repeat(now);
        self.events.push_back(SecurityEvent::EpochInstalled { epoch, departed });
    }
}

fn split_record(packet: &[u8]) -> Option<(RecordHeader, &[u8])> {
    let mut reader = Reader::new(packet);
    if reader.u8().ok()? != PacketKind::Record as u8 {
        return None;
    }
    let header = RecordHeader::decode(&mut reader).ok()?;
    Some((header, reader.rest()))
}
