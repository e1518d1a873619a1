//! Several nodes: a standby for everybody, nodes that die, fall silent, go out of service or send elsewhere.

use std::path::PathBuf;
use std::time::Duration;

use proto_spec::frame::ErrorFrame;
use proto_spec::{Refusal, SenderNumber, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use sealcast_endpoint_core::command::Command;
use sealcast_endpoint_core::event::{Event, Reattachment, State};
use sealcast_endpoint_core::mpsl::Mpsl;
use sealcast_endpoint_core::null::Null;
use sealcast_endpoint_core::security::Security;

use crate::relay::{Node, address};
use crate::session::over_both;
use crate::world::{ACCEPT_ALL, World};

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

over_both! {
    /// \[SES-16\]
    members_keep_a_standby_on_another_node;
    /// \[SES-16\]
    in_a_mesh_of_one_nothing_is_added;
    /// \[SES-16\]
    renewed_tickets_are_shown_on_both;
    /// \[SES-16\]
    a_lost_standby_is_made_again;
    /// \[SES-17\]
    a_killed_node_costs_a_moment;
    /// \[SES-17\] \[CHN-13\]
    what_went_nowhere_is_repaired_when_the_nodes_know;
    /// \[SES-17\]
    a_standby_that_is_not_accepted_yet_takes_over_all_the_same;
    /// \[SES-12\] \[SES-17\]
    both_nodes_die_at_once;
    /// \[SES-18\]
    a_silent_node_is_left_after_a_hint;
    /// \[SES-18\]
    a_silent_node_is_left_without_a_hint;
    /// \[SES-18\]
    a_silent_peer_moves_nobody_else;
    /// \[SES-18\] \[FLW-5\] \[CHN-13\]
    a_storm_of_hints_is_a_trickle;
    /// \[SES-19\] \[ATT-10\]
    a_move_loses_and_doubles_nothing;
    /// \[SES-19\]
    a_move_without_a_standby_goes_where_it_is_sent;
    /// \[SES-19\]
    the_old_node_dies_before_the_new_one_is_ready;
    /// \[SES-19\]
    where_nobody_else_is_known_it_leaves_and_comes_back;
    /// \[SES-19\]
    a_guest_moves_too;
    /// \[SES-20\] \[ATT-9\]
    redirects_are_followed_once;
    /// \[SES-20\]
    a_node_that_refuses_is_passed_over;
    /// \[SES-21\]
    everything_may_arrive_twice;
    /// \[SES-16\] \[SES-9\]
    who_leaves_leaves_both_nodes;
}

fn reattached<S: Security>(world: &World<S>, who: SenderNumber) -> Vec<(Reattachment, u64, Option<String>)> {
    let told = |event: &Event| match event {
        Event::Reattached { gap_ms, how, node } => Some((*how, *gap_ms, node.clone())),
        _ => None,
    };
    world.events(who).iter().filter_map(told).collect()
}

fn was_reconnecting<S: Security>(world: &World<S>, who: SenderNumber) -> bool {
    world.events(who).contains(&Event::State { state: State::Reconnecting })
}

/// Says numbered lines, and checks that the others heard each of them once and in order.
struct Talk {
    said: Vec<usize>,
}

impl Talk {
    fn new(members: usize) -> Talk {
        Talk { said: vec![0; members] }
    }

    fn say<S: Security>(&mut self, world: &mut World<S>, numbers: &[SenderNumber]) {
        for (who, said) in numbers.iter().zip(&mut self.said) {
            world.command(*who, Command::Say { text: format!("line {said}") });
            *said += 1;
        }
    }

    /// Everybody says a line every 20 ms.
    fn go_on<S: Security>(&mut self, world: &mut World<S>, numbers: &[SenderNumber], time: Duration) {
        let end = world.now.mono + time;
        while world.now.mono < end {
            self.say(world, numbers);
            world.pass(20 * MS);
        }
    }

    fn heard<S: Security>(&self, world: &World<S>, numbers: &[SenderNumber]) -> bool {
        numbers.iter().all(|listener| {
            let lines = world.chat(*listener);
            numbers.iter().zip(&self.said).all(|(who, said)| {
                let of = format!("{who} ");
                let heard: Vec<_> = lines.iter().filter(|line| line.starts_with(&of)).collect();
                let right =
                    heard.iter().enumerate().all(|(at, line)| line.ends_with(&format!(": line {at}")));
                assert!(right && heard.len() <= *said, "{listener} heard {who} wrongly: {heard:?}");
                heard.len() == *said
            })
        })
    }

    /// How long it takes until everybody has heard everything.
    fn until_heard<S: Security>(&self, world: &mut World<S>, numbers: &[SenderNumber]) -> Duration {
        let start = world.now.mono;
        while !self.heard(world, numbers) {
            world.pass(5 * MS);
            assert!(world.now.mono.since(start) < 60 * SECOND, "{numbers:?} never heard everything");
        }
        world.now.mono.since(start)
    }
}

fn since<S>(world: &World<S>, start: Timestamp) -> Duration {
    world.now.mono.since(start)
}

fn members_keep_a_standby_on_another_node<S: Security>() {
    let mut world: World<S> = World::with_nodes(3);
    let host = world.host("Host", ACCEPT_ALL);
    world.pass(SECOND);
    assert!(world.standby_node(host).is_some());
    world.peers.get_mut(&host).unwrap().events.retain(|event| matches!(event, Event::Code { .. }));
    let code = world.last_code(host);
    world.relay.holds_ready = true;
    world.gateway.failing = 20;
    let customer = world.join("Cleo", &code, ACCEPT_ALL).unwrap();
    world.pass(SECOND);
    assert_eq!(world.state(customer), Some(State::AwaitingConsent));
    assert_eq!(world.standby_node(customer), None, "a guest has one attachment");
    world.gateway.failing = 0;
    world.relay.let_ready_go();
    world.pass(6 * SECOND);
    for who in [host, customer] {
        let (active, standby) = (world.active_node(who).unwrap(), world.standby_node(who).unwrap());
        assert_ne!(active, standby);
        let own = world.relay.connections.keys().filter(|(of, _)| *of == who).count();
        assert_eq!(own, 2);
    }
    world.command(host, Command::Say { text: "hello".into() });
    assert_eq!(world.chat(customer).len(), 1);
}

fn in_a_mesh_of_one_nothing_is_added<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(1);
    world.pass(600 * SECOND);
    assert_eq!(world.relay.nodes[0].connected, 3, "one connection each");
    assert!(numbers.iter().all(|who| world.standby_node(*who).is_none()));
}

