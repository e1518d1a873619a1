//! Decisions: from a call and what was read to what to read, commit or say.
//!
//! Owns the order of things: who calls, whether it may, what it does, what the audit says of it. The rules of each call
//! stand in the files beside.

mod accounts;
mod audit;
mod auth;
mod housekeeping;
mod joining;
mod login;
mod membership;
mod nodes;
mod sessions;
mod tx;

use proto_spec::mesh::LoadReport;
use proto_spec::{NodeNumber, Now, SessionId, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_core::{CryptoRng, SeedableRng};
use sealcast_placement::{LoadBook, Located, Site};
use sealcast_trust::{BrokerSigner, Verifier};

use crate::call::Call;
use crate::denial::Denial;
use crate::kv::{Compare, Op, Read, ReadSet};
use crate::request::{Reply, Request};
use auth::Who;
pub(crate) use tx::{Draft, Tx};

/// The randomness of one request, drawn once and used for every round of it, so that what was to be read stays what is
/// looked for.
#[derive(Clone)]
pub struct Seed([u8; 32]);

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Seed(..)")
    }
}

impl Seed {
    /// Draws a seed from the shell's generator.
    pub fn draw(rng: &mut impl CryptoRng) -> Seed {
        let mut seed = [0u8; 32];
        rng.fill_bytes(&mut seed);
        Seed(seed)
    }
}

/// What the shell does beside the commit, once it is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Hand these bytes, a signed tombstone, to every gateway.
    Tombstone(Vec<u8>),
    /// Note that an endpoint was placed.
    Placed {
        /// Of which session.
        session: SessionId,
        /// Where, and why.
        located: Box<Located>,
    },
}

/// Changes that happen together or not at all, and what follows from them.
#[derive(Clone, Debug)]
pub struct Commit {
    /// Conditions; when one fails, the shell reads anew and decides again.
    pub compare: Vec<Compare>,
    /// Changes, the audit's records among them.
    pub ops: Vec<Op>,
    /// To be done once the changes are durable.
    pub effects: Vec<Effect>,
    /// For the caller, once the changes are durable; refusals of known callers are audited too.
    pub reply: Result<Reply, Denial>,
}

/// The answer of [`Broker::decide`].
#[derive(Clone, Debug)]
pub enum Decision {
    /// Read these as well, and ask again with all that was read.
    Need(Vec<Read>),
    /// Commit, then reply.
    Commit(Commit),
    /// Reply; nothing changes.
    Answer(Reply),
    /// Refuse; nothing changes.
    Denied(Denial),
}

/// Why a rule stops before its end.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// More has to be read.
    Need(Vec<Read>),
    /// Refused: nothing of what the rule has prepared is committed.
    Denied(Denial),
    /// Refused, and what the rule has prepared is committed: a failure that is written down.
    Refused(Denial),
}

impl From<Denial> for Stop {
    fn from(denial: Denial) -> Stop {
        Stop::Denied(denial)
    }
}

/// The broker's core: its keys and what it knows of nodes. Holds no session and no account; those are in the store.
#[derive(Debug)]
pub struct Broker {
    signer: BrokerSigner,
    verifier: Verifier,
    dummy_hash: String,
    sites: Vec<Site>,
    loads: LoadBook,
}

impl Broker {
    /// A broker that signs with `signer` and accepts the tickets of `verifier`'s brokers, its own among them.
    /// `dummy_hash` is a PHC string of a password that nobody knows, at the cost of all others.
    pub fn new(signer: BrokerSigner, verifier: Verifier, dummy_hash: String) -> Broker {
        Broker { signer, verifier, dummy_hash, sites: Vec::new(), loads: LoadBook::new() }
    }

    /// The mesh's name.
    pub fn mesh(&self) -> &str {
        self.signer.mesh()
    }

    /// The nodes of the mesh from now on, for placement.
    pub fn set_sites(&mut self, sites: Vec<Site>) {
        self.sites = sites;
    }

    /// The brokers whose tickets are accepted from now on.
    pub fn set_verifier(&mut self, verifier: Verifier) {
        self.verifier = verifier;
    }

    /// A node's load by its own word.
    pub fn heard(&mut self, node: NodeNumber, report: LoadReport, now: Timestamp) {
        self.loads.heard(node, report, now);
    }

    /// An endpoint was sent to a node; see [`Effect::Placed`].
    pub fn placed(&mut self, node: NodeNumber, now: Timestamp) {
        self.loads.placed(node, now);
    }

    /// What the nodes said of their load.
    pub const fn loads(&self) -> &LoadBook {
        &self.loads
    }

