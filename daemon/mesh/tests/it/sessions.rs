//! Memberships, homes, readiness, tombstones, over the whole mesh.

use std::time::Duration;

use proto_spec::lsa::LsaVersion;
use proto_spec::membership::{MemberKind, Membership, MembershipBody, MembershipVersion};
use proto_spec::mesh::{LoadReport, MeshMessage, Routed, RoutedMessage};
use proto_spec::tombstone::{Tombstone, TombstoneBody};
use proto_spec::{AttachSeq, SenderNumber, SessionId, WallTime, Wire};
use sealcast_mesh::home::{HomeCandidate, homes};
use sealcast_mesh::{Input, Node, Output, Verdict, Wired};

use crate::world::{Plan, World, crypto, entry, node, session};

/// A message that arrives at a node from a neighbour, whoever it claims to be from.
fn send(world: &mut World, neighbor: u16, source: u16, to: u16, message: RoutedMessage) {
    let routed = Routed { source: node(source), destination: node(to), hop_limit: 8, message };
    let bytes = MeshMessage::Routed(routed).to_bytes();
    world.input(node(to), Input::Message { from: node(neighbor), bytes: bytes.into() });
}

fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

/// [MBR-4], [MBR-5], [MBR-8]: whoever attaches is known to the session's other nodes within a few round trips.
#[test]
fn members_are_known_quickly() {
    let mut world = World::started(Plan::new(61, 8));
    world.attach(node(2), session(1), entry(1, MemberKind::Active, 1), false);
    world.run_for(Duration::from_millis(500));
    world.attach(node(5), session(1), entry(2, MemberKind::Active, 1), true);
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.disagreement(), None);
    // [MBR-10]
    assert_eq!(world.host(5).ready, [(session(1), number(2), AttachSeq(1), true)]);
    let view = &world.host(2).views[&session(1)];
    assert_eq!((view.members[0].number, view.members[0].node), (number(2), node(5)));
}

/// [MBR-10]: when an attachment is called ready, every node that carries the session sends to it, however far away.
#[test]
fn ready_means_known_everywhere() {
    for seed in 400..430 {
        let mut world = World::started(Plan { latency_us: (500, 120_000), ..Plan::new(seed, 7) });
        for carrier in 1..=4 {
            world.attach(node(carrier), session(1), entry(carrier, MemberKind::Active, 1), false);
        }
        world.settle();
        world.attach(node(5), session(1), entry(5, MemberKind::Active, 1), true);
        while world.host(5).ready.is_empty() {
            world.run_for(Duration::from_millis(1));
            assert!(world.now.since(world.changed_at) < Duration::from_secs(3), "seed {seed}: never ready");
        }
        for carrier in 1..=4 {
            let egress = &world.host(carrier).views[&session(1)].egress;
            assert!(egress.contains(&node(5)), "seed {seed}: {carrier} does not know");
        }
    }
}

/// [MBR-10]: two that attach one after the other at the session's own homes reach each other once both are ready.
#[test]
fn a_home_is_not_ready_by_its_own_word() {
    for seed in 430..450 {
        let mut world = World::started(Plan { latency_us: (500, 120_000), ..Plan::new(seed, 7) });
        let id = session((seed - 420) as u8);
        let homes: Vec<_> = homes(id, &candidates(7)).nodes().collect();
        for (at, home) in (1..).zip(&homes) {
            world.attach(*home, id, entry(at, MemberKind::Active, 1), true);
            while world.host(home.value()).ready.is_empty() {
                world.run_for(Duration::from_millis(1));
                assert!(
                    world.now.since(world.changed_at) < Duration::from_secs(3),
                    "seed {seed}: never ready"
                );
            }
        }
        for (here, there) in [(homes[0], homes[1]), (homes[1], homes[0])] {
            let egress = &world.host(here.value()).views[&id].egress;
            assert_eq!(*egress, [there], "seed {seed}: {here} does not know");
        }
    }
}

