//! One endpoint without a world around it: what a hostile member, a slow gateway or a bad moment may do to it.

use std::path::PathBuf;

use proto_spec::channel::CONTROL_STREAM;
use proto_spec::{SenderNumber, SessionNumber, WallTime};

use super::*;
use crate::null::Null;
use crate::security::RosterEntry;

fn at(ms: u64) -> Now {
    Now { mono: Timestamp(Duration::from_millis(ms)), wall: WallTime(ms) }
}

fn number(value: u16) -> SenderNumber {
    SenderNumber::new(value).unwrap()
}

fn entry(value: u16, role: Role) -> RosterEntry {
    RosterEntry { number: number(value), name: format!("member {value}"), role }
}

fn config(own: u16, role: Role) -> Config {
    Config {
        session: SessionId([1; 16]),
        number: number(own),
        leader: number(1),
        role,
        ticket: "a ticket that says nothing".to_owned(),
        attach_key: AttachKey::from_seed(&[2; 32]),
        nodes: Vec::new(),
        standby: Vec::new(),
        display_name: "Me".to_owned(),
        suite: Suite::Modern,
        accept: Accept::default(),
        seed: [3; 32],
        reconnect_max: Config::RECONNECT_MAX,
    }
}

fn host() -> Endpoint<Null> {
    let mut endpoint = Endpoint::host(at(0), config(1, Role::Provider), None);
    outputs(&mut endpoint);
    endpoint
}

fn outputs(endpoint: &mut Endpoint<Null>) -> Vec<Output> {
    std::iter::from_fn(|| endpoint.poll_output()).collect()
}

fn calls(outputs: &[Output]) -> Vec<CallRequest> {
    let call = |output: &Output| match output {
        Output::Call(call) => Some(call.request),
        _ => None,
    };
    outputs.iter().filter_map(call).collect()
}

/// \[SES-5\]: requests that the gateway has not answered yet count too, so that one member cannot take all calls.
#[test]
fn a_member_that_asks_for_codes_without_end_gets_a_few() {
    let mut endpoint = host();
    endpoint.members.update(&[entry(1, Role::Provider), entry(2, Role::Provider)]);
    for request in 1..=1_000 {
        endpoint.code_requested(at(1), number(2), request, Role::Customer);
    }
    let outputs = outputs(&mut endpoint);
    assert_eq!(calls(&outputs).len(), crate::config::CODES_ASKED_MAX);
    assert!(outputs.iter().all(|output| matches!(output, Output::Call(_))), "nothing is said to the user");
}

/// \[SES-11\]: a renewal that finds too many calls open is not forgotten.
#[test]
fn a_renewal_waits_for_room() {
    let mut endpoint = host();
    while endpoint.try_call(Purpose::CloseJoin { number: SessionNumber::new(123_456_789).unwrap() }) {}
    outputs(&mut endpoint);
    let due = endpoint.renew_at.unwrap();
    let now = Now { mono: due, wall: WallTime(0) };
    endpoint.renewal_timeout(now);
    assert!(calls(&outputs(&mut endpoint)).is_empty());
    assert!(endpoint.renew_at.is_some_and(|again| again > due));
    endpoint.calls = Calls::default();
    endpoint.renewal_timeout(Now { mono: due + RENEW_MIN, ..now });
    assert_eq!(calls(&outputs(&mut endpoint)), [CallRequest::Renew]);
    assert_eq!(endpoint.renew_at, None);
}

