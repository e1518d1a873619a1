//! The broker's shell: reads what a decision needs, commits it, does what follows, and hands out the reply.
//!
//! Calls that change something take turns in this process, so that they do not fail each other's conditions; the
//! conditions stay, for the day when several brokers share a store.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use proto_spec::tombstone::Tombstone;
use proto_spec::{NodeNumber, WallTime, Wire};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng;
use sealcast_broker::keys;
use sealcast_broker::{
    Broker, Call, Commit, Decision, Denial, Effect, LimitKind, Limiter, Read, ReadSet, Reply, Request, Seed,
};
use sealcast_placement::Candidate;
use sealcast_trust::Verifier;
use sealcast_trust::tombstone::{self, TombstoneError};
use thiserror::Error;
use tokio::sync::watch;
use tonic::Status;
use zeroize::Zeroizing;

use super::passwords::{PasswordError, Passwords};
use super::status::{code_name, status};
use crate::clock::Clock;
use crate::gateway::Gateway;
use crate::health::{Health, State};
use crate::material::Material;
use crate::metrics::Metrics;
use crate::store::sled::SledStore;
use crate::store::{Outcome, StoreError};

/// Rounds of reading for one decision: the deepest needs four.
const ROUNDS_MAX: usize = 32;
/// Conflicts before a call is sent away: turns are taken, so even one is rare.
const CONFLICTS_MAX: usize = 16;
/// Tombstones read at once at start.
const TOMBSTONES_PAGE: usize = 1_000;
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
    /// What it listens on.
    pub listeners: Vec<String>,
    /// End of its certificate.
    pub certificate_expires: WallTime,
}

/// Broker, store and what belongs to them.
pub struct Backend {
    broker: RwLock<Broker>,
    verifier: Verifier,
    store: SledStore,
    gateway: Arc<Gateway>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    clock: Clock,
    rng: Mutex<ChaCha20Rng>,
    limiter: Option<Mutex<Limiter>>,
    passwords: Passwords,
    facts: NodeFacts,
    /// Held by calls that change something.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Counts commits, for those who follow the audit.
    commits: watch::Sender<u64>,
}

/// What a backend is made of.
pub struct Parts {
    /// Keys.
    pub material: Material,
    /// Where everything durable lies.
    pub store: SledStore,
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
    /// Whether calls from one address are limited.
    pub limit_calls: bool,
}

impl Backend {
    /// A broker over its store.
    ///
    /// # Errors
    /// When Argon2 cannot run at all.
    pub async fn start(parts: Parts) -> Result<Backend, Fault> {
        let Parts { material, store, gateway, metrics, health, clock, mut rng, facts, limit_calls } = parts;
        let passwords = Passwords::default();
        // What unknown accounts are checked against: a password that nobody knows, at the cost of all others.
        let mut unknown = [0u8; 32];
        let mut salt = [0u8; 16];
        rng.fill_bytes(&mut unknown);
        rng.fill_bytes(&mut salt);
        let dummy_hash = passwords.hash(Zeroizing::new(hex::encode(unknown)), salt).await?;
        let broker = Broker::new(material.signer, material.verifier.clone(), dummy_hash);
        let backend = Backend {
            broker: RwLock::new(broker),
            verifier: material.verifier,
            store,
            gateway,
            metrics,
            health,
            clock,
            rng: Mutex::new(rng),
            limiter: limit_calls.then(|| Mutex::new(Limiter::new())),
            passwords,
            facts,
            turn: Arc::default(),
            commits: watch::Sender::new(0),
        };
        backend.refresh_candidates();
        backend.bury_again().await?;
        Ok(backend)
    }

