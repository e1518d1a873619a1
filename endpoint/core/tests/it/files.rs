//! Files through a whole session: sent, asked for, cut and continued.

use std::path::PathBuf;
use std::time::Duration;

use proto_spec::SenderNumber;
use sealcast_endpoint_core::command::Command;
use sealcast_endpoint_core::event::{Event, Question};
use sealcast_endpoint_core::mpsl::Mpsl;
use sealcast_endpoint_core::null::Null;
use sealcast_endpoint_core::security::Security;

use crate::session::over_both;
use crate::world::{ACCEPT_ALL, ASK, World};

const SECOND: Duration = Duration::from_secs(1);

over_both! {
    /// \[SES-6\]
    a_file_is_asked_for_and_arrives;
    /// \[SES-6\]
    a_declined_file_does_not_arrive;
    /// \[SES-12\]
    a_transfer_continues_after_the_node_was_killed;
    /// \[SES-7\]
    a_transfer_pauses_while_a_member_is_not_accepted;
    /// \[SES-9\]
    a_removal_in_the_middle_disturbs_nobody_else;
}

/// Bytes that no compression shortens.
fn content(length: usize) -> Vec<u8> {
    let mut out = vec![0; length];
    blake3::Hasher::new().finalize_xof().fill(&mut out);
    out
}

fn offer<S: Security>(
    world: &mut World<S>,
    who: SenderNumber,
    length: usize,
    to: Vec<SenderNumber>,
) -> Vec<u8> {
    let content = content(length);
    world.peers.get_mut(&who).unwrap().disk.files.insert("/home/report.pdf".into(), content.clone());
    world.command_only(who, Command::Send { path: "/home/report.pdf".into(), to });
    content
}

fn received<S: Security>(world: &World<S>, who: SenderNumber) -> Option<&Vec<u8>> {
    world.peers[&who].disk.files.get(&PathBuf::from("/downloads/report.pdf"))
}

fn a_file_is_asked_for_and_arrives<S: Security>() {
    let mut world: World<S> = World::new();
    let host = world.host("Host", ACCEPT_ALL);
    let code = world.last_code(host);
    let customer = world.join("Cleo", &code, ASK).unwrap();
    world.pass(6 * SECOND);
    let sent = offer(&mut world, host, 3 * 1024 * 1024, vec![]);
    world.pass(SECOND);
    let asked = world.open_prompts(customer);
    assert!(
        matches!(&asked[0].1, Question::Files { from, file, size_bytes, .. }
            if *from == host && file == "report.pdf" && *size_bytes == sent.len() as u64),
        "{asked:?}"
    );
    assert_eq!(received(&world, customer), None);
    world.answer(customer, true);
    world.pass(20 * SECOND);
    assert!(received(&world, customer) == Some(&sent));
    for who in [host, customer] {
        assert!(world.events(who).iter().any(|event| matches!(event, Event::FileDone { .. })), "{who}");
    }
}

fn a_declined_file_does_not_arrive<S: Security>() {
    let mut world: World<S> = World::new();
    let host = world.host("Host", ACCEPT_ALL);
    let code = world.last_code(host);
    let customer = world.join("Cleo", &code, ASK).unwrap();
    world.pass(6 * SECOND);
    offer(&mut world, host, 1_000, vec![customer]);
    world.pass(SECOND);
    world.answer(customer, false);
    offer(&mut world, host, 1_000, vec![customer]);
    world.pass(70 * SECOND);
    assert_eq!(received(&world, customer), None);
    let refused = |event: &&Event| matches!(event, Event::FileRefused { by, .. } if *by == customer);
    assert_eq!(world.events(host).iter().filter(refused).count(), 2, "a no, and no answer in time");
}

fn a_transfer_continues_after_the_node_was_killed<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(1);
    let sent = offer(&mut world, numbers[0], 4 * 1024 * 1024, vec![]);
    for _ in 0..3 {
        world.steps(40);
        world.kill_node();
        world.pass(3 * SECOND);
        world.start_node();
    }
    assert!(received(&world, numbers[1]).is_none(), "it was in the middle");
    world.pass(60 * SECOND);
    assert!(received(&world, numbers[1]) == Some(&sent));
    assert!(received(&world, numbers[2]) == Some(&sent));
}

fn a_transfer_pauses_while_a_member_is_not_accepted<S: Security>() {
    let mut world: World<S> = World::new();
    let host = world.host("Host", ACCEPT_ALL);
    let code = world.last_code(host);
    let customer = world.join("Cleo", &code, ASK).unwrap();
    world.pass(6 * SECOND);
    world.command(host, Command::Invite { role: proto_spec::ticket::Role::Provider });
    let code = world.last_code(host);
    let sent = offer(&mut world, customer, 8 * 1024 * 1024, vec![host]);
    world.steps(20);
    world.join("Second", &code, ACCEPT_ALL).unwrap();
    world.pass(20 * SECOND);
    assert_eq!(world.open_prompts(customer).len(), 1);
    assert!(received(&world, host).is_none(), "nothing is sealed for a member that was not accepted");
    world.answer(customer, true);
    world.pass(30 * SECOND);
    assert!(received(&world, host) == Some(&sent));
}

fn a_removal_in_the_middle_disturbs_nobody_else<S: Security>() {
    let (mut world, numbers) = World::<S>::joined(1);
    let sent = offer(&mut world, numbers[1], 4 * 1024 * 1024, vec![]);
    world.steps(40);
    world.command_only(numbers[0], Command::Remove { number: numbers[2] });
    world.pass(60 * SECOND);
    assert!(received(&world, numbers[0]) == Some(&sent));
    assert!(received(&world, numbers[2]).is_none());
    assert_eq!(world.ended(numbers[2]), Some("removed"));
}
