//! One seed under one policy: endpoints ask a broker, nodes admit, redirect or refuse, nodes die and come back.

mod finding;
mod looking;

use std::time::Duration;

use proto_spec::mesh::LoadReport;
use proto_spec::{NodeNumber, Timestamp};
use sealcast_placement::{LoadBook, Probe, Site};

use super::demand::Demand;
use super::measure::{Figure, Spread};
use super::mesh::Mesh;
use super::policy::{Policy, near_us};
use super::series::{Recorder, Series};
use crate::histogram::Histogram;
use crate::scenario::{Fault, Scenario};
use crate::sim::{DETECTION, EventQueue, HeardLoad, Random, Trace};

/// Loads are looked at this often.
const LOOK_MS: u64 = 1_000;
/// The endpoints of a dead node attach anew within this.
const MOVE_MS: u64 = 1_000;
/// Back where it came from within this, an endpoint has oscillated.
const OSCILLATION_MS: u64 = 600_000;
/// Above this part of the capacity of all, in percent, the mesh has no room for certain.
const ROOM_PERCENT: u64 = 75;

/// What came of it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Run {
    pub(super) figures: Vec<Figure>,
    pub(super) trace: Trace,
    pub(super) endpoints: u64,
    /// Endpoints that are attached in the end.
    pub(super) there: u64,
    /// If it was asked for.
    pub(super) series: Option<Series>,
}

#[derive(Debug)]
enum Event {
    Leave(usize),
    Arrive(usize),
    /// An endpoint of a dead node attaches anew.
    Move(usize),
    /// A node tells its load, and a broker hears it.
    Report(usize),
    Heard(usize, LoadReport),
    Fault(usize),
    /// Brokers know that a node is dead.
    Missed(usize),
    Look,
    /// What arrived while reports were on their way is counted.
    Window,
    Peak,
}

struct Node {
    number: NodeNumber,
    region: usize,
    capacity: u64,
    load: u64,
    alive: bool,
    /// Whether brokers take it for alive.
    known: bool,
    reports: u64,
    /// How much of its load it tells, in percent: all of it unless it lies.
    told_percent: u64,
    /// Admitted since the last window.
    admitted: u64,
}

struct Broker {
    node: usize,
    book: LoadBook,
    /// How many asked, for each region.
    turns: Vec<u64>,
}

#[derive(Clone, Copy, Default)]
struct Attached {
    at: Option<usize>,
    /// Where it was before, and until when.
    left: Option<(usize, u64)>,
    gone: bool,
}

#[derive(Default)]
struct Counts {
    rtt: Histogram,
    nearest: Histogram,
    rtt_at_peak: Histogram,
    cheapest: Histogram,
    loads: Vec<Spread>,
    herds: Vec<Spread>,
    way_ms: u64,
    way_least_ms: u64,
    deaths: u64,
    moves: u64,
    moves_own: u64,
    collateral: u64,
    oscillations: u64,
    asked: u64,
    rejected: u64,
    redirected: u64,
    asked_with_room: u64,
    rejected_with_room: u64,
}

/// Plays a demand from its beginning to its end; on a mesh, if there is one, which then has the last word.
pub(super) fn run(
    scenario: &Scenario,
    demand: &Demand,
    (policy, seed): (Policy, u64),
    recorder: Option<Recorder>,
    mesh: Option<&mut Mesh>,
) -> Run {
    let mut world = World::new(scenario, demand, policy, seed, mesh);
    world.recorder = recorder;
    world.plan();
    let end = Timestamp(scenario.duration);
    while let Some((now, event)) = world.queue.pop(end) {
        world.mesh_until(now);
        world.handle(now, event);
    }
    world.mesh_until(end);
    let there = world.nodes.iter().map(|node| node.load).sum();
    let figures = world.figures();
    let Counts { rtt, nearest, cheapest, .. } = world.counts;
    let series = world.recorder.map(|recorder| Series { rtt, nearest, cheapest, loads: recorder.loads });
    Run { figures, trace: world.trace, endpoints: demand.endpoints.len() as u64, there, series }
}

struct World<'a> {
    scenario: &'a Scenario,
    demand: &'a Demand,
    policy: Policy,
    seed: u64,
    queue: EventQueue<Event>,
    nodes: Vec<Node>,
    sites: Vec<Site>,
    brokers: Vec<Broker>,
    endpoints: Vec<Attached>,
    /// For each region what its endpoints measure.
    probes: Vec<Vec<Probe>>,
    /// Round trips between regions over the mesh: the shortest way.
    ways_ms: Vec<Vec<u64>>,
    /// Sets of nodes that compete: those near one region.
    groups: Vec<Vec<usize>>,
    random: Random,
    trace: Trace,
    counts: Counts,
    /// What tells of attachments and brings reports, in the light profile; without it, reports come by themselves.
    mesh: Option<&'a mut Mesh>,
    recorder: Option<Recorder>,
}

