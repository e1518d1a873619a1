//! Joining, consent, chat, codes, leaving, removal, end, renewal, reconnection.

use std::time::Duration;

use proto_spec::ticket::Role;
use sealcast_endpoint_core::command::Command;
use sealcast_endpoint_core::event::{Answered, CodeEnd, Event, Question, State};
use sealcast_endpoint_core::mpsl::Mpsl;
use sealcast_endpoint_core::null::Null;
use sealcast_endpoint_core::security::Security;

use crate::relay::number;
use crate::world::{ACCEPT_ALL, ASK, World};

const SECOND: Duration = Duration::from_secs(1);

/// Every case runs over plain bytes and over the real end-to-end layer.
macro_rules! over_both {
    ($($(#[$doc:meta])* $name:ident;)*) => {
        mod plain {
            $($(#[$doc])* #[test] fn $name() { super::$name::<super::Null>(); })*
        }
        mod sealed {
            $($(#[$doc])* #[test] fn $name() { super::$name::<super::Mpsl>(); })*
        }
    };
}
pub(crate) use over_both;

over_both! {
    /// \[SES-1\] \[SES-3\] \[SES-4\]
    a_customer_joins_after_consent;
    /// \[SES-3\] \[SES-6\]
    without_consent_nobody_joins;
    /// \[SES-6\]
    silence_is_a_no;
    /// \[SES-5\]
    a_wrong_code_is_refused;
    /// \[SES-5\]
    five_wrong_codes_burn_it;
    /// \[SES-5\]
    a_used_code_finds_nobody;
    /// \[SES-5\]
    another_provider_is_given_a_code;
    /// \[SES-5\]
    a_customer_invites_nobody;
    /// \[SES-8\]
    chat_arrives_once_and_in_order;
    /// \[SES-8\]
    what_is_said_right_after_joining_arrives_at_once;
    /// \[SES-7\]
    a_customer_is_asked_about_further_members;
    /// \[SES-9\]
    a_member_leaves;
    /// \[SES-9\]
    a_member_is_removed;
    /// \[SES-2\]
    only_the_leader_removes;
    /// \[SES-10\]
    the_leader_ends_it_for_all;
    /// \[SES-10\]
    a_customer_ends_it;
    /// \[SES-11\]
    tickets_are_renewed_at_half_their_life;
    /// \[SES-12\]
    a_lost_attachment_comes_back;
    /// \[SES-12\]
    a_killed_node_comes_back_and_nothing_said_is_lost;
    /// \[SES-13\]
    it_gives_up_after_ten_minutes;
    /// \[SES-4\]
    a_guest_who_loses_its_attachment_still_joins;
    /// \[SES-14\]
    a_gateway_that_is_away_is_asked_again;
}

fn a_customer_joins_after_consent<S: Security>() {
    let mut world: World<S> = World::new();
    let host = world.host("Host", ASK);
    let code = world.last_code(host);
    let customer = world.join("Cleo", &code, ASK).unwrap();
    world.pass(SECOND);
    assert_eq!(world.state(customer), Some(State::AwaitingConsent));
    let asked = world.open_prompts(host);
    let question = Question::Join { number: customer, name: "Cleo".into(), role: Role::Customer };
    assert_eq!(asked[0].1, question);
    assert_eq!(world.members(host).len(), 1, "nobody is a member before consent");
    world.answer(host, true);
    world.pass(SECOND);
    assert_eq!(world.state(customer), Some(State::Member));
    let names =
        |who| world.members(who).into_iter().map(|member| (member.name, member.present)).collect::<Vec<_>>();
    let both = vec![("Host".to_owned(), true), ("Cleo".to_owned(), true)];
    assert_eq!((names(host), names(customer)), (both.clone(), both));
    assert!(
        world
            .events(host)
            .iter()
            .any(|event| matches!(event, Event::Joined { member } if member.number == customer))
    );
}

fn without_consent_nobody_joins<S: Security>() {
    let mut world: World<S> = World::new();
    let host = world.host("Host", ASK);
    let code = world.last_code(host);
    let customer = world.join("Cleo", &code, ASK).unwrap();
    world.answer(host, false);
    world.pass(SECOND);
    assert_eq!(world.ended(customer), Some("denied"));
    assert_eq!(world.members(host).len(), 1);
    assert!(!world.gateway.calls.iter().any(|call| call.contains("Admit")), "no ticket was asked for");
}

fn silence_is_a_no<S: Security>() {
    let mut world: World<S> = World::new();
    let host = world.host("Host", ASK);
    let code = world.last_code(host);
    let customer = world.join("Cleo", &code, ASK).unwrap();
    world.pass(59 * SECOND);
    assert_eq!(world.ended(customer), None);
    world.pass(2 * SECOND);
    assert_eq!(world.ended(customer), Some("denied"));
    let ended = |event: &Event| matches!(event, Event::PromptEnded { answer: Answered::TimedOut, .. });
    assert!(world.events(host).iter().any(ended));
}

/// The number of a code with the words of none.
fn wrong_words(code: &str) -> String {
    let (number, words) = code.split_once(' ').unwrap();
    let other = if words == "zoo-zoo-zoo" { "abandon-zoo-zoo" } else { "zoo-zoo-zoo" };
    format!("{number} {other}")
}

fn a_wrong_code_is_refused<S: Security>() {
    let mut world: World<S> = World::new();
    let host = world.host("Host", ACCEPT_ALL);
    let code = world.last_code(host);
    let guesser = world.join("Mallory", &wrong_words(&code), ASK).unwrap();
    world.pass(SECOND);
    assert_eq!(world.ended(guesser), Some("wrong_code"));
    assert!(world.events(host).contains(&Event::WrongCode { left: 4 }));
    assert_eq!(world.members(host).len(), 1);
    let customer = world.join("Cleo", &code, ASK).unwrap();
    world.pass(SECOND);
    assert_eq!(world.state(customer), Some(State::Member), "a wrong guess does not spend the code");
}

fn five_wrong_codes_burn_it<S: Security>() {
    let mut world: World<S> = World::new();
    let host = world.host("Host", ACCEPT_ALL);
    let code = world.last_code(host);
    let before = world.look_up(&code).unwrap();
    for _ in 0..5 {
        let guesser = world.join("Mallory", &wrong_words(&code), ASK).unwrap();
        world.pass(SECOND);
        assert_eq!(world.ended(guesser), Some("wrong_code"));
    }
    let ended = Event::CodeEnded { reason: CodeEnd::Guessed, role: Role::Customer };
    assert!(world.events(host).contains(&ended));
    assert_eq!(world.join("Cleo", &code, ASK), None, "the gateway does not find it any more");
    let late = world.join_with(before, "Cleo", &code, ASK);
    world.pass(40 * SECOND);
    assert_eq!(world.ended(late), Some("wrong_code"), "nor does the right code help who found it before");
    assert_eq!(world.members(host).len(), 1);
}

fn a_used_code_finds_nobody<S: Security>() {
    let mut world: World<S> = World::new();
    let host = world.host("Host", ACCEPT_ALL);
    let code = world.last_code(host);
    world.join("Cleo", &code, ASK).unwrap();
    world.pass(SECOND);
    let ended = Event::CodeEnded { reason: CodeEnd::Used, role: Role::Customer };
    assert!(world.events(host).contains(&ended));
    assert_eq!(world.join("Second", &code, ASK), None);
}

fn another_provider_is_given_a_code<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(1);
    let provider = numbers[2];
    world.command(provider, Command::Invite { role: Role::Customer });
    world.pass(SECOND);
    let code = world.last_code(provider);
    assert_ne!(code, world.last_code(numbers[0]), "the leader's user is not shown it");
    let joiner = world.join("Guest", &code, ASK).unwrap();
    world.pass(6 * SECOND);
    assert_eq!(world.state(joiner), Some(State::Member));
    let ended = Event::CodeEnded { reason: CodeEnd::Used, role: Role::Customer };
    assert!(world.events(provider).contains(&ended));
}

fn a_customer_invites_nobody<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(0);
    world.command(numbers[1], Command::Invite { role: Role::Customer });
    assert_eq!(world.refused(numbers[1]).len(), 1);
}

fn chat_arrives_once_and_in_order<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(1);
    for line in 0..20 {
        let who = numbers[line % 3];
        world.command(who, Command::Say { text: format!("line {line}\nof two") });
        world.pass(SECOND);
    }
    let heard = world.chat(numbers[0]);
    assert_eq!(heard.len(), 20);
    assert_eq!(heard[1], format!("{} Customer: line 1\nof two", numbers[1]));
    assert!(numbers.iter().all(|who| world.chat(*who) == heard));
    world.command(numbers[0], Command::Say { text: String::new() });
    world.command(numbers[0], Command::Say { text: "x".repeat(4_096) });
    world.command(numbers[0], Command::Say { text: "x".repeat(4_097) });
    assert_eq!(world.refused(numbers[0]).len(), 2);
    world.pass(SECOND);
    assert_eq!(world.chat(numbers[1]).len(), 21);
}

fn what_is_said_right_after_joining_arrives_at_once<S: Security>() {
    let mut world: World<S> = World::new();
    let host = world.host("Host", ACCEPT_ALL);
    let code = world.last_code(host);
    let customer = world.join("Cleo", &code, ACCEPT_ALL).unwrap();
    world.command(host, Command::Say { text: "hello".into() });
    world.command(customer, Command::Say { text: "hello to you".into() });
    assert_eq!((world.chat(host).len(), world.chat(customer).len()), (2, 2), "no time has passed");
}

fn a_customer_is_asked_about_further_members<S: Security>() {
    let mut world: World<S> = World::new();
    let host = world.host("Host", ACCEPT_ALL);
    let code = world.last_code(host);
    let customer = world.join("Cleo", &code, ASK).unwrap();
    world.pass(6 * SECOND);
    assert!(world.open_prompts(customer).is_empty(), "who was there first is who was called");
    world.command(host, Command::Invite { role: Role::Provider });
    let code = world.last_code(host);
    let second = world.join("Second", &code, ACCEPT_ALL).unwrap();
    world.pass(6 * SECOND);
    let asked = world.open_prompts(customer);
    assert_eq!(asked[0].1, Question::Member { number: second, name: "Second".into(), role: Role::Provider });
    assert!(world.open_prompts(host).is_empty());

    world.peers.get_mut(&customer).unwrap().disk.files.insert("/a".into(), b"content".to_vec());
    world.command(customer, Command::Send { path: "/a".into(), to: vec![host] });
    assert_eq!(world.refused(customer).len(), 1, "nothing is shared before the answer");
    world.answer(customer, false);
    world.command(customer, Command::Send { path: "/a".into(), to: vec![host] });
    assert_eq!(world.refused(customer).len(), 2, "nor after a no");
    world.command(host, Command::Remove { number: second });
    world.pass(6 * SECOND);
    world.command(customer, Command::Send { path: "/a".into(), to: vec![host] });
    world.pass(SECOND);
    assert_eq!(world.refused(customer).len(), 2);
    assert!(world.events(host).iter().any(|event| matches!(event, Event::FileDone { .. })));
}

fn a_member_leaves<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(1);
    world.command(numbers[2], Command::Leave);
    world.pass(6 * SECOND);
    assert_eq!(world.ended(numbers[2]), Some("left"));
    assert!(world.peers[&numbers[2]].closed);
    for who in &numbers[..2] {
        let left = |event: &Event| matches!(event, Event::Left { number, removed: false, .. } if *number == numbers[2]);
        assert!(world.events(*who).iter().any(left), "{who}: {:?}", world.events(*who));
        assert_eq!(world.members(*who).len(), 2);
    }
    world.command(numbers[0], Command::Say { text: "just us".into() });
    world.pass(SECOND);
    assert_eq!(world.chat(numbers[1]).len(), 1);
}

fn a_member_is_removed<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(1);
    world.command(numbers[0], Command::Remove { number: numbers[2] });
    world.pass(6 * SECOND);
    assert_eq!(world.ended(numbers[2]), Some("removed"));
    assert!(world.events(numbers[0]).contains(&Event::RemovalComplete { number: numbers[2] }));
    assert!(world.gateway.removed.contains(&numbers[2]));
    let left =
        |event: &Event| matches!(event, Event::Left { number, removed: true, .. } if *number == numbers[2]);
    assert!(world.events(numbers[1]).iter().any(left));
    world.command(numbers[1], Command::Say { text: "still here".into() });
    world.pass(SECOND);
    assert_eq!(world.chat(numbers[0]).len(), 1);
}

fn only_the_leader_removes<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(1);
    world.command(numbers[2], Command::Remove { number: numbers[1] });
    world.command(numbers[0], Command::Remove { number: numbers[0] });
    world.command(numbers[0], Command::Remove { number: number(99) });
    assert_eq!(world.refused(numbers[2]).len(), 1);
    assert_eq!(world.refused(numbers[0]).len(), 2);
    world.command(numbers[2], Command::End);
    assert_eq!(world.refused(numbers[2]).len(), 2, "a provider who does not lead leaves instead");
    world.pass(SECOND);
    assert_eq!(world.members(numbers[0]).len(), 3);
}

