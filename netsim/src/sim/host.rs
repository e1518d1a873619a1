//! A machine: the node's process while it runs, what its shell knows, and its clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proto_spec::lsa::{DrainState, Roles};
use proto_spec::membership::MembershipEntry;
use proto_spec::{AttachSeq, NodeNumber, Now, SenderNumber, SessionId, Timestamp, WallTime};
use sealcast_mesh::{Alarm, CloseReason, Config, Identity, Input, Node, Output, journal};

use super::network::pair;
use super::plan::NodeSpec;
use super::service::Service;
use super::world::{Event, WALL_START, World};

/// A node's journal and its outputs, written down when somebody asks for it.
pub type Recording = (journal::Journal, Vec<u8>, Vec<Output>);

/// A machine.
pub struct Host {
    /// The core, while its process runs.
    pub node: Option<Node>,
    /// Its configuration.
    pub config: Config,
    /// Who it is.
    pub identity: Identity,
    /// Its restart counter.
    pub incarnation: u64,
    /// Counts the processes; events for an earlier one are void.
    pub boot: u64,
    /// Its wall clock less true time.
    pub wall_offset_ms: i64,
    /// Who is attached here, in truth.
    pub attached: BTreeMap<(SessionId, SenderNumber), MembershipEntry>,
    /// What an operator would have been told.
    pub alarms: Vec<Alarm>,
    /// Path hints so far.
    pub hints: Vec<(SessionId, NodeNumber)>,
    /// Attachments called ready so far, with whether all had acknowledged.
    pub ready: Vec<(SessionId, SenderNumber, AttachSeq, bool)>,
    /// Tombstones so far.
    pub tombstones: usize,
    /// The newest load report of each node: its sequence.
    pub loads: BTreeMap<NodeNumber, u64>,
    /// The revocation list in force.
    pub revocations: u64,
    /// The certificates that it names.
    pub revoked: BTreeSet<[u8; 32]>,
    /// Brokers' chains learnt.
    pub broker_chains: usize,
    /// How far it is on its way out.
    pub drain: DrainState,
    /// Whether the program may end.
    pub may_stop: bool,
    /// Trunks that the node closed.
    pub closed: Vec<(NodeNumber, CloseReason)>,
    /// Kept while there is one.
    pub journal: Option<Recording>,
    /// Its queue, if its work takes time.
    pub service: Service,
    /// How much of its attachments it tells as its load, in percent: all of them unless it lies.
    pub load_percent: u64,
    /// Whether the process stands still.
    pub paused: bool,
    /// What came meanwhile.
    pub(super) deferred: Vec<Event>,
    /// When the core wants to be woken.
    pub(super) wake: Option<Timestamp>,
    pub(super) load_sequence: u64,
}

impl Host {
    /// Who of a session is attached here.
    pub(crate) fn attached_to(&self, session: SessionId) -> impl Iterator<Item = &MembershipEntry> {
        let first = SenderNumber::new(1).expect("sender numbers begin at 1");
        let attached = self.attached.range((session, first)..);
        attached.take_while(move |((of, _), _)| *of == session).map(|(_, entry)| entry)
    }
}

/// Where a node is reached, in the world's own form.
pub(crate) fn address(number: NodeNumber) -> String {
    format!("node-{number}:8200")
}

/// The node at an address.
pub(crate) fn number_of(address: &str) -> Option<NodeNumber> {
    NodeNumber::new(address.strip_prefix("node-")?.strip_suffix(":8200")?.parse().ok()?)
}

