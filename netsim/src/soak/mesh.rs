//! Seeds about the mesh alone: nodes, links, memberships, bare packets.

use std::time::Duration;

use proto_spec::membership::{MemberKind, MembershipEntry};
use proto_spec::{AttachSeq, NodeNumber, SenderNumber, SessionId};
use sealcast_mesh::Input;

use crate::check::{Property, Violation};
use crate::play::{Report, VERSION, Verdict, profile};
use crate::sim::{Bug, Plan, Random, World, node};

/// Sessions of a world.
const SESSIONS: u8 = 4;
/// Attachments before the first fault, and again after the last.
const MEMBERS: usize = 8;
/// Whoever knocks in vain knocks again within ten seconds.
const KNOCK: Duration = Duration::from_secs(12);
/// One seed in so many is a large mesh.
const LARGE_ONE_IN: u64 = 60;

pub(super) fn run(seed: u64, bug: Option<Bug>, told: bool) -> Report {
    let mut run = Run { world: World::new(plan(seed)), attach_seq: 0 };
    run.world.bug = bug;
    run.world.told = told;
    run.play();
    let world = run.world;
    Report {
        name: "soak".to_owned(),
        seed,
        version: VERSION,
        profile: profile(),
        trace: format!("{:016x}", world.trace.hash()),
        events: world.trace.events(),
        simulated_ms: world.now.0.as_millis() as u64,
        figures: Vec::new(),
        violations: world.violations.iter().map(Violation::to_string).collect(),
        verdict: Verdict::of(&world.violations),
        series: None,
    }
}

/// A mesh of 2 to 9 nodes, sometimes of up to 17 with few links, rarely of up to 200; sometimes with pairs that may not be
/// linked.
fn plan(seed: u64) -> Plan {
    let mut random = Random::stream(seed, "plan", 0);
    let large = random.one_in(LARGE_ONE_IN);
    let middle = !large && random.one_in(5);
    let nodes = match (large, middle) {
        (true, _) => random.range(40, 201),
        (_, true) => random.range(10, 18),
        _ => random.range(2, 10),
    } as u16;
    let ways = *random.pick(&[(200, 2_000), (500, 40_000), (20_000, 120_000)]);
    let mut plan = Plan::with_ways(seed, nodes, ways).with_brokers(&[1, nodes]);
    plan.links_max = match (large, middle) {
        (true, _) => random.range(8, 17),
        (_, true) => random.range(4, 9),
        _ => 16,
    } as usize;
    if !large && !middle && nodes > 3 && random.one_in(4) {
        // A ring with some chords: always in one piece.
        let mut pairs: Vec<(u16, u16)> = (1..nodes).map(|number| (number, number + 1)).collect();
        pairs.push((1, nodes));
        for _ in 0..random.range(0, 4) {
            let chord = (random.range(1, nodes.into()) as u16, random.range(1, nodes.into()) as u16);
            if chord.0 != chord.1 {
                pairs.push(chord);
            }
        }
        plan = plan.linked(&pairs);
    }
    plan
}

struct Run {
    world: World,
    attach_seq: u64,
}

impl Run {
    fn play(&mut self) {
        let large = self.world.plan.nodes.len() > 20;
        for number in self.world.numbers() {
            self.world.start(number);
            let most = if large { 100 } else { 500 };
            let wait = self.world.random.range(0, most);
            self.world.run_for(Duration::from_millis(wait));
        }
        self.world.run_for(Duration::from_secs(if large { 60 } else { 10 }));
        if self.world.bug == Some(Bug::AcceptStaleLsa) {
            self.world.replay(node(1));
        }
        self.attach_some();
        // Safety: faults, with the checkers watching.
        let rounds = if large { self.world.random.range(3, 8) } else { self.world.random.range(5, 20) };
        for _ in 0..rounds {
            self.fault();
            let wait = self.world.random.range(10, 8_000);
            for _ in 0..4 {
                (0..3).for_each(|_| self.send_from_somewhere());
                self.world.run_for(Duration::from_millis(wait / 4));
                self.world.observe();
            }
            if self.world.random.one_in(6) {
                self.only_their_own_move();
            }
        }
        self.heal_all();
        self.attach_some();
        // Liveness: all must agree in time.
        self.world.run_for(KNOCK);
        if large {
            // Surplus links go one a minute, and newcomers' links settle.
            self.world.run_for(Duration::from_secs(60));
        }
        if self.world.converge().is_ok() {
            self.after_agreement();
        }
    }