fn renewed_tickets_are_shown_on_both<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(2, 0);
    world.pass(6 * 3_600 * SECOND + 60 * SECOND);
    assert_eq!(world.relay.renewals, 4);
    let mut talk = Talk::new(2);
    world.kill(world.active_node(numbers[0]).unwrap());
    world.run();
    talk.say(&mut world, &numbers);
    talk.until_heard(&mut world, &numbers);
}

fn a_lost_standby_is_made_again<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(3, 0);
    let who = numbers[0];
    let (active, standby) = (world.active_node(who).unwrap(), world.standby_node(who).unwrap());
    let events = world.events(who).len();
    world.kill(standby);
    world.pass(SECOND);
    let third = 3 - active - standby;
    assert_eq!(world.standby_node(who), Some(third), "the third one");
    world.kill(third);
    world.pass(60 * SECOND);
    assert_eq!(world.standby_node(who), None);
    world.relay.nodes[standby].dead = false;
    world.pass(16 * SECOND);
    assert_eq!(world.standby_node(who), Some(standby), "and back, within the longest pause");
    let moved = |event: &Event| matches!(event, Event::Reattached { .. } | Event::State { .. });
    assert!(world.active_node(who) == Some(active) && !world.events(who)[events..].iter().any(moved));
}

fn a_killed_node_costs_a_moment<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(3, 2);
    let mut talk = Talk::new(numbers.len());
    talk.go_on(&mut world, &numbers, SECOND);
    for round in 0..2 {
        let node = world.active_node(numbers[1]).unwrap();
        let (on_it, elsewhere): (Vec<_>, Vec<_>) =
            numbers.iter().partition(|who| world.active_node(**who) == Some(node));
        let seen: Vec<_> = elsewhere.iter().map(|who| reattached(&world, *who).len()).collect();
        talk.say(&mut world, &numbers);
        world.kill(node);
        talk.say(&mut world, &numbers);
        let gap = talk.until_heard(&mut world, &numbers);
        assert!(gap <= 300 * MS, "{gap:?} in round {round}");
        talk.go_on(&mut world, &numbers, SECOND);
        world.pass(18 * SECOND);
        for who in on_it {
            let (how, gap_ms, address) = reattached(&world, who).pop().expect("it is told");
            assert!(how == Reattachment::Standby && gap_ms <= 20, "{gap_ms}");
            assert_eq!(address, Some(self::address(world.active_node(who).unwrap())));
        }
        for (who, seen) in elsewhere.into_iter().zip(seen) {
            assert_eq!(reattached(&world, who).len(), seen, "on a node's death only its own endpoints move");
        }
        assert!(numbers.iter().all(|who| !was_reconnecting(&world, *who)));
        assert!(numbers.iter().all(|who| world.standby_node(*who).is_some_and(|of| of != node)));
        world.relay.nodes[node].dead = false;
    }
    talk.until_heard(&mut world, &numbers);
}

