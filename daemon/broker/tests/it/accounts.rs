//! Accounts as administrators see and change them.

use sealcast_broker::config::{DISPLAY_NAME_LENGTH_MAX, PAGE_MAX};
use sealcast_broker::record::AccountRole;
use sealcast_broker::request::{NewAccount, NewPassword};
use sealcast_broker::{Denial, Reply, Request};

use crate::world::{GOOD_PASSWORD, World, hash, local};

fn new(email: &str, name: &str, password: &str, roles: &[AccountRole]) -> Request {
    Request::AddAccount(NewAccount {
        email: email.into(),
        display_name: name.into(),
        password: password.to_owned().into(),
        password_hash: hash(password),
        roles: roles.to_vec(),
    })
}

/// \[GW-3\] \[GW-12\]
#[test]
fn accounts_that_cannot_be_are_refused() {
    let mut world = World::new();
    let provider = [AccountRole::Provider];
    let mut refused = |request: Request| world.call(&local(), &request).unwrap_err();
    assert!(matches!(refused(new("no address", "A", GOOD_PASSWORD, &provider)), Denial::Invalid(_)));
    assert!(matches!(refused(new("a@b", " ", GOOD_PASSWORD, &provider)), Denial::Invalid(_)));
    assert!(matches!(refused(new("a@b", "A\u{7}", GOOD_PASSWORD, &provider)), Denial::Invalid(_)));
    let long = "n".repeat(DISPLAY_NAME_LENGTH_MAX + 1);
    assert!(matches!(refused(new("a@b", &long, GOOD_PASSWORD, &provider)), Denial::Invalid(_)));
    assert!(matches!(refused(new("a@b", "A", GOOD_PASSWORD, &[])), Denial::Invalid(_)));
    assert!(matches!(refused(new("a@b", "A", "password1", &provider)), Denial::WeakPassword(_)));
    let plain = NewAccount {
        email: "a@b".into(),
        display_name: "A".into(),
        password: GOOD_PASSWORD.to_owned().into(),
        password_hash: GOOD_PASSWORD.into(),
        roles: provider.to_vec(),
    };
    assert!(matches!(refused(Request::AddAccount(plain)), Denial::Invalid(_)), "a password in the clear");
    assert!(world.store.is_empty() || world.audit().iter().all(|line| line.contains("refused")));
    world.call(&local(), &new("a@b", "A", GOOD_PASSWORD, &provider)).unwrap();
    let twice = world.call(&local(), &new(" A@B ", "B", GOOD_PASSWORD, &provider)).unwrap_err();
    assert_eq!(twice, Denial::AccountExists);
}

/// \[GW-3\]: numbers of accounts are never used again.
#[test]
fn a_removed_account_is_gone_with_its_credentials() {
    let mut world = World::new();
    let call = world.provider();
    let id = world.account("alice@example.org").id;
    world.call(&local(), &Request::RemoveAccount { email: "Alice@example.org".into() }).unwrap();
    assert_eq!(world.call(&call, &Request::Logout).unwrap_err(), Denial::NotLoggedIn);
    let gone = world.call(&local(), &Request::ShowAccount { email: "alice@example.org".into() });
    assert_eq!(gone.unwrap_err(), Denial::NotFound("account"));
    assert!(world.add_account("alice@example.org", &[AccountRole::Provider]).id > id);
    assert_eq!(
        world.call(&call, &Request::Logout).unwrap_err(),
        Denial::NotLoggedIn,
        "the old one's credential"
    );
}

