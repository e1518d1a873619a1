//! relayctl as a process: files, exit codes, outputs, and a node that answers as it is told to.

#![allow(clippy::unwrap_used, reason = "an unwrap that fails is a test that fails")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use sealcast_rpc as rpc;
use sealcast_rpc::admin_server::{Admin, AdminServer};
use sealcast_trust::audit::{Actor, Head, Outcome, Record};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

fn relayctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_relayctl"));
    command.env_clear().stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    relayctl().args(arguments).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn talk(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn usage_is_2_unreachable_is_5_and_both_say_what_to_do() {
    assert_eq!(code(&run(&["account", "add"])), 2);
    assert_eq!(code(&run(&["no-such-noun"])), 2);
    let gone = run(&["--socket", "/nowhere/admin.sock", "node", "show"]);
    assert_eq!(code(&gone), 5);
    assert!(talk(&gone).contains("is relayd running?") && out(&gone).is_empty(), "{gone:?}");
    let halfway = run(&["--address", "127.0.0.1:1", "node", "show"]);
    assert_eq!(code(&halfway), 2);
    assert!(talk(&halfway).contains("--cert"), "{halfway:?}");
    // A password is never taken from where others can read it, and nobody is there to be asked.
    let asked = run(&["account", "add", "ann@example.org"]);
    assert!(code(&asked) == 2 && talk(&asked).contains("--password-stdin"), "{asked:?}");
}

#[test]
fn completions_know_the_nouns() {
    let bash = run(&["completions", "bash"]);
    assert!(bash.status.success() && out(&bash).contains("account"), "{bash:?}");
}

/// \[CRT-5\]
#[test]
fn keys_are_made_once_and_shown() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("pki");
    let dir_text = dir.to_str().unwrap();
    let mode = |name: &str| std::fs::metadata(dir.join(name)).unwrap().permissions().mode() & 0o777;

    let missing = run(&["pki", "issue", "broker", "--dir", dir_text, "--number", "1"]);
    assert!(code(&missing) == 3 && talk(&missing).contains("pki init"), "{missing:?}");
    assert_eq!(code(&run(&["pki", "init", "--dir", dir_text, "--mesh", "Not A Name"])), 2);

    assert!(run(&["pki", "init", "--dir", dir_text, "--mesh", "test"]).status.success());
    assert_eq!((mode("root.key"), mode("issuing.key"), mode("ca.pem")), (0o600, 0o600, 0o644));
    let root = std::fs::read(dir.join("root.key")).unwrap();
    let again = run(&["pki", "init", "--dir", dir_text, "--mesh", "test"]);
    assert!(code(&again) == 1 && talk(&again).contains("not overwritten"), "{again:?}");
    assert_eq!(std::fs::read(dir.join("root.key")).unwrap(), root);

    // The root may be away by now.
    std::fs::remove_file(dir.join("root.key")).unwrap();
    let node = ["pki", "issue", "node", "--dir", dir_text, "--number", "7", "--name", "relay.example.org"];
    assert!(run(&node).status.success());
    assert_eq!(mode("node-7.key"), 0o600);
    assert_eq!(code(&run(&node)), 1, "not overwritten either");
    assert!(run(&["pki", "issue", "broker", "--dir", dir_text, "--number", "7"]).status.success());
    let admin = ["pki", "issue", "admin", "--dir", dir_text, "--name", "ann", "--role"];
    assert!(run(&[&admin[..], &["auditor"]].concat()).status.success());
    assert_eq!(code(&run(&[&admin[..], &["emperor"]].concat())), 2);

    let shown = run(&["-o", "json", "pki", "show", "--dir", dir_text]);
    let json: serde_json::Value = serde_json::from_str(out(&shown)).unwrap();
    let identities: Vec<&str> =
        json.as_array().unwrap().iter().filter_map(|c| c["identity"].as_str()).collect();
    assert_eq!(identities, ["admin/auditor/ann of test", "broker/7 of test", "CA", "CA", "node/7 of test"]);

    std::fs::write(dir.join("torn.pem"), "-----BEGIN CERT").unwrap();
    let partly = run(&["pki", "show", "--dir", dir_text]);
    assert!(code(&partly) == 6 && talk(&partly).contains("torn.pem"), "{partly:?}");
    assert!(out(&partly).contains("relay.example.org"));
}