fn what_went_nowhere_is_repaired_when_the_nodes_know<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(3, 0);
    let mut talk = Talk::new(2);
    talk.go_on(&mut world, &numbers, SECOND);
    world.relay.holds_ready = true;
    world.kill(world.active_node(numbers[1]).unwrap());
    for _ in 0..30 {
        // The other one's node does not know where it went: what is said to it goes nowhere.
        world.pass(20 * MS);
    }
    talk.say(&mut world, &numbers);
    world.pass(700 * MS);
    assert!(!talk.heard(&world, &numbers));
    world.relay.let_ready_go();
    let gap = talk.until_heard(&mut world, &numbers);
    assert!(gap <= 110 * MS, "{gap:?} after it was known");
}

fn a_standby_that_is_not_accepted_yet_takes_over_all_the_same<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(3, 0);
    let who = numbers[1];
    let standby = world.standby_node(who).unwrap();
    world.kill(standby);
    let third = 3 - standby - world.active_node(who).unwrap();
    world.holds_connects = true;
    world.pass(SECOND);
    world.holds_connects = false;
    // Connected, and its ticket unanswered.
    world.let_connects_go_only();
    world.kill(world.active_node(who).unwrap());
    let mut talk = Talk::new(2);
    talk.say(&mut world, &numbers);
    talk.until_heard(&mut world, &numbers);
    assert_eq!(world.active_node(who), Some(third));
    assert!(!was_reconnecting(&world, who));
}

fn both_nodes_die_at_once<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(3, 1);
    let who = numbers[2];
    let mut talk = Talk::new(3);
    talk.go_on(&mut world, &numbers, SECOND);
    let (active, standby) = (world.active_node(who).unwrap(), world.standby_node(who).unwrap());
    world.kill(active);
    world.kill(standby);
    talk.say(&mut world, &numbers);
    let gap = talk.until_heard(&mut world, &numbers);
    assert!(gap <= SECOND, "{gap:?}");
    assert_eq!(world.active_node(who), Some(3 - active - standby));
    assert_eq!(reattached(&world, who).pop().unwrap().0, Reattachment::Reconnected);
    world.relay.nodes[active].dead = false;
    world.pass(20 * SECOND);
    assert_eq!(world.standby_node(who), Some(active));
}

