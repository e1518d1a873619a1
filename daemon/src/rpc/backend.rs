//! The calls' shell: reads what a decision of the broker needs, commits it, does what follows, and hands out the reply. At a
//! node without a broker it serves what needs none.
//!
//! Calls that change something take turns in this process, so that they do not fail each other's conditions; the
//! conditions stay, for the day when several brokers share a store.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use proto_spec::mesh::LoadReport;
use proto_spec::tombstone::Tombstone;
use proto_spec::{NodeNumber, SessionId, WallTime, Wire};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use sealcast_broker::keys;
use sealcast_broker::{
    Broker, Call, Commit, Decision, Denial, Effect, LimitKind, Limiter, Read, ReadSet, Reply, Request, Seed,
};
use sealcast_placement::book::Heard;
use sealcast_placement::{Located, Site};
use sealcast_trust::tombstone::{self, TombstoneError};
use sealcast_trust::{BrokerSigner, Verifier};
use thiserror::Error;
use tokio::sync::watch;
use tonic::Status;
use zeroize::Zeroizing;

use super::mesh::{MeshAccess, Topology, TopologyCache, trunk_addresses};
use super::passwords::{PasswordError, Passwords};
use super::peers::{PeerChannel, Peers};
use super::status::{code_name, status};
use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::health::{Health, State};
use crate::metrics::Metrics;
use crate::overlay::{Brokers, LoadSink};
use crate::revocations::{OfferError, Revocations};
use crate::store::sled::SledStore;
use crate::store::{Outcome, StoreError};

/// Rounds of reading for one decision: the deepest needs four.
const ROUNDS_MAX: usize = 32;
/// Conflicts before a call is sent away: turns are taken, so even one is rare.
const CONFLICTS_MAX: usize = 16;
/// Tombstones read at once at start.
const TOMBSTONES_PAGE: usize = 1_000;
/// Placements that can be explained afterwards \[PLC-3\].
const PLACEMENTS_KEPT: usize = 64;
/// Sessions of which is remembered where their endpoints were sent: more than live at once; the oldest are forgotten.
const SENT_SESSIONS_MAX: usize = 65_536;
/// Brokers that are tried for one call, so that its caller does not wait for ever \[GW-14\].
const BROKERS_TRIED_MAX: usize = 3;
/// Housekeeping calls in a row before others have their turn.
const HOUSEKEEPING_ROUNDS: usize = 16;

/// Why a call got no reply.
#[derive(Clone, Debug, Error)]
pub enum Fault {
    /// The broker refuses.
    #[error(transparent)]
    Denied(#[from] Denial),
    /// Others changed the same things again and again.
    #[error("too many changes of the same thing at this moment: try again")]
    Busy,
    /// The store cannot make it durable; nothing has changed.
    #[error("the node cannot store anything ({0}): nothing was changed; tell its administrator")]
    Store(StoreError),
    /// Argon2.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// No broker answers.
    #[error(
        "no broker of this mesh can be reached ({0}); running sessions go on: try again, or tell its administrator"
    )]
    NoBroker(String),
    /// The call needs a broker, and this node has none.
    #[error("this node has no broker: give relayctl a node that has one, see `relayctl node list`")]
    NoBrokerHere,
    /// A node calls that this one holds no link state of.
    #[error("node {0} is not known as a node of this mesh (yet, or no more): try again")]
    UnknownPeer(NodeNumber),
    /// A node does not answer.
    #[error("node {0} cannot be reached ({1}): see `relayctl mesh status`")]
    NodeUnreachable(NodeNumber, String),
    /// This node's own certificate is revoked.
    #[error(
        "the certificate of this node is revoked and it is out of service: use another node of the mesh; if this one is to \
         return, its administrator issues it a new certificate"
    )]
    OutOfService,
    /// Not allowed, whatever the roles.
    #[error("{0}")]
    Refused(&'static str),
    /// Ours.
    #[error("the node failed: see its log")]
    Bug,
}

