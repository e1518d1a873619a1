//! The world as a whole: time moves from event to event, and everything that happens is folded into one trace.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proto_spec::mesh::{LoadReport, MeshMessage};
use proto_spec::{NodeNumber, SessionId, Timestamp, Wire};
use sealcast_mesh::{Input, Output, Perform, Verdict, turn};

use super::authority::Authority;
use super::bug::Bug;
use super::host::Host;
use super::network::{Network, Pair};
use super::packets::{PacketTrace, Unit};
use super::plan::Plan;
use super::queue::EventQueue;
use super::random::Random;
use super::trace::Trace;
use super::trunks::Trunk;
use crate::check::{Checkers, Property, Violation};
use crate::people::{People, PeopleEvent};
use crate::record::Recorder;

/// True wall time when a world begins, in milliseconds.
pub(crate) const WALL_START: u64 = 1_700_000_000_000;
/// Violations that are kept: the first ones tell, the rest are their echo.
const VIOLATIONS_MAX: usize = 16;

/// The number of a node, for places where it is written by hand.
///
/// # Panics
/// If it is 0: a bug of the caller.
pub fn node(number: u16) -> NodeNumber {
    NodeNumber::new(number).expect("node numbers are not 0")
}

/// The world.
pub struct World {
    /// What it was made of.
    pub plan: Plan,
    /// Now.
    pub now: Timestamp,
    /// The machines.
    pub hosts: BTreeMap<NodeNumber, Host>,
    /// The connections between them.
    pub trunks: BTreeMap<Pair, Trunk>,
    /// The ways between them.
    pub network: Network,
    /// When anything last changed that nodes must agree on.
    pub changed_at: Timestamp,
    /// Units of data that are looked at: those under way, and those that somebody asked for.
    pub packets: BTreeMap<u64, PacketTrace>,
    /// Endpoints, their attachments and the broker.
    pub people: People,
    /// What watches.
    pub checkers: Checkers,
    /// What they found.
    pub violations: Vec<Violation>,
    /// What the shell does wrong on purpose.
    pub bug: Option<Bug>,
    /// For whoever drives the world: faults, choices.
    pub random: Random,
    /// Everything that happened, folded.
    pub trace: Trace,
    /// Messages between nodes so far.
    pub messages: u64,
    /// Events of the queue that have come so far.
    pub events: u64,
    /// Whether to tell on stderr what happens.
    pub told: bool,
    /// What is written down for a page, if one is wanted.
    pub(crate) recorder: Option<Recorder>,
    /// Processes that ended, with when.
    pub(crate) deaths: Vec<(Timestamp, NodeNumber)>,
    pub(crate) authority: Authority,
    /// When registries are to be looked at, so that each time is planned once.
    pub(crate) registry_wakes: BTreeSet<(NodeNumber, Timestamp)>,
    pub(super) streams: BTreeMap<NodeNumber, Random>,
    pub(super) bugs: Random,
    /// Reports that brokers heard, in the light profile: for whoever drives the world.
    pub(crate) heard: Vec<HeardLoad>,
    queue: EventQueue<Event>,
    last_id: u64,
}

/// A node's load, as a broker's node hears of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeardLoad {
    pub(crate) broker: NodeNumber,
    pub(crate) from: NodeNumber,
    pub(crate) at: Timestamp,
    pub(crate) report: LoadReport,
}

/// What is going to happen.
pub(crate) enum Event {
    Wake {
        to: NodeNumber,
        boot: u64,
    },
    Answer {
        to: NodeNumber,
        boot: u64,
        input: Input,
    },
    Load {
        at: NodeNumber,
        boot: u64,
    },
    Up {
        a: NodeNumber,
        b: NodeNumber,
        boots: (u64, u64),
    },
    Down {
        at: NodeNumber,
        peer: NodeNumber,
        trunk: u64,
        boot: u64,
    },
    Silent {
        at: NodeNumber,
        speaker: NodeNumber,
        trunk: u64,
        since: Timestamp,
    },
    Message {
        from: NodeNumber,
        to: NodeNumber,
        trunk: u64,
        bytes: Bytes,
    },
    Rtt {
        at: NodeNumber,
        peer: NodeNumber,
        trunk: u64,
    },
    Unit {
        from: NodeNumber,
        to: NodeNumber,
        trunk: u64,
        unit: Unit,
    },
    Stale {
        victim: NodeNumber,
    },
    /// Time for a heartbeat of a node that takes its time; and its turn has come.
    Beat {
        at: NodeNumber,
        boot: u64,
    },
    Beaten {
        at: NodeNumber,
        boot: u64,
    },
    /// Something has had its turn in its node's queue.
    Served {
        at: NodeNumber,
        boot: u64,
        event: Box<Event>,
    },
    People(PeopleEvent),
}

