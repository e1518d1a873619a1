//! Calls to the broker, served as `relayd` serves them: limits first, reads until it needs nothing more, one conditional
//! commit, effects, the reply. A login takes two steps.

use std::collections::BTreeSet;

use ed25519_dalek::{Signer as _, SigningKey};
use proto_spec::tombstone::{Tombstone, TombstoneBody};
use proto_spec::{NodeNumber, SessionId, Wire};
use sealcast_broker::record::AccountRole;
use sealcast_broker::request::{LoginRequest, NewAccount, TicketProof};
use sealcast_broker::{
    AdminCaller, Call, Commit, Credential, Decision, Denial, DenialKind, Effect, Key, LimitKind, Op, Read,
    ReadSet, Reply, Request, keys,
};
use sealcast_endpoint_core::session::{self, CallFailure, CallReply, CallRequest};
use sealcast_mesh::{Input, Wired};
use sealcast_placement::SessionPlace;
use sealcast_trust::proof::credential_message;
use sha2::{Digest as _, Sha256};

use super::broker::{PASSWORD, network_of, verifier_of};
use crate::check::delivery::PersonId;
use crate::sim::{Bug, Profile, Random, World};

/// Rounds of reading for one decision: the deepest needs four.
const ROUNDS_MAX: usize = 32;
/// Tombstones that are read when a broker's node starts.
const TOMBSTONES_MAX: usize = 1_000;

impl World {
    /// A node that has a broker and runs.
    pub(super) fn broker_node(&self) -> Option<NodeNumber> {
        let brokers = self.plan.nodes.iter().filter(|node| node.broker).map(|node| node.number);
        brokers.into_iter().find(|number| self.is_awake(*number))
    }

    /// Asks the broker at a node, both steps of a login included.
    pub(super) fn ask(&mut self, at: NodeNumber, call: &Call, request: &Request) -> Result<Reply, Denial> {
        let reply = match self.decide(at, call, request)? {
            Reply::VerifyPassword(pending) => {
                let verified = verifier_of(&pending.password) == pending.password_hash;
                self.decide(at, call, &Request::FinishLogin { pending, verified })?
            }
            reply => reply,
        };
        self.look_at(request, &reply);
        Ok(reply)
    }

    /// What the checkers see of an answer.
    fn look_at(&mut self, request: &Request, reply: &Reply) {
        let ticket = match reply {
            Reply::SessionCreated { session, number, ticket, .. }
            | Reply::Found { session, number, ticket, .. } => {
                if let Request::CreateSession { attach_key, .. } | Request::Lookup { attach_key, .. } =
                    request
                {
                    self.check_number(*session, *number, *attach_key);
                }
                ticket
            }
            Reply::Ticket { ticket } => ticket,
            _ => return,
        };
        self.checkers.tickets.issue(ticket);
    }

    fn decide(&mut self, at: NodeNumber, call: &Call, request: &Request) -> Result<Reply, Denial> {
        let now = self.now_of(at);
        let seed = self.people.broker.seed();
        let mut reads = ReadSet::new();
        for _ in 0..ROUNDS_MAX {
            let needs = match self.people.broker.core.decide(call, request, &reads, now, &seed) {
                Decision::Need(needs) => needs,
                Decision::Answer(reply) => return Ok(reply),
                Decision::Denied(denial) => return Err(denial),
                Decision::Commit(commit) => return self.commit(at, request, commit),
            };
            for need in needs {
                match need {
                    Read::Point(key) => {
                        let value = self.people.broker.store.get(&key).map(<[u8]>::to_vec);
                        reads.insert(key, value);
                    }
                    Read::Range(range) => {
                        let entries = self.people.broker.store.range(&range);
                        reads.insert_range(range, entries);
                    }
                    Read::Session(session) => reads.insert_session(session, self.session_place(session)),
                }
            }
        }
        panic!("a bug of the broker: it never stops reading for {request:?}");
    }

    fn commit(&mut self, at: NodeNumber, request: &Request, commit: Commit) -> Result<Reply, Denial> {
        let Commit { compare, mut ops, effects, reply } = commit;
        self.spoil(request, &mut ops);
        let changed: Vec<Key> = ops.iter().map(|op| op.key().clone()).collect();
        assert!(self.people.broker.store.commit(&compare, ops), "calls take turns, so nobody is in between");
        self.check_store(&changed);
        for effect in effects {
            match effect {
                Effect::Tombstone(bytes) => self.bury(at, &bytes),
                Effect::Placed { located, .. } => {
                    if let Some(first) = located.placement.offered.first() {
                        self.people.broker.core.placed(*first, self.now);
                    }
                }
            }
        }
        reply
    }

    /// What a store loses by a planted bug.
    fn spoil(&mut self, request: &Request, ops: &mut Vec<Op>) {
        let lost: &[u8] = match request {
            Request::CreateSession { .. } if self.misbehaves(Bug::OrphanSession, 2) => b"opened/",
            Request::Lookup { .. }
                if self.people.began_at.is_some() && self.misbehaves(Bug::ForgetLookup, 2) =>
            {
                b""
            }
            Request::Login(_) if self.misbehaves(Bug::ForgetLockout, 1) => b"account/",
            _ => return,
        };
        ops.retain(|op| !op.key().0.starts_with(lost));
    }

    /// Tells the gateway of an end, and through it the mesh.
    fn bury(&mut self, at: NodeNumber, bytes: &[u8]) {
        let wall = self.now_of(at).wall;
        let Ok(tombstone) = Tombstone::from_bytes(bytes) else { return };
        // One that is over is passed over.
        if self.people.broker.is_genuine(&tombstone, wall) {
            self.ended(at, &tombstone.body);
            self.input(at, Input::Tombstone(Wired(tombstone)));
        }
    }

