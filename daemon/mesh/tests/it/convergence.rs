//! Roster, link state and routes, from an empty mesh to one that fails.

use std::time::Duration;

use sealcast_mesh::CloseReason;

use crate::world::{Plan, World, node};

/// [LSA-1], [LSA-4], [LSA-9]: nodes that know two seeds find each other, and agree.
#[test]
fn a_mesh_comes_up() {
    let mut world = World::started(Plan::new(1, 7));
    world.settle();
    assert_eq!(world.groups().len(), 1);
    for number in world.numbers() {
        let node = world.node(number.value());
        assert_eq!(node.roster().len(), 7);
        assert_eq!(node.links().count(), 6, "a full mesh below links_max");
        assert_eq!(node.counters().signatures_wrong, 0);
        let measured = |link: sealcast_mesh::link::LinkStatus| link.usable && link.srtt_us.is_some();
        assert!(node.links().all(measured));
    }
}

/// [LNK-2]: a link that was down carries traffic only after it has been up for two seconds.
#[test]
fn a_returning_link_is_held() {
    let mut world = World::started(Plan::new(2, 3));
    world.settle();
    world.reset(node(1), node(2));
    world.run_for(Duration::from_millis(1));
    assert!(!world.node(1).snapshot().up().contains(&node(2)));
    let carries = |world: &World| world.node(1).snapshot().up().contains(&node(2));
    let mut up_at = None;
    for _ in 0..200 {
        if up_at.is_none() && world.trunks.contains_key(&(node(1), node(2))) {
            up_at = Some(world.now);
        }
        if carries(&world) {
            break;
        }
        world.run_for(Duration::from_millis(10));
    }
    let held = world.now.since(up_at.expect("it was dialled again"));
    assert!((Duration::from_millis(1_900)..Duration::from_millis(2_200)).contains(&held), "{held:?}");
    world.settle();
}

/// [LSA-4]: a lost link is told at once, well within the interval of ordinary news; the roster follows.
#[test]
fn a_crash_is_known_quickly() {
    let mut world = World::started(Plan::new(3, 6));
    world.settle();
    // Ordinary LSAs have just been made, so that the interval would still run.
    world.reset(node(1), node(2));
    world.run_for(Duration::from_secs(9));
    world.kill(node(6));
    world.run_for(Duration::from_millis(700));
    for number in 1..=5 {
        assert!(!world.node(number).roster().contains(&node(6)), "{number}");
    }
    world.settle();
}

/// [LSA-5], [LSA-6]: a node that has lost its restart counter jumps past what the mesh knows of it.
#[test]
fn a_restart_is_believed() {
    for lost_counter in [false, true] {
        let mut world = World::started(Plan::new(4, 4));
        world.settle();
        world.kill(node(3));
        world.run_for(Duration::from_secs(2));
        if lost_counter {
            world.hosts.get_mut(&node(3)).unwrap().incarnation = 0;
        }
        world.start(node(3));
        world.run_for(Duration::from_secs(30));
        world.settle();
        assert_eq!(world.node(1).roster().len(), 4);
        assert_eq!(world.node(3).counters().lsas_jumped > 0, lost_counter);
        assert!(world.hosts.values().all(|host| host.alarms.is_empty()));
    }
}

/// [LSA-8]: both sides of a partition go on; when it heals they become one again.
#[test]
fn partitions_heal() {
    let mut world = World::started(Plan::new(5, 6));
    world.settle();
    world.partition(&[node(1), node(2)]);
    world.run_for(Duration::from_secs(3));
    world.settle();
    assert_eq!(world.groups().len(), 2);
    assert_eq!(world.node(1).roster().len(), 2);
    world.heal();
    world.run_for(Duration::from_secs(15));
    world.settle();
    assert_eq!(world.groups().len(), 1);
    assert_eq!(world.node(1).roster().len(), 6);
}

/// [LSA-7]: news crosses a link once in each direction at most and is verified once: a copy that comes again is known
/// before its signature is looked at.
#[test]
fn duplicates_cost_no_signature() {
    let mut world = World::started(Plan::new(6, 8));
    world.settle();
    for number in 1..=8 {
        let counters = world.node(number).counters();
        assert!(counters.lsas_duplicate > counters.lsas_accepted, "{number}: a full mesh brings many copies");
        assert!(counters.lsas_stale * 10 < counters.lsas_accepted * 10 + 100, "{counters:?}");
    }
}

/// [LNK-3], [LNK-4]: beyond a full mesh each node keeps to its number of links, and all are still one mesh.
#[test]
fn larger_meshes_are_not_full() {
    let plan = Plan { links_max: 6, latency_us: (500, 10_000), ..Plan::new(7, 24) };
    let mut world = World::started(plan);
    world.run_for(Duration::from_secs(60));
    world.settle();
    assert_eq!(world.groups().len(), 1);
    for number in world.numbers() {
        let links = world.node(number.value()).links().count();
        assert!((4..=10).contains(&links), "{number} has {links} links");
    }
    // What is too much goes, one in a minute, and nothing else is closed.
    world.run_for(Duration::from_secs(600));
    for (number, host) in &world.hosts {
        let links = host.node.as_ref().unwrap().links().count();
        assert!(links <= 7, "{number} has {links} links");
        let benign = |reason: &CloseReason| matches!(reason, CloseReason::Surplus | CloseReason::TooMany);
        assert!(host.closed.iter().all(|(_, reason)| benign(reason)), "{:?}", host.closed);
    }
    world.settle();
}

/// [SPF-3]: however much happens, routes are computed at most once in the hold time.
#[test]
fn routes_are_not_computed_too_often() {
    let mut world = World::started(Plan::new(8, 8));
    world.settle();
    let before = world.node(1).counters().spf_runs;
    for round in 0..20u16 {
        world.reset(node(2 + round % 3), node(5 + round % 4));
        world.run_for(Duration::from_millis(250));
    }
    let runs = world.node(1).counters().spf_runs - before;
    assert!(runs <= 21, "{runs} computations in five seconds");
}

/// [LSA-5], [SPF-3]: link state that is only made anew is passed on and moves nothing: no routes are computed for it.
#[test]
fn renewed_link_state_moves_nothing() {
    let mut world = World::started(Plan::new(8, 6));
    world.run_for(Duration::from_secs(100));
    let sum = |world: &World, count: fn(&sealcast_mesh::Counters) -> u64| -> u64 {
        world.numbers().iter().map(|number| count(world.node(number.value()).counters())).sum()
    };
    let (made, accepted) = (sum(&world, |all| all.lsas_made), sum(&world, |all| all.lsas_accepted));
    let runs = sum(&world, |all| all.spf_runs);
    world.run_for(Duration::from_secs(600));
    let made = sum(&world, |all| all.lsas_made) - made;
    assert!(made >= 6, "{made}: each node makes its own anew within ten minutes");
    assert!(sum(&world, |all| all.lsas_accepted) - accepted >= 5 * made, "all hear of it");
    // A round trip that drifts is news; those of this seed do so for few.
    let runs = sum(&world, |all| all.spf_runs) - runs;
    assert!(runs <= 6 * (made - 6), "{runs} computations for {made} LSAs");
}

/// Equal seeds, equal traces; other seeds, other traces.
#[test]
fn runs_repeat() {
    let trace = |seed| {
        let mut world = World::started(Plan::new(seed, 5));
        world.kill(node(2));
        world.run_for(Duration::from_secs(10));
        (world.trace, world.messages)
    };
    assert_eq!(trace(9), trace(9));
    assert_ne!(trace(9), trace(10));
}
