//! Drills: hostile, forgetful and dismissed people, in a session of their own. Owns what they try; what comes of it is the
//! checkers' to judge.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use proto_spec::frame::{DataHeader, Destination};
use proto_spec::ticket::Role;
use proto_spec::{AttachSeq, NodeNumber, SessionNumber, TrafficClass};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use sealcast_broker::{LimitKind, Request};
use sealcast_endpoint_core::JoinCode;
use sealcast_endpoint_core::attach::{AttachClient, AttachEvent, AttachKey, Greeting};
use sealcast_endpoint_core::command::Command;

use super::broker::{PASSWORD, account_of, begins_account};
use super::calls::may_try_again;
use super::joining::AGAIN;
use super::person::{Part, Person, USER_TAKES};
use super::{ConnId, PeopleEvent};
use crate::check::delivery::PersonId;
use crate::scenario::{Drill, Drills, EndpointPlan, Intrusion, Load, LoadKind};
use crate::sim::{Bug, Event, Random, World};

/// The account whose password is guessed.
const GUESSED: &str = "guessed@netsim.example";
/// Between two passwords.
const TYPING: Duration = Duration::from_millis(300);
/// A broker whose clock is so far behind gives tickets to guests that are over everywhere else.
const BEHIND_MS: i64 = 11 * 60_000;
/// Bytes that an intruder writes in one go.
const WRITE_BYTES: usize = 16 * 1024;
/// What the members of the drills' session say.
const CHAT: LoadKind = LoadKind::Chat { per_s: 2, bytes: 40 };

/// What the drills of a run have under way.
pub(crate) struct Rehearsal {
    /// Their session's place among all.
    session: usize,
    steps: Vec<Drill>,
    /// Who tries what nobody of the session tries, by step.
    outsiders: BTreeMap<PersonId, Outsider>,
    /// Outsiders who wait for a number.
    waiting: VecDeque<PersonId>,
    chance: Random,
}

struct Outsider {
    step: usize,
    /// What was overheard, until there is nothing more to try with it.
    code: Option<JoinCode>,
    /// Wrong words that are still to be typed.
    wrong: u32,
    /// Whether it has typed the right ones.
    right: bool,
    intruder: Option<Intruder>,
}

/// Somebody at a node without an endpoint.
struct Intruder {
    conn: ConnId,
    ticket: String,
    key: AttachKey,
    speaks: bool,
    greeting: Option<Greeting>,
    client: Option<AttachClient>,
}

impl World {
    /// Puts the drills' people into the world.
    pub(super) fn populate_drills(&mut self, drills: &Drills, session: usize) {
        let mut chance = Random::stream(self.plan.seed, "drill", 0);
        let plans = &drills.session.endpoints;
        let first = self.people.persons.len();
        for (place, plan) in plans.iter().enumerate() {
            let key = AttachKey::from_seed(&chance.seed());
            let name = format!("{}/{}", drills.session.name, plan.name);
            let mut person = Person::new(name, (session, place), plan, key);
            person.drill = true;
            self.people.persons.push(person);
        }
        let mut outsiders = BTreeMap::new();
        for (step, timed) in drills.steps.iter().enumerate() {
            if matches!(timed.drill, Drill::Remove(_) | Drill::End) {
                continue;
            }
            let wrong = if let Drill::Guess { wrong } = timed.drill { wrong } else { 0 };
            outsiders.insert(
                self.people.persons.len(),
                Outsider { step, code: None, wrong, right: false, intruder: None },
            );
            let plan = EndpointPlan { customer: true, ..plans[plans.len() - 1].clone() };
            let key = AttachKey::from_seed(&chance.seed());
            let mut person =
                Person::new(format!("outsider-{step}"), (session, plans.len() + step), &plan, key);
            person.part = Part::Outsider;
            person.drill = true;
            self.people.persons.push(person);
        }
        if let Some(at) = self.broker_node() {
            self.add_account(at, GUESSED);
            if begins_account(session) {
                self.add_account(at, &account_of(session));
            }
        }
        let steps = drills.steps.iter().map(|timed| timed.drill).collect();
        let wait = Duration::from_millis(chance.range(0, 1_000));
        self.people.rehearsal =
            Some(Rehearsal { session, steps, outsiders, waiting: VecDeque::new(), chance });
        self.schedule(wait, Event::People(PeopleEvent::Begin { who: first }));
    }

