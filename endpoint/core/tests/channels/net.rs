//! A relay and its members in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proto_spec::frame::Destination;
use proto_spec::{EpochId, Now, SenderNumber, StreamId, Timestamp, TrafficClass, WallTime};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use sealcast_endpoint_core::channel::{ChannelEvent, Channels, Transmit};
use sealcast_endpoint_core::security::Seal as _;

use crate::seal::{PLAINTEXT_MAX, Refused, TestSeal};

/// What the node keeps of bulk for one member before it drops.
pub(crate) const EGRESS_BULK: usize = 512 * 1024;
/// What is held of records of a newer epoch.
const HOLD: usize = 256 * 1024;

pub(crate) fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

/// How packets travel to a member.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    pub(crate) delay: Duration,
    pub(crate) jitter: Duration,
    /// In a thousand.
    pub(crate) loss: u32,
    /// In a thousand.
    pub(crate) repeat: u32,
    /// Bytes a second; 0 for any.
    pub(crate) rate: u64,
}

pub(crate) const GOOD: Way =
    Way { delay: Duration::from_millis(10), jitter: Duration::ZERO, loss: 0, repeat: 0, rate: 0 };

enum Happening {
    Packet { to: SenderNumber, from: SenderNumber, packet: Bytes },
    Epoch { to: SenderNumber, epoch: EpochId, roster: Vec<SenderNumber>, departed: bool },
    Bases { to: SenderNumber, from: SenderNumber, epoch: EpochId, bases: Vec<(StreamId, u64)> },
    Taken { by: SenderNumber, from: SenderNumber, stream: StreamId, length: usize },
}

pub(crate) struct Endpoint {
    pub(crate) channels: Channels,
    pub(crate) seal: TestSeal,
    pub(crate) attached: bool,
    pub(crate) way: Way,
    /// How long a payload of a file's stream waits until it is taken; `None`: the test takes it.
    pub(crate) takes_after: Option<Duration>,
    free_at: Timestamp,
    queued_bulk: usize,
    pub(crate) queued_bulk_peak: usize,
    pub(crate) dropped_at_egress: u64,
    hold: Vec<(SenderNumber, Bytes)>,
    /// What was delivered on each channel: the next sequence expected, and how many came.
    pub(crate) expected: BTreeMap<(SenderNumber, StreamId), u64>,
    pub(crate) delivered: BTreeMap<(SenderNumber, StreamId), u64>,
    pub(crate) lost: u64,
    pub(crate) lost_streams: Vec<(SenderNumber, StreamId)>,
    pub(crate) resynchronised: bool,
    pub(crate) fell_behind: Vec<(StreamId, SenderNumber)>,
    /// Kept for the test if it wants them.
    pub(crate) inbox: Vec<(SenderNumber, StreamId, Bytes)>,
    pub(crate) keep_inbox: bool,
    pub(crate) files_start_themselves: bool,
    wake_at: Option<Timestamp>,
    idle_wakes: u32,
}

pub(crate) struct Net {
    pub(crate) now: Timestamp,
    pub(crate) endpoints: BTreeMap<SenderNumber, Endpoint>,
    pub(crate) members: Vec<SenderNumber>,
    pub(crate) sent: BTreeMap<(SenderNumber, StreamId), Vec<Bytes>>,
    pub(crate) bytes_relayed: u64,
    pub(crate) acks_bytes: BTreeMap<SenderNumber, u64>,
    epoch: EpochId,
    happenings: BTreeMap<(Timestamp, u64), Happening>,
    order: u64,
    rng: ChaCha20Rng,
}

impl Net {
    /// Members 1 to `count`, attached, in their first epoch.
    pub(crate) fn new(seed: u64, count: u16) -> Net {
        let mut net = Net {
            now: Timestamp(Duration::from_secs(1)),
            endpoints: BTreeMap::new(),
            members: Vec::new(),
            sent: BTreeMap::new(),
            bytes_relayed: 0,
            acks_bytes: BTreeMap::new(),
            epoch: EpochId { term: 0, leader: number(1), count: 0 },
            happenings: BTreeMap::new(),
            order: 0,
            rng: ChaCha20Rng::seed_from_u64(seed),
        };
        for member in 1..=count {
            net.add(number(member));
        }
        net.rekey(false);
        net.run(Duration::from_secs(1));
        net
    }

    pub(crate) fn endpoint(&mut self, member: u16) -> &mut Endpoint {
        self.endpoints.get_mut(&number(member)).unwrap()
    }