    /// Decides one request; call it again with what [`Decision::Need`] names, and after a conflict with everything read
    /// anew.
    pub fn decide(&self, call: &Call, request: &Request, reads: &ReadSet, now: Now, seed: &Seed) -> Decision {
        let mut rng = ChaCha20Rng::from_seed(seed.0);
        let mut tx = Tx::new(reads, now);
        let mut who = Who::Anyone;
        let result = self
            .authorise(&mut tx, call, request, &mut who)
            .and_then(|()| self.act(&mut tx, call, &who, request, &mut rng));
        match result {
            Ok(reply) => tx.finish(self, Ok(reply)),
            Err(Stop::Need(needs)) => tx.need(needs),
            Err(Stop::Refused(denial)) => tx.finish(self, Err(denial)),
            Err(Stop::Denied(denial)) => self.deny(reads, now, &who, call, request, denial),
        }
    }

    /// A refusal; of callers who are accountable it is audited. Others could fill the audit with them.
    fn deny(
        &self,
        reads: &ReadSet,
        now: Now,
        who: &Who,
        call: &Call,
        request: &Request,
        denial: Denial,
    ) -> Decision {
        let audited = who.is_accountable()
            && !matches!(denial, Denial::NotFound(_) | Denial::StoreUnreadable(_) | Denial::NumberUnknown);
        let (Some(method), true) = (request.method(), audited) else { return Decision::Denied(denial) };
        let mut tx = Tx::new(reads, now);
        tx.audit(Draft::refused(who.actor(), method.name(), denial.label()).via(call));
        tx.finish(self, Err(denial))
    }

    fn act(
        &self,
        tx: &mut Tx<'_>,
        call: &Call,
        who: &Who,
        request: &Request,
        rng: &mut ChaCha20Rng,
    ) -> Result<Reply, Stop> {
        match request {
            Request::About => Ok(Reply::About { mesh: self.mesh().to_owned() }),
            Request::Login(login) => self.begin_login(tx, login),
            Request::FinishLogin { pending, verified } => self.finish_login(tx, pending, *verified, rng),
            Request::Logout => self.logout(tx, who),
            Request::CreateSession { attach_key, probes } => {
                self.create_session(tx, who, attach_key, probes, rng)
            }
            Request::OpenJoin { role, .. } => self.open_join(tx, who, *role, rng),
            Request::CloseJoin { number, .. } => self.close_join(tx, who, *number),
            Request::Lookup { number, attach_key, probes } => {
                self.look_up(tx, call, *number, attach_key, probes, rng)
            }
            Request::Admit { number, .. } => self.admit(tx, who, *number),
            Request::RenewTicket { .. } => self.renew(tx, who),
            Request::RemoveMember { number, .. } => self.remove_member(tx, who, *number),
            Request::EndSession { .. } => self.end_session(tx, who),
            Request::AddAccount(new) => self.add_account(tx, who, new),
            Request::ListAccounts { after, limit } => self.list_accounts(tx, after, *limit),
            Request::ShowAccount { email } => self.show_account(tx, email),
            Request::LockAccount { email } => self.lock_account(tx, who, email),
            Request::UnlockAccount { email } => self.unlock_account(tx, who, email),
            Request::RemoveAccount { email } => self.remove_account(tx, who, email),
            Request::SetPassword(new) => self.set_password(tx, who, new),
            Request::ListSessions { ended_too, after, limit } => {
                self.list_sessions(tx, *ended_too, *after, *limit)
            }
            Request::ShowSession { session } => self.show_session(tx, *session),
            Request::CloseSession { session } => self.close_session(tx, who, *session),
            Request::ShowNode | Request::ShowMesh | Request::ShowRoute | Request::ShowSessionPart => {
                Ok(Reply::Done)
            }
            Request::DrainNode { node } => self.order_node(tx, call, who, "node.drain", *node),
            Request::UndrainNode { node } => self.order_node(tx, call, who, "node.undrain", *node),
            Request::ShowPlacement { session, probes } => self.show_placement(tx, *session, probes, rng),
            Request::PublishRevocations { number, revoked } => {
                self.publish_revocations(tx, who, *number, *revoked)
            }
            Request::TailAudit { from_index, last, limit } => self.tail_audit(tx, *from_index, *last, *limit),
            Request::Housekeeping { after } => self.housekeeping(tx, *after),
        }
    }
}

/// A page's size from what was asked.
pub(crate) fn page(limit: usize) -> usize {
    if limit == 0 { crate::config::PAGE_MAX } else { limit.min(crate::config::PAGE_MAX) }
}