/// Answers a few calls as real nodes do, and refuses the others.
struct Scripted;

type Answer<T> = Result<Response<T>, Status>;

fn account() -> rpc::Account {
    rpc::Account {
        id: 3,
        email: "ann@example.org".into(),
        display_name: "Ann, \"the\" \u{1b}[31mprovider".into(),
        roles: vec![rpc::Role::Provider as i32, rpc::Role::Auditor as i32],
        locked_until_ms: 1_700_000_000_000,
        failures: 5,
        ..rpc::Account::default()
    }
}

fn mesh() -> rpc::Mesh {
    let node = |node_number, next_hop, reachable| rpc::MeshNode {
        node_number,
        reachable,
        drain: "serving".into(),
        roles: vec!["gateway".into()],
        failure_domain: format!("rack {node_number}"),
        capacity: 100,
        next_hop,
        cost_us: 11_000 * next_hop,
        software: "relayd test".into(),
        addresses: vec![format!("n{node_number}.example:8200")],
        load: (node_number == 7).then(|| rpc::NodeLoad { attachments: 3, ..Default::default() }),
        ..Default::default()
    };
    rpc::Mesh {
        mesh: "test".into(),
        node_number: 7,
        taken_ms: 1_700_000_000_000,
        nodes: vec![node(7, 0, true), node(8, 8, true), node(9, 0, false)],
        links: vec![
            rpc::MeshLink { a: 7, b: 8, rtt_us: 10_000, agreed: true },
            rpc::MeshLink { a: 8, b: 9, rtt_us: 10_000, agreed: false },
        ],
        alarms: vec![rpc::MeshAlarm { time_ms: 1_700_000_000_000, sentence: "node 9 runs twice".into() }],
        not_backed: 1,
        ..Default::default()
    }
}

fn records() -> Vec<rpc::AuditRecord> {
    let mut head = Head::genesis("test");
    (1..=3)
        .map(|index| {
            let record = Record {
                index,
                time: proto_spec::WallTime(1_700_000_000_000 + index),
                actor: Actor::Local { uid: 0 },
                action: "account.add".into(),
                session: None,
                subject: Some(format!("account {index}")),
                outcome: Outcome::Done,
                detail: Default::default(),
            };
            let (link, next) = head.append(&record);
            head = next;
            rpc::AuditRecord {
                index,
                canonical: link.canonical,
                hash: link.hash.to_vec(),
                checkpoint: Vec::new(),
            }
        })
        .collect()
}

