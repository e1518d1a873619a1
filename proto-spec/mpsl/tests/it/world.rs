//! Sessions of several endpoints around a wire that tests may block, tap and replay. Time is the test's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proto_spec::frame::Destination;
use proto_spec::packet::PacketKind;
use proto_spec::{EpochId, Now, SenderNumber, SessionId, SessionNumber, StreamId, Timestamp, TrafficClass};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};
use sealcast_mpsl::group::Identity;
use sealcast_mpsl::handshake::{Joiner, JoinerSetup, JoinerStep, ProofBudget};
use sealcast_mpsl::record::{OpenError, SealError, Sealing, Shape};
use sealcast_mpsl::session::{Event, Role, Session};
use sealcast_mpsl::{JoinCode, Suite};

pub(crate) const LEADER: u16 = 1;
pub(crate) const SESSION: SessionId = SessionId([8; 16]);
pub(crate) const FILES: Sealing =
    Sealing { class: TrafficClass::Bulk, stream: StreamId(16), signed: false, shape: Shape::Exact };

pub(crate) fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

/// A packet on its way to one endpoint.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) from: u16,
    pub(crate) to: u16,
    pub(crate) class: TrafficClass,
    pub(crate) bytes: Vec<u8>,
}

impl Packet {
    pub(crate) fn is(&self, kind: PacketKind) -> bool {
        self.bytes[0] == kind as u8
    }
}

/// A record that an endpoint has opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Heard {
    pub(crate) from: u16,
    pub(crate) stream: u32,
    pub(crate) counter: u64,
    pub(crate) epoch: EpochId,
    pub(crate) carried: bool,
    pub(crate) text: Vec<u8>,
}

pub(crate) struct End {
    pub(crate) session: Session,
    /// All but `Transmit`.
    pub(crate) events: Vec<Event>,
    pub(crate) heard: Vec<Heard>,
    pub(crate) refused: Vec<OpenError>,
}

pub(crate) struct World {
    pub(crate) now: Now,
    pub(crate) suite: Suite,
    pub(crate) ends: BTreeMap<u16, End>,
    pub(crate) wire: VecDeque<Packet>,
    /// (from, to): nothing passes.
    pub(crate) blocked: BTreeSet<(u16, u16)>,
    /// Everything ever sent.
    pub(crate) tap: Vec<Packet>,
    pub(crate) rng: ChaCha20Rng,
    /// In the lobby: reached by what is addressed to it, though it has no session yet.
    joining: Option<u16>,
    next_code: u32,
}

impl World {
    /// The leader alone.
    pub(crate) fn new(suite: Suite, seed: u64) -> World {
        let mut world = World {
            now: Now::default(),
            suite,
            ends: BTreeMap::new(),
            wire: VecDeque::new(),
            blocked: BTreeSet::new(),
            tap: Vec::new(),
            rng: ChaCha20Rng::seed_from_u64(seed),
            joining: None,
            next_code: SessionNumber::MIN,
        };
        let rng = world.fork();
        let session = Session::create(world.now, world.identity(LEADER, Role::Provider), rng);
        world.insert(LEADER, session);
        world
    }

    /// The leader and members with these numbers.
    pub(crate) fn with(suite: Suite, members: &[u16]) -> World {
        let mut world = World::new(suite, 1);
        members.iter().for_each(|value| world.join(*value));
        world
    }

    pub(crate) fn identity(&self, value: u16, role: Role) -> Identity {
        Identity {
            session: SESSION,
            suite: self.suite,
            number: number(value),
            role,
            name: format!("end {value}"),
        }
    }

    pub(crate) fn fork(&mut self) -> ChaCha20Rng {
        let mut seed = [0; 32];
        self.rng.fill_bytes(&mut seed);
        ChaCha20Rng::from_seed(seed)
    }

    pub(crate) fn open_code(&mut self) -> JoinCode {
        self.next_code += 1;
        let code = SessionNumber::new(self.next_code).unwrap();
        let now = self.now;
        self.at(LEADER).session.open_code(now, code, Role::Customer).unwrap()
    }