fn a_silent_node_is_left_after_a_hint<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(3, 0);
    let mut talk = Talk::new(2);
    talk.go_on(&mut world, &numbers, SECOND);
    let node = world.active_node(numbers[1]).unwrap();
    world.silence(node, true);
    let start = world.now.mono;
    // Only the other one speaks, so that the own silence tells this one nothing.
    world.command(numbers[0], Command::Say { text: "line 0 of silence".into() });
    world.pass(600 * MS);
    assert_eq!(world.active_node(numbers[1]), Some(node));
    world.relay.nodes[node].given_up = true;
    world.relay.refresh();
    world.relay.hint();
    while world.active_node(numbers[1]) == Some(node) {
        world.pass(10 * MS);
        assert!(since(&world, start) <= 1_500 * MS);
    }
    world.pass(100 * MS);
    assert!(world.chat(numbers[1]).last().unwrap().ends_with("line 0 of silence"), "and was repaired");
    let (how, gap_ms, _) = reattached(&world, numbers[1]).pop().unwrap();
    assert!(how == Reattachment::Standby && (600..1_500).contains(&gap_ms), "{gap_ms}");
    // It comes back to life: nobody minds.
    world.silence(node, false);
    world.relay.nodes[node].given_up = false;
    world.relay.refresh();
    world.pass(5 * SECOND);
    assert_eq!(world.state(numbers[1]), Some(State::Member));
}

fn a_silent_node_is_left_without_a_hint<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(3, 0);
    let mut talk = Talk::new(2);
    talk.go_on(&mut world, &numbers, SECOND);
    world.silence(world.active_node(numbers[1]).unwrap(), true);
    talk.say(&mut world, &numbers);
    let gap = talk.until_heard(&mut world, &numbers);
    assert!(gap > 300 * MS && gap <= 1_000 * MS, "{gap:?}");
    assert_eq!(reattached(&world, numbers[1]).pop().unwrap().0, Reattachment::Standby);
}

fn a_silent_peer_moves_nobody_else<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(3, 1);
    let mut talk = Talk::new(3);
    talk.go_on(&mut world, &numbers, SECOND);
    // One endpoint hangs; the nodes do not.
    let hung = world.peers.remove(&numbers[2]).unwrap();
    world.command(numbers[0], Command::Say { text: "can you hear me?".into() });
    world.pass(10 * SECOND);
    assert!(numbers[..2].iter().all(|who| reattached(&world, *who).is_empty()));
    let pings: u32 = world.relay.connections.values().map(|connection| connection.pings).sum();
    assert!((10..40).contains(&pings), "the nodes are asked about once a second: {pings}");
    world.peers.insert(numbers[2], hung);
    world.pass(10 * SECOND);
    assert!(world.chat(numbers[2]).last().unwrap().ends_with("can you hear me?"));
}

fn a_storm_of_hints_is_a_trickle<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(3, 0);
    let hung = world.peers.remove(&numbers[1]).unwrap();
    world.command(numbers[0], Command::Say { text: "unacknowledged".into() });
    let (sent, pings) = (world.relay.tap.len(), pings(&world));
    for _ in 0..1_000 {
        world.relay.hint();
        world.pass(MS);
    }
    // A record, perhaps a second one, and a probe each time, and the heartbeats of the end-to-end layer.
    let packets = world.relay.tap.len() - sent;
    assert!((10..60).contains(&packets), "{packets} packets in a second");
    let asked = self::pings(&world) - pings;
    assert!((2..=6).contains(&asked), "{asked} pings in a second");
    assert!(reattached(&world, numbers[0]).is_empty());
    world.peers.insert(numbers[1], hung);
    world.pass(SECOND);
    assert_eq!(world.chat(numbers[1]).len(), 1);
}

fn pings<S: Security>(world: &World<S>) -> u32 {
    world.relay.connections.values().map(|connection| connection.pings).sum()
}

/// Bytes that no compression shortens.
fn content(seed: u8, length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new_keyed(&[seed; 32]).finalize_xof().fill(&mut out);
    out
}

fn send_file<S: Security>(
    world: &mut World<S>,
    who: SenderNumber,
    seed: u8,
    to: Vec<SenderNumber>,
) -> Vec<u8> {
    let content = content(seed, 3 * 1024 * 1024);
    let path = PathBuf::from(format!("/home/from-{seed}.bin"));
    world.peers.get_mut(&who).unwrap().disk.files.insert(path.clone(), content.clone());
    world.command_only(who, Command::Send { path, to });
    content
}