impl Fault {
    /// For counters and scripts.
    pub const fn label(&self) -> &'static str {
        match self {
            Fault::Denied(denial) => denial.label(),
            Fault::Busy => "busy",
            Fault::Store(_) => "store",
            Fault::Password(_) => "password_busy",
            Fault::NoBroker(_) => "no_broker",
            Fault::NoBrokerHere => "no_broker_here",
            Fault::UnknownPeer(_) => "unknown_peer",
            Fault::NodeUnreachable(..) => "node_unreachable",
            Fault::OutOfService => "out_of_service",
            Fault::Refused(_) => "refused",
            Fault::Bug => "internal",
        }
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Fault {
        Fault::Store(error)
    }
}

/// What the node says of itself.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// Its number in the mesh.
    pub number: NodeNumber,
    /// The mesh's name.
    pub mesh: String,
    /// Host under which endpoints reach it.
    pub host: String,
    /// Ports under which endpoints reach it.
    pub ports: Vec<u16>,
    /// What fails together with it, in the operator's words.
    pub failure_domain: String,
    /// What it listens on.
    pub listeners: Vec<String>,
    /// End of its certificate in wall time; another when that is renewed.
    pub certificate_expires: Arc<AtomicU64>,
    /// How long a drain may take if nobody says.
    pub drain_within: Duration,
}

/// An endpoint's placement, for who asks why.
#[derive(Clone, Debug)]
pub(super) struct PlacementRecord {
    pub(super) time: WallTime,
    pub(super) session: Option<SessionId>,
    pub(super) located: Located,
}

/// What answers the calls of a node: its broker if it has one, and what it knows of the mesh.
pub struct Backend {
    broker: Option<Embedded>,
    mesh: Arc<dyn MeshAccess>,
    topology: TopologyCache,
    peers: Peers,
    revocations: Arc<Revocations>,
    brokers: Arc<Brokers>,
    verifier: Arc<ArcSwap<Verifier>>,
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    clock: Clock,
    rng: Mutex<ChaCha20Rng>,
    facts: NodeFacts,
    placements: Mutex<VecDeque<PlacementRecord>>,
    sent: Mutex<Sent>,
}

/// Where endpoints of each session were sent: what a broker goes by whose own node does not carry the session and so is not
/// told by the overlay where it is.
#[derive(Default)]
struct Sent {
    nodes: BTreeMap<SessionId, BTreeSet<NodeNumber>>,
    /// In the order of their first placement.
    order: VecDeque<SessionId>,
}

impl Sent {
    fn note(&mut self, session: SessionId, node: NodeNumber) {
        if !self.nodes.contains_key(&session) {
            if self.order.len() >= SENT_SESSIONS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.nodes.remove(&oldest);
            }
            self.order.push_back(session);
        }
        self.nodes.entry(session).or_default().insert(node);
    }
}

/// The broker in this node, with its store and what belongs to them.
struct Embedded {
    core: RwLock<Broker>,
    store: SledStore,
    limiter: Option<Mutex<Limiter>>,
    passwords: Passwords,
    /// Held by calls that change something.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Counts commits, for those who follow the audit.
    commits: watch::Sender<u64>,
}

/// What a broker is made of.
pub struct BrokerParts {
    /// Signs tickets and checkpoints.
    pub signer: BrokerSigner,
    /// Where everything durable lies.
    pub store: SledStore,
    /// Whether calls from one address are limited.
    pub limit_calls: bool,
}

/// What a backend is made of.
pub struct Parts {
    /// The broker, at nodes with that role.
    pub broker: Option<BrokerParts>,
    /// Overlay and trunks.
    pub mesh: Arc<dyn MeshAccess>,
    /// What the mesh CA has taken back.
    pub revocations: Arc<Revocations>,
    /// The brokers whose tickets and tombstones are accepted.
    pub brokers: Arc<Brokers>,
    /// Where tombstones go.
    pub gateway: Arc<Gateway>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Where the node is in its life.
    pub health: Arc<Health>,
    /// The clock of the process.
    pub clock: Clock,
    /// The generator of the process.
    pub rng: ChaCha20Rng,
    /// What the node says of itself.
    pub facts: NodeFacts,
}

