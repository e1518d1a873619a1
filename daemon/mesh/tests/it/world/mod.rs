//! A deterministic world around real nodes: an event queue, links with latency and order, crashes, partitions, a shell
//! that signs and verifies a little later. Everything is drawn from one seed; equal seeds give equal traces.
//!
//! Owns time and faults. Never looks inside a node but through its public face. The checkers stand in `check`.

pub mod check;
pub mod crypto;
pub mod random;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proto_spec::egress::{EgressSet, HOP_LIMIT, TrunkHeader};
use proto_spec::lsa::{DrainState, Roles};
use proto_spec::membership::{MemberKind, MembershipEntry};
use proto_spec::mesh::MeshMessage;
use proto_spec::{AttachSeq, NodeNumber, Now, SenderNumber, SessionId, Timestamp, WallTime};
use sealcast_mesh::{
    Alarm, Config, DropReason, Input, Node, Output, Perform, SessionView, forward, journal, turn,
};

use self::random::Random;

/// How long silence takes to be noticed: 600 ms and a heartbeat.
pub const DETECTION: Duration = Duration::from_millis(750);
/// The wall clock when a world begins.
const WALL_START: u64 = 1_700_000_000_000;

pub fn node(number: u16) -> NodeNumber {
    NodeNumber::new(number).unwrap()
}

pub fn session(number: u8) -> SessionId {
    SessionId([number; 16])
}

pub fn entry(number: u16, kind: MemberKind, attach_seq: u64) -> MembershipEntry {
    let number = SenderNumber::new(number).unwrap();
    MembershipEntry { number, kind, attach_seq: AttachSeq(attach_seq), ticket: [number.value() as u8; 32] }
}

/// What a world is made of.
#[derive(Clone)]
pub struct Plan {
    pub seed: u64,
    pub nodes: u16,
    pub links_max: usize,
    /// One-way latencies are drawn from this range.
    pub latency_us: (u64, u64),
    /// Pairs that may be linked, `None` for all.
    pub allowed: Option<Vec<(u16, u16)>>,
    pub brokers: Vec<u16>,
}

impl Plan {
    pub fn new(seed: u64, nodes: u16) -> Plan {
        Plan { seed, nodes, links_max: 16, latency_us: (500, 40_000), allowed: None, brokers: vec![1] }
    }

    fn may_link(&self, a: NodeNumber, b: NodeNumber) -> bool {
        let (a, b) = (a.value(), b.value());
        self.allowed.as_ref().is_none_or(|pairs| pairs.contains(&(a, b)) || pairs.contains(&(b, a)))
    }
}

/// A machine: a node while it runs, and what its shell knows.
pub struct Host {
    pub node: Option<Node>,
    pub config: Config,
    pub identity: sealcast_mesh::Identity,
    pub incarnation: u64,
    /// Counts the processes; events for an earlier one are void.
    pub boot: u64,
    pub wall_offset_ms: i64,
    wake: Option<Timestamp>,
    pub views: BTreeMap<SessionId, SessionView>,
    pub attached: BTreeMap<(SessionId, SenderNumber), MembershipEntry>,
    pub alarms: Vec<Alarm>,
    pub hints: Vec<(SessionId, NodeNumber)>,
    pub ready: Vec<(SessionId, SenderNumber, AttachSeq, bool)>,
    pub tombstones: usize,
    pub loads: BTreeMap<NodeNumber, u64>,
    pub revocations: u64,
    pub broker_chains: usize,
    pub drain: DrainState,
    pub may_stop: bool,
    pub closed: Vec<(NodeNumber, sealcast_mesh::CloseReason)>,
    /// Written when a test asks for it: the journal, and the outputs since it began.
    pub journal: Option<(journal::Journal, Vec<u8>, Vec<Output>)>,
}

