//! The program as a process: its lines in and out, and its exit codes, without a mesh to talk to.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Runs the program with these lines.
fn driver(folder: &Path, invite: &Path, input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_sealcast-driver"))
        .args(["--invite".as_ref(), invite.as_os_str(), "--work".as_ref(), folder.as_os_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// An invite to a mesh whose only node has a closed port.
fn invite_to_nobody(folder: &Path) -> std::path::PathBuf {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca = parameters.self_signed(&key).unwrap().pem();
    let path = folder.join("invite.toml");
    let text = format!(
        "version = 1\nmesh = \"nobody\"\nca = \"\"\"\n{ca}\"\"\"\n[[nodes]]\nhost = \"127.0.0.1\"\nports = [{port}]\n"
    );
    fs::write(&path, text).unwrap();
    path
}

/// The events as they were told: endpoint, event, kind or reason.
fn events(output: &Output) -> Vec<(String, String, String)> {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    let read = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["at_ms"].as_f64().is_some(), "{line}");
        let kind = if value["kind"].is_null() { &value["reason"] } else { &value["kind"] };
        (text(&value["id"]), text(&value["event"]), text(kind))
    };
    String::from_utf8(output.stdout.clone()).unwrap().lines().map(read).collect()
}

#[test]
fn every_line_has_an_answer() {
    let folder = tempfile::tempdir().unwrap();
    let invite = invite_to_nobody(folder.path());
    let input = concat!(
        "nonsense\n\n",
        "{\"do\":\"say\",\"text\":\"nobody said it\"}\n",
        "{\"id\":\"a\",\"do\":\"say\",\"text\":\"too early\"}\n",
        "{\"id\":\"b\",\"do\":\"join\",\"name\":\"B\",\"code\":\"no code\"}\n",
        "{\"id\":\"c\",\"do\":\"join\",\"name\":\"C\",\"code\":\"483-920-117 lucky-abandon-zoo\"}\n",
        "{\"id\":\"d\",\"do\":\"host\",\"name\":\"D\",\"credential\":\"/nowhere/at/all\"}\n",
    );
    let output = driver(folder.path(), &invite, input);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let told = events(&output);
    let of = |id: &str| told.iter().find(|(of, _, _)| of == id).unwrap().clone();
    assert_eq!(
        told.iter().filter(|(id, event, _)| id.is_empty() && event == "refused").count(),
        2,
        "{told:?}"
    );
    assert!(of("a").2.starts_with("no such endpoint"), "{told:?}");
    assert_eq!((of("b").1.as_str(), of("b").2.as_str()), ("failed", "invalid"));
    assert_eq!((of("c").1.as_str(), of("c").2.as_str()), ("failed", "unreachable"));
    assert_eq!((of("d").1.as_str(), of("d").2.as_str()), ("failed", "invalid"));
}

#[test]
fn without_an_invite_it_does_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let output = driver(folder.path(), &folder.path().join("none.toml"), "");
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty() && !output.stderr.is_empty());
}
