//! A broker with a store in memory, a clock to turn, and people with keys.

use std::collections::BTreeMap;
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use proto_spec::frame::ticket_call_message;
use proto_spec::ticket::{Claims, Role};
use proto_spec::{NodeNumber, Now, SenderNumber, SessionId, SessionNumber, WallTime};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sealcast_broker::record::AccountRole;
use sealcast_broker::request::{AccountView, LoginRequest, NewAccount, TicketProof};
use sealcast_broker::{
    AdminCaller, Broker, Call, Compare, Credential, Decision, Denial, Effect, Key, Op, Range, Read, ReadSet,
    Reply, Request, Seed,
};
use sealcast_placement::{Located, SessionPlace, Site};
use sealcast_trust::issuing::{self, IssuingKey, PkiFile};
use sealcast_trust::key::signing_key_from_pem;
use sealcast_trust::{BrokerKey, BrokerSigner, CertificateRole, Verifier, ticket_hash};

/// The exporter of every test's connection but where it says otherwise.
pub(crate) const EXPORTER: [u8; 32] = [0xe0; 32];
pub(crate) const GOOD_PASSWORD: &str = "vq8-trombone-ledger";
const START: WallTime = WallTime(1_780_000_000_000);

pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) verifier: Verifier,
    pub(crate) store: BTreeMap<Key, Vec<u8>>,
    pub(crate) now: Now,
    /// Effects but for placements.
    pub(crate) effects: Vec<Effect>,
    /// Placements, as the broker explains them.
    pub(crate) placements: Vec<Located>,
    /// Where sessions are.
    pub(crate) places: BTreeMap<SessionId, SessionPlace>,
    /// Commits so far.
    pub(crate) commits: usize,
    rng: ChaCha20Rng,
}

/// A member or guest with its attach key.
#[derive(Clone)]
pub(crate) struct Endpoint {
    pub(crate) key: SigningKey,
    pub(crate) ticket: String,
    pub(crate) session: SessionId,
    pub(crate) number: SenderNumber,
}

impl Endpoint {
    pub(crate) fn proof(&self) -> TicketProof {
        let message = ticket_call_message(&EXPORTER, &ticket_hash(&self.ticket));
        TicketProof { ticket: self.ticket.clone(), signature: self.key.sign(&message).to_bytes() }
    }
}

/// Argon2 is the shell's; a test's hash is the password in the clear.
pub(crate) fn hash(password: &str) -> String {
    format!("$argon2id$test${password}")
}

pub(crate) fn anyone() -> Call {
    Call { exporter: Some(EXPORTER), ..Call::default() }
}

pub(crate) fn local() -> Call {
    Call { admin: Some(AdminCaller::Local { uid: 0 }), ..Call::default() }
}

/// A node that endpoints reach as `n1`.
pub(crate) fn site(number: u16) -> Site {
    Site {
        node: NodeNumber::new(number).unwrap(),
        host: format!("n{number}"),
        ports: vec![8200],
        failure_domain: format!("rack {}", number % 2),
        capacity: 10,
        draining: false,
    }
}

fn contents<'a>(files: &'a [PkiFile], name: &str) -> &'a [u8] {
    &files.iter().find(|file| file.name == name).unwrap().contents
}