    /// Tells the gateway of all that had ended before this start: tickets outlive a process.
    async fn bury_again(&self) -> Result<(), Fault> {
        let mut after = None;
        loop {
            let page = self.store.range(&keys::tombstones_after(after, TOMBSTONES_PAGE)).await?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            page.iter().for_each(|(_, bytes)| self.bury(bytes));
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

    /// Where the node is in its life.
    pub fn state(&self) -> State {
        self.health.state()
    }

    /// The clock of the process.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Tells of every commit.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Whether one more call of a kind may come from an address.
    ///
    /// # Errors
    /// [`Denial::TooOften`].
    pub fn limited(&self, kind: LimitKind, address: std::net::IpAddr) -> Result<(), Fault> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
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
        Ok(self.passwords.hash(password, salt).await?)
    }

    /// Asks the broker, both steps of a login included.
    ///
    /// # Errors
    /// [`Fault`]: what was refused, or why nothing could be changed.
    pub async fn ask(self: &Arc<Self>, call: &Call, request: Request) -> Result<Reply, Fault> {
        match self.decide(call, &request).await? {
            Reply::VerifyPassword(pending) => {
                // The failure is counted already, so that neither a crash nor a caller who hangs up saves one.
                let verified =
                    self.passwords.fits(pending.password.clone(), pending.password_hash.clone()).await?;
                self.decide(call, &Request::FinishLogin { pending, verified }).await
            }
            reply => Ok(reply),
        }
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
            Fault::Denied(_) | Fault::Password(_) => {
                tracing::debug!(reason = fault.label(), "a call was refused")
            }
        }
        status(fault)
    }

    async fn decide(self: &Arc<Self>, call: &Call, request: &Request) -> Result<Reply, Fault> {
        let seed = Seed::draw(&mut *self.rng.lock().unwrap_or_else(PoisonError::into_inner));
        let mut turn = if changes(request) { Some(Arc::clone(&self.turn).lock_owned().await) } else { None };
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
        match self.store.commit(compare, ops).await {
            Ok(Outcome::Committed) => {
                if self.health.state() == State::StoreFailed {
                    self.health.set(State::Ready);
                }
                self.carry_out(effects);
                self.commits.send_modify(|count| *count += 1);
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
        for _ in 0..ROUNDS_MAX {
            let now = self.clock.now();
            let decision = {
                let broker = self.broker.read().unwrap_or_else(PoisonError::into_inner);
                broker.decide(call, request, &reads, now, seed)
            };
            let Decision::Need(needs) = decision else { return Ok(decision) };
            for need in needs {
                match need {
                    Read::Point(key) => {
                        let value = self.store.get(&key).await?;
                        reads.insert(key, value);
                    }
                    Read::Range(range) => {
                        let entries = self.store.range(&range).await?;
                        reads.insert_range(range, entries);
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
            }
        }
    }

    fn bury(&self, bytes: &[u8]) {
        let verified = tombstone::verify(bytes, &self.verifier, self.clock.now().wall);
        match verified.and_then(|_| Tombstone::from_bytes(bytes).map_err(|_| TombstoneError::Malformed)) {
            Ok(tombstone) => self.gateway.bury(tombstone),
            // One that a broker's earlier key signed cannot be checked any more; its tickets cannot either.
            Err(error) => tracing::warn!(%error, "a stored tombstone does not hold and is passed over"),
        }
    }

    /// One round of looking after the store.
    pub(super) async fn keep_house(self: &Arc<Self>) {
        self.refresh_candidates();
        // A disk that was full may have room again: a commit of nothing finds out.
        if self.health.state() == State::StoreFailed
            && self.store.commit(Vec::new(), Vec::new()).await.is_ok()
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

    /// What placement knows of this node.
    fn refresh_candidates(&self) {
        let status = self.gateway.status();
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let candidate = Candidate {
            node: self.facts.number,
            host: self.facts.host.clone(),
            ports: self.facts.ports.clone(),
            attachments: count(status.attachments),
            attachments_max: count(status.attachments_max),
            draining: self.health.state() == State::Draining,
        };
        self.broker.write().unwrap_or_else(PoisonError::into_inner).set_candidates(vec![candidate]);
    }

    /// Makes everything durable; afterwards the store takes nothing more.
    ///
    /// # Errors
    /// [`Fault::Store`].
    pub async fn close(&self) -> Result<(), Fault> {
        let _turn = self.turn.lock().await;
        Ok(self.store.close().await?)
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
            let before = *backend.commits().borrow();
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
            drop(backend.turn.lock().await);
            let there = backend.ask(&call, Request::ShowAccount { email }).await.is_ok();
            assert_eq!(*backend.commits().borrow() - before, u64::from(there), "after {polls} polls");
            cut_short += u64::from(there && !done);
            if cut_short == 2 || done {
                break;
            }
            assert!(polls < 1_000, "no call came as far as its commit");
        }
        assert!(cut_short > 0);
    }
}
