//! What is written down, what never is, and that nobody can change it unseen.

use std::time::Duration;

use proto_spec::Wire;
use proto_spec::checkpoint::Checkpoint;
use proto_spec::ticket::Role;
use sealcast_broker::record::AccountRole;
use sealcast_broker::request::AuditEntry;
use sealcast_broker::{AdminCaller, Call, Denial, Reply, Request};
use sealcast_trust::audit::{CHECKPOINT_INTERVAL, CHECKPOINT_RECORDS, verify_chain, verify_checkpoint};
use sealcast_trust::{AdminRole, AuditLink, FaultKind, Head};

use crate::world::{GOOD_PASSWORD, World, anyone, local};

fn entries(world: &mut World) -> Vec<AuditEntry> {
    let mut all = Vec::new();
    loop {
        let request = Request::TailAudit { from_index: all.len() as u64 + 1, last: 0, limit: 0 };
        match world.call(&local(), &request).unwrap() {
            Reply::Audit { entries, .. } if entries.is_empty() => return all,
            Reply::Audit { entries, .. } => all.extend(entries),
            other => panic!("{other:?}"),
        }
    }
}

fn links(entries: &[AuditEntry]) -> Vec<AuditLink> {
    entries.iter().map(|entry| AuditLink { canonical: entry.canonical.clone(), hash: entry.hash }).collect()
}

fn checkpoints(world: &World, entries: &[AuditEntry]) -> Vec<proto_spec::checkpoint::CheckpointBody> {
    let signed = entries.iter().filter_map(|entry| entry.checkpoint.as_ref());
    signed
        .map(|bytes| {
            let checkpoint = Checkpoint::from_bytes(bytes).unwrap();
            verify_checkpoint(&checkpoint, &world.verifier).unwrap();
            checkpoint.body
        })
        .collect()
}