    /// Time 0: the drills' people talk, and the steps are planned.
    pub(super) fn begin_drills(&mut self, drills: &Drills, duration: Duration) {
        let load = self.people.loads.len();
        self.people.loads.push(Load {
            session: None,
            from: None,
            kind: CHAT,
            start: Duration::ZERO,
            stop: duration,
        });
        let persons = self.people.persons.iter().enumerate();
        let members: Vec<PersonId> = persons
            .filter(|(_, person)| person.drill && person.part != Part::Outsider)
            .map(|(who, _)| who)
            .collect();
        for who in members {
            let Some(rehearsal) = &mut self.people.rehearsal else { return };
            let offset = Duration::from_millis(rehearsal.chance.range(0, 500));
            self.schedule(offset, Event::People(PeopleEvent::Say { who, load }));
        }
        for (step, timed) in drills.steps.iter().enumerate() {
            self.schedule(timed.at, Event::People(PeopleEvent::Drill { step }));
        }
    }

    /// A step's time has come.
    pub(super) fn drill(&mut self, step: usize) {
        let Some(rehearsal) = &self.people.rehearsal else { return };
        let (drill, session) = (rehearsal.steps[step], rehearsal.session);
        let outsider = rehearsal.outsiders.iter().find(|(_, outsider)| outsider.step == step);
        let outsider = outsider.map(|(who, _)| *who);
        let Some(creator) = self.creator_of(session) else { return };
        self.tell(|| format!("drill: {drill:?}"));
        match (drill, outsider) {
            (Drill::Remove(place), _) => self.dismiss(creator, place),
            (Drill::End, _) => {
                self.with_endpoint(creator, |endpoint, now| endpoint.handle_command(now, Command::End));
            }
            (Drill::Guess { .. } | Drill::Intrude(_), Some(who)) => {
                if let Some(rehearsal) = &mut self.people.rehearsal {
                    rehearsal.waiting.push_back(who);
                }
                let command = Command::Invite { role: Role::Customer };
                self.with_endpoint(creator, |endpoint, now| endpoint.handle_command(now, command));
            }
            (Drill::Scan { lookups }, Some(who)) => self.scan(who, lookups),
            (Drill::Login { wrong }, Some(who)) => self.password_typed(who, wrong),
            (_, None) => {}
        }
    }

    /// The creator removes a member.
    fn dismiss(&mut self, creator: PersonId, place: usize) {
        let session = self.people.persons[creator].session;
        let persons = &self.people.persons;
        let who = persons.iter().position(|person| person.session == session && person.place == place);
        let Some(who) = who.filter(|who| persons[*who].member && persons[creator].member) else { return };
        let Some(number) = persons[who].number else { return };
        self.checkers.removed.dismiss(who, number, creator, self.now);
        if self.misbehaves(Bug::KeepRemoved, 1) {
            return;
        }
        self.with_endpoint(creator, |endpoint, now| {
            endpoint.handle_command(now, Command::Remove { number });
        });
    }

    // ---- outsiders ----

    fn outsider(&mut self, who: PersonId) -> Option<&mut Outsider> {
        self.people.rehearsal.as_mut()?.outsiders.get_mut(&who)
    }

    /// A code of the drills' session was read aloud, and nobody of the session waits for it.
    pub(super) fn overheard(&mut self, session: usize, code: JoinCode) {
        let Some(rehearsal) = self.people.rehearsal.as_mut().filter(|drills| drills.session == session)
        else {
            return;
        };
        let Some(who) = rehearsal.waiting.pop_front() else { return };
        if let Some(outsider) = self.outsider(who) {
            outsider.code = Some(code);
            if outsider.wrong > 0 {
                self.checkers.lockout.code_opened();
            }
            self.outsider_tries(who);
        }
    }

