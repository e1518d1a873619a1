//! Logins, failures, locks, credentials.

use std::time::Duration;

use sealcast_broker::config::{CREDENTIALS_MAX, FAILURES_MAX, SOFT_LOCK};
use sealcast_broker::record::AccountRole;
use sealcast_broker::{Denial, Reply, Request};

use crate::world::{EXPORTER, GOOD_PASSWORD, World, anyone, hash, local};

const ALICE: &str = "alice@example.org";

/// \[GW-5\]: in with the right password in any spelling of the address, out with a logout.
#[test]
fn a_credential_comes_from_a_login_and_goes_with_a_logout() {
    let mut world = World::new();
    world.add_account(ALICE, &[AccountRole::Provider]);
    let call = world.log_in(" Alice@Example.org ", GOOD_PASSWORD).unwrap();
    assert_eq!(world.account(ALICE).credentials, 1);
    world.create_session(&call);
    world.call(&call, &Request::Logout).unwrap();
    assert_eq!(world.account(ALICE).credentials, 0);
    assert_eq!(world.call(&call, &Request::Logout).unwrap_err(), Denial::NotLoggedIn);
}

/// \[GW-6\]: bound to the connection and to its key.
#[test]
fn a_credential_is_bound_to_its_connection_and_key() {
    let mut world = World::new();
    let call = world.provider();
    let mut elsewhere = call.clone();
    elsewhere.exporter = Some([1; 32]);
    let mut forged = call.clone();
    forged.credential.as_mut().unwrap().signature[0] ^= 1;
    let mut other = call.clone();
    other.credential.as_mut().unwrap().id[0] ^= 1;
    let mut plain = call.clone();
    plain.exporter = None;
    for bad in [elsewhere, forged, other, plain, anyone()] {
        assert_eq!(world.call(&bad, &Request::Logout).unwrap_err(), Denial::NotLoggedIn);
    }
    assert_eq!(call.exporter, Some(EXPORTER));
    world.call(&call, &Request::Logout).unwrap();
}

/// \[GW-9\]: five failures lock for five minutes, the sixth right password is refused, time opens it again.
#[test]
fn five_failures_lock_for_five_minutes() {
    let mut world = World::new();
    world.add_account(ALICE, &[AccountRole::Provider]);
    for failure in 1..FAILURES_MAX {
        assert_eq!(world.log_in(ALICE, "wrong").unwrap_err(), Denial::LoginFailed);
        assert_eq!(world.account(ALICE).failures, failure);
        assert_eq!(world.account(ALICE).locked_until.0, 0);
    }
    // Before the fifth a right one would have started the count anew.
    assert_eq!(world.log_in(ALICE, "wrong").unwrap_err(), Denial::LoginFailed);
    assert!(world.account(ALICE).locked_until.0 > 0);
    assert_eq!(world.log_in(ALICE, GOOD_PASSWORD).unwrap_err(), Denial::LoginFailed);
    world.pass(SOFT_LOCK - Duration::from_millis(1));
    assert_eq!(world.log_in(ALICE, GOOD_PASSWORD).unwrap_err(), Denial::LoginFailed);
    world.pass(Duration::from_millis(1));
    world.log_in(ALICE, GOOD_PASSWORD).unwrap();
    assert_eq!(world.account(ALICE).failures, 0);
}

/// \[GW-9\]: consecutive means that a success starts the count anew, and so does the end of a lock.
#[test]
fn only_failures_in_a_row_count() {
    let mut world = World::new();
    world.add_account(ALICE, &[AccountRole::Provider]);
    for _ in 0..3 {
        for _ in 1..FAILURES_MAX {
            world.log_in(ALICE, "wrong").unwrap_err();
        }
        world.log_in(ALICE, GOOD_PASSWORD).unwrap();
    }
    for _ in 0..FAILURES_MAX {
        world.log_in(ALICE, "wrong").unwrap_err();
    }
    world.pass(SOFT_LOCK);
    world.log_in(ALICE, "wrong").unwrap_err();
    assert_eq!(world.account(ALICE).failures, 1);
}