#[tonic::async_trait]
impl Admin for Scripted {
    async fn add_account(&self, request: Request<rpc::AddAccountRequest>) -> Answer<rpc::Account> {
        let request = request.into_inner();
        assert_eq!(request.password, "vq8-trombone-ledger");
        Ok(Response::new(rpc::Account {
            email: request.email,
            display_name: request.display_name,
            ..account()
        }))
    }
    async fn list_accounts(
        &self,
        request: Request<rpc::ListAccountsRequest>,
    ) -> Answer<rpc::ListAccountsReply> {
        // Two pages.
        let more = request.into_inner().after.is_empty();
        Ok(Response::new(rpc::ListAccountsReply { accounts: vec![account()], more }))
    }
    async fn show_account(&self, _: Request<rpc::AccountRequest>) -> Answer<rpc::Account> {
        Err(Status::not_found("there is no such account"))
    }
    async fn lock_account(&self, _: Request<rpc::AccountRequest>) -> Answer<rpc::Account> {
        Err(Status::permission_denied("this needs the role account-admin: ask an administrator"))
    }
    async fn unlock_account(&self, _: Request<rpc::AccountRequest>) -> Answer<rpc::Account> {
        Ok(Response::new(account()))
    }
    async fn remove_account(&self, _: Request<rpc::AccountRequest>) -> Answer<rpc::RemoveAccountReply> {
        Ok(Response::new(rpc::RemoveAccountReply {}))
    }
    async fn set_password(&self, _: Request<rpc::SetPasswordRequest>) -> Answer<rpc::Account> {
        Err(Status::invalid_argument("the password is too short"))
    }
    async fn list_sessions(&self, _: Request<rpc::ListSessionsRequest>) -> Answer<rpc::ListSessionsReply> {
        Ok(Response::new(rpc::ListSessionsReply::default()))
    }
    async fn show_session(&self, request: Request<rpc::SessionRequest>) -> Answer<rpc::Session> {
        let session_id = request.into_inner().session_id;
        if session_id[0] == 0 {
            return Err(Status::not_found("there is no such session"));
        }
        let member = |number, state: &str, node_number| rpc::SessionMember {
            number,
            role: rpc::MemberRole::Customer as i32,
            state: state.into(),
            node_number,
            account: String::new(),
        };
        let traffic = |bytes_in| {
            vec![rpc::ClassTraffic { class: "bulk".into(), frames_in: 1, bytes_in, ..Default::default() }]
        };
        let part = |node_number, bytes_in| rpc::SessionPart {
            node_number,
            traffic: traffic(bytes_in),
            nodes: vec![7, 9],
            ..Default::default()
        };
        Ok(Response::new(rpc::Session {
            session_id,
            members: vec![member(1, "active", 7), member(1, "standby", 8), member(2, "away", 0)],
            traffic: traffic(4_096),
            nodes: vec![7, 8, 9],
            parts: vec![part(7, 1_024), part(8, 3_072)],
            unanswered: vec![9],
            ..Default::default()
        }))
    }
    async fn close_session(&self, _: Request<rpc::SessionRequest>) -> Answer<rpc::CloseSessionReply> {
        Ok(Response::new(rpc::CloseSessionReply {}))
    }
    async fn show_node(&self, request: Request<rpc::ShowNodeRequest>) -> Answer<rpc::Node> {
        match request.into_inner().node_number {
            number @ (0 | 7) => Ok(Response::new(rpc::Node {
                node_number: 7,
                mesh: "test".into(),
                state: "ready".into(),
                drain: "serving".into(),
                trunks: vec![rpc::Trunk { node_number: number + 2, rtt_us: 12_300, ..Default::default() }],
                ..Default::default()
            })),
            9 => Err(Status::unavailable("node 9 cannot be reached (no connection within 2 s)")),
            _ => Err(Status::not_found("there is no such node in this mesh: see `relayctl node list`")),
        }
    }
    async fn drain_node(&self, request: Request<rpc::DrainNodeRequest>) -> Answer<rpc::DrainNodeReply> {
        let rpc::DrainNodeRequest { node_number, within_ms } = request.into_inner();
        assert_eq!(within_ms, if node_number == 2 { 90_000 } else { 0 });
        let node_number = if node_number == 0 { 7 } else { node_number };
        Ok(Response::new(rpc::DrainNodeReply { node_number, drain: "draining".into() }))
    }
    async fn undrain_node(&self, _: Request<rpc::UndrainNodeRequest>) -> Answer<rpc::DrainNodeReply> {
        Err(Status::permission_denied("this needs the role network-admin: ask an administrator"))
    }
    async fn show_mesh(&self, _: Request<rpc::ShowMeshRequest>) -> Answer<rpc::Mesh> {
        Ok(Response::new(mesh()))
    }
    async fn show_route(&self, request: Request<rpc::ShowRouteRequest>) -> Answer<rpc::ShowRouteReply> {
        let request = request.into_inner();
        let hop = rpc::Hop { from: 7, next: 8, backup: 9, protection: "node".into(), cost_us: 24_000 };
        let known = rpc::Way { destination: 8, hops: vec![hop] };
        let lost = rpc::Way { destination: 9, hops: Vec::new() };
        let ways = match request.node_number {
            8 => vec![known],
            9 => vec![lost],
            _ if !request.session_id.is_empty() => vec![known, lost],
            _ => return Err(Status::not_found("there is no such node in this mesh")),
        };
        Ok(Response::new(rpc::ShowRouteReply { node_number: 7, ways }))
    }
    async fn show_placement(
        &self,
        request: Request<rpc::ShowPlacementRequest>,
    ) -> Answer<rpc::ShowPlacementReply> {
        let request = request.into_inner();
        let hypothetical = request.hypothetical || !request.probes.is_empty();
        let considered = rpc::Considered {
            node_number: 7,
            verdict: "chosen".into(),
            rtt_us: request.probes.first().map(|probe| probe.rtt_us),
            cost_us: 12_000,
            load: 250_000,
            ..Default::default()
        };
        let placement = rpc::PlacementRecord {
            time_ms: if hypothetical { 0 } else { 1_700_000_000_000 },
            session_id: if hypothetical { Vec::new() } else { vec![0xab; 16] },
            offered: vec![7],
            considered: vec![considered],
            ..Default::default()
        };
        Ok(Response::new(rpc::ShowPlacementReply { placements: vec![placement] }))
    }
    async fn show_session_part(&self, _: Request<rpc::SessionRequest>) -> Answer<rpc::SessionPart> {
        Ok(Response::new(rpc::SessionPart::default()))
    }
    async fn publish_revocations(
        &self,
        request: Request<rpc::PublishRevocationsRequest>,
    ) -> Answer<rpc::PublishRevocationsReply> {
        use proto_spec::Wire;
        let list = proto_spec::revocation::SignedRevocations::from_bytes(&request.into_inner().list)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let revoked = list.body.revoked.len() as u32;
        Ok(Response::new(rpc::PublishRevocationsReply { number: list.body.number, revoked }))
    }
    type TailAuditStream = tokio_stream::Iter<std::vec::IntoIter<Result<rpc::AuditRecord, Status>>>;
    async fn tail_audit(&self, _: Request<rpc::TailAuditRequest>) -> Answer<Self::TailAuditStream> {
        Ok(Response::new(tokio_stream::iter(records().into_iter().map(Ok).collect::<Vec<_>>())))
    }
}

