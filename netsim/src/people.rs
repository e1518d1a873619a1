//! Endpoints, their attachments and the broker, on top of the simulated mesh: all three the product's own.
//!
//! ```text
//!  person   an endpoint with its shell: connects, says, keeps files     machine  its core, with or without MPSL
//!  joining  how it comes into its session                               disk     its files
//!  lines    connections between endpoints and nodes: windows, rates, resets
//!  gateway  a node's side of them                                       drill    what must not succeed
//!  ways     how far nodes are from a session
//!  calls    a broker's shell      broker  what it holds for the core    store    its store, in memory
//! ```
//! Owns who is who in a run. Nothing here decides what a core would decide.

mod broker;
mod calls;
mod disk;
mod drill;
mod gateway;
mod joining;
mod lines;
mod machine;
mod person;
mod store;
mod ways;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use proto_spec::mesh::LoadReport;
use proto_spec::ticket::Role;
use proto_spec::{NodeNumber, SenderNumber, SessionId, Timestamp};
use sealcast_endpoint_core::session::{Call, CallFailure, CallId, CallReply, Way};

use crate::check::delivery::PersonId;
use crate::sim::{Host, Profile, Random};

pub(crate) use broker::Broker;
pub(crate) use gateway::{Gateway, Seated};
pub use person::{Outcome, Part, Person};

/// One connection of an endpoint, for as long as the run.
pub(crate) type ConnId = u64;

/// Where an endpoint is active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stay {
    /// The node.
    pub node: NodeNumber,
    /// Its process.
    pub boot: u64,
    /// Whether the node has given a reason to leave: it drains, stands still, or cannot be heard.
    pub excused: bool,
}

/// What is going to happen to an endpoint or one of its connections.
pub(crate) enum PeopleEvent {
    /// An endpoint's timer.
    Wake { who: PersonId },
    /// An attempt to connect is over.
    Connected { who: PersonId, way: Way, to: Option<(NodeNumber, u64)> },
    /// Bytes reach a node.
    ToNode { conn: ConnId, node: NodeNumber, bytes: Vec<u8> },
    /// Bytes reach an endpoint.
    ToPerson { conn: ConnId, bytes: Vec<u8> },
    /// A connection's node may have something to do.
    Node { conn: ConnId, node: NodeNumber },
    /// An endpoint learns that a connection is gone.
    PersonClosed { conn: ConnId },
    /// A node learns that a connection is gone.
    NodeClosed { conn: ConnId, node: NodeNumber },
    /// A call reaches the broker.
    Call { who: PersonId, call: Call },
    /// Its answer reaches the endpoint.
    Answer { who: PersonId, id: CallId, result: Result<CallReply, CallFailure> },
    /// A node's registry wants to be looked at.
    Registry { node: NodeNumber, boot: u64 },
    /// The time of a drain is over.
    DrainEnds { node: NodeNumber, boot: u64 },
    /// A drill's time has come.
    Drill { step: usize },
    /// An outsider goes on with what it overheard.
    Outsider { who: PersonId },
    /// Somebody types a password, so many wrong ones first.
    Password { who: PersonId, wrong: u32 },
    /// The broker looks after its store.
    House,
    /// An endpoint begins.
    Begin { who: PersonId },
    /// A creator asks for a code for the next one.
    Invite { who: PersonId, role: Role },
    /// Somebody has typed a code.
    Typed { session: usize, code: String },
    /// An endpoint says its next line.
    Say { who: PersonId, load: usize },
    /// An endpoint sends its next file.
    SendFile { who: PersonId, load: usize },
    /// An endpoint's node sends a bare packet to its session.
    Probe { who: PersonId, load: usize },
}

impl PeopleEvent {
    /// The node that does something when it happens.
    pub(crate) fn node(&self) -> Option<NodeNumber> {
        match self {
            PeopleEvent::ToNode { node, .. }
            | PeopleEvent::Node { node, .. }
            | PeopleEvent::NodeClosed { node, .. }
            | PeopleEvent::Registry { node, .. }
            | PeopleEvent::DrainEnds { node, .. } => Some(*node),
            _ => None,
        }
    }
}

/// Everybody and everything beside the mesh itself.
pub struct People {
    /// How much is real.
    pub profile: Profile,
    /// The endpoints, in the order of the scenario.
    pub(crate) persons: Vec<Person>,
    pub(crate) gateways: BTreeMap<NodeNumber, Gateway>,
    pub(crate) lines: BTreeMap<ConnId, lines::Line>,
    pub(crate) broker: Broker,
    /// Who has which number in which session.
    pub(crate) numbers: BTreeMap<(SessionId, SenderNumber), PersonId>,
    /// The drills, if there are any.
    pub(crate) rehearsal: Option<drill::Rehearsal>,
    /// Things that endpoints do, by their place in the scenario.
    pub(crate) loads: Vec<crate::scenario::Load>,
    /// How far apart endpoints join, if the scenario says so.
    pub(crate) joins_apart: Option<Duration>,
    /// Then those that open the sessions to come.
    pub(crate) to_begin: VecDeque<PersonId>,
    /// When time 0 of the scenario was, once it has been.
    pub(crate) began_at: Option<Timestamp>,
    pub(crate) random: Random,
    pub(crate) files_done: u64,
    pub(crate) files_failed: u64,
    pub(crate) files_expected: u64,
}

impl People {
    /// Nobody yet; the broker's certificate has this name.
    pub(crate) fn new(seed: u64, certificate: [u8; 32]) -> People {
        People {
            profile: Profile::Full,
            persons: Vec::new(),
            gateways: BTreeMap::new(),
            lines: BTreeMap::new(),
            broker: Broker::new(seed, certificate),
            numbers: BTreeMap::new(),
            rehearsal: None,
            loads: Vec::new(),
            joins_apart: None,
            to_begin: VecDeque::new(),
            began_at: None,
            random: Random::stream(seed, "people", 0),
            files_done: 0,
            files_failed: 0,
            files_expected: 0,
        }
    }

    /// A node's side of its endpoints, if it has had any.
    pub fn gateway(&self, node: NodeNumber) -> Option<&Gateway> {
        self.gateways.get(&node)
    }

    /// A node's side of its endpoints, made if need be.
    pub(crate) fn gateway_of(
        &mut self,
        node: NodeNumber,
        hosts: &BTreeMap<NodeNumber, Host>,
    ) -> &mut Gateway {
        let capacity = hosts[&node].config.capacity as usize;
        let watched = self.profile == Profile::Full;
        self.gateways.entry(node).or_insert_with(|| Gateway::new(capacity, watched))
    }

    /// A broker hears of a node's load.
    pub(crate) fn load_reported(&mut self, now: Timestamp, from: NodeNumber, report: LoadReport) {
        self.broker.load_reported(now, from, report);
    }

    /// Who has or had a number in a session.
    pub(crate) fn numbers_of(&self, session: SessionId) -> impl Iterator<Item = PersonId> + '_ {
        let ends = [1, u16::MAX].map(|number| (session, SenderNumber::new(number).expect("it is not 0")));
        self.numbers.range(ends[0]..=ends[1]).map(|(_, who)| *who)
    }

    /// Chance of endpoints and users.
    pub(crate) fn random(&mut self) -> &mut Random {
        &mut self.random
    }
}