    /// The handshake M1 to M4, without the wire: the joiner is proved and waits.
    pub(crate) fn prove(&mut self, value: u16) {
        let code = self.open_code();
        assert!(self.try_prove(value, &code), "the handshake of {value}");
    }

    /// Whether the handshake with a code succeeds.
    pub(crate) fn try_prove(&mut self, value: u16, code: &JoinCode) -> bool {
        self.joining = Some(value);
        let proved = self.run_handshake(value, code);
        self.joining = None;
        proved
    }

    fn run_handshake(&mut self, value: u16, code: &JoinCode) -> bool {
        let mut rng = self.fork();
        let setup = JoinerSetup {
            session: SESSION,
            number: number(value),
            leader: number(LEADER),
            suite: self.suite,
            display_name: format!("end {value}"),
        };
        let mut budget = ProofBudget::new();
        let (mut joiner, mut packet) = Joiner::start(self.now, setup, code, budget, &mut rng).unwrap();
        loop {
            let now = self.now;
            assert_eq!(self.wire_to(value), 0, "the wire is settled before a handshake");
            let accepted = leader_takes(&mut self.ends, now, value, &packet);
            self.drain(LEADER);
            let Some(reply) = self.wire.pop_back().filter(|_| accepted) else {
                return false;
            };
            assert_eq!((reply.to, reply.is(PacketKind::Handshake)), (value, true));
            match joiner.handle(now, number(LEADER), &reply.bytes, &mut budget) {
                Ok(JoinerStep::Reply(next)) => packet = next,
                Ok(JoinerStep::Established(established)) => {
                    let identity = self.identity(value, Role::Customer);
                    self.insert(value, Session::joined(now, identity, *established, rng));
                    return true;
                }
                Err(_) => return false,
            }
        }
    }

    /// Handshake, consent, and everything that follows.
    pub(crate) fn join(&mut self, value: u16) {
        self.prove(value);
        self.settle();
        self.admit(value);
        self.settle();
    }

    pub(crate) fn admit(&mut self, value: u16) {
        let now = self.now;
        self.at(LEADER).session.admit(now, number(value)).unwrap();
        self.drain(LEADER);
    }

    pub(crate) fn remove(&mut self, value: u16) {
        let now = self.now;
        self.at(LEADER).session.remove(now, number(value)).unwrap();
        self.drain(LEADER);
    }

    pub(crate) fn at(&mut self, value: u16) -> &mut End {
        self.ends.get_mut(&value).unwrap()
    }

    /// Forgets and returns what happened at an endpoint.
    pub(crate) fn events(&mut self, value: u16) -> Vec<Event> {
        std::mem::take(&mut self.at(value).events)
    }

    pub(crate) fn seal(&mut self, value: u16, text: &[u8]) -> Result<Vec<u8>, SealError> {
        let (now, mut out) = (self.now, Vec::new());
        self.at(value).session.seal(now, &FILES, text, &mut out)?;
        Ok(out)
    }

    pub(crate) fn carry(&mut self, value: u16, old: &[u8]) -> Result<Vec<u8>, SealError> {
        let (now, mut out) = (self.now, Vec::new());
        self.at(value).session.carry(now, old, &mut out)?;
        Ok(out)
    }

    /// Seals a text and puts it on the wire to everybody; returns the packet.
    pub(crate) fn say(&mut self, value: u16, text: &[u8]) -> Result<Vec<u8>, SealError> {
        let packet = self.seal(value, text)?;
        self.send(value, &Destination::All, FILES.class, &packet);
        Ok(packet)
    }

    pub(crate) fn send(&mut self, from: u16, to: &Destination, class: TrafficClass, bytes: &[u8]) {
        let joining = self.joining.filter(|_| *to != Destination::All);
        let targets: BTreeSet<u16> = self.ends.keys().copied().chain(joining).collect();
        let targets = targets.into_iter().filter(|end| *end != from && to.includes(number(*end)));
        for to in targets {
            let packet = Packet { from, to, class, bytes: bytes.to_vec() };
            self.tap.push(packet.clone());
            self.wire.push_back(packet);
        }
    }

