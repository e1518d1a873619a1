//! Who may call what, and what a restart does not forgive.

use std::net::SocketAddr;

use proto_spec::alpn;
use sealcast_rpc::admin_client::AdminClient;
use sealcast_rpc::{self as rpc, AccountRequest};
use sealcast_trust::AdminRole;
use tonic::Code;

use super::support::{
    Caller, Mesh, PASSWORD, Relayd, admin_on, channel, client_config, free_ports, new_account, tls,
};

fn refusal(status: &tonic::Status) -> &str {
    status.metadata().get("sealcast-refusal").unwrap().to_str().unwrap()
}

/// \[GW-9\]: five failures lock for five minutes, and kill -9 changes nothing about it.
#[tokio::test]
async fn a_lock_out_survives_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    let mut node = Relayd::dev(&state);
    node.admin().await.add_account(new_account("ann@example.org")).await.unwrap();
    let mut caller = Caller::connect(node.address(), &node.ca()).await;
    caller.login("ann@example.org", PASSWORD).await.unwrap();
    for _ in 0..5 {
        let wrong = caller.login("ann@example.org", "not-this-1-either").await.unwrap_err();
        assert_eq!((wrong.code(), refusal(&wrong)), (Code::Unauthenticated, "login_failed"));
    }
    node.kill();

    let node = Relayd::dev(&state);
    let mut caller = Caller::connect(node.address(), &node.ca()).await;
    let locked = caller.login("ann@example.org", PASSWORD).await.unwrap_err();
    let unknown = caller.login("nobody@example.org", PASSWORD).await.unwrap_err();
    assert_eq!((locked.code(), locked.message()), (unknown.code(), unknown.message()), "one answer for both");

    let ann = || AccountRequest { email: "ann@example.org".into() };
    let mut admin = node.admin().await;
    let shown = admin.show_account(ann()).await.unwrap().into_inner();
    assert!(shown.locked_until_ms > 0 && shown.failures >= 5, "{shown:?}");
    admin.unlock_account(ann()).await.unwrap();
    caller.login("ann@example.org", PASSWORD).await.unwrap();
}

/// \[GW-1\] \[GW-6\]: without, with another connection's, and with the right credential.
#[tokio::test]
async fn a_session_needs_a_login_on_this_very_connection() {
    let folder = tempfile::tempdir().unwrap();
    let node = Relayd::dev(&folder.path().join("state"));
    let mut stranger = Caller::connect(node.address(), &node.ca()).await;
    let refused = stranger.create_session().await.unwrap_err();
    assert_eq!((refused.code(), refusal(&refused)), (Code::Unauthenticated, "not_logged_in"));

    let mut provider = Caller::connect(node.address(), &node.ca()).await;
    provider.login("provider@dev.local", &node.password()).await.unwrap();
    let stolen = provider.signed(rpc::LogoutRequest {});
    let refused = stranger.client.logout(stolen).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated, "a proof from another connection");

    let session = provider.create_session().await.unwrap();
    assert_eq!(session.nodes[0].ports, [u32::from(node.port())]);
    // The ticket's proof likewise: made on one connection, used on another.
    let proof = provider.proof(&session.ticket);
    let role = rpc::MemberRole::Customer.into();
    let refused = stranger
        .client
        .open_join(rpc::OpenJoinRequest { proof: Some(proof.clone()), role })
        .await
        .unwrap_err();
    assert_eq!(refusal(&refused), "proof_wrong");
    provider.client.open_join(rpc::OpenJoinRequest { proof: Some(proof), role }).await.unwrap();
}

