//! An endpoint with its shell, simulated: it connects, writes, reads, keeps files, and its user says numbered lines.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::BytesMut;
use proto_spec::lsa::DrainState;
use proto_spec::ticket::Role;
use proto_spec::{NodeNumber, Now, SenderNumber, SessionId, Timestamp};
use sealcast_endpoint_core::attach::{AttachKey, Greeting};
use sealcast_endpoint_core::command::Command;
use sealcast_endpoint_core::event::{Direction, Event as Told, State};
use sealcast_endpoint_core::null::Null;
use sealcast_endpoint_core::session::{Accept, CallFailure, Config, Endpoint, Output};
use sealcast_endpoint_core::{JoinCode, Suite};
use sealcast_placement::place::NodeView;

use super::disk::Disk;
use super::{ConnId, PeopleEvent, Stay};
use crate::check::Property;
use crate::check::delivery::{Fault, PersonId};
use crate::scenario::{LoadKind, Place, Scenario};
use crate::sim::{Bug, Event, World, address, number_of};

/// Bytes of one write.
const WRITE_BYTES: usize = 64 * 1024;
/// The next candidate is tried when this has passed without an answer (RFC 8305).
const STAGGER: Duration = Duration::from_millis(250);
/// An attempt that nobody answers is given up.
const ATTEMPT_MAX: Duration = Duration::from_secs(10);
/// Round trips until a connection stands: TCP, TLS.
const SETUP_TRIPS: u32 = 2;
/// A joiner that did not get in is invited again, so often.
const INVITES_MAX: u32 = 10;
/// Between the steps of users: reading a code aloud, typing it.
const USER_TAKES: Duration = Duration::from_millis(200);

/// What an endpoint is in its session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Opened it.
    Creator,
    /// Joined it as this.
    Joiner {
        /// Whether as a customer.
        customer: bool,
    },
}

/// How an endpoint ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// A word, as the product says it.
    pub reason: String,
    /// A sentence.
    pub text: String,
}

/// An endpoint.
pub struct Person {
    /// Session and name in the scenario.
    pub name: String,
    /// Its session in the scenario.
    pub session: usize,
    /// Its place in the session.
    pub place: usize,
    /// What it is there.
    pub part: Part,
    /// Whether it is a member now.
    pub member: bool,
    /// Where it is active, as far as it knows.
    pub stay: Option<Stay>,
    /// How it ended, if it did.
    pub over: Option<Outcome>,
    /// Lines that its endpoint refused to take.
    pub refused: u64,
    pub(super) region: usize,
    pub(super) downstream: Option<u64>,
    at: Place,
    key: AttachKey,
    id: SessionId,
    /// Whether it has begun to join; its endpoint may be at work.
    begun: bool,
    number: Option<SenderNumber>,
    endpoint: Option<Endpoint<Null>>,
    conn: Option<ConnId>,
    greeting: Option<Greeting>,
    attempt: u64,
    last: Option<NodeNumber>,
    disk: Disk,
    wake: Option<Timestamp>,
    invites: u32,
    files_sent: u64,
    /// A line held back by a planted bug.
    held: Option<(PersonId, u64)>,
}