/// A scripted node on a Unix socket, for as long as the folder is held.
fn scripted() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let (ready, bound) = std::sync::mpsc::channel();
    let path = socket.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::UnixListener::bind(path).unwrap();
            ready.send(()).unwrap();
            let server = tonic::transport::Server::builder().add_service(AdminServer::new(Scripted));
            server.serve_with_incoming(UnixListenerStream::new(listener)).await.unwrap();
        });
    });
    bound.recv().unwrap();
    (folder, socket)
}

fn at(socket: &Path, arguments: &[&str]) -> Output {
    relayctl().arg("--socket").arg(socket).args(arguments).output().unwrap()
}

#[test]
fn answers_become_tables_json_csv_and_exit_codes() {
    let (_folder, socket) = scripted();
    let list = at(&socket, &["account", "list"]);
    assert_eq!(out(&list).lines().count(), 3, "a header and both pages: {}", out(&list));
    assert!(out(&list).contains("locked until 2023-11-14 22:13:20Z"), "{}", out(&list));
    assert!(!out(&list).contains('\u{1b}'), "what others chose does not drive the terminal");

    let json: serde_json::Value =
        serde_json::from_str(out(&at(&socket, &["account", "list", "-o", "json"]))).unwrap();
    assert_eq!(json[1]["roles"], serde_json::json!(["provider", "auditor"]));
    let csv = at(&socket, &["account", "list", "-o", "csv"]);
    assert!(out(&csv).starts_with("email,name,roles,state,last_login,id,"), "{}", out(&csv));
    assert!(out(&csv).contains("\"Ann, \"\"the\"\" "), "{}", out(&csv));

    let missing = at(&socket, &["account", "show", "bob@example.org"]);
    assert_eq!((code(&missing), talk(&missing)), (3, "relayctl: there is no such account\n"));
    assert_eq!(code(&at(&socket, &["account", "lock", "ann@example.org"])), 4);
    assert_eq!(code(&at(&socket, &["session", "show", "zz"])), 2);
    assert_eq!(code(&at(&socket, &["session", "show", &"0".repeat(32)])), 3);
    assert!(out(&at(&socket, &["node", "show"])).contains("ready"));
}