impl Backend {
    /// A backend, with its broker over its store where there is one.
    ///
    /// # Errors
    /// When Argon2 cannot run at all, or the store cannot be read.
    pub async fn start(parts: Parts) -> Result<Backend, Fault> {
        let Parts { broker, mesh, revocations, brokers, gateway, metrics, health, clock, mut rng, facts } =
            parts;
        let verifier = brokers.verifier();
        let broker = match broker {
            None => None,
            Some(parts) => Some(Embedded::start(parts, Verifier::clone(&verifier.load()), &mut rng).await?),
        };
        let backend = Backend {
            broker,
            peers: Peers::new(Arc::clone(&mesh), Arc::clone(&revocations)),
            mesh,
            topology: TopologyCache::default(),
            revocations,
            brokers,
            verifier,
            gateway,
            metrics,
            health,
            clock,
            rng: Mutex::new(rng),
            facts,
            placements: Mutex::default(),
            sent: Mutex::default(),
        };
        backend.refresh_verifier();
        backend.refresh_sites();
        backend.bury_again().await?;
        Ok(backend)
    }

    /// Whether this node has a broker.
    pub fn has_broker(&self) -> bool {
        self.broker.is_some()
    }

    fn embedded(&self) -> Result<&Embedded, Fault> {
        self.broker.as_ref().ok_or(Fault::NoBrokerHere)
    }

    /// Tells the gateway of all that had ended before this start: tickets outlive a process.
    async fn bury_again(&self) -> Result<(), Fault> {
        let mut after = None;
        loop {
            let page = self.tombstones_after(after).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            page.iter().for_each(|(_, bytes)| self.bury(bytes));
        }
    }

    async fn tombstones_after(
        &self,
        after: Option<sealcast_broker::Key>,
    ) -> Result<Vec<(sealcast_broker::Key, Vec<u8>)>, Fault> {
        match &self.broker {
            None => Ok(Vec::new()),
            Some(broker) => Ok(broker.store.range(&keys::tombstones_after(after, TOMBSTONES_PAGE)).await?),
        }
    }

    /// What the node says of itself.
    pub fn facts(&self) -> &NodeFacts {
        &self.facts
    }

    /// The data plane.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Counters.
    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Overlay and trunks.
    pub(super) fn mesh(&self) -> &dyn MeshAccess {
        &*self.mesh
    }

    /// What follows from the mesh as it is now.
    pub(super) fn topology(&self) -> Arc<Topology> {
        self.topology.of(self.mesh.view())
    }

    /// What the mesh CA has taken back.
    pub(super) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Whether a node is one of this mesh, by the link state that it signed \[GW-15\].
    pub(super) fn knows(&self, node: NodeNumber) -> bool {
        node != self.facts.number && self.topology().lsa(node).is_some()
    }