/// [MBR-8]: standbys and guests are known, and in no egress set.
#[test]
fn standbys_and_guests_are_in_no_egress_set() {
    let mut world = World::started(Plan::new(62, 5));
    world.attach(node(1), session(1), entry(1, MemberKind::Active, 1), false);
    world.attach(node(2), session(1), entry(1, MemberKind::Standby, 2), false);
    world.attach(node(3), session(1), entry(7, MemberKind::Lobby, 1), false);
    world.settle();
    let view = &world.host(1).views[&session(1)];
    assert!(view.egress.is_empty());
    assert_eq!(view.members.len(), 2);
    assert_eq!(
        world.host(2).views[&session(1)].egress,
        [node(1)],
        "a standby's node knows where the session is"
    );
    // The standby takes over when the active one's node dies.
    world.kill(node(1));
    world.attach(node(2), session(1), entry(1, MemberKind::Active, 3), false);
    world.settle();
    assert_eq!(world.host(3).views[&session(1)].egress, [node(2)]);
    assert!(world.host(2).hints.contains(&(session(1), node(1))), "[MBR-12]: its standby was told");
}

/// [MBR-7]: a withdrawal is heard everywhere, and a copy of the membership that comes late does not bring it back.
#[test]
fn withdrawals_stay_withdrawn() {
    let mut world = World::started(Plan::new(63, 5));
    world.attach(node(1), session(1), entry(1, MemberKind::Active, 1), false);
    world.attach(node(2), session(1), entry(2, MemberKind::Active, 1), false);
    world.settle();
    let late = world.node(2).own_membership(session(1)).unwrap().clone();
    world.detach(node(2), session(1), number(2));
    world.settle();
    assert!(world.host(1).views[&session(1)].egress.is_empty());
    let message = RoutedMessage::Memberships { acknowledge: false, memberships: vec![late] };
    send(&mut world, 2, 2, 1, message);
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.disagreement(), None);
}

/// The nodes of a world that may be home.
fn candidates(nodes: u16) -> Vec<HomeCandidate> {
    (1..=nodes).map(|number| HomeCandidate { node: node(number), domain: u32::from(number % 4) }).collect()
}

/// A membership in the name of a node that knows nothing of it.
fn in_the_name_of(world: &World, owner: u16, id: SessionId) -> RoutedMessage {
    let key = world.host(owner).identity.key;
    let version = MembershipVersion { incarnation: 1, sequence: 1 };
    let entries = vec![entry(9, MemberKind::Active, 1)];
    let body = MembershipBody { session: id, node: node(owner), version, entries };
    let signature = crypto::sign(&key, &body.signed_message()).0;
    RoutedMessage::Memberships { acknowledge: false, memberships: vec![Membership { body, signature }] }
}

/// A session whose homes are none of these nodes.
fn session_homed_elsewhere(nodes: u16, not: &[u16]) -> SessionId {
    let fits =
        |id: &SessionId| homes(*id, &candidates(nodes)).nodes().all(|home| !not.contains(&home.value()));
    (1..=255).map(session).find(fits).unwrap()
}

/// [MBR-5]: a home alone brings a membership to the session's other nodes, and theirs to its owner.
#[test]
fn a_home_passes_on() {
    let mut world = World::started(Plan::new(70, 6));
    let id = session_homed_elsewhere(6, &[1, 2, 3]);
    let home = homes(id, &candidates(6)).first.unwrap().value();
    world.attach(node(1), id, entry(1, MemberKind::Active, 1), false);
    world.attach(node(2), id, entry(2, MemberKind::Active, 1), false);
    world.settle();
    // As if node 3 had told this home and nobody else; it will not tell anybody itself.
    let message = in_the_name_of(&world, 3, id);
    send(&mut world, 3, 3, home, message);
    world.run_for(Duration::from_millis(300));
    assert_eq!(world.host(1).views[&id].egress, [node(2), node(3)]);
    assert_eq!(world.host(2).views[&id].egress, [node(1), node(3)]);
    // Node 3 hears of it by a digest, and withdraws what it does not carry.
    world.run_for(Duration::from_secs(15));
    assert_eq!(world.disagreement(), None);
}

