//! Packets over the mesh: one copy to each node that carries the session, whatever the graph; the backup when a link
//! goes.

use std::time::Duration;

use proto_spec::egress::HOP_LIMIT;
use proto_spec::membership::MemberKind;

use crate::world::{Plan, World, entry, node, session};

/// A world with one session on the given nodes.
fn carried(plan: Plan, carriers: &[u16]) -> World {
    let mut world = World::started(plan);
    for (number, carrier) in carriers.iter().enumerate() {
        world.attach(node(*carrier), session(1), entry(number as u16 + 1, MemberKind::Active, 1), false);
    }
    world.settle();
    world
}

/// [EGR-4], [MBR-8]: in a line of nodes a packet crosses each link once, and nodes in between keep nothing of it.
#[test]
fn one_copy_on_each_link() {
    let line = (1..6).map(|number| (number, number + 1)).collect();
    let plan = Plan { allowed: Some(line), latency_us: (500, 5_000), ..Plan::new(21, 6) };
    let mut world = carried(plan, &[1, 4, 5, 6]);
    let id = world.send_packet(node(1), session(1));
    world.run_for(Duration::from_secs(1));
    let trace = &world.packets[&id];
    assert_eq!(trace.copies, 5, "{trace:?}");
    assert_eq!(trace.delivered.keys().map(|node| node.value()).collect::<Vec<_>>(), [4, 5, 6]);
    assert!(world.node(2).session(session(1)).is_none() && world.node(3).session(session(1)).is_none());
    world.check_all_packets();
}

/// [EGR-6], [SPF-4]: a packet sent after a node on its way died, and before anybody computed new routes, takes the
/// backup and arrives.
#[test]
fn the_backup_carries_at_once() {
    // 1 - 2 - 4 is shorter than 1 - 3 - 4.
    let square = vec![(1, 2), (2, 4), (1, 3), (3, 4)];
    let mut found = 0;
    for seed in 30..40 {
        let plan = Plan { allowed: Some(square.clone()), latency_us: (500, 20_000), ..Plan::new(seed, 4) };
        let mut world = carried(plan, &[1, 4]);
        let route = *world.node(1).snapshot().routes().get(node(4)).unwrap();
        let backup = route.backup.unwrap();
        world.kill(route.next_hop);
        // The connection's reset has just arrived at node 1; link state has not.
        world.run_for(world.latency(node(1), route.next_hop) + Duration::from_micros(1));
        assert!(world.node(1).roster().contains(&node(4)));
        assert_eq!(world.node(1).snapshot().next_hop(node(4), None), Ok(backup));
        let id = world.send_packet(node(1), session(1));
        world.run_for(Duration::from_millis(60));
        found += world.packets[&id].delivered.len();
        // [MBR-12]: the endpoints were told that the path changed.
        assert!(world.host(1).hints.contains(&(session(1), node(4))));
    }
    assert_eq!(found, 10);
}

/// [SPF-2], [EGR-5]: copies form a tree in meshes of many shapes.
#[test]
fn copies_form_trees() {
    for seed in 50..56 {
        let plan = Plan { links_max: 4, latency_us: (1_000, 1_001), ..Plan::new(seed, 14) };
        let mut world = carried(plan, &[1, 3, 5, 8, 9, 11, 14]);
        world.check_all_packets();
    }
}

/// [EGR-3]: routes that contradict each other cannot carry a packet further than its hops.
#[test]
fn loops_end() {
    let mut world = carried(Plan { links_max: 4, ..Plan::new(60, 12) }, &[1, 6, 12]);
    // Packets all the time while the mesh falls apart and heals.
    for round in 0..60u16 {
        if round % 7 == 0 {
            world.partition(&[node(1 + round % 12), node(1 + (round + 5) % 12)]);
        }
        if round % 7 == 4 {
            world.heal();
        }
        for from in [1, 6, 12] {
            world.send_packet(node(from), session(1));
        }
        world.run_for(Duration::from_millis(300));
    }
    world.heal();
    world.run_for(Duration::from_secs(15));
    // At most one copy for each of two destinations on each hop.
    let most = 2 * u32::from(HOP_LIMIT);
    assert!(world.packets.values().all(|trace| trace.copies <= most), "a packet went on and on");
    world.settle();
    world.check_all_packets();
}
