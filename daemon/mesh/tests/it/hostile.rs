//! What misbehaving, cloned, revoked and confused nodes can do: nothing, or little, and it is named.

use std::time::Duration;

use proto_spec::lsa::{DrainState, Lsa, LsaBody, LsaVersion, Roles};
use proto_spec::membership::{MemberKind, Membership, MembershipBody, MembershipVersion};
use proto_spec::mesh::{Chain, ChainKind, MeshMessage, Revocations, Routed, RoutedMessage};
use proto_spec::{WallTime, Wire};
use sealcast_mesh::config::{CLOCKS_MAX, LINK_FAULTS_MAX, LINK_HOLD, LSA_ACCEPT_BURST, REVOKED_WORD_WAIT};
use sealcast_mesh::{Alarm, CloseReason, Identity, Input, Signer, Wired};
use sha2::{Digest as _, Sha256};

use crate::world::{Plan, World, crypto, entry, node, session};

fn chain(identity: &Identity) -> Chain {
    Chain { kind: ChainKind::Node, certificates: identity.chain.clone() }
}

/// An LSA as a node with this identity would make it.
fn lsa(world: &World, identity: &Identity, version: LsaVersion) -> Lsa {
    let body = LsaBody {
        node: identity.node,
        version,
        issued: world.now_of(node(1)).wall,
        chain: Sha256::digest(chain(identity).to_bytes()).into(),
        roles: Roles::default(),
        drain: DrainState::Serving,
        capacity: 0,
        wire_min: 1,
        wire_max: 1,
        software: "hostile".into(),
        region: String::new(),
        failure_domain: String::new(),
        addresses: vec!["elsewhere:8200".into()],
        trunk_addresses: Vec::new(),
        links: Vec::new(),
    };
    let signature = crypto::sign(&identity.key, &body.signed_message()).0;
    Lsa { body, signature }
}

fn hand(world: &mut World, from: u16, to: u16, message: &MeshMessage) {
    world.input(node(to), Input::Message { from: node(from), bytes: message.to_bytes().into() });
}

fn version(incarnation: u64, sequence: u64, instance: u64) -> LsaVersion {
    LsaVersion { incarnation, sequence, instance }
}

/// A world of six, and a valid identity that runs nowhere.
fn world(seed: u64) -> (World, Identity) {
    let mut world = World::started(Plan::new(seed, 6));
    world.settle();
    (world, crypto::identity(node(99), 99, WallTime(1_699_000_000_000)))
}

/// Node 1 without any other, and the second, which could be its neighbour.
fn lonely() -> (World, Signer) {
    let mut world = World::new(Plan::new(113, 3));
    world.start(node(1));
    let other = crypto::signer(&world.host(2).identity);
    (world, other)
}

/// [LSA-13]: ten thousand valid LSAs of one node in ten seconds: few are passed on, and everybody else's news keeps its
/// limit.
#[test]
fn a_storm_is_bounded() {
    let (mut world, stranger) = world(101);
    stranger_joins(&mut world, &stranger);
    let before: Vec<u64> = (1..=6).map(|number| world.node(number).counters().lsas_accepted).collect();
    for sequence in 0..10_000 {
        let storm = MeshMessage::Lsa(lsa(&world, &stranger, version(2, sequence, 5)));
        hand(&mut world, 3, 2, &storm);
        if sequence == 5_000 {
            world.kill(node(6));
        }
        world.run_for(Duration::from_millis(1));
    }
    let roster_without_6 = (1..=5).all(|number| !world.node(number).roster().contains(&node(6)));
    assert!(roster_without_6, "news was held up");
    let after: Vec<u64> = (1..=5).map(|number| world.node(number).counters().lsas_accepted).collect();
    for (before, after) in before.iter().zip(after) {
        let bound = u64::from(LSA_ACCEPT_BURST) + 11 + 30;
        assert!(after - before <= bound, "{} of 10000 were accepted", after - before);
    }
    world.run_for(Duration::from_secs(15));
    let newest = world.node(5).lsa(node(99)).unwrap().body.version;
    assert_eq!(newest, version(2, 9_999, 5), "the last one arrives in the end");
}

fn stranger_joins(world: &mut World, stranger: &Identity) {
    hand(world, 3, 2, &MeshMessage::Chain(chain(stranger)));
    let first = MeshMessage::Lsa(lsa(world, stranger, version(1, 1, 5)));
    hand(world, 3, 2, &first);
    world.run_for(Duration::from_secs(2));
    assert!(world.node(5).lsa(node(99)).is_some(), "a valid LSA is flooded");
}