/// A connection between two nodes.
#[derive(Clone, Copy, Debug)]
pub struct Trunk {
    id: u64,
    /// No message arrives in a direction before an earlier one.
    free_at: [Timestamp; 2],
    /// Dead, not yet noticed.
    silent: bool,
}

enum Event {
    Wake { to: NodeNumber, boot: u64 },
    Answer { to: NodeNumber, boot: u64, input: Input },
    Up { a: NodeNumber, b: NodeNumber, boots: (u64, u64) },
    Down { at: NodeNumber, peer: NodeNumber, trunk: u64, boot: u64 },
    Message { from: NodeNumber, to: NodeNumber, trunk: u64, bytes: Vec<u8> },
    Rtt { at: NodeNumber, peer: NodeNumber, trunk: u64 },
    Packet { id: u64, from: NodeNumber, to: NodeNumber, trunk: u64, header: TrunkHeader },
}

/// What became of one packet.
#[derive(Clone, Default, Debug)]
pub struct PacketTrace {
    pub visits: BTreeMap<NodeNumber, u32>,
    pub delivered: BTreeMap<NodeNumber, u32>,
    /// Copies delivered to nodes without an active member.
    pub stale: u32,
    pub dropped: Vec<(NodeNumber, DropReason)>,
    /// Copies on the way.
    pub under_way: u32,
    pub copies: u32,
}

pub struct World {
    pub plan: Plan,
    pub now: Timestamp,
    pub random: Random,
    queue: BTreeMap<(Timestamp, u64), Event>,
    serial: u64,
    pub hosts: BTreeMap<NodeNumber, Host>,
    pub trunks: BTreeMap<(NodeNumber, NodeNumber), Trunk>,
    latency: BTreeMap<(NodeNumber, NodeNumber), Duration>,
    /// Closed connections with who closed them: what was sent before arrives.
    closing: BTreeSet<(u64, NodeNumber)>,
    /// Pairs that hear nothing from each other.
    pub cut: BTreeSet<(NodeNumber, NodeNumber)>,
    /// When anything last changed that nodes must agree on.
    pub changed_at: Timestamp,
    pub packets: BTreeMap<u64, PacketTrace>,
    /// Everything that happened, folded.
    pub trace: u64,
    pub messages: u64,
    traced: bool,
}

struct Outputs(Vec<Output>);

impl Perform for Outputs {
    fn perform(&mut self, output: Output) {
        self.0.push(output);
    }
}

fn pair(a: NodeNumber, b: NodeNumber) -> (NodeNumber, NodeNumber) {
    (a.min(b), a.max(b))
}

impl World {
    pub fn new(plan: Plan) -> World {
        let mut random = Random::new(plan.seed);
        let numbers: Vec<NodeNumber> = (1..=plan.nodes).map(node).collect();
        let mut latency = BTreeMap::new();
        for a in &numbers {
            for b in numbers.iter().filter(|b| *b > a) {
                let us = random.range(plan.latency_us.0, plan.latency_us.1);
                latency.insert((*a, *b), Duration::from_micros(us));
            }
        }
        let mut world = World {
            now: Timestamp::ZERO,
            random,
            queue: BTreeMap::new(),
            serial: 0,
            hosts: BTreeMap::new(),
            trunks: BTreeMap::new(),
            latency,
            cut: BTreeSet::new(),
            closing: BTreeSet::new(),
            changed_at: Timestamp::ZERO,
            packets: BTreeMap::new(),
            trace: 0,
            messages: 0,
            traced: std::env::var_os("MESH_TRACE").is_some(),
            plan,
        };
        for number in numbers {
            world.add_host(number);
        }
        world
    }

    /// A world whose nodes have all started and had time to agree.
    pub fn started(plan: Plan) -> World {
        let mut world = World::new(plan);
        for number in world.numbers() {
            world.start(number);
        }
        world.run_for(Duration::from_secs(40));
        world
    }

