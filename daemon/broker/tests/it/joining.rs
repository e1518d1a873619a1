//! Numbers, look-ups, admission, renewal, removal, the end.

use std::collections::BTreeSet;
use std::time::Duration;

use proto_spec::ticket::{Role, TicketKind};
use proto_spec::{SenderNumber, SessionNumber};
use sealcast_broker::config::{
    JOIN_VALIDITY, JOINS_OPEN_MAX, LOBBY_GUESTS_MAX, MEMBERS_MAX, SESSIONS_PER_ACCOUNT_MAX,
};
use sealcast_broker::record::AccountRole;
use sealcast_broker::{Decision, Denial, Effect, Reply, Request};
use sealcast_trust::ticket::{LOBBY_VALIDITY_MAX, MEMBER_VALIDITY_MAX};
use sealcast_trust::{TicketError, tombstone};

use crate::world::{Endpoint, GOOD_PASSWORD, World, anyone, local};

fn session() -> (World, Endpoint) {
    let mut world = World::new();
    let call = world.provider();
    let leader = world.create_session(&call);
    (world, leader)
}

/// \[GW-8\] \[TKT-3\] \[TKT-5\]: from number to lobby ticket to member ticket.
#[test]
fn a_customer_joins_by_number() {
    let (mut world, leader) = session();
    let claims = world.claims(&leader.ticket);
    assert_eq!(
        (claims.kind, claims.role, claims.number),
        (TicketKind::Member, Role::Provider, claims.leader)
    );
    assert_eq!(claims.nodes.len(), 1);

    let number = world.open_join(&leader, Role::Customer);
    let guest = world.look_up(&anyone(), number, 2).unwrap();
    let claims = world.claims(&guest.ticket);
    assert_eq!((claims.kind, claims.role, claims.leader), (TicketKind::Lobby, Role::Customer, leader.number));
    assert_eq!(claims.attach_key, *guest.key.verifying_key().as_bytes());
    assert_eq!(claims.expires, world.now.wall.plus(LOBBY_VALIDITY_MAX));
    assert_ne!(guest.number, leader.number);

    let member = world.admit(&leader, &guest).unwrap();
    let claims = world.claims(&member.ticket);
    assert_eq!((claims.kind, claims.number), (TicketKind::Member, guest.number));
    assert_eq!(claims.attach_key, *guest.key.verifying_key().as_bytes());
    assert_eq!(claims.expires, world.now.wall.plus(MEMBER_VALIDITY_MAX));
}

/// \[GW-4\]: unknown, used, closed, expired, full, of another role, of an ended session: one answer without a commit.
#[test]
fn numbers_that_lead_nowhere_answer_alike() {
    let (mut world, leader) = session();
    let nothing = |world: &mut World, number: SessionNumber| {
        let attach_key = [9; 32];
        let request = Request::Lookup { number: Some(number), attach_key, probes: vec![] };
        let decision = world.decide(&anyone(), &request);
        assert!(matches!(decision, Decision::Denied(Denial::NumberUnknown)), "{decision:?}");
    };
    nothing(&mut world, SessionNumber::new(123_456_789).unwrap());
    let request = Request::Lookup { number: None, attach_key: [9; 32], probes: vec![] };
    assert_eq!(world.call(&anyone(), &request).unwrap_err(), Denial::NumberUnknown);

    let used = world.open_join(&leader, Role::Customer);
    let guest = world.look_up(&anyone(), used, 2).unwrap();
    world.admit(&leader, &guest).unwrap();
    nothing(&mut world, used);

    let closed = world.open_join(&leader, Role::Customer);
    world.call(&anyone(), &Request::CloseJoin { proof: leader.proof(), number: closed }).unwrap();
    nothing(&mut world, closed);
    // Closed again, and a number of nobody: done, and says nothing.
    for number in [closed, SessionNumber::new(123_456_789).unwrap()] {
        world.call(&anyone(), &Request::CloseJoin { proof: leader.proof(), number }).unwrap();
    }

    let expired = world.open_join(&leader, Role::Customer);
    world.pass(JOIN_VALIDITY - Duration::from_millis(1));
    world.look_up(&anyone(), expired, 3).unwrap();
    world.pass(Duration::from_millis(1));
    nothing(&mut world, expired);

    let providers = world.open_join(&leader, Role::Provider);
    nothing(&mut world, providers);

    let full = world.open_join(&leader, Role::Customer);
    for seed in 0..LOBBY_GUESTS_MAX as u8 - 1 {
        world.look_up(&anyone(), full, 100 + seed).unwrap();
    }
    // The guest of the expired number still holds a place.
    nothing(&mut world, full);

    let last = world.open_join(&leader, Role::Customer);
    world.call(&anyone(), &Request::EndSession { proof: leader.proof() }).unwrap();
    nothing(&mut world, last);
}

