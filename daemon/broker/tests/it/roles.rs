//! All calls by all callers: each gets in where the table says so, and nowhere else.

use std::collections::BTreeSet;

use proto_spec::ticket::Role;
use proto_spec::{NodeNumber, SenderNumber, SessionId, SessionNumber};
use sealcast_broker::record::AccountRole;
use sealcast_broker::request::{LoginRequest, NewAccount, NewPassword, TicketProof};
use sealcast_broker::{AdminCaller, Call, DenialKind, Method, Request, Requirement};
use sealcast_trust::AdminRole;

use crate::world::{Endpoint, GOOD_PASSWORD, World, anyone, hash, local};

/// The methods of the .proto file, as `Service.Method`.
fn methods_of_the_proto_file() -> BTreeSet<String> {
    let text = include_str!("../../../../proto-spec/rpc/proto/sealcast.proto");
    let mut service = String::new();
    let mut methods = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("service ") {
            service = rest.trim_end_matches(['{', ' ']).to_owned();
        }
        if let Some(rest) = line.strip_prefix("rpc ") {
            methods.insert(format!("{service}.{}", rest.split('(').next().unwrap().trim()));
        }
    }
    methods
}

/// \[GW-1\]: no call without a row, no row without a call.
#[test]
fn every_call_stands_in_the_table() {
    let table: BTreeSet<String> = Method::ALL.iter().map(|method| method.name().to_owned()).collect();
    assert_eq!(table.len(), Method::ALL.len());
    assert_eq!(table, methods_of_the_proto_file());
}

/// Who calls, with what they can show.
struct Caller {
    name: &'static str,
    call: Call,
    ticket: Option<Endpoint>,
    /// Whether the table lets them.
    may: fn(Requirement) -> bool,
}

fn request(method: Method, proof: TicketProof, guest: SenderNumber, session: SessionId) -> Request {
    let email = || "bob@example.org".to_owned();
    match method {
        Method::About => Request::About,
        Method::Login => Request::Login(LoginRequest {
            email: email(),
            password: "wrong".to_owned().into(),
            credential_key: [1; 32],
            label: String::new(),
        }),
        Method::Logout => Request::Logout,
        Method::CreateSession => Request::CreateSession { attach_key: [1; 32], probes: vec![] },
        Method::OpenJoin => Request::OpenJoin { proof, role: Role::Customer },
        Method::CloseJoin => Request::CloseJoin { proof, number: SessionNumber::new(123_456_789).unwrap() },
        Method::Lookup => Request::Lookup { number: None, attach_key: [1; 32], probes: vec![] },
        Method::Admit => Request::Admit { proof, number: guest },
        Method::RenewTicket => Request::RenewTicket { proof },
        Method::RemoveMember => Request::RemoveMember { proof, number: guest },
        Method::EndSession => Request::EndSession { proof },
        Method::AddAccount => Request::AddAccount(NewAccount {
            email: "new@example.org".into(),
            display_name: "New".into(),
            password: GOOD_PASSWORD.to_owned().into(),
            password_hash: hash(GOOD_PASSWORD),
            roles: vec![AccountRole::Provider],
        }),
        Method::ListAccounts => Request::ListAccounts { after: String::new(), limit: 0 },
        Method::ShowAccount => Request::ShowAccount { email: email() },
        Method::LockAccount => Request::LockAccount { email: email() },
        Method::UnlockAccount => Request::UnlockAccount { email: email() },
        Method::RemoveAccount => Request::RemoveAccount { email: email() },
        Method::SetPassword => Request::SetPassword(NewPassword {
            email: email(),
            password: GOOD_PASSWORD.to_owned().into(),
            password_hash: hash(GOOD_PASSWORD),
        }),
        Method::ListSessions => Request::ListSessions { ended_too: true, after: None, limit: 0 },
        Method::ShowSession => Request::ShowSession { session },
        Method::CloseSession => Request::CloseSession { session },
        Method::ShowNode => Request::ShowNode,
        Method::DrainNode => Request::DrainNode { node: NodeNumber::new(3).unwrap() },
        Method::UndrainNode => Request::UndrainNode { node: NodeNumber::new(3).unwrap() },
        Method::ShowMesh => Request::ShowMesh,
        Method::ShowRoute => Request::ShowRoute,
        Method::ShowSessionPart => Request::ShowSessionPart,
        Method::ShowPlacement => Request::ShowPlacement { session: Some(session), probes: vec![] },
        Method::PublishRevocations => Request::PublishRevocations { number: 1, revoked: 1 },
        Method::TailAudit => Request::TailAudit { from_index: 0, last: 0, limit: 0 },
    }
}

fn admin(role: AdminRole) -> Call {
    Call { admin: Some(AdminCaller::Certificate { role, name: "ada".into() }), ..anyone() }
}