    fn add_host(&mut self, number: NodeNumber) {
        let others = self.numbers_of_plan().into_iter().filter(|other| *other != number);
        let allowed = self
            .plan
            .allowed
            .is_some()
            .then(|| others.filter(|other| self.plan.may_link(number, *other)).collect::<Vec<_>>());
        let seeds = match &allowed {
            Some(allowed) => allowed.iter().map(|other| trunk_address(*other)).collect(),
            None => (1..=2).map(node).filter(|seed| *seed != number).map(trunk_address).collect(),
        };
        let broker = self.plan.brokers.contains(&number.value());
        let config = Config {
            links_max: self.plan.links_max,
            neighbors_allowed: allowed,
            seeds,
            roles: if broker { Roles::BROKER.and(Roles::GATEWAY) } else { Roles::GATEWAY },
            region: format!("region {}", number.value() % 3),
            failure_domain: format!("domain {}", number.value() % 4),
            addresses: vec![address(number)],
            trunk_addresses: vec![trunk_address(number)],
            software: "test".into(),
            ..Config::default()
        };
        config.validate().unwrap();
        let host = Host {
            node: None,
            config,
            identity: crypto::identity(number, number.value(), WallTime(WALL_START - 1_000)),
            incarnation: 0,
            boot: 0,
            wall_offset_ms: 0,
            wake: None,
            views: BTreeMap::new(),
            attached: BTreeMap::new(),
            alarms: Vec::new(),
            hints: Vec::new(),
            ready: Vec::new(),
            tombstones: 0,
            loads: BTreeMap::new(),
            revocations: 0,
            broker_chains: 0,
            drain: DrainState::Serving,
            may_stop: false,
            closed: Vec::new(),
            journal: None,
        };
        self.hosts.insert(number, host);
    }

    fn numbers_of_plan(&self) -> Vec<NodeNumber> {
        (1..=self.plan.nodes).map(node).collect()
    }

    pub fn numbers(&self) -> Vec<NodeNumber> {
        self.hosts.keys().copied().collect()
    }

    pub fn live(&self) -> Vec<NodeNumber> {
        self.hosts.iter().filter(|(_, host)| host.node.is_some()).map(|(number, _)| *number).collect()
    }

    pub fn host(&self, number: u16) -> &Host {
        &self.hosts[&node(number)]
    }

    pub fn node(&self, number: u16) -> &Node {
        self.host(number).node.as_ref().unwrap()
    }

    pub fn now_of(&self, number: NodeNumber) -> Now {
        let wall = WALL_START + self.now.0.as_millis() as u64;
        let wall = wall.saturating_add_signed(self.hosts[&number].wall_offset_ms);
        Now { mono: self.now, wall: WallTime(wall) }
    }

    /// Starts a node's process, as after boot.
    pub fn start(&mut self, number: NodeNumber) {
        let now = self.now_of(number);
        let seed = self.random.seed();
        self.tell(|| format!("{number} starts"));
        let host = self.hosts.get_mut(&number).unwrap();
        assert!(host.node.is_none());
        host.incarnation += 1;
        host.boot += 1;
        host.wake = None;
        host.drain = DrainState::Serving;
        host.may_stop = false;
        host.node = Some(Node::new(host.config.clone(), host.identity.clone(), host.incarnation, seed, now));
        self.changed_at = self.now;
        self.input(number, Input::Tick);
    }

    /// Ends a node's process; its neighbours see the connections reset.
    pub fn kill(&mut self, number: NodeNumber) {
        self.tell(|| format!("{number} dies"));
        let host = self.hosts.get_mut(&number).unwrap();
        host.node = None;
        host.boot += 1;
        host.views.clear();
        host.attached.clear();
        self.changed_at = self.now;
        let mine: Vec<_> =
            self.trunks.keys().copied().filter(|(a, b)| *a == number || *b == number).collect();
        for (a, b) in mine {
            let peer = if a == number { b } else { a };
            self.end_trunk(number, peer, false);
        }
    }