/// \[GW-4\] \[GW-2\]: a provider's number is found only by who is logged in as one.
#[test]
fn a_providers_number_needs_a_provider() {
    let (mut world, leader) = session();
    world.add_account("bob@example.org", &[AccountRole::Provider]);
    world.add_account("carol@example.org", &[AccountRole::Auditor]);
    let bob = world.log_in("bob@example.org", GOOD_PASSWORD).unwrap();
    let carol = world.log_in("carol@example.org", GOOD_PASSWORD).unwrap();
    let number = world.open_join(&leader, Role::Provider);
    assert_eq!(world.look_up(&anyone(), number, 2).err(), Some(Denial::NumberUnknown));
    assert_eq!(world.look_up(&carol, number, 2).err(), Some(Denial::NumberUnknown));
    let mut stolen = bob.clone();
    stolen.exporter = Some([3; 32]);
    assert_eq!(world.look_up(&stolen, number, 2).err(), Some(Denial::NumberUnknown));
    let guest = world.look_up(&bob, number, 2).unwrap();
    assert_eq!(world.claims(&guest.ticket).role, Role::Provider);
    // An account that is locked afterwards does not renew.
    let member = world.admit(&leader, &guest).unwrap();
    world.call(&local(), &Request::LockAccount { email: "bob@example.org".into() }).unwrap();
    world.pass(MEMBER_VALIDITY_MAX / 2);
    assert_eq!(
        world.call(&anyone(), &Request::RenewTicket { proof: member.proof() }).unwrap_err(),
        Denial::NotLoggedIn
    );
}

/// \[ID-2\]: sender numbers are never used again, whatever becomes of their holders.
#[test]
fn sender_numbers_are_never_reused() {
    let (mut world, leader) = session();
    let mut seen = BTreeSet::from([leader.number]);
    for seed in 0..60u8 {
        let number = world.open_join(&leader, Role::Customer);
        let guest = world.look_up(&anyone(), number, seed).unwrap();
        assert!(seen.insert(guest.number), "{} twice", guest.number);
        if seed % 2 == 0 {
            let member = world.admit(&leader, &guest).unwrap();
            world
                .call(&anyone(), &Request::RemoveMember { proof: leader.proof(), number: member.number })
                .unwrap();
        } else {
            world.call(&anyone(), &Request::CloseJoin { proof: leader.proof(), number }).unwrap();
        }
        if seed % 8 == 7 {
            world.pass(LOBBY_VALIDITY_MAX);
        }
    }
}

/// \[GW-8\]: the limit of members, at it and one beyond.
#[test]
fn a_session_holds_fifty() {
    let (mut world, leader) = session();
    let waiting_number = world.open_join(&leader, Role::Customer);
    let waiting = world.look_up(&anyone(), waiting_number, 200).unwrap();
    for seed in 0..MEMBERS_MAX as u8 - 1 {
        world.join(&leader, seed + 10);
    }
    let number = world.open_join(&leader, Role::Customer);
    assert_eq!(world.look_up(&anyone(), number, 201).err(), Some(Denial::NumberUnknown));
    assert!(matches!(
        world.admit(&leader, &waiting).err(),
        Some(Denial::LimitReached { limit: MEMBERS_MAX, .. })
    ));
    let two = SenderNumber::new(3).unwrap();
    world.call(&anyone(), &Request::RemoveMember { proof: leader.proof(), number: two }).unwrap();
    world.admit(&leader, &waiting).unwrap();
}