fn received<S: Security>(world: &World<S>, who: SenderNumber, seed: u8) -> Option<&Vec<u8>> {
    world.peers[&who].disk.files.get(&PathBuf::from(format!("/downloads/from-{seed}.bin")))
}

fn a_move_loses_and_doubles_nothing<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(3, 0);
    let (one, two) = (numbers[0], numbers[1]);
    let mut talk = Talk::new(2);
    let sent = [send_file(&mut world, one, 1, vec![two]), send_file(&mut world, two, 2, vec![one])];
    world.steps(30);
    assert!(received(&world, two, 1).is_none() && received(&world, one, 2).is_none(), "in the middle");
    let node = world.active_node(two).unwrap();
    let standby = world.standby_node(two).unwrap();
    let before = world.active_way(two);
    world.relay.holds_ready = true;
    world.relay.drain(node, 30_000, vec![]);
    world.steps(30);
    // Active on both, and used as before until the session's nodes know.
    assert!(received(&world, two, 1).is_none(), "still in the middle");
    assert_eq!(world.active_node(two), Some(standby), "it is the newest by its sequence");
    assert!(world.relay.connections.contains_key(&(two, before.unwrap())));
    assert!(reattached(&world, two).is_empty());
    for who in [one, two] {
        world.command_only(who, Command::Say { text: format!("line {}", 0) });
    }
    talk.said = vec![1, 1];
    world.relay.let_ready_go();
    world.steps(20);
    assert_eq!(reattached(&world, two), [(Reattachment::Moved, 0, Some(address(standby)))]);
    let unopened = world.peers[&two].endpoint.counters().unopened;
    let stall = talk.until_heard(&mut world, &numbers);
    assert!(stall <= 20 * MS, "{stall:?}");
    world.pass(10 * SECOND);
    assert!(received(&world, two, 1) == Some(&sent[0]) && received(&world, one, 2) == Some(&sent[1]));
    assert!(world.peers[&two].endpoint.counters().unopened <= unopened + 64, "repeated for nothing");
    assert!(!world.relay.connections.contains_key(&(two, before.unwrap())), "it said goodbye");
    assert!(!was_reconnecting(&world, two));
    assert_eq!(world.standby_node(two), Some(3 - node - standby), "neither the old nor the own one");
    world.relay.end_drain(node);
    world.pass(SECOND);
    assert!(numbers.iter().all(|who| world.active_node(*who) != Some(node)));
    assert!(numbers.iter().all(|who| world.standby_node(*who) != Some(node)));
    talk.go_on(&mut world, &numbers, SECOND);
    talk.until_heard(&mut world, &numbers);
}

fn a_move_without_a_standby_goes_where_it_is_sent<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(3, 0);
    let who = numbers[1];
    let (active, standby) = (world.active_node(who).unwrap(), world.standby_node(who).unwrap());
    world.holds_connects = true;
    world.kill(standby);
    world.relay.nodes[standby].dead = false;
    let third = 3 - active - standby;
    world.pass(SECOND);
    world.let_connects_go();
    world.cut_standby(who);
    world.run();
    assert_eq!(world.standby_node(who), None);
    world.relay.drain(active, 30_000, vec![address(third)]);
    world.pass(SECOND);
    assert_eq!(world.active_node(who), Some(third));
    assert!(matches!(reattached(&world, who)[..], [(Reattachment::Moved, 0, _)]));
    assert_eq!(world.standby_node(who), Some(standby));
}

fn the_old_node_dies_before_the_new_one_is_ready<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(3, 0);
    let who = numbers[1];
    let mut talk = Talk::new(2);
    let node = world.active_node(who).unwrap();
    world.relay.holds_ready = true;
    world.relay.drain(node, 30_000, vec![]);
    talk.say(&mut world, &numbers);
    world.kill(node);
    talk.say(&mut world, &numbers);
    world.pass(200 * MS);
    world.relay.let_ready_go();
    let gap = talk.until_heard(&mut world, &numbers);
    assert!(gap <= 200 * MS, "{gap:?}");
    assert!(
        matches!(reattached(&world, who)[..], [(Reattachment::Moved, 200, _)]),
        "{:?}",
        reattached(&world, who)
    );
}