/// [DRN-2]: what a home alone knows it hands over before it goes.
#[test]
fn a_home_hands_over_what_it_alone_knows() {
    let mut world = World::started(Plan::new(71, 7));
    let id = session_homed_elsewhere(7, &[1, 2, 3]);
    let home = homes(id, &candidates(7)).first.unwrap();
    let message = in_the_name_of(&world, 3, id);
    send(&mut world, 3, 3, home.value(), message);
    world.run_for(Duration::from_millis(100));
    world.input(home, Input::Drain { within: Duration::from_secs(60) });
    while !world.hosts[&home].may_stop {
        world.run_for(Duration::from_millis(50));
        assert!(world.now.since(world.changed_at) < Duration::from_secs(8), "it never may stop");
    }
    world.kill(home);
    world.attach(node(1), id, entry(1, MemberKind::Active, 1), false);
    world.run_for(Duration::from_millis(500));
    assert_eq!(world.host(1).views[&id].egress, [node(3)]);
}

/// [MBR-6], [MBR-7]: a membership that nobody stands for any more goes after a live home has left it out for half a
/// minute, and not sooner.
#[test]
fn what_a_home_leaves_out_goes() {
    let mut world = World::started(Plan::new(64, 6));
    let id = session_homed_elsewhere(6, &[1, 2, 3]);
    world.attach(node(1), id, entry(1, MemberKind::Active, 1), false);
    world.attach(node(2), id, entry(2, MemberKind::Active, 1), false);
    world.settle();
    // In node 3's name, with a true signature, to node 1 alone: no home has it, and node 3 knows nothing of it.
    let message = in_the_name_of(&world, 3, id);
    send(&mut world, 2, 3, 1, message);
    world.run_for(Duration::from_secs(25));
    assert_eq!(world.host(1).views[&id].egress, [node(2), node(3)]);
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.host(1).views[&id].egress, [node(2)]);
    assert_eq!(world.node(1).counters().memberships_omitted, 1);
}

/// [MBR-3], [MBR-9]: both homes of a session die at once; its nodes find new ones and nobody is forgotten.
#[test]
fn homes_may_die() {
    let mut world = World::started(Plan::new(65, 8));
    let carriers = [2u16, 3, 5];
    for id in 1..=6 {
        for carrier in carriers {
            world.attach(node(carrier), session(id), entry(carrier, MemberKind::Active, 1), false);
        }
    }
    world.settle();
    for gone in [1, 4, 6, 7] {
        world.kill(node(gone));
    }
    world.settle();
    // And what happens now goes through the new homes.
    world.attach(node(8), session(1), entry(20, MemberKind::Active, 1), true);
    world.settle();
    world.run_for(Duration::from_secs(1));
    assert!(world.host(8).ready[0].3);
    world.check_all_packets();
}

/// [MBR-2], [MBR-7]: a node that restarts without its endpoints is corrected everywhere; a home never decides it.
#[test]
fn a_restarted_node_carries_nothing() {
    let mut world = World::started(Plan::new(66, 6));
    for carrier in [1, 2, 3] {
        world.attach(node(carrier), session(1), entry(carrier, MemberKind::Active, 1), false);
    }
    world.settle();
    world.kill(node(3));
    world.run_for(Duration::from_secs(2));
    world.start(node(3));
    world.run_for(Duration::from_secs(45));
    assert_eq!(world.disagreement(), None);
    assert_eq!(world.host(1).views[&session(1)].egress, [node(2)]);
}

/// [MBR-4]: while a membership is checked its node may restart: it is of a process that is no more then.
#[test]
fn a_restart_outlives_what_is_being_checked() {
    let mut world = World::started(Plan::new(70, 3));
    world.attach(node(1), session(1), entry(1, MemberKind::Active, 1), false);
    world.settle();
    let identity = world.host(2).identity.clone();
    let now = world.now_of(node(1));
    let asks = |core: &mut Node, message: MeshMessage| {
        core.handle(now, Input::Message { from: node(2), bytes: message.to_bytes().into() });
        let mut outputs = std::iter::from_fn(|| core.poll_output());
        let asked = outputs.find_map(|output| match output {
            Output::Verify { request, .. } => Some(request),
            _ => None,
        });
        asked.expect("it is worth a check")
    };
    let mut lsa = world.node(1).lsa(node(2)).unwrap().clone();
    let incarnation = lsa.body.version.incarnation;
    let version = MembershipVersion { incarnation, sequence: 99 };
    let entries = vec![entry(2, MemberKind::Active, 1)];
    let body = MembershipBody { session: session(1), node: node(2), version, entries };
    let memberships = vec![Membership { body, signature: [0; 64] }];
    let message = RoutedMessage::Memberships { acknowledge: false, memberships };
    let routed = Routed { source: node(2), destination: node(1), hop_limit: 1, message };
    lsa.body.version = LsaVersion { incarnation: incarnation + 1, sequence: 1, instance: 7 };

    for restarts in [false, true] {
        let mut core = world.node(1).clone();
        let membership = asks(&mut core, MeshMessage::Routed(routed.clone()));
        if restarts {
            let request = asks(&mut core, MeshMessage::Lsa(lsa.clone()));
            let verdict = Verdict::Signer(crypto::signer(&identity));
            core.handle(now, Input::Verdict { request, verdict });
        }
        core.handle(now, Input::Verdict { request: membership, verdict: Verdict::Valid });
        assert_eq!(core.session(session(1)).unwrap().members.is_empty(), restarts);
    }
}