#[test]
fn the_mesh_is_shown_in_all_forms() {
    let (folder, socket) = scripted();
    let status = at(&socket, &["mesh", "status"]);
    let talk_of = out(&status);
    assert!(status.status.success(), "{status:?}");
    for part in ["2 of 3 within reach", "1 of 2 agreed", "one end alone", "out of reach", "node 9 runs twice"]
    {
        assert!(talk_of.contains(part), "{part} in {talk_of}");
    }
    let json: serde_json::Value =
        serde_json::from_str(out(&at(&socket, &["-o", "json", "mesh", "status"]))).unwrap();
    assert_eq!(
        (json["nodes"][0]["load"]["attachments"].as_u64(), json["backups"]["none"].as_u64()),
        (Some(3), Some(1))
    );

    let list = at(&socket, &["node", "list", "-o", "csv"]);
    assert!(out(&list).starts_with("node,state,roles,") && out(&list).lines().count() == 4, "{}", out(&list));
    let graph = at(&socket, &["mesh", "graph"]);
    assert!(out(&graph).contains("(7)") && out(&graph).contains("8 (10.0 ms)"), "{}", out(&graph));
    let svg = folder.path().join("mesh.svg");
    assert!(at(&socket, &["mesh", "graph", "--svg", svg.to_str().unwrap()]).status.success());
    assert!(std::fs::read_to_string(&svg).unwrap().starts_with("<svg "));
}

/// \[EXP-1\] \[EXP-2\]: what is exported is what the simulator reads; links that one end alone lists are none.
#[test]
fn the_mesh_is_exported_for_the_simulator() {
    let (folder, socket) = scripted();
    let exported = at(&socket, &["mesh", "export"]);
    let export = proto_spec::export::MeshExport::from_text(out(&exported)).unwrap();
    assert_eq!((export.nodes.len(), export.links.len(), export.taken_by), (3, 1, 7));
    assert_eq!(export.nodes[0].load.unwrap().attachments, 3);
    let file = folder.path().join("mesh.json");
    assert!(at(&socket, &["mesh", "export", "--file", file.to_str().unwrap()]).status.success());
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim_end(), out(&exported).trim_end());
}

#[test]
fn ways_are_traced_and_missing_ones_named() {
    let (_folder, socket) = scripted();
    let traced = at(&socket, &["mesh", "trace", "8"]);
    assert!(traced.status.success() && out(&traced).contains("loss of node"), "{traced:?}");
    assert_eq!(code(&at(&socket, &["mesh", "trace", "9"])), 3);
    assert_eq!(code(&at(&socket, &["mesh", "trace", "12"])), 3);
    assert_eq!(code(&at(&socket, &["mesh", "trace", &"a".repeat(32)])), 6, "one of two ways");
    assert_eq!(code(&at(&socket, &["mesh", "trace", "nowhere"])), 2);
}

