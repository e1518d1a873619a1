//! The node as a whole: takes inputs, keeps the parts, gives outputs. What each part does stands in its own file.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use proto_spec::lsa::{DrainState, Lsa, LsaBody, LsaVersion};
use proto_spec::membership::{Membership, MembershipBody};
use proto_spec::mesh::{Chain, MESH_NODES_MAX, MeshMessage, Revocations};
use proto_spec::tombstone::Tombstone;
use proto_spec::{NodeNumber, Now, SessionId, Timestamp, Wire};
use serde::{Deserialize, Serialize};

use crate::carried::CarriedLsa;
use crate::clocks::Clocks;
use crate::config::{
    AGE_INTERVAL, CHAINS_MAX, CLOCKS_MAX, Config, HOME_DIGEST_INTERVAL, HOUSEKEEPING_INTERVAL, Identity,
    LINKS_SPARE, LSA_CHAINLESS_MAX, LSA_PARKED_MAX, REQUESTS_MAX, SESSIONS_MAX, TOMBSTONE_COPIES_MAX,
    TOMBSTONES_MAX,
};
use crate::counters::Counters;
use crate::drain::{Drain, Standing};
use crate::flood::Flood;
use crate::forward::Snapshot;
use crate::io::{Alarm, Input, Output, RequestId, SessionView, ToVerify, Verdict};
use crate::link::{Link, LinkStatus};
use crate::lsdb::Lsdb;
use crate::origin::Origin;
use crate::peering::Dialling;
use crate::seeded::Seeded;
use crate::session::Sessions;
use crate::spf::{Memory, Routes};
use crate::timers::{Timer, Timers};
use crate::tombstones::Tombstones;
use crate::unicast::Outbox;
use crate::wired::Wired;

/// What an open request to the shell is for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    OwnLsa(Wired<LsaBody>),
    OwnMembership(Wired<MembershipBody>),
    Lsa { lsa: CarriedLsa, from: NodeNumber },
    BrokerChain { chain: Wired<Chain>, from: NodeNumber },
    Revocations { list: Wired<Revocations>, from: NodeNumber },
    Membership { membership: Wired<Membership>, key: [u8; 32], source: NodeNumber, acknowledge: bool },
    Tombstone { tombstone: Wired<Tombstone>, source: NodeNumber },
}

/// One node of the overlay.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Node {
    pub(crate) config: Config,
    pub(crate) identity: Identity,
    pub(crate) rng: Seeded,
    pub(crate) now: Now,
    pub(crate) timers: Timers,
    outputs: VecDeque<Output>,
    pub(crate) outbox: Outbox,
    requests: BTreeMap<RequestId, Request>,
    last_request: u64,
    pub(crate) counters: Counters,

    pub(crate) links: BTreeMap<NodeNumber, Link>,
    pub(crate) past_links: BTreeMap<NodeNumber, Timestamp>,
    pub(crate) link_dropped_at: Option<Timestamp>,
    pub(crate) dials: BTreeMap<NodeNumber, Dialling>,
    pub(crate) seeds_dialled_at: Option<Timestamp>,

    pub(crate) origin: Origin,
    pub(crate) lsdb: Lsdb,
    pub(crate) flood: Flood,
    pub(crate) revoked: BTreeSet<[u8; 32]>,

    pub(crate) routes: Arc<Routes>,
    /// What can be computed again.
    #[serde(skip)]
    pub(crate) spf_memory: Memory,
    pub(crate) routes_changed_at: Timestamp,
    pub(crate) spf_run_at: Option<Timestamp>,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) roster: BTreeSet<NodeNumber>,
    pub(crate) home_candidates: Vec<(NodeNumber, u32)>,
    /// The nodes of the roster with a broker, this one left out, as many as are told the load.
    pub(crate) brokers: Vec<NodeNumber>,

    pub(crate) sessions: Sessions,
    pub(crate) tombstones: Tombstones,
    pub(crate) drain: Drain,
    pub(crate) clocks: Clocks,
    pub(crate) standing: Standing,
}