/// Answers get lost: asking again gives the same place.
#[test]
fn asking_again_keeps_the_place() {
    let (mut world, leader) = session();
    let number = world.open_join(&leader, Role::Customer);
    let first = world.look_up(&anyone(), number, 2).unwrap();
    let again = world.look_up(&anyone(), number, 2).unwrap();
    assert_eq!(first.number, again.number);
    assert_ne!(world.look_up(&anyone(), number, 3).unwrap().number, first.number);
    let member = world.admit(&leader, &first).unwrap();
    let readmitted = world.admit(&leader, &first).unwrap();
    assert_eq!(world.claims(&member.ticket).number, world.claims(&readmitted.ticket).number);
}

/// \[GW-7\]: stolen, foreign, expired and lobby tickets make no call.
#[test]
fn a_call_needs_the_tickets_key_on_this_connection() {
    let (mut world, leader) = session();
    let ask =
        |world: &mut World, proof| world.call(&anyone(), &Request::OpenJoin { proof, role: Role::Customer });
    let mut altered = leader.proof();
    altered.signature[5] ^= 1;
    assert_eq!(ask(&mut world, altered).unwrap_err(), Denial::ProofWrong);
    let thief = Endpoint { key: ed25519_dalek::SigningKey::from_bytes(&[66; 32]), ..leader.clone() };
    assert_eq!(ask(&mut world, thief.proof()).unwrap_err(), Denial::ProofWrong);
    let mut elsewhere = anyone();
    elsewhere.exporter = Some([7; 32]);
    let request = Request::OpenJoin { proof: leader.proof(), role: Role::Customer };
    assert_eq!(world.call(&elsewhere, &request).unwrap_err(), Denial::ProofWrong);

    let mut other = World::new();
    let call = other.provider();
    let foreign = other.create_session(&call);
    assert_eq!(ask(&mut world, foreign.proof()).unwrap_err(), Denial::Ticket(TicketError::Foreign));

    let number = world.open_join(&leader, Role::Customer);
    let guest = world.look_up(&anyone(), number, 2).unwrap();
    assert_eq!(ask(&mut world, guest.proof()).unwrap_err(), Denial::NotThatMember("members"));
    world.pass(MEMBER_VALIDITY_MAX);
    assert_eq!(ask(&mut world, leader.proof()).unwrap_err(), Denial::Ticket(TicketError::Expired));
}

/// \[GW-8\]: from half of its life on, at that moment and one before.
#[test]
fn tickets_are_renewed_from_half_of_their_life_on() {
    let (mut world, leader) = session();
    let renew = |world: &mut World, from: &Endpoint| {
        world.call(&anyone(), &Request::RenewTicket { proof: from.proof() })
    };
    world.pass(MEMBER_VALIDITY_MAX / 2 - Duration::from_millis(1));
    assert_eq!(renew(&mut world, &leader).unwrap_err(), Denial::RenewTooEarly);
    world.pass(Duration::from_millis(1));
    let Reply::Ticket { ticket } = renew(&mut world, &leader).unwrap() else { panic!() };
    let claims = world.claims(&ticket);
    assert_eq!(claims.number, leader.number);
    assert_eq!(claims.expires, world.now.wall.plus(MEMBER_VALIDITY_MAX));
    let renewed = Endpoint { ticket, ..leader };
    world.pass(MEMBER_VALIDITY_MAX / 2);
    renew(&mut world, &renewed).unwrap();
}