    /// An outsider goes on with what it overheard.
    pub(super) fn outsider_tries(&mut self, who: PersonId) {
        let Some(outsider) = self.outsider(who) else { return };
        let (step, wrong) = (outsider.step, outsider.wrong > 0);
        let Some(overheard) = outsider.code.clone() else { return };
        let Some(rehearsal) = &mut self.people.rehearsal else { return };
        let drill = rehearsal.steps[step];
        let typed = if wrong {
            let mut words = ChaCha20Rng::from_seed(rehearsal.chance.seed());
            JoinCode::generate(overheard.number, &mut words)
        } else {
            overheard
        };
        let behind = matches!(drill, Drill::Intrude(Intrusion::Expired));
        let found = self.broker_node().map(|at| {
            let offset = if behind { BEHIND_MS } else { 0 };
            self.turn_back(at, offset);
            let found = self.look_up(at, who, &typed);
            self.turn_back(at, -offset);
            found
        });
        let admission = match found {
            Some(Ok(admission)) => admission,
            // The number is closed.
            Some(Err(denial)) if !may_try_again(&denial) => {
                return self.tell(|| format!("an outsider finds nothing: {denial}"));
            }
            _ => return self.schedule(AGAIN, Event::People(PeopleEvent::Outsider { who })),
        };
        let Some(outsider) = self.outsider(who) else { return };
        match drill {
            Drill::Intrude(intrusion) => {
                outsider.code = None;
                self.intrude(who, intrusion, admission.ticket);
            }
            _ => {
                outsider.wrong = outsider.wrong.saturating_sub(1);
                if !wrong {
                    outsider.code = None;
                    outsider.right = true;
                }
                self.join(who, admission, typed);
            }
        }
    }

    /// A broker's clock runs behind for a moment.
    fn turn_back(&mut self, at: NodeNumber, by_ms: i64) {
        if let Some(host) = self.hosts.get_mut(&at) {
            host.wall_offset_ms -= by_ms;
        }
    }

    /// It did not get in.
    pub(super) fn outsider_ended(&mut self, who: PersonId) {
        self.schedule(USER_TAKES, Event::People(PeopleEvent::Outsider { who }));
    }

    /// It got in.
    pub(super) fn outsider_joined(&mut self, who: PersonId) {
        let right = self.outsider(who).is_some_and(|outsider| outsider.right);
        self.check_joined(who, right);
    }

    fn scan(&mut self, who: PersonId, lookups: u32) {
        let Some(at) = self.broker_node() else { return };
        for _ in 0..lookups {
            let Some(rehearsal) = &mut self.people.rehearsal else { return };
            let drawn = rehearsal.chance.range(0, u64::from(SessionNumber::END - SessionNumber::MIN)) as u32;
            let number = SessionNumber::new(SessionNumber::MIN + drawn);
            let attach_key = self.people.persons[who].key.public();
            if self.limited(at, who, LimitKind::Lookup).is_ok() {
                let call = self.anyone();
                // It means nothing, or is a session that somebody waits in: no more than a guest's ticket comes of it.
                let _ = self.ask(at, &call, &Request::Lookup { number, attach_key, probes: Vec::new() });
            }
        }
    }

    /// A password is typed at one broker after the other.
    pub(super) fn password_typed(&mut self, who: PersonId, wrong: u32) {
        let brokers = self.plan.nodes.iter().filter(|node| node.broker && self.is_awake(node.number));
        let brokers: Vec<_> = brokers.map(|node| node.number).collect();
        let again = |wrong| Event::People(PeopleEvent::Password { who, wrong });
        if brokers.is_empty() {
            return self.schedule(AGAIN, again(wrong));
        }
        let at = brokers[wrong as usize % brokers.len()];
        let password = if wrong > 0 { "vq8-trombone-lodger" } else { PASSWORD };
        let result = self.log_in(at, who, GUESSED, password);
        self.check_login(at, wrong == 0, &result);
        if wrong > 0 {
            self.schedule(TYPING, again(wrong - 1));
        }
    }