/// How much a node holds of everything that is bounded, each with its bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sizes(pub [(&'static str, usize, usize); 10]);

impl Sizes {
    /// The first that is above its bound.
    pub fn exceeded(&self) -> Option<&(&'static str, usize, usize)> {
        self.0.iter().find(|(_, size, bound)| size > bound)
    }
}

impl Node {
    /// A node that knows nobody. `incarnation` counts its restarts; `seed` comes from the operating system's entropy,
    /// or from the run's root seed in the simulator.
    pub fn new(config: Config, identity: Identity, incarnation: u64, seed: [u8; 32], now: Now) -> Node {
        let mut rng = Seeded::new(seed);
        let instance = rng.next();
        let me = identity.node;
        let mut node = Node {
            origin: Origin::new(incarnation, instance, now.mono),
            sessions: Sessions::new(incarnation),
            flood: Flood::new(now.mono),
            snapshot: Arc::new(Snapshot::empty(me)),
            roster: BTreeSet::from([me]),
            routes_changed_at: now.mono,
            config,
            identity,
            rng,
            now,
            timers: Timers::default(),
            outputs: VecDeque::new(),
            outbox: Outbox::default(),
            requests: BTreeMap::new(),
            last_request: 0,
            counters: Counters::default(),
            links: BTreeMap::new(),
            past_links: BTreeMap::new(),
            link_dropped_at: None,
            dials: BTreeMap::new(),
            seeds_dialled_at: None,
            lsdb: Lsdb::default(),
            revoked: BTreeSet::new(),
            routes: Arc::default(),
            spf_memory: Memory::default(),
            spf_run_at: None,
            home_candidates: Vec::new(),
            brokers: Vec::new(),
            tombstones: Tombstones::default(),
            drain: Drain::default(),
            clocks: Clocks::default(),
            standing: Standing::default(),
        };
        let chain = node.own_chain();
        node.flood.keep_chain(chain);
        for (timer, wait) in [
            (Timer::Age, AGE_INTERVAL),
            (Timer::HomeDigest, HOME_DIGEST_INTERVAL),
            (Timer::Housekeeping, HOUSEKEEPING_INTERVAL),
        ] {
            node.timers.set(timer, now.mono + wait);
        }
        node.timers.set(Timer::Dial, now.mono);
        node.own_changed(false);
        node.candidates_changed();
        node
    }

    /// One input; nothing else changes the node.
    pub fn handle(&mut self, now: Now, input: Input) {
        // A clock that went back would stop every timer.
        self.now = Now { mono: now.mono.max(self.now.mono), wall: now.wall };
        match input {
            Input::Tick => {}
            Input::LinkUp { peer } => self.link_up(peer),
            Input::LinkDown { peer } => self.link_down(peer),
            Input::CalledRevoked { by } => self.called_revoked(by),
            Input::LinkRtt { peer, rtt_us } => self.link_rtt(peer, rtt_us),
            Input::Message { from, bytes } => self.message(from, bytes),
            Input::Signed { request, signature } => self.signed(request, signature.0),
            Input::Verdict { request, verdict } => self.verdict(request, verdict),
            Input::BrokerChain(chain) => self.keep_broker_chain(None, chain.0),
            Input::Revocations { list, revoked } => self.keep_revocations(None, list.0, revoked),
            Input::Attached { session, entry, ready } => self.attached(session, entry, ready),
            Input::Detached { session, number, attach_seq } => self.detached(session, number, attach_seq),
            Input::Tombstone(tombstone) => self.tombstone_made(tombstone.0),
            Input::Load(report) => self.report_load(report),
            Input::Drain { within } => self.start_drain(within),
            Input::Undrain => self.stop_drain(),
            Input::Clock { peer, offset_ms } => self.clock_measured(peer, offset_ms),
            Input::Renewed(identity) => self.renewed(identity),
        }
        while let Some(timer) = self.timers.due(self.now.mono) {
            self.expired(timer);
        }
        self.drain_step();
        self.flush_outbox();
    }