    fn attach_some(&mut self) {
        for _ in 0..MEMBERS {
            let at = self.any_live();
            self.attach(at);
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

    fn any(&mut self) -> NodeNumber {
        let numbers = self.world.numbers();
        *self.world.random.pick(&numbers)
    }

    fn any_live(&mut self) -> NodeNumber {
        let live: Vec<NodeNumber> =
            self.world.live().into_iter().filter(|number| self.world.is_awake(*number)).collect();
        if live.is_empty() { self.any() } else { *self.world.random.pick(&live) }
    }

    fn any_session(&mut self) -> SessionId {
        World::session_id(self.world.random.range(1, u64::from(SESSIONS)) as u8)
    }

    fn fault(&mut self) {
        let at = self.any_live();
        match self.world.random.range(0, 24) {
            0..7 => self.attach(at),
            7..9 => {
                let attached: Vec<(SessionId, SenderNumber)> =
                    self.world.hosts[&at].attached.keys().copied().collect();
                if !attached.is_empty() {
                    let (id, number) = *self.world.random.pick(&attached);
                    self.world.detach(at, id, number);
                }
            }
            9..11 => {
                if self.world.live().len() > 1 {
                    self.world.kill(at);
                }
            }
            11..13 => {
                let at = self.any();
                if self.world.hosts[&at].node.is_none() {
                    if self.world.random.one_in(4)
                        && let Some(host) = self.world.hosts.get_mut(&at)
                    {
                        // Its restart counter is lost.
                        host.incarnation = 0;
                    }
                    self.world.start(at);
                }
            }
            13 => {
                let numbers = self.world.numbers();
                let side: Vec<NodeNumber> =
                    numbers.into_iter().filter(|_| self.world.random.one_in(2)).collect();
                self.world.partition(&side);
            }
            14 => self.world.heal(),
            15 => {
                let (a, b) = (self.any(), self.any());
                if a != b {
                    if self.world.random.one_in(2) {
                        self.world.reset(a, b);
                    } else {
                        self.world.set_cut(a, b, true);
                    }
                }
            }
            16 => {
                let (from, to) = (self.any(), self.any());
                self.world.set_silence(from, to, true);
            }
            17 => self.world.pause(at),
            18 => {
                for number in self.world.numbers() {
                    self.world.resume(number);
                }
            }
            19 => {
                let (a, b) = (self.any(), self.any());
                let percent = self.world.random.range(1, 60);
                self.world.network.set_loss(a, b, percent);
            }
            20 => {
                let (a, b) = (self.any(), self.any());
                let by = Duration::from_millis(self.world.random.range(1, 400));
                self.world.network.set_delay(a, b, by);
            }
            21 => {
                // Within what clocks may differ.
                let offset_ms = self.world.random.range(0, 240_000) as i64 - 120_000;
                if let Some(host) = self.world.hosts.get_mut(&at) {
                    host.wall_offset_ms = offset_ms;
                }
            }
            _ => {
                let within = Duration::from_secs(self.world.random.range(1, 20));
                self.world.input(at, Input::Drain { within });
                if self.world.random.one_in(2) {
                    let wait = self.world.random.range(0, 3_000);
                    self.world.run_for(Duration::from_millis(wait));
                    self.world.input(at, Input::Undrain);
                }
            }
        }
    }

    fn attach(&mut self, at: NodeNumber) {
        let kinds = [
            MemberKind::Active,
            MemberKind::Active,
            MemberKind::Active,
            MemberKind::Standby,
            MemberKind::Lobby,
        ];
        let kind = *self.world.random.pick(&kinds);
        self.attach_seq += 1;
        let id = self.any_session();
        let Some(number) = SenderNumber::new(self.world.random.range(1, 9) as u16) else { return };
        let ticket = [number.value() as u8; 32];
        let entry = MembershipEntry { number, kind, attach_seq: AttachSeq(self.attach_seq), ticket };
        let ready = self.world.random.one_in(3);
        if self.world.is_awake(at) {
            self.world.attach(at, id, entry, ready);
        }
    }

    fn send_from_somewhere(&mut self) {
        let (from, id) = (self.any_live(), self.any_session());
        if self.world.is_awake(from) && self.world.carries(from, id) {
            let packet = self.world.send_packet(from, id);
            if let Some(trace) = self.world.packets.get_mut(&packet) {
                trace.kept = false;
            }
        }
    }

    /// Property 5, for memberships: a node dies; no other node's endpoints are asked to do anything.
    fn only_their_own_move(&mut self) {
        if self.world.live().len() < 3 {
            return;
        }
        let gone = self.any_live();
        let own = |world: &World, number: NodeNumber| -> Vec<_> {
            let Some(node) = world.hosts[&number].node.as_ref() else { return Vec::new() };
            let entries =
                |id: u8| node.own_membership(World::session_id(id)).map(|own| own.body.entries.clone());
            (1..SESSIONS).map(entries).collect()
        };
        // What was attached a moment ago has been signed by now.
        self.world.run_for(Duration::from_millis(10));
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