    /// Gives one packet to its endpoint now; what comes of it goes onto the wire.
    pub(crate) fn deliver(&mut self, packet: Packet) {
        let now = self.now;
        let Some(end) = self.ends.get_mut(&packet.to) else { return };
        if packet.is(PacketKind::Record) {
            end.open(now, packet.from, packet.class, packet.bytes);
        } else {
            let _ = end.session.handle_packet(now, number(packet.from), &packet.bytes);
        }
        self.drain(packet.to);
    }

    /// Delivers until the wire is empty.
    pub(crate) fn settle(&mut self) {
        for _ in 0..100_000 {
            let Some(packet) = self.wire.pop_front() else { return };
            if !self.blocked.contains(&(packet.from, packet.to)) {
                self.deliver(packet);
            }
        }
        panic!("the endpoints never fall silent");
    }

    /// Lets time pass, with every deadline kept and every packet delivered.
    pub(crate) fn advance(&mut self, duration: Duration) {
        let until = self.now.mono + duration;
        self.settle();
        for _ in 0..100_000 {
            let next = self.ends.values().filter_map(|end| end.session.poll_timeout()).min();
            match next.filter(|at| *at <= until) {
                Some(at) => self.tick(at),
                None => {
                    self.now.mono = until;
                    return;
                }
            }
        }
        panic!("deadlines that never move on");
    }

    /// Moves the clock to `at` and handles what is due.
    pub(crate) fn tick(&mut self, at: Timestamp) {
        self.now.mono = self.now.mono.max(at);
        let now = self.now;
        let due = |end: &End| end.session.poll_timeout().is_some_and(|at| at <= now.mono);
        let due: Vec<u16> = self.ends.iter().filter(|(_, end)| due(end)).map(|(value, _)| *value).collect();
        for value in due {
            self.at(value).session.handle_timeout(now);
            self.drain(value);
        }
        self.settle();
    }

    /// Takes an endpoint's events; packets go onto the wire, and an installed epoch gets its bases.
    pub(crate) fn drain(&mut self, value: u16) {
        let now = self.now;
        while let Some(event) = self.at(value).session.poll_event() {
            match event {
                Event::Transmit { to, class, packet } => self.send(value, &to, class, &packet),
                event => {
                    if matches!(event, Event::EpochInstalled { .. }) {
                        self.at(value).session.state_bases(now, &[(FILES.stream, 7)]).unwrap();
                        self.open_held(value);
                    }
                    self.at(value).events.push(event);
                }
            }
        }
    }

    fn open_held(&mut self, value: u16) {
        let now = self.now;
        let end = self.at(value);
        while let Some(held) = end.session.poll_held() {
            end.open(now, held.sender.value(), held.class, held.packet);
        }
    }

    fn insert(&mut self, value: u16, session: Session) {
        self.ends.insert(value, End { session, events: Vec::new(), heard: Vec::new(), refused: Vec::new() });
        self.drain(value);
    }

    fn wire_to(&self, value: u16) -> usize {
        self.wire.iter().filter(|packet| packet.to == value).count()
    }
}

fn leader_takes(ends: &mut BTreeMap<u16, End>, now: Now, from: u16, packet: &[u8]) -> bool {
    let leader = &mut ends.get_mut(&LEADER).unwrap().session;
    leader.handle_packet(now, number(from), packet).is_ok()
}

impl End {
    pub(crate) fn open(&mut self, now: Now, from: u16, class: TrafficClass, mut bytes: Vec<u8>) {
        let mut spill = Vec::new();
        match self.session.open(now, number(from), class, &mut bytes, &mut spill) {
            Ok(Some(opened)) => self.heard.push(Heard {
                from: opened.sender.value(),
                stream: opened.stream.0,
                counter: opened.counter,
                epoch: opened.epoch,
                carried: opened.carried,
                text: opened.plaintext(&bytes, &spill).to_vec(),
            }),
            Ok(None) => {}
            Err(error) => self.refused.push(error),
        }
    }

    /// Texts in the order in which they were opened.
    pub(crate) fn texts(&self) -> Vec<&[u8]> {
        self.heard.iter().map(|heard| heard.text.as_slice()).collect()
    }
}
