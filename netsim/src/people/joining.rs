//! How endpoints come into their sessions: log in, open or look up at the broker, attach where placement says, prove the
//! code that was read aloud.

use std::time::Duration;

use proto_spec::lsa::DrainState;
use proto_spec::ticket::Role;
use proto_spec::{NodeNumber, SenderNumber, SessionId};
use sealcast_broker::{Denial, LimitKind, Reply, Request};
use sealcast_endpoint_core::attach::AttachKey;
use sealcast_endpoint_core::session::{Accept, CallFailure, Config};
use sealcast_endpoint_core::{JoinCode, Suite, session};
use sealcast_placement::{PROBES_MAX, Placed, Probe, Site};

use super::broker::{PASSWORD, account_of};
use super::calls::may_try_again;
use super::person::{INVITES_MAX, Part, USER_TAKES};
use super::{PeopleEvent, machine};
use crate::check::delivery::PersonId;
use crate::scenario::{Place, Standby};
use crate::sim::{Event, Random, World, address};

/// The port that nodes have in broker's answers.
const PORT: u16 = 8200;
/// Without a broker, or beyond its limits, a user tries again after this.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// What the broker gives to whoever opens or finds a session.
pub(super) struct Admission {
    session: SessionId,
    number: SenderNumber,
    leader: SenderNumber,
    role: Role,
    pub(super) ticket: String,
    nodes: Vec<NodeNumber>,
    standby: Option<NodeNumber>,
}

impl World {
    /// A creator opens its session.
    pub(super) fn begin(&mut self, who: PersonId) {
        let opened = self.broker_node().map(|at| self.open_session(at, who));
        let admission = match opened {
            Some(Ok(admission)) => admission,
            Some(Err(denial)) if !may_try_again(&denial) => {
                panic!("a session is refused: {denial}");
            }
            _ => return self.schedule(AGAIN, Event::People(PeopleEvent::Begin { who })),
        };
        let first = self.next_role(who);
        let config = self.admitted(who, admission);
        let now = self.true_now();
        self.people.persons[who].endpoint = Some(machine::host(self.people.profile, now, config, first));
        self.person_turn(who);
    }

    fn open_session(&mut self, at: NodeNumber, who: PersonId) -> Result<Admission, Denial> {
        let call = self.log_in(at, who, &account_of(self.people.persons[who].session), PASSWORD)?;
        let attach_key = self.people.persons[who].key.public();
        let probes = self.probes(who);
        self.refresh_sites();
        match self.ask(at, &call, &Request::CreateSession { attach_key, probes })? {
            Reply::SessionCreated { session, number, ticket, nodes, standby } => Ok(Admission {
                session,
                number,
                leader: number,
                role: Role::Provider,
                ticket,
                nodes: nodes.iter().map(|placed| placed.node).collect(),
                standby: standby.map(|placed: Placed| placed.node),
            }),
            other => panic!("a bug of the broker: it opens a session with {other:?}"),
        }
    }

    /// A code was read aloud to the next one, who types it.
    pub(super) fn typed(&mut self, session: usize, code: &str) {
        let Ok(parsed) = code.parse::<JoinCode>() else { return };
        let Some(who) = self.next_joiner(session) else { return self.overheard(session, parsed) };
        match self.broker_node().map(|at| self.look_up(at, who, &parsed)) {
            Some(Ok(admission)) => self.join(who, admission, parsed),
            Some(Err(denial)) if !may_try_again(&denial) => {
                self.tell(|| format!("the code of session {session} leads nowhere: {denial}"));
                self.people.persons[who].invites += 1;
                self.invited_again(who);
            }
            _ => {
                let event = PeopleEvent::Typed { session, code: code.to_owned() };
                self.schedule(AGAIN, Event::People(event));
            }
        }
    }

    /// Looks up the digits of a code, as a provider with its account.
    pub(super) fn look_up(
        &mut self,
        at: NodeNumber,
        who: PersonId,
        code: &JoinCode,
    ) -> Result<Admission, Denial> {
        // A program makes a key each time.
        let key = Random::stream(self.plan.seed, "attach key", self.next_id()).seed();
        let person = &mut self.people.persons[who];
        person.key = AttachKey::from_seed(&key);
        let (attach_key, session) = (person.key.public(), person.session);
        let call = match person.part {
            Part::Joiner { customer: false } => self.log_in(at, who, &account_of(session), PASSWORD)?,
            _ => self.anyone(),
        };
        self.limited(at, who, LimitKind::Lookup)?;
        let probes = self.probes(who);
        self.refresh_sites();
        let request = Request::Lookup { number: Some(code.number), attach_key, probes };
        match self.ask(at, &call, &request)? {
            Reply::Found { session, number, leader, ticket, role, nodes, standby } => Ok(Admission {
                session,
                number,
                leader,
                role,
                ticket,
                nodes: nodes.iter().map(|placed| placed.node).collect(),
                standby: standby.map(|placed: Placed| placed.node),
            }),
            other => panic!("a bug of the broker: it looks up with {other:?}"),
        }
    }

    /// Proves the words of a code.
    pub(super) fn join(&mut self, who: PersonId, admission: Admission, code: JoinCode) {
        self.people.persons[who].invites += 1;
        let config = self.admitted(who, admission);
        let now = self.true_now();
        self.people.persons[who].endpoint = Some(machine::join(self.people.profile, now, config, code));
        self.person_turn(who);
    }

    /// It never got in: somebody calls again.
    pub(super) fn invited_again(&mut self, who: PersonId) -> bool {
        let person = &mut self.people.persons[who];
        if person.joined || !matches!(person.part, Part::Joiner { .. }) || person.invites >= INVITES_MAX {
            return false;
        }
        person.begun = false;
        person.number = None;
        let session = person.session;
        if let Some(creator) = self.creator_of(session) {
            self.invite(creator);
        }
        true
    }