#[test]
fn nodes_are_shown_and_ordered_by_number() {
    let (_folder, socket) = scripted();
    assert!(out(&at(&socket, &["node", "show", "7"])).contains("12.3 ms"));
    assert_eq!(code(&at(&socket, &["node", "show", "9"])), 5);
    assert_eq!(code(&at(&socket, &["node", "show", "12"])), 3);
    assert_eq!(code(&at(&socket, &["node", "show", "0"])), 2);
    let asked = at(&socket, &["node", "drain", "2"]);
    assert!(code(&asked) == 2 && talk(&asked).contains("--yes"), "{asked:?}");
    assert!(at(&socket, &["--yes", "node", "drain", "2", "--within", "90"]).status.success());
    assert!(talk(&at(&socket, &["--yes", "node", "drain"])).contains("Node 7"));
    assert_eq!(code(&at(&socket, &["node", "undrain", "2"])), 4);
}

#[test]
fn a_session_is_shown_over_its_nodes() {
    let (_folder, socket) = scripted();
    let id = "a".repeat(32);
    let shown = at(&socket, &["session", "show", &id]);
    assert_eq!(code(&shown), 6, "one node did not answer");
    assert!(talk(&shown).contains("node 9"), "{shown:?}");
    assert!(out(&shown).contains("standby") && out(&shown).contains("3.0 KiB"), "{}", out(&shown));
    let json: serde_json::Value =
        serde_json::from_str(out(&at(&socket, &["-o", "json", "session", "show", &id]))).unwrap();
    assert_eq!(json["nodes"], serde_json::json!([7, 8, 9]));
    assert_eq!(json["parts"][1]["traffic"][0]["bytes_in"], 3_072);
    assert_eq!(json["parts"][1]["nodes"], serde_json::json!([7, 9]));
}

/// \[PLC-3\]
#[test]
fn placements_are_explained() {
    let (_folder, socket) = scripted();
    let last = at(&socket, &["placement", "explain"]);
    assert!(
        out(&last).contains("2023-11-14") && out(&last).contains("went to node 7; no standby"),
        "{last:?}"
    );
    let would = at(&socket, &["placement", "explain", "--from", "relay.example.org:12.5"]);
    assert!(out(&would).contains("A new session would go") && out(&would).contains("12.5 ms"), "{would:?}");
    assert_eq!(code(&at(&socket, &["placement", "explain", "--from", "nonsense"])), 2);
    let json = at(&socket, &["-o", "json", "placement", "explain", "--new"]);
    let json: serde_json::Value = serde_json::from_str(out(&json)).unwrap();
    assert_eq!((json[0]["verdict"].as_str(), json[0]["cost_us"].as_u64()), (Some("chosen"), Some(12_000)));
}