    /// The last placements, oldest first.
    pub(super) fn placements(&self) -> Vec<PlacementRecord> {
        self.placements.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Where a session is: as the overlay says where this node carries it, else where its endpoints were sent.
    pub(super) fn nodes_of(&self, session: SessionId) -> Vec<NodeNumber> {
        let nodes = self.mesh.nodes_of(session);
        if !nodes.is_empty() {
            return nodes;
        }
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.nodes.get(&session).map(|nodes| nodes.iter().copied().collect()).unwrap_or_default()
    }

    /// A node's last report, at brokers.
    pub(super) fn heard(&self, node: NodeNumber) -> Option<Heard> {
        let broker = self.broker.as_ref()?;
        broker.core.read().unwrap_or_else(PoisonError::into_inner).loads().get(node).copied()
    }

    /// A connection to a broker: the nearest that answers \[GW-14\].
    pub(super) async fn broker_channel(&self) -> Result<PeerChannel, Fault> {
        let topology = self.topology();
        let brokers = topology.brokers();
        let mut why = "this node knows of none".to_owned();
        for node in brokers.into_iter().take(BROKERS_TRIED_MAX) {
            match self.channel(&topology, node).await {
                Ok(channel) => return Ok(channel),
                Err(fault) => {
                    tracing::debug!(%node, %fault, "a broker does not answer");
                    why = fault.to_string();
                }
            }
        }
        Err(Fault::NoBroker(why))
    }

    /// A connection to a node.
    pub(super) async fn node_channel(&self, node: NodeNumber) -> Result<PeerChannel, Fault> {
        let topology = self.topology();
        if topology.lsa(node).is_none() {
            return Err(Denial::NotFound("node in this mesh: see `relayctl node list`").into());
        }
        self.channel(&topology, node).await
    }

    async fn channel(&self, topology: &Topology, node: NodeNumber) -> Result<PeerChannel, Fault> {
        let addresses = topology.lsa(node).map(trunk_addresses).unwrap_or_default();
        self.peers
            .channel(node, &addresses)
            .await
            .map_err(|error| Fault::NodeUnreachable(node, error.to_string()))
    }

    /// Puts a list in force here and tells the overlay, if it is newer than the one that is \[REV-4\].
    ///
    /// # Errors
    /// [`OfferError`].
    pub async fn revoke(&self, list: &[u8]) -> Result<bool, OfferError> {
        let Some(in_force) = self.revocations.offer(list)? else { return Ok(false) };
        self.brokers.revoke(&in_force.list.revoked());
        self.refresh_verifier();
        self.mesh.order(in_force.input()).await;
        Ok(true)
    }

    /// Tickets and tombstones of revoked brokers hold no longer, those of brokers that were learnt do.
    fn refresh_verifier(&self) {
        if let Some(broker) = &self.broker {
            let verifier = Verifier::clone(&self.verifier.load());
            broker.core.write().unwrap_or_else(PoisonError::into_inner).set_verifier(verifier);
        }
    }

    /// Where the node is in its life.
    pub fn state(&self) -> State {
        self.health.state()
    }

    /// The clock of the process.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Tells of every commit.
    ///
    /// # Errors
    /// [`Fault::NoBrokerHere`].
    pub fn commits(&self) -> Result<watch::Receiver<u64>, Fault> {
        Ok(self.embedded()?.commits.subscribe())
    }

    /// Whether one more call of a kind may come from an address.
    ///
    /// # Errors
    /// [`Denial::TooOften`].
    pub fn limited(&self, kind: LimitKind, address: std::net::IpAddr) -> Result<(), Fault> {
        let Some(limiter) = &self.embedded()?.limiter else { return Ok(()) };
        let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(limiter.check(kind, address, self.clock.now().mono)?)
    }

    /// The PHC string of a new password.
    ///
    /// # Errors
    /// [`Fault::Password`].
    pub async fn hash(&self, password: Zeroizing<String>) -> Result<String, Fault> {
        let mut salt = [0u8; 16];
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut salt);
        // Longer ones are refused by the broker; hashing them first would only cost time.
        if password.len() > sealcast_broker::password::LENGTH_MAX {
            return Err(Denial::from(sealcast_broker::password::WeakPassword::TooLong).into());
        }
        Ok(self.embedded()?.passwords.hash(password, salt).await?)
    }

    /// Asks the broker, both steps of a login included.
    ///
    /// # Errors
    /// [`Fault`]: what was refused, or why nothing could be changed.
    pub async fn ask(self: &Arc<Self>, call: &Call, request: Request) -> Result<Reply, Fault> {
        let Some(broker) = &self.broker else { return self.ask_without(call, &request) };
        match self.decide(call, &request).await? {
            Reply::VerifyPassword(pending) => {
                // The failure is counted already, so that neither a crash nor a caller who hangs up saves one.
                let verified =
                    broker.passwords.fits(pending.password.clone(), pending.password_hash.clone()).await?;
                self.decide(call, &Request::FinishLogin { pending, verified }).await
            }
            reply => Ok(reply),
        }
    }

