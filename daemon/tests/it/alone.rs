//! What a mesh asks of one node: to serve without a broker, and to forget whom the CA takes back.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use proto_spec::revocation::Revoked;
use proto_spec::{NodeNumber, Wire, alpn};
use sealcast_rpc::admin_client::AdminClient;
use sealcast_rpc::endpoint_client::EndpointClient;
use sealcast_rpc::{self as rpc};
use sealcast_trust::cert::{chain_from_pem, inspect};
use sealcast_trust::{AdminRole, CertificateRole, MeshTrust};
use tonic::Code;

use super::support::{
    Caller, Mesh, Relayd, admin_on, channel, client_config, free_ports, get, now, relayd, tls,
};

fn label(status: &tonic::Status) -> &str {
    status.metadata().get("sealcast-refusal").map_or("", |label| label.to_str().unwrap())
}

/// \[GW-14\] \[GW-16\]: without a broker, and without one within reach, a node says so and serves what needs none.
#[tokio::test]
async fn a_node_without_a_broker_says_what_it_cannot_do() {
    let mesh = Mesh::new();
    let [port, ops] = free_ports();
    let config = mesh.config(port, ops, "", "");
    let text = std::fs::read_to_string(&config).unwrap();
    let broker = "[broker]\ncertificate = \"broker-1.pem\"\nkey = \"broker-1.key\"\n";
    let without = text.replace(broker, "");
    assert_ne!(without, text);
    std::fs::write(&config, without).unwrap();
    let node = Relayd::run(&config, &mesh.path("state"));

    let mut caller = Caller::connect(SocketAddr::from(([127, 0, 0, 1], port)), &mesh.path("ca.pem")).await;
    let away = caller.client.about(rpc::AboutRequest {}).await.unwrap_err();
    assert_eq!((away.code(), label(&away)), (Code::Unavailable, "no_broker"));
    assert!(away.message().contains("running sessions go on"), "{away}");

    let mut admin = admin_on(node.state.join("admin.sock")).await;
    let shown = admin.show_node(rpc::ShowNodeRequest::default()).await.unwrap().into_inner();
    assert!(!shown.broker && shown.drain == "serving", "{shown:?}");
    let seen = admin.show_mesh(rpc::ShowMeshRequest {}).await.unwrap().into_inner();
    assert_eq!((seen.nodes.len(), seen.nodes[0].roles.len()), (1, 1));
    let accounts = admin.list_accounts(rpc::ListAccountsRequest::default()).await.unwrap_err();
    assert_eq!((accounts.code(), label(&accounts)), (Code::FailedPrecondition, "no_broker_here"));
    let other = admin.drain_node(rpc::DrainNodeRequest { node_number: 2, within_ms: 0 }).await.unwrap_err();
    assert_eq!(other.code(), Code::NotFound, "{other}");
}

/// \[REV-3\] \[REV-4\]: a revoked administrator is refused from that moment on, after a restart too.
#[tokio::test]
async fn a_revoked_administrator_is_out() {
    let mesh = Mesh::new();
    let [port, ops, admin_port] = free_ports();
    let config = mesh.config(port, ops, &format!("admin = \"127.0.0.1:{admin_port}\""), "");
    let mut node = Relayd::run(&config, &mesh.path("state"));
    let (certificate, key) = mesh.admin(AdminRole::NetworkAdmin);
    let identity = Some((certificate.as_path(), key.as_path()));
    let tls_config = client_config(&mesh.path("ca.pem"), alpn::GRPC, identity);
    let address = SocketAddr::from(([127, 0, 0, 1], admin_port));
    let connect =
        async || AdminClient::new(channel(tls(address, tls_config.clone()).await.unwrap()).await.unwrap());
    let mut admin = connect().await;
    admin.show_node(rpc::ShowNodeRequest::default()).await.unwrap();

    let leaf = chain_from_pem(&std::fs::read(&certificate).unwrap()).unwrap();
    let about = inspect(&leaf[0]).unwrap();
    let entry = Revoked { certificate: about.certificate, expires: about.not_after };
    let list = mesh.key.revoke(None, [entry], now()).unwrap().to_bytes();
    let ca = std::fs::read(mesh.path("ca.pem")).unwrap();
    let trust = MeshTrust::from_pem("test".parse().unwrap(), &ca).unwrap();
    assert_eq!(sealcast_trust::revocation::verify(&list, &trust, now()).unwrap().number, 1);
    let mut local = admin_on(node.state.join("admin.sock")).await;
    let published = local.publish_revocations(rpc::PublishRevocationsRequest { list }).await.unwrap();
    assert_eq!(published.into_inner().number, 1);

    let standing = admin.show_node(rpc::ShowNodeRequest::default()).await.unwrap_err();
    assert_eq!((standing.code(), label(&standing)), (Code::PermissionDenied, "refused"), "{standing}");
    let refused = async || {
        let Ok(stream) = tls(address, tls_config.clone()).await else { return true };
        let Ok(channel) = channel(stream).await else { return true };
        AdminClient::new(channel).show_node(rpc::ShowNodeRequest::default()).await.is_err()
    };
    assert!(refused().await);
    node.kill();
    let node = Relayd::run(&config, &mesh.path("state"));
    assert!(refused().await, "the list is kept");
    let mut local = admin_on(node.state.join("admin.sock")).await;
    assert_eq!(local.show_node(rpc::ShowNodeRequest::default()).await.unwrap().into_inner().revocations, 1);
}