impl<'a> World<'a> {
    fn new(
        scenario: &'a Scenario,
        demand: &'a Demand,
        policy: Policy,
        seed: u64,
        mesh: Option<&'a mut Mesh>,
    ) -> World<'a> {
        let node = |plan: &crate::scenario::NodePlan| Node {
            number: plan.number,
            region: plan.region,
            capacity: u64::from(plan.capacity),
            load: 0,
            alive: true,
            known: true,
            reports: 0,
            told_percent: 100,
            admitted: 0,
        };
        let site = |plan: &crate::scenario::NodePlan| Site {
            node: plan.number,
            host: format!("n{}", plan.number),
            ports: vec![443],
            failure_domain: plan.failure_domain.clone(),
            capacity: plan.capacity,
            draining: false,
        };
        let regions = scenario.regions.len();
        let sites: Vec<Site> = scenario.nodes.iter().map(site).collect();
        let probes = |region: usize| {
            let probe = |(plan, site): (&crate::scenario::NodePlan, &Site)| Probe {
                host: site.host.clone(),
                port: 443,
                rtt_us: (scenario.rtt_ms[region][plan.region] * 1_000) as u32,
            };
            // Only so many are looked at: the nearest.
            let mut probes: Vec<Probe> = scenario.nodes.iter().zip(&sites).map(probe).collect();
            probes.sort_by_key(|probe| probe.rtt_us);
            probes.truncate(sealcast_placement::PROBES_MAX);
            probes
        };
        let broker = |(at, _): (usize, &crate::scenario::NodePlan)| Broker {
            node: at,
            book: LoadBook::new(),
            turns: vec![0; regions],
        };
        let groups = groups(scenario);
        let spreads = vec![Spread::default(); groups.len()];
        World {
            scenario,
            demand,
            policy,
            seed,
            queue: EventQueue::default(),
            nodes: scenario.nodes.iter().map(node).collect(),
            probes: (0..regions).map(probes).collect(),
            sites,
            brokers: scenario.nodes.iter().enumerate().filter(|(_, plan)| plan.broker).map(broker).collect(),
            endpoints: vec![Attached::default(); demand.endpoints.len()],
            ways_ms: shortest(&scenario.rtt_ms),
            groups,
            random: Random::stream(seed, "policy", 0),
            trace: Trace::default(),
            counts: Counts { loads: spreads.clone(), herds: spreads, ..Counts::default() },
            mesh,
            recorder: None,
        }
    }

    /// At one time those who leave go first, and all have come when the peak is looked at.
    fn plan(&mut self) {
        let demand = self.demand;
        for (who, endpoint) in demand.endpoints.iter().enumerate() {
            self.queue.push(at(endpoint.leaves_ms), Event::Leave(who));
        }
        for (index, fault) in self.scenario.faults.iter().enumerate() {
            self.queue.push(Timestamp(fault.at), Event::Fault(index));
        }
        let mut phases = Random::stream(self.seed, "reports", 0);
        let interval_ms = self.scenario.reports.interval.as_millis() as u64;
        let silent = if self.mesh.is_some() { self.nodes.len() } else { 0 };
        for index in silent..self.nodes.len() {
            // All are known when the clock starts.
            let report = self.report(index);
            self.hear(index, report, Timestamp::ZERO);
            self.queue.push(at(phases.range(0, interval_ms) + 1), Event::Report(index));
        }
        for (who, endpoint) in demand.endpoints.iter().enumerate() {
            self.queue.push(at(endpoint.arrives_ms), Event::Arrive(who));
        }
        self.queue.push(at(LOOK_MS), Event::Look);
        self.queue.push(Timestamp(self.window()), Event::Window);
        self.queue.push(at(demand.peak_ms), Event::Peak);
    }

    /// From one report to when the next is heard.
    fn window(&self) -> Duration {
        self.scenario.reports.interval + self.scenario.reports.age
    }

    fn handle(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Arrive(who) => self.arrive(who, now),
            Event::Leave(who) => self.leave(who, now),
            Event::Move(who) => self.move_on(who, now),
            Event::Report(index) => {
                let report = self.report(index);
                if self.nodes[index].alive {
                    self.queue.push(now + self.scenario.reports.age, Event::Heard(index, report));
                }
                self.queue.push(now + self.scenario.reports.interval, Event::Report(index));
            }
            Event::Heard(index, report) => self.hear(index, report, now),
            Event::Fault(index) => self.fault(index, now),
            Event::Missed(index) => self.nodes[index].known = self.nodes[index].alive,
            Event::Look => {
                self.look(now);
                self.queue.push(now + Duration::from_millis(LOOK_MS), Event::Look);
            }
            Event::Window => {
                self.close_window();
                self.queue.push(now + self.window(), Event::Window);
            }
            Event::Peak => self.look_at_peak(),
        }
    }

    /// The mesh goes along, and brokers hear what it brings them.
    fn mesh_until(&mut self, now: Timestamp) {
        let Some(mesh) = &mut self.mesh else { return };
        for HeardLoad { broker, from, at, report } in mesh.run_until(now) {
            let heard = |known: &&mut Broker| self.nodes[known.node].number == broker;
            if let Some(broker) = self.brokers.iter_mut().find(heard) {
                broker.book.heard(from, report, at);
            }
        }
    }

    /// A broker names nodes that its own node's core takes for alive.
    fn consult_mesh(&mut self, broker: usize) {
        let Some(mesh) = &mut self.mesh else { return };
        if let Some(is_there) = mesh.news_of(self.nodes[self.brokers[broker].node].number) {
            self.nodes.iter_mut().for_each(|node| node.known = is_there(node.number));
        }
    }

    fn report(&mut self, index: usize) -> LoadReport {
        let node = &mut self.nodes[index];
        node.reports += 1;
        let told = node.load * node.told_percent / 100;
        LoadReport {
            sequence: node.reports,
            attachments: told as u32,
            capacity: node.capacity as u32,
            full: told >= node.capacity,
            ..LoadReport::default()
        }
    }

    fn hear(&mut self, index: usize, report: LoadReport, now: Timestamp) {
        let number = self.nodes[index].number;
        self.brokers.iter_mut().for_each(|broker| broker.book.heard(number, report, now));
    }

    fn arrive(&mut self, who: usize, now: Timestamp) {
        let (load, capacity) = self
            .nodes
            .iter()
            .filter(|node| node.alive)
            .fold((0, 0), |sum, node| (sum.0 + node.load, sum.1 + node.capacity));
        let has_room = load * 100 < capacity * ROOM_PERCENT;
        self.counts.asked += 1;
        self.counts.asked_with_room += u64::from(has_room);
        let admitted = self.attach(who, now);
        if let Some(node) = admitted {
            self.nodes[node].admitted += 1;
            let region = self.demand.endpoints[who].region;
            let rtt = |node: &Node| self.scenario.rtt_ms[region][node.region];
            let nearest = self.nodes.iter().filter(|node| node.alive).map(rtt).min();
            self.counts.rtt.add(rtt(&self.nodes[node]), 1);
            nearest.into_iter().for_each(|nearest| self.counts.nearest.add(nearest, 1));
            self.count_way(who, node);
        } else {
            self.counts.rejected += 1;
            self.counts.rejected_with_room += u64::from(has_room);
        }
    }

    /// Asks a broker, and goes where it says: dead nodes are passed over, a full one redirects once, a second refuses.
    fn attach(&mut self, who: usize, now: Timestamp) -> Option<usize> {
        let found = self.find(who, now);
        self.trace.event(now.0.as_nanos() as u64, who as u64);
        self.trace.number(found.map_or(u64::MAX, |node| node as u64));
        let node = found?;
        self.nodes[node].load += 1;
        assert!(self.nodes[node].load <= self.nodes[node].capacity, "a node admits by its own true load");
        let endpoint = &mut self.endpoints[who];
        if let Some((before, until)) = endpoint.left
            && before == node
            && now.0.as_millis() as u64 <= until + OSCILLATION_MS
        {
            self.counts.oscillations += 1;
        }
        endpoint.at = Some(node);
        let (session, index) = self.place_in_session(who);
        if let Some(mesh) = &mut self.mesh {
            mesh.attach(self.nodes[node].number, session, index);
        }
        found
    }

    /// An endpoint's session, and which of its endpoints it is.
    fn place_in_session(&self, who: usize) -> (u32, usize) {
        let session = self.demand.endpoints[who].session;
        (session, who - self.demand.sessions[session as usize].start)
    }

    /// An endpoint is no longer where it was attached, if it was.
    fn detach(&mut self, who: usize) -> bool {
        let Some(node) = self.endpoints[who].at.take() else { return false };
        self.nodes[node].load -= 1;
        let (session, index) = self.place_in_session(who);
        if let Some(mesh) = &mut self.mesh {
            mesh.detach(self.nodes[node].number, session, index);
        }
        true
    }

    fn leave(&mut self, who: usize, now: Timestamp) {
        self.trace.event(now.0.as_nanos() as u64, who as u64);
        self.endpoints[who].gone = true;
        self.detach(who);
    }

    fn move_on(&mut self, who: usize, now: Timestamp) {
        if self.endpoints[who].gone {
            return;
        }
        self.counts.moves += 1;
        self.counts.collateral += u64::from(self.detach(who));
        self.attach(who, now);
    }

    fn fault(&mut self, index: usize, now: Timestamp) {
        let scenario = self.scenario;
        if let Fault::Lie { nodes, load_percent } = &scenario.faults[index].fault {
            for node in self.nodes.iter_mut().filter(|node| nodes.contains(&node.number)) {
                node.told_percent = *load_percent;
                self.trace.event(now.0.as_nanos() as u64, node.number.value().into());
            }
            return;
        }
        let (nodes, back) = match &scenario.faults[index].fault {
            Fault::Kill(nodes) => (nodes, false),
            Fault::Restart(nodes) => (nodes, true),
            other => unreachable!("the reader refuses {other:?} together with arrivals"),
        };
        for number in nodes {
            let Some(index) = self.nodes.iter().position(|node| node.number == *number) else { continue };
            self.trace.event(now.0.as_nanos() as u64, number.value().into());
            self.kill(index, now);
            if back {
                // It counts from the start again; brokers hear it at once, as by its link state.
                (self.nodes[index].alive, self.nodes[index].reports) = (true, 0);
                self.nodes[index].known |= self.mesh.is_none();
                if let Some(mesh) = &mut self.mesh {
                    mesh.start(*number);
                }
            }
        }
    }

    fn kill(&mut self, index: usize, now: Timestamp) {
        if !self.nodes[index].alive {
            return;
        }
        self.counts.deaths += 1;
        self.nodes[index].alive = false;
        self.nodes[index].load = 0;
        if let Some(mesh) = &mut self.mesh {
            mesh.kill(self.nodes[index].number);
        }
        // On a mesh, brokers learn it from its cores.
        if self.mesh.is_none() {
            self.queue.push(now + DETECTION, Event::Missed(index));
        }
        for who in 0..self.endpoints.len() {
            if self.endpoints[who].at != Some(index) {
                continue;
            }
            let endpoint = &mut self.endpoints[who];
            endpoint.at = None;
            endpoint.left = Some((index, now.0.as_millis() as u64));
            // Drawn by endpoint, so that it is the same under every policy.
            let wait = Random::stream(self.seed, "move", who as u64).range(0, MOVE_MS);
            let moves_at = now + Duration::from_millis(wait);
            if moves_at.0.as_millis() < u128::from(self.demand.endpoints[who].leaves_ms)
                && moves_at.0 <= self.scenario.duration
            {
                self.counts.moves_own += 1;
                self.queue.push(moves_at, Event::Move(who));
            }
        }
    }
}