/// [LSA-3]: a forged LSA changes nothing, and who sends many loses the link.
#[test]
fn forgeries_end_the_link() {
    let (mut world, _) = world(102);
    let victim = world.host(4).identity.clone();
    let mut forged = lsa(&world, &victim, version(99, 1, 1));
    forged.signature = [9; 64];
    let before = world.node(2).lsdb_versions();
    for sequence in 1..=u64::from(LINK_FAULTS_MAX) {
        assert!(world.host(2).closed.is_empty());
        forged.body.version.sequence = sequence;
        hand(&mut world, 3, 2, &MeshMessage::Lsa(forged.clone()));
        world.run_for(Duration::from_millis(600));
    }
    world.run_for(Duration::from_millis(600));
    assert_eq!(world.host(2).closed, [(node(3), CloseReason::Misbehaved)]);
    assert!(world.host(2).alarms.contains(&Alarm::Misbehaved { node: node(3) }));
    let of_4 = |versions: &[(proto_spec::NodeNumber, LsaVersion)]| versions[3].1.incarnation;
    assert_eq!(of_4(&world.node(2).lsdb_versions()), of_4(&before));
}

/// [CON-5], [MCU-1]: malformed and oversized messages are counted and end the link, nothing else; those of strangers
/// are not looked at.
#[test]
fn malformed_messages_end_the_link() {
    let (mut world, _) = world(103);
    for message in [vec![], vec![0], vec![1], vec![16, 0], vec![4; 70_000]] {
        world.input(node(2), Input::Message { from: node(77), bytes: message.clone().into() });
        world.input(node(2), Input::Message { from: node(3), bytes: message.into() });
    }
    assert_eq!(world.node(2).counters().messages_unlinked, 5);
    assert_eq!(world.node(2).counters().messages_malformed, 5);
    for _ in 5..LINK_FAULTS_MAX {
        world.input(node(2), Input::Message { from: node(3), bytes: vec![0xff].into() });
    }
    assert_eq!(world.host(2).closed, [(node(3), CloseReason::Misbehaved)]);
    world.run_for(Duration::from_secs(20));
    world.settle();
}

/// [LSA-2], [LSA-5]: replayed and stale LSAs are no news; one from too long ago, or from an hour ahead, is none either.
#[test]
fn replays_are_no_news() {
    let (mut world, stranger) = world(104);
    let old = world.node(2).lsa(node(4)).unwrap().clone();
    world.reset(node(4), node(5));
    world.run_for(Duration::from_secs(10));
    let newer = world.node(2).lsa(node(4)).unwrap().body.version;
    hand(&mut world, 3, 2, &MeshMessage::Lsa(old));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.node(2).lsa(node(4)).unwrap().body.version, newer);
    hand(&mut world, 3, 2, &MeshMessage::Chain(chain(&stranger)));
    for shift_ms in [-3_600_000, 3_600_000] {
        let mut wrong = lsa(&world, &stranger, version(1, 1, 5));
        wrong.body.issued = WallTime(wrong.body.issued.0.saturating_add_signed(shift_ms));
        wrong.signature = crypto::sign(&stranger.key, &wrong.body.signed_message()).0;
        hand(&mut world, 3, 2, &MeshMessage::Lsa(wrong));
        world.run_for(Duration::from_secs(1));
        assert!(world.node(2).lsa(node(99)).is_none());
    }
}

