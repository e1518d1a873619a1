//! Plays a course: nodes, links, memberships, bare packets. First safety, with faults while the checkers watch; then
//! liveness: everything is healed and all must agree.

use std::time::Duration;

use proto_spec::membership::MembershipEntry;
use proto_spec::{AttachSeq, NodeNumber, SessionId};
use sealcast_mesh::Input;

use super::course::{Course, Step};
use crate::check::{Property, Violation};
use crate::play::{COMMIT, Options, Report, VERSION, Verdict, profile};
use crate::sim::{Bug, World};

/// Whoever knocks in vain knocks again within ten seconds.
const KNOCK: Duration = Duration::from_secs(12);
/// A membership may be under way for so long, where one that stays the same is looked for.
const SIGNED: Duration = Duration::from_millis(10);

pub(super) fn run(course: &Course, options: Options) -> Report {
    let mut world = World::new(course.plan());
    world.bug = options.bug;
    world.told = options.told;
    let mut run = Run { world, course };
    run.play();
    let world = run.world;
    Report {
        name: "soak".to_owned(),
        seed: course.seed,
        version: VERSION,
        commit: COMMIT,
        profile: profile(),
        simulation: options.profile.name(),
        trace: format!("{:016x}", world.trace.hash()),
        events: world.trace.events(),
        simulated_ms: world.now.0.as_millis() as u64,
        figures: Vec::new(),
        violations: world.violations.iter().map(Violation::to_string).collect(),
        verdict: Verdict::of(&world.violations),
        series: None,
    }
}

struct Run<'a> {
    world: World,
    course: &'a Course,
}