    /// Somebody became a member: the creator invites the next one.
    pub(super) fn invite_next(&mut self, who: PersonId) {
        let session = self.people.persons[who].session;
        // The creator's own first code comes by itself.
        if let Some(creator) = self.creator_of(session).filter(|creator| *creator != who) {
            self.invite(creator);
        }
    }

    fn invite(&mut self, creator: PersonId) {
        if let Some(role) = self.next_role(creator) {
            self.schedule(USER_TAKES, Event::People(PeopleEvent::Invite { who: creator, role }));
        }
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
            .filter(|(_, person)| person.session == session && matches!(person.part, Part::Joiner { .. }))
            .find(|(_, person)| !person.begun && person.over.is_none())
            .map(|(who, _)| who)
    }

    pub(super) fn creator_of(&self, session: usize) -> Option<PersonId> {
        self.people.persons.iter().position(|person| person.session == session && person.place == 0)
    }

    /// An endpoint has its number: what it begins with.
    fn admitted(&mut self, who: PersonId, admission: Admission) -> Config {
        let Admission { session, number, leader, role, ticket, nodes, standby } = admission;
        let (nodes, standby) = self.first_nodes(who, nodes, standby);
        let seed = self.people.random().seed();
        self.people.numbers.insert((session, number), who);
        let person = &mut self.people.persons[who];
        person.begun = true;
        person.number = Some(number);
        person.id = session;
        // Whoever tries again has been nowhere yet.
        person.stay = None;
        Config {
            session,
            number,
            leader,
            role,
            ticket,
            attach_key: person.key.clone(),
            nodes: nodes.into_iter().map(|number| vec![address(number)]).collect(),
            standby: standby.into_iter().map(address).collect(),
            display_name: person.name.clone(),
            suite: Suite::Modern,
            accept: Accept { join: true, member: true, files: true },
            seed,
            reconnect_max: Config::RECONNECT_MAX,
        }
    }

    /// Where an endpoint attaches, best first, and where it stands by; placement's word is one of several.
    fn first_nodes(
        &mut self,
        who: PersonId,
        offered: Vec<NodeNumber>,
        offered_standby: Option<NodeNumber>,
    ) -> (Vec<NodeNumber>, Option<NodeNumber>) {
        let (region, at, standby) = {
            let person = &self.people.persons[who];
            (person.region, person.at, person.standby)
        };
        let (mut nodes, mut second) = match at {
            Place::Node(number) => (vec![number], None),
            Place::Nearest => (self.nearest(region).into_iter().take(1).collect(), None),
            Place::Random => {
                let awake = self.awake();
                let drawn = (!awake.is_empty()).then(|| *self.people.random().pick(&awake));
                (drawn.into_iter().collect(), None)
            }
            Place::Placement => (offered, offered_standby),
        };
        match standby {
            // Without a second node it knows of nowhere to stand by.
            Standby::None => {
                nodes.truncate(1);
                second = None;
            }
            Standby::Node(number) => second = Some(number),
            Standby::Apart => {
                let domain = |number: &NodeNumber| self.hosts[number].config.failure_domain.clone();
                let first = nodes.first().copied();
                let apart = self.nearest(region).into_iter().filter(|number| Some(*number) != first);
                let mut apart: Vec<NodeNumber> = apart.collect();
                apart.sort_by_key(|number| first.is_some_and(|first| domain(&first) == domain(number)));
                second = second.or(apart.first().copied());
            }
        }
        (nodes, second)
    }

    fn awake(&self) -> Vec<NodeNumber> {
        self.numbers().into_iter().filter(|number| self.is_awake(*number)).collect()
    }

    /// Every node, the nearest to a region first.
    pub(super) fn nearest(&self, region: usize) -> Vec<NodeNumber> {
        let mut all = self.numbers();
        all.sort_by_key(|number| (self.network.access(region, *number), *number));
        all
    }

    /// The round trips of an endpoint to the nodes that answer, the nearest first. `sealcast` measures four; here each
    /// endpoint knows as many as a broker looks at.
    fn probes(&self, who: PersonId) -> Vec<Probe> {
        let region = self.people.persons[who].region;
        let awake = self.nearest(region).into_iter().filter(|number| self.is_awake(*number));
        let probe = |number: NodeNumber| Probe {
            host: host_of(number),
            port: PORT,
            rtt_us: self.probe_us(region, number),
        };
        awake.take(PROBES_MAX).map(probe).collect()
    }

    /// The broker knows the nodes that run.
    fn refresh_sites(&mut self) {
        let nodes = self.plan.nodes.iter().filter(|node| self.is_awake(node.number));
        let site = |node: &crate::sim::NodeSpec| Site {
            node: node.number,
            host: host_of(node.number),
            ports: vec![PORT],
            failure_domain: node.failure_domain.clone(),
            capacity: node.capacity,
            draining: self.hosts[&node.number].drain != DrainState::Serving,
        };
        let sites = nodes.map(site).collect();
        self.people.broker.core.set_sites(sites);
    }

    /// A member's call reaches the broker.
    pub(super) fn broker_called(&mut self, who: PersonId, call: &session::Call) {
        let region = self.people.persons[who].region;
        let (result, after) = match self.broker_node() {
            Some(at) => (self.serve(at, who, call), self.network.access(region, at)),
            None => {
                let sentence = "the broker does not answer".to_owned();
                (Err(CallFailure { again: true, sentence }), Duration::from_millis(100))
            }
        };
        self.schedule(after, Event::People(PeopleEvent::Answer { who, id: call.id, result }));
    }
}

fn host_of(number: NodeNumber) -> String {
    format!("node-{number}")
}
