//! Plays a scenario: brings the mesh up, lets everybody join, runs workload and faults by the scenario's clock, and says
//! what came of it.

use std::collections::BTreeSet;
use std::time::Duration;

use proto_spec::lsa::DrainState;
use proto_spec::mesh::Revocations;
use proto_spec::{NodeNumber, Timestamp};
use serde::Serialize;

use crate::check::delivery::at_percent;
use crate::check::{Allow, Gap, Property, Violation};
use crate::people::{Part, Person};
use crate::record::{Recorder, Series};
use crate::scenario::{Fault, Scenario, TimedFault};
use crate::sim::{Bug, Plan, Profile, World};
use crate::state::EndState;

/// The mesh may take this long to come up.
const FORMING_MAX: Duration = Duration::from_secs(180);
/// A session's endpoints may take this long to join, each.
const JOINING_MAX: Duration = Duration::from_secs(60);
/// What is under way when the scenario ends is waited for.
const LATE_MAX: Duration = Duration::from_secs(60);
/// The whole mesh is looked at this often.
const LOOK: Duration = Duration::from_millis(100);
/// Nodes start within this of each other.
pub(crate) const START_WITHIN_MS: u64 = 500;

/// How a scenario is played.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Everything is drawn from it.
    pub seed: u64,
    /// How much of the product is real.
    pub profile: Profile,
    /// A planted bug, to prove the checkers.
    pub bug: Option<Bug>,
    /// Whether to tell on stderr what happens.
    pub told: bool,
    /// Whether series are written down, for a page.
    pub series: bool,
}

/// What came of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// The scenario, or what else was run.
    pub name: String,
    /// The seed.
    pub seed: u64,
    /// This program's version.
    pub version: &'static str,
    /// The commit that it was built from, with a `+` if its sources were changed; `unknown` outside a repository.
    pub commit: &'static str,
    /// `debug` or `release`.
    pub profile: &'static str,
    /// How much of the product is real: the name of a [`Profile`].
    pub simulation: &'static str,
    /// The fold of everything that happened, in hexadecimal.
    pub trace: String,
    /// Events that were folded.
    pub events: u64,
    /// How long it took by its own clock, in milliseconds.
    pub simulated_ms: u64,
    /// Figures, in the order of their names in docs/SCENARIOS.md.
    pub figures: Vec<Figure>,
    /// What did not hold.
    pub violations: Vec<String>,
    /// Which exit code they ask for.
    pub verdict: Verdict,
    /// If they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub series: Option<Series>,
}

/// A figure with its limit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Figure {
    /// Its name.
    pub name: &'static str,
    /// Its value; `None` if there was nothing to measure.
    pub value: Option<u64>,
    /// The scenario's limit.
    pub limit: Option<u64>,
}

/// What a run says of the product.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything held.
    Held,
    /// Something good did not happen in time.
    Liveness,
    /// Something happened that must not.
    Correctness,
}

impl Verdict {
    /// The verdict over these violations.
    pub fn of(violations: &[Violation]) -> Verdict {
        let one = |violation: &Violation| {
            if violation.property.is_liveness() { Verdict::Liveness } else { Verdict::Correctness }
        };
        violations.iter().map(one).max().unwrap_or(Verdict::Held)
    }
}

/// The profile that this program was built in.
pub const fn profile() -> &'static str {
    if cfg!(debug_assertions) { "debug" } else { "release" }
}

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that this program was built from.
pub const COMMIT: &str = env!("NETSIM_COMMIT");

/// Who speaks, in what a run prints: version, commit, both profiles.
pub fn program(simulation: &str) -> String {
    format!("netsim {VERSION} commit {COMMIT} {} {simulation}", profile())
}

impl Report {
    /// One line: seed, version, commit, profiles, trace.
    pub fn line(&self) -> String {
        let Report { name, seed, simulation, trace, events, .. } = self;
        format!("{name}: seed {seed}, {}, trace {trace} over {events} events", program(simulation))
    }
}

/// Plays a scenario with one seed.
pub fn play(scenario: &Scenario, options: Options) -> Report {
    let mut player = Player::new(scenario, options);
    player.run();
    player.report()
}

/// The same, with where everything is in the end.
pub fn play_to_end(scenario: &Scenario, options: Options) -> (Report, EndState) {
    let mut player = Player::new(scenario, options);
    player.run();
    let state = EndState::of(&player.world, scenario);
    (player.report(), state)
}

struct Player<'a> {
    scenario: &'a Scenario,
    world: World,
    began: Timestamp,
    /// Nodes that end when they are drained.
    draining: BTreeSet<NodeNumber>,
    /// The newest list: its number, and all that it names.
    revocations: (u64, BTreeSet<[u8; 32]>),
    /// Since when not all agree, if they do not.
    disagreed: Option<Timestamp>,
    converge: Duration,
    fault_times: Vec<Timestamp>,
    ended: Timestamp,
}

