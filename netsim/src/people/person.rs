//! An endpoint with its shell, simulated: it connects, writes, reads, keeps files. Its user stands in
//! `user`.

mod user;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use proto_spec::{NodeNumber, Now, SenderNumber, SessionId, Timestamp};
use sealcast_endpoint_core::attach::{AttachKey, Greeting};
use sealcast_endpoint_core::command::Command;
use sealcast_endpoint_core::session::{Output, Reached, Way};

use super::broker::{account_of, begins_account};
use super::disk::Disk;
use super::machine::Machine;
use super::{ConnId, PeopleEvent, Stay};
use crate::check::delivery::PersonId;
use crate::check::nonces;
use crate::scenario::{EndpointPlan, Place, Scenario, Standby};
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
pub(super) const INVITES_MAX: u32 = 10;
/// Between the steps of users: reading a code aloud, typing it.
pub(super) const USER_TAKES: Duration = Duration::from_millis(200);
/// How often a broker looks after its store.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(2);

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
    /// Has no business there.
    Outsider,
}

/// How an endpoint ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// A word, as the product says it.
    pub reason: String,
    /// A sentence.
    pub text: String,
}

/// A connection of an endpoint, or the attempt to make one.
#[derive(Default)]
struct Reach {
    /// Once it stands.
    conn: Option<ConnId>,
    /// Until the node has answered it.
    greeting: Option<Greeting>,
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
    /// Whether it is there for a drill: what becomes of it is not the scenario's matter.
    pub drill: bool,
    /// Whether it is a member now.
    pub member: bool,
    /// Whether it has ever been one.
    pub joined: bool,
    /// How many members its session has by the newest roster that it knows, itself among them.
    pub roster: usize,
    /// Where it is active, as far as it knows.
    pub stay: Option<Stay>,
    /// How it ended, if it did.
    pub over: Option<Outcome>,
    /// Lines that its endpoint refused to take.
    pub refused: u64,
    pub(super) region: usize,
    pub(super) downstream: Option<u64>,
    pub(super) at: Place,
    pub(super) standby: Standby,
    pub(super) key: AttachKey,
    /// Its session at the broker, once it has a number there.
    pub(super) id: SessionId,
    /// Whether it has begun to join; its endpoint may be at work.
    pub(super) begun: bool,
    pub(super) number: Option<SenderNumber>,
    pub(super) endpoint: Option<Box<dyn Machine>>,
    /// Its connections and attempts.
    ways: BTreeMap<Way, Reach>,
    last: Option<NodeNumber>,
    disk: Disk,
    wake: Option<Timestamp>,
    pub(super) invites: u32,
    files_sent: u64,
    /// A line held back by a planted bug.
    held: Option<(PersonId, u64)>,
}

impl Person {
    /// Somebody who has not begun.
    pub(super) fn new(
        name: String,
        (session, place): (usize, usize),
        plan: &EndpointPlan,
        key: AttachKey,
    ) -> Person {
        Person {
            name,
            session,
            place,
            part: if place == 0 { Part::Creator } else { Part::Joiner { customer: plan.customer } },
            drill: false,
            member: false,
            joined: false,
            roster: 0,
            stay: None,
            over: None,
            refused: 0,
            region: plan.region,
            downstream: plan.downstream_kib_s.map(|rate| rate * 1_024),
            at: plan.at,
            standby: plan.standby,
            key,
            id: SessionId([0; 16]),
            begun: false,
            number: None,
            endpoint: None,
            ways: BTreeMap::new(),
            last: None,
            disk: Disk::default(),
            wake: None,
            invites: 0,
            files_sent: 0,
            held: None,
        }
    }
}

impl World {
    /// Puts a scenario's endpoints into the world, and lets them begin.
    pub fn populate(&mut self, scenario: &Scenario) {
        self.people.loads = scenario.workload.clone();
        self.people.joins_apart = scenario.joins_apart;
        for (session, plan) in scenario.sessions.iter().enumerate() {
            if begins_account(session)
                && let Some(at) = self.broker_node()
            {
                self.add_account(at, &account_of(session));
            }
            let first = self.people.persons.len();
            for (place, endpoint) in plan.endpoints.iter().enumerate() {
                let key = AttachKey::from_seed(&self.people.random().seed());
                let name = format!("{}/{}", plan.name, endpoint.name);
                self.people.persons.push(Person::new(name, (session, place), endpoint, key));
            }
            if scenario.joins_apart.is_some() {
                self.people.to_begin.push_back(first);
                continue;
            }
            let wait = Duration::from_millis(self.people.random().range(0, 1_000));
            self.schedule(wait, Event::People(PeopleEvent::Begin { who: first }));
        }
        if let Some(drills) = &scenario.drills {
            self.populate_drills(drills, scenario.sessions.len());
        }
        self.schedule(HOUSEKEEPING_INTERVAL, Event::People(PeopleEvent::House));
    }