    /// What needs no broker is permitted by the same table; there is no audit to write it to but the log.
    fn ask_without(&self, call: &Call, request: &Request) -> Result<Reply, Fault> {
        let method = request.method().filter(|method| method.needs_no_broker()).ok_or(Fault::NoBrokerHere)?;
        method.permit(call.admin.as_ref())?;
        if changes(request) {
            tracing::info!(method = method.name(), via = call.via.map(NodeNumber::value), "ordered");
        }
        Ok(Reply::Done)
    }

    /// [`Backend::ask`] as a call: counted, timed, and with a status for what failed.
    pub(super) async fn call(self: &Arc<Self>, call: &Call, request: Request) -> Result<Reply, Status> {
        let method = request.method().map_or("internal", sealcast_broker::Method::name);
        let started = Instant::now();
        let answer = self.ask(call, request).await.map_err(|fault| self.status(&fault));
        let code = answer.as_ref().err().map_or(tonic::Code::Ok, Status::code);
        self.metrics.called(method, code_name(code), started.elapsed());
        answer
    }

    /// A fault's status; what is not the caller's doing is logged.
    pub(super) fn status(&self, fault: &Fault) -> Status {
        match fault {
            Fault::Store(error) => tracing::error!(%error, "the store refuses"),
            Fault::Bug | Fault::Busy => tracing::error!(reason = fault.label(), "a call failed"),
            _ => {
                tracing::debug!(reason = fault.label(), "a call was refused")
            }
        }
        status(fault)
    }

    async fn decide(self: &Arc<Self>, call: &Call, request: &Request) -> Result<Reply, Fault> {
        let seed = Seed::draw(&mut *self.rng.lock().unwrap_or_else(PoisonError::into_inner));
        let broker = self.embedded()?;
        let mut turn =
            if changes(request) { Some(Arc::clone(&broker.turn).lock_owned().await) } else { None };
        for _ in 0..CONFLICTS_MAX {
            let commit = match self.decide_once(call, request, &seed).await? {
                Decision::Answer(reply) => return Ok(reply),
                Decision::Denied(denial) => return Err(denial.into()),
                Decision::Commit(commit) => commit,
                Decision::Need(_) => return Err(Fault::Bug),
            };
            // A task of its own, which keeps the turn: a caller who hangs up drops this future, and what is about to
            // be durable must still have its effects, before the next call sees it.
            let backend = Arc::clone(self);
            let committing = tokio::spawn(async move { (backend.commit(commit).await, turn) });
            let (outcome, kept) = committing.await.map_err(|_| Fault::Bug)?;
            if let Some(reply) = outcome? {
                return Ok(reply?);
            }
            turn = kept;
        }
        Err(Fault::Busy)
    }

    /// Commits and carries out what follows; `None` after a conflict.
    async fn commit(&self, commit: Commit) -> Result<Option<Result<Reply, Denial>>, Fault> {
        let Commit { compare, ops, effects, reply } = commit;
        let broker = self.embedded()?;
        match broker.store.commit(compare, ops).await {
            Ok(Outcome::Committed) => {
                if self.health.state() == State::StoreFailed {
                    self.health.set(State::Ready);
                }
                self.carry_out(effects);
                broker.commits.send_modify(|count| *count += 1);
                Ok(Some(reply))
            }
            Ok(Outcome::Conflict) => Ok(None),
            Err(error) => {
                self.health.set(State::StoreFailed);
                Err(error.into())
            }
        }
    }