/// \[TMB-1\] \[TMB-3\]: removed is removed: tombstone, no renewal, no call; twice is once.
#[test]
fn a_removed_member_is_out() {
    let (mut world, leader) = session();
    let member = world.join(&leader, 2);
    let remove = |world: &mut World, number| {
        world.call(&anyone(), &Request::RemoveMember { proof: leader.proof(), number })
    };
    remove(&mut world, member.number).unwrap();
    let [Effect::Tombstone(bytes)] = &world.effects[..] else { panic!("{:?}", world.effects) };
    let body = tombstone::verify(bytes, &world.verifier, world.now.wall).unwrap();
    assert_eq!((body.session, body.number), (leader.session, Some(member.number)));
    remove(&mut world, member.number).unwrap();
    assert_eq!(world.effects.len(), 1);
    world.pass(MEMBER_VALIDITY_MAX / 2);
    let renewal = world.call(&anyone(), &Request::RenewTicket { proof: member.proof() });
    assert_eq!(renewal.unwrap_err(), Denial::MemberRemoved);
    assert!(matches!(world.admit(&leader, &member).err(), Some(Denial::MemberRemoved)));
    assert!(matches!(remove(&mut world, leader.number), Err(Denial::Invalid(_))));
    assert_eq!(remove(&mut world, SenderNumber::new(999).unwrap()).unwrap_err(), Denial::NotFound("member"));
    // Kept for nodes that start later.
    let mut reads = sealcast_broker::ReadSet::new();
    world.read(
        &mut reads,
        vec![sealcast_broker::Read::Range(sealcast_broker::keys::tombstones_after(None, 10))],
    );
    assert_eq!(
        world.store.keys().filter(|key| key.0.starts_with(sealcast_broker::keys::TOMBSTONE_PREFIX)).count(),
        1
    );
}

/// \[TMB-1\]: the end ends everything, once.
#[test]
fn an_ended_session_is_over() {
    let (mut world, leader) = session();
    let member = world.join(&leader, 2);
    let end =
        |world: &mut World, by: &Endpoint| world.call(&anyone(), &Request::EndSession { proof: by.proof() });
    assert_eq!(end(&mut world, &member).unwrap_err(), Denial::NotThatMember("creator"));
    end(&mut world, &leader).unwrap();
    let [Effect::Tombstone(bytes)] = &world.effects[..] else { panic!("{:?}", world.effects) };
    let body = tombstone::verify(bytes, &world.verifier, world.now.wall).unwrap();
    assert_eq!((body.session, body.number), (leader.session, None));
    for by in [&leader, &member] {
        assert_eq!(end(&mut world, by).unwrap_err(), Denial::SessionEnded);
    }
}

#[test]
fn open_numbers_and_sessions_are_bounded() {
    let (mut world, leader) = session();
    let open = |world: &mut World| {
        world.call(&anyone(), &Request::OpenJoin { proof: leader.proof(), role: Role::Customer })
    };
    for _ in 0..JOINS_OPEN_MAX {
        open(&mut world).unwrap();
    }
    assert!(matches!(open(&mut world), Err(Denial::LimitReached { limit: JOINS_OPEN_MAX, .. })));
    world.pass(JOIN_VALIDITY);
    open(&mut world).unwrap();

    let call = world.log_in("alice@example.org", GOOD_PASSWORD).unwrap();
    for _ in 1..SESSIONS_PER_ACCOUNT_MAX {
        world.create_session(&call);
    }
    let request = Request::CreateSession { attach_key: [1; 32], probes: vec![] };
    assert!(matches!(world.call(&call, &request), Err(Denial::LimitReached { .. })));
    world.call(&anyone(), &Request::EndSession { proof: leader.proof() }).unwrap();
    world.call(&call, &request).unwrap();
}

/// Two that change the same session at once: the second is told to read anew, and loses nothing.
#[test]
fn decisions_at_once_meet_in_the_commit() {
    let (mut world, leader) = session();
    let number = world.open_join(&leader, Role::Customer);
    let lookup = |seed: u8| Request::Lookup {
        number: Some(number),
        attach_key: *ed25519_dalek::SigningKey::from_bytes(&[seed; 32]).verifying_key().as_bytes(),
        probes: vec![],
    };
    let Decision::Commit(first) = world.decide(&anyone(), &lookup(2)) else { panic!() };
    let Decision::Commit(second) = world.decide(&anyone(), &lookup(3)) else { panic!() };
    assert!(world.commit(&first.compare, &first.ops));
    assert!(!world.commit(&second.compare, &second.ops), "both would have been given one number");
    let Decision::Commit(second) = world.decide(&anyone(), &lookup(3)) else { panic!() };
    assert!(world.commit(&second.compare, &second.ops));
    let numbers = [first, second].map(|commit| match commit.reply.unwrap() {
        Reply::Found { number, .. } => number,
        other => panic!("{other:?}"),
    });
    assert_ne!(numbers[0], numbers[1]);
}
