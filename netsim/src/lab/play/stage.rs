//! The stage: a mesh, and everybody a member of his session at the node where he should be. What a scenario says of nodes
//! and endpoints becomes lines, invites and commands here.
//!
//! An endpoint attaches where the scenario says, or the broker.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use proto_spec::NodeNumber;

use super::Run;
use crate::lab::config::NodeSpec;
use crate::lab::converge::{Converging, Groups};
use crate::lab::ground::Ground;
use crate::lab::mesh::{ACCOUNT_SESSIONS, Mesh, MeshPlan, NodeState};
use crate::lab::people::{At, DRIVERS_MAX, People, Told, drivers};
use crate::lab::proxy::{Line, Party, Weather};
use crate::scenario::{EndpointPlan, Fault, LoadKind, Place, Scenario, Standby};
use sealcast_process::Hub;

/// Programs at once, on a machine that others use too.
const PROGRAMS_MAX: usize = 20;
/// Nodes at once: with the drivers no more than that.
pub(crate) const NODES_MAX: usize = PROGRAMS_MAX - DRIVERS_MAX;
/// Endpoints at once, in all drivers.
pub(crate) const ENDPOINTS_MAX: usize = 2_000;
/// How long the nodes may take to find each other.
const CONVERGE: Duration = Duration::from_secs(60);
/// How long any one step of a join may take.
const STEP: Duration = Duration::from_secs(60);
/// How long standbys may take; those that are not there then are a note.
const STANDBY: Duration = Duration::from_secs(20);
/// How often what is waited for is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Drain deadline of nodes that no fault drains.
const DRAIN_MS: u64 = 10_000;

/// Somebody's place.
#[derive(Clone, Debug, Default)]
pub(super) struct Seat {
    /// Its session.
    pub(super) session: usize,
    /// That session's id, by its program's word.
    pub(super) id: Option<String>,
    /// Its number there.
    pub(super) number: Option<u64>,
    /// The newest code that it showed.
    codes: VecDeque<String>,
    /// As its program says.
    pub(super) state: String,
    members: usize,
    /// Why it is over.
    pub(super) over: Option<String>,
    /// Files that came.
    pub(super) files: BTreeSet<String>,
    /// Where it is attached, where that is known.
    pub(super) node: Option<NodeNumber>,
    provider: bool,
    standby: bool,
    /// Where the scenario wants it.
    at: At,
    pub(super) line: usize,
}

impl Seat {
    pub(super) fn member(&self) -> bool {
        self.state == "member"
    }
}

/// Everything that plays.
pub(super) struct Stage<'h> {
    pub(super) mesh: Mesh<'h>,
    pub(super) people: People<'h>,
    pub(super) seats: Vec<Seat>,
    pub(super) notes: BTreeSet<String>,
    hub: &'h Hub,
    /// The first of each session's endpoints.
    firsts: Vec<usize>,
    links_allowed: Option<BTreeSet<(NodeNumber, NodeNumber)>>,
    kept: bool,
}

/// Why the lab cannot play it.
///
/// # Errors
/// A sentence that says what to do.
pub(crate) fn playable(scenario: &Scenario) -> Result<(), String> {
    if scenario.arrivals.is_some() {
        return Err(format!("{} has endpoints that come and go: use `netsim compare`", scenario.name));
    }
    let (nodes, endpoints) = (scenario.nodes.len(), scenario.endpoints());
    if nodes > NODES_MAX || endpoints > ENDPOINTS_MAX {
        return Err(format!(
            "{} has {nodes} nodes and {endpoints} endpoints: the lab plays at most {NODES_MAX} and {ENDPOINTS_MAX}. Use \
             `netsim run`",
            scenario.name
        ));
    }
    if let Some(why) = scenario.faults.iter().find_map(|timed| simulated_alone(&timed.fault)) {
        return Err(format!("{} {why}: use `netsim run`, or remove the fault", scenario.name));
    }
    if let Some(node) = scenario.nodes.iter().find(|node| node.service_us > 0) {
        return Err(format!(
            "{} says how long node {} takes for a message, and real programs take the time that they need: use `netsim \
             run`, or remove service_us",
            scenario.name, node.number
        ));
    }
    if scenario.workload.iter().any(|load| matches!(load.kind, LoadKind::Packets { .. })) {
        return Err(format!(
            "{} sends bare packets, which endpoints never do: use `netsim run`, or kind = \"chat\"",
            scenario.name
        ));
    }
    Ok(())
}