/// \[GW-9\]: guesses made at once are counted before any of them is looked at.
#[test]
fn guesses_at_once_count_each_by_itself() {
    let mut world = World::new();
    world.add_account(ALICE, &[AccountRole::Provider]);
    let mut pending = Vec::new();
    for _ in 0..20 {
        match world.step(&anyone(), &World::login_request(ALICE, GOOD_PASSWORD)).unwrap() {
            Reply::VerifyPassword(one) => pending.push(one),
            other => panic!("{other:?}"),
        }
    }
    // The twentieth answer comes first: it was started during the lock and is refused though the password is right.
    let last = pending.pop().unwrap();
    let request = Request::FinishLogin { pending: last, verified: true };
    assert_eq!(world.step(&anyone(), &request).unwrap_err(), Denial::LoginFailed);
    let allowed = pending.into_iter().filter(|one| {
        world.step(&anyone(), &Request::FinishLogin { pending: one.clone(), verified: true }).is_ok()
    });
    assert_eq!(allowed.count(), FAILURES_MAX as usize);
}

/// \[GW-9\]: unknown, wrong and locked take the same steps to the same answer.
#[test]
fn an_unknown_account_is_answered_like_a_wrong_password() {
    let mut world = World::new();
    world.add_account(ALICE, &[AccountRole::Provider]);
    world.add_account("locked@example.org", &[AccountRole::Provider]);
    world.call(&local(), &Request::LockAccount { email: "locked@example.org".into() }).unwrap();
    let mut ways = Vec::new();
    for email in [ALICE, "nobody@example.org", "not an address", "locked@example.org"] {
        let before = world.commits;
        let reply = world.step(&anyone(), &World::login_request(email, "wrong")).unwrap();
        let Reply::VerifyPassword(pending) = reply else { panic!("no verification for {email}") };
        assert!(pending.password_hash.starts_with("$argon2id$"));
        let verified = hash(&pending.password) == pending.password_hash;
        let denial = world.step(&anyone(), &Request::FinishLogin { pending, verified }).unwrap_err();
        ways.push((world.commits - before, denial));
    }
    assert!(ways.iter().all(|way| *way == (2, Denial::LoginFailed)), "{ways:?}");
    // Even if chance hit the password that nobody knows.
    assert_eq!(world.log_in("nobody@example.org", "nobody knows this").unwrap_err(), Denial::LoginFailed);
    assert_eq!(world.log_in("locked@example.org", GOOD_PASSWORD).unwrap_err(), Denial::LoginFailed);
}

/// What changes while Argon2 runs decides.
#[test]
fn a_login_overtaken_by_a_lock_fails() {
    let mut world = World::new();
    world.add_account(ALICE, &[AccountRole::Provider]);
    let begin =
        |world: &mut World| match world.step(&anyone(), &World::login_request(ALICE, GOOD_PASSWORD)).unwrap()
        {
            Reply::VerifyPassword(pending) => pending,
            other => panic!("{other:?}"),
        };
    let overtaken = [
        Request::LockAccount { email: ALICE.into() },
        Request::SetPassword(sealcast_broker::request::NewPassword {
            email: ALICE.into(),
            password: "another-9-marmalade-sky".to_owned().into(),
            password_hash: hash("another-9-marmalade-sky"),
        }),
        Request::RemoveAccount { email: ALICE.into() },
    ];
    for change in overtaken {
        let pending = begin(&mut world);
        world.call(&local(), &change).unwrap();
        let request = Request::FinishLogin { pending, verified: true };
        assert_eq!(world.step(&anyone(), &request).unwrap_err(), Denial::LoginFailed);
        let _ = world.call(&local(), &Request::UnlockAccount { email: ALICE.into() });
    }
}

/// The oldest credential gives way beyond the limit.
#[test]
fn credentials_of_one_account_are_bounded() {
    let mut world = World::new();
    let first = world.provider();
    for _ in 1..CREDENTIALS_MAX {
        world.pass(Duration::from_secs(1));
        world.log_in(ALICE, GOOD_PASSWORD).unwrap();
    }
    world.create_session(&first);
    world.pass(Duration::from_secs(1));
    let newest = world.log_in(ALICE, GOOD_PASSWORD).unwrap();
    assert_eq!(world.account(ALICE).credentials as usize, CREDENTIALS_MAX);
    assert_eq!(world.call(&first, &Request::Logout).unwrap_err(), Denial::NotLoggedIn);
    world.create_session(&newest);
}

/// \[GW-5\]
#[test]
fn overlong_fields_are_refused_before_anything() {
    let mut world = World::new();
    let before = world.commits;
    let long = "x".repeat(257);
    assert!(matches!(world.log_in(ALICE, &long), Err(Denial::Invalid(_))));
    let Request::Login(mut login) = World::login_request(ALICE, "x") else { unreachable!() };
    login.label = "x".repeat(65);
    assert!(matches!(world.call(&anyone(), &Request::Login(login)), Err(Denial::Invalid(_))));
    assert_eq!(world.commits, before);
}