/// [LSA-11]: a newer certificate for a number in use takes it over everywhere; the older node is told, says nothing
/// more and is refused as a neighbour; the alarm names both certificates.
#[test]
fn a_number_has_one_owner() {
    let (mut world, _) = world(105);
    let old = world.host(4).identity.clone();
    let new = crypto::identity(node(4), 400, WallTime(old.issued.0 + 500));
    hand(&mut world, 3, 2, &MeshMessage::Chain(chain(&new)));
    let claim = MeshMessage::Lsa(lsa(&world, &new, version(1, 1, 5)));
    hand(&mut world, 3, 2, &claim);
    world.run_for(Duration::from_secs(20));
    let alarm = Alarm::NumberInUse { node: node(4), kept: new.certificate, refused: old.certificate };
    for number in 1..=6 {
        assert!(world.host(number).alarms.contains(&alarm), "{number}: {:?}", world.host(number).alarms);
    }
    for number in [1, 2, 3, 5, 6] {
        assert_eq!(world.node(number).lsa(node(4)).unwrap().body.software, "hostile");
        assert!(!world.node(number).roster().contains(&node(4)));
    }
    // An older certificate for another number in use gets nowhere.
    let older = crypto::identity(node(5), 500, WallTime(1));
    hand(&mut world, 3, 2, &MeshMessage::Chain(chain(&older)));
    let claim = MeshMessage::Lsa(lsa(&world, &older, version(9, 9, 5)));
    hand(&mut world, 3, 2, &claim);
    world.run_for(Duration::from_secs(5));
    assert!(world.node(2).roster().contains(&node(5)));
    assert_eq!(world.node(1).lsa(node(5)).unwrap().body.software, "test");
}

/// [LSA-12], [LSA-6]: a copied state folder, running twice: both are left out by everybody, and the alarm names where
/// each is reached.
#[test]
fn clones_are_quarantined() {
    let (mut world, _) = world(106);
    let identity = world.host(4).identity.clone();
    for round in 1..=6 {
        // The clone is a neighbour of all of them, and always knows better than what it hears.
        let newest =
            (1..=6).map(|number| world.node(number).lsa(node(4)).unwrap().body.version).max().unwrap();
        let clone = lsa(&world, &identity, version(newest.incarnation + 1, 1, 555));
        for (from, to) in [(3, 2), (1, 3), (2, 1), (6, 5), (5, 6)] {
            hand(&mut world, from, to, &MeshMessage::Lsa(clone.clone()));
        }
        world.run_for(Duration::from_secs(2 + round));
    }
    world.run_for(Duration::from_secs(10));
    for number in [1, 2, 3, 5, 6] {
        assert!(!world.node(number).roster().contains(&node(4)), "{number}");
        let named = world.host(number).alarms.iter().any(|alarm| match alarm {
            Alarm::Cloned { node: cloned, addresses, other_addresses } => {
                let mut both = [addresses[0].as_str(), other_addresses[0].as_str()];
                both.sort_unstable();
                *cloned == node(4) && both == ["elsewhere:8200", "node-4:8200"]
            }
            _ => false,
        });
        assert!(named, "{number}: {:?}", world.host(number).alarms);
    }
}

/// [LSA-10]: a revocation reaches every node within five seconds; the revoked node is out and its links are closed.
#[test]
fn revocation_is_quick() {
    let (mut world, _) = world(107);
    let revoked = world.host(4).identity.certificate;
    let list = Wired(Revocations { number: 7, list: revoked.to_vec() });
    world.input(node(1), Input::Revocations { list, revoked: [revoked].into() });
    world.run_for(Duration::from_secs(5));
    for number in [2, 3, 5, 6] {
        assert_eq!(world.host(number).revocations, 7);
        assert!(!world.node(number).roster().contains(&node(4)));
        assert!(world.host(number).closed.contains(&(node(4), CloseReason::Revoked)));
    }
    // It stays out, however often it knocks; an older list changes nothing.
    let empty = Wired(Revocations { number: 6, list: Vec::new() });
    world.input(node(2), Input::Revocations { list: empty, revoked: Default::default() });
    world.run_for(Duration::from_secs(30));
    assert!(!world.node(1).roster().contains(&node(4)));
    assert!(!world.node(2).roster().contains(&node(4)));
}

/// [LSA-14]: a node that the list names leaves at once, also out of a drain that had more time, and stays out; it says so
/// once.
#[test]
fn a_revoked_node_leaves_at_once() {
    for drains in [false, true] {
        let (mut world, _) = world(109);
        if drains {
            world.input(
                node(4),
                Input::Attached { session: session(1), entry: entry(1, MemberKind::Active, 1), ready: false },
            );
            world.input(node(4), Input::Drain { within: Duration::from_secs(600) });
        }
        let revoked = world.host(4).identity.certificate;
        let list = |number| Wired(Revocations { number, list: revoked.to_vec() });
        world.input(node(1), Input::Revocations { list: list(7), revoked: [revoked].into() });
        world.run_for(Duration::from_secs(5));
        assert_eq!(world.host(4).drain, DrainState::Drained);
        world.input(node(4), Input::Undrain);
        world.input(node(4), Input::Revocations { list: list(8), revoked: [revoked].into() });
        world.run_for(Duration::from_secs(5));
        assert_eq!(world.host(4).drain, DrainState::Drained);
        assert_eq!(world.host(4).alarms, [Alarm::Revoked { node: node(4), certificate: revoked, by: None }]);
        assert_eq!(world.host(1).drain, DrainState::Serving);
    }
}