    /// The next output, in order; call until `None`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When the node wants [`Input::Tick`] at the latest.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.timers.next()
    }

    /// The newest snapshot for the hot path.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot)
    }

    /// The same, to look at.
    pub fn routes(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The node's number.
    pub const fn number(&self) -> NodeNumber {
        self.identity.node
    }

    /// The live nodes, this one among them.
    pub const fn roster(&self) -> &BTreeSet<NodeNumber> {
        &self.roster
    }

    /// The newest LSA of a node.
    pub fn lsa(&self, node: NodeNumber) -> Option<&Lsa> {
        self.lsdb.get(node).map(|lsa| &**lsa)
    }

    /// Every LSA, ascending by node.
    pub fn lsas(&self) -> impl Iterator<Item = &Lsa> {
        self.lsdb.lsas().map(|lsa| &**lsa)
    }

    /// Which LSA of each node is held, ascending.
    pub fn lsdb_versions(&self) -> Vec<(NodeNumber, LsaVersion)> {
        self.lsdb.versions()
    }

    /// The links, ascending by neighbour.
    pub fn links(&self) -> impl Iterator<Item = LinkStatus> {
        self.links.values().map(Link::status)
    }

    /// Where else a session is, as last published; `None` if this node does not carry it.
    pub fn session(&self, session: SessionId) -> Option<&SessionView> {
        self.sessions.view(session)
    }

    /// The sessions that it knows of, ascending.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.ids()
    }

    /// What this node says of a session that it carries.
    pub fn own_membership(&self, session: SessionId) -> Option<&Membership> {
        self.sessions.own(session)
    }

    /// How far it is on its way out.
    pub const fn drain_state(&self) -> DrainState {
        self.drain.state
    }

    /// What it counted.
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What it holds, beside the bounds.
    pub fn sizes(&self) -> Sizes {
        Sizes([
            ("links", self.links.len(), self.config.links_max + LINKS_SPARE),
            ("lsas", self.lsdb.len(), MESH_NODES_MAX),
            ("chains", self.flood.chain_count(), CHAINS_MAX),
            ("waiting LSAs", self.flood.waiting_count(), LSA_PARKED_MAX + LSA_CHAINLESS_MAX),
            ("requests", self.requests.len(), REQUESTS_MAX),
            ("sessions", self.sessions.len(), SESSIONS_MAX),
            ("memberships of a session", self.sessions.largest(), crate::config::MEMBERSHIPS_MAX),
            ("tombstones", self.tombstones.len(), TOMBSTONES_MAX),
            ("copies of tombstones", self.tombstones.copies(), TOMBSTONE_COPIES_MAX),
            ("clocks", self.clocks.len(), CLOCKS_MAX),
        ])
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn alarm(&mut self, alarm: Alarm) {
        self.output(Output::Alarm(alarm));
    }

    pub(crate) fn send(&mut self, to: NodeNumber, message: &MeshMessage) {
        self.output(Output::Send { to, bytes: message.to_bytes().into() });
    }

    /// Asks for a signature; false if too many requests are open.
    pub(crate) fn sign(&mut self, message: Vec<u8>, request: Request) -> bool {
        let Some(id) = self.request(request) else { return false };
        self.output(Output::Sign { request: id, message });
        true
    }

    /// Asks for a check; false if too many requests are open.
    pub(crate) fn verify(&mut self, item: ToVerify, request: Request) -> bool {
        let Some(id) = self.request(request) else { return false };
        self.output(Output::Verify { request: id, item });
        true
    }

    fn request(&mut self, request: Request) -> Option<RequestId> {
        if self.requests.len() >= REQUESTS_MAX {
            self.counters.requests_shed += 1;
            return None;
        }
        self.last_request += 1;
        let id = RequestId(self.last_request);
        self.requests.insert(id, request);
        Some(id)
    }

    fn message(&mut self, from: NodeNumber, bytes: Bytes) {
        if !self.admit_message(from) {
            return;
        }
        if self.is_known_lsa(&bytes) {
            return self.counters.lsas_duplicate += 1;
        }
        match MeshMessage::from_bytes(&bytes) {
            Err(_) => {
                self.counters.messages_malformed += 1;
                self.link_fault(from);
            }
            Ok(MeshMessage::Lsa(lsa)) => self.lsa_received(from, CarriedLsa::received(lsa, bytes)),
            Ok(MeshMessage::Chain(chain)) => self.chain_received(from, chain),
            Ok(MeshMessage::Revocations(list)) => self.revocations_received(from, list),
            Ok(MeshMessage::Digest(digest)) => self.digest_received(from, &digest),
            Ok(MeshMessage::Request(hash)) => self.send_chain(from, &hash),
            Ok(MeshMessage::Routed(routed)) => self.routed_received(from, routed),
        }
    }

    fn signed(&mut self, id: RequestId, signature: [u8; 64]) {
        match self.requests.remove(&id) {
            Some(Request::OwnLsa(body)) => self.own_lsa_signed(body.0, signature),
            Some(Request::OwnMembership(body)) => self.own_membership_signed(body.0, signature),
            _ => {}
        }
    }

    fn verdict(&mut self, id: RequestId, verdict: Verdict) {
        let request = self.requests.remove(&id);
        if let Some(Request::Membership { membership, .. }) = &request {
            self.sessions.checked(&membership.0);
        }
        match (request, verdict) {
            (Some(Request::Lsa { lsa, from }), verdict) => self.lsa_verdict(lsa, from, &verdict),
            (Some(Request::BrokerChain { chain, from }), Verdict::Valid) => {
                self.keep_broker_chain(Some(from), chain.0);
            }
            (Some(Request::Revocations { list, from }), Verdict::Revocations { number, revoked }) => {
                if number == list.0.number {
                    self.keep_revocations(Some(from), list.0, revoked);
                } else {
                    self.link_fault(from);
                }
            }
            (Some(Request::Membership { membership, key, source, acknowledge }), Verdict::Valid) => {
                self.membership_verified(source, acknowledge, membership.0, &key);
            }
            (Some(Request::Tombstone { tombstone, source }), Verdict::Valid) => {
                self.tombstone_verified(source, tombstone.0);
            }
            (Some(_), Verdict::Refused) => self.counters.certificates_refused += 1,
            // A neighbour passes on no chain or list that it has not checked; what is routed may come from afar.
            (Some(Request::BrokerChain { from, .. } | Request::Revocations { from, .. }), _) => {
                self.counters.signatures_wrong += 1;
                self.link_fault(from);
            }
            (Some(_), _) => self.counters.signatures_wrong += 1,
            (None, _) => {}
        }
    }

    fn expired(&mut self, timer: Timer) {
        match timer {
            Timer::Hold => self.end_holds(),
            Timer::Originate => self.originate(),
            Timer::Refresh => self.renew_own(),
            Timer::Parked => self.unpark(),
            Timer::Age => self.age_lsdb(),
            Timer::Digest => self.send_digests(),
            Timer::Spf => self.run_spf(),
            Timer::Dial => self.dial(),
            Timer::Excess => self.drop_surplus(),
            Timer::Tell => self.tell_due(),
            Timer::HomeDigest => self.send_home_digests(),
            Timer::Housekeeping => {
                self.keep_house();
                self.forget_clocks();
            }
            Timer::Ready => self.ready_due(),
            Timer::Tombstones => self.tombstones_due(),
            Timer::Handover => self.hand_over(),
            Timer::Drain => {}
            Timer::Doubt => self.heed_doubt(),
        }
    }
}