impl World {
    /// Puts a scenario's endpoints into the world, and lets them begin.
    pub fn populate(&mut self, scenario: &Scenario) {
        self.people.loads = scenario.workload.clone();
        for (session, plan) in scenario.sessions.iter().enumerate() {
            let id = {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&self.people.random().next().to_be_bytes());
                bytes[8..].copy_from_slice(&(session as u64).to_be_bytes());
                SessionId(bytes)
            };
            let first = self.people.persons.len();
            for (place, endpoint) in plan.endpoints.iter().enumerate() {
                let key = AttachKey::from_seed(&self.people.random().seed());
                let part =
                    if place == 0 { Part::Creator } else { Part::Joiner { customer: endpoint.customer } };
                self.people.persons.push(Person {
                    name: format!("{}/{}", plan.name, endpoint.name),
                    session,
                    place,
                    part,
                    member: false,
                    stay: None,
                    over: None,
                    refused: 0,
                    region: endpoint.region,
                    downstream: endpoint.downstream_kib_s.map(|rate| rate * 1_024),
                    at: endpoint.at,
                    key,
                    id,
                    begun: false,
                    number: None,
                    endpoint: None,
                    conn: None,
                    greeting: None,
                    attempt: 0,
                    last: None,
                    disk: Disk::default(),
                    wake: None,
                    invites: 0,
                    files_sent: 0,
                    held: None,
                });
            }
            let wait = Duration::from_millis(self.people.random().range(0, 1_000));
            self.schedule(wait, Event::People(PeopleEvent::Begin { who: first }));
        }
    }

    /// An endpoint's line brings so many bytes a second from now on; `None` for no limit.
    pub(crate) fn set_downstream(&mut self, (session, place): (usize, usize), rate: Option<u64>) {
        let persons = self.people.persons.iter_mut();
        for person in persons.filter(|person| person.session == session && person.place == place) {
            person.downstream = rate;
        }
    }

    pub(crate) fn people_event(&mut self, event: PeopleEvent) {
        match event {
            PeopleEvent::Wake { who } => {
                let now = self.now;
                if self.people.persons[who].wake == Some(now) {
                    self.people.persons[who].wake = None;
                    self.with_endpoint(who, |endpoint, now| endpoint.handle_timeout(now));
                }
            }
            PeopleEvent::Connected { who, attempt, to } => self.connected(who, attempt, to),
            PeopleEvent::ToNode { conn, bytes, .. } => self.bytes_to_node(conn, &bytes),
            PeopleEvent::ToPerson { conn, bytes } => self.bytes_to_person(conn, bytes),
            PeopleEvent::Node { conn, node } => self.node_turn(conn, node),
            PeopleEvent::PersonClosed { conn } => self.person_closed(conn),
            PeopleEvent::NodeClosed { conn, node } => self.node_closed(conn, node),
            PeopleEvent::Call { who, call } => self.broker_called(who, call),
            PeopleEvent::Answer { who, id, result } => {
                self.with_endpoint(who, |endpoint, now| endpoint.handle_call(now, id, result));
            }
            PeopleEvent::DrainEnds { node, boot } => self.drain_ends(node, boot),
            PeopleEvent::Begin { who } => self.begin(who),
            PeopleEvent::Invite { who, role } => {
                let command = Command::Invite { role };
                self.with_endpoint(who, |endpoint, now| endpoint.handle_command(now, command));
            }
            PeopleEvent::Typed { session, code } => self.join(session, &code),
            PeopleEvent::Say { who, load } => self.say_line(who, load),
            PeopleEvent::SendFile { who, load } => self.send_file(who, load),
            PeopleEvent::Probe { who, load } => self.probe(who, load),
        }
    }

    /// True time, for what has no clock of its own here: endpoints and the broker.
    pub(super) fn true_now(&self) -> Now {
        let ms = crate::sim::WALL_START + self.now.0.as_millis() as u64;
        Now { mono: self.now, wall: proto_spec::WallTime(ms) }
    }

    /// A node that has a broker and runs.
    fn broker_node(&self) -> Option<NodeNumber> {
        let brokers = self.plan.nodes.iter().filter(|node| node.broker).map(|node| node.number);
        brokers.into_iter().find(|number| self.is_awake(*number))
    }

    // ---- beginning ----

    fn begin(&mut self, who: PersonId) {
        if self.broker_node().is_none() {
            return self.schedule(Duration::from_secs(1), Event::People(PeopleEvent::Begin { who }));
        }
        let now = self.true_now();
        let (id, public) = {
            let person = &self.people.persons[who];
            (person.id, person.key.public())
        };
        let Some((number, ticket)) = self.people.broker.create(&self.authority, now.wall, id, public) else {
            return;
        };
        let config = self.config(who, number, Role::Provider, ticket);
        self.people.persons[who].begun = true;
        self.people.persons[who].number = Some(number);
        self.people.numbers.insert((id, number), who);
        let first = self.next_role(who);
        self.people.persons[who].endpoint = Some(Endpoint::host(now, config, first));
        self.person_turn(who);
    }

    /// The role of the next endpoint of a session that has not begun.
    fn next_role(&self, who: PersonId) -> Option<Role> {
        let next = self.next_joiner(self.people.persons[who].session)?;
        Some(match self.people.persons[next].part {
            Part::Joiner { customer: true } => Role::Customer,
            _ => Role::Provider,
        })
    }

    fn next_joiner(&self, session: usize) -> Option<PersonId> {
        let persons = self.people.persons.iter().enumerate();
        persons
            .filter(|(_, person)| person.session == session && person.place > 0)
            .find(|(_, person)| !person.begun && person.over.is_none())
            .map(|(who, _)| who)
    }

    fn creator_of(&self, session: usize) -> Option<PersonId> {
        self.people.persons.iter().position(|person| person.session == session && person.place == 0)
    }

    /// A code was read aloud to the next one, who types it.
    fn join(&mut self, session: usize, code: &str) {
        let Some(who) = self.next_joiner(session) else { return };
        let Ok(code) = code.parse::<JoinCode>() else { return };
        let now = self.true_now();
        let public = self.people.persons[who].key.public();
        let found = self.people.broker.look_up(&self.authority, now.wall, code.number, public);
        let Some((id, number, role, ticket)) = found else { return };
        let config = self.config(who, number, role, ticket);
        self.people.persons[who].number = Some(number);
        self.people.persons[who].begun = true;
        self.people.persons[who].invites += 1;
        self.people.numbers.insert((id, number), who);
        self.people.persons[who].endpoint = Some(Endpoint::join(now, config, code));
        self.person_turn(who);
    }

    fn config(&mut self, who: PersonId, number: SenderNumber, role: Role, ticket: String) -> Config {
        let nodes = self.first_nodes(who).into_iter().map(address).collect();
        let seed = self.people.random().seed();
        let person = &self.people.persons[who];
        Config {
            session: person.id,
            number,
            leader: SenderNumber::new(1).expect("1 is a number"),
            role,
            ticket,
            attach_key: person.key.clone(),
            nodes,
            display_name: person.name.clone(),
            suite: Suite::Modern,
            accept: Accept { join: true, member: true, files: true },
            seed,
            reconnect_max: Config::RECONNECT_MAX,
        }
    }

    /// Where an endpoint attaches first, best first.
    fn first_nodes(&mut self, who: PersonId) -> Vec<NodeNumber> {
        let (region, at, session) = {
            let person = &self.people.persons[who];
            (person.region, person.at, person.session)
        };
        let awake: Vec<NodeNumber> =
            self.numbers().into_iter().filter(|number| self.is_awake(*number)).collect();
        match at {
            Place::Node(number) => vec![number],
            Place::Nearest => self.nearest(region).into_iter().take(1).collect(),
            Place::Random if awake.is_empty() => Vec::new(),
            Place::Random => vec![*self.people.random().pick(&awake)],
            Place::Placement => {
                let carrying: Vec<NodeNumber> = self
                    .people
                    .persons
                    .iter()
                    .filter(|person| person.session == session)
                    .filter_map(|person| person.stay.map(|stay| stay.node))
                    .collect();
                let views = self.plan.nodes.iter().filter(|node| awake.contains(&node.number));
                let views: Vec<NodeView> = views
                    .map(|node| NodeView {
                        node: node.number,
                        failure_domain: node.failure_domain.clone(),
                        rtt_us: Some((self.network.access(region, node.number) * 2).as_micros() as u32),
                        tree_us: carrying
                            .iter()
                            .map(|other| self.network.latency(node.number, *other).as_micros() as u32)
                            .max()
                            .filter(|_| !carrying.contains(&node.number))
                            .unwrap_or(0),
                        carries_session: carrying.contains(&node.number),
                        capacity: node.capacity,
                        reported: 0,
                        report_age_ms: 0,
                        placed_since: 0,
                        arrivals_per_minute: 0,
                        draining: self.hosts[&node.number].drain != DrainState::Serving,
                        full: false,
                    })
                    .collect();
                let now = self.now;
                self.people.broker.place(now, views).offered
            }
        }
    }

    /// Every node, the nearest to a region first.
    fn nearest(&self, region: usize) -> Vec<NodeNumber> {
        let mut all = self.numbers();
        all.sort_by_key(|number| (self.network.access(region, *number), *number));
        all
    }

    // ---- the endpoint's shell ----

    fn with_endpoint(&mut self, who: PersonId, handle: impl FnOnce(&mut Endpoint<Null>, Now)) {
        let now = self.true_now();
        if let Some(endpoint) = self.people.persons[who].endpoint.as_mut() {
            handle(endpoint, now);
            self.person_turn(who);
        }
    }

    /// Carries out what an endpoint wants, writes what it has, and notes when it wants to be woken.
    pub(super) fn person_turn(&mut self, who: PersonId) {
        let Some(mut endpoint) = self.people.persons[who].endpoint.take() else { return };
        let now = self.true_now();
        loop {
            let mut moved = false;
            while let Some(output) = endpoint.poll_output() {
                moved = true;
                self.person_output(who, &mut endpoint, output);
            }
            if let Some(conn) = self.people.persons[who].conn
                && self.people.persons[who].greeting.is_none()
            {
                while self.person_room(conn) > 0 {
                    let mut bytes = Vec::new();
                    let limit = WRITE_BYTES.min(self.person_room(conn));
                    if !endpoint.poll_transmit(now, &mut bytes, limit) || bytes.is_empty() {
                        break;
                    }
                    moved = true;
                    self.person_writes(conn, bytes);
                }
            }
            if !moved {
                break;
            }
        }
        if let Some(due) = endpoint.poll_timeout() {
            // A timer that is due already must move on when it is handled.
            let due = due.max(self.now + Duration::from_micros(100));
            let person = &mut self.people.persons[who];
            if person.wake.is_none_or(|wake| wake > due || wake < self.now) {
                person.wake = Some(due);
                self.schedule_at(due, Event::People(PeopleEvent::Wake { who }));
            }
        }
        let over = endpoint.is_over();
        self.note_stay(who, &endpoint);
        if !over {
            self.people.persons[who].endpoint = Some(endpoint);
        } else if self.people.persons[who].begun && self.people.persons[who].over.is_none() {
            self.people.persons[who].over = Some(Outcome { reason: "over".to_owned(), text: String::new() });
        }
    }

    /// Where the endpoint is active now, if that is another node than before.
    fn note_stay(&mut self, who: PersonId, endpoint: &Endpoint<Null>) {
        if endpoint.state() != Some(State::Member) {
            return;
        }
        let person = &self.people.persons[who];
        let Some(line) = person.conn.and_then(|conn| self.people.lines.get(&conn)) else { return };
        let (node, boot) = (line.node, line.boot);
        match person.stay {
            Some(stay) if stay.node == node && stay.boot == boot => return,
            Some(stay) if stay.node != node => {
                let name = person.name.clone();
                self.check_move(&name, stay, node);
            }
            _ => {}
        }
        self.people.persons[who].stay = Some(Stay { node, boot, excused: false });
    }

    /// Whoever is at this node has a reason to leave it.
    pub(crate) fn excuse(&mut self, node: NodeNumber) {
        for stay in self.people.persons.iter_mut().filter_map(|person| person.stay.as_mut()) {
            stay.excused |= stay.node == node;
        }
    }

    fn person_output(&mut self, who: PersonId, endpoint: &mut Endpoint<Null>, output: Output) {
        let now = self.true_now();
        match output {
            Output::Connect { preferred } => self.connect(who, &preferred),
            Output::Disconnect => {
                if let Some(conn) = self.people.persons[who].conn.take() {
                    self.person_closes(conn);
                }
            }
            Output::Call(call) => {
                let way =
                    self.broker_node().map(|node| self.network.access(self.people.persons[who].region, node));
                let after = way.unwrap_or(Duration::from_millis(100));
                self.schedule(after, Event::People(PeopleEvent::Call { who, call }));
            }
            Output::File(effect) => {
                if let Some((transfer, result)) = self.people.persons[who].disk.perform(effect) {
                    endpoint.handle_file(now, transfer, result);
                }
            }
            Output::Event(event) => self.person_told(who, event),
            Output::Closed => {
                if let Some(conn) = self.people.persons[who].conn.take() {
                    let mut bytes = Vec::new();
                    while endpoint.poll_transmit(now, &mut bytes, WRITE_BYTES) {}
                    if !bytes.is_empty() {
                        self.person_writes(conn, bytes);
                    }
                    self.person_closes(conn);
                }
            }
        }
    }

    /// Races the candidates: the first that completes wins.
    fn connect(&mut self, who: PersonId, preferred: &[String]) {
        let person = &mut self.people.persons[who];
        person.attempt += 1;
        let (attempt, region, last) = (person.attempt, person.region, person.last);
        let mut candidates: Vec<NodeNumber> = preferred.iter().filter_map(|text| number_of(text)).collect();
        for number in last.into_iter().chain(self.nearest(region)) {
            if !candidates.contains(&number) {
                candidates.push(number);
            }
        }
        candidates.retain(|number| self.hosts[number].drain == DrainState::Serving);
        let (mut start, mut best) = (Duration::ZERO, None);
        for number in candidates {
            let trip = self.network.access(region, number) * 2;
            let done = start + trip * SETUP_TRIPS;
            let host = &self.hosts[&number];
            if host.node.is_none() {
                // Refused after one round trip, or the next one's turn comes first.
                start += trip.min(STAGGER);
            } else if host.paused {
                start += STAGGER;
            } else {
                if best.is_none_or(|(earliest, _)| done < earliest) {
                    best = Some((done, (number, host.boot)));
                }
                start += STAGGER;
            }
            if best.is_some_and(|(earliest, _)| earliest <= start) {
                break;
            }
        }
        let (after, to) = match best {
            Some((after, to)) => (after, Some(to)),
            None => (ATTEMPT_MAX, None),
        };
        self.schedule(after, Event::People(PeopleEvent::Connected { who, attempt, to }));
    }

    fn connected(&mut self, who: PersonId, attempt: u64, to: Option<(NodeNumber, u64)>) {
        if self.people.persons[who].attempt != attempt || self.people.persons[who].endpoint.is_none() {
            return;
        }
        let stands = to.filter(|(node, boot)| self.is_awake(*node) && self.hosts[node].boot == *boot);
        let Some((node, _)) = stands else {
            let sentence = "nobody answers".to_owned();
            return self.with_endpoint(who, |endpoint, now| endpoint.connect_failed(now, sentence));
        };
        let conn = self.line_up(who, node);
        let greeting = Greeting::new("netsim");
        let question = greeting.question();
        let person = &mut self.people.persons[who];
        person.conn = Some(conn);
        person.last = Some(node);
        person.greeting = Some(greeting);
        self.person_writes(conn, question);
    }

    pub(super) fn person_receives(&mut self, who: PersonId, conn: ConnId, bytes: Vec<u8>) {
        let person = &mut self.people.persons[who];
        if person.conn != Some(conn) {
            return;
        }
        let Some(greeting) = &mut person.greeting else {
            return self.with_endpoint(who, |endpoint, now| {
                endpoint.receive(now, BytesMut::from(bytes.as_slice()));
            });
        };
        match greeting.receive(&bytes) {
            Ok(None) => {}
            Ok(Some(greeted)) => {
                person.greeting = None;
                let Some(exporter) = self.people.lines.get(&conn).map(|line| line.exporter) else { return };
                self.with_endpoint(who, |endpoint, now| {
                    endpoint.attachment_up(now, exporter, greeted.rest);
                });
            }
            Err(error) => {
                person.greeting = None;
                person.conn = None;
                self.person_closes(conn);
                let sentence = error.to_string();
                self.with_endpoint(who, |endpoint, now| endpoint.connect_failed(now, sentence));
            }
        }
    }

    /// A connection broke.
    pub(super) fn person_loses(&mut self, who: PersonId, conn: ConnId) {
        let person = &mut self.people.persons[who];
        if person.conn != Some(conn) {
            return;
        }
        person.conn = None;
        let greeting = person.greeting.take();
        let (name, stay, limited) = (person.name.clone(), person.stay, person.downstream.is_some());
        if greeting.is_some() {
            let sentence = "the connection broke".to_owned();
            return self.with_endpoint(who, |endpoint, now| endpoint.connect_failed(now, sentence));
        }
        if let Some(stay) = stay.filter(|_| !limited) {
            self.check_loss(&name, stay);
        }
        self.with_endpoint(who, |endpoint, now| endpoint.attachment_lost(now));
    }

    fn broker_called(&mut self, who: PersonId, call: sealcast_endpoint_core::session::Call) {
        let now = self.true_now();
        let person = &self.people.persons[who];
        let Some(number) = person.number else { return };
        let (id, region) = (person.id, person.region);
        let broker = self.broker_node();
        let result = match broker {
            None => Err(CallFailure { again: true, sentence: "the broker does not answer".to_owned() }),
            Some(_) => self
                .people
                .broker
                .call(&self.authority, now.wall, (id, number), call.request)
                .ok_or_else(|| CallFailure { again: false, sentence: "the broker refuses".to_owned() }),
        };
        let after = broker.map_or(Duration::from_millis(100), |node| self.network.access(region, node));
        self.schedule(after, Event::People(PeopleEvent::Answer { who, id: call.id, result }));
    }

    // ---- what users see ----

    fn person_told(&mut self, who: PersonId, told: Told) {
        if self.told && !matches!(told, Told::FileProgress { .. } | Told::Chat { .. }) {
            let name = self.people.persons[who].name.clone();
            self.tell(|| format!("{name}: {told:?}"));
        }
        match told {
            Told::State { state } => {
                let was = std::mem::replace(&mut self.people.persons[who].member, state == State::Member);
                if state == State::Member && !was {
                    self.invite_next(who);
                }
            }
            Told::Code { code, .. } => {
                let session = self.people.persons[who].session;
                self.schedule(USER_TAKES, Event::People(PeopleEvent::Typed { session, code }));
            }
            Told::Chat { from, text, .. } => self.line_shown(who, from, &text),
            Told::Refused { .. } => self.people.persons[who].refused += 1,
            Told::Notice { text } => self.lost_told(who, &text),
            Told::FileDone { direction: Direction::Receiving, .. } => self.people.files_done += 1,
            Told::FileDone { direction: Direction::Sending, .. } => self.file_over(who),
            Told::FileFailed { direction, .. } => {
                self.people.files_failed += 1;
                if direction == Direction::Sending {
                    self.file_over(who);
                }
            }
            Told::Ended { reason, text } => {
                let person = &mut self.people.persons[who];
                person.member = false;
                let joined = person.stay.is_some();
                if !joined && person.place > 0 && person.invites < INVITES_MAX {
                    // It never got in: somebody calls again.
                    person.begun = false;
                    person.number = None;
                    let session = person.session;
                    if let Some(creator) = self.creator_of(session) {
                        self.invite_next(creator);
                    }
                } else {
                    person.over = Some(Outcome { reason, text });
                }
            }
            _ => {}
        }
    }

    /// The product's own word that something of a member is lost for this endpoint.
    fn lost_told(&mut self, who: PersonId, text: &str) {
        let name =
            text.strip_prefix("some of what ").and_then(|rest| rest.split(" said did not arrive").next());
        let sender = self.people.persons.iter().position(|person| Some(person.name.as_str()) == name);
        if let Some(sender) = sender {
            self.checkers.delivery.skipped(sender, who);
        }
    }

    /// Somebody became a member: the creator invites the next one.
    fn invite_next(&mut self, who: PersonId) {
        let session = self.people.persons[who].session;
        let Some(creator) = self.creator_of(session) else { return };
        if creator == who && self.people.persons[who].stay.is_none() {
            // Its first code comes by itself.
            return;
        }
        if let Some(role) = self.next_role(creator) {
            self.schedule(USER_TAKES, Event::People(PeopleEvent::Invite { who: creator, role }));
        }
    }

    fn line_shown(&mut self, who: PersonId, from: SenderNumber, text: &str) {
        let id = self.people.persons[who].id;
        let Some(sender) = self.people.numbers.get(&(id, from)).copied() else { return };
        if sender == who {
            return;
        }
        let Some(line) = text.split(' ').nth(1).and_then(|line| line.parse().ok()) else { return };
        if self.misbehaves(Bug::DropReliable, 20) {
            return;
        }
        if self.misbehaves(Bug::Reorder, 20) && self.people.persons[who].held.is_none() {
            self.people.persons[who].held = Some((sender, line));
            return;
        }
        self.line_arrived(who, sender, line);
        if self.misbehaves(Bug::DeliverTwice, 20) {
            self.line_arrived(who, sender, line);
        }
        if let Some((sender, line)) = self.people.persons[who].held.take() {
            self.line_arrived(who, sender, line);
        }
    }

    fn line_arrived(&mut self, who: PersonId, sender: PersonId, line: u64) {
        let now = self.now;
        self.trace.event(now.0.as_nanos() as u64, who as u64);
        self.trace.number(line);
        let Err(fault) = self.checkers.delivery.arrived(sender, who, line, now) else { return };
        let (to, from) = (&self.people.persons[who].name, &self.people.persons[sender].name);
        let (what, allowed) = match fault {
            Fault::Duplicate => {
                (format!("{to} got line {line} of {from} twice"), self.checkers.allow.duplicates)
            }
            Fault::Reordered => (
                format!("{to} got line {line} of {from} before an earlier one"),
                self.checkers.allow.reordered,
            ),
            Fault::Unknown => (format!("{to} got line {line}, which {from} never said"), 0),
        };
        if allowed == 0 {
            self.violated(Property::Delivery, what);
        }
    }

    // ---- what users do ----

    /// Begins what endpoints do: time 0 of the scenario.
    pub(crate) fn begin_loads(&mut self, scenario: &Scenario) {
        self.people.began_at = Some(self.now);
        let all: Vec<(usize, usize)> =
            self.people.persons.iter().map(|person| (person.session, person.place)).collect();
        let who: BTreeMap<(usize, usize), PersonId> =
            all.iter().enumerate().map(|(who, key)| (*key, who)).collect();
        for (from, (session, _)) in all.iter().enumerate() {
            for (to, (other, _)) in all.iter().enumerate() {
                if session == other && from != to {
                    self.checkers.delivery.expect(from, to);
                }
            }
        }
        for (load, plan) in scenario.workload.iter().enumerate() {
            for key in scenario.meant(plan.session.as_deref(), plan.from.as_deref()) {
                let Some(who) = who.get(&key).copied() else { continue };
                let (event, period) = match plan.kind {
                    LoadKind::Chat { per_s, .. } => (PeopleEvent::Say { who, load }, 1_000_000 / per_s),
                    LoadKind::Packets { per_s, .. } => (PeopleEvent::Probe { who, load }, 1_000_000 / per_s),
                    LoadKind::File { .. } => (PeopleEvent::SendFile { who, load }, 100_000),
                };
                let offset = Duration::from_micros(self.people.random().range(0, period));
                self.schedule(plan.start + offset, Event::People(event));
            }
        }
    }

    /// Whether a load is over.
    fn load_over(&self, load: usize) -> bool {
        let began = self.people.began_at.unwrap_or_default();
        self.now >= began + self.people.loads[load].stop
    }

    fn say_line(&mut self, who: PersonId, load: usize) {
        let LoadKind::Chat { per_s, bytes } = self.people.loads[load].kind else { return };
        if self.load_over(load) || self.people.persons[who].endpoint.is_none() {
            return;
        }
        let line = self.checkers.delivery.next_line(who);
        let mut text = format!("line {line} ");
        text.extend(std::iter::repeat_n('.', bytes.saturating_sub(text.len())));
        let refused = self.people.persons[who].refused;
        let now = self.now;
        // It counts before anybody can have got it.
        self.checkers.delivery.sent(who, now);
        self.with_endpoint(who, |endpoint, now| endpoint.handle_command(now, Command::Say { text }));
        if self.people.persons[who].refused > refused {
            self.checkers.delivery.take_back(who);
        }
        let period = Duration::from_micros(1_000_000 / per_s);
        self.schedule(period, Event::People(PeopleEvent::Say { who, load }));
    }

    fn send_file(&mut self, who: PersonId, load: usize) {
        let LoadKind::File { bytes, count } = self.people.loads[load].kind else { return };
        if self.load_over(load) || self.people.persons[who].files_sent >= count {
            return;
        }
        let seed = self.plan.seed ^ (who as u64) << 32;
        let person = &mut self.people.persons[who];
        person.files_sent += 1;
        let path = PathBuf::from(format!("file-{who}-{load}-{}.bin", person.files_sent));
        person.disk.make(&path, bytes, seed ^ person.files_sent);
        let receivers = self.members_beside(who);
        self.people.files_expected += receivers;
        self.with_endpoint(who, |endpoint, now| {
            endpoint.handle_command(now, Command::Send { path, to: Vec::new() });
        });
    }

    fn members_beside(&self, who: PersonId) -> u64 {
        let session = self.people.persons[who].session;
        let others = self.people.persons.iter().enumerate();
        others.filter(|(other, person)| *other != who && person.session == session).count() as u64
    }

    /// A file of this endpoint is done or failed: the next one.
    fn file_over(&mut self, who: PersonId) {
        for load in 0..self.people.loads.len() {
            if matches!(self.people.loads[load].kind, LoadKind::File { .. }) {
                let event = PeopleEvent::SendFile { who, load };
                if self.people.persons[who].files_sent > 0 {
                    self.schedule(Duration::from_millis(100), Event::People(event));
                }
            }
        }
    }

    fn probe(&mut self, who: PersonId, load: usize) {
        let LoadKind::Packets { per_s, .. } = self.people.loads[load].kind else { return };
        if self.load_over(load) {
            return;
        }
        let (stay, id) = (self.people.persons[who].stay, self.people.persons[who].id);
        if let Some(stay) = stay.filter(|stay| self.is_awake(stay.node)) {
            let packet = self.send_packet(stay.node, id);
            if let Some(trace) = self.packets.get_mut(&packet) {
                trace.kept = false;
            }
        }
        let period = Duration::from_micros(1_000_000 / per_s);
        self.schedule(period, Event::People(PeopleEvent::Probe { who, load }));
    }
}