/// [LSA-15]: by another node's word a node without links leaves after five seconds, not before, and says by whose; a list
/// that comes later says nothing new.
#[test]
fn a_node_that_is_refused_as_revoked_and_has_no_link_leaves() {
    let mut world = lonely().0;
    world.input(node(1), Input::CalledRevoked { by: node(2) });
    world.run_for(REVOKED_WORD_WAIT - Duration::from_millis(1));
    // Said again, the wait does not begin anew.
    world.input(node(1), Input::CalledRevoked { by: node(3) });
    assert_eq!(world.host(1).drain, DrainState::Serving);
    world.run_for(Duration::from_millis(1));
    assert_eq!(world.host(1).drain, DrainState::Drained);
    let revoked = world.host(1).identity.certificate;
    world.input(node(1), Input::Undrain);
    let list = Wired(Revocations { number: 7, list: revoked.to_vec() });
    world.input(node(1), Input::Revocations { list, revoked: [revoked].into() });
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.host(1).drain, DrainState::Drained);
    assert_eq!(
        world.host(1).alarms,
        [Alarm::Revoked { node: node(1), certificate: revoked, by: Some(node(2)) }]
    );
}

/// [LSA-15]: a link that carries traffic speaks against the word; one that is closed before it does, does not.
#[test]
fn a_link_clears_the_word_that_a_certificate_is_revoked() {
    let (mut world, other) = lonely();
    let up = || Input::LinkUp { peer: other };
    let down = || Input::LinkDown { peer: other.node };
    world.input(node(1), Input::CalledRevoked { by: node(3) });
    world.run_for(REVOKED_WORD_WAIT - Duration::from_millis(1));
    world.input(node(1), up());
    world.input(node(1), down());
    world.run_for(REVOKED_WORD_WAIT);
    assert_eq!(world.host(1).drain, DrainState::Serving, "cleared by a link, although it is gone again");

    world.input(node(1), up());
    world.run_for(LINK_HOLD);
    world.input(node(1), Input::CalledRevoked { by: node(3) });
    world.input(node(1), down());
    world.run_for(2 * REVOKED_WORD_WAIT);
    assert_eq!(world.host(1).drain, DrainState::Serving, "a node with a link does not listen");

    world.input(node(1), Input::CalledRevoked { by: node(3) });
    world.run_for(REVOKED_WORD_WAIT - LINK_HOLD);
    world.input(node(1), up());
    world.run_for(LINK_HOLD - Duration::from_millis(1));
    world.input(node(1), down());
    assert_eq!(world.host(1).drain, DrainState::Serving);
    world.run_for(Duration::from_millis(1));
    assert_eq!(world.host(1).drain, DrainState::Drained, "the link was held until it went");
}

/// [LSA-9]: a broker's chain reaches every node, also one that joins later.
#[test]
fn broker_chains_reach_everybody() {
    let (mut world, _) = world(108);
    world.kill(node(6));
    let chain = Chain { kind: ChainKind::Broker, certificates: vec![b"broker".to_vec()] };
    world.input(node(1), Input::BrokerChain(Wired(chain)));
    let foreign = Chain { kind: ChainKind::Broker, certificates: vec![b"other".to_vec()] };
    hand(&mut world, 3, 2, &MeshMessage::Chain(foreign));
    world.run_for(Duration::from_secs(2));
    assert!((2..=5).all(|number| world.host(number).broker_chains == 1));
    world.start(node(6));
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.host(6).broker_chains, 1);
}