    /// Where endpoints join one after the other, the next session begins when everybody of those before it is in.
    pub fn begin_next_session(&mut self) {
        let (Some(apart), Some(first)) = (self.people.joins_apart, self.people.to_begin.front().copied())
        else {
            return;
        };
        let before = &self.people.persons[..first];
        let size = |session| before.iter().filter(|person| person.session == session).count();
        if before.iter().all(|person| person.member && person.roster == size(person.session)) {
            self.people.to_begin.pop_front();
            self.schedule(apart, Event::People(PeopleEvent::Begin { who: first }));
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
            PeopleEvent::Connected { who, way, to } => self.connected(who, way, to),
            PeopleEvent::ToNode { conn, bytes, .. } => self.bytes_to_node(conn, &bytes),
            PeopleEvent::ToPerson { conn, bytes } => self.bytes_to_person(conn, bytes),
            PeopleEvent::Node { conn, node } => self.node_turn(conn, node),
            PeopleEvent::PersonClosed { conn } => self.person_closed(conn),
            PeopleEvent::NodeClosed { conn, node } => self.node_closed(conn, node),
            PeopleEvent::Call { who, call } => self.broker_called(who, &call),
            PeopleEvent::Answer { who, id, result } => {
                self.with_endpoint(who, |endpoint, now| endpoint.handle_call(now, id, result));
            }
            PeopleEvent::Registry { node, boot } => self.registry_turn(node, boot),
            PeopleEvent::DrainEnds { node, boot } => self.drain_ends(node, boot),
            PeopleEvent::Drill { step } => self.drill(step),
            PeopleEvent::Outsider { who } => self.outsider_tries(who),
            PeopleEvent::Password { who, wrong } => self.password_typed(who, wrong),
            PeopleEvent::House => {
                self.keep_house();
                self.schedule(HOUSEKEEPING_INTERVAL, Event::People(PeopleEvent::House));
            }
            PeopleEvent::Begin { who } => self.begin(who),
            PeopleEvent::Invite { who, role } => {
                let command = Command::Invite { role };
                self.with_endpoint(who, |endpoint, now| endpoint.handle_command(now, command));
            }
            PeopleEvent::Typed { session, code } => self.typed(session, &code),
            PeopleEvent::Say { who, load } => self.say_line(who, load),
            PeopleEvent::SendFile { who, load } => self.send_file(who, load),
            PeopleEvent::Probe { who, load } => self.probe(who, load),
        }
    }

    /// True time, for what has no clock of its own here: endpoints.
    pub(super) fn true_now(&self) -> Now {
        let ms = crate::sim::WALL_START + self.now.0.as_millis() as u64;
        Now { mono: self.now, wall: proto_spec::WallTime(ms) }
    }

    /// What an endpoint measures who asks a node from a region.
    pub(super) fn probe_us(&self, region: usize, node: NodeNumber) -> u32 {
        (self.network.access(region, node) * 2 + self.delay_at(node)).as_micros() as u32
    }

    // ---- the endpoint's shell ----