    /// Separates nodes in silence, or joins them again.
    pub fn set_cut(&mut self, a: NodeNumber, b: NodeNumber, cut: bool) {
        let key = pair(a, b);
        if cut {
            self.cut.insert(key);
            if self.trunks.contains_key(&key) {
                self.end_trunk(a, b, true);
            }
        } else {
            self.cut.remove(&key);
        }
        self.changed_at = self.now;
    }

    /// Separates these nodes from all others.
    pub fn partition(&mut self, side: &[NodeNumber]) {
        for a in side {
            for b in self.numbers().into_iter().filter(|b| !side.contains(b)) {
                self.set_cut(*a, b, true);
            }
        }
    }

    pub fn heal(&mut self) {
        for (a, b) in std::mem::take(&mut self.cut) {
            self.set_cut(a, b, false);
        }
    }

    /// Breaks one connection; both ends see it at once.
    pub fn reset(&mut self, a: NodeNumber, b: NodeNumber) {
        if let Some(trunk) = self.trunks.remove(&pair(a, b)) {
            self.down(a, b, trunk.id, Duration::ZERO);
            self.down(b, a, trunk.id, Duration::ZERO);
        }
    }

    pub fn attach(&mut self, number: NodeNumber, session: SessionId, entry: MembershipEntry, ready: bool) {
        self.changed_at = self.now;
        self.hosts.get_mut(&number).unwrap().attached.insert((session, entry.number), entry);
        self.input(number, Input::Attached { session, entry, ready });
    }

    pub fn detach(&mut self, at: NodeNumber, session: SessionId, number: SenderNumber) {
        self.changed_at = self.now;
        let Some(entry) = self.hosts.get_mut(&at).unwrap().attached.remove(&(session, number)) else {
            return;
        };
        self.input(at, Input::Detached { session, number, attach_seq: entry.attach_seq });
    }

    /// With `MESH_TRACE=1` the run is told on stderr.
    fn tell(&self, line: impl FnOnce() -> String) {
        if self.traced {
            eprintln!("{:>9.3} {}", self.now.0.as_secs_f64(), line());
        }
    }

    /// Hands an input to a node and carries out what it wants.
    pub fn input(&mut self, number: NodeNumber, input: Input) {
        let now = self.now_of(number);
        if !matches!(
            input,
            Input::Tick | Input::Verdict { .. } | Input::Signed { .. } | Input::LinkRtt { .. }
        ) {
            self.tell(|| match &input {
                Input::Message { from, bytes } => {
                    format!("{number} <- {from}: {:?}", <MeshMessage as proto_spec::Wire>::from_bytes(bytes))
                }
                input => format!("{number} <- {input:?}"),
            });
        }
        let host = self.hosts.get_mut(&number).unwrap();
        let Some(node) = host.node.as_mut() else { return };
        if let Some((journal, file, _)) = &mut host.journal {
            let write = journal.record(node, now, &input);
            assert!(write.segment == 0, "tests stay within one segment");
            file.extend_from_slice(&write.bytes);
        }
        let mut outputs = Outputs(Vec::new());
        let deadline = turn(node, now, input, &mut outputs);
        if let Some(exceeded) = node.sizes().exceeded() {
            panic!("seed {}: node {number} exceeds a bound: {exceeded:?}", self.plan.seed);
        }
        if let Some((journal, _, log)) = &mut host.journal {
            outputs.0.iter().for_each(|output| journal.put_out(output));
            log.extend(outputs.0.iter().cloned());
        }
        let boot = host.boot;
        if let Some(deadline) = deadline {
            let deadline = deadline.max(self.now);
            if host.wake.is_none_or(|wake| wake > deadline || wake < self.now) {
                host.wake = Some(deadline);
                self.schedule_at(deadline, Event::Wake { to: number, boot });
            }
        }
        for output in outputs.0 {
            if !matches!(output, Output::Send { .. } | Output::Verify { .. } | Output::Sign { .. }) {
                self.tell(|| format!("{number} -> {output:?}"));
            }
            self.fold(number, &output);
            self.perform(number, boot, output);
        }
    }