impl Run<'_> {
    fn play(&mut self) {
        let course = self.course;
        for start in &course.nodes {
            self.world.start(start.number);
            self.world.run_for(Duration::from_millis(start.wait_ms));
        }
        self.world.run_for(Duration::from_secs(course.form_s));
        if self.world.bug == Some(Bug::AcceptStaleLsa) {
            let victim = self.world.numbers()[0];
            self.world.replay(victim);
        }
        course.steps.iter().for_each(|step| self.step(step));
        self.heal_all();
        course.healed.iter().for_each(|step| self.step(step));
        self.world.run_for(KNOCK);
        self.world.run_for(Duration::from_secs(course.calm_s));
        if self.world.converge().is_ok() {
            self.after_agreement();
        }
    }

    fn step(&mut self, step: &Step) {
        let world = &mut self.world;
        match step {
            Step::Wait { ms } => {
                world.run_for(Duration::from_millis(*ms));
                world.observe();
            }
            Step::Attach { at, session, number, kind, attach_seq, ready } => {
                let ticket = [number.value() as u8; 32];
                let attach_seq = AttachSeq(*attach_seq);
                let entry = MembershipEntry { number: *number, kind: *kind, attach_seq, ticket };
                if world.is_awake(*at) {
                    world.attach(*at, World::session_id(*session), entry, *ready);
                }
            }
            Step::Detach { at, session, number } => world.detach(*at, World::session_id(*session), *number),
            Step::Send { from, session } => send(world, *from, World::session_id(*session)),
            Step::Kill { at } => {
                if world.live().len() > 1 {
                    world.kill(*at);
                }
            }
            Step::Start { at, forgetful } => {
                if let Some(host) = world.hosts.get_mut(at).filter(|host| host.node.is_none()) {
                    if *forgetful {
                        host.incarnation = 0;
                    }
                    world.start(*at);
                }
            }
            Step::Pause { at } => world.pause(*at),
            Step::Resume => {
                for number in world.numbers() {
                    world.resume(number);
                }
            }
            Step::Partition { side } => world.partition(side),
            Step::Cut { a, b } => world.set_cut(*a, *b, true),
            Step::Silence { from, to } => world.set_silence(*from, *to, true),
            Step::Reset { a, b } => world.reset(*a, *b),
            Step::Loss { a, b, percent } => world.network.set_loss(*a, *b, *percent),
            Step::Delay { a, b, by_ms } => {
                world.network.set_delay(*a, *b, Duration::from_millis(*by_ms));
            }
            Step::Heal => world.heal(),
            Step::Clock { at, offset_ms } => {
                if let Some(host) = world.hosts.get_mut(at) {
                    host.wall_offset_ms = *offset_ms;
                }
            }
            Step::Drain { at, within_s, undrain_after_ms } => {
                world.input(*at, Input::Drain { within: Duration::from_secs(*within_s) });
                if let Some(after_ms) = undrain_after_ms {
                    world.run_for(Duration::from_millis(*after_ms));
                    world.input(*at, Input::Undrain);
                }
            }
            Step::DieAlone { at } => self.only_their_own_move(*at),
        }
    }

    fn heal_all(&mut self) {
        for number in self.world.numbers() {
            self.world.resume(number);
        }
        self.world.heal();
        for number in self.world.numbers() {
            if self.world.hosts[&number].node.is_none() {
                self.world.start(number);
            }
        }
    }

    fn after_agreement(&mut self) {
        let world = &mut self.world;
        let groups = world.groups().len();
        if groups != 1 {
            world.violated(Property::Convergence, format!("the mesh stayed in {groups} parts"));
        }
        world.run_for(Duration::from_secs(1));
        world.observe();
        world.run_for(Duration::from_secs(1));
        world.observe();
        world.check_all_packets();
        let mut found = Vec::new();
        for (number, host) in &world.hosts {
            if !host.alarms.is_empty() {
                found.push(format!("node {number} raised {:?}", host.alarms));
            }
            let Some(counters) = host.node.as_ref().map(|node| *node.counters()) else { continue };
            for (name, count) in [
                ("signatures_wrong", counters.signatures_wrong),
                ("messages_malformed", counters.messages_malformed),
                ("requests_shed", counters.requests_shed),
                ("messages_shed", counters.messages_shed),
            ] {
                if count > 0 {
                    found.push(format!("node {number} counted {count} {name} among honest nodes"));
                }
            }
        }
        for what in found {
            world.violated(Property::Convergence, what);
        }
    }

    /// Property 5, for memberships: a node dies; no other node's endpoints are asked to do anything.
    fn only_their_own_move(&mut self, gone: NodeNumber) {
        if self.world.live().len() < 3 {
            return;
        }
        let own = |world: &World, number: NodeNumber| -> Vec<_> {
            let Some(node) = world.hosts[&number].node.as_ref() else { return Vec::new() };
            let sessions = node.sessions().filter_map(|id| node.own_membership(id));
            sessions.map(|own| (own.body.session, own.body.entries.clone())).collect()
        };
        // What was attached a moment ago has been signed by now.
        self.world.run_for(SIGNED);
        let others: Vec<NodeNumber> = self
            .world
            .live()
            .into_iter()
            .filter(|other| *other != gone && self.world.is_awake(*other))
            .collect();
        let before: Vec<_> = others.iter().map(|other| own(&self.world, *other)).collect();
        self.world.kill(gone);
        if self.world.misbehaves(Bug::MoveOthers, 1)
            && let Some((at, key)) = others
                .iter()
                .find_map(|other| Some((*other, *self.world.hosts[other].attached.keys().next()?)))
        {
            self.world.detach(at, key.0, key.1);
        }
        self.world.run_for(Duration::from_secs(8));
        for (other, before) in others.iter().zip(&before) {
            if own(&self.world, *other) != *before {
                let what = format!("endpoints of node {other} moved when node {gone} died");
                self.world.violated(Property::Moves, what);
            }
        }
    }
}

fn send(world: &mut World, from: NodeNumber, id: SessionId) {
    if world.is_awake(from) && world.carries(from, id) {
        let packet = world.send_packet(from, id);
        if let Some(trace) = world.packets.get_mut(&packet) {
            trace.kept = false;
        }
    }
}