fn the_leader_ends_it_for_all<S: Security>() {
    for command in [Command::End, Command::Leave] {
        let (mut world, numbers) = World::<S>::joined(1);
        world.command(numbers[0], command);
        world.pass(SECOND);
        assert!(world.gateway.ended);
        for who in &numbers {
            assert_eq!(world.ended(*who), Some("ended"), "{who}");
            assert!(world.peers[who].closed);
        }
    }
}

fn a_customer_ends_it<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(1);
    world.command(numbers[1], Command::End);
    world.pass(4 * SECOND);
    assert!(world.gateway.ended);
    assert!(numbers.iter().all(|who| world.ended(*who) == Some("ended")));
}

fn tickets_are_renewed_at_half_their_life<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(0);
    world.pass(6 * 3_600 * SECOND - 60 * SECOND);
    assert_eq!(world.relay.renewals, 0);
    world.gateway.failing = 2;
    world.pass(120 * SECOND);
    assert_eq!(world.relay.renewals, 2, "each shows its new ticket on the attachment that it has");
    world.cut(numbers[1]);
    world.pass(SECOND);
    assert_eq!(world.state(numbers[1]), Some(State::Member));
}

fn a_lost_attachment_comes_back<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(0);
    let (host, customer) = (numbers[0], numbers[1]);
    world.cut(customer);
    assert_eq!(world.state(customer), Some(State::Reconnecting));
    world.command(customer, Command::Say { text: "said without a connection".into() });
    world.pass(6 * SECOND);
    assert_eq!(world.state(customer), Some(State::Member));
    assert!(world.events(customer).iter().any(|event| matches!(event, Event::Reattached { .. })));
    assert_eq!(world.chat(host), [format!("{customer} Customer: said without a connection")]);
}