/// \[SES-9\]: who leaves without a connection waits for the gateway's answer, and not in a busy loop.
#[test]
fn a_farewell_without_a_connection_rests() {
    let mut endpoint = Endpoint::<Null>::host(at(0), config(1, Role::Provider), None);
    let way = outputs(&mut endpoint).into_iter().find_map(|output| match output {
        Output::Connect { way, .. } => Some(way),
        _ => None,
    });
    endpoint.connect_failed(at(10), way.unwrap(), "no route".to_owned());
    endpoint.handle_command(at(20), Command::End);
    assert_eq!(calls(&outputs(&mut endpoint)), [CallRequest::EndSession]);
    let mut now = at(20);
    let mut turns = 0;
    while let Some(due) = endpoint.poll_timeout() {
        assert!(due > now.mono, "a deadline that is over is no deadline");
        now = Now { mono: due, ..now };
        endpoint.handle_timeout(now);
        turns += 1;
        assert!(turns < 100);
    }
    assert!(endpoint.is_over());
}

/// \[SES-7\]: somebody joins while a customer's file is hashed: not even its name is told.
#[test]
fn a_file_that_is_being_hashed_is_not_offered_to_a_newcomer() {
    let code =
        JoinCode::generate(SessionNumber::new(123_456_789).unwrap(), &mut ChaCha20Rng::from_seed([4; 32]));
    let mut endpoint = Endpoint::<Null>::join(at(0), config(2, Role::Customer), code);
    let (leader, me) = (entry(1, Role::Provider), entry(2, Role::Customer));
    endpoint.members.update(&[leader.clone(), me.clone()]);
    endpoint.members.accept(number(1));
    endpoint.handle_command(at(1), Command::Send { path: PathBuf::from("diary.txt"), to: Vec::new() });
    let inspected = outputs(&mut endpoint).into_iter().find_map(|output| match output {
        Output::File(FileEffect::Inspect { transfer, .. }) => Some(transfer),
        _ => None,
    });
    endpoint.members.update(&[leader, me, entry(3, Role::Provider)]);
    let result = FileResult::Inspected { size_bytes: 5, blake3: [6; 32] };
    endpoint.handle_file(at(2), inspected.unwrap(), result);
    let outputs = outputs(&mut endpoint);
    assert!(outputs.iter().any(|output| matches!(output, Output::Event(Event::FileFailed { .. }))));
    assert!(outputs.iter().any(|output| matches!(output, Output::File(FileEffect::CloseSource { .. }))));
    assert_eq!(endpoint.channels.next_sequence(CONTROL_STREAM), 0, "nothing was said");
}

/// \[SES-3\]: the user's yes is for the joiner that was asked about, not for who comes after it under its number.
#[test]
fn consent_ends_with_the_joiner_it_was_given_for() {
    let mut endpoint = host();
    let ask = |endpoint: &mut Endpoint<Null>, name: &str, role: Role| {
        endpoint.joiner_proved(at(1), number(5), name.to_owned(), role);
        outputs(endpoint).into_iter().find_map(|output| match output {
            Output::Event(Event::Prompt { prompt, .. }) => Some(prompt),
            _ => None,
        })
    };
    let admit = |endpoint: &mut Endpoint<Null>, prompt| {
        endpoint.handle_command(at(2), Command::Answer { prompt, allow: true });
        outputs(endpoint).into_iter().find_map(|output| match output {
            Output::Call(Call { id, request: CallRequest::Admit { .. }, .. }) => Some(id),
            _ => None,
        })
    };
    let ticket = || Ok(CallReply::Ticket("a member's".to_owned()));
    let first = ask(&mut endpoint, "Ada", Role::Customer).unwrap();
    let call = admit(&mut endpoint, first).unwrap();
    endpoint.joiner_gone(number(5));
    let second = ask(&mut endpoint, "Eve", Role::Provider).unwrap();
    endpoint.handle_call(at(3), call, ticket());
    assert_eq!(endpoint.admissions.poll_timeout(), None, "the ticket is for nobody");
    let call = admit(&mut endpoint, second).expect("the second question still stands");
    assert!(endpoint.admissions.consented.contains(&number(5)));
    endpoint.admit(at(4), number(5), "a member's".to_owned());
    assert!(endpoint.admissions.poll_timeout().is_some());
    endpoint.handle_call(at(5), call, ticket());
}