impl World {
    pub(crate) fn new() -> World {
        let mesh = "m".parse().unwrap();
        let files = issuing::init(&mesh, START).unwrap();
        let [ca, issuing, key] = [issuing::file::CA, issuing::file::ISSUING, issuing::file::ISSUING_KEY]
            .map(|name| contents(&files, name));
        let issuing = IssuingKey::load(&mesh, ca, issuing, key).unwrap();
        let role = CertificateRole::Broker(NodeNumber::new(1).unwrap());
        let issued = issuing.issue(&role, &[], None, START).unwrap();
        let key = signing_key_from_pem(contents(&issued.files, "broker-1.key")).unwrap();
        let signer = BrokerSigner::new(&issued.identity, key).unwrap();
        let verifier = Verifier::new("m", [BrokerKey::new(&issued.identity).unwrap()]);
        let mut broker = Broker::new(signer, verifier.clone(), hash("nobody knows this"));
        broker.set_sites(vec![site(1)]);
        World {
            broker,
            verifier,
            store: BTreeMap::new(),
            now: Now { wall: START, ..Now::default() },
            effects: Vec::new(),
            placements: Vec::new(),
            places: BTreeMap::new(),
            commits: 0,
            rng: ChaCha20Rng::from_seed([42; 32]),
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now.wall = self.now.wall.plus(time);
        self.now.mono = self.now.mono + time;
    }

    pub(crate) fn read(&self, reads: &mut ReadSet, needs: Vec<Read>) {
        for need in needs {
            match need {
                Read::Point(key) => {
                    let value = self.store.get(&key).cloned();
                    reads.insert(key, value);
                }
                Read::Range(range) => {
                    let Range { start, end, limit, reverse } = range.clone();
                    let entries =
                        self.store.range(start..end).map(|(key, value)| (key.clone(), value.clone()));
                    let entries: Vec<_> = if reverse {
                        entries.rev().take(limit).collect()
                    } else {
                        entries.take(limit).collect()
                    };
                    reads.insert_range(range, entries);
                }
                Read::Session(session) => {
                    reads.insert_session(session, self.places.get(&session).cloned().unwrap_or_default());
                }
            }
        }
    }

    /// Rounds of reading until there is something else to do than read.
    pub(crate) fn decide(&mut self, call: &Call, request: &Request) -> Decision {
        let seed = Seed::draw(&mut self.rng);
        let mut reads = ReadSet::new();
        for _ in 0..20 {
            match self.broker.decide(call, request, &reads, self.now, &seed) {
                Decision::Need(needs) => {
                    assert!(!needs.is_empty(), "nothing needed, and yet more");
                    self.read(&mut reads, needs);
                }
                decision => return decision,
            }
        }
        panic!("{request:?} never stops reading");
    }

    /// Commits as a store would; false on a conflict.
    pub(crate) fn commit(&mut self, compare: &[Compare], ops: &[Op]) -> bool {
        if compare.iter().any(|compare| self.store.get(&compare.key) != compare.expected.as_ref()) {
            return false;
        }
        for op in ops {
            match op.clone() {
                Op::Put(key, value) => self.store.insert(key, value),
                Op::Delete(key) => self.store.remove(&key),
            };
        }
        self.commits += 1;
        true
    }

    /// One step, as the shell does it.
    pub(crate) fn step(&mut self, call: &Call, request: &Request) -> Result<Reply, Denial> {
        match self.decide(call, request) {
            Decision::Answer(reply) => Ok(reply),
            Decision::Denied(denial) => Err(denial),
            Decision::Commit(commit) => {
                assert!(self.commit(&commit.compare, &commit.ops), "a conflict with nobody");
                for effect in commit.effects {
                    match effect {
                        Effect::Placed { located, .. } => {
                            if let Some(first) = located.placement.offered.first() {
                                self.broker.placed(*first, self.now.mono);
                            }
                            self.placements.push(*located);
                        }
                        other => self.effects.push(other),
                    }
                }
                commit.reply
            }
            Decision::Need(_) => unreachable!(),
        }
    }

    /// A call with all its steps.
    pub(crate) fn call(&mut self, call: &Call, request: &Request) -> Result<Reply, Denial> {
        match self.step(call, request)? {
            Reply::VerifyPassword(pending) => {
                let verified = hash(&pending.password) == pending.password_hash;
                self.step(call, &Request::FinishLogin { pending, verified })
            }
            reply => Ok(reply),
        }
    }

    pub(crate) fn add_account(&mut self, email: &str, roles: &[AccountRole]) -> AccountView {
        let request = Request::AddAccount(NewAccount {
            email: email.into(),
            display_name: "Someone".into(),
            password: GOOD_PASSWORD.to_owned().into(),
            password_hash: hash(GOOD_PASSWORD),
            roles: roles.to_vec(),
        });
        match self.call(&local(), &request).unwrap() {
            Reply::Account(account) => account,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn account(&mut self, email: &str) -> AccountView {
        match self.call(&local(), &Request::ShowAccount { email: email.into() }).unwrap() {
            Reply::Account(account) => account,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn login_request(email: &str, password: &str) -> Request {
        Request::Login(LoginRequest {
            email: email.into(),
            password: password.to_owned().into(),
            credential_key: *SigningKey::from_bytes(&[5; 32]).verifying_key().as_bytes(),
            label: "host".into(),
        })
    }

    pub(crate) fn log_in(&mut self, email: &str, password: &str) -> Result<Call, Denial> {
        match self.call(&anyone(), &Self::login_request(email, password))? {
            Reply::LoggedIn { credential_id, .. } => {
                let message = sealcast_trust::proof::credential_message(&EXPORTER, &credential_id);
                let signature = SigningKey::from_bytes(&[5; 32]).sign(&message).to_bytes();
                Ok(Call { credential: Some(Credential { id: credential_id, signature }), ..anyone() })
            }
            other => panic!("{other:?}"),
        }
    }

    /// A provider `alice@example.org`, logged in.
    pub(crate) fn provider(&mut self) -> Call {
        self.add_account("alice@example.org", &[AccountRole::Provider]);
        self.log_in("alice@example.org", GOOD_PASSWORD).unwrap()
    }

    pub(crate) fn create_session(&mut self, call: &Call) -> Endpoint {
        let key = SigningKey::from_bytes(&[1; 32]);
        let attach_key = *key.verifying_key().as_bytes();
        match self.call(call, &Request::CreateSession { attach_key, probes: vec![] }).unwrap() {
            Reply::SessionCreated { session, number, ticket, .. } => {
                Endpoint { key, ticket, session, number }
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn open_join(&mut self, leader: &Endpoint, role: Role) -> SessionNumber {
        match self.call(&anyone(), &Request::OpenJoin { proof: leader.proof(), role }).unwrap() {
            Reply::JoinOpened { number } => number,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn look_up(
        &mut self,
        call: &Call,
        number: SessionNumber,
        seed: u8,
    ) -> Result<Endpoint, Denial> {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let attach_key = *key.verifying_key().as_bytes();
        match self.call(call, &Request::Lookup { number: Some(number), attach_key, probes: vec![] })? {
            Reply::Found { session, number, ticket, .. } => Ok(Endpoint { key, ticket, session, number }),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn admit(&mut self, leader: &Endpoint, guest: &Endpoint) -> Result<Endpoint, Denial> {
        let request = Request::Admit { proof: leader.proof(), number: guest.number };
        match self.call(&anyone(), &request)? {
            Reply::Ticket { ticket } => Ok(Endpoint { ticket, ..guest.clone() }),
            other => panic!("{other:?}"),
        }
    }

    /// A customer in the leader's session.
    pub(crate) fn join(&mut self, leader: &Endpoint, seed: u8) -> Endpoint {
        let number = self.open_join(leader, Role::Customer);
        let guest = self.look_up(&anyone(), number, seed).unwrap();
        self.admit(leader, &guest).unwrap()
    }

    pub(crate) fn claims(&self, ticket: &str) -> Claims {
        self.verifier.verify(ticket, self.now.wall).unwrap()
    }

    /// All audit records, as text.
    pub(crate) fn audit(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let from_index = lines.len() as u64 + 1;
            let request = Request::TailAudit { from_index, last: 0, limit: 0 };
            match self.call(&local(), &request).unwrap() {
                Reply::Audit { entries, .. } if entries.is_empty() => return lines,
                Reply::Audit { entries, .. } => {
                    lines
                        .extend(entries.into_iter().map(|entry| String::from_utf8(entry.canonical).unwrap()));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