    // ---- intruders ----

    fn intrude(&mut self, who: PersonId, intrusion: Intrusion, ticket: String) {
        let Some(rehearsal) = &mut self.people.rehearsal else { return };
        let other = AttachKey::from_seed(&rehearsal.chance.seed());
        let creator = self.creator_of(self.people.persons[who].session);
        let near = creator.and_then(|creator| Some(self.people.persons[creator].stay?.node));
        let near = near.into_iter().chain(self.nearest(self.people.persons[who].region));
        let Some(node) = near.into_iter().find(|node| self.is_awake(*node)) else { return };
        let own = self.people.persons[who].key.clone();
        let key = if intrusion == Intrusion::Stolen { other } else { own };
        let conn = self.line_up(who, node);
        if let Some(line) = self.people.lines.get_mut(&conn) {
            line.owner = key.public();
        }
        let greeting = Greeting::new("netsim");
        let question = greeting.question();
        let intruder = Intruder {
            conn,
            ticket: if intrusion == Intrusion::Forged { forged(&ticket) } else { ticket },
            key,
            speaks: intrusion == Intrusion::Speaks,
            greeting: Some(greeting),
            client: None,
        };
        if let Some(outsider) = self.outsider(who) {
            outsider.intruder = Some(intruder);
        }
        self.person_writes(conn, question);
    }

    /// Bytes for an intruder.
    pub(super) fn intruder_receives(&mut self, who: PersonId, conn: ConnId, bytes: &[u8]) {
        let now = self.true_now();
        let Some(exporter) = self.people.lines.get(&conn).map(|line| line.exporter) else { return };
        let number = self.people.persons[who].number;
        let Some(intruder) = self.outsider(who).and_then(|outsider| outsider.intruder.as_mut()) else {
            return;
        };
        if intruder.conn != conn {
            return;
        }
        let fresh = match &mut intruder.greeting {
            None => BytesMut::from(bytes),
            Some(greeting) => match greeting.receive(bytes) {
                Ok(None) => return,
                Ok(Some(greeted)) => {
                    intruder.greeting = None;
                    let (ticket, key) = (&intruder.ticket, &intruder.key);
                    let seq = AttachSeq(1);
                    intruder.client = Some(AttachClient::new(now, exporter, seq, false, None, ticket, key));
                    greeted.rest
                }
                Err(_) => return self.person_closes(conn),
            },
        };
        let Some(client) = &mut intruder.client else { return };
        client.receive(now, fresh);
        let (mut out, mut lost) = (Vec::new(), false);
        while let Some(event) = client.poll_event() {
            match event {
                // Around the client, which would hold it back.
                AttachEvent::Attached(_) if intruder.speaks => {
                    if let Some(sender) = number {
                        let class = TrafficClass::Control;
                        let header =
                            DataHeader { class, sender, destination: Destination::All, replace: None };
                        header.put(&mut out, |out| out.extend_from_slice(b"\x03let me in"));
                    }
                }
                AttachEvent::Lost(_) => lost = true,
                _ => {}
            }
        }
        client.poll_transmit(&mut out, WRITE_BYTES);
        if !out.is_empty() {
            self.person_writes(conn, out);
        }
        if lost {
            self.person_closes(conn);
        }
    }
}

/// The ticket with another signature: its last 64 bytes before the footer.
fn forged(ticket: &str) -> String {
    let mut bytes = ticket.as_bytes().to_vec();
    let footer = ticket.rfind('.').unwrap_or(ticket.len());
    let at = footer.saturating_sub(20);
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8_lossy(&bytes).into_owned()
}