/// Property 5: a node's death changes no other node's membership.
#[test]
fn only_the_dead_nodes_endpoints_move() {
    let mut world = World::started(Plan::new(67, 7));
    for id in 1..=5 {
        for carrier in 1..=4u16 {
            world.attach(node(carrier), session(id), entry(carrier, MemberKind::Active, 1), false);
        }
    }
    world.settle();
    let entries = |world: &World, carrier: u16, id: u8| {
        world.node(carrier).own_membership(session(id)).map(|membership| membership.body.entries.clone())
    };
    let before: Vec<_> = (2..=4).flat_map(|carrier| (1..=5).map(move |id| (carrier, id))).collect();
    let was: Vec<_> = before.iter().map(|(carrier, id)| entries(&world, *carrier, *id)).collect();
    world.kill(node(1));
    world.settle();
    let now: Vec<_> = before.iter().map(|(carrier, id)| entries(&world, *carrier, *id)).collect();
    assert_eq!(was, now);
    world.check_all_packets();
}

/// [MBR-11]: a tombstone reaches every node that carries the session, also one that was away; a forged one none.
#[test]
fn tombstones_reach_everybody() {
    let mut world = World::started(Plan::new(68, 7));
    for carrier in [2, 3, 6] {
        world.attach(node(carrier), session(1), entry(carrier, MemberKind::Active, 1), false);
    }
    world.settle();
    let tombstone = |number: Option<SenderNumber>, signed: bool| {
        let body = TombstoneBody {
            mesh: "test".into(),
            session: session(1),
            number,
            issued: WallTime(0),
            keep_until: WallTime(u64::MAX / 2),
            broker: [0; 32],
        };
        let signature = if signed { crypto::sign(&crypto::CA, &body.signed_message()).0 } else { [0; 64] };
        Wired(Tombstone { body, signature })
    };
    world.partition(&[node(6)]);
    world.run_for(Duration::from_secs(2));
    world.input(node(4), Input::Tombstone(tombstone(Some(number(3)), true)));
    world.run_for(Duration::from_secs(3));
    assert_eq!([2, 3, 6].map(|carrier| world.host(carrier).tombstones), [1, 1, 0]);
    world.heal();
    world.run_for(Duration::from_secs(40));
    assert_eq!([2, 3, 6].map(|carrier| world.host(carrier).tombstones), [1, 1, 1]);
    send(&mut world, 3, 4, 2, RoutedMessage::Tombstone(tombstone(None, false).0));
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.host(2).tombstones, 1);
    assert_eq!(world.node(2).counters().signatures_wrong, 1);
}

/// [MCU-1], [MCU-3]: load reports reach every broker, over several hops, and nobody else.
#[test]
fn load_reaches_the_brokers() {
    let line = (1..6).map(|number| (number, number + 1)).collect();
    let plan = Plan { allowed: Some(line), brokers: vec![1, 5], ..Plan::new(69, 6) };
    let mut world = World::started(plan);
    world.settle();
    let report = LoadReport { sequence: 42, attachments: 7, capacity: 10, ..LoadReport::default() };
    world.input(node(4), Input::Load(report));
    world.run_for(Duration::from_secs(1));
    for number in 1..=6 {
        let heard = world.host(number).loads.get(&node(4)).copied();
        assert_eq!(heard, [1, 5].contains(&number).then_some(42), "{number}");
    }
    assert!(world.node(3).counters().unicast_forwarded > 0);
}