    /// A further member, from the next epoch on.
    pub(crate) fn add(&mut self, member: SenderNumber) {
        let mut channels = Channels::new(member, PLAINTEXT_MAX);
        channels.attached(self.now);
        self.members.push(member);
        self.endpoints.insert(
            member,
            Endpoint {
                channels,
                seal: TestSeal::new(member),
                attached: true,
                way: GOOD,
                takes_after: Some(Duration::ZERO),
                free_at: Timestamp::ZERO,
                queued_bulk: 0,
                queued_bulk_peak: 0,
                dropped_at_egress: 0,
                hold: Vec::new(),
                expected: BTreeMap::new(),
                delivered: BTreeMap::new(),
                lost: 0,
                lost_streams: Vec::new(),
                resynchronised: false,
                fell_behind: Vec::new(),
                inbox: Vec::new(),
                keep_inbox: false,
                files_start_themselves: false,
                wake_at: None,
                idle_wakes: 0,
            },
        );
    }

    pub(crate) fn leave(&mut self, member: SenderNumber) {
        self.members.retain(|other| *other != member);
        self.endpoints.remove(&member);
    }

    /// New keys for the members; each hears of it in its own time.
    pub(crate) fn rekey(&mut self, departed: bool) {
        self.epoch.count += 1;
        for to in self.members.clone() {
            let after = Duration::from_millis(u64::from(self.rng.next_u32() % 60));
            let roster = self.members.clone();
            self.happen(after, Happening::Epoch { to, epoch: self.epoch, roster, departed });
        }
    }

    pub(crate) fn detach(&mut self, member: SenderNumber) {
        let now = self.now;
        let Some(endpoint) = self.endpoints.get_mut(&member) else { return };
        endpoint.attached = false;
        endpoint.channels.detached();
        self.tell_presence(now, member, false);
    }

    pub(crate) fn attach(&mut self, member: SenderNumber) {
        let now = self.now;
        let Some(endpoint) = self.endpoints.get_mut(&member) else { return };
        endpoint.attached = true;
        endpoint.free_at = now;
        endpoint.channels.attached(now);
        for other in self.members.clone() {
            let present = other == member || self.endpoints[&other].attached;
            self.endpoints.get_mut(&member).unwrap().channels.member_present(now, other, present);
        }
        self.tell_presence(now, member, true);
        self.turn(member);
    }

    fn tell_presence(&mut self, now: Timestamp, member: SenderNumber, present: bool) {
        for other in self.members.clone() {
            if other != member && self.endpoints[&other].attached {
                self.endpoints.get_mut(&other).unwrap().channels.member_present(now, member, present);
                self.turn(other);
            }
        }
    }

    /// Sends a payload; `false` if the channel is full.
    pub(crate) fn send(&mut self, from: u16, stream: StreamId, payload: impl Into<Bytes>) -> bool {
        let payload = payload.into();
        let endpoint = self.endpoints.get_mut(&number(from)).unwrap();
        let Ok(sequence) = endpoint.channels.send(stream, payload.clone()) else { return false };
        let log = self.sent.entry((number(from), stream)).or_default();
        assert_eq!(sequence, log.len() as u64);
        log.push(payload);
        self.turn(number(from));
        true
    }

    /// Opens a file's stream from a member to others.
    pub(crate) fn open_file(&mut self, from: u16, to: &[u16]) -> StreamId {
        let now = self.now;
        let stream = self.endpoint(from).channels.reserve_file().unwrap();
        // As after an offer: whoever does not know the other yet has not accepted.
        let mut accepted = to.to_vec();
        accepted.retain(|member| self.endpoint(*member).channels.await_file(number(from), stream));
        let channels = &mut self.endpoint(from).channels;
        let first = channels.open_file(now, stream, accepted.iter().copied().map(number));
        accepted.retain(|member| channels.acknowledged(stream, number(*member)).is_some());
        for member in accepted {
            let endpoint = self.endpoint(member);
            endpoint.channels.start_file(now, number(from), stream, first);
            endpoint.expected.insert((number(from), stream), first);
        }
        stream
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        self.run_until(end, |_| false);
    }

    /// Lets time pass until `end`, or until `done`; returns whether it was.
    pub(crate) fn run_until(&mut self, end: Timestamp, done: impl Fn(&Net) -> bool) -> bool {
        loop {
            if done(self) {
                return true;
            }
            let happening = self.happenings.keys().next().copied();
            let wake =
                self.endpoints.iter().filter_map(|(member, of)| of.wake_at.map(|at| (at, *member))).min();
            let next = happening.map(|(at, _)| at).into_iter().chain(wake.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return done(self);
            };
            self.now = self.now.max(next);
            if let Some((at, member)) = wake
                && at <= self.now
                && happening.is_none_or(|(first, _)| at <= first)
            {
                self.wake(at, member);
            } else if let Some(happening) = happening.and_then(|key| self.happenings.remove(&key)) {
                self.handle(happening);
            }
        }
    }