/// A disk that is full when the journal is written ends the journal, says so once, and nothing else.
#[tokio::test]
async fn a_full_disk_ends_the_journal_alone() {
    let mesh = Mesh::new();
    let [port, ops] = free_ports();
    let config = mesh.config(port, ops, "", "[mesh]\njournal = true\n");
    let state = mesh.path("state");
    std::fs::create_dir(&state).unwrap();
    std::fs::set_permissions(&state, std::fs::Permissions::from_mode(0o700)).unwrap();
    // Whatever is written there finds no space.
    std::os::unix::fs::symlink("/dev/full", state.join("journal-0")).unwrap();
    let mut command = relayd();
    command.args(["run", "--log-format", "json", "--config"]).arg(&config);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let mut talk = Vec::new();
    let said = |talk: &[String], what: &str| talk.iter().filter(|line| line.contains(what)).count();
    let ended = "the journal cannot be written and ends here";
    while said(&talk, "\"message\":\"ready\"") == 0 || said(&talk, ended) == 0 {
        talk.push(lines.next().expect("it says both"));
    }
    let mut caller = Caller::connect(SocketAddr::from(([127, 0, 0, 1], port)), &mesh.path("ca.pem")).await;
    caller.client.about(rpc::AboutRequest {}).await.unwrap();
    let ready = get(SocketAddr::from(([127, 0, 0, 1], ops)), "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");

    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM)
        .unwrap();
    talk.extend(lines);
    assert!(child.wait().unwrap().success());
    assert_eq!((said(&talk, ended), said(&talk, "No space left on device")), (1, 1), "{talk:?}");
}

/// SIGHUP: what can be changed while the node runs is in force at once, what cannot is named, nonsense changes nothing, and
/// no connection is touched.
#[tokio::test]
async fn sighup_reads_configuration_and_certificates_anew() {
    let mesh = Mesh::new();
    let [port, ops] = free_ports();
    let config = mesh.config(port, ops, "", "[log]\nlevel = \"info\"\n");
    let mut command = relayd();
    command.args(["run", "--log-format", "json", "--config"]).arg(&config);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut until = |what: &str| {
        lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.contains(what))
            .unwrap_or_else(|| panic!("no {what}"))
    };
    until("\"message\":\"ready\"");
    let hang_up = || {
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    };
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let presented = || async {
        let stream = tls(address, client_config(&mesh.path("ca.pem"), alpn::GRPC, None)).await.unwrap();
        let leaf = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        (stream, leaf)
    };
    let (stands, before) = presented().await;
    let mut standing = EndpointClient::new(channel(stands).await.unwrap());

    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, "nonsense").unwrap();
    hang_up();
    until("the configuration could not be read anew");
    assert_eq!(presented().await.1, before);

    mesh.issue(&CertificateRole::Node(NodeNumber::new(1).unwrap()), &["127.0.0.1"]);
    std::fs::write(&config, text.replace("\"info\"", "\"error\"") + "[limits]\nattachments_max = 7\n")
        .unwrap();
    hang_up();
    until("certificates read anew");
    assert!(until("in force after a restart").contains("\"limits\""));
    assert_ne!(presented().await.1, before, "the new certificate is shown");
    standing.about(rpc::AboutRequest {}).await.unwrap();

    // At the new level the same is told no more; what is wrong still is.
    hang_up();
    std::fs::write(&config, "nonsense").unwrap();
    hang_up();
    let line = lines.next().unwrap().unwrap();
    assert!(line.contains("could not be read anew"), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}