/// \[GW-1\]: certificates of each role over mutual TLS, against calls of each kind.
#[tokio::test]
async fn an_administrator_may_do_what_the_certificate_says() {
    let mesh = Mesh::new();
    let [port, ops, admin_port] = free_ports();
    let config = mesh.config(port, ops, &format!("admin = \"127.0.0.1:{admin_port}\""), "");
    let _node = Relayd::run(&config, &mesh.path("state"));
    let address = SocketAddr::from(([127, 0, 0, 1], admin_port));

    for role in AdminRole::ALL {
        let (certificate, key) = mesh.admin(role);
        let config = client_config(&mesh.path("ca.pem"), alpn::GRPC, Some((&certificate, &key)));
        let mut admin = AdminClient::new(channel(tls(address, config).await.unwrap()).await.unwrap());
        let list = rpc::ListAccountsRequest { after: String::new(), limit: 0 };
        let sessions = rpc::ListSessionsRequest { ended_too: true, after: Vec::new(), limit: 0 };
        let tail = rpc::TailAuditRequest { from_index: 1, follow: false, last: 0 };
        let denied = |result: Result<(), tonic::Status>| match result {
            Ok(()) => false,
            Err(status) => {
                assert_eq!(
                    (status.code(), refusal(&status)),
                    (Code::PermissionDenied, "role_missing"),
                    "{role:?}"
                );
                true
            }
        };
        let add = admin.add_account(new_account(&format!("{}@example.org", role.name()))).await.map(drop);
        assert_eq!(denied(add), role != AdminRole::AccountAdmin, "AddAccount by {role:?}");
        assert_eq!(
            denied(admin.list_accounts(list).await.map(drop)),
            role == AdminRole::NetworkAdmin,
            "ListAccounts by {role:?}"
        );
        assert_eq!(
            denied(admin.list_sessions(sessions).await.map(drop)),
            role == AdminRole::AccountAdmin,
            "ListSessions by {role:?}"
        );
        assert_eq!(
            denied(admin.tail_audit(tail).await.map(drop)),
            role != AdminRole::Auditor,
            "TailAudit by {role:?}"
        );
        admin.show_node(rpc::ShowNodeRequest::default()).await.unwrap();
    }

    // No certificate, a node's, and one of another mesh: no call gets through.
    let refused = client_config(&mesh.path("ca.pem"), alpn::GRPC, None);
    let node = client_config(
        &mesh.path("ca.pem"),
        alpn::GRPC,
        Some((&mesh.path("node-1.pem"), &mesh.path("node-1.key"))),
    );
    let other = Mesh::new();
    let (certificate, key) = other.admin(AdminRole::Auditor);
    let foreign = client_config(&mesh.path("ca.pem"), alpn::GRPC, Some((&certificate, &key)));
    for config in [refused, node, foreign] {
        let Ok(stream) = tls(address, config).await else { continue };
        let Ok(channel) = channel(stream).await else { continue };
        assert!(AdminClient::new(channel).show_node(rpc::ShowNodeRequest::default()).await.is_err());
    }

    // Administration is not served to endpoints, and the local socket may do everything.
    let stream =
        tls(SocketAddr::from(([127, 0, 0, 1], port)), client_config(&mesh.path("ca.pem"), alpn::GRPC, None));
    let mut outside = AdminClient::new(channel(stream.await.unwrap()).await.unwrap());
    assert!(outside.show_node(rpc::ShowNodeRequest::default()).await.is_err());
    let mut local = admin_on(mesh.path("state").join("admin.sock")).await;
    local.lock_account(AccountRequest { email: "account-admin@example.org".into() }).await.unwrap();
}

/// \[GW-11\]: ten look-ups a minute from one address; unknown numbers answer alike.
#[tokio::test]
async fn numbers_cannot_be_tried_out() {
    let folder = tempfile::tempdir().unwrap();
    let node = Relayd::dev(&folder.path().join("state"));
    let mut caller = Caller::connect(node.address(), &node.ca()).await;
    let attach_key = caller.attach_key.verifying_key().as_bytes().to_vec();
    let look_up = |session_number| rpc::LookupRequest {
        session_number,
        attach_key: attach_key.clone(),
        probes: Vec::new(),
    };
    for number in 0..10 {
        // Some cannot even be numbers: the same answer.
        let status = caller.client.lookup(look_up(number * 100_000_000)).await.unwrap_err();
        assert_eq!((status.code(), refusal(&status)), (Code::NotFound, "number_unknown"));
    }
    let status = caller.client.lookup(look_up(123_456_789)).await.unwrap_err();
    assert_eq!((status.code(), refusal(&status)), (Code::ResourceExhausted, "too_often"));
}

/// Messages have a limit before they are read.
#[tokio::test]
async fn a_call_has_a_limit_in_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let node = Relayd::dev(&folder.path().join("state"));
    let mut caller = Caller::connect(node.address(), &node.ca()).await;
    let status = caller.login(&"a".repeat(70_000), PASSWORD).await.unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    caller.client.about(rpc::AboutRequest {}).await.unwrap();
}