/// [MBR-1], [MBR-4]: memberships of unknown nodes, with wrong signatures or of too many nodes have no effect.
#[test]
fn false_memberships_have_no_effect() {
    let (mut world, _) = world(109);
    world.attach(node(1), session(1), entry(1, MemberKind::Active, 1), false);
    world.settle();
    let mut hand = |owner: u16, key: [u8; 32]| {
        let version = MembershipVersion { incarnation: 9, sequence: 9 };
        let entries = vec![entry(5, MemberKind::Active, 1)];
        let body = MembershipBody { session: session(1), node: node(owner), version, entries };
        let signature = crypto::sign(&key, &body.signed_message()).0;
        let memberships = vec![Membership { body, signature }];
        let message = RoutedMessage::Memberships { acknowledge: false, memberships };
        let routed = Routed { source: node(owner), destination: node(1), hop_limit: 8, message };
        let bytes = MeshMessage::Routed(routed).to_bytes();
        world.input(node(1), Input::Message { from: node(3), bytes: bytes.into() });
    };
    hand(77, [0; 32]);
    hand(4, [0; 32]);
    hand(1, [0; 32]);
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.disagreement(), None);
    let counters = world.node(1).counters();
    assert_eq!((counters.memberships_refused, counters.signatures_wrong), (1, 1));
}

/// [LSA-11]: what was said under a number is void once it belongs to another key, and so is what is being checked then.
#[test]
fn memberships_end_with_the_key_that_signed_them() {
    let (mut world, _) = world(111);
    let old = world.host(4).identity.clone();
    for (session_number, carrier) in [(1, 4), (1, 2), (2, 2)] {
        let member = entry(carrier, MemberKind::Active, 1);
        world.attach(node(carrier), session(session_number), member, false);
    }
    world.settle();
    assert!(world.node(2).session(session(1)).unwrap().egress.contains(&node(4)));

    let new = crypto::identity(node(4), 400, WallTime(old.issued.0 + 500));
    hand(&mut world, 3, 2, &MeshMessage::Chain(chain(&new)));
    // At its check when the number passes on.
    let version = MembershipVersion { incarnation: 9, sequence: 1 };
    let entries = vec![entry(7, MemberKind::Active, 1)];
    let body = MembershipBody { session: session(2), node: node(4), version, entries };
    let signature = crypto::sign(&old.key, &body.signed_message()).0;
    let claim = MeshMessage::Lsa(lsa(&world, &new, self::version(1, 1, 5)));
    hand(&mut world, 3, 2, &claim);
    let memberships = vec![Membership { body, signature }];
    let message = RoutedMessage::Memberships { acknowledge: false, memberships };
    let routed = Routed { source: node(4), destination: node(2), hop_limit: 8, message };
    hand(&mut world, 3, 2, &MeshMessage::Routed(routed));
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.node(2).lsa(node(4)).unwrap().body.software, "hostile");
    for id in [1, 2] {
        let view = world.node(2).session(session(id)).unwrap();
        assert!(!view.members.iter().any(|member| member.node == node(4)), "session {id}: {view:?}");
    }
}

/// [MCU-2]: a message whose hops run out ends; one for an unknown node too.
#[test]
fn messages_do_not_wander() {
    let (mut world, _) = world(110);
    for (destination, hop_limit) in [(5, 0), (5, 8), (77, 8)] {
        let message = RoutedMessage::Load(Default::default());
        let routed = Routed { source: node(3), destination: node(destination), hop_limit, message };
        hand(&mut world, 3, 2, &MeshMessage::Routed(routed));
    }
    let counters = world.node(2).counters();
    assert_eq!(
        (counters.unicast_hop_limit, counters.unicast_unroutable, counters.unicast_forwarded),
        (1, 1, 2)
    );
    world.run_for(Duration::from_secs(1));
    assert!(world.host(5).loads.contains_key(&node(3)));
}

/// A neighbour that sends without end is not listened to beyond its rate.
#[test]
fn a_flood_of_messages_is_shed() {
    let (mut world, _) = world(111);
    let request = MeshMessage::Request([0; 32]).to_bytes();
    for _ in 0..20_000 {
        world.input(node(2), Input::Message { from: node(3), bytes: request.clone().into() });
    }
    assert!(world.node(2).counters().messages_shed > 10_000);
    world.run_for(Duration::from_secs(2));
    world.kill(node(6));
    world.settle();
}