/// Why real programs cannot suffer a fault, if so.
fn simulated_alone(fault: &Fault) -> Option<&'static str> {
    match fault {
        Fault::Clock { .. } => Some("turns clocks, and real programs read the machine's"),
        Fault::SlowNode { .. } => {
            Some("makes nodes slow, and real programs are as fast as the machine lets them")
        }
        Fault::Lie { .. } => Some("makes nodes lie about their load, and real programs tell the truth"),
        _ => None,
    }
}

/// The scenario's nodes as the mesh starts them.
fn plan(scenario: &Scenario, log_level: &str) -> MeshPlan {
    let drain_ms = |node: NodeNumber| {
        let drains = scenario.faults.iter().filter_map(|fault| match &fault.fault {
            Fault::Drain { nodes, within } if nodes.contains(&node) => Some(within.as_millis() as u64),
            _ => None,
        });
        drains.max().unwrap_or(DRAIN_MS)
    };
    let nodes = scenario.nodes.iter().map(|node| NodeSpec {
        number: node.number,
        region: scenario.regions[node.region].clone(),
        region_index: node.region,
        failure_domain: node.failure_domain.clone(),
        capacity: node.capacity,
        broker: node.broker,
        links_max: scenario.links_max,
        neighbors_allowed: scenario.neighbors_allowed(node.number),
        link_costs_ms: scenario.link_costs_ms(node.number),
        drain_ms: drain_ms(node.number),
    });
    let accounts = scenario.sessions.len().div_ceil(ACCOUNT_SESSIONS).max(1);
    MeshPlan { nodes: nodes.collect(), log_level: log_level.to_owned(), accounts }
}

fn weather(scenario: &Scenario) -> Weather {
    let rtt = scenario.rtt_ms.iter().map(|row| row.iter().copied().map(Duration::from_millis).collect());
    Weather::new(rtt.collect(), scenario.jitter_percent)
}

/// # Errors
/// When so many programs are more than may run.
fn enough_places(scenario: &str, programs: usize) -> anyhow::Result<()> {
    ensure!(
        programs <= PROGRAMS_MAX,
        "{scenario} takes {programs} programs, as each thin endpoint has its own in namespaces: {PROGRAMS_MAX} at most, or \
         without --netns"
    );
    Ok(())
}

/// The lines that are thin, or will be.
fn thin(scenario: &Scenario, firsts: &[usize]) -> BTreeSet<usize> {
    let slowed = scenario.faults.iter().filter_map(|fault| match &fault.fault {
        Fault::Slow { session, endpoint, .. } => Some(scenario.meant(session.as_deref(), Some(endpoint))),
        _ => None,
    });
    let from_the_start = scenario
        .meant(None, None)
        .into_iter()
        .filter(|(session, at)| scenario.sessions[*session].endpoints[*at].downstream_kib_s.is_some());
    slowed.flatten().chain(from_the_start).map(|(session, at)| firsts[session] + at).collect()
}

/// The node to which an endpoint is kept until time 0; `None` where placement decides.
fn pinned(scenario: &Scenario, plan: &EndpointPlan, draw: u64) -> Option<NodeNumber> {
    match plan.at {
        Place::Node(node) => Some(node),
        Place::Placement => None,
        Place::Nearest => {
            let distance = |node: &&crate::scenario::NodePlan| scenario.rtt(plan.region, node.region);
            let nearest = scenario.nodes.iter().map(|node| distance(&node)).min()?;
            let near: Vec<NodeNumber> = scenario
                .nodes
                .iter()
                .filter(|node| distance(node) == nearest)
                .map(|node| node.number)
                .collect();
            near.get(usize::try_from(draw).unwrap_or(0) % near.len()).copied()
        }
        Place::Random => {
            let at = usize::try_from(draw).unwrap_or(0) % scenario.nodes.len();
            scenario.nodes.get(at).map(|node| node.number)
        }
    }
}