/// \[REV-1\] \[REV-4\] \[CRT-5\]: renewed beside the old one, revoked by name or file, numbered, shown, published.
#[test]
fn certificates_are_renewed_and_revoked() {
    let (_socket_folder, socket) = scripted();
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("pki");
    let pki = |arguments: &[&str]| {
        relayctl().args(["--yes", "pki"]).args(arguments).arg("--dir").arg(&dir).output().unwrap()
    };
    assert!(pki(&["init", "--mesh", "test"]).status.success());
    for number in ["7", "8"] {
        assert!(pki(&["issue", "node", "--number", number, "--name", "relay.example.org"]).status.success());
    }
    let certificate = dir.join("node-7.pem");
    let before = std::fs::read(&certificate).unwrap();
    let key = std::fs::read(dir.join("node-7.key")).unwrap();
    let renewed = pki(&["renew", certificate.to_str().unwrap(), "--days", "400"]);
    assert!(renewed.status.success(), "{renewed:?}");
    assert_ne!(std::fs::read(&certificate).unwrap(), before);
    assert_eq!(std::fs::read(dir.join("node-7.key")).unwrap(), key, "the same key");
    let kept: Vec<_> =
        std::fs::read_dir(dir.join("old")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(std::fs::read(&kept[0]).unwrap(), before);

    // Without --yes and nobody to ask nothing happens.
    let mut unasked = relayctl();
    unasked.args(["pki", "revoke", "node", "7", "--dir"]).arg(&dir);
    assert_eq!(code(&unasked.output().unwrap()), 2);
    assert!(!dir.join("revocations.list").exists());

    let revoked = pki(&["revoke", "node", "7"]);
    assert!(revoked.status.success() && talk(&revoked).contains("List 1 names 2"), "{revoked:?}");
    assert!(talk(&revoked).contains("No node knows it yet"), "{revoked:?}");
    let shown = pki(&["show"]);
    let lines: Vec<&str> = out(&shown).lines().filter(|line| line.contains("revoked")).collect();
    assert!(lines.len() == 1 && lines[0].contains("node-7.pem"), "{}", out(&shown));

    let mut published = relayctl();
    published.args(["--yes", "pki", "revoke"]).arg(dir.join("node-8.pem"));
    published.arg("--dir").arg(&dir).arg("--socket").arg(&socket);
    let published = published.output().unwrap();
    assert!(published.status.success(), "{published:?}");
    assert!(talk(&published).contains("List 2 with 3 certificates is in force"), "{published:?}");
    let again = relayctl().args(["pki", "publish", "--dir"]).arg(&dir).arg("--socket").arg(&socket).output();
    assert!(again.unwrap().status.success());

    assert_eq!(code(&pki(&["revoke", "node", "12"])), 3);
    assert_eq!(code(&pki(&["revoke", "weather", "12"])), 2);
    let ca = pki(&["revoke", dir.join("issuing.pem").to_str().unwrap()]);
    assert!(code(&ca) == 2 && talk(&ca).contains("new root"), "{ca:?}");
    std::fs::write(dir.join("revocations.list"), b"torn").unwrap();
    assert_eq!(code(&pki(&["revoke", "node", "8"])), 1, "a torn list is not built upon");
}

#[test]
fn removing_wants_a_yes() {
    let (_folder, socket) = scripted();
    let asked = at(&socket, &["account", "remove", "ann@example.org"]);
    assert!(code(&asked) == 2 && talk(&asked).contains("--yes"), "{asked:?}");
    assert_eq!(code(&at(&socket, &["--yes", "account", "remove", "ann@example.org"])), 0);
}

#[test]
fn a_password_comes_from_standard_input() {
    let (_folder, socket) = scripted();
    let mut child = relayctl()
        .arg("--socket")
        .arg(&socket)
        .args(["account", "add", "ann@example.org", "--password-stdin", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"vq8-trombone-ledger\n").unwrap();
    let added = child.wait_with_output().unwrap();
    let json: serde_json::Value = serde_json::from_str(out(&added)).unwrap();
    assert_eq!((json["email"].as_str(), json["name"].as_str()), (Some("ann@example.org"), Some("ann")));
}

/// \[AUD-5\]: what was written by `tail` is verified later, and any change of it is found.
#[test]
fn an_audit_is_verified_here_and_from_a_file() {
    let (folder, socket) = scripted();
    let whole = at(&socket, &["audit", "verify"]);
    assert!(whole.status.success() && out(&whole).starts_with("3 records, an unbroken chain"), "{whole:?}");

    let tail = at(&socket, &["audit", "tail", "-o", "json"]);
    let lines: Vec<&str> = out(&tail).lines().collect();
    assert_eq!(lines.len(), 3);
    let file = folder.path().join("audit.jsonl");
    let verify = |lines: &[&str], mesh: &str| {
        std::fs::write(&file, lines.join("\n")).unwrap();
        run(&["audit", "verify", file.to_str().unwrap(), "--mesh", mesh])
    };
    assert!(verify(&lines, "test").status.success());
    assert_eq!(code(&verify(&lines, "other")), 1, "a chain begins with its mesh's name");
    assert!(talk(&verify(&[lines[0], lines[2]], "test")).contains("missing"));
    assert_eq!(code(&verify(&[lines[1], lines[0], lines[2]], "test")), 1);
    let prettier = lines[1].replace("account 2", "account 9");
    assert!(talk(&verify(&[lines[0], &prettier, lines[2]], "test")).contains("differs"));
}