fn where_nobody_else_is_known_it_leaves_and_comes_back<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(0);
    let mut talk = Talk::new(2);
    world.relay.drain(0, 10_000, vec![]);
    talk.say(&mut world, &numbers);
    world.pass(SECOND);
    assert!(numbers.iter().all(|who| world.state(*who) == Some(State::Reconnecting)));
    assert!(numbers.iter().all(|who| world.active_node(*who).is_none()), "the node can stop");
    world.relay.nodes[0].draining = false;
    world.pass(20 * SECOND);
    assert!(numbers.iter().all(|who| world.state(*who) == Some(State::Member)));
    talk.until_heard(&mut world, &numbers);
}

fn a_guest_moves_too<S: Security>() {
    let mut world: World<S> = World::with_nodes(3);
    let host = world.host("Host", ACCEPT_ALL);
    let code = world.last_code(host);
    world.gateway.failing = 3;
    let customer = world.join("Cleo", &code, ACCEPT_ALL).unwrap();
    assert_eq!(world.state(customer), Some(State::AwaitingConsent));
    let node = world.active_node(customer).unwrap();
    world.relay.drain(node, 30_000, vec![]);
    world.pass(SECOND);
    assert_ne!(world.active_node(customer), Some(node));
    world.pass(20 * SECOND);
    assert_eq!(world.state(customer), Some(State::Member));
    assert!(!was_reconnecting(&world, customer));
}

fn redirects_are_followed_once<S: Security>() {
    let mut world: World<S> = World::with_nodes(3);
    world.relay.nodes[0].redirects = Some(vec![address(2)]);
    let host = world.host("Host", ACCEPT_ALL);
    assert_eq!(world.active_node(host), Some(2), "no time has passed");
    // In a circle: each counts as full after the second, and the third is tried.
    let mut world: World<S> = World::with_nodes(3);
    world.relay.nodes[0].redirects = Some(vec![address(1)]);
    world.relay.nodes[1].redirects = Some(vec![address(0)]);
    let host = world.host("Host", ACCEPT_ALL);
    world.pass(SECOND);
    assert_eq!(world.active_node(host), Some(2));
    // Nothing but circles: as seldom as full nodes are asked.
    let mut world: World<S> = World::with_nodes(2);
    world.relay.nodes[0].redirects = Some(vec![address(1)]);
    world.relay.nodes[1].redirects = Some(vec![address(0)]);
    let host = world.host("Host", ACCEPT_ALL);
    world.pass(10 * SECOND);
    let asked: u32 = world.relay.nodes.iter().map(|node| node.connected).sum();
    assert!((4..=16).contains(&asked), "{asked} connections in ten seconds");
    world.relay.nodes[1].redirects = None;
    world.pass(10 * SECOND);
    assert_eq!(world.state(host), Some(State::Member));
}

fn a_node_that_refuses_is_passed_over<S: Security>() {
    for refusal in [Refusal::Draining, Refusal::NodeFull, Refusal::Shed] {
        let mut world: World<S> = World::with_nodes(3);
        let refuses = Some(ErrorFrame { refusal, retry_after_ms: 20_000 });
        world.relay.nodes[0].refuses = refuses;
        let host = world.host("Host", ACCEPT_ALL);
        assert_eq!(world.active_node(host), Some(1), "at once");
        world.pass(SECOND);
        assert_eq!(world.standby_node(host), Some(2));
        assert_eq!(world.relay.nodes[0].connected, 1);
        // All refuse: what they asked for is waited.
        let mut world: World<S> = World::with_nodes(2);
        world.relay.nodes.iter_mut().for_each(|node| node.refuses = refuses);
        let host = world.host("Host", ACCEPT_ALL);
        world.pass(19 * SECOND);
        assert!(world.relay.nodes.iter().all(|node| node.connected == 1), "{refusal:?}");
        world.relay.nodes[0].refuses = None;
        world.pass(6 * SECOND);
        assert_eq!(world.state(host), Some(State::Member));
    }
}