#[test]
fn locks_and_new_passwords_revoke_credentials() {
    let mut world = World::new();
    let first = world.provider();
    let email = || "alice@example.org".to_owned();
    world.call(&local(), &Request::LockAccount { email: email() }).unwrap();
    assert!(world.account(&email()).locked);
    assert_eq!(world.log_in(&email(), GOOD_PASSWORD).unwrap_err(), Denial::LoginFailed);
    world.call(&local(), &Request::UnlockAccount { email: email() }).unwrap();
    assert_eq!(world.call(&first, &Request::Logout).unwrap_err(), Denial::NotLoggedIn);

    let second = world.log_in(&email(), GOOD_PASSWORD).unwrap();
    let weak =
        NewPassword { email: email(), password: "alice12345".to_owned().into(), password_hash: hash("x") };
    assert!(matches!(world.call(&local(), &Request::SetPassword(weak)), Err(Denial::WeakPassword(_))));
    let better = "another-9-marmalade-sky";
    let strong =
        NewPassword { email: email(), password: better.to_owned().into(), password_hash: hash(better) };
    world.call(&local(), &Request::SetPassword(strong)).unwrap();
    assert_eq!(world.call(&second, &Request::Logout).unwrap_err(), Denial::NotLoggedIn);
    assert_eq!(world.log_in(&email(), GOOD_PASSWORD).unwrap_err(), Denial::LoginFailed);
    world.log_in(&email(), better).unwrap();
}

#[test]
fn unlocking_ends_a_soft_lock_too() {
    let mut world = World::new();
    world.add_account("a@b", &[AccountRole::Provider]);
    for _ in 0..5 {
        world.log_in("a@b", "wrong").unwrap_err();
    }
    world.call(&local(), &Request::UnlockAccount { email: "a@b".into() }).unwrap();
    world.log_in("a@b", GOOD_PASSWORD).unwrap();
}

/// \[GW-10\]: pages follow each other without gap or repetition.
#[test]
fn lists_come_in_pages() {
    let mut world = World::new();
    for index in 0..25 {
        world.add_account(&format!("user{index:02}@example.org"), &[AccountRole::Provider]);
    }
    let (mut after, mut seen, mut pages) = (String::new(), Vec::new(), 0);
    loop {
        let request = Request::ListAccounts { after: after.clone(), limit: 10 };
        let Reply::Accounts { accounts, more } = world.call(&local(), &request).unwrap() else { panic!() };
        assert!(accounts.len() <= 10);
        seen.extend(accounts.into_iter().map(|account| account.email));
        pages += 1;
        after = seen.last().unwrap().clone();
        if !more {
            break;
        }
    }
    let all: Vec<String> = (0..25).map(|index| format!("user{index:02}@example.org")).collect();
    assert_eq!((seen, pages), (all, 3));
    let request = Request::ListAccounts { after: String::new(), limit: PAGE_MAX + 1 };
    let Reply::Accounts { accounts, more } = world.call(&local(), &request).unwrap() else { panic!() };
    assert_eq!((accounts.len(), more), (25, false));
}

/// \[GW-10\]: sessions listed, shown and closed; the number never.
#[test]
fn sessions_are_listed_shown_and_closed() {
    let mut world = World::new();
    let call = world.provider();
    let leader = world.create_session(&call);
    let other = world.create_session(&call);
    let member = world.join(&leader, 2);
    let number = world.open_join(&leader, proto_spec::ticket::Role::Customer);
    let Reply::Session(shown) =
        world.call(&local(), &Request::ShowSession { session: leader.session }).unwrap()
    else {
        panic!()
    };
    assert!(shown.joinable && shown.ended.is_none());
    assert_eq!(shown.provider, "alice@example.org");
    let members: Vec<_> =
        shown.members.iter().map(|member| (member.number, member.account.as_str())).collect();
    assert_eq!(members, [(leader.number, "alice@example.org"), (member.number, "")]);
    assert!(!format!("{shown:?}").contains(&number.value().to_string()));

    let list = |world: &mut World, ended_too| {
        let request = Request::ListSessions { ended_too, after: None, limit: 0 };
        match world.call(&local(), &request).unwrap() {
            Reply::Sessions { sessions, more: false } => sessions.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((list(&mut world, false), list(&mut world, true)), (2, 2));
    for _ in 0..2 {
        world.call(&local(), &Request::CloseSession { session: other.session }).unwrap();
    }
    assert_eq!(world.effects.len(), 1);
    assert_eq!((list(&mut world, false), list(&mut world, true)), (1, 2));
    let unknown = Request::ShowSession { session: proto_spec::SessionId([0; 16]) };
    assert_eq!(world.call(&local(), &unknown).unwrap_err(), Denial::NotFound("session"));
}