impl Event {
    /// The node that does something when it happens; it waits while that node stands still.
    pub(super) fn actor(&self) -> Option<NodeNumber> {
        match self {
            Event::Wake { to, .. } | Event::Answer { to, .. } => Some(*to),
            Event::Message { to, .. } | Event::Unit { to, .. } => Some(*to),
            Event::Load { at, .. } | Event::Down { at, .. } => Some(*at),
            Event::Silent { at, .. } | Event::Rtt { at, .. } => Some(*at),
            Event::Beaten { at, .. } | Event::Served { at, .. } => Some(*at),
            Event::People(event) => event.node(),
            Event::Up { .. } | Event::Stale { .. } | Event::Beat { .. } => None,
        }
    }
}

#[derive(Default)]
struct Outputs(Vec<Output>);

impl Perform for Outputs {
    fn perform(&mut self, output: Output) {
        self.0.push(output);
    }
}

impl World {
    /// A world whose nodes have not started.
    pub fn new(plan: Plan) -> World {
        let seed = plan.seed;
        let network = Network::new(seed, plan.rtt_us.clone(), plan.jitter_percent, plan.spread_percent);
        let authority = Authority::new(seed);
        let mut world = World {
            now: Timestamp::ZERO,
            hosts: BTreeMap::new(),
            trunks: BTreeMap::new(),
            network,
            changed_at: Timestamp::ZERO,
            packets: BTreeMap::new(),
            people: People::new(seed, authority.broker()),
            checkers: Checkers::default(),
            violations: Vec::new(),
            bug: None,
            random: Random::stream(seed, "driver", 0),
            trace: Trace::default(),
            messages: 0,
            events: 0,
            told: false,
            recorder: None,
            deaths: Vec::new(),
            authority,
            registry_wakes: BTreeSet::new(),
            streams: BTreeMap::new(),
            bugs: Random::stream(seed, "bug", 0),
            heard: Vec::new(),
            queue: EventQueue::default(),
            last_id: 0,
            plan,
        };
        for spec in world.plan.nodes.clone() {
            world.add_host(&spec);
            let stream = Random::stream(seed, "node", u64::from(spec.number.value()));
            world.streams.insert(spec.number, stream);
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

    /// The authority, for whoever forges on purpose.
    pub fn authority(&mut self) -> &mut Authority {
        &mut self.authority
    }

    pub(super) fn stream_of(&mut self, number: NodeNumber) -> &mut Random {
        self.streams.get_mut(&number).expect("each node has its stream")
    }

    /// A number that was not used before.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    /// Whether the shell does this wrong here: once in so many times, if the bug is planted.
    pub(crate) fn misbehaves(&mut self, bug: Bug, once_in: u64) -> bool {
        self.bug == Some(bug) && self.bugs.one_in(once_in)
    }

    /// Something that must hold does not.
    pub(crate) fn violated(&mut self, property: Property, what: String) {
        let violation = Violation { property, seed: self.plan.seed, at: self.now, what };
        self.tell(|| violation.to_string());
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(violation);
        }
    }

    /// Told on stderr, if that is wanted.
    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        if self.told {
            let us = self.now.0.as_micros();
            eprintln!("{:>6}.{:06} {}", us / 1_000_000, us % 1_000_000, line());
        }
    }

    pub(crate) fn schedule(&mut self, after: Duration, event: Event) {
        self.queue.push(self.now + after, event);
    }

    pub(crate) fn schedule_at(&mut self, at: Timestamp, event: Event) {
        self.queue.push(at.max(self.now), event);
    }

