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
    async fn show_session(&self, _: Request<rpc::SessionRequest>) -> Answer<rpc::Session> {
        Err(Status::not_found("there is no such session"))
    }
    async fn close_session(&self, _: Request<rpc::SessionRequest>) -> Answer<rpc::CloseSessionReply> {
        Ok(Response::new(rpc::CloseSessionReply {}))
    }
    async fn show_node(&self, _: Request<rpc::ShowNodeRequest>) -> Answer<rpc::Node> {
        Ok(Response::new(rpc::Node {
            node_number: 7,
            mesh: "test".into(),
            state: "ready".into(),
            ..Default::default()
        }))
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