fn everything_may_arrive_twice<S: Security>() {
    let mut world: World<S> = World::with_nodes(3);
    world.relay.doubles = true;
    let host = world.host("Host", ACCEPT_ALL);
    let code = world.last_code(host);
    let customer = world.join("Cleo", &code, ACCEPT_ALL).unwrap();
    world.pass(6 * SECOND);
    let numbers = [host, customer];
    let mut talk = Talk::new(2);
    let sent = send_file(&mut world, host, 3, vec![customer]);
    world.steps(20);
    for round in 0..4 {
        talk.say(&mut world, &numbers);
        let node = world.active_node(numbers[round % 2]).unwrap();
        if round < 2 {
            world.kill(node);
        } else {
            world.relay.drain(node, 5_000, vec![]);
        }
        talk.go_on(&mut world, &numbers, 2 * SECOND);
        (world.relay.nodes[node].dead, world.relay.nodes[node].draining) = (false, false);
        world.pass(20 * SECOND);
    }
    talk.until_heard(&mut world, &numbers);
    assert!(received(&world, customer, 3) == Some(&sent));
    let joined = |event: &&Event| matches!(event, Event::Joined { .. });
    assert_eq!(world.events(host).iter().filter(joined).count(), 1);
    world.command(host, Command::Invite { role: proto_spec::ticket::Role::Provider });
    let code = world.last_code(host);
    let third = world.join("Third", &code, ACCEPT_ALL).unwrap();
    world.pass(6 * SECOND);
    world.command(customer, Command::Say { text: "welcome".into() });
    world.pass(SECOND);
    assert_eq!(world.chat(third).len(), 1);
    world.command(host, Command::Remove { number: third });
    world.pass(6 * SECOND);
    assert_eq!(world.members(customer).len(), 2);
}

fn who_leaves_leaves_both_nodes<S: Security>() {
    let (mut world, numbers) = World::<S>::joined_over(2, 1);
    world.command(numbers[2], Command::Leave);
    world.pass(6 * SECOND);
    assert_eq!(world.ended(numbers[2]), Some("left"));
    assert!(!world.relay.connections.keys().any(|(who, _)| *who == numbers[2]));
    world.command(numbers[0], Command::End);
    world.pass(SECOND);
    assert!(world.relay.connections.is_empty());
    assert!(numbers.iter().all(|who| world.peers[who].closed));
}

/// \[SES-17\] \[SES-18\] \[SES-19\] \[SES-21\]: whatever happens to the nodes in whatever order, every line is heard once and in
/// order in the end.
#[test]
fn no_order_of_faults_loses_or_doubles_anything() {
    for seed in 0..24 {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (mut world, numbers) = World::<Null>::joined_over(3, 1);
        world.relay.doubles = seed % 3 == 0;
        let mut talk = Talk::new(numbers.len());
        for _ in 0..24 {
            let node = (rng.next_u32() % 3) as usize;
            match rng.next_u32() % 9 {
                0 | 1 => world.kill(node),
                2 => world.silence(node, true),
                3 => world.relay.drain(node, 3_000, vec![]),
                4 => world.relay.holds_ready = true,
                5 => world.relay.let_ready_go(),
                6 => world.relay.hint(),
                7 => world.cut_standby(numbers[node]),
                _ => revive(&mut world, node),
            }
            for _ in 0..rng.next_u32() % 4 {
                talk.say(&mut world, &numbers);
                world.pass(Duration::from_millis(u64::from(rng.next_u32() % 400)));
            }
        }
        (0..3).for_each(|node| revive(&mut world, node));
        world.relay.let_ready_go();
        talk.until_heard(&mut world, &numbers);
        world.pass(60 * SECOND);
        for who in &numbers {
            assert_eq!(world.state(*who), Some(State::Member), "seed {seed}");
            assert!(world.standby_node(*who).is_some(), "seed {seed}");
            assert_ne!(world.standby_node(*who), world.active_node(*who), "seed {seed}");
        }
    }
}

fn revive<S: Security>(world: &mut World<S>, node: usize) {
    world.silence(node, false);
    world.relay.nodes[node] = Node::default();
}