    /// A broker's node starts: it tells of all that had ended before.
    pub(crate) fn bury_again(&mut self, at: NodeNumber) {
        let range = keys::tombstones_after(None, TOMBSTONES_MAX);
        for (_, bytes) in self.people.broker.store.range(&range) {
            self.bury(at, &bytes);
        }
    }

    /// A session, or one number of it, has ended, by a tombstone that was checked.
    pub(crate) fn ended(&mut self, at: NodeNumber, body: &TombstoneBody) {
        let now = self.now_of(at);
        self.people.gateway_of(at, &self.hosts).tombstone(now, body);
        self.after_gateway(at);
    }

    /// Housekeeping, as a broker's node does it by itself.
    pub(super) fn keep_house(&mut self) {
        let Some(at) = self.broker_node() else { return };
        let mut after = None;
        while let Ok(Reply::Housekept { after: Some(next) }) =
            self.ask(at, &Call::default(), &Request::Housekeeping { after })
        {
            after = Some(next);
        }
    }

    // ---- who calls ----

    /// One more call of a kind may come from this endpoint.
    pub(super) fn limited(&mut self, at: NodeNumber, who: PersonId, kind: LimitKind) -> Result<(), Denial> {
        if self.people.profile == Profile::Light {
            return Ok(());
        }
        let process = (at, self.hosts[&at].boot);
        if self.bug != Some(Bug::ForgetLimits) {
            self.people.broker.limited(process, kind, network_of(who), self.now)?;
        }
        self.check_served(process, kind, who);
        Ok(())
    }

    /// Evidence of nothing but the connection.
    pub(super) fn anyone(&mut self) -> Call {
        let exporter = Sha256::digest(self.next_id().to_be_bytes()).into();
        Call { exporter: Some(exporter), ..Call::default() }
    }

    /// An administrator makes an account for providers.
    pub(super) fn add_account(&mut self, at: NodeNumber, email: &str) {
        let call = Call { admin: Some(AdminCaller::Local { uid: 0 }), ..Call::default() };
        let request = Request::AddAccount(NewAccount {
            email: email.to_owned(),
            display_name: "A provider".to_owned(),
            password: PASSWORD.to_owned().into(),
            password_hash: verifier_of(PASSWORD),
            roles: vec![AccountRole::Provider],
        });
        let added = self.ask(at, &call, &request);
        assert!(added.is_ok(), "an account is refused: {added:?}");
    }

    /// Logs in; the evidence for the calls that follow on the same connection.
    pub(super) fn log_in(
        &mut self,
        at: NodeNumber,
        who: PersonId,
        email: &str,
        password: &str,
    ) -> Result<Call, Denial> {
        self.limited(at, who, LimitKind::Login)?;
        let key = SigningKey::from_bytes(&Random::stream(self.plan.seed, "credential", who as u64).seed());
        let call = self.anyone();
        let request = Request::Login(LoginRequest {
            email: email.to_owned(),
            password: password.to_owned().into(),
            credential_key: key.verifying_key().to_bytes(),
            label: "netsim".to_owned(),
        });
        let reply = self.ask(at, &call, &request)?;
        let (Reply::LoggedIn { credential_id: id, .. }, Some(exporter)) = (&reply, call.exporter) else {
            panic!("a bug of the broker: it answers {reply:?} to a login");
        };
        let signature = key.sign(&credential_message(&exporter, id)).to_bytes();
        Ok(Call { credential: Some(Credential { id: *id, signature }), ..call })
    }

    /// An endpoint's call, proved by its ticket.
    pub(super) fn serve(
        &mut self,
        at: NodeNumber,
        who: PersonId,
        call: &session::Call,
    ) -> Result<CallReply, CallFailure> {
        let evidence = self.anyone();
        let exporter = evidence.exporter.unwrap_or_default();
        let signature = self.people.persons[who].key.prove_call(&exporter, &call.ticket);
        let proof = TicketProof { ticket: call.ticket.clone(), signature };
        let request = match call.request {
            CallRequest::OpenJoin { role } => Request::OpenJoin { proof, role },
            CallRequest::CloseJoin { number } => Request::CloseJoin { proof, number },
            CallRequest::Admit { joiner } => Request::Admit { proof, number: joiner },
            CallRequest::Renew => Request::RenewTicket { proof },
            CallRequest::RemoveMember { number } => Request::RemoveMember { proof, number },
            CallRequest::EndSession => Request::EndSession { proof },
        };
        match self.ask(at, &evidence, &request) {
            Ok(Reply::JoinOpened { number }) => Ok(CallReply::Number(number)),
            Ok(Reply::Ticket { ticket }) => Ok(CallReply::Ticket(ticket)),
            Ok(Reply::Done) => Ok(CallReply::Done),
            Ok(other) => panic!("a bug of the broker: it answers {other:?} to {request:?}"),
            Err(denial) => Err(CallFailure { again: may_try_again(&denial), sentence: denial.to_string() }),
        }
    }

    /// Where a session is, for placement.
    fn session_place(&self, session: SessionId) -> SessionPlace {
        let members = self.people.numbers_of(session);
        let nodes: BTreeSet<NodeNumber> =
            members.filter_map(|who| Some(self.people.persons[who].stay?.node)).collect();
        let nodes: Vec<NodeNumber> = nodes.into_iter().collect();
        SessionPlace { ways_us: self.ways_to(&nodes), nodes }
    }
}

/// Whether the same call may succeed a little later, as `sealcast` reads the status that follows from a refusal.
pub(super) const fn may_try_again(denial: &Denial) -> bool {
    matches!(denial.kind(), DenialKind::ResourceExhausted | DenialKind::Unavailable)
}