const fn at(ms: u64) -> Timestamp {
    Timestamp(Duration::from_millis(ms))
}

/// The nodes near each region with users, each set once.
fn groups(scenario: &Scenario) -> Vec<Vec<usize>> {
    let weights = scenario.arrivals.iter().flat_map(|arrivals| arrivals.weights.iter().copied());
    let users: Vec<u64> = weights.collect();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (region, rtt_ms) in scenario.rtt_ms.iter().enumerate() {
        if users.get(region).is_none_or(|users| *users == 0) {
            continue;
        }
        let rtt_us = |at: usize| rtt_ms[scenario.nodes[at].region] * 1_000;
        let all = 0..scenario.nodes.len();
        let near_us = near_us(all.clone().map(rtt_us).min().unwrap_or(0));
        groups.push(all.filter(|at| rtt_us(*at) <= near_us).collect());
    }
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// Floyd and Warshall.
fn shortest(rtt_ms: &[Vec<u64>]) -> Vec<Vec<u64>> {
    let mut ways = rtt_ms.to_vec();
    for over in 0..ways.len() {
        for from in 0..ways.len() {
            for to in 0..ways.len() {
                let way = ways[from][over] + ways[over][to];
                if way < ways[from][to] {
                    ways[from][to] = way;
                }
            }
        }
    }
    ways
}