/// [TRK-11]: one clock against one names neither, one against many itself, many against one that one; each alarm is over when
/// the clocks agree, or after ten minutes without a word.
#[test]
fn the_odd_clock_is_named() {
    const APART: i64 = 3_600_000;
    let clock = |peer: u16, offset_ms: i64| Input::Clock { peer: node(peer), offset_ms };
    let alarm =
        |odd: Option<u16>, peer: u16| Alarm::Clock { odd: odd.map(node), peer: node(peer), offset_ms: APART };
    let (mut world, _) = world(104);
    let links = world.node(2).links().count() as u16;
    world.input(node(2), clock(90, 300_000));
    assert!(world.host(2).alarms.is_empty(), "five minutes are allowed");
    world.input(node(2), clock(90, APART));
    world.input(node(2), clock(90, APART));
    assert_eq!(world.host(2).alarms, [alarm(Some(90), 90)], "said once");
    for peer in 91..=90 + links {
        world.input(node(2), clock(peer, APART));
    }
    assert_eq!(world.host(2).alarms.last(), Some(&alarm(None, 90 + links)), "as many on either side");
    world.input(node(2), clock(91 + links, APART));
    let last = &world.host(2).alarms[world.host(2).alarms.len() - usize::from(links) - 2..];
    assert!(
        last.iter().all(|alarm| matches!(alarm, Alarm::Clock { odd, .. } if *odd == Some(node(2)))),
        "{last:?}"
    );
    world.input(node(2), clock(90, 10));
    assert!(
        !world
            .host(2)
            .alarms
            .iter()
            .any(|alarm| matches!(alarm, Alarm::Clock { peer, .. } if *peer == node(90)))
    );
    world.run_for(Duration::from_secs(590));
    assert!(!world.host(2).alarms.is_empty());
    world.run_for(Duration::from_secs(60));
    assert!(world.host(2).alarms.is_empty(), "nobody has spoken of them since");
}

/// [TRK-11]: of two alone neither is named; and no more nodes are remembered than say something.
#[test]
fn clocks_are_bounded_and_two_alone_are_both_named() {
    let mut world = World::new(Plan::new(112, 2));
    world.start(node(1));
    let clock = |peer: u16| Input::Clock { peer: node(peer), offset_ms: -3_600_000 };
    world.input(node(1), clock(2));
    assert_eq!(world.host(1).alarms, [Alarm::Clock { odd: None, peer: node(2), offset_ms: -3_600_000 }]);
    let last = 1 + u16::try_from(CLOCKS_MAX).unwrap();
    (3..=last).for_each(|peer| world.input(node(1), clock(peer)));
    let named = |world: &World, node| {
        world.host(1).alarms.iter().any(|alarm| matches!(alarm, Alarm::Clock { peer, .. } if *peer == node))
    };
    assert!(named(&world, node(last)));
    let before = world.host(1).alarms.len();
    world.input(node(1), clock(last + 1));
    assert_eq!((world.host(1).alarms.len(), named(&world, node(last + 1))), (before, false));
    assert_eq!(world.node(1).sizes().exceeded(), None);
}

/// [LSA-16]: a certificate renewed for the same key is known to all soon, without an alarm, a new incarnation or a lost trunk;
/// then the old one may be revoked.
#[test]
fn a_renewed_certificate_takes_over() {
    let (mut world, _) = world(105);
    let before = world.host(4).identity.clone();
    let renewed = crypto::identity(node(4), 4, before.issued.plus(Duration::from_secs(3_600)));
    let incarnation = world.node(1).lsa(node(4)).unwrap().body.version.incarnation;
    assert!(renewed.key == before.key && renewed.certificate != before.certificate);
    world.hosts.get_mut(&node(4)).unwrap().identity = renewed.clone();
    world.input(node(4), Input::Renewed(renewed.clone()));
    world.run_for(Duration::from_secs(12));
    let chain_hash: [u8; 32] = Sha256::digest(chain(&renewed).to_bytes()).into();
    for number in 1..=6 {
        let held = world.node(number).lsa(node(4)).unwrap();
        assert_eq!(held.body.chain, chain_hash, "node {number} has the new one");
        assert_eq!(held.body.version.incarnation, incarnation);
        assert!(world.host(number).alarms.is_empty() && world.host(number).closed.is_empty());
    }

    let list = Revocations { number: 1, list: before.certificate.to_vec() };
    world.input(node(1), Input::Revocations { list: Wired(list), revoked: [before.certificate].into() });
    world.run_for(Duration::from_secs(20));
    world.settle();
    for number in 1..=6 {
        assert!(world.node(number).roster().contains(&node(4)), "node {number} has left it out");
        assert!(world.host(number).alarms.is_empty(), "{:?}", world.host(number).alarms);
    }
    assert_eq!(world.host(4).drain, DrainState::Serving);
}