/// \[AUD-1\] \[AUD-7\]: a session from login to end, each decision once, in order.
#[test]
fn every_decision_is_written_down() {
    let mut world = World::new();
    world.add_account("alice@example.org", &[AccountRole::Provider]);
    world.log_in("alice@example.org", "wrong").unwrap_err();
    world.log_in("nobody@example.org", "wrong").unwrap_err();
    let call = world.log_in("alice@example.org", GOOD_PASSWORD).unwrap();
    let leader = world.create_session(&call);
    let member = world.join(&leader, 2);
    let number = world.open_join(&leader, Role::Customer);
    world.call(&anyone(), &Request::CloseJoin { proof: leader.proof(), number }).unwrap();
    world.pass(Duration::from_secs(6 * 3600));
    world.call(&anyone(), &Request::RenewTicket { proof: leader.proof() }).unwrap();
    world.call(&anyone(), &Request::RemoveMember { proof: leader.proof(), number: member.number }).unwrap();
    world.call(&anyone(), &Request::EndSession { proof: leader.proof() }).unwrap();
    world.call(&call, &Request::Logout).unwrap();
    let auditor = Call {
        admin: Some(AdminCaller::Certificate { role: AdminRole::Auditor, name: "ada".into() }),
        ..anyone()
    };
    let denied = world.call(&auditor, &Request::LockAccount { email: "alice@example.org".into() });
    assert_eq!(denied.unwrap_err(), Denial::RoleMissing("account-admin"));

    let lines = world.audit();
    let actions: Vec<String> = lines
        .iter()
        .map(|line| {
            let record: sealcast_trust::audit::Record = serde_json::from_str(line).unwrap();
            let outcome = serde_json::to_value(record.outcome).unwrap();
            format!("{} {}", record.action, outcome.as_str().unwrap())
        })
        .collect();
    assert_eq!(
        actions,
        [
            "account.add done",
            "login refused",
            "login refused",
            "login done",
            "session.create done",
            "join.open done",
            "join.lookup done",
            "member.admit done",
            "join.open done",
            "join.close done",
            "ticket.renew done",
            "member.remove done",
            "session.end done",
            "logout done",
            "Admin.LockAccount refused",
        ]
    );
    assert!(lines[14].contains(r#""actor":{"kind":"admin","name":"ada"}"#), "{}", lines[14]);
    assert!(lines[2].contains(r#""reason":"unknown""#) && lines[1].contains(r#""subject":"account 1""#));
}

/// \[AUD-2\]: no password, no ticket, no number of a session, no address, wherever they went through.
#[test]
fn secrets_are_never_written_down() {
    let mut world = World::new();
    let call = world.provider();
    world.log_in("alice@example.org", "hunter2-canary").unwrap_err();
    let leader = world.create_session(&call);
    let number = world.open_join(&leader, Role::Customer);
    let guest = world.look_up(&anyone(), number, 2).unwrap();
    let member = world.admit(&leader, &guest).unwrap();
    let text = world.audit().join("\n");
    assert!(text.contains(&leader.session.to_string()), "the search finds what is there");
    let digits = number.value().to_string();
    for secret in [
        GOOD_PASSWORD,
        "hunter2-canary",
        "argon2",
        "v4.public",
        &leader.ticket,
        &guest.ticket,
        &member.ticket,
        &digits,
        &number.to_string(),
        "alice",
        "example.org",
    ] {
        assert!(!text.contains(secret), "{secret:?} is in the audit");
    }
}

/// \[AUD-5\] \[AUD-6\]: the chain as handed out verifies, and any change of it shows.
#[test]
fn the_chain_verifies_and_changes_show() {
    let mut world = World::new();
    let call = world.provider();
    for _ in 0..3 {
        world.create_session(&call);
        world.pass(CHECKPOINT_INTERVAL);
    }
    world.call(&Call::default(), &Request::Housekeeping { after: None }).unwrap();
    let entries = entries(&mut world);
    let signed = checkpoints(&world, &entries);
    let start = Head::genesis("m");
    let summary = verify_chain(start, links(&entries), signed.clone()).unwrap();
    assert_eq!(summary.records, entries.len() as u64);
    assert_eq!(signed.last().unwrap().index, summary.head.index, "housekeeping has signed the end");
    let mut cut = links(&entries);
    cut.pop();
    assert_eq!(verify_chain(start, cut, signed.clone()).unwrap_err().kind, FaultKind::Truncated);
    let mut gap = links(&entries);
    gap.remove(1);
    assert_eq!(verify_chain(start, gap, signed.clone()).unwrap_err().kind, FaultKind::Missing);
    // From the middle on, as a reader who follows does.
    let middle = Head { index: 2, hash: entries[1].hash };
    assert!(verify_chain(middle, links(&entries[2..]), signed).is_ok());
}

/// \[AUD-6\]: a checkpoint after ten seconds with news, none without, and one after a thousand records.
#[test]
fn checkpoints_come_in_time() {
    let mut world = World::new();
    let keep =
        |world: &mut World| world.call(&Call::default(), &Request::Housekeeping { after: None }).unwrap();
    let signed = |world: &mut World| {
        let entries = entries(world);
        checkpoints(world, &entries).into_iter().map(|body| body.index).collect::<Vec<_>>()
    };
    keep(&mut world);
    assert!(world.store.is_empty(), "nothing to sign yet");
    let call = world.provider();
    let after_start = signed(&mut world);
    world.create_session(&call);
    keep(&mut world);
    assert_eq!(signed(&mut world), after_start);
    world.pass(CHECKPOINT_INTERVAL);
    keep(&mut world);
    assert_eq!(signed(&mut world).len(), after_start.len() + 1);
    let commits = world.commits;
    world.pass(CHECKPOINT_INTERVAL);
    keep(&mut world);
    assert_eq!(world.commits, commits, "nothing new, nothing written");
    // A thousand records within no time.
    for _ in 0..CHECKPOINT_RECORDS {
        world.call(&local(), &Request::UnlockAccount { email: "alice@example.org".into() }).unwrap();
    }
    assert_eq!(signed(&mut world).len(), after_start.len() + 2);
}

/// \[AUD-7\]
#[test]
fn the_newest_records_come_by_count() {
    let mut world = World::new();
    let call = world.provider();
    world.create_session(&call);
    let total = entries(&mut world).len() as u64;
    let ask = |world: &mut World, from_index, last, limit| match world
        .call(&local(), &Request::TailAudit { from_index, last, limit })
        .unwrap()
    {
        Reply::Audit { entries, head_index } => {
            assert_eq!(head_index, total);
            entries.into_iter().map(|entry| entry.index).collect::<Vec<_>>()
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(ask(&mut world, 0, 2, 0), [total - 1, total]);
    assert_eq!(ask(&mut world, 0, 999, 0).len() as u64, total);
    assert_eq!(ask(&mut world, 2, 0, 1), [2]);
    assert!(ask(&mut world, total + 1, 0, 0).is_empty());
    assert!(ask(&mut world, u64::MAX, 0, 0).is_empty());
}