    /// Reads until the broker needs nothing more.
    async fn decide_once(&self, call: &Call, request: &Request, seed: &Seed) -> Result<Decision, Fault> {
        let mut reads = ReadSet::new();
        let embedded = self.embedded()?;
        for _ in 0..ROUNDS_MAX {
            let now = self.clock.now();
            let decision = {
                let broker = embedded.core.read().unwrap_or_else(PoisonError::into_inner);
                broker.decide(call, request, &reads, now, seed)
            };
            let Decision::Need(needs) = decision else { return Ok(decision) };
            for need in needs {
                match need {
                    Read::Point(key) => {
                        let value = embedded.store.get(&key).await?;
                        reads.insert(key, value);
                    }
                    Read::Range(range) => {
                        let entries = embedded.store.range(&range).await?;
                        reads.insert_range(range, entries);
                    }
                    Read::Session(session) => {
                        let nodes = self.nodes_of(session);
                        reads.insert_session(session, self.topology().session_place(nodes));
                    }
                }
            }
        }
        Err(Fault::Bug)
    }

    fn carry_out(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Tombstone(bytes) => self.bury(&bytes),
                Effect::Placed { session, located } => self.note_placement(session, *located),
            }
        }
    }

    fn note_placement(&self, session: SessionId, located: Located) {
        let now = self.clock.now();
        if let (Some(broker), Some(first)) = (&self.broker, located.placement.offered.first()) {
            broker.core.write().unwrap_or_else(PoisonError::into_inner).placed(*first, now.mono);
            self.sent.lock().unwrap_or_else(PoisonError::into_inner).note(session, *first);
        }
        let mut placements = self.placements.lock().unwrap_or_else(PoisonError::into_inner);
        if placements.len() >= PLACEMENTS_KEPT {
            placements.pop_front();
        }
        placements.push_back(PlacementRecord { time: now.wall, session: Some(session), located });
    }

    /// Tells the gateway of an end, and through it the mesh.
    fn bury(&self, bytes: &[u8]) {
        let verified = tombstone::verify(bytes, &self.verifier.load(), self.clock.now().wall);
        match verified.and_then(|_| Tombstone::from_bytes(bytes).map_err(|_| TombstoneError::Malformed)) {
            Ok(tombstone) => self.gateway.bury(tombstone),
            // One that a broker's earlier key signed cannot be checked any more; its tickets cannot either.
            Err(error) => tracing::warn!(%error, "a stored tombstone does not hold and is passed over"),
        }
    }

    /// One round of looking after the store.
    pub(super) async fn keep_house(self: &Arc<Self>) {
        let Some(broker) = &self.broker else { return };
        self.refresh_verifier();
        self.refresh_sites();
        // A disk that was full may have room again: a commit of nothing finds out.
        if self.health.state() == State::StoreFailed
            && broker.store.commit(Vec::new(), Vec::new()).await.is_ok()
        {
            self.health.set(State::Ready);
        }
        let mut after = None;
        for _ in 0..HOUSEKEEPING_ROUNDS {
            match self.decide(&Call::default(), &Request::Housekeeping { after }).await {
                Ok(Reply::Housekept { after: Some(next) }) => after = Some(next),
                Ok(_) => return,
                Err(fault) => {
                    tracing::warn!(reason = fault.label(), %fault, "housekeeping stopped");
                    return;
                }
            }
        }
    }

    /// What placement knows of the nodes, this one first-hand.
    fn refresh_sites(&self) {
        let Some(broker) = &self.broker else { return };
        let topology = self.topology();
        let load = self.gateway.load(0, 0).0;
        let own = Site {
            node: self.facts.number,
            host: self.facts.host.clone(),
            ports: self.facts.ports.clone(),
            failure_domain: self.facts.failure_domain.clone(),
            capacity: load.capacity,
            draining: self.health.state().drains()
                || self.mesh.view().drain != proto_spec::lsa::DrainState::Serving,
        };
        let mut sites = topology.sites();
        sites.push(own);
        sites.sort_by_key(|site| site.node);
        let mut core = broker.core.write().unwrap_or_else(PoisonError::into_inner);
        core.heard(self.facts.number, load, self.clock.now().mono);
        core.set_sites(sites);
    }

    /// Makes everything durable; afterwards the store takes nothing more.
    ///
    /// # Errors
    /// [`Fault::Store`].
    pub async fn close(&self) -> Result<(), Fault> {
        let Some(broker) = &self.broker else { return Ok(()) };
        let _turn = broker.turn.lock().await;
        Ok(broker.store.close().await?)
    }
}