    fn fold(&mut self, number: NodeNumber, output: &Output) {
        let mut hash = self.trace ^ self.now.0.as_nanos() as u64 ^ u64::from(number.value()) << 48;
        for byte in format!("{output:?}").bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.trace = hash;
    }

    fn perform(&mut self, number: NodeNumber, boot: u64, output: Output) {
        // Signing and checking take a moment, and not always the same.
        let soon = Duration::from_micros(self.random.range(50, 2_000));
        match output {
            Output::Dial { peer, addresses } => {
                // [LSA-1]: nodes dial trunk addresses, never those for endpoints.
                assert!(addresses.iter().all(|address| !address.starts_with("node-")), "{addresses:?}");
                let peer = peer.or_else(|| addresses.first().and_then(|address| number_of(address)));
                if let Some(peer) = peer {
                    self.dial(number, peer);
                }
            }
            Output::Close { peer, reason } => {
                self.hosts.get_mut(&number).unwrap().closed.push((peer, reason));
                self.changed_at = self.now;
                if let Some(trunk) = self.trunks.remove(&pair(number, peer)) {
                    self.closing.insert((trunk.id, number));
                    let last = trunk.free_at[usize::from(number > peer)].since(self.now);
                    self.down(peer, number, trunk.id, self.latency(number, peer).max(last));
                }
            }
            Output::Send { to, bytes } => self.transmit(number, to, bytes.into()),
            Output::Sign { request, message } => {
                let signature = crypto::sign(&self.hosts[&number].identity.key, &message);
                let input = Input::Signed { request, signature };
                self.schedule(soon, Event::Answer { to: number, boot, input });
            }
            Output::Verify { request, item } => {
                let verdict = crypto::verify(&item, self.now_of(number).wall);
                let input = Input::Verdict { request, verdict };
                self.schedule(soon, Event::Answer { to: number, boot, input });
            }
            Output::Session { session, view } => {
                self.hosts.get_mut(&number).unwrap().views.insert(session, view);
            }
            Output::Alarm(alarm) => self.hosts.get_mut(&number).unwrap().alarms.push(alarm),
            Output::ClockSettled { peer } => {
                let alarms = &mut self.hosts.get_mut(&number).unwrap().alarms;
                alarms.retain(|alarm| !matches!(alarm, Alarm::Clock { peer: of, .. } if *of == peer));
            }
            Output::PathHint { session, node } => {
                self.hosts.get_mut(&number).unwrap().hints.push((session, node));
            }
            Output::Ready { session, number: sender, attach_seq, complete } => {
                self.hosts.get_mut(&number).unwrap().ready.push((session, sender, attach_seq, complete));
            }
            Output::Drain(state) => {
                self.changed_at = self.now;
                self.hosts.get_mut(&number).unwrap().drain = state;
            }
            Output::MayStop => self.hosts.get_mut(&number).unwrap().may_stop = true,
            Output::Tombstone(_) => self.hosts.get_mut(&number).unwrap().tombstones += 1,
            Output::Load { from, report } => {
                self.hosts.get_mut(&number).unwrap().loads.insert(from, report.sequence);
            }
            Output::Revocations(list) => {
                self.changed_at = self.now;
                self.hosts.get_mut(&number).unwrap().revocations = list.0.number;
            }
            Output::BrokerChain(_) => self.hosts.get_mut(&number).unwrap().broker_chains += 1,
            Output::Routes { .. } => {}
        }
    }

    fn dial(&mut self, from: NodeNumber, to: NodeNumber) {
        let known = self.hosts.contains_key(&to) && from != to;
        if !known || self.cut.contains(&pair(from, to)) || !self.plan.may_link(from, to) {
            return;
        }
        let boots = (self.hosts[&from].boot, self.hosts[&to].boot);
        let setup = self.latency(from, to) * 5;
        self.schedule(setup, Event::Up { a: from, b: to, boots });
    }