impl<'h> Stage<'h> {
    /// Starts everything; time 0 may come.
    ///
    /// # Errors
    /// What did not happen in time, and what the program said.
    pub(super) fn set(run: &Run<'h>) -> anyhow::Result<Stage<'h>> {
        let (scenario, hub) = (run.scenario, run.hub);
        playable(scenario).map_err(anyhow::Error::msg)?;
        let mut weather = weather(scenario);
        let mut seats = Vec::new();
        let mut firsts = Vec::new();
        for (session, plan) in scenario.sessions.iter().enumerate() {
            firsts.push(seats.len());
            for (at, endpoint) in plan.endpoints.iter().enumerate() {
                let line = seats.len();
                // Any two of a group must not always draw alike.
                let draw = run.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(at as u32) ^ line as u64;
                let node = pinned(scenario, endpoint, draw);
                // Whoever wants no standby reaches no second node; all others know where to go.
                let only = node.and_then(|node| match endpoint.standby {
                    Standby::None => Some(BTreeSet::from([node])),
                    Standby::Node(other) if run.kept => Some(BTreeSet::from([node, other])),
                    _ => None,
                });
                weather.lines.push(Line {
                    region: endpoint.region,
                    downstream: endpoint.downstream_kib_s.map(|kib| kib * 1_024),
                    only,
                });
                seats.push(Seat {
                    session,
                    node,
                    provider: !endpoint.customer,
                    standby: endpoint.standby != Standby::None,
                    line,
                    ..Seat::default()
                });
            }
        }
        let plan = plan(scenario, run.log_level);
        let thin = thin(scenario, &firsts);
        // The kernel makes a whole driver's line thin.
        let drivers = drivers(seats.len(), |line| run.netns && thin.contains(&line));
        let programs = plan.nodes.len() + drivers.len();
        enough_places(&scenario.name, programs)?;
        let ground = if run.netns {
            let nodes: Vec<NodeNumber> = plan.nodes.iter().map(|node| node.number).collect();
            Ground::namespaces(&nodes, &drivers, |line| thin.contains(&line))?
        } else {
            Ground::Loopback
        };
        let mesh = Mesh::start(hub, run.programs, run.folder, &plan, ground, weather, run.seed)?;
        let invite = run.folder.join("invite.toml");
        mesh.invite(&mesh.numbers(), &invite)?;
        let people = People::start(hub, run.programs, run.folder, &invite, mesh.network().ground(), drivers)?;
        let links_allowed = scenario.links_allowed.clone();
        let notes = BTreeSet::new();
        let mut stage = Stage { mesh, people, seats, notes, hub, firsts, links_allowed, kept: run.kept };
        stage.converge(run.folder)?;
        stage.seat_people(scenario)?;
        for session in 0..scenario.sessions.len() {
            stage.open_session(scenario, session)?;
        }
        stage.wait_standbys()?;
        Ok(stage)
    }

    /// Whose index an endpoint of the scenario has.
    pub(super) fn who(&self, session: usize, endpoint: usize) -> usize {
        self.firsts[session] + endpoint
    }

    pub(super) fn names(&self) -> Vec<String> {
        (0..self.seats.len()).map(|who| self.people.name(who).to_owned()).collect()
    }

    /// To whom each one's lines go.
    pub(super) fn receivers(&self) -> Vec<Vec<usize>> {
        let all = || self.seats.iter().enumerate();
        all()
            .map(|(who, seat)| {
                let others = all().filter(|(other, place)| *other != who && place.session == seat.session);
                others.map(|(other, _)| other).collect()
            })
            .collect()
    }

    /// The nodes that should reach each other now; `None` while some start or go.
    pub(super) fn cut(&self) -> Option<Groups> {
        let all = self.mesh.numbers();
        let unsettled =
            |node: &NodeNumber| matches!(self.mesh.state(*node), NodeState::Starting | NodeState::Draining);
        if all.iter().any(unsettled) {
            return None;
        }
        let up: BTreeSet<NodeNumber> =
            all.into_iter().filter(|node| self.mesh.state(*node) == NodeState::Up).collect();
        let joined = |a: NodeNumber, b: NodeNumber| {
            let pair = (a.min(b), a.max(b));
            let heard = |a, b| !self.mesh.network().way(Party::Node(a), Party::Node(b)).held;
            self.links_allowed.as_ref().is_none_or(|allowed| allowed.contains(&pair))
                && heard(a, b)
                && heard(b, a)
        };
        Some(components(&up, joined))
    }

    /// Brings a fault about.
    ///
    /// # Errors
    /// When a program cannot be started, or `relayctl` refuses.
    pub(super) fn apply(&mut self, scenario: &Scenario, fault: &Fault) -> anyhow::Result<()> {
        let network = self.mesh.network();
        match fault {
            Fault::Kill(nodes) => nodes.iter().try_for_each(|node| self.mesh.kill(*node))?,
            Fault::Stop(nodes) => nodes.iter().try_for_each(|node| self.mesh.stop(*node))?,
            Fault::Continue(nodes) => nodes.iter().try_for_each(|node| self.mesh.go_on(*node))?,
            Fault::Restart(nodes) => nodes.iter().try_for_each(|node| self.mesh.restart(*node))?,
            Fault::Drain { nodes, .. } => nodes.iter().try_for_each(|node| self.mesh.drain(*node))?,
            Fault::Undrain(nodes) => nodes.iter().try_for_each(|node| self.mesh.undrain(*node))?,
            Fault::Revoke(nodes) => nodes.iter().try_for_each(|node| self.mesh.revoke(*node))?,
            Fault::Partition(sides) => self.mesh.partition(sides)?,
            Fault::Heal => self.mesh.heal()?,
            Fault::Silence { from, to } => network.weather(|weather| weather.silence(from, to))?,
            Fault::Reset(a, b) => network.weather(|weather| weather.reset(*a, *b))?,
            Fault::Loss { between, percent } => network.weather(|weather| weather.lose(between, *percent))?,
            Fault::Delay { between, by } => network.weather(|weather| weather.delay(between, *by))?,
            Fault::Slow { session, endpoint, downstream_kib_s } => {
                network.weather(|weather| {
                    for (session, at) in scenario.meant(session.as_deref(), Some(endpoint)) {
                        let line = &mut weather.lines[self.firsts[session] + at];
                        line.downstream = downstream_kib_s.map(|kib| kib * 1_024);
                    }
                })?;
            }
            Fault::SlowNode { .. } => bail!("real programs are as fast as the machine lets them"),
            Fault::Lie { .. } => bail!("real programs tell the truth"),
            Fault::Clock { .. } => bail!("real programs read the machine's clock"),
        }
        // Whoever was kept to a node that is struck may go elsewhere.
        if let Fault::Kill(nodes) | Fault::Stop(nodes) | Fault::Drain { nodes, .. } | Fault::Revoke(nodes) =
            fault
            && !self.kept
        {
            self.mesh.network().weather(|weather| {
                for line in &mut weather.lines {
                    if line.only.as_ref().is_some_and(|only| only.iter().any(|node| nodes.contains(node))) {
                        line.only = None;
                    }
                }
            })?;
        }
        Ok(())
    }

    /// Takes in what somebody told.
    pub(super) fn hear(&mut self, who: usize, told: Told) {
        let seat = &mut self.seats[who];
        match told {
            Told::Session { id, number } => (seat.id, seat.number) = (Some(id), Some(number)),
            Told::Code { code } => seat.codes.push_back(code),
            Told::State(state) => seat.state = state,
            Told::Members(count) => seat.members = count,
            Told::File { name, received: Some(_) } => drop(seat.files.insert(name)),
            Told::Ended(why) => seat.over = Some(why),
            Told::Gone(talk) => {
                seat.over.get_or_insert_with(|| format!("the program ended{talk}"));
            }
            _ => {}
        }
    }

    // ---- how it is set -------------------------------------------------------------------------------------

    /// Until all nodes reach each other.
    fn converge(&mut self, folder: &Path) -> anyhow::Result<()> {
        if self.mesh.numbers().len() == 1 {
            return Ok(());
        }
        let mut converging = Converging::new();
        let deadline = Instant::now() + CONVERGE;
        converging.changed(Instant::now());
        while converging.is_open() {
            ensure!(
                Instant::now() < deadline,
                "the nodes have not found each other in {} s: see `relayctl mesh status` and their logs",
                CONVERGE.as_secs()
            );
            self.mesh.tend()?;
            converging.tend(self.hub, folder, &self.mesh, &self.cut())?;
            if let Some(happening) = self.hub.happening(Instant::now() + LOOK)? {
                converging.hear(&happening);
            }
        }
        Ok(())
    }

    /// The providers are logged in; everybody has a name and knows where to go.
    fn seat_people(&mut self, scenario: &Scenario) -> anyhow::Result<()> {
        for (email, password) in self.mesh.accounts() {
            self.people.log_in(&email, password)?;
        }
        for who in 0..self.seats.len() {
            let seat = &self.seats[who];
            let (session, first) = (&scenario.sessions[seat.session], self.firsts[seat.session]);
            let plan = &session.endpoints[who - first];
            let name = format!("{}.{}", session.name, plan.name);
            let (node, line) = (seat.node.and_then(|node| self.mesh.front(node)), seat.line);
            let standby = match plan.standby {
                Standby::Node(other) => node.and(self.mesh.front(other)),
                _ => None,
            };
            self.seats[who].at = At { node, standby };
            self.people.add(&name, line, self.seats[who].session / ACCOUNT_SESSIONS);
        }
        Ok(())
    }

    fn open_session(&mut self, scenario: &Scenario, session: usize) -> anyhow::Result<()> {
        let first = self.firsts[session];
        let count = scenario.sessions[session].endpoints.len();
        let role = |seat: &Seat| if seat.provider { "provider" } else { "customer" };
        self.linger(scenario.joins_apart)?;
        let second = role(&self.seats[first + 1]);
        self.people.host(first, &self.seats[first].at, second)?;
        self.wait("its session", |seats| seats[first].member(), &[first])?;
        for at in 1..count {
            let who = first + at;
            let role = role(&self.seats[who]);
            if at > 1 {
                self.people.invite(first, role)?;
            }
            self.wait("a code", |seats| !seats[first].codes.is_empty(), &[first])?;
            let code = self.seats[first].codes.pop_back().context("no code")?;
            self.seats[first].codes.clear();
            self.linger(scenario.joins_apart)?;
            let seat = &self.seats[who];
            self.people.join(who, &seat.at, &code, seat.provider)?;
            let joined = |seats: &[Seat]| seats[who].member() && seats[first].members == at + 1;
            self.wait("its membership", joined, &[who, first])?;
        }
        let all: Vec<usize> = (first..first + count).collect();
        self.wait(
            "all members",
            |seats| all.iter().all(|who| seats[*who].member() && seats[*who].members == count),
            &all,
        )
    }

    /// Until everybody has the standby that it wants, or has had the time.
    fn wait_standbys(&mut self) -> anyhow::Result<()> {
        if self.mesh.numbers().len() == 1 {
            return Ok(());
        }
        let deadline = Instant::now() + STANDBY;
        loop {
            let without: Vec<usize> = (0..self.seats.len())
                .filter(|who| self.seats[*who].standby)
                .filter(|who| self.mesh.network().reached(self.seats[*who].line).len() < 2)
                .collect();
            if without.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let names: Vec<&str> = without.iter().map(|who| self.people.name(*who)).collect();
                self.notes.insert(format!("no standby before time 0: {}", names.join(", ")));
                return Ok(());
            }
            self.pump(Instant::now() + LOOK)?;
        }
    }