impl World {
    pub(super) fn add_host(&mut self, spec: &NodeSpec) {
        let number = spec.number;
        let others = self.plan.nodes.iter().map(|node| node.number).filter(|other| *other != number);
        let allowed =
            self.plan.allowed.is_some().then(|| {
                others.clone().filter(|other| self.plan.may_link(number, *other)).collect::<Vec<_>>()
            });
        let seeds = match &allowed {
            Some(allowed) => allowed.iter().map(|other| address(*other)).take(32).collect(),
            None => others.take(2).map(address).collect(),
        };
        let config = Config {
            links_max: self.plan.links_max,
            neighbors_allowed: allowed,
            link_costs: self.plan.link_costs_of(number),
            seeds,
            roles: if spec.broker { Roles::BROKER.and(Roles::GATEWAY) } else { Roles::GATEWAY },
            capacity: spec.capacity,
            region: if self.plan.rtt_us.len() > 1 {
                format!("region {}", spec.region)
            } else {
                format!("region {}", number.value() % 3)
            },
            failure_domain: spec.failure_domain.clone(),
            addresses: vec![address(number)],
            software: "test".into(),
            ..Config::default()
        };
        if let Err(sentence) = config.validate() {
            panic!("a bug of the simulator's plan: {sentence}");
        }
        self.network.place(number, spec.region);
        let identity = self.authority.certify(number, WallTime(WALL_START - 86_400_000));
        let host = Host {
            node: None,
            config,
            identity,
            incarnation: 0,
            boot: 0,
            wall_offset_ms: 0,
            attached: BTreeMap::new(),
            alarms: Vec::new(),
            hints: Vec::new(),
            ready: Vec::new(),
            tombstones: 0,
            loads: BTreeMap::new(),
            revocations: 0,
            revoked: BTreeSet::new(),
            broker_chains: 0,
            drain: DrainState::Serving,
            may_stop: false,
            closed: Vec::new(),
            journal: None,
            service: Service::new(spec.service_us),
            load_percent: 100,
            paused: false,
            deferred: Vec::new(),
            wake: None,
            load_sequence: 0,
        };
        self.hosts.insert(number, host);
    }

    /// Every number.
    pub fn numbers(&self) -> Vec<NodeNumber> {
        self.hosts.keys().copied().collect()
    }

    /// The nodes whose process runs, those that stand still among them.
    pub fn live(&self) -> Vec<NodeNumber> {
        self.hosts.iter().filter(|(_, host)| host.node.is_some()).map(|(number, _)| *number).collect()
    }

    /// The machine of this number.
    ///
    /// # Panics
    /// If there is none: a bug of the caller.
    pub fn host(&self, number: u16) -> &Host {
        &self.hosts[&super::world::node(number)]
    }

    /// The core of this number.
    ///
    /// # Panics
    /// If its process does not run: a bug of the caller.
    pub fn node(&self, number: u16) -> &Node {
        self.host(number).node.as_ref().expect("the node runs")
    }

    pub(super) fn host_mut(&mut self, number: NodeNumber) -> &mut Host {
        self.hosts.get_mut(&number).expect("the world knows its nodes")
    }

    /// The time as a machine's clocks tell it.
    pub fn now_of(&self, number: NodeNumber) -> Now {
        let wall = WALL_START + self.now.0.as_millis() as u64;
        let wall = wall.saturating_add_signed(self.hosts[&number].wall_offset_ms);
        Now { mono: self.now, wall: WallTime(wall) }
    }

    /// Starts a node's process, as after boot.
    ///
    /// # Panics
    /// If it runs already: a bug of the caller.
    pub fn start(&mut self, number: NodeNumber) {
        let now = self.now_of(number);
        let seed = self.stream_of(number).seed();
        self.tell(|| format!("{number} starts"));
        let loads = self.plan.loads;
        let at = self.now;
        let host = self.host_mut(number);
        assert!(host.node.is_none(), "node {number} runs already");
        host.incarnation += 1;
        host.boot += 1;
        host.wake = None;
        host.paused = false;
        host.deferred.clear();
        host.drain = DrainState::Serving;
        host.may_stop = false;
        host.revoked.clear();
        host.alarms.retain(|alarm| !matches!(alarm, Alarm::Clock { .. }));
        host.service.restart();
        host.node = Some(Node::new(host.config.clone(), host.identity.clone(), host.incarnation, seed, now));
        let boot = host.boot;
        self.changed_at = at;
        self.input(number, Input::Tick);
        self.begin_beats(number);
        if self.hosts[&number].config.roles.has(Roles::BROKER) {
            self.bury_again(number);
        }
        if loads {
            self.schedule(Duration::from_secs(1), Event::Load { at: number, boot });
        }
    }