    pub(super) fn with_endpoint(&mut self, who: PersonId, handle: impl FnOnce(&mut dyn Machine, Now)) {
        let now = self.true_now();
        if let Some(endpoint) = self.people.persons[who].endpoint.as_deref_mut() {
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
                self.person_output(who, &mut *endpoint, output);
            }
            for (way, conn) in self.open_ways(who) {
                while self.person_room(conn) > 0 {
                    let mut bytes = Vec::new();
                    let limit = WRITE_BYTES.min(self.person_room(conn));
                    if !endpoint.poll_transmit(now, way, &mut bytes, limit) || bytes.is_empty() {
                        break;
                    }
                    moved = true;
                    if self.misbehaves(Bug::ReuseNonce, 20)
                        && let Some(twin) = nonces::twin(&bytes)
                    {
                        bytes.extend(twin);
                    }
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
        if !over {
            self.people.persons[who].endpoint = Some(endpoint);
        } else if self.people.persons[who].begun && self.people.persons[who].over.is_none() {
            self.people.persons[who].over = Some(Outcome { reason: "over".to_owned(), text: String::new() });
        }
    }

    /// Connections whose node has answered the greeting.
    fn open_ways(&self, who: PersonId) -> Vec<(Way, ConnId)> {
        let ways = self.people.persons[who].ways.iter();
        ways.filter(|(_, reach)| reach.greeting.is_none())
            .filter_map(|(way, reach)| Some((*way, reach.conn?)))
            .collect()
    }

    /// Where the endpoint is active from now on, by its own word.
    fn settle_at(&mut self, who: PersonId, node: NodeNumber) {
        let person = &self.people.persons[who];
        let (name, limited) = (person.name.clone(), person.downstream.is_some());
        if let Some(left) = person.stay.filter(|_| !limited) {
            self.check_move(&name, left, node);
        }
        let boot = self.hosts[&node].boot;
        if let Some(recorder) = &mut self.recorder {
            recorder.attached(self.network.access(self.people.persons[who].region, node) * 2);
        }
        self.people.persons[who].stay = Some(Stay { node, boot, excused: false });
    }

    /// Whoever is at this node has a reason to leave it.
    pub(crate) fn excuse(&mut self, node: NodeNumber) {
        for stay in self.people.persons.iter_mut().filter_map(|person| person.stay.as_mut()) {
            stay.excused |= stay.node == node;
        }
    }

    fn person_output(&mut self, who: PersonId, endpoint: &mut dyn Machine, output: Output) {
        let now = self.true_now();
        match output {
            Output::Connect { way, preferred, avoid } => self.connect(who, way, &preferred, &avoid),
            Output::Disconnect(way) => {
                let reach = self.people.persons[who].ways.remove(&way);
                if let Some(conn) = reach.and_then(|reach| reach.conn) {
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
                for (way, conn) in self.open_ways(who) {
                    let mut bytes = Vec::new();
                    while endpoint.poll_transmit(now, way, &mut bytes, WRITE_BYTES) {}
                    if !bytes.is_empty() {
                        self.person_writes(conn, bytes);
                    }
                }
                for reach in std::mem::take(&mut self.people.persons[who].ways).into_values() {
                    if let Some(conn) = reach.conn {
                        self.person_closes(conn);
                    }
                }
            }
        }
    }

    /// Races the candidates: the first that completes wins.
    fn connect(&mut self, who: PersonId, way: Way, preferred: &[String], avoid: &[String]) {
        let person = &mut self.people.persons[who];
        person.ways.insert(way, Reach::default());
        let (region, last) = (person.region, person.last);
        let mut candidates: Vec<NodeNumber> = preferred.iter().filter_map(|text| number_of(text)).collect();
        for number in last.into_iter().chain(self.nearest(region)) {
            if !candidates.contains(&number) {
                candidates.push(number);
            }
        }
        candidates.retain(|number| !avoid.contains(&address(*number)));
        let (mut start, mut best) = (Duration::ZERO, None);
        for number in candidates {
            let trip = self.network.access(region, number) * 2 + self.delay_at(number);
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
        self.schedule(after, Event::People(PeopleEvent::Connected { who, way, to }));
    }

    fn connected(&mut self, who: PersonId, way: Way, to: Option<(NodeNumber, u64)>) {
        if !self.people.persons[who].ways.contains_key(&way) {
            return;
        }
        let stands = to.filter(|(node, boot)| self.is_awake(*node) && self.hosts[node].boot == *boot);
        let Some((node, _)) = stands else {
            return self.connect_failed(who, way, "nobody answers".to_owned());
        };
        let conn = self.line_up(who, node);
        let greeting = Greeting::new("netsim");
        let question = greeting.question();
        let person = &mut self.people.persons[who];
        person.last = Some(node);
        person.ways.insert(way, Reach { conn: Some(conn), greeting: Some(greeting) });
        self.person_writes(conn, question);
    }

    fn connect_failed(&mut self, who: PersonId, way: Way, sentence: String) {
        self.people.persons[who].ways.remove(&way);
        self.with_endpoint(who, |endpoint, now| endpoint.connect_failed(now, way, sentence));
    }

    fn way_of(&self, who: PersonId, conn: ConnId) -> Option<Way> {
        let mut ways = self.people.persons[who].ways.iter();
        ways.find(|(_, reach)| reach.conn == Some(conn)).map(|(way, _)| *way)
    }

    pub(super) fn person_receives(&mut self, who: PersonId, conn: ConnId, bytes: &[u8]) {
        if self.people.persons[who].part == Part::Outsider {
            self.intruder_receives(who, conn, bytes);
        }
        let Some(way) = self.way_of(who, conn) else { return };
        let Some(reach) = self.people.persons[who].ways.get_mut(&way) else { return };
        let Some(greeting) = &mut reach.greeting else {
            return self.with_endpoint(who, |endpoint, now| {
                endpoint.receive(now, way, BytesMut::from(bytes));
            });
        };
        match greeting.receive(bytes) {
            Ok(None) => {}
            Ok(Some(greeted)) => {
                reach.greeting = None;
                let Some(line) = self.people.lines.get(&conn) else { return };
                let (node, exporter) = (line.node, line.exporter);
                let reached =
                    Reached { address: address(node), certificate: self.hosts[&node].identity.certificate };
                if self.people.persons[who].stay.is_none() {
                    self.settle_at(who, node);
                }
                self.with_endpoint(who, |endpoint, now| {
                    endpoint.attachment_up(now, way, reached, exporter, greeted.rest);
                });
            }
            Err(error) => {
                self.person_closes(conn);
                self.connect_failed(who, way, error.to_string());
            }
        }
    }

    /// A connection broke.
    pub(super) fn person_loses(&mut self, who: PersonId, conn: ConnId) {
        let Some(way) = self.way_of(who, conn) else { return };
        let greeting = self.people.persons[who].ways.remove(&way).and_then(|reach| reach.greeting);
        if greeting.is_some() {
            return self.connect_failed(who, way, "the connection broke".to_owned());
        }
        self.with_endpoint(who, |endpoint, now| endpoint.attachment_lost(now, way));
    }
}