    fn wait(
        &mut self,
        what: &str,
        done: impl Fn(&[Seat]) -> bool,
        concerned: &[usize],
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + STEP;
        while !done(&self.seats) {
            if let Some(who) = concerned.iter().find(|who| self.seats[**who].over.is_some()) {
                bail!(
                    "{} waits for {what}, and ended: {}",
                    self.people.name(*who),
                    self.seats[*who].over.clone().unwrap_or_default()
                );
            }
            ensure!(Instant::now() < deadline, "{} waits for {what} in vain", self.people.name(concerned[0]));
            self.pump(deadline)?;
        }
        Ok(())
    }

    /// Lets time pass, where the scenario wants some between those who join.
    fn linger(&mut self, apart: Option<Duration>) -> anyhow::Result<()> {
        let until = Instant::now() + apart.unwrap_or_default();
        while Instant::now() < until {
            self.pump(until)?;
        }
        Ok(())
    }

    fn pump(&mut self, deadline: Instant) -> anyhow::Result<()> {
        let deadline = deadline.min(Instant::now() + LOOK * 10);
        self.mesh.tend()?;
        if let Some(happening) = self.hub.happening(deadline)? {
            for (who, _, told) in self.people.hear(&happening) {
                self.hear(who, told);
            }
        }
        Ok(())
    }
}

/// Nodes that reach each other over any number of links.
fn components(nodes: &BTreeSet<NodeNumber>, joined: impl Fn(NodeNumber, NodeNumber) -> bool) -> Groups {
    let mut left = nodes.clone();
    let mut groups = Groups::new();
    while let Some(first) = left.pop_first() {
        let mut group = BTreeSet::from([first]);
        let mut open = vec![first];
        while let Some(node) = open.pop() {
            let near: Vec<NodeNumber> = left.iter().copied().filter(|other| joined(node, *other)).collect();
            for other in near {
                left.remove(&other);
                group.insert(other);
                open.push(other);
            }
        }
        groups.push(group);
    }
    groups
}

#[cfg(test)]
mod tests;