    /// Lets time pass.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now + duration);
    }

    /// Lets time pass up to `end`, with all that happens until then.
    pub fn run_until(&mut self, end: Timestamp) {
        while let Some((at, event)) = self.queue.pop(end) {
            self.now = at;
            self.events += 1;
            self.event(event);
        }
        self.now = end;
    }

    /// Events that wait.
    pub fn pending(&self) -> usize {
        self.queue.len()
    }

    fn event(&mut self, event: Event) {
        let mut event = event;
        if let Some(actor) = event.actor()
            && let Some(host) = self.hosts.get_mut(&actor)
        {
            if host.paused {
                return host.deferred.push(event);
            }
            if host.service.is_at_work() {
                let Some(turn) = self.queue_up(actor, event) else { return };
                event = turn;
            }
        }
        match event {
            Event::Wake { to, boot } => {
                let now = self.now;
                let host = self.host_mut(to);
                if host.boot == boot && host.wake.is_some_and(|wake| wake <= now) {
                    host.wake = None;
                    self.input(to, Input::Tick);
                }
            }
            Event::Answer { to, boot, input } => {
                if self.hosts[&to].boot == boot {
                    let about = match &input {
                        Input::Verdict { verdict: Verdict::Signer(signer), .. } => Some(signer.node),
                        _ => None,
                    };
                    self.input(to, input);
                    if let Some(about) = about {
                        self.check_accepted(to, about);
                    }
                }
            }
            Event::Load { at, boot } => self.report_load(at, boot),
            Event::Up { a, b, boots } => self.up(a, b, boots),
            Event::Down { at, peer, trunk, boot } => {
                if self.hosts[&at].boot == boot {
                    self.went_down(at, peer, trunk);
                }
            }
            Event::Silent { at, speaker, trunk, since } => self.silent(at, speaker, trunk, since),
            Event::Message { from, to, trunk, bytes } => {
                if self.listens(to, from, trunk) {
                    self.input(to, Input::Message { from, bytes });
                }
            }
            Event::Rtt { at, peer, trunk } => self.measure(at, peer, trunk),
            Event::Unit { from, to, trunk, unit } => self.unit_arrives(from, to, trunk, unit),
            Event::Stale { victim } => self.replay_stale(victim),
            Event::Beat { at, boot } => self.beat(at, boot),
            Event::Beaten { at, boot } => {
                if self.hosts[&at].boot == boot {
                    self.heard_of(at);
                }
            }
            // Of a process that has ended since.
            Event::Served { event, .. } => self.event(*event),
            Event::People(event) => self.people_event(event),
        }
    }

    /// Hands an input to a node and carries out what it wants.
    pub fn input(&mut self, number: NodeNumber, input: Input) {
        let now = self.now_of(number);
        let quiet = matches!(
            input,
            Input::Tick | Input::Verdict { .. } | Input::Signed { .. } | Input::LinkRtt { .. }
        );
        if self.told && !quiet {
            self.tell(|| match &input {
                Input::Message { from, bytes } => {
                    format!("{number} <- {from}: {:?}", MeshMessage::from_bytes(bytes))
                }
                input => format!("{number} <- {input:?}"),
            });
        }
        let host = self.hosts.get_mut(&number).expect("the world knows its nodes");
        let Some(node) = host.node.as_mut() else { return };
        if let Some((journal, file, _)) = &mut host.journal {
            let write = journal.record(node, now, &input);
            assert!(write.segment == 0, "a recording stays within one segment");
            file.extend_from_slice(&write.bytes);
        }
        let mut outputs = Outputs::default();
        let deadline = turn(node, now, input, &mut outputs);
        let sizes = node.sizes();
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
        if let Some(exceeded) = sizes.exceeded() {
            let (name, size, bound) = *exceeded;
            let what = format!("node {number} holds {size} {name}, {bound} are allowed");
            self.violated(Property::Bounds, what);
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
        self.trace.event(self.now.0.as_nanos() as u64, u64::from(number.value()));
        match output {
            Output::Send { to, bytes } => {
                self.trace.number(u64::from(to.value()));
                self.trace.bytes(bytes);
            }
            Output::Sign { request, message } => {
                self.trace.number(request.0);
                self.trace.bytes(message);
            }
            Output::Verify { request, .. } => self.trace.number(request.0),
            other => {
                let bytes = postcard::to_allocvec(other).expect("plain data of our own always serialises");
                self.trace.bytes(&bytes);
            }
        }
    }

    /// One way between two nodes as long as nothing is wrong.
    pub fn latency(&self, a: NodeNumber, b: NodeNumber) -> Duration {
        self.network.latency(a, b)
    }

    /// A session's id by a small number, for worlds written by hand.
    pub const fn session_id(number: u8) -> SessionId {
        SessionId([number; 16])
    }
}