    fn up(&mut self, a: NodeNumber, b: NodeNumber, boots: (u64, u64)) {
        let alive =
            |number: &NodeNumber, boot| self.hosts[number].node.is_some() && self.hosts[number].boot == boot;
        let key = pair(a, b);
        if !alive(&a, boots.0)
            || !alive(&b, boots.1)
            || self.trunks.contains_key(&key)
            || self.cut.contains(&key)
        {
            return;
        }
        self.serial += 1;
        let id = self.serial;
        self.trunks.insert(key, Trunk { id, free_at: [self.now; 2], silent: false });
        self.changed_at = self.now;
        for (at, peer) in [(a, b), (b, a)] {
            let signer = crypto::signer(&self.hosts[&peer].identity);
            self.input(at, Input::LinkUp { peer: signer });
            self.schedule(self.latency(a, b), Event::Rtt { at, peer, trunk: id });
        }
    }

    fn end_trunk(&mut self, a: NodeNumber, b: NodeNumber, silent: bool) {
        let Some(trunk) = self.trunks.get_mut(&pair(a, b)) else { return };
        let id = trunk.id;
        if silent {
            // Both ends find out for themselves.
            trunk.silent = true;
            self.down(a, b, id, DETECTION);
            self.down(b, a, id, DETECTION);
        } else {
            self.trunks.remove(&pair(a, b));
            self.down(b, a, id, self.latency(a, b));
        }
    }

    fn down(&mut self, at: NodeNumber, peer: NodeNumber, trunk: u64, after: Duration) {
        let boot = self.hosts[&at].boot;
        self.schedule(after, Event::Down { at, peer, trunk, boot });
    }

    pub fn latency(&self, a: NodeNumber, b: NodeNumber) -> Duration {
        self.latency[&pair(a, b)]
    }

    /// The time at which something sent now arrives: never before what was sent earlier.
    fn arrival(&mut self, from: NodeNumber, to: NodeNumber) -> Option<(Timestamp, u64)> {
        let latency = self.latency(from, to);
        let jitter = Duration::from_micros(self.random.range(0, 1 + latency.as_micros() as u64 / 10));
        let trunk = self.trunks.get_mut(&pair(from, to))?;
        if trunk.silent {
            return None;
        }
        let direction = usize::from(from > to);
        let at = (self.now + latency + jitter).max(trunk.free_at[direction]);
        trunk.free_at[direction] = at;
        Some((at, trunk.id))
    }

    fn transmit(&mut self, from: NodeNumber, to: NodeNumber, bytes: Vec<u8>) {
        self.messages += 1;
        if let Some((at, trunk)) = self.arrival(from, to) {
            self.schedule_at(at, Event::Message { from, to, trunk, bytes });
        }
    }

    /// An endpoint on a node sends a packet to all of its session; returns the packet's id.
    pub fn send_packet(&mut self, from: NodeNumber, session: SessionId) -> u64 {
        self.serial += 1;
        let id = self.serial;
        self.packets.insert(id, PacketTrace::default());
        let egress =
            self.hosts[&from].views.get(&session).map(|view| view.egress.clone()).unwrap_or_default();
        if let Some(egress) = EgressSet::new(egress) {
            let header = TrunkHeader { hop_limit: HOP_LIMIT, ingress: from, egress, session };
            self.forward_packet(id, from, None, &header);
        }
        id
    }