fn a_killed_node_comes_back_and_nothing_said_is_lost<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(1);
    for round in 0..3 {
        for who in &numbers {
            world.command(*who, Command::Say { text: format!("before {round}") });
        }
        world.kill_node();
        world.pass(25 * SECOND);
        for who in &numbers {
            assert_eq!(world.state(*who), Some(State::Reconnecting));
            world.command(*who, Command::Say { text: format!("meanwhile {round}") });
        }
        world.start_node();
        world.pass(20 * SECOND);
    }
    for who in &numbers {
        assert_eq!(world.state(*who), Some(State::Member));
        assert_eq!(world.chat(*who).len(), 18, "{who}: {:?}", world.chat(*who));
    }
}

fn it_gives_up_after_ten_minutes<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(0);
    world.kill_node();
    world.pass(599 * SECOND);
    assert_eq!(world.ended(numbers[1]), None);
    world.pass(2 * SECOND);
    assert_eq!(world.ended(numbers[1]), Some("unreachable"));
    let mut world: World<S> = World::new();
    world.relay.up = false;
    let host = world.host("Host", ASK);
    world.pass(31 * SECOND);
    assert_eq!(world.ended(host), Some("unreachable"), "a first attachment is given up sooner");
}

fn a_guest_who_loses_its_attachment_still_joins<S: Security>() {
    let mut world: World<S> = World::new();
    let host = world.host("Host", ASK);
    let code = world.last_code(host);
    let customer = world.join("Cleo", &code, ASK).unwrap();
    world.pass(SECOND);
    world.relay.up = false;
    world.cut(customer);
    world.answer(host, true);
    world.pass(3 * SECOND);
    assert_eq!(world.state(customer), Some(State::Reconnecting));
    world.relay.up = true;
    world.pass(20 * SECOND);
    assert_eq!(world.state(customer), Some(State::Member));
    world.command(host, Command::Say { text: "welcome".into() });
    world.pass(SECOND);
    assert_eq!(world.chat(customer).len(), 1);
}