    /// Ends a node's process; its neighbours see the connections reset.
    pub fn kill(&mut self, number: NodeNumber) {
        if self.hosts[&number].node.is_none() {
            return;
        }
        self.tell(|| format!("{number} dies"));
        let host = self.host_mut(number);
        host.node = None;
        host.boot += 1;
        host.paused = false;
        host.deferred.clear();
        host.attached.clear();
        self.changed_at = self.now;
        self.deaths.push((self.now, number));
        self.trunks_of_the_dead(number);
        self.people_of_the_dead(number);
    }

    /// The process stands still: it hears, computes and says nothing.
    pub fn pause(&mut self, number: NodeNumber) {
        if self.hosts[&number].node.is_none() || self.hosts[&number].paused {
            return;
        }
        self.tell(|| format!("{number} stands still"));
        self.host_mut(number).paused = true;
        self.excuse(number);
        self.changed_at = self.now;
        for peer in self.trunk_peers(number) {
            self.fall_silent(number, peer);
        }
    }

    /// It goes on with whatever came meanwhile.
    pub fn resume(&mut self, number: NodeNumber) {
        if !self.hosts[&number].paused {
            return;
        }
        self.tell(|| format!("{number} goes on"));
        self.changed_at = self.now;
        let host = self.host_mut(number);
        host.paused = false;
        host.wake = None;
        let deferred = std::mem::take(&mut host.deferred);
        for event in deferred {
            self.schedule(Duration::ZERO, event);
        }
        for peer in self.trunk_peers(number) {
            self.speak_again(number, peer);
        }
        let boot = self.hosts[&number].boot;
        self.host_mut(number).wake = Some(self.now);
        self.schedule(Duration::ZERO, Event::Wake { to: number, boot });
    }

    /// Attachments at a node: its gateway's, or those of flows.
    pub(crate) fn attachments_at(&self, number: NodeNumber) -> u32 {
        let gateway = self.people.gateway(number);
        gateway.map_or(self.hosts[&number].attached.len(), crate::people::Gateway::registered) as u32
    }

    /// Whether a node's process runs and does not stand still.
    pub fn is_awake(&self, number: NodeNumber) -> bool {
        self.hosts.get(&number).is_some_and(|host| host.node.is_some() && !host.paused)
    }

    /// An endpoint is attached here, or in another way than before.
    pub fn attach(&mut self, number: NodeNumber, session: SessionId, entry: MembershipEntry, ready: bool) {
        self.changed_at = self.now;
        self.host_mut(number).attached.insert((session, entry.number), entry);
        if self.misbehaves(super::bug::Bug::ForgetMember, 3) {
            return;
        }
        self.input(number, Input::Attached { session, entry, ready });
    }

    /// An endpoint is gone from here.
    pub fn detach(&mut self, at: NodeNumber, session: SessionId, number: SenderNumber) {
        self.changed_at = self.now;
        let Some(entry) = self.host_mut(at).attached.remove(&(session, number)) else { return };
        self.input(at, Input::Detached { session, number, attach_seq: entry.attach_seq });
    }

    /// Breaks one connection; both ends see it at once.
    pub fn reset(&mut self, a: NodeNumber, b: NodeNumber) {
        if let Some(trunk) = self.trunks.get(&pair(a, b)) {
            let id = trunk.id;
            self.down(a, b, id, Duration::ZERO);
            self.down(b, a, id, Duration::ZERO);
        }
    }
}