    fn forward_packet(
        &mut self,
        id: u64,
        at: NodeNumber,
        arrived_on: Option<NodeNumber>,
        header: &TrunkHeader,
    ) {
        let host = &self.hosts[&at];
        let Some(node) = host.node.as_ref() else { return };
        let copies = forward(&node.snapshot(), arrived_on, header);
        let active = host
            .attached
            .iter()
            .any(|((session, _), entry)| *session == header.session && entry.kind == MemberKind::Active);
        let trace = self.packets.get_mut(&id).unwrap();
        *trace.visits.entry(at).or_default() += 1;
        if copies.local && active {
            *trace.delivered.entry(at).or_default() += 1;
        } else if copies.local {
            trace.stale += 1;
        }
        trace.dropped.extend(copies.dropped);
        for copy in copies.copies {
            assert_ne!(Some(copy.to), arrived_on, "a copy returned on the link it came from");
            self.packets.get_mut(&id).unwrap().copies += 1;
            let header = TrunkHeader { hop_limit: copies.hop_limit, egress: copy.egress, ..header.clone() };
            if let Some((when, trunk)) = self.arrival(at, copy.to) {
                self.packets.get_mut(&id).unwrap().under_way += 1;
                self.schedule_at(when, Event::Packet { id, from: at, to: copy.to, trunk, header });
            }
        }
    }

    fn schedule(&mut self, after: Duration, event: Event) {
        self.schedule_at(self.now + after, event);
    }

    fn schedule_at(&mut self, at: Timestamp, event: Event) {
        self.serial += 1;
        self.queue.insert((at, self.serial), event);
    }

    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    pub fn run_until(&mut self, end: Timestamp) {
        while let Some(next) = self.queue.first_entry() {
            if next.key().0 > end {
                break;
            }
            let ((at, _), event) = next.remove_entry();
            self.now = at;
            self.event(event);
        }
        self.now = end;
    }

    fn is_trunk(&self, a: NodeNumber, b: NodeNumber, id: u64) -> bool {
        self.trunks.get(&pair(a, b)).is_some_and(|trunk| trunk.id == id && !trunk.silent)
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Wake { to, boot } => {
                let host = self.hosts.get_mut(&to).unwrap();
                if host.boot == boot && host.wake == Some(self.now) {
                    host.wake = None;
                    self.input(to, Input::Tick);
                }
            }
            Event::Answer { to, boot, input } => {
                if self.hosts[&to].boot == boot {
                    self.input(to, input);
                }
            }
            Event::Up { a, b, boots } => self.up(a, b, boots),
            Event::Down { at, peer, trunk, boot } => {
                if self.trunks.get(&pair(at, peer)).is_some_and(|found| found.id == trunk) {
                    // Silence, noticed by one end; the other has its own event.
                    self.trunks.remove(&pair(at, peer));
                }
                if self.hosts[&at].boot == boot {
                    self.changed_at = self.now;
                    self.input(at, Input::LinkDown { peer });
                }
            }
            Event::Message { from, to, trunk, bytes } => {
                if self.is_trunk(from, to, trunk) || self.closing.contains(&(trunk, from)) {
                    self.input(to, Input::Message { from, bytes: bytes.into() });
                }
            }
            Event::Rtt { at, peer, trunk } => {
                if self.is_trunk(at, peer, trunk) {
                    let rtt_us = 2 * self.latency(at, peer).as_micros() as u64;
                    let rtt_us = self.random.range(rtt_us, rtt_us + rtt_us / 20 + 1) as u32;
                    self.input(at, Input::LinkRtt { peer, rtt_us });
                    self.schedule(Duration::from_secs(3), Event::Rtt { at, peer, trunk });
                }
            }
            Event::Packet { id, from, to, trunk, header } => {
                self.packets.get_mut(&id).unwrap().under_way -= 1;
                if self.is_trunk(from, to, trunk) {
                    self.forward_packet(id, to, Some(from), &header);
                }
            }
        }
    }
}

fn address(number: NodeNumber) -> String {
    format!("node-{number}:8200")
}

fn trunk_address(number: NodeNumber) -> String {
    format!("trunk-{number}:8210")
}

fn number_of(address: &str) -> Option<NodeNumber> {
    NodeNumber::new(address.strip_prefix("trunk-")?.strip_suffix(":8210")?.parse().ok()?)
}