fn a_gateway_that_is_away_is_asked_again<S: Security>() {
    let mut world: World<S> = World::new();
    world.gateway.failing = 3;
    let host = world.host("Host", ACCEPT_ALL);
    world.pass(10 * SECOND);
    let code = world.last_code(host);
    world.gateway.failing = 100;
    let customer = world.join("Cleo", &code, ASK).unwrap();
    world.pass(55 * SECOND);
    assert_eq!(world.ended(customer), Some("denied"), "without a ticket there is no member");
    assert_eq!(world.members(host).len(), 1);
}

/// \[SES-1\]: the relay sees none of what is said, and the search for it works.
#[test]
fn the_relay_reads_nothing() {
    let canary = "canary-7c1f";
    let found = |world: &dyn Fn(&str) -> bool| world(canary);
    let (mut world, numbers) = World::<Null>::joined(0);
    world.command(numbers[0], Command::Say { text: canary.into() });
    let seen = |tap: &[(proto_spec::SenderNumber, Vec<u8>)], text: &str| {
        tap.iter().any(|(_, packet)| packet.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    assert!(found(&|text| seen(&world.relay.tap, text)), "plain bytes are found");
    let (mut world, numbers) = World::<Mpsl>::joined(0);
    world.command(numbers[0], Command::Say { text: canary.into() });
    assert_eq!(world.chat(numbers[1]).len(), 1);
    assert!(!found(&|text| seen(&world.relay.tap, text)), "sealed ones are not");
}

/// \[SES-15\]: the same seed and inputs give the same packets.
#[test]
fn the_core_is_deterministic() {
    let run = || {
        let (mut world, numbers) = World::<Mpsl>::joined(1);
        world.command(numbers[0], Command::Say { text: "again".into() });
        world.cut(numbers[1]);
        world.pass(30 * SECOND);
        world.relay.tap
    };
    assert!(run() == run());
}