impl<'a> Player<'a> {
    fn new(scenario: &'a Scenario, options: Options) -> Player<'a> {
        let mut world = World::new(Plan::of(scenario, options.seed));
        world.people.profile = options.profile;
        world.bug = options.bug;
        world.told = options.told;
        world.recorder = options.series.then(|| Recorder::new(scenario));
        world.checkers.allow = Allow {
            duplicates: scenario.checks.duplicates,
            reordered: scenario.checks.reordered,
            moved_beyond: scenario.checks.moved_beyond,
        };
        Player {
            scenario,
            world,
            began: Timestamp::ZERO,
            draining: BTreeSet::new(),
            revocations: Default::default(),
            disagreed: None,
            converge: Duration::ZERO,
            fault_times: Vec::new(),
            ended: Timestamp::ZERO,
        }
    }

    fn run(&mut self) {
        let lies = |timed: &&TimedFault| timed.at.is_zero() && matches!(timed.fault, Fault::Lie { .. });
        // Whoever lies from the beginning does so while the others join.
        self.scenario.faults.iter().filter(lies).for_each(|timed| self.fault(&timed.fault));
        if !self.form() || !self.join() {
            self.ended = self.world.now;
            return;
        }
        self.began = self.world.now;
        self.world.begin_loads(self.scenario);
        self.world.record_look();
        if self.world.bug == Some(Bug::AcceptStaleLsa) {
            let victim = self.world.numbers()[0];
            self.world.replay(victim);
        }
        for timed in &self.scenario.faults {
            self.run_until(self.began + timed.at);
            self.fault_times.push(self.world.now);
            self.world.record_picture();
            self.fault(&timed.fault);
        }
        self.run_until(self.began + self.scenario.duration);
        self.world.record_picture();
        self.ended = self.world.now;
        let late = self.ended + LATE_MAX;
        while self.world.now < late && self.is_awaited() {
            self.run_until(self.world.now + LOOK);
        }
        self.settle();
        self.judge();
    }

    /// The mesh comes up and agrees.
    fn form(&mut self) -> bool {
        for number in self.world.numbers() {
            self.world.start(number);
            let wait = self.world.random.range(0, START_WITHIN_MS / self.world.hosts.len() as u64 + 1);
            self.world.run_for(Duration::from_millis(wait));
        }
        let whole = |world: &World| world.groups().len() == 1 && world.disagreement().is_none();
        while self.world.now < Timestamp(FORMING_MAX) {
            self.world.run_for(LOOK);
            if whole(&self.world) {
                return true;
            }
        }
        let why = self.world.disagreement().unwrap_or_else(|| "it is in parts".to_owned());
        self.world.violated(Property::Convergence, format!("the mesh did not come up: {why}"));
        false
    }

    /// Everybody joins its session.
    fn join(&mut self) -> bool {
        self.world.populate(self.scenario);
        let most = self.scenario.sessions.iter().map(|session| session.endpoints.len()).max().unwrap_or(0);
        let apart = self.scenario.joins_apart.unwrap_or_default() * 2 * self.scenario.endpoints() as u32;
        let end = self.world.now + JOINING_MAX * most.max(1) as u32 + apart;
        // A line is for those whom its sender knows as members when it seals it (CHN-8): not for a member of whose epoch
        // the sender has not heard yet.
        let sizes: Vec<usize> =
            self.scenario.sessions.iter().map(|session| session.endpoints.len()).collect();
        let drill = self.scenario.drills.as_ref().map_or(0, |drills| drills.session.endpoints.len());
        let size = |session: usize| sizes.get(session).copied().unwrap_or(drill);
        let is_in = |person: &Person| {
            person.part == Part::Outsider || person.member && person.roster == size(person.session)
        };
        while self.world.now < end {
            self.world.begin_next_session();
            if self.world.people.persons.iter().all(is_in) && self.world.observe() {
                return true;
            }
            self.world.run_for(LOOK);
        }
        let missing = self.world.people.persons.iter().filter(|person| !is_in(person));
        let names: Vec<String> = missing.take(5).map(|person| person.name.clone()).collect();
        if names.is_empty() && self.scenario.sessions.is_empty() {
            return true;
        }
        let what = format!("not everybody became a member and known to all, among them {}", names.join(", "));
        self.world.violated(Property::Convergence, what);
        false
    }

    fn run_until(&mut self, end: Timestamp) {
        while self.world.now < end {
            let next = (self.world.now + LOOK).min(end);
            self.world.run_until(next);
            self.look();
            self.world.record_look();
        }
    }

    /// Looks at the whole mesh, and lets drained nodes end.
    fn look(&mut self) {
        if !self.world.observe() {
            self.disagreed.get_or_insert(self.world.now);
        } else if let Some(since) = self.disagreed.take() {
            // From the last change, or from a round trip's own: that changes link state too.
            let since = since.max(self.world.changed_at);
            self.converge = self.converge.max(self.world.now.since(since));
        }
        for number in self.draining.clone() {
            if self.world.hosts[&number].may_stop {
                self.draining.remove(&number);
                self.world.kill(number);
            }
        }
    }

    /// Whether something is still under way that will be waited for.
    fn is_awaited(&self) -> bool {
        let people = &self.world.people;
        self.world.checkers.delivery.missing().next().is_some()
            || people.files_done + people.files_failed < people.files_expected
    }

    fn fault(&mut self, fault: &Fault) {
        let world = &mut self.world;
        world.tell(|| format!("fault: {fault:?}"));
        match fault {
            Fault::Kill(nodes) => nodes.iter().for_each(|number| world.kill(*number)),
            Fault::Stop(nodes) => nodes.iter().for_each(|number| world.pause(*number)),
            Fault::Continue(nodes) => nodes.iter().for_each(|number| world.resume(*number)),
            Fault::Restart(nodes) => {
                for number in nodes {
                    self.draining.remove(number);
                    world.kill(*number);
                    world.start(*number);
                }
            }
            Fault::Drain { nodes, within } => {
                for number in nodes {
                    self.draining.insert(*number);
                    world.drain(*number, *within);
                }
            }
            Fault::Undrain(nodes) => {
                for number in nodes {
                    self.draining.remove(number);
                    world.undrain(*number);
                }
            }
            Fault::Revoke(nodes) => {
                let (number, revoked) = &mut self.revocations;
                *number += 1;
                revoked.extend(nodes.iter().map(|node| world.hosts[node].identity.certificate));
                // A list repeats what the one before it named.
                let list = Revocations { number: *number, list: Vec::from_iter(revoked.clone()).concat() };
                nodes.iter().for_each(|number| world.excuse(*number));
                let at = world.live().into_iter().find(|number| !nodes.contains(number));
                if let Some(at) = at {
                    world.publish(at, list);
                }
            }
            Fault::Partition(sides) => {
                for (index, side) in sides.iter().enumerate() {
                    for other in sides[index + 1..].iter().flatten() {
                        side.iter().for_each(|node| world.set_cut(*node, *other, true));
                    }
                }
            }
            Fault::Silence { from, to } => {
                for speaker in from {
                    to.iter().for_each(|listener| world.set_silence(*speaker, *listener, true));
                }
            }
            Fault::Heal => world.heal(),
            Fault::Reset(a, b) => world.reset(*a, *b),
            Fault::Loss { between, percent } => {
                pairs(between).for_each(|(a, b)| world.network.set_loss(a, b, *percent));
            }
            Fault::Delay { between, by } => {
                pairs(between).for_each(|(a, b)| world.network.set_delay(a, b, *by));
            }
            Fault::Slow { session, endpoint, downstream_kib_s } => {
                for key in self.scenario.meant(session.as_deref(), Some(endpoint)) {
                    world.set_downstream(key, downstream_kib_s.map(|rate| rate * 1_024));
                }
            }
            Fault::SlowNode { nodes, times } => {
                nodes.iter().for_each(|number| world.set_slow(*number, *times));
            }
            Fault::Lie { nodes, load_percent } => {
                for number in nodes {
                    if let Some(host) = world.hosts.get_mut(number) {
                        host.load_percent = *load_percent;
                    }
                }
            }
            Fault::Clock { nodes, offset_ms } => {
                for number in nodes {
                    if let Some(host) = world.hosts.get_mut(number) {
                        host.wall_offset_ms = *offset_ms;
                    }
                }
            }
        }
    }

    /// In the end all agree, unless the scenario leaves the mesh broken.
    fn settle(&mut self) {
        let broken = !self.world.network.muted().is_empty()
            || self.world.hosts.values().any(|host| host.paused || host.drain != DrainState::Serving);
        if !broken {
            // A failure is kept as a violation.
            let _ = self.world.converge();
            self.look();
        }
        if self.scenario.faults.iter().any(|timed| matches!(timed.fault, Fault::Clock { .. })) {
            self.world.check_clocks();
        }
    }

    /// Holds what came of it against the scenario's limits.
    fn judge(&mut self) {
        let (lost, names) = self.lost();
        let checks = self.scenario.checks;
        let mut found = Vec::new();
        if lost > checks.lost {
            found.push((Property::Delivery, format!("{lost} lines did not arrive: {names}")));
        }
        let left: Vec<String> = self
            .world
            .people
            .persons
            .iter()
            .filter(|person| !person.member && !person.drill)
            .map(|person| match &person.over {
                Some(over) => format!("{} ({}: {})", person.name, over.reason, over.text),
                None => person.name.clone(),
            })
            .collect();
        if left.len() as u64 > checks.departed {
            let names = left.iter().take(3).cloned().collect::<Vec<_>>().join(", ");
            found.push((Property::Delivery, format!("{} are no members in the end: {names}", left.len())));
        }
        for figure in self.figures() {
            let over = figure.value.zip(figure.limit).is_some_and(|(value, limit)| value > limit);
            let known =
                matches!(figure.name, "lost" | "departed" | "duplicates" | "reordered" | "moved_beyond");
            if over && !known {
                let (value, limit) = (figure.value.unwrap_or(0), figure.limit.unwrap_or(0));
                let property =
                    if figure.name == "converge_ms" { Property::Convergence } else { Property::Delivery };
                found.push((property, format!("{} is {value}, at most {limit} is allowed", figure.name)));
            }
        }
        for (property, what) in found {
            self.world.violated(property, what);
        }
    }

    fn lost(&self) -> (u64, String) {
        let missing: Vec<_> = self.world.checkers.delivery.missing().collect();
        let name = |who: usize| self.world.people.persons[who].name.as_str();
        let told = missing
            .iter()
            .take(3)
            .map(|(from, to, count)| format!("{count} of {} to {}", name(*from), name(*to)));
        (missing.iter().map(|(_, _, count)| count).sum(), told.collect::<Vec<_>>().join(", "))
    }

    /// Every flow's after each fault, which is named by its place.
    fn gaps(&self) -> Vec<(usize, Gap)> {
        let spans = self.fault_times.iter().enumerate().map(|(index, from)| {
            let to = self.fault_times.get(index + 1).copied().unwrap_or(self.ended);
            (index, *from, to)
        });
        let delivery = &self.world.checkers.delivery;
        spans
            .flat_map(|(index, from, to)| delivery.gaps(from, to).into_iter().map(move |gap| (index, gap)))
            .collect()
    }

    fn figures(&self) -> Vec<Figure> {
        let (checks, checkers) = (self.scenario.checks, &self.world.checkers);
        let people = &self.world.people;
        let mut pauses: Vec<u64> = self.gaps().iter().map(|(_, gap)| gap.pause.as_millis() as u64).collect();
        pauses.sort_unstable();
        let left = people.persons.iter().filter(|person| !person.member && !person.drill);
        let departed = left.count() as u64;
        let unfinished = people.files_expected.saturating_sub(people.files_done);
        let figure = |name, value: Option<u64>, limit| Figure { name, value, limit };
        vec![
            figure("said", Some(checkers.delivery.handed_over()), None),
            figure("delivered", Some(checkers.delivery.delivered()), None),
            figure("lost", Some(self.lost().0), Some(checks.lost)),
            figure("duplicates", Some(checkers.delivery.duplicates), Some(checks.duplicates)),
            figure("reordered", Some(checkers.delivery.reordered), Some(checks.reordered)),
            figure("departed", Some(departed), Some(checks.departed)),
            figure("files_done", Some(people.files_done), None),
            figure("files_failed", Some(unfinished), Some(checks.files_failed)),
            figure("moved_beyond", Some(checkers.moved_beyond), Some(checks.moved_beyond)),
            figure("gap_p99_ms", at_percent(&pauses, 99).copied(), checks.gap_p99_ms),
            figure("gap_max_ms", pauses.last().copied(), checks.gap_max_ms),
            figure(
                "latency_p99_ms",
                checkers.delivery.latency(99).map(|latency| latency.as_millis() as u64),
                checks.latency_p99_ms,
            ),
            figure("converge_ms", Some(self.converge.as_millis() as u64), checks.converge_ms),
        ]
    }

    fn report(mut self) -> Report {
        let gaps = self.gaps();
        let series = self.world.recorder.take().map(|recorder| recorder.series(&self.world, &gaps));
        let violations = &self.world.violations;
        Report {
            name: self.scenario.name.clone(),
            seed: self.world.plan.seed,
            version: VERSION,
            commit: COMMIT,
            profile: profile(),
            simulation: self.world.people.profile.name(),
            trace: format!("{:016x}", self.world.trace.hash()),
            events: self.world.trace.events(),
            simulated_ms: self.world.now.0.as_millis() as u64,
            figures: self.figures(),
            violations: violations.iter().map(Violation::to_string).collect(),
            verdict: Verdict::of(violations),
            series,
        }
    }
}

fn pairs(nodes: &[NodeNumber]) -> impl Iterator<Item = (NodeNumber, NodeNumber)> + '_ {
    nodes.iter().enumerate().flat_map(|(index, a)| nodes[index + 1..].iter().map(|b| (*a, *b)))
}
