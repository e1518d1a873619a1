//! What time does by itself.

use std::time::Duration;

use proto_spec::ticket::Role;
use sealcast_broker::config::{ENDED_SESSION_KEPT, JOIN_VALIDITY};
use sealcast_broker::{Call, Denial, Reply, Request};
use sealcast_trust::ticket::{CLOCK_LEEWAY, MEMBER_VALIDITY_MAX};

use crate::world::{World, anyone, local};

fn keep(world: &mut World) {
    let mut after = None;
    loop {
        match world.call(&Call::default(), &Request::Housekeeping { after }).unwrap() {
            Reply::Housekept { after: None } => return,
            Reply::Housekept { after: next } => after = next,
            other => panic!("{other:?}"),
        }
    }
}

fn tables(world: &World, table: &str) -> usize {
    world.store.keys().filter(|key| key.0.starts_with(table.as_bytes())).count()
}

/// \[GW-8\]: a session ends when its last ticket does, not a moment before; its numbers go with it.
#[test]
fn sessions_end_with_their_last_ticket() {
    let mut world = World::new();
    let call = world.provider();
    let leader = world.create_session(&call);
    world.open_join(&leader, Role::Customer);
    world.pass(MEMBER_VALIDITY_MAX - Duration::from_millis(1));
    keep(&mut world);
    assert_eq!(tables(&world, "live/"), 1);
    assert_eq!(tables(&world, "join/"), 0, "the number expired long ago");
    world.pass(Duration::from_millis(1));
    keep(&mut world);
    assert_eq!((tables(&world, "live/"), tables(&world, "opened/"), tables(&world, "session/")), (0, 0, 1));
    assert!(world.audit().last().unwrap().contains("session.expire"));
    // It is there for reports, and then it is not.
    world.pass(ENDED_SESSION_KEPT);
    keep(&mut world);
    assert_eq!((tables(&world, "ended/"), tables(&world, "session/")), (0, 0));
    let gone = world.call(&local(), &Request::ShowSession { session: leader.session });
    assert_eq!(gone.unwrap_err(), Denial::NotFound("session"));
}

/// \[TMB-3\]: kept until every ticket that they end has expired.
#[test]
fn tombstones_are_forgotten_when_they_are_over() {
    let mut world = World::new();
    let call = world.provider();
    let leader = world.create_session(&call);
    world.call(&anyone(), &Request::EndSession { proof: leader.proof() }).unwrap();
    world.pass(MEMBER_VALIDITY_MAX + CLOCK_LEEWAY - Duration::from_millis(1));
    keep(&mut world);
    assert_eq!(tables(&world, "tombstone/"), 1);
    world.pass(Duration::from_millis(1));
    keep(&mut world);
    assert_eq!(tables(&world, "tombstone/"), 0);
}

/// However many have a number open: it takes no more rounds of reading than for one.
#[test]
fn many_sessions_are_looked_after_piece_by_piece() {
    let mut world = World::new();
    for account in 0..5 {
        let email = format!("p{account}@example.org");
        world.add_account(&email, &[sealcast_broker::record::AccountRole::Provider]);
        let call = world.log_in(&email, crate::world::GOOD_PASSWORD).unwrap();
        for _ in 0..50 {
            let leader = world.create_session(&call);
            world.open_join(&leader, Role::Customer);
        }
    }
    assert_eq!((tables(&world, "live/"), tables(&world, "join/")), (250, 250));
    keep(&mut world);
    assert_eq!((tables(&world, "live/"), tables(&world, "join/")), (250, 250));
    world.pass(JOIN_VALIDITY);
    keep(&mut world);
    assert_eq!((tables(&world, "live/"), tables(&world, "join/")), (250, 0));
    world.pass(MEMBER_VALIDITY_MAX);
    keep(&mut world);
    assert_eq!(tables(&world, "live/"), 0);
}

/// An expired number that was drawn anew for another session stays that session's.
#[test]
fn a_number_belongs_to_who_opened_it_last() {
    let mut world = World::new();
    let call = world.provider();
    let first = world.create_session(&call);
    let second = world.create_session(&call);
    let number = world.open_join(&first, Role::Customer);
    world.pass(JOIN_VALIDITY);
    // As if chance had drawn the same digits for the second session.
    let key = sealcast_broker::keys::join(number);
    let fresh = world.open_join(&second, Role::Customer);
    let record = world.store.get(&sealcast_broker::keys::join(fresh)).unwrap().clone();
    world.store.insert(key.clone(), record);
    world.call(&anyone(), &Request::CloseJoin { proof: first.proof(), number }).unwrap();
    assert!(world.store.contains_key(&key));
    world.call(&anyone(), &Request::EndSession { proof: first.proof() }).unwrap();
    assert!(world.store.contains_key(&key));
}