impl LoadSink for Backend {
    fn load(&self, from: NodeNumber, report: LoadReport) {
        let Some(broker) = &self.broker else { return };
        let now = self.clock.now().mono;
        broker.core.write().unwrap_or_else(PoisonError::into_inner).heard(from, report, now);
    }
}

impl Embedded {
    async fn start(parts: BrokerParts, verifier: Verifier, rng: &mut ChaCha20Rng) -> Result<Embedded, Fault> {
        let BrokerParts { signer, store, limit_calls } = parts;
        let passwords = Passwords::default();
        // What unknown accounts are checked against: a password that nobody knows, at the cost of all others.
        let mut unknown = [0u8; 32];
        let mut salt = [0u8; 16];
        rng.fill_bytes(&mut unknown);
        rng.fill_bytes(&mut salt);
        let dummy_hash = passwords.hash(Zeroizing::new(hex::encode(unknown)), salt).await?;
        Ok(Embedded {
            core: RwLock::new(Broker::new(signer, verifier, dummy_hash)),
            store,
            limiter: limit_calls.then(|| Mutex::new(Limiter::new())),
            passwords,
            turn: Arc::default(),
            commits: watch::Sender::new(0),
        })
    }
}

/// Whether a call may change something: those that only look need not wait for their turn.
fn changes(request: &Request) -> bool {
    !matches!(
        request,
        Request::About
            | Request::ListAccounts { .. }
            | Request::ShowAccount { .. }
            | Request::ListSessions { .. }
            | Request::ShowSession { .. }
            | Request::ShowNode
            | Request::ShowMesh
            | Request::ShowRoute
            | Request::ShowSessionPart
            | Request::ShowPlacement { .. }
            | Request::TailAudit { .. }
    )
}

#[cfg(test)]
mod tests {
    use sealcast_broker::AdminCaller;
    use sealcast_broker::record::AccountRole;
    use sealcast_broker::request::NewAccount;

    use super::*;

    /// A caller who hangs up at any moment of a call: what was committed has had its effects when the next call comes.
    #[tokio::test]
    async fn what_a_gone_caller_has_committed_is_carried_out() {
        let folder = tempfile::tempdir().unwrap();
        let node = crate::dev::tests::node(folder.path()).await;
        let backend = node.backend();
        let admin = Some(AdminCaller::Local { uid: 0 });
        let call = Call { admin, ..Call::default() };
        let password = Zeroizing::new("vq8-trombone-ledger".to_owned());
        let password_hash = backend.hash(password.clone()).await.unwrap();
        let mut cut_short = 0;
        for polls in 1.. {
            let email = format!("gone{polls}@example.org");
            let before = *backend.commits().unwrap().borrow();
            let new = NewAccount {
                email: email.clone(),
                display_name: "Gone".into(),
                password: password.clone(),
                password_hash: password_hash.clone(),
                roles: vec![AccountRole::Provider],
            };
            let done = {
                let mut asking = std::pin::pin!(backend.ask(&call, Request::AddAccount(new)));
                let mut done = false;
                for _ in 0..polls {
                    done = done || futures::poll!(asking.as_mut()).is_ready();
                    tokio::task::yield_now().await;
                }
                done
            };
            drop(backend.broker.as_ref().unwrap().turn.lock().await);
            let there = backend.ask(&call, Request::ShowAccount { email }).await.is_ok();
            assert_eq!(
                *backend.commits().unwrap().borrow() - before,
                u64::from(there),
                "after {polls} polls"
            );
            cut_short += u64::from(there && !done);
            if cut_short == 2 || done {
                break;
            }
            assert!(polls < 1_000, "no call came as far as its commit");
        }
        assert!(cut_short > 0);
    }
}