/// \[GW-1\] \[GW-2\]: calls x roles.
#[test]
fn all_calls_by_all_callers() {
    use sealcast_broker::role::Holder;
    let mut world = World::new();
    let provider = world.provider();
    world.add_account("bob@example.org", &[AccountRole::Provider]);
    world.add_account(
        "carol@example.org",
        &[AccountRole::Auditor, AccountRole::AccountAdmin, AccountRole::NetworkAdmin],
    );
    let not_provider = world.log_in("carol@example.org", GOOD_PASSWORD).unwrap();
    let creator = world.create_session(&provider);
    let member = world.join(&creator, 2);
    let number = world.open_join(&creator, Role::Customer);
    let guest = world.look_up(&anyone(), number, 3).unwrap();

    let anyones = |requirement| requirement == Requirement::Anyone;
    let callers = [
        Caller { name: "nobody", call: anyone(), ticket: None, may: anyones },
        Caller {
            name: "provider",
            call: provider,
            ticket: None,
            may: |requirement| {
                matches!(
                    requirement,
                    Requirement::Anyone | Requirement::LoggedIn | Requirement::Account(AccountRole::Provider)
                )
            },
        },
        Caller {
            name: "account with every role but provider",
            call: not_provider,
            ticket: None,
            may: |requirement| matches!(requirement, Requirement::Anyone | Requirement::LoggedIn),
        },
        Caller { name: "guest", call: anyone(), ticket: Some(guest.clone()), may: anyones },
        Caller {
            name: "member",
            call: anyone(),
            ticket: Some(member),
            may: |requirement| {
                matches!(requirement, Requirement::Anyone | Requirement::Ticket(Holder::Member))
            },
        },
        Caller {
            name: "leader and creator",
            call: anyone(),
            ticket: Some(creator.clone()),
            may: |requirement| matches!(requirement, Requirement::Anyone | Requirement::Ticket(_)),
        },
        Caller {
            name: "account admin",
            call: admin(AdminRole::AccountAdmin),
            ticket: None,
            may: |requirement| match requirement {
                Requirement::Admin(roles) => roles.contains(&AdminRole::AccountAdmin),
                other => other == Requirement::Anyone,
            },
        },
        Caller {
            name: "network admin",
            call: admin(AdminRole::NetworkAdmin),
            ticket: None,
            may: |requirement| match requirement {
                Requirement::Admin(roles) => roles.contains(&AdminRole::NetworkAdmin),
                other => other == Requirement::Anyone,
            },
        },
        Caller {
            name: "auditor",
            call: admin(AdminRole::Auditor),
            ticket: None,
            may: |requirement| match requirement {
                Requirement::Admin(roles) => roles.contains(&AdminRole::Auditor),
                other => other == Requirement::Anyone,
            },
        },
        Caller {
            name: "local socket",
            call: local(),
            ticket: None,
            may: |requirement| matches!(requirement, Requirement::Anyone | Requirement::Admin(_)),
        },
    ];
    let (mut let_in, mut kept_out) = (0, 0);
    for caller in &callers {
        for method in Method::ALL {
            // Each pair from the same state: what one call changes must not let the next one in or out.
            let before = world.store.clone();
            let no_ticket = TicketProof { ticket: String::new(), signature: [0; 64] };
            let proof = caller.ticket.as_ref().map_or(no_ticket, Endpoint::proof);
            let result = world.call(&caller.call, &request(*method, proof, guest.number, creator.session));
            let refused = matches!(
                result.as_ref().map_err(|denial| (denial.kind(), denial.label())),
                Err((DenialKind::Unauthenticated | DenialKind::PermissionDenied, label)) if label != "login_failed"
            );
            let may = (caller.may)(method.requirement());
            if let Requirement::Admin(_) = method.requirement() {
                // A node without a broker holds callers against the very same table.
                let permitted = method.permit(caller.call.admin.as_ref());
                assert_eq!(permitted.is_ok(), may, "{} is permitted {}", caller.name, method.name());
            } else {
                assert!(method.permit(Some(&AdminCaller::Local { uid: 0 })).is_err(), "{}", method.name());
            }
            assert_eq!(may, !refused, "{} calls {}: {result:?}", caller.name, method.name());
            if refused {
                kept_out += 1;
            } else {
                let_in += 1;
            }
            world.store = before;
        }
    }
    assert_eq!(let_in + kept_out, callers.len() * Method::ALL.len());
    assert!(let_in > 50 && kept_out > 100, "{let_in} {kept_out}");
}

/// \[GW-2\]: who sees what by each admin role, spelled out once more, so that a slip in the table shows.
#[test]
fn auditors_change_nothing() {
    for method in Method::ALL {
        if let Requirement::Admin(roles) = method.requirement() {
            let reads = ["List", "Show", "Tail"]
                .iter()
                .any(|verb| method.name().starts_with(&format!("Admin.{verb}")));
            assert_eq!(roles.contains(&AdminRole::Auditor), reads, "{}", method.name());
            assert!(!roles.is_empty());
        }
    }
}

/// \[GW-16\]: what nodes hand to each other for an administrator changes nothing but the service of one node.
#[test]
fn nodes_hand_on_little() {
    let handed_on: Vec<&str> =
        Method::ALL.iter().filter(|method| method.is_of_one_node()).map(|method| method.name()).collect();
    assert_eq!(
        handed_on,
        ["Admin.ShowNode", "Admin.DrainNode", "Admin.UndrainNode", "Admin.ShowSessionPart"]
    );
    let without_broker = Method::ALL.iter().filter(|method| method.needs_no_broker());
    assert!(without_broker.clone().all(|method| matches!(method.requirement(), Requirement::Admin(_))));
    assert_eq!(without_broker.count(), handed_on.len() + 3);
}
