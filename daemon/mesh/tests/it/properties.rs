//! The properties of the overlay under random faults, one world for each seed.
//!
//! `MESH_SEEDS=20000` runs more of them, `MESH_SEED=n` one alone. A seed that fails is kept in `seeds.txt` with what it
//! found, and runs first ever after.

use std::time::Duration;

use proto_spec::membership::MemberKind;
use proto_spec::{NodeNumber, SenderNumber, SessionId};
use sealcast_mesh::Input;

use crate::world::{Plan, World, entry, node, session};

/// Seeds that run by default.
const SEEDS: u64 = 150;
const SEEDS_BEGIN: u64 = 1_000;

/// Properties 1, 2, 3, 5 and 6: see `check.rs`; bounds are looked at after every single input.
#[test]
fn random_faults() {
    if let Ok(seed) = std::env::var("MESH_SEED") {
        return run(seed.parse().unwrap());
    }
    let kept =
        include_str!("seeds.txt").lines().filter_map(|line| line.split('#').next()?.trim().parse().ok());
    let count = std::env::var("MESH_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    kept.chain(SEEDS_BEGIN..SEEDS_BEGIN + count).for_each(run);
}

fn run(seed: u64) {
    let mut world = World::new(plan(seed));
    for number in world.numbers() {
        world.start(number);
        let wait = world.random.range(0, 500);
        world.run_for(Duration::from_millis(wait));
    }
    world.run_for(Duration::from_secs(10));
    let mut attach_seq = 0;
    // Safety: faults, with the checkers watching.
    let rounds = world.random.range(5, 20);
    for _ in 0..rounds {
        fault(&mut world, &mut attach_seq);
        let wait = world.random.range(10, 8_000);
        for _ in 0..4 {
            send_from_somewhere(&mut world);
            world.run_for(Duration::from_millis(wait / 4));
        }
        if world.random.one_in(6) {
            only_their_own_move(&mut world);
        }
    }
    // Liveness: heal, and all must agree in time.
    world.heal();
    for number in world.numbers() {
        if world.hosts[&number].node.is_none() {
            world.start(number);
        }
    }
    // Whoever knocks in vain knocks again within ten seconds.
    world.run_for(Duration::from_secs(12));
    world.settle();
    assert_eq!(world.groups().len(), 1, "seed {seed}: the mesh stayed apart");
    for trace in world.packets.values() {
        let bound = 8 * usize::from(world.plan.nodes);
        assert!(trace.copies as usize <= bound, "seed {seed}: a packet wandered: {trace:?}");
    }
    world.check_all_packets();
    for (number, host) in &world.hosts {
        assert!(host.alarms.is_empty(), "seed {seed}: {number} raised {:?}", host.alarms);
        let counters = host.node.as_ref().unwrap().counters();
        assert_eq!(counters.signatures_wrong + counters.messages_malformed, 0, "seed {seed}: {number}");
        assert_eq!(counters.requests_shed + counters.messages_shed, 0, "seed {seed}: {number}");
    }
}

/// A mesh of 2 to 9 nodes, sometimes more with few links, sometimes with pairs that may not be linked.
fn plan(seed: u64) -> Plan {
    let mut random = crate::world::random::Random::new(!seed);
    let large = random.one_in(5);
    let nodes = if large { random.range(10, 18) } else { random.range(2, 10) } as u16;
    let mut plan = Plan::new(seed, nodes);
    plan.links_max = if large { random.range(4, 9) as usize } else { 16 };
    plan.latency_us = *random.pick(&[(200, 2_000), (500, 40_000), (20_000, 120_000)]);
    plan.brokers = vec![1, nodes];
    if !large && nodes > 3 && random.one_in(4) {
        // A ring with some chords: always in one piece.
        let mut pairs: Vec<(u16, u16)> = (1..nodes).map(|number| (number, number + 1)).collect();
        pairs.push((1, nodes));
        for _ in 0..random.range(0, 4) {
            let chord = (random.range(1, nodes.into()) as u16, random.range(1, nodes.into()) as u16);
            if chord.0 != chord.1 {
                pairs.push(chord);
            }
        }
        plan.allowed = Some(pairs);
    }
    plan
}

fn any(world: &mut World) -> NodeNumber {
    let numbers = world.numbers();
    *world.random.pick(&numbers)
}

fn any_live(world: &mut World) -> NodeNumber {
    let live = world.live();
    if live.is_empty() { any(world) } else { *world.random.pick(&live) }
}

fn any_session(world: &mut World) -> SessionId {
    session(world.random.range(1, 6) as u8)
}

fn fault(world: &mut World, attach_seq: &mut u64) {
    let at = any_live(world);
    match world.random.range(0, 16) {
        0..6 => {
            let kind = *world.random.pick(&[
                MemberKind::Active,
                MemberKind::Active,
                MemberKind::Active,
                MemberKind::Standby,
                MemberKind::Lobby,
            ]);
            *attach_seq += 1;
            let (id, number) = (any_session(world), world.random.range(1, 9) as u16);
            let ready = world.random.one_in(3);
            world.attach(at, id, entry(number, kind, *attach_seq), ready);
        }
        6..8 => {
            let attached: Vec<(SessionId, SenderNumber)> =
                world.hosts[&at].attached.keys().copied().collect();
            if !attached.is_empty() {
                let (id, number) = *world.random.pick(&attached);
                world.detach(at, id, number);
            }
        }
        8..10 => {
            if world.live().len() > 1 {
                world.kill(at);
            }
        }
        10..12 => {
            let at = any(world);
            if world.hosts[&at].node.is_none() {
                if world.random.one_in(4) {
                    // Its restart counter is lost.
                    world.hosts.get_mut(&at).unwrap().incarnation = 0;
                }
                world.start(at);
            }
        }
        12 => {
            let side: Vec<NodeNumber> =
                world.numbers().into_iter().filter(|_| world.random.one_in(2)).collect();
            world.partition(&side);
        }
        13 => world.heal(),
        14 => {
            let (a, b) = (any(world), any(world));
            if a != b {
                if world.random.one_in(2) { world.reset(a, b) } else { world.set_cut(a, b, true) }
            }
        }
        _ => {
            let within = Duration::from_secs(world.random.range(1, 20));
            world.input(at, Input::Drain { within });
            if world.random.one_in(2) {
                let wait = world.random.range(0, 3_000);
                world.run_for(Duration::from_millis(wait));
                world.input(at, Input::Undrain);
            }
        }
    }
}

fn send_from_somewhere(world: &mut World) {
    let (from, id) = (any_live(world), any_session(world));
    if world.carries(from, id) {
        world.send_packet(from, id);
    }
}

/// Property 5: a node dies; no other node's endpoints are asked to do anything.
fn only_their_own_move(world: &mut World) {
    if world.live().len() < 3 {
        return;
    }
    let gone = any_live(world);
    let own = |world: &World, number: NodeNumber| -> Vec<_> {
        let node = world.hosts[&number].node.as_ref().unwrap();
        let entries = |id: u8| node.own_membership(session(id)).map(|own| own.body.entries.clone());
        (1..6).map(entries).collect()
    };
    // What was attached a moment ago has been signed by now.
    world.run_for(Duration::from_millis(10));
    let others: Vec<NodeNumber> = world.live().into_iter().filter(|other| *other != gone).collect();
    let before: Vec<_> = others.iter().map(|other| own(world, *other)).collect();
    world.kill(gone);
    world.run_for(Duration::from_secs(8));
    let after: Vec<_> = others.iter().map(|other| own(world, *other)).collect();
    assert_eq!(before, after, "seed {}: endpoints of other nodes moved when {gone} died", world.plan.seed);
}

/// A mesh of 60 nodes with few links comes up, loses a tenth of its nodes at once, and agrees again.
#[test]
fn sixty_nodes() {
    let plan = Plan { links_max: 8, latency_us: (1_000, 30_000), ..Plan::new(3_000, 60) };
    let mut world = World::new(plan);
    for number in world.numbers() {
        world.start(number);
        world.run_for(Duration::from_millis(50));
    }
    world.run_for(Duration::from_secs(60));
    world.settle();
    for number in [3, 4, 5, 30, 44, 60] {
        world.kill(node(number));
    }
    for id in 1..=5 {
        for carrier in [1, 12, 23, 34, 45, 56] {
            world.attach(node(carrier), session(id), entry(carrier, MemberKind::Active, 1), false);
        }
    }
    world.settle();
    world.check_all_packets();
}