    fn wake(&mut self, at: Timestamp, member: SenderNumber) {
        let now = self.now;
        let endpoint = self.endpoints.get_mut(&member).unwrap();
        endpoint.channels.handle_timeout(now);
        let before = endpoint.wake_at;
        self.turn(member);
        let endpoint = self.endpoints.get_mut(&member).unwrap();
        let stuck = endpoint.wake_at == before && endpoint.wake_at == Some(at);
        endpoint.idle_wakes = if stuck { endpoint.idle_wakes + 1 } else { 0 };
        assert!(endpoint.idle_wakes < 3, "a timer that never moves");
    }

    fn handle(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Packet { to, from, packet } => {
                let Some(endpoint) = self.endpoints.get_mut(&to) else { return };
                if packet[2] == TrafficClass::Bulk as u8 {
                    endpoint.queued_bulk = endpoint.queued_bulk.saturating_sub(packet.len());
                }
                if endpoint.attached {
                    self.open(to, from, packet);
                    self.turn(to);
                }
            }
            Happening::Epoch { to, epoch, roster, departed } => {
                let Some(endpoint) = self.endpoints.get_mut(&to) else { return };
                if !endpoint.attached {
                    let again = Happening::Epoch { to, epoch, roster, departed };
                    return self.happen(Duration::from_millis(200), again);
                }
                if endpoint.seal.newest().is_some_and(|newest| newest.count >= epoch.count) {
                    return;
                }
                // As after the real layer: whoever missed an epoch takes the newest, and a departure in between counts.
                let missed = endpoint.seal.newest().is_some_and(|newest| newest.count + 1 < epoch.count);
                endpoint.seal.install(now, epoch, departed || missed);
                let bases = endpoint.channels.epoch_installed(now, epoch, roster.iter().copied());
                for member in roster.into_iter().filter(|member| *member != to) {
                    let statement = Happening::Bases { to: member, from: to, epoch, bases: bases.clone() };
                    self.happen(Duration::from_millis(20), statement);
                }
                let endpoint = self.endpoints.get_mut(&to).unwrap();
                for (from, packet) in std::mem::take(&mut endpoint.hold) {
                    self.open(to, from, packet);
                }
                self.turn(to);
            }
            Happening::Bases { to, from, epoch, bases } => {
                let Some(endpoint) = self.endpoints.get_mut(&to) else { return };
                let newest = endpoint.seal.newest();
                if endpoint.attached && newest == Some(epoch) {
                    endpoint.seal.bases_known(from);
                    let first = !endpoint.expected.contains_key(&(from, StreamId(1)));
                    for (stream, sequence) in bases.iter().filter(|(stream, _)| first && stream.0 < 16) {
                        endpoint.expected.insert((from, *stream), *sequence);
                    }
                    endpoint.channels.handle_bases(now, from, &bases);
                    self.turn(to);
                } else if newest.is_none_or(|newest| newest.count <= epoch.count) {
                    self.happen(Duration::from_millis(200), Happening::Bases { to, from, epoch, bases });
                }
            }
            Happening::Taken { by, from, stream, length } => {
                if let Some(endpoint) = self.endpoints.get_mut(&by) {
                    endpoint.channels.taken(now, from, stream, length);
                    self.turn(by);
                }
            }
        }
    }

    fn open(&mut self, to: SenderNumber, from: SenderNumber, packet: Bytes) {
        let now = self.now;
        let endpoint = self.endpoints.get_mut(&to).unwrap();
        match endpoint.seal.open(now, &packet) {
            Ok(opened) => {
                assert_eq!(opened.sender, from);
                endpoint.channels.handle_record(now, &opened);
            }
            Err(Refused::Newer) => {
                let held: usize = endpoint.hold.iter().map(|(_, packet)| packet.len()).sum();
                if held + packet.len() <= HOLD {
                    endpoint.hold.push((from, packet));
                }
            }
            Err(Refused::Unopenable) => {
                endpoint.resynchronised = true;
                endpoint.channels.resynchronise(now, from);
            }
            Err(Refused::Replayed | Refused::Old) => {}
        }
    }

    /// Everything that an endpoint does after an input.
    pub(crate) fn turn(&mut self, member: SenderNumber) {
        let now = Now { mono: self.now, wall: WallTime(0) };
        let Some(endpoint) = self.endpoints.get_mut(&member) else { return };
        let mut taken = Vec::new();
        while let Some(event) = endpoint.channels.poll_event() {
            match event {
                ChannelEvent::Delivered { from, stream, sequence, payload } => {
                    // Where a file's stream starts is between its two ends if they talk about it themselves.
                    if !(endpoint.files_start_themselves && stream.0 >= 16) {
                        let expected = endpoint.expected.get_mut(&(from, stream)).unwrap();
                        assert_eq!(sequence, *expected, "to {member} from {from} on {stream:?}");
                        *expected += 1;
                    }
                    if let Some(log) = self.sent.get(&(from, stream)) {
                        assert_eq!(payload, log[sequence as usize]);
                    }
                    *endpoint.delivered.entry((from, stream)).or_default() += 1;
                    if stream.0 >= 16
                        && let Some(after) = endpoint.takes_after
                    {
                        taken.push((after, from, stream, payload.len()));
                    }
                    if endpoint.keep_inbox {
                        endpoint.inbox.push((from, stream, payload));
                    }
                }
                ChannelEvent::Lost { from, stream, records } => {
                    if let Some(expected) = endpoint.expected.get_mut(&(from, stream)) {
                        *expected += records;
                    }
                    endpoint.lost += records;
                    endpoint.lost_streams.push((from, stream));
                }
                ChannelEvent::FellBehind { stream, member } => endpoint.fell_behind.push((stream, member)),
            }
        }
        for (after, from, stream, length) in taken {
            self.happen(after, Happening::Taken { by: member, from, stream, length });
        }
        let endpoint = self.endpoints.get_mut(&member).unwrap();
        let mut transmits = Vec::new();
        if endpoint.attached {
            for class in TrafficClass::ALL {
                while let Some(transmit) = endpoint.channels.poll_transmit(now, class, &mut endpoint.seal) {
                    transmits.push(transmit);
                }
            }
        }
        endpoint.wake_at = endpoint.channels.poll_timeout();
        assert!(endpoint.wake_at.is_none() || endpoint.seal.epoch().is_some());
        for transmit in transmits {
            self.relay(member, transmit);
        }
    }

    fn relay(&mut self, from: SenderNumber, Transmit { class, destination, packet }: Transmit) {
        let is_ack = class == TrafficClass::Control && packet[16] == 3;
        if is_ack {
            *self.acks_bytes.entry(from).or_default() += packet.len() as u64;
        }
        for to in self.members.clone() {
            let Some(endpoint) = self.endpoints.get_mut(&to) else { continue };
            if to == from || !destination.includes(to) || !endpoint.attached {
                continue;
            }
            self.bytes_relayed += packet.len() as u64;
            let way = endpoint.way;
            let bulk = class == TrafficClass::Bulk;
            if bulk && endpoint.queued_bulk + packet.len() > EGRESS_BULK {
                endpoint.dropped_at_egress += 1;
                continue;
            }
            if chance(&mut self.rng, way.loss) {
                continue;
            }
            let mut after = way.delay;
            if bulk {
                endpoint.queued_bulk += packet.len();
                endpoint.queued_bulk_peak = endpoint.queued_bulk_peak.max(endpoint.queued_bulk);
                if let Some(takes_us) = (packet.len() as u64 * 1_000_000).checked_div(way.rate) {
                    let takes = Duration::from_micros(takes_us);
                    endpoint.free_at = endpoint.free_at.max(self.now) + takes;
                    after += endpoint.free_at.since(self.now);
                }
            }
            if !way.jitter.is_zero() {
                after += Duration::from_micros(self.rng.next_u64() % way.jitter.as_micros() as u64);
            }
            if chance(&mut self.rng, way.repeat) {
                let repeat = Happening::Packet { to, from, packet: packet.clone() };
                self.happen(after * 2, repeat);
            }
            self.happen(after, Happening::Packet { to, from, packet: packet.clone() });
        }
        assert!(matches!(destination, Destination::All | Destination::Members(_)));
    }

    fn happen(&mut self, after: Duration, happening: Happening) {
        self.order += 1;
        self.happenings.insert((self.now + after, self.order), happening);
    }

    /// What is missing at members on fixed channels and the given files' streams: nothing, once all is well.
    pub(crate) fn missing(&self) -> Vec<(SenderNumber, SenderNumber, StreamId, u64)> {
        let mut missing = Vec::new();
        for (to, endpoint) in &self.endpoints {
            for ((from, stream), next) in &endpoint.expected {
                let sent = self.sent.get(&(*from, *stream)).map_or(0, |log| log.len() as u64);
                if self.endpoints.contains_key(from) && *next < sent {
                    missing.push((*to, *from, *stream, sent - *next));
                }
            }
        }
        missing
    }

    pub(crate) fn all_here(&self) -> bool {
        self.missing().is_empty()
    }

    pub(crate) fn everybody(&self) -> BTreeSet<SenderNumber> {
        self.members.iter().copied().collect()
    }
}

fn chance(rng: &mut ChaCha20Rng, in_a_thousand: u32) -> bool {
    in_a_thousand > 0 && rng.next_u32() % 1_000 < in_a_thousand
}

impl Net {
    /// Members that have not installed an older epoch yet will never hear of it.
    pub(crate) fn forget_older_epochs(&mut self) {
        let newest = self.epoch;
        self.happenings.retain(|_, happening| match happening {
            Happening::Epoch { epoch, .. } | Happening::Bases { epoch, .. } => *epoch == newest,
            _ => true,
        });
    }
}
