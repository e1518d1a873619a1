//! Draining: a node leaves, and nobody notices.

use std::time::Duration;

use proto_spec::lsa::DrainState;
use proto_spec::membership::MemberKind;
use sealcast_mesh::Input;

use crate::world::{Plan, World, entry, node, session};

/// [DRN-1], [MBR-10]: endpoints move make-before-break; packets sent all the while reach every member's node at least
/// once; then the node may stop.
#[test]
fn endpoints_move_without_a_gap() {
    let mut world = World::started(Plan::new(71, 6));
    world.attach(node(1), session(1), entry(1, MemberKind::Active, 1), false);
    world.attach(node(2), session(1), entry(2, MemberKind::Active, 1), false);
    world.settle();
    world.input(node(1), Input::Drain { within: Duration::from_secs(60) });
    assert_eq!(world.host(1).drain, DrainState::Draining);
    world.attach(node(3), session(1), entry(1, MemberKind::Active, 2), true);
    let mut sent = Vec::new();
    while world.host(3).ready.is_empty() {
        sent.push(world.send_packet(node(2), session(1)));
        world.run_for(Duration::from_millis(5));
        assert!(world.now.since(world.changed_at) < Duration::from_secs(5), "never ready");
    }
    assert!(world.host(3).ready[0].3);
    sent.push(world.send_packet(node(2), session(1)));
    world.run_for(Duration::from_millis(200));
    let number = entry(1, MemberKind::Active, 2).number;
    world.detach(node(1), session(1), number);
    for _ in 0..50 {
        sent.push(world.send_packet(node(2), session(1)));
        world.run_for(Duration::from_millis(20));
    }
    for id in sent {
        let delivered = &world.packets[&id].delivered;
        assert!(delivered.contains_key(&node(1)) || delivered.contains_key(&node(3)), "packet {id} was lost");
    }
    world.run_for(Duration::from_secs(12));
    assert_eq!(world.host(1).drain, DrainState::Drained);
    assert!(world.host(1).may_stop);
    world.kill(node(1));
    world.settle();
    world.check_all_packets();
}

/// [DRN-2]: a home that drains hands over what it holds before it goes; sessions whose both homes drain at once keep
/// their members.
#[test]
fn homes_are_handed_over() {
    let mut world = World::started(Plan::new(72, 7));
    for id in 1..=12 {
        for carrier in [1, 2] {
            world.attach(node(carrier), session(id), entry(carrier, MemberKind::Active, 1), false);
        }
    }
    world.settle();
    for leaving in [4, 5, 6] {
        world.input(node(leaving), Input::Drain { within: Duration::from_secs(60) });
    }
    world.run_for(Duration::from_secs(20));
    for leaving in [4, 5, 6] {
        assert!(world.host(leaving).may_stop, "{leaving} had nobody and only homes to hand over");
        world.kill(node(leaving));
    }
    world.settle();
    world.attach(node(3), session(5), entry(9, MemberKind::Active, 1), true);
    world.settle();
    assert_eq!(world.host(3).views[&session(5)].egress, [node(1), node(2)]);
}

/// [DRN-3], [SPF-5]: a transit node that drains carries on until the ways lead around it: no packet is lost.
#[test]
fn transit_moves_away_first() {
    let square = vec![(1, 2), (2, 4), (1, 3), (3, 4)];
    for seed in 73..78 {
        let mut world = World::started(Plan { allowed: Some(square.clone()), ..Plan::new(seed, 4) });
        world.attach(node(1), session(1), entry(1, MemberKind::Active, 1), false);
        world.attach(node(4), session(1), entry(2, MemberKind::Active, 1), false);
        world.settle();
        let transit = world.node(1).snapshot().routes().get(node(4)).unwrap().next_hop;
        world.input(transit, Input::Drain { within: Duration::from_secs(60) });
        let mut sent = Vec::new();
        while !world.hosts[&transit].may_stop {
            sent.push(world.send_packet(node(1), session(1)));
            sent.push(world.send_packet(node(4), session(1)));
            world.run_for(Duration::from_millis(10));
            assert!(sent.len() < 4_000, "it never may stop");
        }
        assert_ne!(world.node(1).snapshot().routes().get(node(4)).unwrap().next_hop, transit);
        world.kill(transit);
        sent.push(world.send_packet(node(1), session(1)));
        world.run_for(Duration::from_millis(500));
        for id in sent {
            assert_eq!(world.packets[&id].delivered.len(), 1, "seed {seed}: {:?}", world.packets[&id]);
        }
    }
}

/// [DRN-1]: the deadline ends a drain whose endpoints do not go; undrain takes it back before that.
#[test]
fn deadlines_and_second_thoughts() {
    let mut world = World::started(Plan::new(79, 4));
    world.attach(node(1), session(1), entry(1, MemberKind::Active, 1), false);
    world.settle();
    world.input(node(1), Input::Drain { within: Duration::from_secs(10) });
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.node(2).lsa(node(1)).unwrap().body.drain, DrainState::Draining);
    world.input(node(1), Input::Undrain);
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.node(2).lsa(node(1)).unwrap().body.drain, DrainState::Serving);
    world.input(node(1), Input::Drain { within: Duration::from_secs(10) });
    world.run_for(Duration::from_millis(9_900));
    assert_eq!(world.host(1).drain, DrainState::Draining);
    world.run_for(Duration::from_millis(200));
    assert_eq!(world.host(1).drain, DrainState::Drained);
    world.run_for(Duration::from_secs(11));
    assert!(world.host(1).may_stop);
}
